//! `pykv set`

use super::{Error, check_named, check_stdin, condition, connect, print_json};
use crate::cli::Set;
use crate::client::{self, Condition};
use crate::record::VALUE_BYTES_MAX;
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;

pub(super) fn run(args: &Set) -> Result<(), Error> {
    let value = value(args)?;
    let condition = if args.if_absent {
        Condition::Absent
    } else {
        condition(args.if_version)
    };
    let written = connect(&args.connection)?
        .set(&args.key, &value, condition, args.ttl.map(|ttl| ttl.0))
        .map_err(|error| refused(args, value.len(), error))?;
    if args.json {
        print_json(written)?;
    }
    Ok(())
}

/// That a value is too large is said with its size, which the node's answer does not name.
fn refused(args: &Set, value_bytes: usize, error: client::Error) -> Error {
    let bytes_max = match &error {
        client::Error::Refused(problem) if problem.status == 413 => problem.limit,
        _ => None,
    };
    match bytes_max {
        Some(bytes_max) => Error::Usage(format!(
            "cannot set {:?}: its value has {value_bytes} bytes, and the node at {} takes at most {bytes_max}; \
             --max-value of `pykv serve` sets that",
            args.key, args.connection.server
        )),
        None => Error::client(format!("cannot set {:?}", args.key))(error),
    }
}

fn value(args: &Set) -> Result<Cow<'_, [u8]>, Error> {
    match (&args.value, &args.file) {
        (Some(value), _) if value != "-" => Ok(Cow::Borrowed(value.as_bytes())),
        (None, Some(path)) => {
            let file = check_named(path).and_then(|()| File::open(path));
            let file = file.map_err(Error::io("cannot read", path))?;
            read(file, &path.display().to_string())
        }
        _ => {
            check_stdin()?;
            read(io::stdin().lock(), "standard input")
        }
    }
}

/// Reads a value whole. A node may take less than what is read here; it says so itself.
fn read(from: impl Read, name: &str) -> Result<Cow<'static, [u8]>, Error> {
    let mut value = Vec::new();
    from.take(VALUE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut value)
        .map_err(|source| Error::Io {
            doing: format!("cannot read {name}"),
            source,
        })?;
    if value.len() > VALUE_BYTES_MAX {
        return Err(Error::Usage(format!(
            "{name} is larger than any value can be: {VALUE_BYTES_MAX} bytes"
        )));
    }
    Ok(Cow::Owned(value))
}
