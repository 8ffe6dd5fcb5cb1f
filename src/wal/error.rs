//! What can go wrong with the log, by whose fault it is. What it means for writes stands in [`super::health`].

use super::term::LogId;
use crate::system;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

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
    /// The node ends, and what it has acknowledged may be on no disk.
    Unsaved {
        /// Why.
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
                let dir = dir.display();
                write!(f, "the store in {dir} is not complete: {why}; {remedy}")
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
            Error::Unsaved { why } => write!(
                f,
                "what was acknowledged may be on no disk where a start finds it: {why}"
            ),
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
                let at = format_args!("byte {file_position} (offset {offset})");
                fmt_damaged(f, path, at, why)
            }
            Error::Inconsistent { dir, why } => {
                let dir = dir.display();
                write!(f, "the files in {dir} do not fit together: {why}; ")?;
                write!(f, "`pykv check --dir {dir}` says whether a repair can help")
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

fn fmt_damaged(f: &mut fmt::Formatter<'_>, path: &Path, at: fmt::Arguments<'_>, why: &str) -> fmt::Result {
    let dir = path.parent().unwrap_or(path).display();
    write!(
        f,
        "{} is damaged at {at}: {why}; `pykv check --dir {dir}` says what is lost, and whether a repair can save the rest",
        path.display()
    )
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
