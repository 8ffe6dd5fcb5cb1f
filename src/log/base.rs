//! Writes a base: the state of the store as one file, from which a start goes on.
//!
//! The store is walked in batches, least recently used entries first, so that a later start finds the
//! order of use as it was. Each batch takes the store's lock for some microseconds. A base ends with an
//! END record that counts the others, so one that was cut short is not taken for whole.

use super::dir::{Dir, Named};
use super::disk::Disk;
use super::error::Error;
use super::header::{HEADER_BYTES, Header, Kind, LogId, Term};
use crate::digest::Digest;
use crate::pair::Pair;
use crate::record::{Operation, Record};
use std::fs::File;

/// Entries asked of the store at once, in one hold of its lock: each may have to be copied.
const BATCH_ENTRIES: usize = 128;

/// Written to the file at once, in bytes.
const WRITE_BYTES: usize = 1 << 20;

/// What a base is made of: the store, as the log sees it.
pub(crate) trait Source: Send + Sync {
    /// The offset just past the last change made. Changes up to it are in the source.
    fn tip(&self) -> u64;

    /// Starts a walk from the least recently used entry on, giving up one that was going on.
    fn start_walk(&self);

    /// The next entries, at most `entries_max`, each with its version; none at the end. An entry that lives
    /// throughout the walk is given at least once.
    fn walk(&self, entries_max: usize, batch: &mut Vec<(Pair, u64)>);
}

/// Makes `base-<offset>.pykv` of a source that does not change meanwhile. Returns how many entries it has.
pub(super) fn write(
    dir: &Dir,
    disk: &Disk,
    id: LogId,
    terms: &[Term],
    offset: u64,
    source: &dyn Source,
) -> Result<u64, Error> {
    let named = Named::new(dir.path(), Kind::Base, offset);
    let header = Header {
        kind: Kind::Base,
        id,
        first_offset: offset,
        terms: terms.to_vec(),
    };
    let mut entries = 0;
    let mut digest = Digest::default();
    dir.make(disk, &named, |file| {
        let mut out = Output {
            disk,
            file,
            named: &named,
            position: 0,
            pending: header.encode(),
        };
        let mut batch = Vec::with_capacity(BATCH_ENTRIES);
        source.start_walk();
        loop {
            source.walk(BATCH_ENTRIES, &mut batch);
            if batch.is_empty() {
                break;
            }
            for (pair, version) in batch.drain(..) {
                digest.add(&pair, version);
                let record = Record::new(Operation::Set, 0, pair.key(), pair.value());
                out.record(&Record {
                    deadline_ms: pair.deadline_ms(),
                    version: Some(version),
                    ..record
                })?;
                entries += 1;
            }
        }
        let end = [entries, digest.0].map(u64::to_le_bytes).concat();
        out.record(&Record::new(Operation::End, 0, &[], &end))?;
        out.flush()
    })?;
    Ok(entries)
}

struct Output<'a> {
    disk: &'a Disk,
    file: &'a File,
    named: &'a Named,
    /// Where in the file `pending` goes.
    position: u64,
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
        let path = &self.named.path;
        self.disk
            .write_at(self.file, &self.pending, self.position)
            .map_err(Error::io("cannot write", path))?;
        self.position += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}
