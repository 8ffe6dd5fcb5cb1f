//! Disk: the append-only log of all changes, and what is made of it. The only code that opens files of the
//! data directory.
//!
//! The log is one endless sequence of bytes: records that follow one another ([`crate::record`]). An
//! **offset** is a position in it; none is ever used twice or moved. The sequence is kept in segments, each
//! a file named by its first offset; a base is the state at an offset, and makes what came before it
//! superfluous.
//!
//! | file | what it is |
//! | --- | --- |
//! | `handle`, `options` | the log as the rest of the program has it; how it is kept |
//! | `shared`, `locks` | what its threads share; its locks, and their order |
//! | `appender`, `entry` | where records get their offsets; changes on their way to the file |
//! | `commit`, `commit_queue`, `watermarks` | group commit: who writes, who waits, how far the log is |
//! | `rescue`, `watchdog` | answers the client of a thread that a hanging disk holds |
//! | `writer`, `write_buffer`, `flush` | the end of the log: from the channel to the file; what a write came to |
//! | `segment` | a file that is written |
//! | `dir_watch` | notices what others do to the files of a log that is open |
//! | `log_thread`, `disk_space`, `reserve`, `stall` | the log's thread: syncs, and brings a failed log back; space on a full disk, and the file that keeps some; a disk that hangs |
//! | `budget` | the bound on what is not written yet |
//! | `recovery`, `recovered`, `inspect` | opens a directory and finds the end; how a log or a branch begins there; what can be said of its files |
//! | `compaction`, `compaction_state` | makes a base while the node serves, and drops what it makes superfluous |
//! | `base` | the state at an offset, as a file |
//! | `backup`, `retention` | the state of a store that serves meanwhile, as a file; and what that needs of the log |
//! | `copy`, `snapshot` | a log that is another node's: taken chunk by chunk, or put in place of this one |
//! | `term`, `branch`, `last_record`, `marker` | who wrote what; how histories are told apart; what the node is in its cluster |
//! | `reader`, `file_reader` | records of a directory, of a file |
//! | `feed`, `feed_raw`, `feed_hole` | records of the log while it is written: of keys, for watchers; as they stand, for followers; and where there are none |
//! | `segments`, `watchers` | the files that feeds read; who waits for more |
//! | `check`, `report`, `digest_verifier`, `repair` | what is damaged, whether it adds up, and how it is mended |
//! | `dir`, `dir_handle`, `lock`, `mark`, `listing`, `diverged` | the directory, its descriptor, who has it open, which log is in it, which files count, which were set aside |
//! | `error`, `health` | what goes wrong, in words; the health of the log; why a write is refused |
//! | `header`, `disk`, `regular` | the head of a file, the calls, what is no plain file |
//!
//! # What holds
//! - A record is handed over under the lock that its change was made under (the appender is a part of what
//!   that lock guards), so the log has the order of the store.
//! - What [`Log::wait`] has returned for is as durable as the [`Policy`] says.
//! - When the disk fails, the log refuses writes before they change anything, says so in its [`Health`],
//!   and continues by itself once it can.
//! - Nothing is deleted before what replaces it is synced, its directory entry too.

mod appender;
mod backup;
mod base;
mod branch;
mod budget;
mod check;
mod commit;
mod commit_queue;
mod compaction;
mod compaction_state;
mod copy;
mod digest_verifier;
mod dir;
mod dir_handle;
mod dir_watch;
mod disk;
mod disk_space;
mod diverged;
mod entry;
mod error;
mod feed;
mod feed_error;
mod feed_hole;
mod feed_raw;
mod file_reader;
mod flush;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod handle;
mod header;
mod health;
mod inspect;
mod last_record;
mod listing;
mod lock;
mod locks;
mod log_thread;
mod mark;
mod marker;
mod options;
mod reader;
mod recovered;
mod recovery;
mod regular;
mod repair;
mod report;
mod rescue;
mod reserve;
mod retention;
mod segment;
mod segments;
mod shared;
mod snapshot;
mod stall;
mod term;
mod watchdog;
mod watchers;
mod watermarks;
mod write_buffer;
mod writer;

#[cfg(test)]
mod alone;
#[cfg(test)]
mod tests;

pub(crate) use appender::{Appender, BatchRoom, OFFSET_TAKEN_MAX};
pub(crate) use backup::BACKUP_BYTES;
pub(crate) use backup::{BackupError, Take, Whole, restore, verify};
pub(crate) use base::{Batch, Source};
pub(crate) use branch::BRANCH_SPREAD_BYTES;
pub use branch::{Branch, branch_before, fork, term_before};
pub use check::check;
pub(crate) use check::repair;
pub(crate) use commit_queue::OnDurable;
pub(crate) use compaction_state::{CompactionStatus, Finished};
pub(crate) use copy::ReplicaAppend;
pub(crate) use digest_verifier::Mismatch;
pub(crate) use dir::is_open;
pub(crate) use disk::Disk;
pub(crate) use diverged::diverged;
pub(crate) use entry::{Change, put_bytes, removal_bytes};
pub use error::Error;
pub(crate) use feed::Feed;
pub(crate) use feed::{BUFFER_BYTES, FeedPosition};
pub(crate) use feed_error::FeedError;
pub(crate) use handle::Log;
pub(crate) use health::{Health, Refusal};
pub(crate) use last_record::LastRecord;
pub(crate) use marker::{EtcdMark, HandedTo, LeaderMark, Marker, Role};
pub(crate) use options::Progress;
pub use options::{Options, Policy};
pub(crate) use reader::{Read, Reader};
pub(crate) use recovery::{SEGMENT_BYTES_CEILING, UNWRITTEN_BYTES_CEILING};
#[cfg(test)]
pub(crate) use report::Lost;
pub(crate) use report::{Damage, Report};
pub(crate) use rescue::Rescue;
pub(crate) use shared::Waiter;
pub(crate) use snapshot::{Snapshot, SnapshotError};
pub use term::Term;
pub(crate) use term::{LogId, Succession};
pub(crate) use watermarks::Position;

pub(crate) use crate::record::Operation;
