//! Batches on their way to the node, over one connection, one after the other.
//!
//! A batch is done whole or not at all. Where one of its operations is refused, that one is taken out and the
//! rest is sent again: in smaller pieces the more there are such, in larger ones again the fewer. Where keys
//! are there that are to be left alone, the node is asked for the others of the batch too, rather than found
//! out one by one. A batch that fails for a reason that may pass is sent again. It may have been done the first time:
//! - Keys that are set are set a second time, which does no harm.
//! - Keys that are to be added are found there. Those whose version is behind the offset at which the import began, and
//!   whose value is that of the line, count as added by this import.

use super::super::batch::operation_at_fault;
use super::super::retry::{RETRIES_MAX, pause};
use super::read::Batch;
use super::tally::Tally;
use crate::api::Batched;
use crate::api::Problem;
use crate::client::{self, Client};
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

/// Sends the batches of one way.
pub(super) struct Sender<'a> {
    client: &'a Client,
    if_absent: bool,
    tally: &'a Tally,
    /// The offset of the node's log when the import began.
    since: u64,
    /// How many operations go at once: one, where the keys of a batch must share a slot.
    piece_max: usize,
    body: Vec<u8>,
}

/// What to do after a refusal.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Leave out this operation, whose deadline has passed, and those like it.
    Expired(usize),
    /// Leave this operation out, counted from the first that was sent.
    LeaveOut(usize),
    /// Send fewer at once.
    Fewer,
    /// Send one at a time from now on.
    Alone,
    /// Wait a moment.
    Again,
    /// Nothing more can be done.
    BreakOff,
}

impl<'a> Sender<'a> {
    pub(super) fn new(client: &'a Client, if_absent: bool, tally: &'a Tally, since: u64) -> Sender<'a> {
        Sender {
            client,
            if_absent,
            tally,
            since,
            piece_max: usize::MAX,
            body: Vec::new(),
        }
    }

    /// Sends a batch, as far as the node takes it.
    pub(super) fn send(&mut self, mut batch: Batch) {
        let mut sent = 0;
        let mut piece = batch.operations.len().min(self.piece_max);
        let mut retries = 0;
        // Whether what is sent may have been done by an attempt before.
        let mut may_be_done = false;
        while sent < batch.operations.len() && !self.tally.is_broken() {
            let end = batch.operations.len().min(sent.saturating_add(piece));
            batch.body(sent..end, &mut self.body);
            let Err(error) = self.client.apply(&self.body) else {
                self.tally.keys.fetch_add((end - sent) as u64, Relaxed);
                sent = end;
                piece = piece.saturating_mul(2).min(self.piece_max);
                retries = 0;
                may_be_done = false;
                continue;
            };
            match next(&error, end - sent) {
                Next::LeaveOut(_)
                    if self.is_there(&error) && self.leave_alone(&mut batch, sent..end, may_be_done) => {}
                Next::Expired(index) => self.drop_expired(&mut batch, sent, sent + index),
                Next::LeaveOut(index) => {
                    let operation = batch.operations.remove(sent + index);
                    self.leave_out(operation.line, error);
                    // Those before it are right; where there are none, the next may well be like it.
                    piece = if index > 0 { index } else { piece.div_ceil(2) };
                }
                Next::Alone => {
                    self.piece_max = 1;
                    piece = 1;
                }
                Next::Fewer => piece = (end - sent).div_ceil(2),
                Next::Again if retries < RETRIES_MAX => {
                    pause(retries);
                    retries += 1;
                    may_be_done |= error.may_be_done();
                    self.tally.retries.fetch_add(1, Relaxed);
                }
                Next::Again | Next::BreakOff => return self.tally.break_off(error),
            }
        }
        let superseded = match self.if_absent {
            true => &self.tally.left_alone,
            false => &self.tally.keys,
        };
        superseded.fetch_add(batch.superseded, Relaxed);
    }

    /// Takes out, from `start` on, what expires no later than the operation at `index`: the node's clock says that this
    /// one has expired, so the others have too.
    fn drop_expired(&self, batch: &mut Batch, start: usize, index: usize) {
        let passed_ms = batch.operations[index].expires_at_ms;
        let before = batch.operations.len();
        let mut position = 0;
        batch.operations.retain(|operation| {
            let is_left = position < start
                || position != index && operation.expires_at_ms.is_none_or(|ms| Some(ms) > passed_ms);
            position += 1;
            is_left
        });
        let expired = (before - batch.operations.len()) as u64;
        self.tally.expired.fetch_add(expired, Relaxed);
    }

    /// Takes operations out whose keys are there, and counts them; whether there were some.
    fn leave_alone(&mut self, batch: &mut Batch, range: Range<usize>, may_be_done: bool) -> bool {
        batch.questions(range.clone(), &mut self.body);
        let batched = match self.ask() {
            Ok(batched) => batched,
            // Guesses would be counted.
            Err(error) if error.may_pass() => {
                self.tally.break_off(error);
                return true;
            }
            Err(_) => return false, // One by one, then.
        };
        let own_since = may_be_done.then_some(self.since);
        let present = batch.take_present(range, &batched.results, own_since);
        self.tally.keys.fetch_add(present.own, Relaxed);
        self.tally.left_alone.fetch_add(present.others, Relaxed);
        present.own + present.others > 0
    }

    /// Asks what is there, and again where that may go better.
    fn ask(&self) -> Result<Batched, client::Error> {
        for retries in 0..RETRIES_MAX {
            match self.client.batch(&self.body) {
                Err(error) if error.may_pass() => pause(retries),
                answered => return answered,
            }
            self.tally.retries.fetch_add(1, Relaxed);
        }
        self.client.batch(&self.body)
    }

    fn leave_out(&self, line: u64, error: client::Error) {
        if self.is_there(&error) {
            self.tally.left_alone.fetch_add(1, Relaxed);
        } else {
            self.tally.refused(line, error);
        }
    }

    /// Whether a key was to be absent and is not.
    fn is_there(&self, error: &client::Error) -> bool {
        self.if_absent && matches!(error, client::Error::Refused(problem) if problem.status == 412)
    }
}

