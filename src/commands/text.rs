//! Text from outside: its first bytes are looked at before any line is read.
//!
//! Files come from other systems: with a byte order mark, in UTF-16, compressed, as one large array. The mark is dropped.
//! For all else there is one message that says what the file is, instead of an error for each line.

use super::error::Error;
use super::packed;
use crate::json;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// As much of the beginning is looked at, in bytes.
const START_BYTES: usize = 4096;

/// What a text is meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// An object of JSON a line.
    JsonLines,
    /// Words in lines.
    Words,
}

/// First bytes that no text of ours has, what they say that it is, and what to do.
const SIGNATURES: [(&[u8], &str); 5] = [
    (b"\xff\xfe", UTF_16),
    (b"\xfe\xff", UTF_16),
    (
        b"pykv bas",
        "is a backup: `pykv restore` makes a data directory of it",
    ),
    (b"pykv log", "is a part of a log: `pykv log` prints its records"),
    // What a stray Windows tool makes of UTF-32.
    (
        b"\0\0\xfe\xff",
        "is UTF-32: make it UTF-8 first, as with `iconv -f UTF-32 -t UTF-8`",
    ),
];

const UTF_16: &str = "is UTF-16: make it UTF-8 first, as with `iconv -f UTF-16 -t UTF-8`";

/// What is wrong with a text, by its beginning.
fn fault(start: &[u8], form: Form) -> Option<&'static str> {
    let mut signatures = SIGNATURES.iter();
    let signed = signatures.find(|(signature, _)| start.starts_with(signature));
    let signed = signed.map(|(_, fault)| *fault).or_else(|| packed::says(start));
    if signed.is_some() {
        return signed;
    }
    match start {
        [0, second, ..] if *second != 0 => return Some(UTF_16),
        [first, 0, ..] if *first != 0 => return Some(UTF_16),
        _ if start.contains(&0) => return Some("has NUL bytes: it is no text"),
        _ => {}
    }
    let first = start.trim_ascii_start().first();
    (form == Form::JsonLines && first == Some(&b'['))
        .then_some("is a JSON array: write an object a line, as `jq -c '.[]'` does")
}

/// Looks at the beginning of a text. What is returned is the text without a byte order mark.
pub(super) fn checked<R: Read>(mut text: R, name: &str, form: Form) -> Result<impl Read + use<R>, Error> {
    let mut start = vec![0; START_BYTES];
    let mut bytes = 0;
    // The other side may wait for the answer to its first line, so this reads no more than it needs to know.
    while bytes == 0 || (bytes < START_BYTES && may_be_a_signature(&start[..bytes])) {
        match text.read(&mut start[bytes..]) {
            Ok(0) => break,
            Ok(read) => bytes += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => {
                return Err(Error::Io {
                    doing: format!("cannot read {name}"),
                    source,
                });
            }
        }
    }
    start.truncate(bytes);
    let start = json::without_byte_order_mark(&start).to_vec();
    match fault(&start, form) {
        Some(fault) => Err(Error::Usage(format!("{name} {fault}"))),
        None => Ok(io::Cursor::new(start).chain(text)),
    }
}

/// Whether a text that begins so may continue as a signature, or a byte order mark, does.
fn may_be_a_signature(start: &[u8]) -> bool {
    let signatures = SIGNATURES.iter().map(|(signature, _)| *signature);
    let mut all = signatures.chain([&b"\xef\xbb\xbf"[..]]);
    // One byte alone may be the half of a character of UTF-16.
    (start.len() == 1 && start != b"\n")
        || all.any(|signature| signature.len() > start.len() && signature.starts_with(start))
}

/// A small file as text, as one of tokens is.
pub(super) fn read_file(what: &str, path: &Path, bytes_max: u64) -> Result<String, Error> {
    let cannot_read = |source| Error::io(&format!("cannot read {what}"), path)(source);
    let name = path.display().to_string();
    let file = File::open(path).map_err(cannot_read)?;
    let mut bytes = Vec::new();
    checked(file, &name, Form::Words)?
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot_read)?;
    if bytes.len() as u64 > bytes_max {
        return Err(Error::Usage(format!(
            "{name} is larger than {what} can be: {bytes_max} bytes"
        )));
    }
    String::from_utf8(bytes).map_err(|_| Error::Usage(format!("{name} is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], form: Form) -> Result<Vec<u8>, String> {
        let mut read = Vec::new();
        checked(text, "f", form)
            .map_err(|error| error.to_string())?
            .read_to_end(&mut read)
            .unwrap();
        Ok(read)
    }

    #[test]
    fn a_mark_is_dropped_and_all_else_stays() {
        let long = "é\r\n".repeat(5000);
        for text in ["", "a", "\n", "{\"key\":1}\n", "[no", "\u{2028}", &long] {
            assert_eq!(read(text.as_bytes(), Form::Words).unwrap(), text.as_bytes());
            let marked = format!("\u{feff}{text}");
            assert_eq!(read(marked.as_bytes(), Form::Words).unwrap(), text.as_bytes());
        }
        // However it comes.
        let slow = [&b"\xef"[..], b"\xbb", b"\xbf", b"{}"]
            .into_iter()
            .map(io::Cursor::new);
        let slow = slow.fold(Box::new(io::empty()) as Box<dyn Read>, |all, next| {
            Box::new(all.chain(next))
        });
        let mut text = String::new();
        checked(slow, "f", Form::JsonLines)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "{}");
    }

    #[test]
    fn what_is_no_text_is_named() {
        let utf_16: Vec<u8> = "{\"key\"".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (text, said) in [
            (&utf_16[..], "UTF-16"),
            (b"\xff\xfe{\0", "UTF-16"),
            (b"\xfe\xff\0{", "UTF-16"),
            (b"\0{", "UTF-16"),
            (b"\x1f\x8b\x08", "zcat"),
            (b"\x28\xb5\x2f\xfd\x04", "zstdcat"),
            (b"PK\x03\x04", "zip"),
            (b"pykv bas\x01", "pykv restore"),
            (b"\0\0\0\0\0\0\0\0", "NUL"),
            (b"{\"key\":\"a\",\0", "NUL"),
            (b" \n [\n{", "jq -c"),
            (b"\xef\xbb\xbf[", "jq -c"),
        ] {
            let error = read(text, Form::JsonLines).unwrap_err();
            assert!(
                error.starts_with("f ") && error.contains(said),
                "{text:?}: {error}"
            );
        }
    }
}
