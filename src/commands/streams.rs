//! The standard streams, and those among them that were closed when the program started: Rust opens /dev/null in their
//! place, where what is written is gone and what is read is empty, which nobody meant.
//!
//! Rust opens it for reading and writing. So do daemon(3), Python and Node.js for a program whose output they discard, and
//! the two cannot be told apart. So it is an error where a copy of the store would be lost, or a value be read, and
//! nowhere else.

use super::error::Error;
use rustix::fs::OFlags;
use std::fs;
use std::io::{self, StdoutLock};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Links that are followed from the name of a stream: /dev/stdin, /dev/fd, /proc/self, and one of the user's own.
const LINKS_MAX: usize = 8;

/// An error where standard input was closed when the program started.
pub(super) fn check_stdin() -> Result<(), Error> {
    check(io::stdin()).map_err(|source| Error::Io {
        doing: "cannot read standard input".to_owned(),
        source,
    })
}

/// An error where a path, such as /dev/stdin, leads to a standard stream that was closed when the program started.
pub(super) fn check_named(path: &Path) -> io::Result<()> {
    match descriptor(path) {
        Some(0) => check(io::stdin()),
        Some(1) => check(io::stdout()),
        Some(2) => check(io::stderr()),
        _ => Ok(()),
    }
}

/// Standard output, for a copy of the store: an error where it was closed when the program started.
pub(super) fn stdout_for_copy() -> Result<StdoutLock<'static>, Error> {
    check(io::stdout()).map_err(Error::Output)?;
    Ok(io::stdout().lock())
}

/// No shell opens /dev/null for reading and writing.
fn check(stream: impl AsFd) -> io::Result<()> {
    let is_replaced = || -> rustix::io::Result<bool> {
        let is_null = rustix::fs::fstat(&stream)?.st_rdev == rustix::fs::stat("/dev/null")?.st_rdev;
        let mode = rustix::fs::fcntl_getfl(&stream)?.intersection(OFlags::RWMODE);
        Ok(is_null && mode == OFlags::RDWR)
    };
    match is_replaced().unwrap_or(false) {
        true => Err(closed()),
        false => Ok(()),
    }
}

fn closed() -> io::Error {
    io::Error::other("it is closed")
}

/// The number of the open file of this process that a path leads to, by the kernel's links; none of another path.
fn descriptor(path: &Path) -> Option<u32> {
    let all = fs::canonicalize("/proc/self/fd").ok()?;
    let mut path: PathBuf = path.to_path_buf();
    for _ in 0..LINKS_MAX {
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => fs::canonicalize(dir),
            _ => fs::canonicalize("."),
        };
        let dir = dir.ok()?;
        if dir == all {
            return path.file_name()?.to_str()?.parse().ok();
        }
        path = dir.join(fs::read_link(&path).ok()?);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn names_of_streams() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        symlink("/dev/stderr", &link).unwrap();
        for (name, number) in [
            ("/dev/stdin", Some(0)),
            ("/dev/stdout", Some(1)),
            ("/dev/fd/2", Some(2)),
            ("/proc/self/fd/7", Some(7)),
            (link.to_str().unwrap(), Some(2)),
            ("/dev/null", None),
            ("/dev", None),
            ("-", None),
            ("", None),
        ] {
            assert_eq!(descriptor(Path::new(name)), number, "{name}");
        }
    }
}
