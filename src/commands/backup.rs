//! `pykv backup` and `pykv restore`

use super::{Error, connect, print_text};
use crate::cli::{Backup, Restore};
use crate::client::BackupError;
use crate::log::{self, Whole};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub(super) fn backup(args: &Backup) -> Result<(), Error> {
    if args.file.as_os_str() == "-" {
        let mut stdout = io::stdout().lock();
        take(args, &mut stdout, Error::Output)?;
        return stdout.flush().map_err(Error::Output);
    }
    let file = &args.file;
    if !args.force && file.exists() {
        let file = file.display();
        return Err(Error::Usage(format!("{file} is there; --force writes over it")));
    }
    let temporary = temporary(file);
    let made = make(args, &temporary);
    if made.is_err() {
        // What is said is why there is no backup; that a part of one may lie about is next to nothing.
        let _ = fs::remove_file(&temporary);
    }
    print_text(&text(&made?))
}

/// Makes the file under another name first, so that under its own it is whole or not there.
fn make(args: &Backup, temporary: &Path) -> Result<Whole, Error> {
    let mut out = File::create(temporary).map_err(Error::io("cannot create", temporary))?;
    let cannot_write = |error| Error::io("cannot write", temporary)(error);
    take(args, &mut out, cannot_write)?;
    let whole = log::verify(temporary)?;
    out.sync_all().map_err(Error::io("cannot sync", temporary))?;
    fs::rename(temporary, &args.file).map_err(Error::io("cannot rename", temporary))?;
    let dir = match args.file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(Error::io("cannot sync", dir))?;
    Ok(whole)
}

fn take(
    args: &Backup,
    out: &mut dyn Write,
    cannot_write: impl FnOnce(io::Error) -> Error,
) -> Result<(), Error> {
    match connect(&args.connection)?.backup(out) {
        Ok(_) => Ok(()),
        Err(BackupError::Output(error)) => Err(cannot_write(error)),
        Err(BackupError::Node(error)) => Err(Error::client("cannot back the node up")(error)),
    }
}

fn temporary(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

pub(super) fn restore(args: &Restore) -> Result<(), Error> {
    let whole = log::restore(&args.file, &args.dir)?;
    print_text(&text(&whole))
}

fn text(whole: &Whole) -> String {
    let Whole {
        offset,
        entries,
        digest,
    } = whole;
    format!("{entries} entries, as of offset {offset}, digest {digest}\n")
}
