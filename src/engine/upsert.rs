//! The change that is made most, by a script of its own: a value is set whatever there was, for ever.
//!
//! It costs the engine half of what [`script`](super::script) does, and a quarter where several keys are set in one call.

use super::error::{EngineError, unexpected};
use super::script::{digest_of, write_error};
use super::topology::text_of;
use crate::node::{WriteError, Written};
use redis::Value;
use std::sync::LazyLock;

const SCRIPT: &str = include_str!("upsert.lua");

static DIGEST: LazyLock<String> = LazyLock::new(|| digest_of(SCRIPT));

/// A value that is to be set.
#[derive(Clone, Debug)]
pub(super) struct Upsert<B> {
    pub(super) key: B,
    pub(super) value: B,
    /// A number that its version is above.
    pub(super) floor: u64,
}

impl<B: AsRef<[u8]>> Upsert<B> {
    /// One that has its bytes.
    pub(super) fn to_owned(&self) -> Upsert<Vec<u8>> {
        Upsert {
            key: self.key.as_ref().to_vec(),
            value: self.value.as_ref().to_vec(),
            floor: self.floor,
        }
    }

    /// The command, where the engine knows the script.
    pub(super) fn by_digest(&self) -> Vec<u8> {
        packed("EVALSHA", &DIGEST, &[self])
    }

    /// The command with the script itself.
    pub(super) fn with_script(&self) -> Vec<u8> {
        packed("EVAL", SCRIPT, &[self])
    }
}

/// One command for several, where the engine knows the script. It answers an array, or what a single one is answered.
pub(super) fn together<B: AsRef<[u8]>>(upserts: &[&Upsert<B>]) -> Vec<u8> {
    packed("EVALSHA", &DIGEST, upserts)
}

fn packed<B: AsRef<[u8]>>(name: &str, script: &str, upserts: &[&Upsert<B>]) -> Vec<u8> {
    let mut command = redis::cmd(name);
    command.arg(script).arg(upserts.len());
    for upsert in upserts {
        command.arg(upsert.key.as_ref());
    }
    command.arg(upserts.iter().map(|upsert| upsert.floor).max());
    for upsert in upserts {
        command.arg(upsert.value.as_ref());
    }
    command.get_packed_command()
}

/// Reads what the script has answered for one key.
pub(super) fn read(answer: Option<&Value>) -> Result<Result<Written, WriteError>, EngineError> {
    let version = match answer {
        Some(Value::Int(version)) => *version,
        Some(why) => {
            return match text_of(why) {
                Some(why) => write_error(&why, 0).map(Err),
                None => Err(unexpected(Some(why))),
            };
        }
        None => return Err(unexpected(None)),
    };
    Ok(Ok(Written {
        version: version.unsigned_abs(),
        deadline_ms: None,
        created: version < 0,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::Cmd;

    fn upsert(key: &'static str, value: &'static str, floor: u64) -> Upsert<&'static str> {
        Upsert { key, value, floor }
    }

    #[test]
    fn several_are_one_command_above_the_highest_floor() {
        let (one, other) = (upsert("a", "1", 7), upsert("b", "2", 9));
        let mut expected = Cmd::new();
        expected.arg("EVALSHA").arg(DIGEST.as_str()).arg(2);
        expected.arg("a").arg("b").arg(9).arg("1").arg("2");
        assert_eq!(together(&[&one, &other]), expected.get_packed_command());
        assert_eq!(together(&[&one]), one.by_digest());
    }

    #[test]
    fn answers_of_a_key() {
        let written = |version, created| Written {
            version,
            deadline_ms: None,
            created,
        };
        for (version, expected) in [(-5, written(5, true)), (6, written(6, false))] {
            assert_eq!(read(Some(&Value::Int(version))).unwrap().unwrap(), expected);
        }
        let said = |text: &str| read(Some(&Value::BulkString(text.into())));
        assert!(matches!(said("foreign"), Err(EngineError::Foreign)));
        assert!(matches!(said("versions-used-up"), Err(EngineError::Refused(_))));
        for wrong in [None, Some(&Value::Nil), Some(&Value::Array(Vec::new()))] {
            assert!(matches!(read(wrong), Err(EngineError::Refused(_))), "{wrong:?}");
        }
    }
}
