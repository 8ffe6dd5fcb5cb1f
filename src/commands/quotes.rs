//! Words in quotes, as the shell takes them: nothing in them acts on a terminal.

use crate::escape;
use std::fmt::Write;

/// A word as it can be typed in quotes.
pub(super) fn in_quotes(word: &[u8]) -> String {
    let mut quoted = String::from('"');
    for chunk in word.utf8_chunks() {
        for (c, acts) in escape::chars(chunk.valid()) {
            match c {
                '"' | '\\' => quoted.extend(['\\', c]),
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '\t' => quoted.push_str("\\t"),
                c if acts => c
                    .encode_utf8(&mut [0; 4])
                    .bytes()
                    .for_each(|byte| push_byte(&mut quoted, byte)),
                c => quoted.push(c),
            }
        }
        for &byte in chunk.invalid() {
            push_byte(&mut quoted, byte);
        }
    }
    quoted.push('"');
    quoted
}

fn push_byte(quoted: &mut String, byte: u8) {
    write!(quoted, "\\x{byte:02x}").expect("a string takes all");
}