fn next(error: &client::Error, operations: usize) -> Next {
    match error {
        client::Error::Refused(problem) => next_after(problem, operations),
        // A proxy takes less at once than the node behind it.
        client::Error::Foreign { status: 413, .. } if operations > 1 => Next::Fewer,
        client::Error::Foreign { status: 413, .. } => Next::LeaveOut(0),
        error if error.may_pass() => Next::Again,
        _ => Next::BreakOff,
    }
}

fn next_after(problem: &Problem, operations: usize) -> Next {
    match (operation_at_fault(problem), problem.status) {
        (Some(index), 422) if index < operations && problem.field.as_deref() == Some("expires_at_ms") => {
            Next::Expired(index)
        }
        (Some(index), _) if index < operations => Next::LeaveOut(index),
        (None, 400) if operations > 1 && is_cross_slot(problem) => Next::Alone,
        // The body as a whole: more than the node takes at once, or than it has room for.
        (None, 413) if operations > 1 => Next::Fewer,
        (None, 413) => Next::LeaveOut(0),
        (None, 408 | 429 | 502 | 503 | 504) => Next::Again,
        _ => Next::BreakOff,
    }
}

/// Whether the keys of a batch had to share a slot, and do not.
pub(in super::super) fn is_cross_slot(problem: &Problem) -> bool {
    problem.kind.ends_with(":cross-slot")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_refusal_leads_to() {
        for (problem, operations, expected) in [
            (r#""status":412,"index":3"#, 5, Next::LeaveOut(3)),
            (
                r#""status":422,"field":"operations[2].key""#,
                5,
                Next::LeaveOut(2),
            ),
            (
                r#""status":422,"index":3,"field":"expires_at_ms""#,
                5,
                Next::Expired(3),
            ),
            (r#""status":412,"index":5"#, 5, Next::BreakOff),
            (r#""status":422,"field":"operations""#, 5, Next::BreakOff),
            (r#""status":413"#, 5, Next::Fewer),
            (r#""status":413"#, 1, Next::LeaveOut(0)),
            (r#""status":503"#, 5, Next::Again),
            (r#""status":429"#, 5, Next::Again),
            (r#""status":507"#, 5, Next::BreakOff),
            (r#""status":403"#, 5, Next::BreakOff),
        ] {
            let problem = format!(r#"{{"type":"t","title":"T","detail":"",{problem}}}"#);
            let problem: Problem = serde_json::from_str(&problem).unwrap();
            assert_eq!(next_after(&problem, operations), expected, "{problem:?}");
        }
        let foreign = |status, may_be_done| client::Error::Foreign {
            at: client::Place::named(&"a:1".parse().unwrap(), "--server"),
            status,
            may_be_done,
        };
        for (status, operations, expected) in [
            (502, 5, Next::Again),
            (503, 5, Next::Again),
            (504, 5, Next::Again),
            (429, 5, Next::Again),
            (413, 5, Next::Fewer),
            (413, 1, Next::LeaveOut(0)),
            (404, 5, Next::BreakOff),
        ] {
            assert_eq!(next(&foreign(status, true), operations), expected, "{status}");
        }
    }
}
