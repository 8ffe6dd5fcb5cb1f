//! Lines of a file or of standard input, each of bounded length: what is too long is never held.

use super::Error;
pub(super) use super::text::Form;
use super::text::checked;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// How much is asked of the system at once, in bytes.
const BUFFER_BYTES: usize = 256 * 1024;

const STANDARD_INPUT: &str = "standard input";

/// A line without its newline.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Text(&'a [u8]),
    /// It was longer than may be, and is skipped.
    TooLong,
}

/// Reads lines and counts them.
pub(super) struct Lines<R> {
    input: R,
    bytes_max: usize,
    line: Vec<u8>,
    number: u64,
    /// Whether the rest of a line that is too long is still to be skipped: only if another line is asked for, as it
    /// may have no end.
    is_in_line: bool,
    /// Bytes of all lines so far, newlines included.
    pub(super) bytes_read: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R, bytes_max: usize) -> Lines<R> {
        Lines {
            input,
            bytes_max,
            line: Vec::new(),
            number: 0,
            is_in_line: false,
            bytes_read: 0,
        }
    }

    /// The next line and its number, from 1 on; none after the last.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, Line<'_>)>> {
        if std::mem::take(&mut self.is_in_line) {
            self.bytes_read += self.input.skip_until(b'\n')? as u64;
        }
        self.line.clear();
        // One byte more than a line has: its newline, or what shows that it is too long.
        let bytes = (&mut self.input)
            .take(self.bytes_max as u64 + 1)
            .read_until(b'\n', &mut self.line)?;
        if bytes == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.bytes_read += bytes as u64;
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else if bytes > self.bytes_max {
            self.is_in_line = true;
            return Ok(Some((self.number, Line::TooLong)));
        }
        Ok(Some((self.number, Line::Text(&self.line))))
    }
}

/// What lines are read of.
pub(super) struct Input {
    pub(super) reader: Box<dyn BufRead>,
    /// The size of the file, where it has one.
    pub(super) bytes: Option<u64>,
}

/// A file to read lines of; `-` is standard input. What is no text of this form is refused, by what it is.
pub(super) fn open(path: &Path, form: Form) -> Result<Input, Error> {
    fn buffered(text: impl Read + 'static, name: &str, form: Form) -> Result<Box<dyn BufRead>, Error> {
        let text = checked(text, name, form)?;
        Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, text)))
    }
    if path == Path::new("-") {
        super::check_stdin()?;
        return Ok(Input {
            reader: buffered(io::stdin(), STANDARD_INPUT, form)?,
            bytes: None,
        });
    }
    let cannot_read = |source| Error::io("cannot read", path)(source);
    super::check_named(path).map_err(cannot_read)?;
    let file = File::open(path).map_err(cannot_read)?;
    let metadata = file.metadata().map_err(cannot_read)?;
    let bytes = metadata.is_file().then_some(metadata.len());
    Ok(Input {
        reader: buffered(file, &path.display().to_string(), form)?,
        bytes,
    })
}

/// That a file, or standard input, could not be read on.
pub(super) fn broken(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let name = match path.to_str() {
        Some("-") => Path::new(STANDARD_INPUT),
        _ => path,
    };
    Error::io("cannot read", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_a_bound() {
        let mut lines = Lines::new(&b"abc\n\nabcd\nabcdefgh\r\n\nend"[..], 3);
        for (number, line) in [
            (1, Line::Text(b"abc")),
            (2, Line::Text(b"")),
            (3, Line::TooLong),
            (4, Line::TooLong),
            (5, Line::Text(b"")),
            (6, Line::Text(b"end")),
        ] {
            assert_eq!(lines.next().unwrap(), Some((number, line)));
        }
        assert_eq!(lines.next().unwrap(), None);
        assert_eq!(lines.bytes_read, 24);
        assert_eq!(
            Lines::new(&b"abcd"[..], 3).next().unwrap(),
            Some((1, Line::TooLong)),
            "no newline at the end"
        );
    }
}
