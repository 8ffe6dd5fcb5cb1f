//! Those who copy this node's log: how far each is, and who waits for them.
//!
//! A follower asks for what comes after an offset; that it asks says that its own log holds everything before.
//! So its questions are its acknowledgements, and nothing else is sent for them.
//!
//! # What must hold
//! - A write counts as acknowledged by a follower only if that follower has asked, in the term that the write
//!   was made in, for what comes after it.
//! - Where a follower is known that takes over by itself, no number of others stands in for it: it is its log
//!   that decides what is lost when this node is.
//! - There is a bound on followers. One that is silent makes room for one that speaks.
//! - A successor stays known until the operator forgets it: without its acknowledgement none counts, whatever
//!   happened to it.

use crate::boot_clock::BootInstant;
use crate::wal::FeedPosition;
use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Most followers.
const FOLLOWERS_MAX: usize = 64;

/// Most successors that are known.
const SUCCESSORS_MAX: usize = 16;

/// After this long without a word a follower is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// After this long without a word it does not count as connected any more: several of its polls.
const CONNECTED_FOR: Duration = Duration::from_secs(5);

/// For how long beyond any other time a write waits for the followers that must have it.
const REQUIRED_FOR: Duration = Duration::from_secs(10);

/// The least time between two chunks of few records that a follower gets. A chunk costs both nodes as much as some ten
/// writes, whatever it holds.
const CHUNK_EVERY: Duration = Duration::from_micros(200);

/// What stands for the address of a successor that a directory of an older pykv knows without one.
const UNKNOWN_SUCCESSOR: &str = "unknown";

/// A follower, as it says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FollowerName {
    /// Random: one run of one node.
    pub id: u64,
    /// How others reach it, as `host:port`.
    pub address: String,
    /// Whether it takes over by itself.
    pub is_successor: bool,
}

/// How a follower is doing.
#[derive(Clone, Debug)]
pub struct FollowerStatus {
    /// Random: one run of it.
    pub process: u64,
    /// How others reach it, as `host:port`.
    pub address: String,
    /// Everything before this is in its log.
    pub offset: u64,
    /// How far it is behind, in bytes of the log.
    pub lag_bytes: u64,
    /// For how long it has been behind without a break.
    pub lag: Duration,
    /// Since when nothing was heard of it.
    pub silent_for: Duration,
    /// Whether it takes over by itself.
    pub is_successor: bool,
}

struct Follower {
    name: FollowerName,
    offset: u64,
    heard: BootInstant,
    behind_since: Option<BootInstant>,
    /// Where its last question was left; and when, if it got several records.
    position: Option<FeedPosition>,
    left: Option<Instant>,
}

/// The followers. One lock, held to copy some words; those who wait for acknowledgements wait on it.
#[derive(Default)]
pub(super) struct Followers {
    inner: Mutex<Inner>,
    acknowledged: Condvar,
}

#[derive(Default)]
struct Inner {
    followers: HashMap<u64, Follower>,
    /// Counts the times that acknowledgements lost their meaning.
    epoch: u64,
    /// Addresses of the followers that take over by themselves.
    successors: Vec<String>,
    /// The followers that must have a write before it is answered, however many others have it: any of them may take
    /// over. None where nobody is asked for that.
    required: Option<Vec<u64>>,
    waiting: usize,
}

/// Who has a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    /// How many followers have it.
    pub replicas: usize,
    /// Whether all have it that must.
    pub is_covered: bool,
}

impl Inner {
    fn is_covered(&self, offset: u64) -> bool {
        let has = |id: &u64| {
            let follower = self.followers.get(id);
            follower.is_some_and(|follower| follower.offset >= offset)
        };
        self.required.iter().flatten().all(has)
    }

    fn reached(&self, offset: u64) -> usize {
        let followers = self.followers.values();
        acknowledged(
            followers.map(|follower| (follower.offset, follower.name.is_successor)),
            !self.successors.is_empty(),
            offset,
        )
    }
}

