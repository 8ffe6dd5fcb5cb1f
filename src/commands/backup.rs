//! `pykv backup` and `pykv restore`

use super::output::{Existing, OutputFile};
use super::{Error, connect, of_file, print_json, print_text, stdout_for_copy};
use crate::cli::{Backup, Restore};
use crate::client::BackupError;
use crate::wal::{self, Whole};
use serde_json::json;
use std::io::{self, Write};

pub(super) fn backup(args: &Backup) -> Result<(), Error> {
    if args.file.as_os_str() == "-" {
        let mut stdout = stdout_for_copy()?;
        take(args, &mut stdout, Error::Output)?;
        return stdout.flush().map_err(Error::Output);
    }
    let existing = match args.force {
        true => Existing::Replace,
        false => Existing::Keep,
    };
    let out = OutputFile::create(&args.file, existing)?;
    take(args, &mut &out, out.cannot_write())?;
    let whole = out.written().map(wal::verify).transpose();
    let whole = whole.map_err(|error| not_whole(error, args))?;
    out.finish()?;
    // What went down a pipe is for whoever reads it to check.
    whole.map_or(Ok(()), |whole| tell(&whole, args.json))
}

/// That what the node sent is no complete backup.
fn not_whole(error: wal::Error, args: &Backup) -> Error {
    let file = args.file.display();
    match error {
        wal::Error::IncompleteBackup {
            file_position, why, ..
        } => Error::Broken(format!(
            "what the node sent is no complete backup, from byte {file_position} on: {why}; {file} was not written: try again"
        )),
        wal::Error::NoStore { .. } => Error::WrongFile(format!(
            "what answers at {} is no pykv node, or a broken one: its answer is no backup; {file} was not written",
            args.connection.server
        )),
        error => Error::Log(error),
    }
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

pub(super) fn restore(args: &Restore) -> Result<(), Error> {
    let whole = wal::restore(&args.file, &args.dir).map_err(|error| of_file(error, &args.file))?;
    if args.json {
        return tell(&whole, true);
    }
    let dir = args.dir.display();
    print_text(&format!(
        "restored to {dir}: {}`pykv serve --dir {dir}` starts a node on it\n",
        text(&whole)
    ))
}

fn tell(whole: &Whole, as_json: bool) -> Result<(), Error> {
    if !as_json {
        return print_text(&text(whole));
    }
    let Whole {
        offset,
        entries,
        digest,
    } = whole;
    let answer = json!({"entries": entries, "offset": offset, "digest": digest.to_string()});
    print_json(answer.to_string().into_bytes())
}

fn text(whole: &Whole) -> String {
    let Whole {
        offset,
        entries,
        digest,
    } = whole;
    format!("{entries} entries, as of offset {offset}, digest {digest}\n")
}
