//! The last record of a log, by which two logs are held against each other: see [`super::branch`].

/// Which record stands last before an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastRecord {
    /// The offset of its first byte.
    pub start: u64,
    /// Its checksum, which covers all of it and its position.
    pub crc: u32,
}

impl LastRecord {
    /// That of a record at `start` of which these are the bytes, or the first of them.
    pub(crate) fn of_bytes(start: u64, bytes: &[u8]) -> Option<LastRecord> {
        let crc = u32::from_le_bytes(*bytes.first_chunk()?);
        Some(LastRecord { start, crc })
    }
}
