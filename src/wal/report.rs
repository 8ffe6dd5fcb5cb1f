//! What a check of a directory has found.

use super::digest_verifier::Mismatch;
use crate::digest::Digest;
use std::path::PathBuf;

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// `base` or `log`.
    pub kind: &'static str,
    /// The offset it begins at, or is the state at.
    pub first_offset: u64,
    /// The offset just past its last complete record.
    pub end_offset: u64,
    /// Complete records in it.
    pub records: u64,
}

/// Bytes that are not what was written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where in the file, in bytes from its start.
    pub file_position: u64,
    /// The offset in the log; in a base, that of the base.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// What is wrong with them.
    pub why: String,
    /// Whether they are a torn tail: a start cuts it off by itself, and nothing acknowledged is in it.
    pub torn_tail: bool,
    /// Which keys they said something of.
    pub lost: Lost,
    /// Where a repair has saved them.
    pub saved_to: Option<PathBuf>,
}

/// The keys of which damaged bytes said something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// As far as they can be read, and no more than [`LOST_KEYS_MAX`].
    pub keys: Vec<String>,
    /// How many more there are.
    pub more: u64,
    /// Whether these bytes may have said something of other keys too.
    pub has_unread: bool,
}

/// Most keys that are named.
const LOST_KEYS_MAX: usize = 20;

impl Lost {
    pub(super) fn push(&mut self, key: String) {
        if self.keys.contains(&key) {
            return;
        }
        match self.keys.len() < LOST_KEYS_MAX {
            true => self.keys.push(key),
            false => self.more += 1,
        }
    }
}

/// What a directory holds, and what of it is damaged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The files that a start would read, in its order.
    pub files: Vec<FileReport>,
    /// What is damaged, in the same order.
    pub damage: Vec<Damage>,
    /// Where the digest is not what the files say.
    pub mismatches: Vec<Mismatch>,
    /// What is missing at the end of the log, and how that is known. A repair accepts that.
    pub missing: Option<String>,
    /// The digest of what a start would find.
    pub digest: Digest,
}

impl Report {
    /// Whether nothing is damaged except for a torn tail, and the digest is right.
    pub fn is_whole(&self) -> bool {
        let is_torn_at_most = self.damage.iter().all(|damage| damage.torn_tail);
        is_torn_at_most && self.mismatches.is_empty() && self.missing.is_none()
    }
}
