//! How an entry is kept in the engine: a string, whose first bytes say what it is.
//!
//! ```text
//! bytes 0..4    ff 70 6b 31 ("\xffpk1"): the format, which no text begins with
//! bytes 4..12   the version, big endian
//! bytes 12..20  the deadline in ms since the Unix epoch, big endian; 0 for none
//! bytes 20..    the value
//! ```
//!
//! So one `GET` reads the value, its version and its deadline. The deadline is also that of the key in the engine
//! (`PXAT`), which drops the entry. A key has the name that clients give it: its hash tag is the engine's.

use crate::node::Found;

const MAGIC: &[u8; 4] = b"\xffpk1";

/// What stands before a value, in bytes.
pub(crate) const HEADER_BYTES: usize = 20;

/// Largest version: numbers of Lua and JavaScript are exact up to here.
pub(crate) const VERSION_MAX: u64 = (1 << 53) - 1;

/// Reads what the engine holds: version, deadline and value. None where pykv did not write it.
pub(crate) fn decode(kept: &[u8]) -> Option<(Found, &[u8])> {
    let (header, value) = kept.split_at_checked(HEADER_BYTES)?;
    let (magic, numbers) = header.split_first_chunk::<4>()?;
    let (version, numbers) = numbers.split_first_chunk::<8>()?;
    let (deadline_ms, _) = numbers.split_first_chunk::<8>()?;
    let version = u64::from_be_bytes(*version);
    let deadline_ms = u64::from_be_bytes(*deadline_ms);
    let found = Found {
        version,
        deadline_ms: (deadline_ms > 0).then_some(deadline_ms),
    };
    (magic == MAGIC && version <= VERSION_MAX).then_some((found, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_one_that_is_written_down() {
        let kept = b"\xffpk1\x00\x00\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x00\x00\x00\x00value";
        let (found, value) = decode(kept).unwrap();
        assert_eq!(
            (found.version, found.deadline_ms, value),
            (258, None, &b"value"[..])
        );
        assert_eq!(decode(&kept[..20]).map(|(_, value)| value), Some(&b""[..]));
        for foreign in [&kept[..19], &b"value"[..], b"", &[0xff; 40]] {
            assert!(decode(foreign).is_none());
        }
    }
}
