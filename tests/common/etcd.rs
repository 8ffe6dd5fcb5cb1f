//! A real etcd: one member or three, each a process of its own in a directory of its own, killed on drop.
//!
//! etcd must know its ports before it starts, so that its members find each other. Free ones are looked for below those
//! that the system gives to connections; where another process takes one first, others are tried.

use super::tls::{Ca, Pair};
use super::{Random, SOON, poll};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File, OpenOptions};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use tempfile::TempDir;

/// How often other ports are tried.
const ATTEMPTS: usize = 20;

/// Memory that looks like a disk: a disk that others keep busy makes etcd elect a new leader.
const MEMORY: &str = "/dev/shm";

/// How members are started.
#[derive(Clone, Debug)]
pub struct Place {
    /// Where it listens.
    pub host: IpAddr,
    /// What comes before the command: of a network namespace, say.
    pub wrapper: Vec<String>,
}

impl Place {
    /// On this machine, as everything else.
    pub fn here() -> Place {
        Place {
            host: Ipv4Addr::LOCALHOST.into(),
            wrapper: Vec::new(),
        }
    }
}

struct Member {
    place: Place,
    /// For clients, and for the other members.
    ports: [u16; 2],
    dir: PathBuf,
    log: PathBuf,
    process: Option<Child>,
}

/// See the module.
pub struct Etcd {
    home: TempDir,
    members: Vec<Member>,
    /// Beside those that every member has.
    args: Vec<String>,
    /// The file of the CA, where clients are spoken with under TLS.
    ca: Option<String>,
}

/// Whether etcd and etcdctl are installed.
pub fn is_installed() -> bool {
    ["etcd", "etcdctl"]
        .iter()
        .all(|program| Command::new(program).arg("--help").output().is_ok())
}

impl Etcd {
    /// So many members on this machine, ready; none where etcd is not installed.
    #[track_caller]
    pub fn start(members: usize) -> Option<Etcd> {
        Etcd::start_at(&vec![Place::here(); members], &[])
    }

    /// A member that speaks TLS with its clients.
    #[track_caller]
    pub fn start_tls(ca: &Ca, pair: &Pair) -> Option<Etcd> {
        let args = ["--cert-file", &pair.certificate, "--key-file", &pair.key];
        Etcd::start_with(&[Place::here()], &args, Some(ca.file()))
    }

    /// A member at each place, ready.
    #[track_caller]
    pub fn start_at(places: &[Place], args: &[&str]) -> Option<Etcd> {
        Etcd::start_with(places, args, None)
    }

    #[track_caller]
    fn start_with(places: &[Place], args: &[&str], ca: Option<String>) -> Option<Etcd> {
        if !is_installed() {
            return None;
        }
        for _ in 0..ATTEMPTS {
            let mut etcd = Etcd::new(places, args, ca.clone());
            for number in 0..places.len() {
                etcd.spawn(number);
            }
            let mut is_clash = false;
            let is_ready = poll(SOON, || {
                is_clash = etcd.has_clash();
                is_clash || etcd.is_healthy()
            });
            if is_clash {
                continue;
            }
            assert!(is_ready, "etcd is not ready");
            return Some(etcd);
        }
        panic!("no free ports were found");
    }

    fn new(places: &[Place], args: &[&str], ca: Option<String>) -> Etcd {
        let home = match Path::new(MEMORY).is_dir() {
            true => TempDir::new_in(MEMORY),
            false => TempDir::new(),
        };
        let home = home.unwrap();
        let member = |(number, place): (usize, &Place)| Member {
            place: place.clone(),
            ports: [free_port(place), free_port(place)],
            dir: home.path().join(format!("data{number}")),
            log: home.path().join(format!("log{number}")),
            process: None,
        };
        let members = places.iter().enumerate().map(member).collect();
        Etcd {
            members,
            home,
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            ca,
        }
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Where clients reach all members, separated by commas.
    pub fn endpoints(&self) -> String {
        let all: Vec<String> = (0..self.len()).map(|number| self.endpoint(number)).collect();
        all.join(",")
    }

    /// Where clients reach a member.
    pub fn endpoint(&self, number: usize) -> String {
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address(number))
    }

