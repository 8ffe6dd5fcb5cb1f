//! Signals: what ends a node, what reopens its access log, and what must not end any command.
//!
//! The handlers stand before anything that takes long. A process that is the first of its container has no
//! default actions: a signal that comes before its handler is lost.
//!
//! SIGQUIT keeps its default action, which is a core dump: it is what an operator sends to a process that hangs.

use super::{Error, service};
use crate::net::Stopper;
use log::{info, warn};
use signal_hook::consts::{SIGALRM, SIGUSR1, SIGUSR2, SIGXFSZ};
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// What a shell reports of a process that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;

/// Signals closer to each other than this are one: `timeout` and the like signal a process and its group.
const SAME_SIGNAL_MAX: Duration = Duration::from_secs(1);

/// How far the node is.
enum Stage {
    /// There is nothing to end in order: what is on disk is as after a crash, for which it is made.
    Starting,
    Serving(Stopper),
    Stopping {
        since: Instant,
    },
}

/// What SIGINT, SIGTERM and SIGHUP do.
pub(super) struct Signals {
    stage: Arc<Mutex<Stage>>,
    /// Set by SIGUSR1.
    pub(super) to_reopen: Arc<AtomicBool>,
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
        ctrlc::set_handler(move || on_signal(&mut lock(&of_handler)))
            .map_err(|error| cannot_handle(io::Error::other(error)))?;
        let to_reopen = Arc::default();
        signal_hook::flag::register(SIGUSR1, Arc::clone(&to_reopen)).map_err(cannot_handle)?;
        for ignored in [SIGUSR2, SIGALRM] {
            signal_hook::flag::register(ignored, Arc::default()).map_err(cannot_handle)?;
        }
        Ok(Signals { stage, to_reopen })
    }

    /// From now on the first signal drains, and a later one ends the process as a crash would: the log is made for
    /// that.
    pub(super) fn serve(&self, stopper: Stopper) {
        *lock(&self.stage) = Stage::Serving(stopper);
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
        Stage::Serving(stopper) => {
            // First of all: nothing that goes wrong in saying so may keep the node from it.
            stopper.stop();
            *stage = Stage::Stopping {
                since: Instant::now(),
            };
            info!("stopping: requests that have begun are answered first; once more to stop at once");
            service::is_stopping();
        }
        Stage::Stopping { since } if since.elapsed() < SAME_SIGNAL_MAX => {}
        Stage::Stopping { .. } => {
            warn!("stopping at once");
            std::process::exit(EXIT_INTERRUPTED);
        }
    }
}
