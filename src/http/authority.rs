//! A host and a port, as `Host`, the authority of an absolute target and `Origin` give them (RFC 9110, 7.2).
//!
//! Only what a name on the network can be is taken: letters, digits, `-`, `.`, `_` and `~`, or an address. RFC 3986
//! would allow more in a name, none of which anybody has, and all of which somebody reads in another way.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A host, and a port where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Authority<'a> {
    /// All of it.
    pub(crate) text: &'a str,
    /// The host alone: a name, which may be empty, or an address, in brackets where it is one of IPv6.
    pub(crate) host: &'a str,
}

impl<'a> Authority<'a> {
    /// Reads it; none where it is no host with an optional port.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Authority<'a>> {
        let host_bytes = match bytes {
            [b'[', rest @ ..] => {
                let end = rest.iter().position(|&byte| byte == b']')?;
                std::str::from_utf8(&rest[..end]).ok()?.parse::<Ipv6Addr>().ok()?;
                end + "[]".len()
            }
            _ => bytes
                .iter()
                .position(|&byte| !is_of_name(byte))
                .unwrap_or(bytes.len()),
        };
        match &bytes[host_bytes..] {
            [] => {}
            [b':', port @ ..] if is_port(port) => {}
            _ => return None,
        }
        let text = std::str::from_utf8(bytes).ok()?;
        Some(Authority {
            text,
            host: &text[..host_bytes],
        })
    }

    /// Whether the host is an address and no name.
    pub(crate) fn is_address(&self) -> bool {
        self.host.starts_with('[') || self.host.parse::<Ipv4Addr>().is_ok()
    }
}

fn is_of_name(byte: u8) -> bool {
    IS_OF_NAME[usize::from(byte)]
}

/// A table, since each request has a `Host`, and each byte of it is looked at.
const IS_OF_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0u8;
    while byte < u8::MAX {
        table[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        byte += 1;
    }
    table
};

/// A port's digits; there may be none (RFC 3986, 3.2.3).
fn is_port(digits: &[u8]) -> bool {
    digits.iter().all(u8::is_ascii_digit)
        && digits
            .iter()
            .try_fold(0u16, |port, digit| {
                port.checked_mul(10)?.checked_add(u16::from(digit - b'0'))
            })
            .is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_an_optional_port() {
        for (text, host) in [
            ("localhost", "localhost"),
            ("127.0.0.1:7958", "127.0.0.1"),
            ("my_node.example.org.:", "my_node.example.org."),
            ("[::1]", "[::1]"),
            ("[::ffff:127.0.0.1]:65535", "[::ffff:127.0.0.1]"),
            ("", ""),
            (":80", ""),
            ("xn--bcher-kva.example:0080", "xn--bcher-kva.example"),
        ] {
            assert_eq!(Authority::parse(text.as_bytes()), Some(Authority { text, host }));
        }
        for wrong in [
            "[::1",
            "[::1]evil",
            "[]",
            "[::1%eth0]",
            "[evil]",
            "[v1.a]",
            "a<b>",
            "localhost:80#evil",
            "a:99999",
            "a:+1",
            "a:80:80",
            "a:80a",
            "user@a",
            "a/b",
            "a b",
            "a,b",
            "a\\b",
            "a?b",
            "é",
            "a%20b",
            "::1",
            "a\0",
        ] {
            assert_eq!(Authority::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn addresses_are_told_from_names() {
        for (text, is_address) in [
            ("127.0.0.1", true),
            ("[::1]:1", true),
            ("localhost", false),
            ("1.2.3", false),
        ] {
            assert_eq!(
                Authority::parse(text.as_bytes()).unwrap().is_address(),
                is_address,
                "{text}"
            );
        }
    }
}
