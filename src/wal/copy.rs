//! The log of a replica: the same bytes at the same offsets as the primary's.
//!
//! What another node has written comes in chunks of complete records. A chunk goes to the writer as any record
//! does, so all that holds of the log (group commit, retries, healing) holds of it; only once the log has it
//! is it applied to the store. In between, the log is ahead of the store, and nobody may take the one for the
//! other: that stretch is a [`ReplicaAppend`], and a base is begun between two of them.
//!
//! # What must hold
//! - A chunk is written after what is there, or not at all.
//! - Between two steps the log is written up to where the store is. After a failure of the disk the log may be
//!   ahead by the chunk of the last step, all of it, or back to where the store is; see [`ReplicaAppend::position`].
//! - Nothing that is set aside is taken out of the log before it is synced elsewhere.

use super::branch::{self, Beginning, Branch};
use super::entry::WriteRequest;
use super::error::Error;
use super::file_reader::{FileReader, Next};
use super::flush::Failure;
use super::handle::Log;
use super::header::{HEADER_BYTES, Header, Kind};
use super::health::{Health, Refusal};
use super::last_record::LastRecord;
use super::locks::{ApplyGuard, BaseGuard};
use super::recovered::SKIPPED_BYTES;
use super::segment::Segment;
use super::shared::Shared;
use super::term::{Succession, Term};
use crate::digest::Digest;
use crate::record::OFFSET_MAX;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes copied at once where a stretch of the log is set aside.
const COPY_BYTES: usize = 1 << 20;

/// The right to write what another node has written, and to apply it.
pub(crate) struct ReplicaAppend<'a> {
    shared: &'a Shared,
    apply_lock: ApplyGuard<'a>,
}

/// The right to cut the log's end off: no base is made meanwhile.
pub(crate) struct Cut<'a> {
    shared: &'a Shared,
    base_lock: BaseGuard<'a>,
}

impl Log {
    /// Begins to cut. Waits for a base that is being made.
    pub(crate) fn begin_cut(&self) -> Cut<'_> {
        Cut {
            shared: &self.shared,
            base_lock: self.shared.locks.base(),
        }
    }

    /// Begins a step. Waits for a base that is being begun.
    pub(crate) fn step(&self) -> ReplicaAppend<'_> {
        ReplicaAppend {
            shared: &self.shared,
            apply_lock: self.shared.locks.apply(),
        }
    }

    /// Leaves the end of the log to another node. The appender must be closed; what it was handed before is
    /// written first, and an error says that this could not be done.
    pub(crate) fn follow(&self) -> Result<(), Refusal> {
        self.shared.wait(self.shared.appended())?;
        self.shared.locks.writer().set_follows(true);
        Ok(())
    }

    /// Copies the log from an offset on into files of their own, one for each stretch without a hole:
    /// `diverged-<term>-<offset>.pykv`, which are read as any segment is. None where no record of a key is in
    /// it. It is synced when this returns.
    pub(crate) fn set_aside(&self, from: u64) -> Result<Vec<PathBuf>, Error> {
        let shared = &self.shared;
        let listing = shared.dir.list()?;
        let mut made = Vec::new();
        for (at, named) in listing.segments.iter().enumerate() {
            let next = listing.segments.get(at + 1);
            if next.is_some_and(|next| next.first_offset <= from) {
                continue;
            }
            let mut reader = FileReader::open_in(&shared.dir, named)?;
            let start = from.max(named.first_offset);
            reader.skip_forward(start - named.first_offset + HEADER_BYTES as u64);
            let mut has_keys = false;
            while let Next::Record(bytes) = reader.peek()? {
                has_keys |= reader.record(bytes).operation.has_key();
            }
            let end = reader.file_position();
            if !has_keys {
                continue;
            }
            let branches = reader.header().branches.clone();
            let header = Header {
                kind: Kind::Log,
                id: reader.header().id,
                first_offset: start,
                branches,
            };
            let term = shared.history.term();
            let path = shared
                .dir
                .path()
                .join(format!("diverged-{term}-{start:020}.pykv"));
            let cannot_read = Error::io("cannot read", &named.path);
            let file = reader.into_file();
            shared.dir.make(&shared.disk, &path, |to| {
                let mut buffer = header.encode();
                let mut written = 0;
                let mut position = start - named.first_offset + HEADER_BYTES as u64;
                loop {
                    shared
                        .disk
                        .write_at(to, &buffer, written)
                        .map_err(Error::io("cannot write", &path))?;
                    written += buffer.len() as u64;
                    buffer.resize((end - position).min(COPY_BYTES as u64) as usize, 0);
                    if buffer.is_empty() {
                        return Ok(());
                    }
                    if let Err(error) = file.read_exact_at(&mut buffer, position) {
                        return Err(cannot_read(error));
                    }
                    position += buffer.len() as u64;
                }
            })?;
            made.push(path);
        }
        Ok(made)
    }
}

