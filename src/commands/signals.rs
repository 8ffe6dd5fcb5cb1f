//! Signals: what ends a command, what has a node read files anew, and what must not end anything.
//!
//! The handlers stand before anything that takes long. A process that is the first of its container has no
//! default actions: a signal that comes before its handler is lost. There, every command that has no handler of its own
//! has one that does what the default action does elsewhere.
//!
//! SIGQUIT keeps its default action, which is a core dump: it is what an operator sends to a process that hangs.

use super::{Error, service};
use crate::net::Stopper;
use log::{info, warn};
use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use std::ffi::c_int;
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::Sender;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// What a shell reports of a process that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;

/// What a shell adds to the number of the signal that ended a process.
const EXIT_BY_SIGNAL: i32 = 128;

/// Whether a signal ends the first process of a container at once: until a command has a handler of its own.
static ENDS_AT_ONCE: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| Arc::new(AtomicBool::new(true)));

/// Signals closer to each other than this are one: `timeout` and the like signal a process and its group.
const SAME_SIGNAL_MAX: Duration = Duration::from_secs(1);

/// How far the node is.
enum Stage {
    /// There is nothing to end in order: what is on disk is as after a crash, for which it is made.
    Starting,
    Serving {
        stopper: Stopper,
        /// Whoever hands over first, and stops the server then.
        first: Option<Sender<()>>,
    },
    Stopping {
        since: Instant,
    },
}

/// What signals do to a node.
pub(super) struct Signals {
    /// What SIGINT and SIGTERM do.
    stage: Arc<Mutex<Stage>>,
    /// Set by SIGUSR1.
    pub(super) to_reopen: Arc<AtomicBool>,
    /// A byte for each SIGHUP.
    pub(super) hangups: UnixStream,
}

/// Gives a process that is the first of its container what ends any other: without default actions, Ctrl-C and a stop
/// would do nothing. Elsewhere the default actions stay, so that a shell sees that a signal ended its command.
pub(super) fn end_as_elsewhere() -> Result<(), Error> {
    if std::process::id() != 1 {
        return Ok(());
    }
    [SIGINT, SIGTERM, SIGHUP]
        .into_iter()
        .try_for_each(|signal| {
            let condition = Arc::clone(&ENDS_AT_ONCE);
            signal_hook::flag::register_conditional_shutdown(signal, EXIT_BY_SIGNAL + signal, condition)
                .map(drop)
        })
        .map_err(cannot_handle)
}

/// Has `end` run on SIGINT and on each of `others`, out of the signal handler, on a thread for each. It gets what a shell
/// reports of a process that the signal ended.
///
/// The crate `ctrlc` can take SIGTERM as well, and takes SIGHUP with it.
pub(super) fn on_end(others: &[c_int], end: impl Fn(i32) + Send + Sync + 'static) -> io::Result<()> {
    let end = Arc::new(end);
    let of_interrupt = Arc::clone(&end);
    ctrlc::set_handler(move || of_interrupt(EXIT_INTERRUPTED)).map_err(io::Error::other)?;
    for signal in others {
        let (mut came, status, end) = (bytes_of(*signal)?, EXIT_BY_SIGNAL + signal, Arc::clone(&end));
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            while came.read(&mut [0]).is_ok_and(|bytes| bytes > 0) {
                end(status);
            }
        })?;
    }
    ENDS_AT_ONCE.store(false, Relaxed);
    Ok(())
}

/// A stream with a byte for each of these signals that comes from now on.
fn bytes_of(signal: c_int) -> io::Result<UnixStream> {
    let (came, comes) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(signal, comes)?;
    Ok(came)
}

/// Makes a file that may not grow any more an error of the write, for every command: the default action is to end
/// the process.
pub(super) fn ignore_file_size_limit() {
    // Where this cannot be had, the process ends as it would have without.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
}

impl Signals {
    /// Handles signals from now on: until the node serves, one ends the process at once.
    pub(super) fn handle() -> Result<Signals, Error> {
        let stage = Arc::new(Mutex::new(Stage::Starting));
        let of_handler = Arc::clone(&stage);
        on_end(&[SIGTERM], move |_| on_signal(&mut lock(&of_handler))).map_err(cannot_handle)?;
        let hangups = bytes_of(SIGHUP).map_err(cannot_handle)?;
        let to_reopen = Arc::default();
        signal_hook::flag::register(SIGUSR1, Arc::clone(&to_reopen)).map_err(cannot_handle)?;
        for ignored in [SIGUSR2, SIGALRM] {
            signal_hook::flag::register(ignored, Arc::default()).map_err(cannot_handle)?;
        }
        Ok(Signals {
            stage,
            to_reopen,
            hangups,
        })
    }

    /// From now on the first signal drains, and a later one ends the process as a crash would: the log is made for
    /// that. If there is a `first`, the first signal goes to it instead of `stopper`.
    pub(super) fn serve(&self, stopper: Stopper, first: Option<Sender<()>>) {
        *lock(&self.stage) = Stage::Serving { stopper, first };
    }

    /// Has the access log opened anew, as SIGUSR1 does.
    pub(super) fn reopen_access_log(&self) {
        self.to_reopen.store(true, Relaxed);
    }

    /// Ends the thread that reads files anew. A SIGHUP does nothing from now on.
    pub(super) fn end_reloads(&self) {
        // It fails only where the other end is gone, which ends the thread too.
        let _ = self.hangups.shutdown(Shutdown::Both);
    }
}

fn cannot_handle(source: io::Error) -> Error {
    Error::Io {
        doing: "cannot handle signals".to_owned(),
        source,
    }
}

fn lock(stage: &Mutex<Stage>) -> MutexGuard<'_, Stage> {
    stage.lock().expect("nothing under the stage's lock panics")
}

fn on_signal(stage: &mut Stage) {
    match stage {
        Stage::Starting => {
            info!("stopped before the node had started");
            std::process::exit(0);
        }
        Stage::Serving { stopper, first } => {
            // First of all: nothing that goes wrong in saying so may keep the node from it.
            if first.as_ref().is_none_or(|first| first.send(()).is_err()) {
                stopper.stop();
            }
            *stage = Stage::Stopping {
                since: Instant::now(),
            };
            info!("stopping once the requests that have begun are answered; a second signal stops at once");
            service::is_stopping();
        }
        Stage::Stopping { since } if since.elapsed() < SAME_SIGNAL_MAX => {}
        Stage::Stopping { .. } => {
            warn!("stopping at once");
            std::process::exit(EXIT_INTERRUPTED);
        }
    }
}
