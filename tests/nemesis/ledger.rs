//! What was acknowledged, and what may be missing of it.
//!
//! Every write of a run asks for `Pykv-Sync-Required`, so one that was answered with success is in the log of the
//! successor where the primary knows of one, and of some replica else. [`Promise`] says what becomes of that.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Instant;

/// The node with `--failover-after`: the second one.
pub const SUCCESSOR: usize = 1;

/// A write that was answered with success, by its key: no two writes have one.
struct Acknowledged {
    key: String,
    moment: Instant,
}

/// All writes that were answered with success, by many threads.
#[derive(Default)]
pub struct Ledger(Mutex<Vec<Acknowledged>>);

impl Ledger {
    /// A write was answered with success just now.
    pub fn note(&self, key: String) {
        let moment = Instant::now();
        let mut all = self.0.lock().expect("nothing under this lock panics");
        all.push(Acknowledged { key, moment });
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.lock().expect("nothing under this lock panics").len()
    }

    /// The keys that are missing in what `is_there` though they were promised. Those that were not promised any
    /// more are asked for once, now, and forgotten.
    pub fn missing(&self, is_there: &HashSet<String>, promise: &Promise) -> Vec<String> {
        let mut all = self.0.lock().expect("nothing under this lock panics");
        let is_void = |moment: Instant| promise.void_since.is_some_and(|since| moment >= since);
        all.retain(|one| is_there.contains(&one.key) || !is_void(one.moment));
        let missing = all.iter().filter(|one| !is_there.contains(&one.key));
        missing.map(|one| one.key.clone()).collect()
    }
}

/// What a round's operations leave of what was promised to its writers.
///
/// # What voids nothing
/// - Kills, stops in order, suspensions, power cycles in any order: what a node's log has it has afterwards.
/// - Cuts and slow links: a primary that the successor does not hear acknowledges nothing.
/// - `pykv promote` of the successor: it has everything that any primary before it has acknowledged.
/// - A directory put back of a node that is neither the successor nor the primary: what that node has
///   acknowledged to a primary is in the primary's log too, and nobody takes that node's word for the truth
///   unless somebody promotes it.
///
/// # What voids what
/// - `pykv promote` of another node: what was acknowledged since all nodes were last equal, which was when the
///   round began; where that node's directory was put back in this round, since the copy was taken. That node may
///   not have it, and its term is the highest.
/// - The successor's directory put back, or that of a node that was last seen as the primary: what was
///   acknowledged since the copy was taken. The log that counts may then be the old one.
///
/// # When a hand is needed
/// Where the only node that knew itself to be primary, or to be the one to take over, has forgotten it: in the
/// last case above, and there only. The check then lets a hand promote the node with the longest log.
pub struct Promise {
    begun: Instant,
    /// Since when a node may lack what was acknowledged.
    lacks_since: Vec<Instant>,
    void_since: Option<Instant>,
    may_need_hand: bool,
}

impl Promise {
    /// A round begins; all nodes are equal.
    pub fn new(nodes: usize) -> Promise {
        let begun = Instant::now();
        Promise {
            begun,
            lacks_since: vec![begun; nodes],
            void_since: None,
            may_need_hand: false,
        }
    }

    /// A node was promoted by hand, or may have been.
    pub fn promoted(&mut self, node: usize) {
        if node != SUCCESSOR {
            self.void(self.lacks_since[node]);
        }
    }

    /// A copy of a node's directory was put back.
    pub fn put_back(&mut self, node: usize, taken: Instant, was_primary: bool) {
        self.lacks_since[node] = self.lacks_since[node].min(taken);
        if was_primary || node == SUCCESSOR {
            self.void(taken);
            self.may_need_hand = true;
        }
    }

    /// Whether a hand may be needed.
    pub fn may_need_hand(&self) -> bool {
        self.may_need_hand
    }

    /// What of it holds, for whoever reads the output.
    pub fn describe(&self) -> String {
        match self.void_since {
            None => "all that was acknowledged must be there".to_owned(),
            Some(since) if since >= self.begun => {
                "what this round has acknowledged may be missing".to_owned()
            }
            Some(since) => {
                let seconds = (self.begun - since).as_secs_f64();
                format!("what was acknowledged since {seconds:.1} s before this round may be missing")
            }
        }
    }

    fn void(&mut self, since: Instant) {
        self.void_since = Some(self.void_since.map_or(since, |before| before.min(since)));
    }
}

mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_unless_it_was_void() {
        let ledger = Ledger::default();
        ledger.note("before".to_owned());
        let mut promise = Promise::new(3);
        ledger.note("there".to_owned());
        ledger.note("lost".to_owned());
        let there = HashSet::from(["before".to_owned(), "there".to_owned()]);
        assert_eq!(ledger.missing(&there, &promise), ["lost"]);
        promise.promoted(SUCCESSOR);
        assert_eq!(ledger.missing(&there, &promise), ["lost"]);
        promise.promoted(2);
        assert_eq!(ledger.missing(&there, &promise), [""; 0]);
        // What is missing from before the round is missing still.
        assert_eq!(ledger.missing(&HashSet::new(), &promise), ["before"]);
    }

    #[test]
    fn a_copy_voids_what_came_after_it() {
        let ledger = Ledger::default();
        ledger.note("before".to_owned());
        let taken = Instant::now();
        ledger.note("after".to_owned());
        let mut promise = Promise::new(3);
        promise.put_back(2, taken, false);
        assert_eq!(ledger.missing(&HashSet::new(), &promise), ["before", "after"]);
        promise.promoted(2);
        assert_eq!(ledger.missing(&HashSet::new(), &promise), ["before"]);
        assert!(!promise.may_need_hand());
    }
}
