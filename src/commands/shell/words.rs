//! The words of a line of the shell, as redis-cli takes them apart. An unknown escape is an error. (redis-cli drops the
//! backslash, which stores another value than was typed.)
//!
//! Words are bytes, because `"\xff"` says any byte; where a word must be text, as a key must, that is checked.

use super::super::Error;
use crate::commands::quotes::in_quotes;
use crate::escape;

/// Takes a line apart. An error names the column, in characters from 1 on.
pub(super) fn words(line: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii();
    while let Some(&first) = rest.first() {
        let at = |rest: &[u8]| Column::of(line, rest);
        let (word, after) = match first {
            b'"' => double_quoted(&rest[1..]).map_err(|fault| fault.at(line))?,
            b'\'' => single_quoted(&rest[1..]).map_err(|fault| fault.at(line))?,
            _ => {
                let bytes = rest.iter().position(u8::is_ascii_whitespace);
                let (word, after) = rest.split_at(bytes.unwrap_or(rest.len()));
                (word.to_vec(), after)
            }
        };
        if after.first().is_some_and(|next| !next.is_ascii_whitespace()) {
            return Err(Error::Usage(format!(
                "a blank must follow the quote that ends a word, at column {}",
                at(after).0
            )));
        }
        words.push(word);
        rest = after.trim_ascii_start();
    }
    Ok(words)
}

/// A place in a line, as an editor counts it: in characters, from 1 on.
struct Column(usize);

impl Column {
    /// Where the rest of a line begins.
    fn of(line: &[u8], rest: &[u8]) -> Column {
        let line = line.trim_ascii_end();
        let before = &line[..line.len().saturating_sub(rest.len())];
        Column(String::from_utf8_lossy(before).chars().count() + 1)
    }
}

/// What is wrong in quotes, and the rest of the line from there on.
#[derive(Debug)]
enum Fault<'a> {
    /// There is no quote at the end. The rest is what follows the first one.
    Unclosed(char, &'a [u8]),
    /// A backslash before something that it says nothing about.
    Escape(&'a [u8]),
}

impl Fault<'_> {
    fn at(&self, line: &[u8]) -> Error {
        Error::Usage(match self {
            Fault::Unclosed(quote, rest) => format!(
                "the word that begins with {quote} at column {} has no {quote} at its end",
                Column::of(line, rest).0 - 1
            ),
            Fault::Escape(rest) => {
                let escape: String = String::from_utf8_lossy(rest).chars().take(2).collect();
                format!(
                    "there is no escape {} at column {}: write \\\\ for a backslash, and \\xHH for a byte",
                    escape.escape_debug().to_string().replace("\\\\", "\\"),
                    Column::of(line, rest).0
                )
            }
        })
    }
}

/// A word in `"`, and what follows it.
fn double_quoted(inside: &[u8]) -> Result<(Vec<u8>, &[u8]), Fault<'_>> {
    let mut rest = inside;
    let mut word = Vec::new();
    loop {
        rest = match rest {
            [] | [b'\\'] => return Err(Fault::Unclosed('"', inside)),
            [b'"', after @ ..] => return Ok((word, after)),
            [b'\\', b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or_default() as u8;
                word.push(digit(high) << 4 | digit(low));
                after
            }
            [b'\\', escaped, after @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    b'\\' | b'"' | b'\'' => *escaped,
                    // Not the character alone: nobody means to store that.
                    _ => return Err(Fault::Escape(rest)),
                });
                after
            }
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
        }
    }
}

/// A word in `'`, and what follows it. A backslash is itself, but before a quote.
fn single_quoted(inside: &[u8]) -> Result<(Vec<u8>, &[u8]), Fault<'_>> {
    let mut rest = inside;
    let mut word = Vec::new();
    loop {
        rest = match rest {
            [] => return Err(Fault::Unclosed('\'', inside)),
            [b'\'', after @ ..] => return Ok((word, after)),
            [b'\\', b'\'', after @ ..] => {
                word.push(b'\'');
                after
            }
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
        }
    }
}

/// A word as it can be typed: in quotes where it must be. Nothing in it acts on a terminal.
pub(super) fn quoted(word: &[u8]) -> String {
    match std::str::from_utf8(word) {
        Ok(text) if is_plain(text) => text.to_owned(),
        _ => in_quotes(word),
    }
}

/// Whether a word is itself without quotes.
pub(super) fn is_plain(word: &str) -> bool {
    let is_plain = |(c, acts): (char, bool)| !acts && !c.is_whitespace() && !matches!(c, '"' | '\'' | '\\');
    !word.is_empty() && escape::chars(word).all(is_plain)
}

/// The word that the end of a line is in: where it begins, what it says so far, and how many are before it.
pub(super) fn last_word(line: &str) -> (usize, String, usize) {
    let mut start = line.len() - line.trim_start().len();
    let mut before = 0;
    loop {
        let rest = &line[start..];
        let end = match rest.as_bytes() {
            [b'"', inside @ ..] => double_quoted(inside).map(|(_, after)| line.len() - after.len()),
            [b'\'', inside @ ..] => single_quoted(inside).map(|(_, after)| line.len() - after.len()),
            _ => Ok(start + rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        match end {
            Ok(end) if end < line.len() => {
                before += 1;
                start = line.len() - line[end..].trim_start().len();
            }
            // It has no end, or ends with the line.
            _ => {
                let closed = match rest.as_bytes().first() {
                    Some(b'"') => format!("{rest}\""),
                    Some(b'\'') => format!("{rest}'"),
                    _ => rest.to_owned(),
                };
                let word = words(closed.as_bytes())
                    .ok()
                    .and_then(|words| words.into_iter().next());
                let word = word.and_then(|word| String::from_utf8(word).ok());
                return (start, word.unwrap_or_default(), before);
            }
        }
    }
}
