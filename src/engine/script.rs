//! The script by which entries change: `write.lua`. Its arguments, and what it answers.

use super::error::{EngineError, unexpected};
use super::topology::text_of;
use crate::node::{self, Deadline, Edit, Edited, Found, Mode, Precondition, WriteError, Written};
use redis::{Cmd, Value};
use sha1::{Digest, Sha1};
use std::fmt::Write;
use std::sync::LazyLock;

const SCRIPT: &str = include_str!("write.lua");

/// What the engine knows the script by, once it was sent.
static DIGEST: LazyLock<String> = LazyLock::new(|| digest_of(SCRIPT));

/// What the engine knows a script by.
pub(super) fn digest_of(script: &str) -> String {
    let digest = Sha1::digest(script.as_bytes());
    digest.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}"); // A string takes all that is written into it.
        hex
    })
}

/// What a step does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op<'a> {
    Get,
    Set(&'a [u8]),
    Deadline,
    Edit(Edit<'a>),
    Delete,
}

/// A step of the script.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step<'a> {
    pub(super) op: Op<'a>,
    pub(super) mode: Mode,
    pub(super) precondition: Precondition<'a>,
    /// None: the one that the key has.
    pub(super) deadline: Option<Deadline>,
}

impl<'a> Step<'a> {
    pub(super) fn new(op: Op<'a>) -> Step<'a> {
        Step {
            op,
            mode: Mode::Upsert,
            precondition: Precondition::None,
            deadline: None,
        }
    }

    /// One of a batch.
    pub(super) fn of(step: &node::Step<'a>) -> Step<'a> {
        match *step {
            node::Step::Get { .. } => Step::new(Op::Get),
            node::Step::Set {
                value,
                deadline,
                precondition,
                ..
            } => Step {
                precondition,
                deadline: Some(deadline),
                ..Step::new(Op::Set(value))
            },
            node::Step::Edit {
                edit,
                deadline,
                precondition,
                ..
            } => Step {
                precondition,
                deadline,
                ..Step::new(Op::Edit(edit))
            },
            node::Step::Delete { precondition, .. } => Step {
                precondition,
                ..Step::new(Op::Delete)
            },
        }
    }

    fn push(&self, command: &mut Cmd, key_number: usize) {
        let (op, value, initial) = match self.op {
            Op::Get => ("get", &b""[..], None),
            Op::Set(value) => ("set", value, None),
            Op::Deadline => ("deadline", &b""[..], None),
            Op::Edit(Edit::Append(more)) => ("append", more, None),
            Op::Edit(Edit::Increment { initial, .. }) => ("increment", &b""[..], initial),
            Op::Delete => ("delete", &b""[..], None),
        };
        command.arg(key_number).arg(op).arg(match self.mode {
            Mode::Add => "add",
            Mode::Update => "update",
            Mode::Upsert => "either",
        });
        let (condition, versions) = match self.precondition {
            Precondition::None => ("none", String::new()),
            Precondition::Absent => ("absent", String::new()),
            Precondition::Present => ("present", String::new()),
            Precondition::Version(version) => ("one-of", listed(&[version])),
            Precondition::OneOf(versions) => ("one-of", listed(versions)),
            Precondition::NoneOf {
                versions,
                must_exist: false,
            } => ("none-of", listed(versions)),
            Precondition::NoneOf { versions, .. } => ("there-and-none-of", listed(versions)),
        };
        command.arg(condition).arg(versions);
        match self.deadline {
            None => command.arg("keep").arg(0),
            Some(Deadline::Never) => command.arg("never").arg(0),
            Some(Deadline::In(ms)) => command.arg("in").arg(ms),
            Some(Deadline::At(at_ms)) => command.arg("at").arg(at_ms),
        };
        match self.op {
            Op::Edit(Edit::Increment { by, .. }) => command.arg(by),
            _ => command.arg(value),
        };
        match initial {
            Some(initial) => command.arg(initial),
            None => command.arg(""),
        };
    }
}

/// Versions, each after a comma and the last before one.
fn listed(versions: &[u64]) -> String {
    let mut text = String::from(",");
    for version in versions {
        let _ = write!(text, "{version},"); // A string takes all that is written into it.
    }
    text
}

/// A call of the script.
pub(super) struct Call<'c> {
    /// Each once, all in one slot.
    pub(super) keys: &'c [&'c [u8]],
    /// Steps, each with the number of its key, counted from 1.
    pub(super) steps: &'c [(usize, Step<'c>)],
    pub(super) value_bytes_max: usize,
    pub(super) read_bytes_max: usize,
}

impl Call<'_> {
    /// The command, where the engine knows the script.
    pub(super) fn by_digest(&self, floor: u64) -> Vec<u8> {
        self.packed("EVALSHA", &DIGEST, floor)
    }

    /// The command with the script itself.
    pub(super) fn with_script(&self, floor: u64) -> Vec<u8> {
        self.packed("EVAL", SCRIPT, floor)
    }

    fn packed(&self, name: &str, script: &str, floor: u64) -> Vec<u8> {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len());
        for key in self.keys {
            command.arg(*key);
        }
        command
            .arg(floor)
            .arg(self.value_bytes_max)
            .arg(self.read_bytes_max)
            .arg(self.steps.len());
        for (key_number, step) in self.steps {
            step.push(&mut command, *key_number);
        }
        command.get_packed_command()
    }
}

