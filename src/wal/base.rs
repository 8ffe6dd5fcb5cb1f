//! Writes a base: the state of the store as one file, with which a start begins.
//!
//! The store is walked in batches, least recently used entries first, so that a later start finds the
//! order of use as it was. Each batch takes the store's lock for some microseconds: entries are copied into
//! memory that was made before, and encoded, summed up and written outside of it. A base ends with an END
//! record that counts the others and has their digest, so one that was cut short is not taken for complete.
//!
//! The store may change meanwhile. What a base at offset N has of a key is then as of N, or the key was
//! written after N and is left out: the log from N on tells of it either way, and replaying records that
//! carry complete values on top of such a base comes to the state of now.

use super::disk::Disk;
use super::error::Error;
use super::header::{HEADER_BYTES, Header};
use crate::digest::{self, Digest};
use crate::pair::Pair;
use crate::record::{Operation, Record};
use std::fs::File;
use std::ops::Range;
use std::path::Path;

/// Entries looked at in one hold of the store's lock.
const BATCH_ENTRIES: usize = 64;

/// Bytes copied in one hold of the lock. Larger than any entry that is copied and not shared.
const BATCH_BYTES: usize = 64 * 1024;

/// Written to the file at once, in bytes.
const WRITE_BYTES: usize = 256 << 10;

/// Bytes after which the file is synced: so the last sync is short, and one of the log, which may have to
/// wait for what else the file system has in hand, never waits for more than this.
const SYNC_BYTES: u64 = 2 << 20;

/// What a base is made of: the store, as the log sees it.
pub(crate) trait Source: Send + Sync {
    /// The offset just past the last change made. Changes up to it are in the source.
    fn tip(&self) -> u64;

    /// How many entries there are, and about how many bytes a base of them would have.
    fn size(&self) -> (u64, u64);

    /// Starts a walk from the least recently used entry on that leaves out what has a version above
    /// `version_max`. There is one walk at a time.
    fn start_walk(&self, version_max: u64);

    /// Continues for some entries, in one hold of the lock. Returns whether there is more. An entry that lives
    /// throughout the walk, and is not left out, is given exactly once.
    fn walk(&self, batch: &mut Batch) -> bool;

    /// Gives up the walk.
    fn end_walk(&self);

    /// Another walk, by slots from 0 on, of which any number may continue at once: some entries from a slot on, in
    /// one hold of the lock, but those of a version above `version_max`. Returns where to continue; none at the end.
    /// An entry that lives throughout, and is not left out, is given exactly once.
    fn walk_slots(&self, from: u32, version_max: u64, batch: &mut Batch) -> Option<u32>;
}

/// Entries on their way from the store into a base. Has room for those of one hold of the lock.
pub(crate) struct Batch {
    bytes: Vec<u8>,
    items: Vec<Item>,
}

struct Item {
    key_and_value: Range<usize>,
    key_bytes: usize,
    version: u64,
    deadline_ms: Option<u64>,
    /// The pair itself, where it is shared rather than copied.
    shared: Option<Pair>,
}

impl Batch {
    pub(super) fn new() -> Batch {
        Batch {
            bytes: Vec::with_capacity(BATCH_BYTES),
            items: Vec::with_capacity(BATCH_ENTRIES),
        }
    }

    /// How many entries to look at in one hold of the lock.
    pub(crate) fn steps(&self) -> usize {
        BATCH_ENTRIES
    }

    /// Copies an entry; `false` where there is no room for it.
    pub(crate) fn copy(
        &mut self,
        key_and_value: &[u8],
        key_bytes: usize,
        version: u64,
        deadline_ms: Option<u64>,
    ) -> bool {
        let start = self.bytes.len();
        if start + key_and_value.len() > BATCH_BYTES {
            return false;
        }
        self.bytes.extend_from_slice(key_and_value);
        self.items.push(Item {
            key_and_value: start..self.bytes.len(),
            key_bytes,
            version,
            deadline_ms,
            shared: None,
        });
        true
    }

