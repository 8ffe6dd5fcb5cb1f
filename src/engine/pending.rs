//! A pending request of a [`pipeline`](super::pipeline): its answer goes to the thread that waits for it, or on to the
//! client at once.
//!
//! # What must hold
//! - An answer is used once: it is sent on, or the thread that asked has it.
//! - Whoever leaves is given no answer, and none is sent on afterwards.
//! - The lock is not held while an answer is sent on.
//! - A bug in what sends it on costs the thread that asked, and so its connection, and not the one that gives the answer.

use redis::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    /// Nothing was sent.
    NotSent(String),
    /// It was sent, in part or in whole, and not answered.
    Broken(String),
    /// A read was answered, and those before it were so long that its answer was not kept.
    Long,
}

/// What a server has answered, which may be an error of its own.
pub(super) type Answer = Result<Value, Missed>;

/// Sends an answer on; `false` where it is not what was expected, and the thread that asked must see to it.
pub(super) type SendOn = Box<dyn FnOnce(&Value) -> bool + Send>;

/// See the module.
pub(super) struct Pending {
    state: Mutex<State>,
    changed: Condvar,
}

enum State {
    /// With what sends the answer on; none where the thread that asked waits for it.
    Waits(Option<SendOn>),
    /// The answer is being sent on.
    IsSentOn,
    Has(Answer),
    SentOn,
    /// What sends it on has panicked: perhaps the client has a part of it.
    Panicked,
    /// Nobody wants it any more.
    Left,
}

/// What has become of an answer.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// It is here.
    Answer(Answer),
    /// It was sent on.
    SentOn,
}

impl Pending {
    pub(super) fn new(send_on: Option<SendOn>) -> Pending {
        Pending {
            state: Mutex::new(State::Waits(send_on)),
            changed: Condvar::new(),
        }
    }

    /// Gives the answer, unless there is one or nobody wants it.
    pub(super) fn give(&self, answer: Answer) {
        let send_on = {
            let mut state = self.lock();
            let State::Waits(send_on) = &mut *state else {
                return;
            };
            let send_on = send_on.take().filter(|_| answer.is_ok());
            if send_on.is_some() {
                *state = State::IsSentOn;
            }
            send_on
        };
        let is_sent = match (send_on, &answer) {
            (Some(send_on), Ok(value)) => catch_unwind(AssertUnwindSafe(|| send_on(value))),
            _ => Ok(false),
        };
        *self.lock() = match is_sent {
            Ok(true) => State::SentOn,
            Ok(false) => State::Has(answer),
            Err(_) => State::Panicked,
        };
        self.changed.notify_one();
    }

    /// Waits for what becomes of the answer; none where nothing has by the deadline. Panics where what sends it on has.
    pub(super) fn wait(&self, deadline: Instant) -> Option<Outcome> {
        let mut state = self.lock();
        loop {
            match std::mem::replace(&mut *state, State::Left) {
                State::Has(answer) => return Some(Outcome::Answer(answer)),
                State::SentOn => return Some(Outcome::SentOn),
                State::Panicked => panic!("what sends an answer on has panicked"),
                waits => *state = waits,
            }
            let left = deadline.saturating_duration_since(Instant::now());
            state = match (&*state, left.is_zero()) {
                // It does not block, so this does not last.
                (State::IsSentOn, _) => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                (_, true) => return None,
                (_, false) => {
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Lets go of the answer; `false` where it has come, or is being sent on.
    pub(super) fn leave(&self) -> bool {
        let mut state = self.lock();
        let waits = matches!(*state, State::Waits(_));
        if waits {
            *state = State::Left;
        }
        waits
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    fn value(number: i64) -> Answer {
        Ok(Value::Int(number))
    }

    fn broken() -> Answer {
        Err(Missed::Broken("cut".to_owned()))
    }

    #[test]
    fn an_answer_is_used_once() {
        let pending = Pending::new(None);
        pending.give(value(1));
        pending.give(value(2));
        let now = Instant::now();
        assert_eq!(pending.wait(now), Some(Outcome::Answer(value(1))));
        assert_eq!(pending.wait(now), None);
    }

    #[test]
    fn what_is_expected_is_sent_on_and_the_rest_comes_back() {
        let (sent, was_sent) = channel();
        let now = Instant::now();
        for (answer, is_expected) in [(value(1), true), (value(0), false), (broken(), false)] {
            let sent = sent.clone();
            let pending = Pending::new(Some(Box::new(move |value| {
                let is_expected = *value == Value::Int(1);
                if is_expected {
                    sent.send(value.clone()).unwrap();
                }
                is_expected
            })));
            pending.give(answer.clone());
            let expected = match is_expected {
                true => Outcome::SentOn,
                false => Outcome::Answer(answer),
            };
            assert_eq!(pending.wait(now), Some(expected));
        }
        assert_eq!(was_sent.try_iter().collect::<Vec<_>>(), [Value::Int(1)]);
    }

    #[test]
    fn nothing_is_sent_on_for_who_has_left() {
        let (sent, was_sent) = channel::<()>();
        let pending = Pending::new(Some(Box::new(move |_| sent.send(()).is_ok())));
        assert_eq!(pending.wait(Instant::now()), None);
        assert!(pending.leave());
        pending.give(value(1));
        assert!(was_sent.try_recv().is_err());
        assert!(!pending.leave());
    }

    #[test]
    #[should_panic = "what sends an answer on has panicked"]
    fn a_panic_is_that_of_the_thread_that_asked() {
        let pending = Pending::new(Some(Box::new(|_| panic!("a bug"))));
        pending.give(value(1));
        pending.wait(Instant::now());
    }

    #[test]
    fn who_comes_while_an_answer_is_sent_on_waits_for_that() {
        let (began, has_begun) = channel();
        let (go, may_go) = channel::<()>();
        let pending = Arc::new(Pending::new(Some(Box::new(move |_| {
            began.send(()).unwrap();
            may_go.recv().unwrap();
            true
        }))));
        let giver = Arc::clone(&pending);
        let giver = std::thread::spawn(move || giver.give(value(1)));
        has_begun.recv().unwrap();
        assert!(!pending.leave());
        go.send(()).unwrap();
        assert_eq!(pending.wait(Instant::now()), Some(Outcome::SentOn));
        giver.join().unwrap();
    }
}