impl Log {}

impl Cut<'_> {
    /// Drops the end of the log from an offset on, after which there is no record of a key: what a node says
    /// of itself when it stops, or is started after a crash. The store stays as it is. `false`, and nothing
    /// done, where the log does not hold the offset any more.
    ///
    /// The files after it go first, the last one first: whatever is left by a crash is a whole log.
    pub(crate) fn cut_back(&self, to: u64) -> Result<bool, Error> {
        let shared = self.shared;
        let apply = self.base_lock.apply();
        let mut writer = apply.writer();
        let listing = shared.dir.list()?;
        let base = listing.bases.last().map_or(0, |base| base.first_offset);
        let (ahead, holds): (Vec<_>, Vec<_>) = listing
            .segments
            .into_iter()
            .partition(|segment| segment.first_offset > to);
        let Some(last) = holds.last().filter(|_| base <= to) else {
            return Ok(false);
        };
        let file = shared
            .disk
            .open(&shared.dir, &last.path)
            .map_err(Error::io("cannot open", &last.path))?;
        shared.dir.forget_end(&shared.disk)?;
        for segment in ahead.iter().rev() {
            shared
                .disk
                .remove(&shared.dir, &segment.path)
                .map_err(Error::io("cannot remove", &segment.path))?;
        }
        let segment = Segment {
            first_offset: last.first_offset,
            path: last.path.clone(),
            file: Arc::new(file),
        };
        writer.cut_to(segment, to)?;
        shared.history.cut(to);
        shared.generation.fetch_add(1, Ordering::AcqRel);
        shared.commit.set_position(to);
        shared.commit.set_state(to, writer.digest());
        Ok(true)
    }
}

