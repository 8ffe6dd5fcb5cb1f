//! The real binary, started on a free port in a directory of its own.

use super::client::Client;
use super::engine::{self, Redis};
use super::{Response, SOON, cli, eventually};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use tempfile::TempDir;

/// Flags with a value that say how a node keeps its entries, and that a test gives it whose entries another engine keeps.
const OF_STORE: [&str; 2] = ["--fsync", "--max-capacity"];

/// A node in preparation.
pub struct Setup {
    command: &'static str,
    listen: String,
    args: Vec<String>,
    wrapper: Vec<String>,
    data: Option<PathBuf>,
}

/// A node as a process. Its directory outlives the process, so it can be killed and started again.
/// Dropped, it kills the process; dropped by a test that fails, it first prints what it knows.
pub struct Server {
    home: TempDir,
    data: PathBuf,
    command: &'static str,
    listen: String,
    args: Vec<String>,
    wrapper: Vec<String>,
    /// What holds its entries, where tests of nodes are run against another engine.
    engine: Option<Redis>,
    process: Option<Process>,
    exit: Option<ExitStatus>,
    /// A file, so that what the process has said is there at once.
    stderr: File,
}

struct Process {
    child: Child,
    address: SocketAddr,
    stdout: thread::JoinHandle<()>,
}

impl Setup {
    /// `serve` with these arguments beside the address and the directory.
    pub fn new(args: &[&str]) -> Setup {
        Setup {
            command: "serve",
            listen: "127.0.0.1:0".to_owned(),
            args: args.iter().map(|arg| arg.to_string()).collect(),
            wrapper: Vec::new(),
            data: None,
        }
    }

    /// `replica` that follows one of these, with these arguments beside.
    pub fn replica(from: &str, args: &[&str]) -> Setup {
        let mut setup = Setup::new(&["--from", from]);
        setup.command = "replica";
        setup.args.extend(args.iter().map(|arg| arg.to_string()));
        setup
    }

    /// A command that ends in running what it is given after its own arguments.
    pub fn wrapper(mut self, wrapper: &[&str]) -> Setup {
        self.wrapper = wrapper.iter().map(|arg| arg.to_string()).collect();
        self
    }

    /// Where it listens, if not at a free port of this machine.
    pub fn listen(mut self, listen: &str) -> Setup {
        self.listen = listen.to_owned();
        self
    }

    /// A data directory other than one of its own.
    pub fn data(mut self, data: &Path) -> Setup {
        self.data = Some(data.to_path_buf());
        self
    }

    #[track_caller]
    pub fn start(self) -> Server {
        let home = TempDir::new().unwrap();
        let data = self.data.unwrap_or_else(|| home.path().join("data"));
        let mut server = Server {
            home,
            data,
            command: self.command,
            listen: self.listen,
            args: self.args,
            wrapper: self.wrapper,
            engine: (self.command == "serve" && engine::is_another()).then(Redis::start),
            process: None,
            exit: None,
            stderr: tempfile::tempfile().unwrap(),
        };
        server.start_again();
        server
    }
}

impl Server {
    /// A node with these arguments beside the address and the directory.
    #[track_caller]
    pub fn start(args: &[&str]) -> Server {
        Setup::new(args).start()
    }