/// What a change came to, and how many replicas have it where some were asked for.
pub(super) type Changed<T> = (T, Option<usize>);

/// What a step came to.
#[derive(Debug)]
pub(super) enum Answered {
    /// A get found nothing.
    Absent,
    /// A get found this.
    Kept(Vec<u8>),
    /// A get found something that there was no room for.
    Passed(Found),
    Written {
        written: Written,
        value_bytes: usize,
        number: Option<i64>,
    },
    Deleted,
}

impl Answered {
    pub(super) fn written(&self) -> Option<Written> {
        match self {
            Answered::Written { written, .. } => Some(*written),
            _ => None,
        }
    }

    pub(super) fn edited(&self) -> Option<Edited> {
        match *self {
            Answered::Written {
                written,
                value_bytes,
                number,
            } => Some(Edited {
                written,
                number,
                value_bytes,
            }),
            _ => None,
        }
    }

    /// Whether the key was there to be deleted.
    pub(super) fn deleted(&self) -> Option<bool> {
        match self {
            Answered::Deleted => Some(true),
            Answered::Absent => Some(false),
            _ => None,
        }
    }

    pub(super) fn version(&self) -> Option<u64> {
        self.written().map(|written| written.version)
    }

    /// What it holds of a value.
    pub(super) fn value_bytes(&self) -> usize {
        match self {
            Answered::Kept(kept) => kept.len(),
            _ => 0,
        }
    }
}

/// Reads what the script has answered. The inner error names the step at fault, counted from 0.
#[allow(
    clippy::type_complexity,
    reason = "what went wrong where, and what came of each step"
)]
pub(super) fn read(
    answer: Option<Value>,
    steps: &[(usize, Step<'_>)],
) -> Result<Result<Vec<Answered>, (usize, WriteError)>, EngineError> {
    let Some(Value::Array(answer)) = answer else {
        return Err(unexpected(answer.as_ref()));
    };
    let mut answer = answer.into_iter();
    let at_fault = match answer.next() {
        Some(Value::Int(0)) => None,
        Some(Value::Int(step)) => Some(usize::try_from(step - 1).unwrap_or(0)),
        _ => return Err(unexpected(None)),
    };
    if let Some(index) = at_fault {
        let (why, version) = (answer.next(), answer.next());
        let why = why.as_ref().and_then(text_of).unwrap_or_default();
        let version = number(version.as_ref()).unwrap_or(0);
        return write_error(&why, version).map(|error| Err((index, error)));
    }
    let answered: Option<Vec<Answered>> = answer
        .zip(steps)
        .map(|(outcome, (_, step))| read_outcome(outcome, step))
        .collect();
    match answered {
        Some(answered) if answered.len() == steps.len() => Ok(Ok(answered)),
        _ => Err(unexpected(None)),
    }
}

fn read_outcome(outcome: Value, step: &Step<'_>) -> Option<Answered> {
    let Value::Array(outcome) = outcome else {
        return None;
    };
    let mut outcome = outcome.into_iter();
    let first = number(outcome.next().as_ref())?;
    match (step.op, first) {
        (Op::Get | Op::Delete, 0) => Some(Answered::Absent),
        (Op::Delete, _) => Some(Answered::Deleted),
        (Op::Get, 1) => match outcome.next() {
            Some(Value::BulkString(kept)) => Some(Answered::Kept(kept)),
            _ => None,
        },
        (op, first) => {
            let version = number(outcome.next().as_ref())?;
            let deadline_ms = number(outcome.next().as_ref()).filter(|deadline| *deadline > 0);
            if matches!(op, Op::Get) {
                return Some(Answered::Passed(Found { version, deadline_ms }));
            }
            let value_bytes = number(outcome.next().as_ref())?;
            let made = outcome.next().as_ref().and_then(text_of);
            Some(Answered::Written {
                written: Written {
                    version,
                    deadline_ms,
                    created: first == 1,
                },
                value_bytes: value_bytes as usize,
                number: made.and_then(|made| made.parse().ok()),
            })
        }
    }
}

fn number(value: Option<&Value>) -> Option<u64> {
    match value {
        Some(Value::Int(number)) => u64::try_from(*number).ok(),
        _ => None,
    }
}

/// What the script has refused a step for.
pub(super) fn write_error(why: &str, version: u64) -> Result<WriteError, EngineError> {
    Ok(match why {
        "missing" => WriteError::Missing,
        "exists" => WriteError::Exists { version },
        "precondition" => WriteError::Precondition {
            version: (version > 0).then_some(version),
        },
        "not-a-number" => WriteError::NotANumber,
        "overflow" => WriteError::Overflow,
        "past" => WriteError::Past,
        // The limit is the caller's.
        "too-large" => WriteError::TooLarge { bytes_max: 0 },
        "foreign" => return Err(EngineError::Foreign),
        "versions-used-up" => {
            return Err(EngineError::Refused(
                "the version of the key is as high as it can be".to_owned(),
            ));
        }
        _ => return Err(unexpected(None)),
    })
}
