//! One run of a subcommand.

use super::{Server, poll};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// A command that runs longer than this hangs.
const RUN_MAX: Duration = Duration::from_secs(60);

/// The variables that the command line reads; a developer's own must not change what a test sees.
const VARIABLES: [&str; 9] = [
    "PYKV_TLS_CA",
    "PYKV_SERVER",
    "PYKV_TOKEN",
    "PYKV_TOKEN_FILE",
    "PYKV_LISTEN",
    "PYKV_DIR",
    "PYKV_LOG",
    "NO_COLOR",
    "CLICOLOR_FORCE",
];

/// The binary under test with a clean environment.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pykv"));
    for variable in VARIABLES {
        command.env_remove(variable);
    }
    command
}

/// A run of `pykv` in preparation.
pub struct Run {
    command: Command,
    stdin: Vec<u8>,
}

/// What a run left behind.
#[derive(Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// `pykv` with arguments; [`Run::run`] runs it.
pub fn pykv(args: &[&str]) -> Run {
    let mut command = command();
    command.args(args);
    Run {
        command,
        stdin: Vec::new(),
    }
}

impl Run {
    /// Against this node.
    pub fn at(self, node: &Server) -> Run {
        let url = node.url();
        self.env("PYKV_SERVER", &url)
    }

    pub fn env(mut self, variable: &str, value: &str) -> Run {
        self.command.env(variable, value);
        self
    }

    pub fn arg(mut self, arg: impl AsRef<std::ffi::OsStr>) -> Run {
        self.command.arg(arg);
        self
    }

    pub fn dir(self, dir: &Path) -> Run {
        self.arg("--dir").arg(dir)
    }

    pub fn stdin(mut self, bytes: &[u8]) -> Run {
        self.stdin = bytes.to_vec();
        self
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Output {
        let what = format!("{:?}", self.command);
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let bytes = self.stdin;
        // A command need not read what it is given; a broken pipe is no failure of the test.
        let writer = thread::spawn(move || drop(stdin.write_all(&bytes)));
        let stdout = reader(child.stdout.take().unwrap());
        let stderr = reader(child.stderr.take().unwrap());
        let mut status = None;
        if !poll(RUN_MAX, || {
            status = child.try_wait().unwrap();
            status.is_some()
        }) {
            child.kill().unwrap();
            child.wait().unwrap();
            let stderr = String::from_utf8_lossy(&stderr.join().unwrap()).into_owned();
            panic!("{what} did not end within {RUN_MAX:?}; stderr: {stderr}");
        }
        writer.join().unwrap();
        Output {
            code: status.unwrap().code(),
            stdout: stdout.join().unwrap(),
            stderr: String::from_utf8_lossy(&stderr.join().unwrap()).into_owned(),
        }
    }

    /// Runs it and fails the test unless it exits 0; its standard output.
    #[track_caller]
    pub fn succeed(self) -> Vec<u8> {
        self.expect(0).stdout
    }

    /// Runs it and fails the test unless it exits with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Output {
        let what = format!("{:?}", self.command);
        let output = self.run();
        assert_eq!(output.code, Some(code), "exit code of {what}: {output:?}");
        output
    }

    /// Starts it and leaves it running, its output to be read from the child.
    pub fn spawn(mut self) -> Background {
        Background(
            self.command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        )
    }
}

/// A child that is killed when the test lets go of it.
pub struct Background(pub Child);

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn reader(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// The lines of `pykv log`, each a JSON object.
pub fn log_records(dir: &Path) -> Vec<serde_json::Value> {
    let stdout = pykv(&["log"]).dir(dir).succeed();
    String::from_utf8(stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}")))
        .collect()
}
