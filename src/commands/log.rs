//! `pykv log`

use super::{Error, of_file, terminal};
use crate::api::{Encoding, encode_value, expires_at};
use crate::cli;
use crate::digest::Digest;
use crate::wal::{self, Read, Reader};
use serde::Serialize;
use std::borrow::Cow;
use std::io::{self, BufWriter, Write};
use std::thread;
use std::time::Duration;

/// How often a log that is followed is looked at. Nothing reports that a file has grown.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);

/// A record as it is printed.
#[derive(Serialize)]
struct Line<'a> {
    /// Where the record begins.
    offset: u64,
    /// Where it ends: the version that it gave its key.
    version: u64,
    operation: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<Encoding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    term: Option<u32>,
    /// In ms since the Unix epoch. A base and a backup do not keep it.
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// In ms since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<u64>,
    /// The nonce of the branch that begins with a TERM.
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<String>,
    /// Where the log continues behind a SKIP.
    #[serde(rename = "goes_on_at", skip_serializing_if = "Option::is_none")]
    next_offset: Option<u64>,
    /// Of the store at a CLOSE, of the base at an END.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// Whether the next record is of the same batch.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    more: bool,
}

pub(super) fn run(args: &cli::Log) -> Result<(), Error> {
    let mut reader = match &args.file {
        Some(file) => Reader::open(file).map_err(|error| of_file(error, file))?,
        None => Reader::open(&args.dir)?,
    };
    let of_log = |error| match &args.file {
        Some(file) => of_file(error, file),
        None => Error::Log(error),
    };
    let is_seen = terminal::is_seen();
    let mut out = BufWriter::new(io::stdout().lock());
    loop {
        while let Some(read) = reader.next().map_err(of_log)? {
            if args
                .key
                .as_ref()
                .is_none_or(|key| read.record.key == key.as_bytes())
            {
                print(&mut out, &read, is_seen).map_err(Error::Output)?;
            }
        }
        out.flush().map_err(Error::Output)?;
        if !args.follow {
            return Ok(());
        }
        thread::sleep(FOLLOW_INTERVAL);
    }
}

fn print(out: &mut impl Write, read: &Read<'_>, is_seen: bool) -> io::Result<()> {
    if is_seen {
        let line = serde_json::to_vec(&line(read))?;
        out.write_all(&terminal::json(&line))?;
    } else {
        serde_json::to_writer(&mut *out, &line(read))?;
    }
    out.write_all(b"\n")
}

fn line<'a>(read: &Read<'a>) -> Line<'a> {
    use crate::record::Operation::{Set, Skip, Term, Update};
    let record = &read.record;
    let (value, encoding) = match record.operation {
        Set | Update => {
            let (value, encoding) = encode_value(record.value);
            (Some(value), encoding)
        }
        _ => (None, None),
    };
    let number_of = |operation| {
        (record.operation == operation)
            .then(|| record.value_u64())
            .flatten()
    };
    Line {
        offset: read.offset,
        version: read.version,
        operation: record.operation.name(),
        // What a node took for a key is UTF-8; what else a file may hold is shown as far as it can be.
        key: (!record.key.is_empty()).then(|| String::from_utf8_lossy(record.key)),
        value,
        encoding,
        term: number_of(Term).map(|bits| wal::Term::from_bits(bits).number()),
        branch: wal::Branch::of_record(record, read.offset).map(|branch| format!("{:016x}", branch.nonce)),
        timestamp: (record.timestamp_ms > 0).then_some(record.timestamp_ms),
        expires_at: record.deadline_ms.map(expires_at),
        expires_at_ms: record.deadline_ms,
        next_offset: number_of(Skip),
        digest: record.digest().map(|digest| Digest(digest).to_string()),
        more: record.more,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Operation, Record};

    fn printed(record: Record<'_>) -> String {
        let read = Read {
            offset: 100,
            version: 130,
            record,
        };
        serde_json::to_string(&line(&read)).unwrap()
    }

    #[test]
    fn records_as_json() {
        assert_eq!(
            printed(Record::new(Operation::Set, 7, b"k", b"v\n")),
            r#"{"offset":100,"version":130,"operation":"SET","key":"k","value":"v\n","timestamp":7}"#
        );
        assert_eq!(
            printed(Record::new(Operation::Update, 7, b"k", b"\xff")),
            r#"{"offset":100,"version":130,"operation":"UPDATE","key":"k","value":"/w==","encoding":"base64","timestamp":7}"#
        );
        assert_eq!(
            printed(Record::new(Operation::Set, 0, b"k", b"v")),
            r#"{"offset":100,"version":130,"operation":"SET","key":"k","value":"v"}"#
        );
        assert_eq!(
            printed(Record::new(Operation::Delete, 7, b"k", b"")),
            r#"{"offset":100,"version":130,"operation":"DELETE","key":"k","timestamp":7}"#
        );
        assert_eq!(
            printed(Record::new(
                Operation::Term,
                7,
                b"",
                &[wal::Term::new(3, 99).bits(), 0xab]
                    .map(u64::to_le_bytes)
                    .concat()
            )),
            r#"{"offset":100,"version":130,"operation":"TERM","term":3,"timestamp":7,"branch":"00000000000000ab"}"#
        );
    }
}
