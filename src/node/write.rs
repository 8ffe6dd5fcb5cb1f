//! What a write asks, what it gets, and why it is refused.

use crate::store::Entry;
use crate::wal::Refusal;
use std::fmt;

/// Until when a value is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deadline {
    /// For good.
    #[default]
    Never,
    /// For so long from now on, in ms.
    In(u64),
    /// Until then, in ms since the Unix epoch. A write whose deadline has passed is refused.
    At(u64),
}

impl Deadline {
    pub(super) fn at_ms(self, now_ms: u64) -> Option<u64> {
        match self {
            Deadline::Never => None,
            Deadline::In(ms) => Some(now_ms.saturating_add(ms)),
            Deadline::At(at_ms) => Some(at_ms),
        }
    }
}

/// What a write asks of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The key must be new.
    Add,
    /// The key must be there.
    Update,
    /// Either.
    Upsert,
}

/// What a write asks of the version it replaces, beside its [`Mode`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precondition<'a> {
    /// Nothing.
    #[default]
    None,
    /// The key must not be there (`If-None-Match: *`).
    Absent,
    /// The key must be there in any version (`If-Match: *`).
    Present,
    /// The key must be there in this version.
    Version(u64),
    /// The key must be there in one of these versions; with none of them nothing is written.
    OneOf(&'a [u64]),
    /// The key must not be there in one of these versions.
    NoneOf {
        /// The versions.
        versions: &'a [u64],
        /// Whether a key that is not there fails the precondition too.
        must_exist: bool,
    },
}

/// A write that was applied; [`Node::wait`](super::Node::wait) for its version before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The offset just past the record, and from now on the key's version.
    pub version: u64,
    /// When the key expires, in ms since the Unix epoch.
    pub deadline_ms: Option<u64>,
    /// Whether the key is new.
    pub created: bool,
}

/// What an entry has beside key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The offset just past the record that last wrote the key.
    pub version: u64,
    /// When the key expires, in ms since the Unix epoch.
    pub deadline_ms: Option<u64>,
}

impl Found {
    pub(super) fn of(entry: &Entry) -> Found {
        Found {
            version: entry.version(),
            deadline_ms: entry.deadline_ms(),
        }
    }
}

/// What is known of an entry without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Version and deadline.
    pub found: Found,
    /// Size of the value, in bytes.
    pub value_bytes: usize,
}

/// What a read has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// A value, which was copied.
    Copied(Found),
    /// A value that is too large to be copied.
    Large(Meta),
}

/// Why a write was refused. Nothing changed and nothing was logged.
#[derive(Clone, Debug)]
pub enum WriteError {
    /// The key was to be new and is there.
    Exists {
        /// The version it has.
        version: u64,
    },
    /// The key was to be there and is not.
    Missing,
    /// The precondition does not hold.
    Precondition {
        /// The version the key has, if it is there.
        version: Option<u64>,
    },
    /// A number was to be changed, and the value is none.
    NotANumber,
    /// The number would leave the 64 bits that it has.
    Overflow,
    /// The deadline is not after now.
    Past,
    /// The value is over the limit of a value, or the entry over that of the store.
    TooLarge {
        /// The limit, in bytes.
        bytes_max: u64,
    },
    /// There is no room for the value that is to be made.
    NoRoom,
    /// Other writes of the key came first, again and again.
    Contended,
    /// The log takes no writes now.
    Refused(Refusal),
}

impl From<Refusal> for WriteError {
    fn from(refusal: Refusal) -> WriteError {
        WriteError::Refused(refusal)
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteError::Exists { version } => write!(f, "the key exists, in version {version}"),
            WriteError::Missing => f.write_str("the key does not exist"),
            WriteError::Precondition {
                version: Some(version),
            } => write!(f, "the key is in version {version}"),
            WriteError::Precondition { version: None } => f.write_str("the key does not exist"),
            WriteError::NotANumber => {
                f.write_str("the value is not a whole number: it must be digits only, perhaps after a minus")
            }
            WriteError::Overflow => f.write_str("the number would not fit into 64 bits"),
            WriteError::Past => f.write_str("the deadline has passed already"),
            WriteError::TooLarge { bytes_max } => write!(f, "the limit is {bytes_max} bytes"),
            WriteError::NoRoom => f.write_str("there is no room for the value that is to be made"),
            WriteError::Contended => {
                f.write_str("other writes of this key came first, again and again; nothing has changed")
            }
            WriteError::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl std::error::Error for WriteError {}

impl Precondition<'_> {
    /// Whether it asks for a key that is there.
    pub fn wants_present(self) -> bool {
        match self {
            Precondition::None | Precondition::Absent => false,
            Precondition::Present | Precondition::Version(_) | Precondition::OneOf(_) => true,
            Precondition::NoneOf { must_exist, .. } => must_exist,
        }
    }

    /// Holds it against the version that the key has, if it is there.
    pub(crate) fn check(self, version: Option<u64>) -> Result<(), WriteError> {
        let holds = match (self, version) {
            (Precondition::None, _) => true,
            (Precondition::Absent, version) => version.is_none(),
            (Precondition::Present, version) => version.is_some(),
            (Precondition::Version(wanted), version) => version == Some(wanted),
            (Precondition::OneOf(wanted), version) => {
                version.is_some_and(|version| wanted.contains(&version))
            }
            (Precondition::NoneOf { must_exist, .. }, None) => !must_exist,
            (Precondition::NoneOf { versions, .. }, Some(version)) => !versions.contains(&version),
        };
        if holds {
            Ok(())
        } else {
            Err(WriteError::Precondition { version })
        }
    }
}
