//! `pykv export`: all entries as JSON lines, in the form that `pykv import` reads.

use super::output::{Existing, OutputFile};
use super::progress::Progress;
use super::{Error, beginning_with, connect, stdout_for_copy, terminal};
use crate::api::{Encoding, Entry, LIST_LIMIT_MAX};
use crate::cli::Export;
use crate::client::Client;
use serde::Serialize;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

/// An entry as it is written. Its version is left out: it means nothing on another node.
#[derive(Serialize)]
struct Line<'a> {
    key: &'a str,
    value: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<Encoding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<u64>,
}

pub(super) fn run(args: &Export) -> Result<(), Error> {
    let client = connect(&args.connection)?;
    if args.file == Path::new("-") {
        let stdout = stdout_for_copy()?;
        let is_seen = stdout.is_terminal();
        return export(&client, &args.prefix, stdout, is_seen, Error::Output);
    }
    let existing = match args.force {
        true => Existing::Replace,
        false => Existing::Keep,
    };
    let out = OutputFile::create(&args.file, existing)?;
    export(&client, &args.prefix, &out, false, out.cannot_write())?;
    out.finish()
}

fn export(
    client: &Client,
    prefix: &str,
    out: impl Write,
    is_seen: bool,
    cannot_write: impl Fn(io::Error) -> Error,
) -> Result<(), Error> {
    // How many there will be is known of all keys alone; and a bar would stand between the lines on a terminal.
    let keys_all = match prefix {
        "" if !is_seen => client.stats().ok().map(|stats| stats.entries),
        _ => None,
    };
    let mut progress = (!is_seen).then(|| Progress::new(keys_all));
    let mut out = BufWriter::with_capacity(1 << 18, out);
    let mut keys = 0;
    let mut cursor: Option<String> = None;
    loop {
        let page = client
            .list_entries(prefix, None, cursor.as_deref(), LIST_LIMIT_MAX)
            .map_err(Error::client(beginning_with("cannot export the keys", prefix)))?;
        for entry in &page.entries {
            write(&mut out, entry, is_seen).map_err(&cannot_write)?;
        }
        keys += page.entries.len() as u64;
        if let Some(progress) = &mut progress {
            progress.show(keys, keys);
        }
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    if let Some(progress) = progress {
        progress.end();
    }
    out.flush().map_err(cannot_write)
}

fn write(out: &mut impl Write, entry: &Entry, is_seen: bool) -> io::Result<()> {
    let line = Line {
        key: &entry.key,
        value: &entry.value,
        encoding: entry.encoding,
        expires_at_ms: entry.expires_at_ms,
    };
    if is_seen {
        out.write_all(&terminal::json(&serde_json::to_vec(&line)?))?;
    } else {
        serde_json::to_writer(&mut *out, &line)?;
    }
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_another_node_needs() {
        let mut entry = Entry {
            key: "a\nb".to_owned(),
            value: "/w==".to_owned(),
            encoding: Some(Encoding::Base64),
            version: 7,
            expires_at: Some("2026-11-23T02:12:00.000Z".to_owned()),
            expires_at_ms: Some(1_795_399_920_000),
            ttl: None,
        };
        let mut out = Vec::new();
        write(&mut out, &entry, false).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"key\":\"a\\nb\",\"value\":\"/w==\",\"encoding\":\"base64\",\"expires_at_ms\":1795399920000}\n"
        );
        entry.encoding = None;
        entry.expires_at_ms = None;
        let mut out = Vec::new();
        write(&mut out, &entry, false).unwrap();
        assert_eq!(out, b"{\"key\":\"a\\nb\",\"value\":\"/w==\"}\n");
    }
}
