//! What the clients of one key did, and when.

use super::register::{Operation, Outcome, Value};
use std::fmt;
use std::time::Duration;

/// An operation, from when a client sent it to when the client had its answer; both since the run began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub client: usize,
    pub operation: Operation,
    pub sent: Duration,
    /// Nothing for an outcome that is unknown: it may happen at any later time.
    pub came: Option<Duration>,
}

/// All operations on one key.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub calls: Vec<Call>,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let came = self
            .came
            .map_or_else(|| "         ?".to_owned(), |came| format!("{:10.3}", ms(came)));
        let (client, sent) = (self.client, ms(self.sent));
        write!(
            f,
            "{sent:10.3} to {came} ms  client {client}  {:?}",
            self.operation
        )
    }
}

impl History {
    /// The same without the answers that may hang on a write whose client was not told that it is done.
    ///
    /// A primary shows a write to readers before replicas have it, and a failover can undo such a write. An answer
    /// that hangs on it then has no place in any order of the writes that stayed. Only an answer to an operation that
    /// wrote nothing can: what was acknowledged stands in the log behind all that it saw, so that stayed too. And
    /// only one of before the failover that decides: after it the write is in the log of all nodes, or in none.
    /// `failovers` are the moments at which a primary ended. Left out are, up to the first of them after a write of
    /// unknown outcome was sent,
    /// - a read of its value;
    /// - a read of nothing and a refused deletion, where the write is a deletion;
    /// - a refused compare-and-set.
    pub fn without_reads_of_unacknowledged_writes(&self, failovers: &[Duration]) -> History {
        let unknown: Vec<&Call> = self
            .calls
            .iter()
            .filter(|call| call.operation.is_unknown())
            .collect();
        let may_show = |call: &Call, write: &Call| {
            let decided = failovers.iter().find(|failover| **failover >= write.sent);
            let is_sent_before = call.came.is_none_or(|came| write.sent <= came);
            is_sent_before && decided.is_none_or(|decided| call.sent <= *decided)
        };
        let hangs_on = |call: &Call, write: &Call| {
            may_show(call, write)
                && match call.operation {
                    Operation::Get(Some(value)) => written(write.operation) == Some(value),
                    Operation::Get(None) | Operation::Delete(Outcome::Refused) => {
                        matches!(write.operation, Operation::Delete(_))
                    }
                    Operation::CompareAndSet(_, _, Outcome::Refused) => true,
                    _ => false,
                }
        };
        let stays = |call: &&Call| !unknown.iter().any(|write| hangs_on(call, write));
        History {
            calls: self.calls.iter().filter(stays).copied().collect(),
        }
    }
}

/// The value that an operation writes.
fn written(operation: Operation) -> Option<Value> {
    match operation {
        Operation::Put(value, _) | Operation::CompareAndSet(_, value, _) => Some(value),
        Operation::Get(_) | Operation::Delete(_) => None,
    }
}