    /// Starts the process anew on the same directory; the port is another one.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "the node is running");
        let mut child = self.spawn();
        let (ready, is_ready) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stdout = thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = ready.send(line);
            }
        });
        let line = is_ready.recv_timeout(SOON);
        let address = line
            .as_deref()
            .ok()
            .and_then(|line| line.strip_prefix("listening on http"))
            .map(|rest| rest.strip_prefix('s').unwrap_or(rest))
            .and_then(|rest| rest.strip_prefix("://"))
            .and_then(|address| address.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            self.exit = child.wait().ok();
            let _ = stdout.join();
            let line = line.map_err(|error: RecvTimeoutError| error.to_string());
            panic!("the node is not ready: {line:?}"); // Dropping `self` prints the rest.
        };
        self.exit = None;
        self.process = Some(Process {
            child,
            address,
            stdout,
        });
    }

    /// Starts the process and kills it at once, before it can be ready.
    pub fn start_and_kill_9(&mut self) {
        assert!(self.process.is_none(), "the node is running");
        let mut child = self.spawn();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// The other arguments. A gateway refuses those that are about entries of its own.
    fn of_store(&self) -> Vec<OsString> {
        let is_gateway = self.engine.is_some() || self.args.iter().any(|arg| arg == "--engine");
        let mut args: Vec<OsString> = self.args.iter().map(OsString::from).collect();
        if !is_gateway {
            args.splice(0..0, ["--dir".into(), self.data.clone().into_os_string()]);
        }
        while let Some(at) = args
            .iter()
            .position(|arg| self.engine.is_some() && OF_STORE.iter().any(|one| arg == one))
        {
            args.drain(at..at + 2);
        }
        args
    }

    fn spawn(&self) -> Child {
        let binary = env!("CARGO_BIN_EXE_pykv");
        let mut command = match self.wrapper.split_first() {
            None => cli::command(),
            Some((program, rest)) => {
                let mut command = Command::new(program);
                command.args(rest).arg(binary);
                command
            }
        };
        command
            .args([self.command, "--listen", &self.listen])
            .args(self.of_store())
            .args(
                self.engine
                    .iter()
                    .flat_map(|engine| ["--engine".to_owned(), engine.url()]),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(self.stderr.try_clone().unwrap())
            .spawn()
            .unwrap()
    }

    /// A directory for what else a test needs; the data directory stands in it.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        &self.data
    }

    /// Where it listens, while it runs.
    pub fn try_address(&self) -> Option<SocketAddr> {
        self.process.as_ref().map(|process| process.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.process.as_ref().expect("the node is running").address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the node is running").child.id()
    }

    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.client().get(target)
    }

    /// What the process has written to standard error so far, over all its lives.
    pub fn stderr(&self) -> String {
        let mut said = vec![0; self.stderr.metadata().unwrap().len() as usize];
        self.stderr.read_exact_at(&mut said, 0).unwrap();
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Resident memory, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib * 1024
    }

    pub fn is_running(&mut self) -> bool {
        let process = self.process.as_mut().expect("the node was started");
        process.child.try_wait().unwrap().is_none()
    }

    /// Ends the process as a crash does.
    pub fn kill_9(&mut self) {
        let mut process = self.process.take().expect("the node is running");
        process.child.kill().unwrap();
        self.exit = Some(process.child.wait().unwrap());
        process.stdout.join().unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid() as i32).unwrap(), signal).unwrap();
    }

    /// Stops the process as SIGSTOP does, and waits until every thread of it stands still: the signal is only sent when
    /// `kill` returns.
    #[track_caller]
    pub fn suspend(&self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.pid());
        // In `stat` the state follows the name, which stands in parentheses.
        let is_stopped = |stat: String| {
            stat.rsplit_once(") ")
                .is_some_and(|(_, rest)| rest.starts_with('T'))
        };
        eventually("every thread stands still", || {
            let tasks = std::fs::read_dir(&tasks).unwrap();
            let mut stats = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")));
            stats.all(|stat| stat.is_ok_and(is_stopped))
        });
    }

    /// Asks the process to end and waits until it has.
    #[track_caller]
    pub fn sigterm(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits until the process has ended, for whatever reason.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the node ends", || !self.is_running());
        let mut process = self.process.take().unwrap();
        let status = process.child.wait().unwrap();
        self.exit = Some(status);
        process.stdout.join().unwrap();
        status
    }

    /// A crash, and the start after it.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill_9();
        self.start_again();
    }

    /// The offset just past the last record handed to the log; of a gateway none, which is 0.
    #[track_caller]
    pub fn offset(&self) -> u64 {
        if self.engine.is_some() {
            return 0;
        }
        let status = self.get("/status").expect(200).body_json();
        status["log"]["offset"]
            .as_u64()
            .unwrap_or_else(|| panic!("no offset in {status}"))
    }

    fn explain(&mut self) {
        if let Some(process) = &mut self.process {
            self.exit = process.child.try_wait().ok().flatten();
        }
        let state = match (&self.exit, &self.process) {
            (Some(status), _) => status.to_string(),
            (None, Some(_)) => "still running".to_string(),
            (None, None) => "never started".to_string(),
        };
        eprintln!("--- the node: {state}; {} {}", self.command, self.args.join(" "));
        for entry in std::fs::read_dir(&self.data).into_iter().flatten().flatten() {
            let bytes = entry.metadata().map_or(0, |metadata| metadata.len());
            eprintln!("--- {:>12} bytes  {}", bytes, entry.path().display());
        }
        let stderr = self.stderr();
        let shown = stderr.len().saturating_sub(8000);
        let shown = (shown..=stderr.len())
            .find(|&at| stderr.is_char_boundary(at))
            .unwrap_or(0);
        eprintln!("--- its standard error:\n{}---", &stderr[shown..]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            self.explain();
        }
        if let Some(mut process) = self.process.take() {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}
