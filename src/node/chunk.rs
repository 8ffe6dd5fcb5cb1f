//! A chunk of another node's log on its way into this one's.

use super::Node;
use crate::record::{DecodeError, Operation, Record};
use crate::store::ReplicatedChange;
use crate::wal::{Branch, LastRecord, OFFSET_TAKEN_MAX};

/// A chunk of another node's log: complete records and complete batches, each of them checked.
pub(crate) struct ReplicatedChunk {
    /// Its records as they stand in the log.
    pub(super) bytes: Vec<u8>,
    /// The offset of the first.
    pub(super) start: u64,
    pub(super) changes: Vec<ReplicatedChange>,
    pub(super) branches: Vec<Branch>,
    /// The last of its records.
    pub(super) last: Option<LastRecord>,
    /// The offset just past it.
    pub(super) end: u64,
    /// Where the log continues, where the last record says so.
    pub(super) next_offset: Option<u64>,
}

impl ReplicatedChunk {
    /// Bytes of the log.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn read(node: &Node, offset: u64, bytes: Vec<u8>) -> Result<ReplicatedChunk, String> {
        let mut chunk = ReplicatedChunk {
            bytes: Vec::new(),
            start: offset,
            changes: Vec::new(),
            branches: Vec::new(),
            last: None,
            end: offset,
            next_offset: None,
        };
        let mut term = node.term();
        let (mut at, mut more) = (0, false);
        while at < bytes.len() {
            if chunk.next_offset.is_some() {
                return Err("it continues behind its SKIP".to_owned());
            }
            let (record, length) = match Record::decode(chunk.end, &bytes[at..]) {
                Ok(decoded) => decoded,
                Err(error @ (DecodeError::Incomplete(_) | DecodeError::Corrupt(_))) => {
                    return Err(format!("at offset {}: {error}", chunk.end));
                }
            };
            let start = chunk.end;
            if let Some(why) = record.is_foreign() {
                return Err(format!("at offset {start}: {why}"));
            }
            chunk.last = LastRecord::of_bytes(start, &bytes[at..]);
            at += length;
            chunk.end += length as u64;
            more = record.more;
            chunk.changes.extend(node.store.copied(&record, chunk.end));
            if let Some(branch) = Branch::of_record(&record, start) {
                if branch.term < term || !term.may_meet(branch.term) {
                    return Err(format!(
                        "at offset {start}: term {} cannot follow term {term}",
                        branch.term
                    ));
                }
                term = branch.term;
                chunk.branches.push(branch);
            }
            if record.operation == Operation::Skip {
                let next_offset = record
                    .skips_to(chunk.end)
                    .filter(|next| *next <= OFFSET_TAKEN_MAX);
                chunk.next_offset =
                    Some(next_offset.ok_or("it skips to an offset that no log reaches, or back")?);
            }
        }
        if more {
            return Err("it ends in the middle of a batch".to_owned());
        }
        chunk.bytes = bytes;
        Ok(chunk)
    }
}
