//! A piece of another node's log on its way into this one's.

use super::Node;
use crate::log::TermStart;
use crate::record::{DecodeError, Operation, Record};
use crate::store::Copied;

/// A piece of another node's log that was read and found whole.
pub(super) struct Piece {
    pub(super) changes: Vec<Copied>,
    pub(super) terms: Vec<TermStart>,
    /// The offset just past it.
    pub(super) end: u64,
    /// Where the log goes on, where its last record says so.
    pub(super) goes_on_at: Option<u64>,
}

impl Piece {
    pub(super) fn read(node: &Node, offset: u64, bytes: &[u8]) -> Result<Piece, String> {
        let mut piece = Piece {
            changes: Vec::new(),
            terms: Vec::new(),
            end: offset,
            goes_on_at: None,
        };
        let (mut at, mut more) = (0, false);
        while at < bytes.len() {
            if piece.goes_on_at.is_some() {
                return Err("it goes on behind the record that says where the log does".to_owned());
            }
            let (record, length) = match Record::decode(piece.end, &bytes[at..]) {
                Ok(decoded) => decoded,
                Err(error @ (DecodeError::Incomplete(_) | DecodeError::Corrupt(_))) => {
                    return Err(format!("at offset {}: {error}", piece.end));
                }
            };
            let start = piece.end;
            at += length;
            piece.end += length as u64;
            more = record.more;
            piece.changes.extend(node.store.copied(&record, piece.end));
            piece.terms.extend(TermStart::of_record(&record, start));
            if record.operation == Operation::Skip {
                let goes_on_at = record.value_u64().filter(|&goes_on_at| goes_on_at >= piece.end);
                piece.goes_on_at = Some(goes_on_at.ok_or("it says that the log goes on before its end")?);
            }
        }
        if more {
            return Err("it ends in the middle of a batch".to_owned());
        }
        Ok(piece)
    }
}
