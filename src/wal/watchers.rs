//! Those who wait for the log to grow, and how they are woken.
//!
//! Whoever writes the log must not pay for those who watch it. Where nobody waits, telling them is one load
//! of a counter; where a thousand do, it wakes one of them, who wakes the next, and so on.
//!
//! # Pacing
//! Under load the log grows thousands of times a second, and most of what it grows by does not concern most
//! watchers. If each of a thousand looked at every growth, looking would take all the processor there is. So
//! a feed that has looked does not look again before its share of [`LOOKS_A_SECOND`] comes round: with one
//! watcher after 0.1 ms, with a thousand after 0.1 s. One that has not looked for longer looks at once.
//!
//! # What must hold
//! - A watcher that waits for the log to pass an offset is woken when it has: it counts itself before it
//!   looks at how far the log is, and the writer looks at the count after it has said how far it is.
//! - Nothing is done under the lock but to look at numbers, so a writer that takes it does not wait.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How often all feeds together look at what is new.
const LOOKS_A_SECOND: u32 = 10_000;

/// How long ago a feed may have ended of whose watcher it is still thought that it comes back.
const LATELY: Duration = Duration::from_secs(600);

pub(super) struct Watchers {
    started: Instant,
    /// When a feed last came or went, in ms since `started`, and 1 more; 0 for never.
    last_ms: AtomicU64,
    /// Feeds there are: as many as share the looks.
    feeds: AtomicUsize,
    /// Threads that wait for the log to grow.
    waiting: AtomicUsize,
    lock: Mutex<()>,
    grown: Condvar,
    /// Where those wait whose share of looks is used up. They are woken only to give up.
    rested: Condvar,
}

impl Default for Watchers {
    fn default() -> Watchers {
        Watchers {
            started: Instant::now(),
            last_ms: AtomicU64::new(0),
            feeds: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            lock: Mutex::default(),
            grown: Condvar::new(),
            rested: Condvar::new(),
        }
    }
}

impl Watchers {
    /// Whether somebody reads the log from behind, or did lately and may come back.
    pub(super) fn were_lately(&self) -> bool {
        let last_ms = self.last_ms.load(Ordering::Relaxed);
        let is_late = || self.started.elapsed() >= Duration::from_millis(last_ms) + LATELY;
        self.feeds.load(Ordering::Relaxed) > 0 || (last_ms > 0 && !is_late())
    }

    fn note(&self) {
        let ms = self.started.elapsed().as_millis() as u64;
        self.last_ms.store(ms + 1, Ordering::Relaxed);
    }

    /// Counts a feed in.
    pub(super) fn enter(&self) {
        self.note();
        self.feeds.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a feed out.
    pub(super) fn leave(&self) {
        self.note();
        self.feeds.fetch_sub(1, Ordering::Relaxed);
    }

    /// How long a feed rests from one look to the next.
    pub(super) fn rest(&self) -> Duration {
        let feeds = self.feeds.load(Ordering::Relaxed);
        Duration::from_secs(1) * u32::try_from(feeds).unwrap_or(u32::MAX) / LOOKS_A_SECOND
    }

    /// Tells that the log has grown. Called after that can be seen.
    pub(super) fn tell_grown(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            // A watcher that looked just before this sleeps by the time that the lock can be had.
            drop(self.lock());
            self.grown.notify_one();
        }
    }

    /// Makes everybody who waits ask again whether to continue.
    pub(super) fn wake_all(&self) {
        drop(self.lock());
        self.grown.notify_all();
        self.rested.notify_all();
    }

    /// Returns whether the log has grown: at once when it has, else `false` at the deadline, or where it is
    /// not to continue.
    pub(super) fn wait(
        &self,
        has_grown: impl Fn() -> bool,
        deadline: Instant,
        go_on: impl Fn() -> bool,
    ) -> bool {
        if has_grown() {
            return true;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let mut guard = self.lock();
        let grown = loop {
            if has_grown() {
                break true;
            }
            guard = match self.sleep(&self.grown, guard, deadline, &go_on) {
                Ok(guard) => guard,
                Err(guard) => {
                    drop(guard);
                    break false;
                }
            };
        };
        let others = self.waiting.fetch_sub(1, Ordering::Relaxed) > 1;
        // Who was woken wakes the next.
        if grown && others {
            self.grown.notify_one();
        }
        grown
    }

    /// Waits until a moment, or until it is not to continue.
    pub(super) fn rest_until(&self, moment: Instant, go_on: impl Fn() -> bool) {
        if Instant::now() >= moment {
            return;
        }
        let mut guard = self.lock();
        while let Ok(again) = self.sleep(&self.rested, guard, moment, &go_on) {
            guard = again;
        }
    }

    /// Sleeps once; `Err` where there is no sleeping on.
    fn sleep<'a>(
        &self,
        on: &Condvar,
        guard: MutexGuard<'a, ()>,
        deadline: Instant,
        go_on: &impl Fn() -> bool,
    ) -> Result<MutexGuard<'a, ()>, MutexGuard<'a, ()>> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || !go_on() {
            return Err(guard);
        }
        let (guard, _) = on
            .wait_timeout(guard, left)
            .expect("nothing under the watchers' lock panics");
        Ok(guard)
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().expect("nothing under the watchers' lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicU64};
    use std::thread;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn everybody_who_waits_is_told() {
        let (watchers, position) = (Watchers::default(), AtomicU64::new(0));
        thread::scope(|scope| {
            let waiting: Vec<_> = (0..50)
                .map(|_| {
                    scope.spawn(|| {
                        let deadline = Instant::now() + PATIENCE;
                        (0..200).all(|at| {
                            let has_grown = || position.load(Ordering::Relaxed) > at;
                            watchers.wait(has_grown, deadline, || true)
                        })
                    })
                })
                .collect();
            for _ in 0..200 {
                position.fetch_add(1, Ordering::Relaxed);
                watchers.tell_grown();
            }
            assert!(waiting.into_iter().all(|thread| thread.join().unwrap()));
        });
        assert_eq!(watchers.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn who_is_not_to_go_on_is_woken() {
        let (watchers, stops) = (Watchers::default(), AtomicBool::new(false));
        let go_on = || !stops.load(Ordering::SeqCst);
        let begun = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| assert!(!watchers.wait(|| false, begun + PATIENCE, go_on)));
            scope.spawn(|| watchers.rest_until(begun + PATIENCE, go_on));
            stops.store(true, Ordering::SeqCst);
            watchers.wake_all();
        });
        assert!(begun.elapsed() < PATIENCE / 2);
        assert!(!watchers.wait(|| false, Instant::now(), || true));
    }

    #[test]
    fn many_feeds_look_as_often_together_as_few() {
        let watchers = Watchers::default();
        for feeds in 1..=1000 {
            watchers.enter();
            assert_eq!(watchers.rest(), Duration::from_micros(100) * feeds);
        }
        (0..1000).for_each(|_| watchers.leave());
        assert_eq!(watchers.rest(), Duration::ZERO);
    }
}
