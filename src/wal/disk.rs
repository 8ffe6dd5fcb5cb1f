//! The operations on files that the log is made of, each by its own name.
//!
//! They stand apart so that a test can make any one of them fail, or be the last one before a crash; see
//! `Faults`. In the program itself this is a plain call of std.
//!
//! # What is assumed of the medium
//! - A write may be cut short anywhere by a crash; bytes before it are not touched.
//! - What a successful `sync_data` or `sync_all` covered survives a power cut; after a failed one, nothing
//!   is known of what was to be covered, and a second call that succeeds proves nothing.
//! - A rename within the directory is atomic; it survives a power cut once the directory was synced.

use super::dir_handle::{DirHandle, name_of};
use super::regular;
use rustix::fs::{AtFlags, Mode, OFlags, linkat, mkdirat, renameat, unlinkat};
use rustix::io::Errno;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::Path;

/// The disk, by whose name every change of the data directory is made.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    #[cfg(test)]
    pub(super) faults: std::sync::Arc<faults::Faults>,
}

impl Disk {
    /// Makes a directory where there is none, and all above it that are missing: for nobody but the owner, and
    /// each synced in the one above it, so that none is lost in a power cut.
    pub(super) fn make_dirs(&self, path: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut above = Some(path);
        while let Some(dir) = above.filter(|dir| !dir.as_os_str().is_empty() && !dir.is_dir()) {
            missing.push(dir);
            above = dir.parent();
        }
        for dir in missing.into_iter().rev() {
            self.allow("make directory")?;
            match DirBuilder::new().mode(0o700).create(dir) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let why = format!("{} is a file", dir.display());
                    return Err(io::Error::new(io::ErrorKind::NotADirectory, why));
                }
                made => made?,
            }
            self.allow("sync directory")?;
            match File::open(parent_of(dir)).and_then(|parent| parent.sync_all()) {
                // One that may be written and not read cannot be opened to sync it.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                synced => synced?,
            }
        }
        Ok(())
    }

    /// Makes a file that may be left over from before, for reading and writing, for nobody but the owner.
    pub(super) fn create(&self, dir: &DirHandle, path: &Path) -> io::Result<File> {
        self.allow("create")?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
        regular::checked(dir.open_at(path, flags)?)
    }

    /// Opens a file for reading and writing.
    pub(super) fn open(&self, dir: &DirHandle, path: &Path) -> io::Result<File> {
        self.allow("open")?;
        regular::checked(dir.open_at(path, OFlags::RDWR)?)
    }

    /// Writes all bytes at a position of the file, or fails with some of them written.
    pub(super) fn write_at(&self, file: &File, bytes: &[u8], position: u64) -> io::Result<()> {
        #[cfg(test)]
        if let Err(error) = self.allow("write") {
            // As a full disk does: what fitted is there.
            let _ = file.write_all_at(&bytes[..bytes.len() / 2], position);
            return Err(error);
        }
        file.write_all_at(bytes, position)
    }

    pub(super) fn sync_data(&self, file: &File) -> io::Result<()> {
        self.allow("sync data")?;
        file.sync_data()
    }

    pub(super) fn sync_all(&self, file: &File) -> io::Result<()> {
        self.allow("sync file")?;
        file.sync_all()
    }

    pub(super) fn set_len(&self, file: &File, bytes: u64) -> io::Result<()> {
        self.allow("set length")?;
        file.set_len(bytes)
    }

    /// Gives a file of the directory another name in it. The directory is to be synced then.
    pub(super) fn rename(&self, dir: &DirHandle, from: &Path, to: &Path) -> io::Result<()> {
        self.allow("rename")?;
        Ok(renameat(dir.file(), name_of(from)?, dir.file(), name_of(to)?)?)
    }

    /// Makes a directory in the directory, for nobody but the owner, or opens the one that is there.
    pub(super) fn make_dir_in(&self, dir: &DirHandle, path: &Path) -> io::Result<File> {
        self.allow("make directory")?;
        match mkdirat(dir.file(), name_of(path)?, Mode::RWXU) {
            Err(Errno::EXIST) => {}
            made => made?,
        }
        dir.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)
    }

    /// Gives a file of the directory a second name: the same one in the directory `into`, which is to be synced
    /// then.
    pub(super) fn link(&self, dir: &DirHandle, path: &Path, into: &File) -> io::Result<()> {
        self.allow("link")?;
        let name = name_of(path)?;
        Ok(linkat(dir.file(), name, into, name, AtFlags::empty())?)
    }

    pub(super) fn remove(&self, dir: &DirHandle, path: &Path) -> io::Result<()> {
        self.allow("remove")?;
        Ok(unlinkat(dir.file(), name_of(path)?, AtFlags::empty())?)
    }

    /// Makes the names in the directory durable.
    pub(super) fn sync_dir(&self, dir: &DirHandle) -> io::Result<()> {
        self.allow("sync directory")?;
        dir.file().sync_all()
    }

    #[cfg(not(test))]
    #[inline(always)]
    fn allow(&self, _operation: &'static str) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    fn allow(&self, operation: &'static str) -> io::Result<()> {
        self.faults.allow(operation)
    }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

#[cfg(test)]
pub(super) mod faults {
    use std::io;
    use std::sync::Mutex;

    /// Which operations fail. Counts them all, so that a test can first run a workload whole and then once
    /// for each operation it made.
    #[derive(Default)]
    pub(in crate::wal) struct Faults(Mutex<State>);

    #[derive(Default)]
    struct State {
        made: usize,
        plan: Plan,
    }

    #[derive(Clone, Copy, Default, PartialEq)]
    pub(in crate::wal) enum Plan {
        #[default]
        None,
        /// This one fails, once, with this error of the system.
        Once { at: usize, errno: i32 },
        /// This one and all after it fail, as if the machine had stopped.
        Crash { at: usize },
        /// Every operation of this name fails.
        All { operation: &'static str, errno: i32 },
    }

    impl Faults {
        pub(in crate::wal) fn plan(&self, plan: Plan) {
            let mut state = self.0.lock().unwrap();
            *state = State { made: 0, plan };
        }

        pub(in crate::wal) fn made(&self) -> usize {
            self.0.lock().unwrap().made
        }

        pub(super) fn allow(&self, operation: &'static str) -> io::Result<()> {
            let mut state = self.0.lock().unwrap();
            let number = state.made;
            state.made += 1;
            match state.plan {
                Plan::Once { at, errno } if number == at => Err(io::Error::from_raw_os_error(errno)),
                Plan::Crash { at } if number >= at => Err(io::Error::other("the machine has stopped")),
                Plan::All {
                    operation: name,
                    errno,
                } if name == operation => Err(io::Error::from_raw_os_error(errno)),
                _ => Ok(()),
            }
        }
    }
}
