//! Faults that are planted into histories, and small histories with and without faults: what the checker must find,
//! and what it must let pass.

use super::history::{Call, History};
use super::register::{Operation, Outcome, State};
use std::time::Duration;

/// Room for an operation that is put between two others.
const MARGIN: Duration = Duration::from_micros(30);

/// The history with a read changed to what an acknowledged write had written before another acknowledged one
/// replaced it, all three one after the other. None where it has no such three.
pub fn stale_read(history: &History) -> Option<History> {
    let puts = || {
        let calls = history.calls.iter();
        calls.filter_map(|call| match call.operation {
            Operation::Put(value, Outcome::Done) => Some((call, value)),
            _ => None,
        })
    };
    let (read, old) = history.calls.iter().enumerate().find_map(|(at, read)| {
        matches!(read.operation, Operation::Get(_)).then_some(())?;
        let mut newer = puts().filter(|(put, _)| is_before(put, read));
        let (_, old) = newer.find_map(|(newer, _)| puts().find(|(put, _)| is_before(put, newer)))?;
        Some((at, old))
    })?;
    let mut planted = history.clone();
    planted.calls[read].operation = Operation::Get(Some(old));
    Some(planted)
}

/// The history with a write between two reads of one value: it was acknowledged, and is lost. None where no value
/// was read twice.
pub fn lost_write(history: &History) -> Option<History> {
    let reads = |value: State| {
        let calls = history.calls.iter();
        calls.filter(move |call| value.is_some() && call.operation == Operation::Get(value))
    };
    let (first, second) = history.calls.iter().find_map(|first| {
        let Operation::Get(value) = first.operation else {
            return None;
        };
        let second = reads(value).find(|second| is_before(first, second))?;
        Some((first, second))
    })?;
    let mut planted = history.clone();
    planted.calls.push(Call {
        client: first.client,
        operation: Operation::Put(u32::MAX, Outcome::Done),
        sent: first.came? + MARGIN / 3,
        came: Some(second.sent - MARGIN / 3),
    });
    Some(planted)
}

/// Whether an operation had its answer before another was sent, and something else has room between them.
fn is_before(one: &Call, other: &Call) -> bool {
    one.came.is_some_and(|came| came + MARGIN < other.sent)
}

mod tests {
    use super::super::checker::check;
    use super::super::register::Operation::{CompareAndSet, Delete, Get, Put};
    use super::super::register::Outcome::{Done, Refused, Unknown};
    use super::*;
    use crate::common::Random;

    /// A history of operations, each with when it was sent and when its answer came, in ms.
    fn history(calls: &[(Operation, u64, u64)]) -> History {
        let calls = calls
            .iter()
            .enumerate()
            .map(|(client, (operation, sent, came))| Call {
                client,
                operation: *operation,
                sent: Duration::from_millis(*sent),
                came: (!operation.is_unknown()).then_some(Duration::from_millis(*came)),
            });
        History {
            calls: calls.collect(),
        }
    }

    #[track_caller]
    fn passes(calls: &[(Operation, u64, u64)]) {
        let checked = check(&history(calls));
        assert!(checked.is_ok(), "{}", checked.unwrap_err());
    }

    #[track_caller]
    fn fails(calls: &[(Operation, u64, u64)]) {
        assert!(check(&history(calls)).is_err(), "{calls:?}");
    }

    #[test]
    fn one_after_the_other() {
        passes(&[]);
        passes(&[
            (Get(None), 0, 1),
            (Put(1, Done), 2, 3),
            (Get(Some(1)), 4, 5),
            (Delete(Done), 6, 7),
        ]);
        fails(&[(Get(Some(1)), 0, 1)]);
        fails(&[(Put(1, Done), 0, 1), (Get(None), 2, 3)]);
        fails(&[(Put(1, Done), 0, 1), (Put(2, Done), 2, 3), (Get(Some(1)), 4, 5)]);
        fails(&[(Put(1, Done), 0, 1), (Delete(Done), 2, 3), (Delete(Done), 4, 5)]);
    }

    #[test]
    fn what_overlaps_may_be_in_any_order() {
        passes(&[
            (Put(1, Done), 0, 10),
            (Put(2, Done), 0, 10),
            (Get(Some(1)), 11, 12),
        ]);
        passes(&[
            (Put(1, Done), 0, 10),
            (Put(2, Done), 0, 10),
            (Get(Some(2)), 11, 12),
        ]);
        // A write that is under way is seen, and then all see it.
        passes(&[(Put(1, Done), 0, 10), (Get(None), 1, 2), (Get(Some(1)), 3, 4)]);
        fails(&[(Put(1, Done), 0, 10), (Get(Some(1)), 1, 2), (Get(None), 3, 4)]);
        // Two readers do not see two writes in two orders.
        fails(&[
            (Put(1, Done), 0, 10),
            (Put(2, Done), 0, 10),
            (Get(Some(1)), 1, 2),
            (Get(Some(2)), 3, 4),
            (Get(Some(1)), 5, 6),
        ]);
    }

