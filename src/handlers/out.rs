//! What a body is written into, and how values stand in JSON.

use crate::api::{self, Encoding};
use crate::http::response::{push_json, push_json_string};
use std::convert::Infallible;

/// Text is put into JSON in parts of so many bytes. Each may come to six times as many. A multiple of three,
/// as base64 has it.
pub(crate) const PART_BYTES: usize = 3 * 1024;

/// What a body is written into: a buffer, or a sink that sends it meanwhile.
pub(crate) trait Out {
    type Error;

    /// Where a little is appended.
    fn buffer(&mut self) -> &mut Vec<u8>;

    /// To be called between one piece and the next: each no longer than a part of JSON.
    fn settle(&mut self) -> Result<(), Self::Error>;
}

impl Out for Vec<u8> {
    type Error = Infallible;

    fn buffer(&mut self) -> &mut Vec<u8> {
        self
    }

    fn settle(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Appends the members `"value"` and, where the value is not text, `"encoding"`, with a comma before each.
pub(crate) fn push_value<O: Out>(out: &mut O, value: &[u8]) -> Result<(), O::Error> {
    out.buffer().extend_from_slice(b",\"value\":");
    if value.len() <= PART_BYTES {
        let (text, encoding) = api::encode_value(value);
        push_json_string(out.buffer(), &text);
        push_encoding(out.buffer(), encoding);
        return out.settle();
    }
    let is_text = std::str::from_utf8(value).is_ok();
    out.buffer().push(b'"');
    let mut at = 0;
    while at < value.len() {
        at += push_part(out.buffer(), &value[at..], is_text);
        out.settle()?;
    }
    out.buffer().push(b'"');
    push_encoding(out.buffer(), (!is_text).then_some(Encoding::Base64));
    out.settle()
}

pub(crate) fn push_encoding(out: &mut Vec<u8>, encoding: Option<Encoding>) {
    if let Some(encoding) = encoding {
        out.extend_from_slice(b",\"encoding\":");
        push_json(out, &encoding);
    }
}

/// Appends the beginning of a value, as JSON has it within quotes; of how many bytes.
pub(crate) fn push_part(out: &mut Vec<u8>, value: &[u8], is_text: bool) -> usize {
    let most = value.len().min(PART_BYTES);
    if !is_text {
        api::push_base64(out, &value[..most]);
        return most;
    }
    let is_boundary = |at: usize| value.get(at).is_none_or(|byte| byte & 0xc0 != 0x80);
    let end = (1..=most).rev().find(|&at| is_boundary(at)).unwrap_or(most);
    let start = out.len();
    push_json_string(out, &String::from_utf8_lossy(&value[..end]));
    // The quotes are the whole string's.
    out.pop();
    out.remove(start);
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// Whatever a value is, in parts it comes to what it comes to in one piece.
    #[test]
    fn a_value_in_parts_is_the_same_value() {
        let text = "aé\u{1}\"\\\n€𝄞".repeat(1000);
        let mut bytes = text.clone().into_bytes();
        bytes.push(0xff);
        for value in [
            text.as_bytes(),
            &bytes,
            &bytes[..PART_BYTES],
            &text.as_bytes()[..PART_BYTES],
            b"",
        ] {
            let mut out = b"{\"key\":0".to_vec();
            let Ok(()) = push_value(&mut out, value);
            out.push(b'}');
            let read: Value = serde_json::from_slice(&out).unwrap();
            let encoding = match read["encoding"].as_str() {
                None => None,
                Some(name) => Encoding::of_name(name),
            };
            let decoded = api::decode_value(read["value"].as_str().unwrap().into(), encoding);
            assert_eq!(decoded.unwrap(), value);
        }
    }
}