/// How many of those who follow count as having a write that ends at `offset`. Of each: up to where it has the log,
/// and whether it takes over by itself.
///
/// Where one is known that takes over by itself, none count without it: it is its log that decides what is lost.
pub fn acknowledged(followers: impl Iterator<Item = (u64, bool)>, has_successor: bool, offset: u64) -> usize {
    let (mut count, mut is_covered) = (0, !has_successor);
    for (_, is_successor) in followers.filter(|(reached, _)| *reached >= offset) {
        count += 1;
        is_covered |= is_successor;
    }
    if is_covered { count } else { 0 }
}

impl Followers {
    /// Takes in a follower that takes over by itself: from now on no acknowledgement counts without a
    /// successor's. `true` where it is new, and to be written down before it counts; false too where there are
    /// too many of them.
    pub(super) fn add_successor(&self, address: &str) -> bool {
        let mut inner = self.lock();
        inner.successors.retain(|known| known != UNKNOWN_SUCCESSOR);
        let is_new =
            !inner.successors.iter().any(|known| known == address) && inner.successors.len() < SUCCESSORS_MAX;
        if is_new {
            inner.successors.push(address.to_owned());
        }
        is_new
    }

    /// Notes that a follower has everything before `offset`, where the log is written up to `written`.
    /// `false`, and nothing noted, where there are too many.
    pub(super) fn note(&self, name: &FollowerName, offset: u64, written: u64) -> bool {
        let now = BootInstant::now();
        let mut inner = self.lock();
        if !inner.followers.contains_key(&name.id) {
            let is_full = inner.followers.len() >= FOLLOWERS_MAX;
            let keep_for = if is_full { CONNECTED_FOR } else { FORGET_AFTER };
            inner.followers.retain(|_, follower| {
                // A node that was started anew has another id and the same address.
                now.since(follower.heard) < keep_for && follower.name.address != name.address
            });
            if inner.followers.len() >= FOLLOWERS_MAX {
                return false;
            }
        }
        let follower = inner.followers.entry(name.id).or_insert_with(|| Follower {
            name: name.clone(),
            offset,
            heard: now,
            behind_since: None,
            position: None,
            left: None,
        });
        follower.name.clone_from(name);
        follower.offset = offset;
        follower.heard = now;
        if offset >= written {
            follower.behind_since = None;
        } else {
            follower.behind_since.get_or_insert(now);
        }
        if inner.waiting > 0 {
            drop(inner);
            self.acknowledged.notify_all();
        }
        true
    }

    /// Where a follower's last question was left. It is taken: one node does not ask two questions at once.
    pub(super) fn take_position(&self, id: u64) -> Option<FeedPosition> {
        self.lock().followers.get_mut(&id)?.position.take()
    }

    /// Leaves a position for a follower's next question. `has_several`: it gets several records now.
    pub(super) fn save_position(&self, id: u64, position: FeedPosition, has_several: bool) {
        if let Some(follower) = self.lock().followers.get_mut(&id) {
            follower.position = Some(position);
            follower.left = has_several.then(Instant::now);
        }
    }

    /// How long a follower's question may wait for more records: until some time after it was given several, and not at
    /// all where a write waits for followers. Where they come one at a time, a wait would gather nothing.
    pub(super) fn rest(&self, id: u64) -> Duration {
        let inner = self.lock();
        if inner.waiting > 0 || inner.required.is_some() {
            return Duration::ZERO;
        }
        let left = inner.followers.get(&id).and_then(|follower| follower.left);
        left.map_or(Duration::ZERO, |left| CHUNK_EVERY.saturating_sub(left.elapsed()))
    }

    /// Begins anew as a primary that knows of these successors.
    pub(super) fn begin(&self, successors: Vec<String>) {
        self.reset();
        self.set_successors(successors, false);
    }

    /// Takes over the successors that a start before this one has met. `is_unnamed`: there is one without an
    /// address.
    pub(super) fn set_successors(&self, mut successors: Vec<String>, is_unnamed: bool) {
        if is_unnamed && successors.is_empty() {
            successors.push(UNKNOWN_SUCCESSOR.to_owned());
        }
        self.lock().successors = successors;
    }

    /// Addresses of the followers without which no acknowledgement counts.
    pub(super) fn successors(&self) -> Vec<String> {
        self.lock().successors.clone()
    }

