//! The files that commands write: an export, a backup.
//!
//! What must hold:
//! - Under its name a file is there whole, or as it was before. It is written under a name of its own in the same
//!   directory, which no other run shares, synced, and renamed; then the directory is synced.
//! - Only its owner may read it: it holds every value of a store. A file that is replaced keeps its mode, its owner and
//!   its group, but not access lists and extended attributes.
//! - A link is followed: what it leads to is written, and the link stays.
//! - What is no plain file (a pipe, a terminal, a device) is written directly: there is no name to be changed.
//! - A run that fails, or is ended by SIGINT, SIGTERM or SIGHUP, leaves nothing behind. (SIGKILL leaves the unfinished
//!   file, `.pykv-….part`, which no run ever takes for its own.)

use super::{Error, check_named, signals};
use signal_hook::consts::{SIGHUP, SIGTERM};
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once};

/// Links that are followed before they are taken for a circle, as Linux does.
const LINKS_MAX: usize = 40;

/// Unfinished files of this process, which a signal removes. The signal's thread waits for this lock, so nothing that
/// is done under it is cut in two.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Whether an existing file is overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    /// It is.
    Replace,
    /// No plain file and no disk is.
    Keep,
}

/// A file that is being written. Dropped before [`OutputFile::finish`], it was never there.
#[derive(Debug)]
pub(super) struct OutputFile {
    /// As it was named.
    name: PathBuf,
    file: File,
    existing: Existing,
    /// Where it is written, and where it goes; none where it is written directly.
    way: Option<Way>,
}

#[derive(Debug)]
struct Way {
    unfinished: PathBuf,
    target: PathBuf,
    /// The mode that it gets at the end, where that of another file is kept.
    mode: Option<u32>,
}

impl OutputFile {
    /// Begins a file.
    pub(super) fn create(name: &Path, existing: Existing) -> Result<OutputFile, Error> {
        let cannot_write = |source| Error::io("cannot write", name)(source);
        let there = match fs::metadata(name) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(cannot_write(error)),
        };
        let target = target(name).map_err(cannot_write)?;
        let is_kept = |there: &Metadata| there.is_file() || there.file_type().is_block_device();
        let (file, way) = match (target, there) {
            (Some(_), Some(there)) if existing == Existing::Keep && is_kept(&there) => {
                return Err(is_there(name));
            }
            (Some(target), Some(there)) if there.is_file() => begin(name, target, Some(&there))?,
            (Some(target), None) => begin(name, target, None)?,
            // Appended, as `>>` does: behind /dev/stdout may be a file that has something in it.
            _ => {
                check_named(name).map_err(cannot_write)?;
                let file = OpenOptions::new().append(true).open(name);
                (file.map_err(cannot_write)?, None)
            }
        };
        Ok(OutputFile {
            name: name.to_path_buf(),
            file,
            existing,
            way,
        })
    }

    /// Where the bytes are, for whoever reads them again; none where they are gone down a pipe.
    pub(super) fn written(&self) -> Option<&Path> {
        self.way.as_ref().map(|way| way.unfinished.as_path())
    }

    /// That writing to it has failed.
    pub(super) fn cannot_write(&self) -> impl Fn(io::Error) -> Error + use<> {
        let name = self.name.clone();
        move |source| Error::io("cannot write", &name)(source)
    }

    /// Puts the file under its name, on disk.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        let cannot_write = self.cannot_write();
        if let Some(mode) = self.way.as_ref().and_then(|way| way.mode) {
            let mode = Permissions::from_mode(mode);
            self.file.set_permissions(mode).map_err(&cannot_write)?;
        }
        synced(self.file.sync_all()).map_err(&cannot_write)?;
        let Some(way) = self.way.take() else {
            return Ok(());
        };
        let mut all = unfinished();
        let put = match self.existing {
            Existing::Replace => fs::rename(&way.unfinished, &way.target),
            Existing::Keep => rename_to_new(&way.unfinished, &way.target),
        };
        if put.is_ok() {
            all.retain(|other| *other != way.unfinished);
        }
        drop(all);
        if let Err(error) = put {
            discard(&way);
            return Err(match error.kind() {
                io::ErrorKind::AlreadyExists => is_there(&self.name),
                _ => cannot_write(error),
            });
        }
        let synced_dir = File::open(directory(&way.target)).and_then(|dir| synced(dir.sync_all()));
        synced_dir.map_err(cannot_write)
    }
}

