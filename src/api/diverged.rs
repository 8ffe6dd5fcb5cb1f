//! The JSON of `GET /diverged`: stretches of a log that were set aside.

use serde::{Deserialize, Serialize};

/// The path of it.
pub(crate) const PATH_DIVERGED: &str = "/diverged";

/// The files that are there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DivergedFiles {
    /// Each of them, in the order of terms and offsets.
    pub files: Vec<DivergedFile>,
}

/// A stretch of a log that is no part of its history any more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct DivergedFile {
    /// Its name in the data directory.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}
