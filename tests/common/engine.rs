//! A real Redis: a single server, or a cluster of three masters and three replicas. Killed on drop.

use super::{SOON, poll};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Whether the tests of the data are run against another engine: those that `gateway_api` takes over are. Where none is
/// installed, they are run against a node once more.
pub fn is_another() -> bool {
    static IS_ANOTHER: OnceLock<bool> = OnceLock::new();
    *IS_ANOTHER.get_or_init(|| {
        let exe = std::env::current_exe().unwrap();
        let is_asked = exe
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("gateway_api");
        if is_asked && !is_installed() {
            super::skip("gateway_api", "redis-server is not installed");
            return false;
        }
        is_asked
    })
}

/// Says that a test is about something that a gateway does differently: a name that stands in
/// docs/more-than-one-machine.md. The test is left out where it is so.
pub fn differs(name: &str) -> bool {
    let _ = name; // The test of the documents reads it from the source.
    is_another()
}

/// Whether there is a redis-server to start.
pub fn is_installed() -> bool {
    let version = Command::new("redis-server").arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

/// A server as a process.
pub struct Redis {
    child: Child,
    pub port: u16,
    home: TempDir,
}

impl Redis {
    /// A single server, with nothing in it.
    pub fn start() -> Redis {
        Redis::start_with(&[])
    }

    pub fn start_with(args: &[&str]) -> Redis {
        for _ in 0..10 {
            let port = free_ports(1)[0];
            let mut redis = Redis::spawn(port, args);
            if redis.is_up() {
                return redis;
            }
        }
        panic!("no redis-server comes up");
    }

    /// One that speaks TLS too, at the port that is returned, and asks for certificates there.
    pub fn start_tls(ca: &super::tls::Ca, pair: &super::tls::Pair) -> (Redis, u16) {
        for _ in 0..10 {
            let [port, tls] = [free_ports(1)[0], free_ports(1)[0]];
            let tls_port = tls.to_string();
            let mut redis = Redis::spawn(
                port,
                &[
                    "--tls-port",
                    &tls_port,
                    "--tls-cert-file",
                    &pair.certificate,
                    "--tls-key-file",
                    &pair.key,
                    "--tls-ca-cert-file",
                    &ca.file(),
                    "--tls-auth-clients",
                    "yes",
                ],
            );
            if redis.is_up() {
                return (redis, tls);
            }
        }
        panic!("no redis-server with TLS comes up");
    }

    fn spawn(port: u16, args: &[&str]) -> Redis {
        let home = TempDir::new().unwrap();
        let child = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .args(["--repl-diskless-sync-delay", "0", "--dir"])
            .arg(home.path())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed; see TEST_TOOLS in the Makefile");
        Redis { child, port, home }
    }

    /// Whether it comes up: another process may have taken its port meanwhile.
    fn is_up(&mut self) -> bool {
        let end = Instant::now() + SOON;
        while Instant::now() < end {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if self.try_call(&["PING"]).as_deref() == Some("PONG") {
                return true;
            }
            std::thread::sleep(Duration::from_millis(2)); // Between two looks, up to the deadline.
        }
        false
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    pub fn kill_9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops it for a while, and lets it go on.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// What it answers to a command, as text; an array as lines.
    #[track_caller]
    pub fn call(&self, words: &[&str]) -> String {
        self.try_call(words)
            .unwrap_or_else(|| panic!("{} does not answer {words:?}", self.address()))
    }

    pub fn try_call(&self, words: &[&str]) -> Option<String> {
        let stream = TcpStream::connect(self.address()).ok()?;
        stream.set_read_timeout(Some(SOON)).ok()?;
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        (&stream).write_all(request.as_bytes()).ok()?;
        answer(&mut BufReader::new(stream))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill_9();
        let _ = &self.home;
    }
}

fn answer(from: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    from.read_line(&mut line).ok()?;
    let rest = line.get(1..)?.trim_end();
    Some(match line.chars().next()? {
        '$' => {
            let bytes: i64 = rest.parse().ok()?;
            if bytes < 0 {
                return Some(String::new());
            }
            let mut body = vec![0; bytes as usize + 2];
            from.read_exact(&mut body).ok()?;
            body.truncate(bytes as usize);
            String::from_utf8_lossy(&body).into_owned()
        }
        '*' => {
            let parts: i64 = rest.parse().ok()?;
            let parts: Option<Vec<String>> = (0..parts).map(|_| answer(from)).collect();
            parts?.join("\n")
        }
        _ => rest.to_owned(),
    })
}

/// Ports that are free now.
fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    listeners
        .iter()
        .map(|listener| listener.local_addr().unwrap().port())
        .collect()
}

/// Three masters, and a replica of each.
pub struct RedisCluster {
    /// The first three are masters at the beginning.
    pub servers: Vec<Redis>,
}

impl RedisCluster {
    #[track_caller]
    pub fn start() -> RedisCluster {
        let servers: Vec<(Redis, u16)> = (0..6).map(|_| RedisCluster::server()).collect();
        let (first, _) = &servers[0];
        for (place, range) in [("0", "5460"), ("5461", "10922"), ("10923", "16383")]
            .iter()
            .enumerate()
        {
            let answered = servers[place]
                .0
                .call(&["CLUSTER", "ADDSLOTSRANGE", range.0, range.1]);
            assert_eq!(answered, "OK");
        }
        for (other, bus) in &servers[1..] {
            let (port, bus) = (other.port.to_string(), bus.to_string());
            assert_eq!(first.call(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]), "OK");
        }
        let cluster = RedisCluster {
            servers: servers.into_iter().map(|(server, _)| server).collect(),
        };
        cluster.wait("all know each other", |server| {
            server
                .call(&["CLUSTER", "INFO"])
                .contains("cluster_known_nodes:6")
        });
        let ids: Vec<String> = cluster.servers[..3]
            .iter()
            .map(|server| server.call(&["CLUSTER", "MYID"]))
            .collect();
        for (replica, id) in cluster.servers[3..].iter().zip(&ids) {
            let follows = || replica.call(&["CLUSTER", "REPLICATE", id]) == "OK";
            assert!(poll(SOON, follows), "no replica of {id}");
        }
        cluster.wait("all slots are served", |server| {
            server.call(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
        });
        for master in &cluster.servers[..3] {
            let has_replica = || master.call(&["INFO", "replication"]).contains("state=online");
            assert!(poll(SOON, has_replica), "a master has no replica");
        }
        cluster
    }

    fn server() -> (Redis, u16) {
        for _ in 0..10 {
            let ports = free_ports(2);
            let bus = ports[1].to_string();
            let mut redis = Redis::spawn(
                ports[0],
                &[
                    "--cluster-enabled",
                    "yes",
                    "--cluster-port",
                    &bus,
                    "--cluster-node-timeout",
                    "1000",
                    "--cluster-replica-validity-factor",
                    "0",
                ],
            );
            if redis.is_up() {
                return (redis, ports[1]);
            }
        }
        panic!("no redis-server of a cluster comes up");
    }

    #[track_caller]
    fn wait(&self, what: &str, is_so: impl Fn(&Redis) -> bool) {
        for server in &self.servers {
            assert!(
                poll(SOON, || is_so(server)),
                "{}: not so: {what}",
                server.address()
            );
        }
    }

    pub fn url(&self) -> String {
        let addresses: Vec<String> = self.servers.iter().map(Redis::address).collect();
        format!("redis://{}", addresses.join(","))
    }

    /// Moves so many slots from one server to another, with what is in them.
    #[track_caller]
    pub fn reshard(&self, from: usize, to: usize, slots: usize) {
        let (from, to) = (&self.servers[from], &self.servers[to]);
        let output = Command::new("redis-cli")
            .args(["--cluster", "reshard", &from.address()])
            .args(["--cluster-from", &from.call(&["CLUSTER", "MYID"])])
            .args(["--cluster-to", &to.call(&["CLUSTER", "MYID"])])
            .args(["--cluster-slots", &slots.to_string(), "--cluster-yes"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{}",
            &said[said.len().saturating_sub(2000)..]
        );
    }

    /// Kills a master, waits until its replica has taken over, and starts nothing in its place.
    pub fn fail_over(&mut self, master: usize) {
        self.servers[master].kill_9();
        let replica = &self.servers[master + 3];
        let is_master = || replica.call(&["INFO", "replication"]).contains("role:master");
        assert!(poll(SOON, is_master), "no replica takes over");
    }
}
