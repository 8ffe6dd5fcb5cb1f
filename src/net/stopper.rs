//! Stops a server from outside.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Stops a server. Clones stop the same one.
#[derive(Clone, Debug)]
pub(crate) struct Stopper(Arc<Stop>);

#[derive(Debug)]
struct Stop {
    stopping: AtomicBool,
    #[cfg(test)]
    is_to_panic: AtomicBool,
    /// A byte in it wakes the accept loop.
    wake: UnixStream,
}

impl Stopper {
    /// One that wakes the accept loop by a byte in this pipe.
    pub(crate) fn new(wake: UnixStream) -> Stopper {
        Stopper(Arc::new(Stop {
            stopping: AtomicBool::new(false),
            #[cfg(test)]
            is_to_panic: AtomicBool::new(false),
            wake,
        }))
    }

    /// Makes [`Server::run`](crate::server::Server::run) stop accepting, finish what is in flight and return. May be called at any time
    /// and any number of times.
    pub(crate) fn stop(&self) {
        self.0.stopping.store(true, SeqCst);
        // Where the pipe is full, there is enough in it to wake the loop.
        let _ = (&self.0.wake).write(&[0]);
    }

    /// Makes the accept loop panic at its next turn.
    #[cfg(test)]
    pub(crate) fn panic(&self) {
        self.0.is_to_panic.store(true, SeqCst);
        let _ = (&self.0.wake).write(&[0]);
    }

    #[cfg(test)]
    pub(crate) fn is_to_panic(&self) -> bool {
        self.0.is_to_panic.load(SeqCst)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.0.stopping.load(SeqCst)
    }
}
