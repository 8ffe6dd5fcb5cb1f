//! What can go wrong with the log, by whose fault it is.

use super::term::LogId;
use crate::system;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a data directory could not be opened, checked, repaired or closed.
#[derive(Debug)]
pub enum Error {
    /// The operating system refused an operation on a file.
    Io {
        /// What was being done, as in "cannot sync".
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no store where one was to be read.
    NoStore {
        /// The directory or file.
        path: PathBuf,
        /// Why it is none.
        why: &'static str,
    },
    /// The directory bears marks of a store, and the store, or the end of its log, is not there.
    Lost {
        /// The directory.
        dir: PathBuf,
        /// What is missed, and how that is known.
        why: String,
        /// What to do about it.
        remedy: String,
    },
    /// A file of another log stands beside those of the directory's own: nothing is touched.
    Stranger {
        /// The directory.
        dir: PathBuf,
        /// The file.
        path: PathBuf,
        /// The log that the directory is of.
        id: LogId,
    },
    /// The directory is not, or no longer, this node's alone: nothing in it is touched.
    Displaced {
        /// Where the directory was opened.
        dir: PathBuf,
        /// How that is known.
        why: String,
    },
    /// Another process has the directory open.
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// Bytes that are not what was written there, and not a torn tail.
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in the file, in bytes from its start.
        file_position: u64,
        /// The offset in the log.
        offset: u64,
        /// What is wrong with them.
        why: String,
    },
    /// Files that should be there are not, or do not fit together.
    Inconsistent {
        /// The directory.
        dir: PathBuf,
        /// What does not fit.
        why: String,
    },
    /// What is damaged is beyond repair, and nothing was changed.
    NotMended {
        /// The directory.
        dir: PathBuf,
        /// What cannot be mended.
        why: String,
    },
    /// A file that is no whole backup.
    IncompleteBackup {
        /// The file.
        path: PathBuf,
        /// Where in the file, in bytes from its start.
        file_position: u64,
        /// What is wrong with it.
        why: String,
    },
    /// There is a store where one was to be made.
    Exists {
        /// The directory.
        dir: PathBuf,
    },
    /// Something was begun and not brought to its end, which is no fault of the files.
    GivenUp {
        /// Why not.
        why: String,
    },
    /// The file that says what the node is in its cluster cannot be understood.
    Role {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A file of a later format.
    Version {
        /// The file.
        path: PathBuf,
        /// The format version it says it has.
        found: u16,
    },
}

impl Error {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io {
            doing,
            path: path.to_path_buf(),
            source,
        }
    }

    /// Whether it is for lack of room.
    pub(super) fn is_disk_full(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(self, Error::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge))
    }

    pub(super) fn is_displaced(&self) -> bool {
        matches!(self, Error::Displaced { .. })
    }

    /// Whether the data, not the machine, is at fault.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Error::Damaged { .. }
                | Error::Inconsistent { .. }
                | Error::NotMended { .. }
                | Error::IncompleteBackup { .. }
                | Error::Lost { .. }
                | Error::Stranger { .. }
        )
    }

    /// Whether a store is there that was to be left alone.
    pub fn is_there(&self) -> bool {
        matches!(self, Error::Exists { .. })
    }

    /// What a repair says of damage that it has only looked at.
    pub(super) fn not_mended(self, dir: &Path) -> Error {
        let why = match self {
            Error::Damaged {
                path,
                file_position,
                why,
                ..
            } => format!("{}, from byte {file_position} on: {why}", path.display()),
            Error::Inconsistent { why, .. } => why,
            other => return other,
        };
        let dir = dir.to_path_buf();
        Error::NotMended { dir, why }
    }
}

