//! The chunked transfer coding, decoded in place.
//!
//! Strict where leniency has let requests be smuggled: sizes are plain hexadecimal digits, every line ends
//! in CRLF and in nothing else, and what surrounds the data is bounded. Extensions and trailers are read
//! over; nothing here has a use for them.

/// Longest size line, extensions included, in bytes.
const LINE_BYTES_MAX: usize = 256;

/// All trailer fields together, in bytes.
const TRAILER_BYTES_MAX: usize = 4096;

/// Why bytes are no chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChunkedError {
    /// They break the grammar.
    Malformed(&'static str),
    /// They hold more data than a body may.
    TooLarge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Size,
    Data { left: usize },
    DataEnd,
    Trailer { bytes: usize },
    Nothing,
}

/// Decodes a body that comes piece by piece.
///
/// The buffer holds, from the body's start on, the data decoded so far and then what was not looked at yet.
/// Whatever lies between chunks is taken out as it comes, so a buffer is never longer than the data and one
/// read, however small the chunks.
#[derive(Debug)]
pub(crate) struct Chunked {
    expected: Expected,
    decoded_bytes: usize,
}

impl Chunked {
    pub(crate) fn new() -> Chunked {
        Chunked {
            expected: Expected::Size,
            decoded_bytes: 0,
        }
    }

    /// Length of the data decoded so far.
    pub(crate) fn decoded_bytes(&self) -> usize {
        self.decoded_bytes
    }

    /// Decodes what has come. True when the body is complete: what follows its data is the next request's.
    pub(crate) fn advance(
        &mut self,
        buffer: &mut Vec<u8>,
        body_start: usize,
        body_bytes_max: usize,
    ) -> Result<bool, ChunkedError> {
        let decoded_start = body_start + self.decoded_bytes;
        let (mut write, mut read) = (decoded_start, decoded_start);
        while self.expected != Expected::Nothing {
            let bytes = &buffer[read..];
            match self.expected {
                Expected::Size => {
                    let Some(line) = line(bytes, LINE_BYTES_MAX)? else {
                        break;
                    };
                    let left = size(line)?;
                    if left > (body_bytes_max - (write - body_start)) as u64 {
                        return Err(ChunkedError::TooLarge);
                    }
                    read += line.len() + 2;
                    self.expected = match left as usize {
                        0 => Expected::Trailer { bytes: 0 },
                        left => Expected::Data { left },
                    };
                }
                Expected::Data { left } => {
                    let here = left.min(bytes.len());
                    buffer.copy_within(read..read + here, write);
                    read += here;
                    write += here;
                    if here < left {
                        self.expected = Expected::Data { left: left - here };
                        break;
                    }
                    self.expected = Expected::DataEnd;
                }
                Expected::DataEnd => {
                    let Some(line) = line(bytes, 0)? else { break };
                    read += line.len() + 2;
                    self.expected = Expected::Size;
                }
                Expected::Trailer { bytes: before } => {
                    let Some(line) = line(bytes, TRAILER_BYTES_MAX - before)? else {
                        break;
                    };
                    read += line.len() + 2;
                    self.expected = match line.len() {
                        0 => Expected::Nothing,
                        _ if !is_field(line) => {
                            return Err(ChunkedError::Malformed("a trailer is not a field"));
                        }
                        _ => Expected::Trailer {
                            bytes: TRAILER_BYTES_MAX.min(before + line.len() + 2),
                        },
                    };
                }
                Expected::Nothing => {}
            }
        }
        self.decoded_bytes = write - body_start;
        buffer.drain(write..read);
        Ok(self.expected == Expected::Nothing)
    }
}

/// The line that `bytes` begin with, without its CRLF; `None` where the CRLF has not come yet.
fn line(bytes: &[u8], line_bytes_max: usize) -> Result<Option<&[u8]>, ChunkedError> {
    let end = bytes
        .iter()
        .take(line_bytes_max + 1)
        .position(|&byte| byte < b' ' && byte != b'\t');
    match end {
        None if bytes.len() > line_bytes_max => {
            Err(ChunkedError::Malformed("a line between chunks is too long"))
        }
        None => Ok(None),
        Some(end) => match &bytes[end..] {
            [b'\r'] => Ok(None),
            [b'\r', b'\n', ..] => Ok(Some(&bytes[..end])),
            _ => Err(ChunkedError::Malformed(
                "a line between chunks does not end in CRLF",
            )),
        },
    }
}

