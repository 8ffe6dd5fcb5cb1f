//! The digest, recomputed from the files, for `pykv check`.

use crate::digest::Digest;
use crate::record::{Operation, Record};
use std::collections::HashMap;

/// A digest that is not what the files say it is. Every record is what was written, and still they do not add
/// up: a bug, or files of different stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The offset past the record that says the digest; in a base, that of the base.
    pub offset: u64,
    /// What it says.
    pub expected: Digest,
    /// What the records before it come to.
    pub found: Digest,
}

/// What each key adds to the digest: the keys are held in memory, the values are not.
#[derive(Default)]
pub(super) struct DigestVerifier {
    hashes: HashMap<Box<[u8]>, u64>,
    digest: Digest,
    /// Where records were lost, the digest cannot be right.
    has_gap: bool,
}

impl DigestVerifier {
    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    pub(super) fn entries(&self) -> u64 {
        self.hashes.len() as u64
    }

    pub(super) fn note_gap(&mut self) {
        self.has_gap = true;
    }

    /// Takes a record in. `version` is what it gives its key.
    pub(super) fn push(&mut self, record: &Record<'_>, version: u64) -> Option<Mismatch> {
        let replaced = match record.operation {
            Operation::Set | Operation::Update => {
                let hash = Digest::of_record(record, version);
                self.digest.add_hash(hash);
                self.hashes.insert(record.key.into(), hash)
            }
            Operation::Delete | Operation::Evict | Operation::Expire => self.hashes.remove(record.key),
            Operation::Gap => {
                self.note_gap();
                None
            }
            Operation::Close | Operation::End => {
                let expected = Digest(record.digest()?);
                let found = self.digest;
                let is_right = self.has_gap || expected == found;
                return (!is_right).then_some(Mismatch {
                    offset: version,
                    expected,
                    found,
                });
            }
            Operation::Term | Operation::Skip => None,
        };
        if let Some(hash) = replaced {
            self.digest.remove_hash(hash);
        }
        None
    }
}