impl Write for &OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&self.file).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if let Some(way) = &self.way {
            discard(way);
        }
    }
}

/// A file for its owner alone, under a name that no other run has, beside the target; with the owner and, at the end,
/// the mode of what it replaces.
fn begin(name: &Path, target: PathBuf, replaced: Option<&Metadata>) -> Result<(File, Option<Way>), Error> {
    let cannot_write = |source| Error::io("cannot write", name)(source);
    let random = getrandom::u64().map_err(|error| cannot_write(error.into()))?;
    let path = directory(&target).join(format!(".pykv-{random:016x}.part"));
    remove_on_signals()?;
    let mut all = unfinished();
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(|source| Error::Io {
            doing: format!("cannot write {} in its directory", name.display()),
            source,
        })?;
    all.push(path.clone());
    drop(all);
    let way = Way {
        unfinished: path,
        target,
        // Not what runs a file as somebody else: it is data.
        mode: replaced.map(|replaced| replaced.mode() & 0o777),
    };
    let owned = replaced.map_or(Ok(()), |replaced| keep_owner(&file, replaced));
    if let Err(source) = owned {
        discard(&way);
        return Err(Error::Io {
            doing: format!(
                "cannot keep the owner of {}, so it stays as it is: write another file",
                name.display()
            ),
            source,
        });
    }
    Ok((file, Some(way)))
}

/// Gives a file the owner and the group of another one.
fn keep_owner(file: &File, of: &Metadata) -> io::Result<()> {
    let own = file.metadata()?;
    let differs = |own: u32, of: u32| (own != of).then_some(of);
    match (differs(own.uid(), of.uid()), differs(own.gid(), of.gid())) {
        (None, None) => Ok(()),
        (owner, group) => fchown(file, owner, group),
    }
}

/// Removes a file that is not to be finished.
fn discard(way: &Way) {
    let mut all = unfinished();
    let _ = fs::remove_file(&way.unfinished); // Nobody is left to read an error.
    all.retain(|other| *other != way.unfinished);
}

/// The file that a name leads to, which need not exist. None where the name leads through /proc to a file that is
/// open already, as /dev/stdout does: such a file is not replaced.
fn target(name: &Path) -> io::Result<Option<PathBuf>> {
    let mut path = name.to_path_buf();
    for _ in 0..=LINKS_MAX {
        let dir = fs::canonicalize(directory(&path))?;
        if dir.starts_with("/proc") {
            return Ok(None);
        }
        match fs::read_link(&path) {
            Ok(to) => path = dir.join(to),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidInput | io::ErrorKind::NotFound
                ) =>
            {
                return Ok(Some(path));
            }
            Err(error) => return Err(error),
        }
    }
    Err(rustix::io::Errno::LOOP.into())
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// Renames a file, and fails where the new name exists. On a file system without hard links, the check and the rename
/// are two steps.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        Err(_) if to.symlink_metadata().is_ok() => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(from, to),
    }
}

/// What came of a sync. A pipe, and some file systems' directories, cannot be synced, and need not be.
fn synced(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        result => result,
    }
}

fn is_there(name: &Path) -> Error {
    Error::Exists(format!("{} exists; --force overwrites it", name.display()))
}

fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().expect("nothing under this lock panics")
}

