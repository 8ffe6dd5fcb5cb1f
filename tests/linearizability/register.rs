//! What one key is, as its clients see it: a register that holds a value or nothing.
//!
//! Every value of a history is written once, so a value stands for the version that has it: a write on condition of
//! a version (`If-Match`) is a compare-and-set of values.

/// A value: the number of the write that wrote it.
pub type Value = u32;

/// What the register holds.
pub type State = Option<Value>;

/// What a client asked for, and what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It read this.
    Get(State),
    /// It wrote a value, whatever was there.
    Put(Value, Outcome),
    /// It wrote the second value if the first was there. `Refused`: it was not.
    CompareAndSet(Value, Value, Outcome),
    /// It deleted what was there. `Refused`: nothing was.
    Delete(Outcome),
}

/// What became of a write, as far as its client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Nothing was changed, because of what was there.
    Refused,
    /// It may have happened at any moment since it began, may yet happen, and may never.
    Unknown,
}

impl Operation {
    /// Whether it may never have happened.
    pub fn is_unknown(self) -> bool {
        match self {
            Operation::Get(_) => false,
            Operation::Put(_, outcome)
            | Operation::CompareAndSet(_, _, outcome)
            | Operation::Delete(outcome) => outcome == Outcome::Unknown,
        }
    }

    /// What the register holds after it, if it can happen now; none where it cannot have given this answer.
    ///
    /// An unknown one that would change nothing is told to be impossible: that it never happened says the same.
    pub fn apply(self, state: State) -> Option<State> {
        match self {
            Operation::Get(seen) => (seen == state).then_some(state),
            Operation::Put(_, Outcome::Refused) => None,
            Operation::Put(value, _) => Some(Some(value)),
            Operation::CompareAndSet(expected, _, Outcome::Refused) => {
                (state != Some(expected)).then_some(state)
            }
            Operation::CompareAndSet(expected, value, _) => (state == Some(expected)).then_some(Some(value)),
            Operation::Delete(Outcome::Refused) => state.is_none().then_some(state),
            Operation::Delete(_) => state.is_some().then_some(None),
        }
    }
}

mod tests {
    use super::Operation::{CompareAndSet, Delete, Get, Put};
    use super::Outcome::{Done, Refused, Unknown};

    #[test]
    fn each_answer_tells_what_was_there() {
        for (operation, state, after) in [
            (Get(None), None, Some(None)),
            (Get(Some(1)), Some(1), Some(Some(1))),
            (Get(None), Some(1), None),
            (Get(Some(2)), Some(1), None),
            (Put(2, Done), None, Some(Some(2))),
            (Put(2, Unknown), Some(1), Some(Some(2))),
            (CompareAndSet(1, 2, Done), Some(1), Some(Some(2))),
            (CompareAndSet(1, 2, Done), Some(3), None),
            (CompareAndSet(1, 2, Refused), Some(3), Some(Some(3))),
            (CompareAndSet(1, 2, Refused), None, Some(None)),
            (CompareAndSet(1, 2, Refused), Some(1), None),
            (CompareAndSet(1, 2, Unknown), Some(1), Some(Some(2))),
            (CompareAndSet(1, 2, Unknown), Some(3), None),
            (Delete(Done), Some(1), Some(None)),
            (Delete(Done), None, None),
            (Delete(Refused), None, Some(None)),
            (Delete(Refused), Some(1), None),
            (Delete(Unknown), Some(1), Some(None)),
        ] {
            assert_eq!(operation.apply(state), after, "{operation:?} on {state:?}");
        }
    }
}
