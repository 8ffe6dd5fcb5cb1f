//! The standard streams, and those among them that were closed when the program started: Rust opens /dev/null in their
//! place, where what is written is gone and what is read is empty, which nobody meant.

use super::error::Error;
use rustix::fs::OFlags;
use std::fs;
use std::io::{self, StdoutLock};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

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

/// Standard output, for what somebody is to read: an error where it was closed when the program started.
pub(super) fn stdout() -> Result<StdoutLock<'static>, Error> {
    static WAS_CLOSED: LazyLock<bool> = LazyLock::new(|| check(io::stdout()).is_err());
    match *WAS_CLOSED {
        true => Err(Error::Output(closed())),
        false => Ok(io::stdout().lock()),
    }
}

/// Rust opens /dev/null for reading and writing, which no shell does.
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
