//! A directory by its descriptor: files in it are reached through that, wherever its path leads by now.

use super::regular;
use rustix::fs::{AtFlags, Mode, OFlags, openat, statat};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Files that pykv makes are read and written by their owner alone.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// An open directory. Its path is for messages, and for the names of files.
pub(super) struct DirHandle {
    path: PathBuf,
    file: File,
}

impl DirHandle {
    pub(super) fn new(path: &Path, file: File) -> DirHandle {
        DirHandle {
            path: path.to_path_buf(),
            file,
        }
    }

    /// Where it was opened.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory itself, wherever its path leads by now.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Opens a file of the directory; what it makes is for the owner alone.
    pub(super) fn open_at(&self, path: &Path, flags: OFlags) -> io::Result<File> {
        // Where somebody has put a pipe there, opening it must not wait for its other end.
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(openat(&self.file, name_of(path)?, flags, FILE_MODE)?.into())
    }

    /// Opens a file of the directory to read it.
    pub(super) fn open_to_read_at(&self, path: &Path) -> io::Result<File> {
        regular::checked(self.open_at(path, OFlags::RDONLY)?)
    }

    pub(super) fn exists(&self, path: &Path) -> bool {
        name_of(path).is_ok_and(|name| statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW).is_ok())
    }

    /// The device and inode of a file of the directory.
    pub(super) fn identity(&self, path: &Path) -> io::Result<(u64, u64)> {
        let stat = statat(&self.file, name_of(path)?, AtFlags::empty())?;
        Ok(identity_of_stat(&stat))
    }

    /// The size of a file of the directory, in bytes.
    pub(super) fn file_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = statat(&self.file, name_of(path)?, AtFlags::empty())?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }
}

/// The name that a file of the directory has in it.
pub(super) fn name_of(path: &Path) -> io::Result<&OsStr> {
    path.file_name().ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// Device and inode.
pub(super) fn identity_of_stat(stat: &rustix::fs::Stat) -> (u64, u64) {
    #[allow(
        clippy::unnecessary_cast,
        reason = "the types differ from one system to another"
    )]
    (stat.st_dev as u64, stat.st_ino as u64)
}