/// An [`Error::Inconsistent`].
pub(super) fn inconsistent<T>(dir: &Path, why: String) -> Result<T, Error> {
    Err(Error::Inconsistent {
        dir: dir.to_path_buf(),
        why,
    })
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { doing, path, source } => {
                write!(f, "{doing} {}: {}", path.display(), system::words(source))
            }
            Error::Lost { dir, why, remedy } => {
                write!(
                    f,
                    "the store in {} is not complete: {why}; {remedy}",
                    dir.display()
                )
            }
            Error::Stranger { dir, path, id } => write!(
                f,
                "{} is of another log than the store in {}, which is of the log {id}, as LOCK says: it was put there from \
                 elsewhere; move it to another directory. Nothing was changed",
                path.display(),
                dir.display()
            ),
            Error::Displaced { dir, why } => {
                write!(f, "{} is no longer this node's: {why}", dir.display())
            }
            Error::Locked { dir } => write!(
                f,
                "{} is open in another process; stop that one first, or choose another directory with --dir",
                dir.display()
            ),
            Error::NoStore { path, why } => {
                write!(f, "no store in {}: {why}; choose one with --dir", path.display())
            }
            Error::Damaged {
                path,
                file_position,
                offset,
                why,
            } => {
                let dir = path.parent().unwrap_or(path).display();
                write!(
                    f,
                    "{} is damaged at byte {file_position} (offset {offset}): {why}; `pykv check --dir {dir}` says what \
                     is lost, and whether a repair can save the rest",
                    path.display()
                )
            }
            Error::Inconsistent { dir, why } => {
                write!(
                    f,
                    "the files in {0} do not fit together: {why}; `pykv check --dir {0}` says whether a repair can help",
                    dir.display()
                )
            }
            Error::NotMended { dir, why } => write!(
                f,
                "the store in {} is beyond repair: {why}; nothing was changed. Restore a backup to another directory, \
                 or let a replica take the state of another node there; `pykv log FILE` shows what a file still holds",
                dir.display()
            ),
            Error::IncompleteBackup {
                path,
                file_position,
                why,
            } => write!(
                f,
                "{} is no complete backup, from byte {file_position} on: {why}; use another one",
                path.display()
            ),
            Error::Exists { dir } => write!(
                f,
                "{} has a store; choose another directory with --dir, or move that store away first",
                dir.display()
            ),
            Error::GivenUp { why } => write!(f, "it was given up: {why}"),
            Error::Role { path, why } => write!(
                f,
                "{} does not say what the node is in its cluster: {why}; put it back from a copy, or remove it and start \
                 the node as what it was: `pykv serve` for a primary, `pykv replica` for a replica",
                path.display()
            ),
            Error::Version { path, found } => write!(
                f,
                "{} has format version {found}, which this pykv does not know; use a newer pykv",
                path.display()
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Whether the log takes writes, and if not, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Ok,
    /// The disk is full: nothing more can be written until there is room.
    DiskFull {
        /// What the system said.
        why: String,
    },
    /// A write failed. It is tried again.
    WriteFailed {
        /// What the system said.
        why: String,
    },
    /// A sync failed, so what the disk holds is not known; the store is being written anew.
    SyncFailed {
        /// What the system said.
        why: String,
    },
    /// The disk is full except for a reserve: deletions are taken, and nothing that needs more room than it gives.
    Short {
        /// What is short, and what would help.
        why: String,
    },
    /// The data directory is no longer this node's: somebody has moved it, or put another store in its place.
    Displaced {
        /// How that is known.
        why: String,
    },
}

impl Health {
    /// Whether the log can be written, and takes deletions at least.
    pub fn takes_removals(&self) -> bool {
        matches!(self, Health::Ok | Health::Short { .. })
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Health::Ok => f.write_str("ok"),
            Health::DiskFull { why } => write!(f, "the disk is full: {why}"),
            Health::WriteFailed { why } => write!(f, "the log cannot be written: {why}"),
            Health::SyncFailed { why } => write!(f, "the log cannot be synced: {why}"),
            Health::Short { why } => write!(f, "the disk is full: {why}"),
            Health::Displaced { why } => write!(
                f,
                "{why}; no file is touched until the directory that was opened is back in its place"
            ),
        }
    }
}

/// Why a write was refused, or what kept it from being acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The log takes no writes: refused at the door, nothing changed.
    Unhealthy(Health),
    /// The bytes not yet written are as many as may be; refused at the door, nothing changed.
    Busy {
        /// How long room was waited for.
        waited: Duration,
    },
    /// The write was applied, and then the log failed before it was written or synced: it may or may not
    /// be there after a restart.
    Unknown(Health),
    /// The write was applied, and the log did not get to it in time.
    TimedOut {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The log has used up all offsets.
    Full,
    /// No term is above the ones that were met.
    TermsUsedUp,
    /// The node is a replica: writes are the primary's. Refused at the door, nothing changed.
    Replica,
    /// The lease by which the node is primary is over. Refused at the door, nothing changed.
    LeaseOver,
    /// The write was applied, and then the lease was over: another node may be primary, and not have it.
    LeaseOverSince,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Unhealthy(health) => write!(f, "{health}; nothing was changed"),
            Refusal::Busy { waited } => {
                write!(
                    f,
                    "the log is behind by as much as it may be, for {} s; nothing was changed",
                    waited.as_secs()
                )
            }
            Refusal::Unknown(health) => {
                write!(f, "{health}; whether the change survives a restart is not known")
            }
            Refusal::TimedOut { waited } => write!(
                f,
                "the log did not get to the change within {} s; whether it survives a restart is not known",
                waited.as_secs()
            ),
            Refusal::LeaseOver => {
                f.write_str("the node's lease as primary is over, or has not begun; nothing was changed")
            }
            Refusal::LeaseOverSince => f.write_str(
                "the node's lease as primary ran out before the change was answered; whether the next primary has it is \
                 not known",
            ),
            Refusal::Replica => f.write_str("the node is a replica; nothing was changed"),
            Refusal::TermsUsedUp => f.write_str(
                "the store has used up its terms; a backup of it restores to a store that begins anew",
            ),
            Refusal::Full => f.write_str("the log has used up its offsets; nothing was changed"),
        }
    }
}

impl std::error::Error for Refusal {}