/// From now on SIGINT, SIGTERM and SIGHUP remove what is not finished, and end the process.
fn remove_on_signals() -> Result<(), Error> {
    static SET: Once = Once::new();
    let mut result = Ok(());
    SET.call_once(|| {
        result = signals::on_end(&[SIGTERM, SIGHUP], |status| {
            // Held to the end: no file gets its name after this has decided that the run was interrupted.
            let unfinished = unfinished();
            for path in unfinished.iter() {
                let _ = fs::remove_file(path);
            }
            std::process::exit(status);
        });
    });
    result.map_err(|error| Error::Io {
        doing: "cannot handle signals".to_owned(),
        source: error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn write(name: &Path, existing: Existing, text: &str) -> Result<(), Error> {
        let out = OutputFile::create(name, existing)?;
        (&out).write_all(text.as_bytes()).unwrap();
        out.finish()
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_its_owners_alone_and_keeps_the_mode_that_it_had() {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().join("f");
        let mode = || fs::metadata(&name).unwrap().mode() & 0o7777;
        write(&name, Existing::Keep, "one").unwrap();
        assert_eq!(mode(), 0o600);
        for kept in [0o644, 0o640, 0o444] {
            fs::set_permissions(&name, Permissions::from_mode(kept)).unwrap();
            write(&name, Existing::Replace, "two").unwrap();
            assert_eq!(mode(), kept);
        }
        assert_eq!(fs::read_to_string(&name).unwrap(), "two");
        assert_eq!(names(dir.path()), ["f"]);
    }

    #[test]
    fn what_is_there_is_kept_until_it_is_written_over_whole() {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().join("f");
        fs::write(&name, "old").unwrap();
        assert!(matches!(
            write(&name, Existing::Keep, "new"),
            Err(Error::Exists(_))
        ));
        let out = OutputFile::create(&name, Existing::Replace).unwrap();
        (&out).write_all(b"half").unwrap();
        drop(out);
        assert_eq!(fs::read_to_string(&name).unwrap(), "old");
        assert_eq!(names(dir.path()), ["f"]);
        // One that came to be meanwhile is not written over either.
        let late = dir.path().join("late");
        let out = OutputFile::create(&late, Existing::Keep).unwrap();
        fs::write(&late, "theirs").unwrap();
        assert!(matches!(out.finish(), Err(Error::Exists(_))));
        assert_eq!(fs::read_to_string(&late).unwrap(), "theirs");
        assert_eq!(names(dir.path()), ["f", "late"]);
    }

    #[test]
    fn links_are_followed_and_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("sub")).unwrap();
        fs::write(path("sub/target"), "old").unwrap();
        symlink("sub/target", path("link")).unwrap();
        symlink(path("link"), path("link-to-link")).unwrap();
        symlink("sub/absent", path("dangling")).unwrap();
        symlink("circle", path("circle")).unwrap();
        write(&path("link-to-link"), Existing::Replace, "new").unwrap();
        assert_eq!(fs::read_to_string(path("sub/target")).unwrap(), "new");
        write(&path("dangling"), Existing::Keep, "made").unwrap();
        assert_eq!(fs::read_to_string(path("sub/absent")).unwrap(), "made");
        for link in ["link", "link-to-link", "dangling"] {
            assert!(fs::symlink_metadata(path(link)).unwrap().is_symlink(), "{link}");
        }
        assert!(matches!(
            write(&path("circle"), Existing::Replace, ""),
            Err(Error::Io { .. })
        ));
        assert_eq!(names(&path("sub")), ["absent", "target"]);
    }

    #[test]
    fn what_is_no_plain_file_is_written_directly() {
        write(Path::new("/dev/null"), Existing::Keep, "gone").unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        // A file that is open, by the kernel's link to it: what stands there already stays.
        let dir = tempfile::tempdir().unwrap();
        let mut open = File::create(dir.path().join("open")).unwrap();
        open.write_all(b"before ").unwrap();
        let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open));
        write(Path::new(&link), Existing::Replace, "behind").unwrap();
        assert_eq!(
            fs::read_to_string(dir.path().join("open")).unwrap(),
            "before behind"
        );
        assert_eq!(names(dir.path()), ["open"]);
        assert!(matches!(
            write(dir.path(), Existing::Replace, ""),
            Err(Error::Io { .. })
        ));
    }
}
