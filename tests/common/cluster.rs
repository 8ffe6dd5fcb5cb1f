//! Nodes that follow each other, each reached by others over a link that a test has in its hand.

use super::etcd::Etcd;
use super::proxy::Proxy;
use super::{Response, Server, eventually, node::Setup, pykv};
use serde_json::Value;

/// A node and the link by which all others reach it.
pub struct Member {
    pub server: Server,
    pub link: Proxy,
}

impl Member {
    /// A node that is primary until it hears of another.
    #[track_caller]
    pub fn primary(args: &[&str]) -> Member {
        let link = Proxy::start();
        let advertise = link.address();
        let args = [args, &["--advertise", &advertise]].concat();
        Member::of(Setup::new(&args), link)
    }

    /// A node that follows the one that is primary among `from`.
    #[track_caller]
    pub fn replica(from: &[&Member], args: &[&str]) -> Member {
        let link = Proxy::start();
        let advertise = link.address();
        let from: Vec<String> = from.iter().map(|member| member.link.address()).collect();
        let args = [args, &["--advertise", &advertise]].concat();
        Member::of(Setup::replica(&from.join(","), &args), link)
    }

    /// A node of the cluster `shop`, of which etcd says who is primary; with the shortest lease that there is.
    #[track_caller]
    pub fn elected(etcd: &Etcd, args: &[&str]) -> Member {
        let link = Proxy::start();
        let (endpoints, advertise) = (etcd.endpoints(), link.address());
        let of_etcd = ["--etcd", &endpoints, "--cluster", "shop", "--etcd-ttl", "5s"];
        let args = [&of_etcd, args, &["--advertise", &advertise]].concat();
        Member::of(Setup::new(&args), link)
    }

    #[track_caller]
    pub fn of(setup: Setup, link: Proxy) -> Member {
        let server = setup.start();
        link.lead_to(server.address());
        Member { server, link }
    }

    /// Starts it anew, as it was started first.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.server.start_again();
        self.link.lead_to(self.server.address());
    }

    #[track_caller]
    pub fn status(&self) -> Value {
        self.server.get("/status").expect(200).body_json()
    }

    #[track_caller]
    pub fn is_primary(&self) -> bool {
        self.status()["role"] == "primary"
    }

    /// Gives a key a value.
    #[track_caller]
    pub fn set(&self, key: &str, value: &str) -> Response {
        let answer = self
            .server
            .client()
            .put(&format!("/kv/{key}?upsert=true"), value.as_bytes());
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        answer
    }

    /// Gives many keys a value, by pipelined requests.
    #[track_caller]
    pub fn fill(&self, prefix: &str, count: usize, value: &str) {
        let mut client = self.server.client();
        for first in (0..count).step_by(100) {
            let count = 100.min(count - first);
            let mut bytes = Vec::new();
            for at in first..first + count {
                let path = format!("/kv/{prefix}{at}?upsert=true");
                bytes.extend(super::client::encode("PUT", &path, &[], value.as_bytes()));
            }
            client.send(&bytes).unwrap();
            for _ in 0..count {
                let answer = client.response(false).unwrap();
                assert!(matches!(answer.status, 200 | 201), "{answer:?}");
            }
        }
    }

    /// The text of a key's value; none where it is not there.
    #[track_caller]
    pub fn value(&self, key: &str) -> Option<String> {
        let answer = self.server.get(&format!("/kv/{key}?raw"));
        match answer.status {
            200 => Some(String::from_utf8(answer.body).unwrap()),
            404 => None,
            _ => panic!("{answer:?}"),
        }
    }

    /// Waits until it takes the log of another.
    #[track_caller]
    pub fn streams(&self) {
        eventually("it follows", || {
            self.status()["replication"]["state"] == "streaming"
        });
    }

    /// Waits until it knows that it has all of what it follows: only then would it take over by itself.
    #[track_caller]
    pub fn is_even(&self) {
        eventually("it is even", || {
            let replication = &self.status()["replication"];
            replication["state"] == "streaming" && replication["lag_bytes"] == 0
        });
    }

    /// Makes it primary; the present one hands over.
    #[track_caller]
    pub fn promote(&self) {
        pykv(&["promote"]).at(&self.server).succeed();
    }

    /// Makes it primary, though the present one cannot be asked.
    #[track_caller]
    pub fn promote_by_force(&self) {
        pykv(&["promote", "--force"]).at(&self.server).succeed();
    }

    /// What `pykv log` prints of the files that tell what this node has set aside.
    pub fn set_aside(&self) -> String {
        let mut all = String::new();
        for entry in std::fs::read_dir(self.server.dir()).unwrap().flatten() {
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with("diverged-") {
                let output = pykv(&["log", path.to_str().unwrap()]).succeed();
                all.push_str(&String::from_utf8(output).unwrap());
            }
        }
        all
    }
}

/// Waits until all of them hold the same at the same offset.
#[track_caller]
pub fn become_equal(members: &[&Member]) {
    let state = |member: &Member| {
        let log = &member.status()["log"];
        (
            log["digest_offset"].clone(),
            log["digest"].clone(),
            log["offset"].clone(),
        )
    };
    let mut seen = Vec::new();
    let is_equal = super::poll(super::SOON, || {
        seen = members.iter().map(|member| state(member)).collect();
        seen.iter().all(|one| *one == seen[0])
    });
    assert!(is_equal, "they do not become equal: {seen:?}");
}
