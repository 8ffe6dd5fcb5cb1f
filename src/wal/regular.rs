//! Opening files of a data directory: regular files alone.
//!
//! A FIFO that has a segment's name would hold whoever opens it until somebody writes to it, and a device has no end.
//! So nothing here waits for the other end of anything, and what is no regular file is refused.

use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens a regular file as `options` say.
pub(super) fn open_as(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    // Regular files do not know this flag.
    let flags = OFlags::NONBLOCK.bits() as i32;
    checked(options.custom_flags(flags).open(path)?)
}

/// A file that was opened without waiting for anything; an error where it is no regular one.
pub(super) fn checked(file: File) -> io::Result<File> {
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        )),
    }
}

/// Opens a regular file for reading.
pub(super) fn open(path: &Path) -> io::Result<File> {
    open_as(OpenOptions::new().read(true), path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    #[test]
    fn only_regular_files_are_opened_and_nothing_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("file"), "x").unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(open(&path("file")).is_ok() && open(&path("link")).is_ok());
        for wrong in [path("fifo"), dir.path().to_path_buf(), "/dev/zero".into()] {
            let error = open(&wrong).unwrap_err();
            assert!(error.to_string().contains("regular"), "{error}");
            assert!(open_as(OpenOptions::new().write(true), &wrong).is_err());
        }
    }
}