/// Whether a line is a name, a colon and anything. A request line is not.
fn is_field(line: &[u8]) -> bool {
    let name_bytes = line.iter().position(|&byte| byte == b':').unwrap_or(0);
    name_bytes > 0 && line[..name_bytes].iter().all(|byte| byte.is_ascii_graphic())
}

/// The size that a line says, without its extensions.
fn size(line: &[u8]) -> Result<u64, ChunkedError> {
    let digits = line.split(|&byte| byte == b';').next().unwrap_or(line);
    let digits = if digits.len() < line.len() {
        digits.trim_ascii_end()
    } else {
        digits
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(ChunkedError::Malformed("a chunk's size is not hexadecimal"));
    }
    std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or(ChunkedError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Decoded = Option<(Vec<u8>, Vec<u8>)>;

    /// Feeds `wire` in pieces of `step` bytes; what is decoded, and what is left for the next request.
    fn decode(wire: &[u8], step: usize, max: usize) -> Result<Decoded, ChunkedError> {
        let mut chunked = Chunked::new();
        let mut buffer = b"head".to_vec();
        let mut whole = false;
        for piece in wire.chunks(step) {
            buffer.extend_from_slice(piece);
            if !whole {
                whole = chunked.advance(&mut buffer, 4, max)?;
            }
        }
        assert_eq!(&buffer[..4], b"head");
        let rest = buffer.split_off(4 + chunked.decoded_bytes());
        Ok(whole.then(|| (buffer[4..].to_vec(), rest)))
    }

    #[test]
    fn a_body_is_the_same_however_it_comes() {
        let wire = b"4\r\nWiki\r\n5;a=\"b\" ;c\r\npedia\r\n0A\r\n in chunks\r\n0\r\nTrailer: x\r\n\r\nGET /";
        for step in 1..=wire.len() {
            let (body, rest) = decode(wire, step, 19).unwrap().unwrap();
            assert_eq!(
                (&body[..], &rest[..]),
                (&b"Wikipedia in chunks"[..], &b"GET /"[..]),
                "{step}"
            );
        }
        assert_eq!(decode(&wire[..wire.len() - 7], 1, 19), Ok(None));
        assert_eq!(decode(wire, 7, 18), Err(ChunkedError::TooLarge));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for wire in [
            &b"+4\r\nWiki\r\n0\r\n\r\n"[..],
            b"0x4\r\nWiki\r\n0\r\n\r\n",
            b" 4\r\nWiki\r\n0\r\n\r\n",
            b"4 \r\nWiki\r\n0\r\n\r\n",
            b"4\nWiki\r\n0\r\n\r\n",
            b"4\rWiki\r\n0\r\n\r\n",
            b"4;a\nb\r\nWiki\r\n0\r\n\r\n",
            b"4\r\nWiki0\r\n\r\n",
            b"4\r\nWikip\r\n0\r\n\r\n",
            b"4\r\nWiki\n0\r\n\r\n",
            b"\r\n",
            b"0\r\nTrailer: x\n\r\n",
            b"0\r\nGET http://h/ HTTP/1.1\r\n\r\n",
            b"0\r\n: x\r\n\r\n",
        ] {
            for step in [1, wire.len()] {
                assert!(
                    matches!(decode(wire, step, 100), Err(ChunkedError::Malformed(_))),
                    "{:?}",
                    String::from_utf8_lossy(wire)
                );
            }
        }
        assert_eq!(
            decode(b"ffffffffffffffffff\r\n", 1, 100),
            Err(ChunkedError::TooLarge)
        );
    }

    #[test]
    fn what_surrounds_the_data_is_bounded() {
        let extension = [&b"1;"[..], &[b'a'; 300]].concat();
        assert!(matches!(
            decode(&extension, 1, 9),
            Err(ChunkedError::Malformed(_))
        ));
        let trailers = [&b"0\r\n"[..], &b"a: b\r\n".repeat(1000)].concat();
        assert!(matches!(
            decode(&trailers, 10, 9),
            Err(ChunkedError::Malformed(_))
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(wire in proptest::collection::vec(any::<u8>(), 1..200), step in 1usize..20) {
            let _ = decode(&wire, step, 50);
        }
    }
}