    /// Takes a share of an entry, which keeps its memory whatever becomes of it; `false` where there is another one
    /// already.
    pub(crate) fn share(&mut self, pair: impl FnOnce() -> Pair, version: u64) -> bool {
        if self.items.iter().any(|item| item.shared.is_some()) {
            return false;
        }
        let pair = pair();
        self.items.push(Item {
            key_and_value: 0..0,
            key_bytes: pair.key().len(),
            version,
            deadline_ms: pair.deadline_ms(),
            shared: Some(pair),
        });
        true
    }

    /// The entries as records, and what each adds to the digest.
    pub(super) fn records(&self) -> impl Iterator<Item = (Record<'_>, u64)> {
        self.items.iter().map(|item| {
            let bytes = match &item.shared {
                Some(pair) => pair.key_and_value(),
                None => &self.bytes[item.key_and_value.clone()],
            };
            let (key, value) = bytes.split_at(item.key_bytes);
            let record = Record {
                deadline_ms: item.deadline_ms,
                version: Some(item.version),
                ..Record::new(Operation::Set, 0, key, value)
            };
            (
                record,
                digest::hash(bytes, item.key_bytes, item.version, item.deadline_ms),
            )
        })
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.items.clear();
    }
}

/// Walks a source to its end and writes a base of it. `each` is called after every batch, with the entries
/// and the bytes written so far; an error of it ends the walk. Returns both at the end.
///
/// Nobody else may walk the source meanwhile.
pub(super) fn write(
    disk: &Disk,
    (file, path): (&File, &Path),
    header: &Header,
    source: &dyn Source,
    mut each: impl FnMut(u64, u64) -> Result<(), Error>,
) -> Result<(u64, u64), Error> {
    let mut out = Output {
        disk,
        file,
        path,
        position: 0,
        synced: 0,
        pending: header.encode(),
    };
    let mut batch = Batch::new();
    let (mut entries, mut digest) = (0, Digest::default());
    source.start_walk(header.first_offset);
    loop {
        let more = source.walk(&mut batch);
        for (record, hash) in batch.records() {
            digest.add_hash(hash);
            out.record(&record)?;
            entries += 1;
        }
        batch.clear();
        each(entries, out.position).inspect_err(|_| source.end_walk())?;
        if !more {
            break;
        }
    }
    let end = [entries, digest.0].map(u64::to_le_bytes).concat();
    out.record(&Record::new(Operation::End, 0, &[], &end))?;
    out.flush()?;
    Ok((entries, out.position))
}

struct Output<'a> {
    disk: &'a Disk,
    file: &'a File,
    path: &'a Path,
    /// Where in the file `pending` goes.
    position: u64,
    /// Up to here it is synced.
    synced: u64,
    pending: Vec<u8>,
}

impl Output<'_> {
    fn record(&mut self, record: &Record<'_>) -> Result<(), Error> {
        let position = self.position + self.pending.len() as u64 - HEADER_BYTES as u64;
        record.encode(position, &mut self.pending);
        if self.pending.len() >= WRITE_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.disk
            .write_at(self.file, &self.pending, self.position)
            .map_err(Error::io("cannot write", self.path))?;
        self.position += self.pending.len() as u64;
        self.pending.clear();
        if self.position - self.synced >= SYNC_BYTES {
            self.disk
                .sync_data(self.file)
                .map_err(Error::io("cannot sync", self.path))?;
            self.synced = self.position;
        }
        Ok(())
    }
}

/// Counts the records of a base against what its last record says.
#[derive(Default)]
pub(super) struct BaseCount {
    records: u64,
    pub(super) has_gap: bool,
    pub(super) is_ended: bool,
}

impl BaseCount {
    pub(super) fn count(&mut self, record: &Record<'_>) -> Result<(), &'static str> {
        match record.operation {
            _ if self.is_ended => return Err("the base continues after its last record"),
            Operation::End if record.value_u64() != Some(self.records) && !self.has_gap => {
                return Err("the base does not have as many records as it says");
            }
            Operation::End => self.is_ended = true,
            Operation::Gap => self.has_gap = true,
            _ => self.records += 1,
        }
        Ok(())
    }
}