    /// The same as an address.
    pub fn address(&self, number: usize) -> SocketAddr {
        self.members[number].address(0)
    }

    /// The process of a member that runs.
    pub fn pid(&self, number: usize) -> u32 {
        let process = self.members[number].process.as_ref();
        process.expect("the member runs").id()
    }

    pub fn is_running(&self, number: usize) -> bool {
        self.members[number].process.is_some()
    }

    /// Ends a member as a crash does.
    pub fn kill_9(&mut self, number: usize) {
        let mut process = self.members[number].process.take().expect("the member runs");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    pub fn signal(&self, number: usize, signal: Signal) {
        kill_process(Pid::from_raw(self.pid(number) as i32).unwrap(), signal).unwrap();
    }

    /// Starts a member anew, on what it has; [`Etcd::is_ready`] waits for it.
    #[track_caller]
    pub fn start_again(&mut self, number: usize) {
        assert!(!self.is_running(number), "the member runs");
        let _ = fs::remove_file(&self.members[number].log);
        self.spawn(number);
    }

    /// Waits until all members that run are a cluster that can be written to. A member whose port was taken by a
    /// connection meanwhile is started again until the port is free.
    #[track_caller]
    pub fn is_ready(&mut self) {
        let is_ready = poll(SOON, || {
            for number in 0..self.len() {
                if self.members[number].has_clash() {
                    self.start_again(number);
                }
            }
            self.is_healthy()
        });
        assert!(is_ready, "etcd is not ready");
    }

    /// The member that leads; none where there is none, or none that can be asked.
    pub fn leader(&self) -> Option<usize> {
        for number in (0..self.len()).filter(|&number| self.is_running(number)) {
            let at = ["endpoint", "status", "--write-out", "json"];
            let Some(status) = self.try_ctl(number, &at) else {
                continue;
            };
            let status: serde_json::Value = serde_json::from_slice(&status).ok()?;
            let status = &status[0]["Status"];
            let leads = status["leader"] == status["header"]["member_id"] && status["leader"] != 0;
            if leads {
                return Some(number);
            }
        }
        None
    }

    /// Kills all members, and starts them on nothing.
    #[track_caller]
    pub fn lose_data(&mut self) {
        self.kill_all();
        for member in &self.members {
            fs::remove_dir_all(&member.dir).unwrap();
        }
        self.start_all();
    }

    /// Saves what the cluster has at the moment.
    #[track_caller]
    pub fn back_up(&self) -> PathBuf {
        let path = self.home.path().join("backup");
        let _ = fs::remove_file(&path);
        self.ctl(0, &["snapshot", "save", path.to_str().unwrap()]);
        path
    }

    /// Kills all members, and starts them on what was saved.
    #[track_caller]
    pub fn restore(&mut self, backup: &Path) {
        self.kill_all();
        for (number, member) in self.members.iter().enumerate() {
            fs::remove_dir_all(&member.dir).unwrap();
            let status = Command::new("etcdctl")
                .args(["snapshot", "restore"])
                .arg(backup)
                .args(self.identity(number))
                .arg("--data-dir")
                .arg(&member.dir)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            assert!(status.unwrap().success(), "the backup is restored");
        }
        self.start_all();
    }

    pub fn kill_all(&mut self) {
        for number in 0..self.len() {
            if self.is_running(number) {
                self.kill_9(number);
            }
        }
    }

    #[track_caller]
    pub fn start_all(&mut self) {
        for number in 0..self.len() {
            self.start_again(number);
        }
        self.is_ready();
    }

    /// Runs etcdctl at a member, and returns what it prints.
    #[track_caller]
    pub fn ctl(&self, number: usize, args: &[&str]) -> Vec<u8> {
        let printed = self.try_ctl(number, args);
        printed.unwrap_or_else(|| panic!("etcdctl {args:?} has failed"))
    }

    /// The same; none where it fails.
    pub fn try_ctl(&self, number: usize, args: &[&str]) -> Option<Vec<u8>> {
        let output = self
            .command(number, "etcdctl")
            .arg("--endpoints")
            .arg(self.endpoint(number))
            .args(["--command-timeout", "5s", "--dial-timeout", "5s"])
            .args(self.ca.iter().flat_map(|ca| ["--cacert", ca]))
            .args(args)
            .output()
            .unwrap();
        output.status.success().then_some(output.stdout)
    }

    fn command(&self, number: usize, program: &str) -> Command {
        let mut command = match self.members[number].place.wrapper.split_first() {
            None => Command::new(program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        command
            .env("ETCDCTL_API", "3")
            .env_remove("ETCD_UNSUPPORTED_ARCH");
        command
    }

    /// What names a member among the others.
    fn identity(&self, number: usize) -> Vec<String> {
        let url = |number: usize| format!("http://{}", self.members[number].address(1));
        let all: Vec<String> = (0..self.len())
            .map(|number| format!("m{number}={}", url(number)))
            .collect();
        [
            "--name",
            &format!("m{number}"),
            "--initial-cluster",
            &all.join(","),
            "--initial-advertise-peer-urls",
            &url(number),
        ]
        .map(str::to_owned)
        .to_vec()
    }

    fn spawn(&mut self, number: usize) {
        let (url, peer_url) = (self.endpoint(number), self.members[number].address(1));
        let log = append_to(&self.members[number].log);
        let child = self
            .command(number, "etcd")
            .args(self.identity(number))
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &format!("http://{peer_url}")])
            .arg("--data-dir")
            .arg(&self.members[number].dir)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.members[number].process = Some(child);
    }

    fn has_clash(&mut self) -> bool {
        self.members.iter_mut().any(Member::has_clash)
    }

    /// Whether each member that runs reads what was written, so has a leader.
    fn is_healthy(&self) -> bool {
        (0..self.len())
            .filter(|&number| self.is_running(number))
            .all(|number| self.try_ctl(number, &["endpoint", "health"]).is_some())
    }
}

impl Member {
    fn address(&self, which: usize) -> SocketAddr {
        SocketAddr::new(self.place.host, self.ports[which])
    }

