//! What happened to a cluster and what its nodes said meanwhile, and whether any of them deceived its readers.
//!
//! A replica deceives when it says that it is even with the primary though it has had no primary for longer than
//! a heartbeat may take. A replica **has a primary** while another node runs that is primary, or may be, and each
//! of the two hears the other. What is not known counts for the replica:
//! - A node is known not to be primary between two answers in a row that say so. Where the next answer says
//!   otherwise, or does not come, the node may have become primary at once after the question before.
//! - A node that was started may be primary until it says what it is.
//! - A replica says what it says at some moment between question and answer: it must have been without a primary
//!   for the whole time before the question, and until the answer.

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a replica may take to see that it has no primary any more: heartbeats come once a second, and a busy
/// machine may be late with one.
pub const DECEIVED_MAX: Duration = Duration::from_secs(3);

/// What a node says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub is_primary: bool,
    /// It says that it is even with the primary: `streaming` without lag, or 200 to `/replica?max_lag=2`.
    pub is_even: bool,
}

/// What happened, by the node's number.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// The process is started, or goes on.
    Runs(usize),
    /// The process has ended, or is suspended.
    Rests(usize),
    /// Whether two nodes hear each other from now on.
    Link(usize, usize, bool),
    /// A node was asked at `sent`, and has answered now; none where it has not answered in time.
    Said {
        node: usize,
        sent: Instant,
        answer: Option<Answer>,
    },
}

/// Events, each with its moment, written by many threads.
#[derive(Default)]
pub struct Timeline(Mutex<Vec<(Instant, Event)>>);

impl Timeline {
    /// Notes something that happens now.
    pub fn note(&self, event: Event) {
        let mut events = self.0.lock().expect("nothing under this lock panics");
        events.push((Instant::now(), event));
    }

    /// What was noted so far.
    pub fn events(&self) -> Vec<(Instant, Event)> {
        self.0.lock().expect("nothing under this lock panics").clone()
    }

    /// Forgets the answers, which are many, and keeps what tells how things are.
    pub fn forget_answers(&self) {
        let mut events = self.0.lock().expect("nothing under this lock panics");
        events.retain(|(_, event)| !matches!(event, Event::Said { .. }));
    }
}

/// A replica that said it was even though it had no primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deception {
    pub node: usize,
    pub moment: Instant,
    /// For how long it had none.
    pub alone_for: Duration,
}

impl fmt::Display for Deception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "node {} says that it is even with the primary, and has had none for {:.2} s",
            self.node,
            self.alone_for.as_secs_f64()
        )
    }
}

/// What a moment changes in what is known.
enum Step {
    MayBePrimary(usize),
    IsReplica(usize),
    Runs(usize),
    Rests(usize),
    Link(usize, usize, bool),
    SaysEven { node: usize, sent: Instant },
}

/// All that `nodes` nodes said against the truth.
pub fn deceptions(nodes: usize, events: &[(Instant, Event)]) -> Vec<Deception> {
    let mut known = Known::new(nodes);
    let mut found = Vec::new();
    for (moment, step) in steps(nodes, events) {
        if let Step::SaysEven { node, sent } = step {
            let alone_for =
                known.alone_since[node].map_or(Duration::ZERO, |since| sent.saturating_duration_since(since));
            if alone_for > DECEIVED_MAX {
                found.push(Deception {
                    node,
                    moment,
                    alone_for,
                });
            }
        } else {
            known.take(moment, &step);
        }
    }
    found
}

/// The events in the order in which they count.
fn steps(nodes: usize, events: &[(Instant, Event)]) -> Vec<(Instant, Step)> {
    let mut events = events.to_vec();
    events.sort_by_key(|(moment, _)| *moment);
    let mut steps = Vec::new();
    // From the last event to the first: whether the next thing that is known of each node is that it is a replica.
    let mut is_replica_next = vec![false; nodes];
    for (moment, event) in events.into_iter().rev() {
        match event {
            Event::Runs(node) => {
                steps.push((moment, Step::MayBePrimary(node)));
                steps.push((moment, Step::Runs(node)));
                is_replica_next[node] = false;
            }
            Event::Rests(node) => {
                steps.push((moment, Step::Rests(node)));
                is_replica_next[node] = false;
            }
            Event::Link(one, other, passes) => steps.push((moment, Step::Link(one, other, passes))),
            Event::Said { node, sent, answer } => {
                let is_replica = answer.is_some_and(|answer| !answer.is_primary);
                if answer.is_some_and(|answer| answer.is_even) {
                    steps.push((moment, Step::SaysEven { node, sent }));
                }
                match is_replica && is_replica_next[node] {
                    true => steps.push((moment, Step::IsReplica(node))),
                    false => steps.push((sent, Step::MayBePrimary(node))),
                }
                is_replica_next[node] = is_replica;
            }
        }
    }
    steps.reverse();
    steps.sort_by_key(|(moment, _)| *moment);
    steps
}

/// What is known at a moment.
struct Known {
    runs: Vec<bool>,
    may_be_primary: Vec<bool>,
    passes: Vec<Vec<bool>>,
    /// Since when each node has had no primary, while it ran.
    alone_since: Vec<Option<Instant>>,
}

