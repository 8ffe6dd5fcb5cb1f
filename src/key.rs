//! A key that was checked: UTF-8 of 1 to 1,024 bytes.

use crate::pair::KEY_BYTES_MAX;
use std::fmt;

/// A key within the limits. Everything behind the HTTP layer takes this and need not check again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key<'a>(&'a str);

/// Why a string is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The empty string.
    Empty,
    /// Longer than [`KEY_BYTES_MAX`]; holds the length in bytes.
    TooLong(usize),
}

impl<'a> Key<'a> {
    /// Checks a key.
    pub fn new(key: &'a str) -> Result<Key<'a>, KeyError> {
        match key.len() {
            0 => Err(KeyError::Empty),
            bytes if bytes > KEY_BYTES_MAX => Err(KeyError::TooLong(bytes)),
            _ => Ok(Key(key)),
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &'a str {
        self.0
    }

    /// The key as the store and the log hold it.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0.as_bytes()
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Empty => f.write_str("a key has at least one byte"),
            KeyError::TooLong(bytes) => {
                write!(f, "a key has at most {KEY_BYTES_MAX} bytes; this one has {bytes}")
            }
        }
    }
}

impl std::error::Error for KeyError {}