impl ReplicaAppend<'_> {
    /// Where the next chunk goes.
    pub(crate) fn position(&self) -> u64 {
        self.apply_lock.writer().position()
    }

    /// The record before that, where it is known.
    pub(crate) fn last(&self) -> Option<LastRecord> {
        self.apply_lock.writer().last()
    }

    /// Writes a chunk that ends at `end`, and returns once the log holds it as durably as the policy asks. After
    /// an error it may hold it or not: ask for the position in a later step, once the log is well again.
    pub(crate) fn append(
        &self,
        bytes: Vec<u8>,
        branches: Vec<Branch>,
        last: Option<LastRecord>,
        end: u64,
    ) -> Result<(), Refusal> {
        // Of what the primary has written nothing can be left out. So the room that is left is used up, whatever for:
        // deletions may come behind it.
        self.shared.commit.check_removal()?;
        self.shared.budget.take(bytes.len() as u64);
        // The receiver is in `shared`: sending cannot fail.
        let _ = self.shared.requests.send(WriteRequest::Raw {
            bytes,
            branches,
            last,
        });
        loop {
            match self.shared.wait(end) {
                Err(Refusal::TimedOut { waited }) => {
                    log::warn!(
                        "the log did not get to what came from the primary within {} s",
                        waited.as_secs()
                    );
                }
                result => return result,
            }
        }
    }

    /// Continues at `offset`, as the last record of the last chunk says.
    pub(crate) fn skip_forward(&self, offset: u64) -> Result<(), Refusal> {
        let mut writer = self.apply_lock.writer();
        let passed = writer.restart_at(offset);
        let position = writer.position();
        drop(writer);
        self.settle(position, passed)
    }

    /// Says that the store has everything up to `offset`, and what its digest is.
    pub(crate) fn applied(&self, offset: u64, digest: Digest) {
        self.apply_lock.writer().set_digest(digest);
        self.shared.commit.set_state(offset, digest);
    }

    /// Begins a term of this node's own, above all that it has met, as [`ReplicaAppend::begin_branch`] begins a branch.
    pub(crate) fn begin_term(
        &self,
        met: Term,
        known: u64,
        succession: Succession,
    ) -> Result<(Term, u64), Refusal> {
        let term = self.shared.history.term().max(met).begin_next(succession);
        let term = term.map_err(no_randomness)?.ok_or(Refusal::TermsUsedUp)?;
        Ok((term, self.begin_branch(term, known)?))
    }

    /// Begins the term of a number, which a third party has given to this node alone.
    pub(crate) fn begin_term_of(&self, number: u32, known: u64) -> Result<(Term, u64), Refusal> {
        let term = Term::of_number(number).map_err(no_randomness)?;
        if term.number() <= self.shared.history.term().number() {
            return Err(Refusal::TermsUsedUp);
        }
        Ok((term, self.begin_branch(term, known)?))
    }

    /// Begins a branch of this node's own in the term that the log is in: only for the node that began the term.
    pub(crate) fn resume_term(&self, known: u64) -> Result<(Term, u64), Refusal> {
        let term = self.shared.history.term();
        Ok((term, self.begin_branch(term, known)?))
    }

    /// Begins a branch. `known` is the farthest that the log of the primary before is known to have gone: the log
    /// continues well after it, so no version is given twice, not even one that only that primary's clients have
    /// seen. Returns where.
    ///
    /// An error leaves the node what it was; but where the log fails after the record of the branch, the branch
    /// has begun.
    fn begin_branch(&self, term: Term, known: u64) -> Result<u64, Refusal> {
        self.shared.commit.check()?;
        let mut writer = self.apply_lock.writer();
        let (nonce, chance) = branch::draw(self.shared.options.branch_spread_bytes).map_err(no_randomness)?;
        let continues_at = writer
            .position()
            .max(known)
            .saturating_add(SKIPPED_BYTES + chance);
        if continues_at > OFFSET_MAX {
            return Err(Refusal::Full);
        }
        let begun = writer.begin_branch(Beginning {
            term,
            nonce,
            continues_at,
        });
        let has_begun = self
            .shared
            .history
            .last()
            .is_some_and(|branch| branch.nonce == nonce);
        if has_begun {
            writer.set_follows(false);
        }
        let (position, digest) = (writer.position(), writer.digest());
        drop(writer);
        let settled = self.settle(position, begun);
        if has_begun {
            self.shared.commit.set_state(position, digest);
            return Ok(position);
        }
        settled.map(|()| position)
    }

    fn settle(&self, position: u64, result: Result<(), Failure>) -> Result<(), Refusal> {
        match result {
            Ok(()) => {
                self.shared.commit.advance(position, true);
                Ok(())
            }
            Err(failure) => {
                self.shared.commit.fail(&failure);
                Err(Refusal::Unknown(self.shared.commit.health()))
            }
        }
    }
}

