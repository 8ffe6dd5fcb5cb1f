//! The order of the locks that a thread may hold together, checked in debug builds.
//!
//! - Order: [`Edit`](Rank::Edit) < [`Turn`](Rank::Turn) < [`Promotion`](Rank::Promotion) < [`Base`](Rank::Base) <
//!   [`Role`](Rank::Role) < [`Apply`](Rank::Apply) < [`Writer`](Rank::Writer) < [`Store`](Rank::Store).
//! - A thread that holds one may take a later one, and never an earlier one, nor the same again.
//! - A debug build panics at the first lock that is taken out of order, whether or not it would have blocked. So
//!   any test that comes by a wrong order shows it.
//! - A release build checks nothing: a [`Ranked`] guard is as large as the guard in it, and as fast.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// A lock's place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// An edit that was overtaken is made anew.
    Edit,
    /// A write makes room for what is large.
    Turn,
    /// A promotion for which the primary holds its writers.
    Promotion,
    /// A base is made, the store replaced, or the log's end cut off.
    Base,
    /// The node becomes something else.
    Role,
    /// A replica writes a chunk of the log and applies it.
    Apply,
    /// One write or sync of the log.
    Writer,
    /// The store, and the end of the log that belongs to it.
    Store,
}

/// A guard of a lock that has a rank.
pub(crate) struct Ranked<G> {
    /// First, so that the lock is released before the rank is.
    guard: G,
    _held: Held,
}

impl<G> Ranked<G> {
    /// Takes a lock by `lock`. The order is checked before.
    #[inline]
    pub(crate) fn take(rank: Rank, lock: impl FnOnce() -> G) -> Ranked<G> {
        let held = Held::new(rank);
        Ranked {
            guard: lock(),
            _held: held,
        }
    }

    /// As [`Ranked::take`], for a lock that may not be had.
    pub(crate) fn try_take(rank: Rank, lock: impl FnOnce() -> Option<G>) -> Option<Ranked<G>> {
        let held = Held::new(rank);
        lock().map(|guard| Ranked { guard, _held: held })
    }
}

impl<G: Deref> Deref for Ranked<G> {
    type Target = G::Target;

    #[inline]
    fn deref(&self) -> &G::Target {
        &self.guard
    }
}

impl<G: DerefMut> DerefMut for Ranked<G> {
    #[inline]
    fn deref_mut(&mut self) -> &mut G::Target {
        &mut self.guard
    }
}

/// Says that this thread holds a lock of a rank. It stays with the thread.
struct Held {
    #[cfg(debug_assertions)]
    rank: Rank,
    _of_thread: PhantomData<*const ()>,
}

#[cfg(debug_assertions)]
mod held {
    use super::{Held, PhantomData, Rank};
    use std::cell::Cell;

    thread_local! {
        /// A bit for each rank that this thread holds.
        static RANKS: Cell<u8> = const { Cell::new(0) };
    }

    impl Held {
        pub(super) fn new(rank: Rank) -> Held {
            let ranks = RANKS.get();
            assert!(
                ranks >> rank as u8 == 0,
                "a thread takes the lock {rank:?} and holds it or a later one: {ranks:08b}"
            );
            RANKS.set(ranks | 1 << rank as u8);
            Held {
                rank,
                _of_thread: PhantomData,
            }
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            RANKS.set(RANKS.get() & !(1 << self.rank as u8));
        }
    }
}

#[cfg(not(debug_assertions))]
impl Held {
    #[inline(always)]
    fn new(_: Rank) -> Held {
        Held {
            _of_thread: PhantomData,
        }
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::thread;

    #[test]
    fn locks_may_be_taken_in_their_order_alone() {
        let panics = |first: Rank, second: Rank| {
            let both = move || {
                let (one, other) = (Mutex::new(()), Mutex::new(()));
                let _first = Ranked::take(first, || one.lock());
                let _second = Ranked::take(second, || other.lock());
            };
            thread::spawn(both).join().is_err()
        };
        let ranks = [
            Rank::Edit,
            Rank::Turn,
            Rank::Promotion,
            Rank::Base,
            Rank::Role,
            Rank::Apply,
            Rank::Writer,
            Rank::Store,
        ];
        for first in ranks {
            for second in ranks {
                assert_eq!(panics(first, second), second <= first, "{first:?}, {second:?}");
            }
        }
    }

    #[test]
    fn a_lock_that_was_released_may_be_taken_again() {
        let lock = Mutex::new(1);
        let mut writer = Ranked::take(Rank::Writer, || lock.lock().unwrap());
        *writer += 1;
        let none = Ranked::try_take(Rank::Store, || lock.try_lock().ok());
        assert!(none.is_none());
        drop(writer);
        assert_eq!(*Ranked::take(Rank::Base, || lock.lock().unwrap()), 2);
    }
}