    /// Whether it has ended because a port is not free; it may be started again then.
    fn has_clash(&mut self) -> bool {
        let Some(process) = &mut self.process else {
            return false;
        };
        if process.try_wait().unwrap().is_none() {
            return false;
        }
        self.process = None;
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        assert!(log.contains("address already in use"), "etcd has ended:\n{log}");
        true
    }
}

fn append_to(path: &Path) -> File {
    let mut options = OpenOptions::new();
    options.append(true).create(true).open(path).unwrap()
}

/// A port that is free at the moment, and that no outgoing connection gets: the system gives those from 32768 on.
fn free_port(place: &Place) -> u16 {
    static RANDOM: Mutex<Option<Random>> = Mutex::new(None);
    let mut random = RANDOM.lock().unwrap();
    let random = random.get_or_insert_with(|| Random::new(std::process::id().into()));
    loop {
        let port = 10_000 + random.below(20_000) as u16;
        // An address of another namespace cannot be tried from here.
        if !place.wrapper.is_empty() || TcpListener::bind((place.host, port)).is_ok() {
            return port;
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if thread::panicking() {
            for member in &self.members {
                let log = fs::read_to_string(&member.log).unwrap_or_default();
                let from = log.len().saturating_sub(4000);
                let from = (from..=log.len())
                    .find(|&at| log.is_char_boundary(at))
                    .unwrap_or(0);
                eprintln!("--- etcd at {}:\n{}---", member.address(0), &log[from..]);
            }
        }
        for member in &mut self.members {
            if let Some(mut process) = member.process.take() {
                let _ = process.kill();
                let _ = process.wait();
            }
        }
    }
}
