//! What can be read of damaged records.

use super::FileReader;
use crate::record::Record;

/// What is known of a damaged record: its first fields may be right, and the records of its batch before it.
#[derive(Clone, Copy, Debug)]
pub(in crate::wal) struct Broken {
    /// The timestamp of its batch, where complete records of that stand before it.
    pub(in crate::wal) batch_timestamp_ms: Option<u64>,
    /// Where in the file it would end.
    pub(in crate::wal) end: Option<u64>,
    /// Whether its batch would continue after it.
    pub(in crate::wal) more: bool,
    /// What its timestamp would be.
    pub(in crate::wal) timestamp_ms: Option<u64>,
}

impl FileReader {
    /// What is known of the damage at the cursor, where [`FileReader::peek`] has found some.
    pub(in crate::wal) fn broken(&self) -> Broken {
        let unread = &self.buffer[self.start..];
        let first = Record::decode(self.checksum_position(), unread).ok();
        let ahead = match (first, self.broken_batch) {
            (Some(_), Some((until, _))) => (until - self.file_position) as usize,
            _ => 0,
        };
        let head = unread.get(ahead..).and_then(Record::peek_head);
        Broken {
            batch_timestamp_ms: first.map(|(record, _)| record.timestamp_ms),
            end: head.map(|(bytes, ..)| self.file_position + (ahead + bytes) as u64),
            more: head.is_some_and(|(_, more, _)| more),
            timestamp_ms: head.map(|(.., timestamp_ms)| timestamp_ms),
        }
    }

    /// The keys of which the damage at the cursor says something, as far as that can be read: of the records of its batch
    /// before it, and of the damaged one, whose own key may be what is damaged.
    pub(in crate::wal) fn broken_keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        let (mut position, mut unread) = (self.checksum_position(), &self.buffer[self.start..]);
        if self.is_behind_skip() {
            return keys;
        }
        while let Ok((record, bytes)) = Record::decode(position, unread) {
            keys.push(String::from_utf8_lossy(record.key).into_owned());
            (position, unread) = (position + bytes as u64, &unread[bytes..]);
        }
        let key = Record::peek_key(unread).and_then(|key| std::str::from_utf8(key).ok());
        keys.extend(key.map(str::to_owned));
        keys.retain(|key| !key.is_empty());
        keys
    }
}
