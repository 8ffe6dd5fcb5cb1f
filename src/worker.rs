//! Threads of the node's own: how one is called, stopped and joined.

use std::fmt;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// A running thread. [`Worker::stop`] ends and joins it, and so does dropping it.
pub(crate) struct Worker {
    name: &'static str,
    end: Box<dyn Fn() + Send + Sync>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts a thread that does `work`. `end` makes `work` return soon.
    pub(crate) fn start(
        name: &'static str,
        end: impl Fn() + Send + Sync + 'static,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<Worker> {
        let thread = Builder::new().name(name.to_owned()).spawn(work)?;
        Ok(Worker {
            name,
            end: Box::new(end),
            thread: Some(thread),
        })
    }

    /// Ends the thread, and waits for it. A panic of it is logged.
    pub(crate) fn stop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        (self.end)();
        if thread.join().is_err() {
            log::error!("the thread `{}` has panicked", self.name);
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What a worker waits for between its rounds.
#[derive(Default)]
pub(crate) struct Signal {
    state: Mutex<Called>,
    changed: Condvar,
}

/// What a worker is called for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Called {
    pub(crate) to_work: bool,
    pub(crate) to_stop: bool,
}

impl Signal {
    /// Calls the worker to work. One call is remembered until its next wait.
    pub(crate) fn call(&self) {
        self.state().to_work = true;
        self.changed.notify_all();
    }

    /// Calls it to end, for good.
    pub(crate) fn stop(&self) {
        self.state().to_stop = true;
        self.changed.notify_all();
    }

    /// Returns when called, or after `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) -> Called {
        let is_idle = |called: &mut Called| !called.to_work && !called.to_stop;
        let waited = self.changed.wait_timeout_while(self.state(), timeout, is_idle);
        let (mut state, _) = waited.expect("nothing under the signal's lock panics");
        let called = *state;
        state.to_work = false;
        called
    }

    fn state(&self) -> MutexGuard<'_, Called> {
        self.state.lock().expect("nothing under the signal's lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn a_worker_works_when_called_and_ends_when_dropped() {
        let signal = Arc::new(Signal::default());
        let (sender, rounds) = mpsc::channel();
        let (to_end, of_thread) = (Arc::clone(&signal), Arc::clone(&signal));
        let work = move || {
            while !of_thread.wait(PATIENCE).to_stop {
                sender.send(()).unwrap();
            }
        };
        let worker = Worker::start("test", move || to_end.stop(), work).unwrap();
        signal.call();
        rounds.recv_timeout(PATIENCE).unwrap();
        drop(worker);
        assert!(rounds.recv().is_err(), "the thread has ended");
    }

    #[test]
    fn a_call_before_the_wait_is_not_lost_and_counts_once() {
        let signal = Signal::default();
        signal.call();
        signal.call();
        let called = |to_work, to_stop| Called { to_work, to_stop };
        assert_eq!(signal.wait(PATIENCE), called(true, false));
        assert_eq!(signal.wait(Duration::ZERO), called(false, false));
        signal.stop();
        assert_eq!(signal.wait(PATIENCE), called(false, true));
        assert_eq!(signal.wait(PATIENCE), called(false, true));
    }

    #[test]
    fn a_worker_that_panicked_is_joined_all_the_same() {
        let work = || std::panic::resume_unwind(Box::new("of a test"));
        let mut worker = Worker::start("test", || {}, work).unwrap();
        worker.stop();
        worker.stop();
    }
}