fn no_randomness(error: getrandom::Error) -> Refusal {
    Refusal::Unhealthy(Health::WriteFailed {
        why: format!("no random bytes for a branch: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::alone::{Alone, files, options};
    use super::super::disk::Disk;
    use super::super::{Policy, Role};
    use super::*;
    use std::path::Path;

    fn replica(dir: &Path) -> Alone {
        Alone::open(&Disk::default(), dir, options(Policy::Always), Role::Replica)
    }

    /// All that the log has from an offset on, as it stands there, and the offset past it.
    fn chunk(log: &Log, from: u64) -> (Vec<u8>, u64) {
        let mut bytes = Vec::new();
        let first = log.feed(Some(from)).unwrap().copy(1 << 20, &mut bytes).unwrap();
        assert_eq!(first, from);
        let end = first + bytes.len() as u64;
        (bytes, end)
    }

    /// Takes what a primary has from an offset on.
    fn take(replica: &Alone, primary: &Log, from: u64) -> u64 {
        let (bytes, end) = chunk(primary, from);
        let step = replica.log.step();
        step.append(bytes, Vec::new(), None, end).unwrap();
        step.applied(end, primary.state().1);
        end
    }

    #[test]
    fn a_chunk_stands_at_the_same_offsets_as_at_the_primary() {
        let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut primary = Alone::primary(theirs.path());
        let replica = replica(ours.path());
        let start = primary.log.appended();
        assert_eq!(replica.log.step().position(), start);
        primary.set("a", "1");
        let middle = take(&replica, &primary.log, start);
        primary.set("b", "2");
        let end = take(&replica, &primary.log, middle);
        assert_eq!(end, primary.log.appended());
        assert_eq!(chunk(&replica.log, start), chunk(&primary.log, start));
        assert_eq!(replica.log.state(), primary.log.state());
        assert_eq!(replica.log.position().synced, end);
    }

    #[test]
    fn a_log_is_cut_back_to_an_offset_that_it_holds_and_to_no_other() {
        let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut primary = Alone::primary(theirs.path());
        let start = primary.log.appended();
        let first = primary.set("a", "1");
        primary.set("b", "2");
        let replica = replica(ours.path());
        take(&replica, &primary.log, start);
        // A segment of its own after it, which goes.
        replica.log.shared.locks.writer().start_segment().unwrap();
        assert_eq!(files(ours.path(), "log-").len(), 2);
        assert!(replica.log.begin_cut().cut_back(first).unwrap());
        assert_eq!(files(ours.path(), "log-").len(), 1);
        assert_eq!(replica.log.step().position(), first);
        assert_eq!(replica.log.position().written, first);
        let (expected, _) = chunk(&primary.log, start);
        let bytes = (first - start) as usize;
        assert_eq!(chunk(&replica.log, start).0, expected[..bytes]);
        let end = take(&replica, &primary.log, first);
        assert_eq!(end, primary.log.appended());
    }

    #[test]
    fn what_is_set_aside_is_read_as_a_segment_is() {
        let dir = tempfile::tempdir().unwrap();
        let mut alone = Alone::primary(dir.path());
        let first = alone.set("a", "1");
        alone.set("b", "2");
        let made = alone.log.set_aside(first).unwrap();
        let names = files(dir.path(), "diverged-");
        assert_eq!(made, names);
        let bytes = std::fs::read(&names[0]).unwrap();
        let header = Header::decode(&bytes[..HEADER_BYTES]).unwrap();
        assert_eq!((header.kind, header.first_offset), (Kind::Log, first));
        assert_eq!(bytes[HEADER_BYTES..], chunk(&alone.log, first).0);
        // Behind the last key there is nothing to keep.
        let end = alone.log.appended();
        assert_eq!(alone.log.set_aside(end).unwrap(), [] as [PathBuf; 0]);
    }

    #[test]
    fn no_term_begins_behind_what_no_log_reaches() {
        let dir = tempfile::tempdir().unwrap();
        let replica = replica(dir.path());
        let (term, end) = (replica.log.term(), replica.log.appended());
        for known in [OFFSET_MAX, u64::MAX - 1, u64::MAX] {
            let begun = replica.log.step().begin_term(term, known, Succession::Taken);
            assert!(matches!(begun, Err(Refusal::Full)), "{known}: {begun:?}");
        }
        assert_eq!((replica.log.term(), replica.log.appended()), (term, end));
    }

    #[test]
    fn a_term_begins_above_all_that_are_known_and_far_behind_the_former_primary() {
        let dir = tempfile::tempdir().unwrap();
        let replica = replica(dir.path());
        let highest = Term::FIRST.begin_next(Succession::Taken).unwrap().unwrap();
        let known = replica.log.appended() + 1000;
        let (term, position) = replica
            .log
            .step()
            .begin_term(highest, known, Succession::Taken)
            .unwrap();
        assert!(term > highest);
        assert!(position >= known + SKIPPED_BYTES);
        assert_eq!(replica.log.term(), term);
        assert_eq!(replica.log.position().synced, position);
        // The term is on disk: a start finds it.
        drop(replica);
        assert_eq!(super::super::alone::Alone::primary(dir.path()).log.term(), term);
    }
}