impl Known {
    fn new(nodes: usize) -> Known {
        Known {
            runs: vec![false; nodes],
            may_be_primary: vec![true; nodes],
            passes: vec![vec![true; nodes]; nodes],
            alone_since: vec![None; nodes],
        }
    }

    fn take(&mut self, moment: Instant, step: &Step) {
        match *step {
            Step::MayBePrimary(node) => self.may_be_primary[node] = true,
            Step::IsReplica(node) => self.may_be_primary[node] = false,
            Step::Runs(node) => {
                self.runs[node] = true;
                // It is given its time to see how things are.
                self.alone_since[node] = None;
            }
            Step::Rests(node) => self.runs[node] = false,
            Step::Link(one, other, passes) => {
                self.passes[one][other] = passes;
                self.passes[other][one] = passes;
            }
            Step::SaysEven { .. } => {}
        }
        for node in 0..self.runs.len() {
            match self.is_alone(node) {
                true => {
                    self.alone_since[node].get_or_insert(moment);
                }
                false => self.alone_since[node] = None,
            }
        }
    }

    fn is_alone(&self, node: usize) -> bool {
        let is_primary_of =
            |other: usize| self.runs[other] && self.may_be_primary[other] && self.passes[node][other];
        self.runs[node] && !(0..self.runs.len()).any(|other| other != node && is_primary_of(other))
    }
}

mod tests {
    use super::*;

    const PRIMARY: Option<Answer> = Some(Answer {
        is_primary: true,
        is_even: false,
    });
    const EVEN: Option<Answer> = Some(Answer {
        is_primary: false,
        is_even: true,
    });
    const BEHIND: Option<Answer> = Some(Answer {
        is_primary: false,
        is_even: false,
    });

    /// A story of two nodes told in tenths of a second; both run from the start.
    struct Story {
        start: Instant,
        events: Vec<(Instant, Event)>,
    }

    impl Story {
        fn new() -> Story {
            let start = Instant::now();
            let events = vec![(start, Event::Runs(0)), (start, Event::Runs(1))];
            Story { start, events }
        }

        fn at(&self, tenths: u64) -> Instant {
            self.start + Duration::from_millis(100 * tenths)
        }

        fn event(mut self, tenths: u64, event: Event) -> Story {
            self.events.push((self.at(tenths), event));
            self
        }

        /// A node says this every tenth of a second.
        fn says(mut self, tenths: std::ops::Range<u64>, node: usize, answer: Option<Answer>) -> Story {
            for tenth in tenths {
                let sent = self.at(tenth);
                let event = Event::Said { node, sent, answer };
                self.events.push((sent + Duration::from_millis(1), event));
            }
            self
        }

        fn is_deceived(&self) -> bool {
            !deceptions(2, &self.events).is_empty()
        }
    }

    #[test]
    fn a_replica_with_its_primary_deceives_nobody() {
        let story = Story::new().says(1..100, 0, PRIMARY).says(1..100, 1, EVEN);
        assert!(!story.is_deceived());
    }

    #[test]
    fn a_replica_has_its_time_to_see_that_the_primary_is_gone() {
        let story = |until| {
            Story::new()
                .says(1..10, 0, PRIMARY)
                .event(10, Event::Rests(0))
                .says(1..until, 1, EVEN)
        };
        assert!(!story(39).is_deceived());
        assert!(story(45).is_deceived());
    }

    #[test]
    fn two_replicas_that_follow_each_other_deceive() {
        let story = Story::new().says(1..50, 0, EVEN).says(1..50, 1, EVEN);
        assert!(story.is_deceived());
        let story = Story::new().says(1..50, 0, BEHIND).says(1..50, 1, BEHIND);
        assert!(!story.is_deceived());
    }

    #[test]
    fn a_replica_that_is_cut_off_deceives_though_a_primary_runs() {
        let story = |passes_at| {
            Story::new()
                .says(1..100, 0, PRIMARY)
                .event(10, Event::Link(0, 1, false))
                .event(passes_at, Event::Link(0, 1, true))
                .says(1..100, 1, EVEN)
        };
        assert!(!story(35).is_deceived());
        assert!(story(50).is_deceived());
    }

    #[test]
    fn what_is_not_known_counts_for_the_replica() {
        // The other node does not answer, and is not known to rest.
        let story = Story::new().says(1..50, 0, None).says(1..50, 1, EVEN);
        assert!(!story.is_deceived());
        // It was a replica, and may have become primary when nobody asked.
        let story = Story::new()
            .says(1..10, 0, BEHIND)
            .says(45..60, 0, PRIMARY)
            .says(20..60, 1, EVEN);
        assert!(!story.is_deceived());
        // A replica that was suspended itself is given its time.
        let story = Story::new()
            .says(1..100, 0, BEHIND)
            .event(5, Event::Rests(1))
            .event(80, Event::Runs(1))
            .says(80..100, 1, EVEN);
        assert!(!story.is_deceived());
    }
}
