//! Why another node could not be spoken to.

use crate::{system, tls};
use std::fmt;
use std::io;

/// Why another node could not be spoken to.
#[derive(Debug)]
pub(super) enum LinkError {
    /// It cannot be reached, or does not answer.
    Io(io::Error),
    /// What it says is no answer that a node gives.
    Invalid(String),
    /// It answers, and refuses.
    Refused(&'static str),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkError::Io(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
            {
                f.write_str("it does not answer")
            }
            LinkError::Io(error) => match tls::words_of(error) {
                Some(words) => f.write_str(&words),
                None => f.write_str(&system::words(error)),
            },
            LinkError::Invalid(why) => write!(f, "what it says is no answer of pykv: {why}"),
            LinkError::Refused(why) => f.write_str(why),
        }
    }
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> LinkError {
        LinkError::Io(error)
    }
}