    #[test]
    fn a_condition_tells_what_was_there() {
        passes(&[
            (Put(1, Done), 0, 1),
            (CompareAndSet(1, 2, Done), 2, 5),
            (CompareAndSet(1, 3, Refused), 3, 6),
            (Get(Some(2)), 7, 8),
        ]);
        // Both had the condition met: one update is lost.
        fails(&[
            (Put(1, Done), 0, 1),
            (CompareAndSet(1, 2, Done), 2, 5),
            (CompareAndSet(1, 3, Done), 3, 6),
        ]);
        fails(&[(Put(1, Done), 0, 1), (CompareAndSet(1, 2, Refused), 2, 3)]);
    }

    #[test]
    fn what_is_unknown_may_have_happened_or_not_or_happens_later() {
        passes(&[(Put(1, Unknown), 0, 0), (Get(None), 2, 3)]);
        passes(&[(Put(1, Unknown), 0, 0), (Get(Some(1)), 2, 3)]);
        passes(&[(Put(1, Unknown), 0, 0), (Get(None), 2, 3), (Get(Some(1)), 4, 5)]);
        passes(&[(Put(1, Done), 0, 1), (Delete(Unknown), 2, 0), (Get(None), 3, 4)]);
        fails(&[(Put(1, Unknown), 0, 0), (Get(Some(1)), 2, 3), (Get(None), 4, 5)]);
        fails(&[(Get(Some(1)), 0, 1), (Put(1, Unknown), 2, 0)]);
    }

    #[test]
    fn a_read_of_what_is_undone_can_be_left_out() {
        let left = |calls: &[(Operation, u64, u64)], failover: u64| {
            let failovers = [Duration::from_millis(failover)];
            check(&history(calls).without_reads_of_unacknowledged_writes(&failovers)).is_ok()
        };
        let undone = [
            (Put(1, Done), 0, 1),
            (Put(2, Unknown), 2, 0),
            (Get(Some(2)), 3, 4),
            (Get(Some(1)), 8, 9),
        ];
        fails(&undone);
        assert!(left(&undone, 5));
        // What was shown after the failover stays.
        assert!(!left(&undone, 2));
        let undone = [
            (Put(1, Done), 0, 1),
            (Delete(Unknown), 2, 0),
            (Get(None), 3, 4),
            (Get(Some(1)), 8, 9),
        ];
        fails(&undone);
        assert!(left(&undone, 5));
        // A read of an acknowledged write is never left out.
        let stale = [
            (Put(1, Done), 0, 1),
            (Put(2, Done), 2, 3),
            (Put(3, Unknown), 2, 0),
            (Get(Some(1)), 5, 6),
        ];
        assert!(!left(&stale, 7));
    }

    /// A history that is right: operations take effect one after the other, each somewhere between its two ends.
    fn made_up(random: &mut Random, count: u64) -> History {
        let mut state = None;
        let mut calls = Vec::new();
        for number in 0..count {
            let moment = Duration::from_millis(10 * number + 100);
            let spread = |random: &mut Random| Duration::from_millis(random.below(40));
            let value = number as u32 + 1;
            let operation = match random.below(10) {
                0..=4 => Get(state),
                5..=6 => Put(value, Done),
                7 => match state {
                    Some(expected) => CompareAndSet(expected, value, Done),
                    None => CompareAndSet(0, value, Refused),
                },
                8 => Delete(if state.is_some() { Done } else { Refused }),
                _ => Put(value, Unknown),
            };
            let is_lost = operation.is_unknown() && random.below(2) == 0;
            if !is_lost {
                state = operation.apply(state).unwrap();
            }
            calls.push(Call {
                client: number as usize % 8,
                operation,
                sent: moment - spread(random),
                came: (!operation.is_unknown()).then(|| moment + spread(random)),
            });
        }
        History { calls }
    }

    #[test]
    fn long_histories_pass_and_what_is_planted_in_them_is_found() {
        let (mut stale_reads, mut lost_writes) = (0, 0);
        for seed in 0..30 {
            let history = made_up(&mut Random::new(seed), 200);
            let checked = check(&history);
            assert!(checked.is_ok(), "seed {seed}: {}", checked.unwrap_err());
            if let Some(planted) = stale_read(&history) {
                assert!(check(&planted).is_err(), "seed {seed}: a stale read");
                stale_reads += 1;
            }
            if let Some(planted) = lost_write(&history) {
                assert!(check(&planted).is_err(), "seed {seed}: a lost write");
                lost_writes += 1;
            }
        }
        assert!(
            stale_reads > 20 && lost_writes > 5,
            "{stale_reads}, {lost_writes}"
        );
    }
}