    /// Forgets a follower, also as a successor. `false` where it was not known.
    pub(super) fn forget(&self, address: &str) -> bool {
        let mut inner = self.lock();
        let before = inner.successors.len() + inner.followers.len();
        inner.successors.retain(|known| known != address);
        inner
            .followers
            .retain(|_, follower| follower.name.address != address);
        let is_known = inner.successors.len() + inner.followers.len() < before;
        drop(inner);
        self.acknowledged.notify_all();
        is_known
    }

    /// Whether a follower of this address has spoken lately.
    pub(super) fn is_connected(&self, address: &str) -> bool {
        let inner = self.lock();
        let mut followers = inner.followers.values();
        followers.any(|follower| follower.name.address == address && follower.heard.elapsed() < CONNECTED_FOR)
    }

    /// Forgets them all: what they said was said to a primary that this node no longer is.
    pub(super) fn reset(&self) {
        let mut inner = self.lock();
        inner.followers.clear();
        inner.successors.clear();
        if let Some(required) = &mut inner.required {
            required.clear();
        }
        inner.epoch += 1;
        drop(inner);
        self.acknowledged.notify_all();
    }

    /// Waits until so many followers have everything before `offset`, but not for longer than to the deadline,
    /// nor where it is not to go on, which is asked again at [`Followers::wake`]. Those that must have it are waited
    /// for some time longer: one that is silent is soon required no more.
    pub(super) fn wait(
        &self,
        offset: u64,
        count: usize,
        deadline: Instant,
        go_on: impl Fn() -> bool,
    ) -> Reached {
        let mut inner = self.lock();
        let epoch = inner.epoch;
        inner.waiting += 1;
        let reached = loop {
            if inner.epoch != epoch {
                break Reached {
                    replicas: 0,
                    is_covered: inner.required.is_none(),
                };
            }
            let (replicas, is_covered) = (inner.reached(offset), inner.is_covered(offset));
            let deadline = if is_covered {
                deadline
            } else {
                deadline + REQUIRED_FOR
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if replicas >= count && is_covered || left.is_zero() || !go_on() {
                break Reached { replicas, is_covered };
            }
            inner = self
                .acknowledged
                .wait_timeout(inner, left)
                .expect("nothing under the followers' lock panics")
                .0;
        };
        inner.waiting -= 1;
        reached
    }

    /// From now on these must have a write before it is answered.
    pub(super) fn require(&self, ids: Vec<u64>) {
        self.lock().required = Some(ids);
        self.acknowledged.notify_all();
    }

    /// Makes everybody who waits ask whether to go on.
    pub(super) fn wake(&self) {
        drop(self.lock());
        self.acknowledged.notify_all();
    }

    /// How they are, where the log is written up to `written`.
    pub(super) fn status(&self, written: u64) -> Vec<FollowerStatus> {
        let inner = self.lock();
        let mut all: Vec<FollowerStatus> = inner
            .followers
            .values()
            .filter(|follower| follower.heard.elapsed() < FORGET_AFTER)
            .map(|follower| {
                let lag_bytes = written.saturating_sub(follower.offset);
                // It may have asked, be waiting, and the log have grown since: that is behind too, from then on
                // that nothing more was heard.
                let since = follower
                    .behind_since
                    .or((lag_bytes > 0).then_some(follower.heard));
                FollowerStatus {
                    process: follower.name.id,
                    address: follower.name.address.clone(),
                    offset: follower.offset,
                    lag_bytes,
                    lag: since.map_or(Duration::ZERO, |since| since.elapsed()),
                    silent_for: follower.heard.elapsed(),
                    is_successor: follower.name.is_successor,
                }
            })
            .collect();
        all.sort_by(|one, other| one.address.cmp(&other.address));
        all
    }

    /// How many were heard of lately.
    pub(super) fn connected(&self) -> usize {
        let inner = self.lock();
        let is_connected = |follower: &&Follower| follower.heard.elapsed() < CONNECTED_FOR;
        inner.followers.values().filter(is_connected).count()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .expect("nothing under the followers' lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(id: u64, is_successor: bool) -> FollowerName {
        FollowerName {
            id,
            address: format!("127.0.0.1:{id}"),
            is_successor,
        }
    }

    fn reached(followers: &Followers, offset: u64) -> usize {
        followers
            .wait(offset, usize::MAX, Instant::now(), || true)
            .replicas
    }

    #[test]
    fn those_count_who_have_asked_for_what_comes_after() {
        let followers = Followers::default();
        assert!(followers.note(&name(1, false), 100, 100));
        assert!(followers.note(&name(2, false), 50, 100));
        assert_eq!(reached(&followers, 50), 2);
        assert_eq!(reached(&followers, 51), 1);
        assert_eq!(reached(&followers, 101), 0);
        let status = followers.status(120);
        assert_eq!(
            status.iter().map(|one| one.lag_bytes).collect::<Vec<_>>(),
            [20, 70]
        );
    }

    #[test]
    fn nobody_stands_in_for_the_one_that_takes_over() {
        let followers = Followers::default();
        assert!(followers.add_successor("127.0.0.1:2"));
        assert!(!followers.add_successor("127.0.0.1:2"));
        assert!(followers.note(&name(1, false), 100, 100));
        assert!(followers.note(&name(2, true), 50, 100));
        assert_eq!(reached(&followers, 50), 2);
        assert_eq!(reached(&followers, 100), 0);
        assert!(followers.note(&name(2, true), 100, 100));
        assert_eq!(reached(&followers, 100), 2);
    }

    #[test]
    fn a_successor_counts_until_it_is_forgotten() {
        let followers = Followers::default();
        followers.set_successors(Vec::new(), true);
        assert_eq!(followers.successors(), [UNKNOWN_SUCCESSOR]);
        assert!(followers.add_successor("127.0.0.1:2"));
        assert_eq!(followers.successors(), ["127.0.0.1:2"]);
        assert!(followers.note(&name(1, false), 100, 100));
        assert_eq!(reached(&followers, 100), 0);
        assert!(followers.forget("127.0.0.1:2"));
        assert!(!followers.forget("127.0.0.1:2"));
        assert_eq!(reached(&followers, 100), 1);
    }

    #[test]
    fn a_node_that_was_started_anew_is_one_follower() {
        let followers = Followers::default();
        let again = FollowerName {
            id: 9,
            ..name(1, false)
        };
        assert!(followers.note(&name(1, false), 100, 100));
        assert!(followers.note(&again, 100, 100));
        assert_eq!(reached(&followers, 100), 1);
    }

    #[test]
    fn those_that_must_have_a_write_are_waited_for_however_many_others_have_it() {
        let followers = Followers::default();
        let reached = |offset| followers.wait(offset, 1, Instant::now(), || false);
        for id in [1, 2] {
            assert!(followers.note(&name(id, false), 100, 100));
        }
        followers.require(vec![name(1, false).id, name(3, false).id]);
        assert_eq!((reached(100).replicas, reached(100).is_covered), (2, false));
        followers.require(vec![name(1, false).id]);
        assert!(reached(100).is_covered);
        assert!(!reached(101).is_covered);
        // Who is asked for that, and is something else now, answers for nobody.
        followers.reset();
        assert!(reached(0).is_covered, "a new primary begins with nobody");
    }

    #[test]
    fn there_is_a_bound() {
        let followers = Followers::default();
        for id in 0..FOLLOWERS_MAX as u64 {
            assert!(followers.note(&name(id, false), 1, 1));
        }
        assert!(!followers.note(&name(1000, false), 1, 1));
        assert!(followers.note(&name(0, false), 2, 2), "who is known still counts");
        // Those that are silent make room for one that asks.
        for follower in followers.lock().followers.values_mut().take(1) {
            follower.heard = BootInstant::ago(2 * CONNECTED_FOR);
        }
        assert!(followers.note(&name(1000, false), 1, 1));
        assert!(!followers.note(&name(1001, false), 1, 1));
    }

    #[test]
    fn who_waits_is_told_and_a_reset_ends_the_wait_with_nothing() {
        let followers = Followers::default();
        let deadline = Instant::now() + Duration::from_secs(20);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| followers.wait(10, 1, deadline, || true));
            followers.note(&name(1, false), 10, 10);
            assert_eq!(waiting.join().unwrap().replicas, 1);
            let waiting = scope.spawn(|| followers.wait(20, 1, deadline, || true));
            while followers.lock().waiting == 0 {
                std::thread::yield_now();
            }
            followers.reset();
            assert_eq!(waiting.join().unwrap().replicas, 0);
        });
        assert!(Instant::now() < deadline);
    }
}
