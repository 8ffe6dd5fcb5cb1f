//! The address of a node, and a node as the command line names it, as people type them.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// The port of a node unless one is named.
const PORT_DEFAULT: u16 = 7958;

/// Longest name of a host, in bytes: as long as the DNS lets one be.
const HOST_BYTES_MAX: usize = 253;

/// A host and a port. Read from `HOST:PORT`, `HOST`, `http://HOST:PORT` or `https://HOST:PORT`; shown with the scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// A name, an IPv4 address, or an IPv6 address in brackets.
    host: String,
    port: u16,
    /// Whether it was named with `https`.
    is_tls: bool,
}

/// Why a text is no address of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddressError {
    /// A scheme other than `http` and `https`.
    Scheme,
    /// A path, a query or a user beside the host.
    More,
    /// No host, or characters that no host has.
    Host,
    /// An IPv6 address without brackets.
    Brackets,
    /// No number, or none that a port can be.
    Port,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddressError::Scheme => "a node speaks http:// or https://",
            AddressError::More => {
                "a node is named by host and port alone, as in 127.0.0.1:7958, or by its socket, as in unix:/run/pykv.sock"
            }
            AddressError::Host => "name a host, as in 127.0.0.1:7958",
            AddressError::Brackets => "an IPv6 address must be in brackets, as in [::1]:7958",
            AddressError::Port => "the port is a number between 1 and 65535",
        })
    }
}

impl std::error::Error for AddressError {}

impl std::str::FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let (is_tls, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some(_) => return Err(AddressError::Scheme),
            None => (false, text),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) {
            return Err(AddressError::More);
        }
        let (host, port) = match rest.strip_prefix('[') {
            Some(inside) => {
                let (address, after) = inside.split_once(']').ok_or(AddressError::Brackets)?;
                address
                    .parse::<std::net::Ipv6Addr>()
                    .map_err(|_| AddressError::Host)?;
                let port = match after.strip_prefix(':') {
                    None if after.is_empty() => None,
                    None => return Err(AddressError::More),
                    port => port,
                };
                (format!("[{address}]"), port)
            }
            None => match rest.split_once(':') {
                Some((_, port)) if port.contains(':') => return Err(AddressError::Brackets),
                Some((host, port)) => (host.to_owned(), Some(port)),
                None => (rest.to_owned(), None),
            },
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        // Digits alone are a port whose host was forgotten.
        let is_port = port.is_none() && host.bytes().all(|byte| byte.is_ascii_digit());
        if host.is_empty()
            || is_port
            || host.len() > HOST_BYTES_MAX
            || !(host.starts_with('[') || host.chars().all(is_name))
        {
            return Err(AddressError::Host);
        }
        let port = match port {
            None => PORT_DEFAULT,
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => match port.parse() {
                Ok(port @ 1..) => port,
                _ => return Err(AddressError::Port),
            },
            Some(_) => return Err(AddressError::Port),
        };
        Ok(Address { host, port, is_tls })
    }
}

impl Address {
    /// As `host:port`.
    pub(crate) fn host_and_port(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Whether TLS is spoken there.
    pub(crate) fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The host alone.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Whether it leads to the machine that asks, whichever that is.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.host().trim_matches(['[', ']']);
        host.eq_ignore_ascii_case("localhost")
            || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// Whether it leads to no node: an address to listen at (`0.0.0.0`, `[::]`), to many or to all, or a number that is
    /// no address.
    pub(crate) fn is_nowhere(&self) -> bool {
        let bare = self.host.trim_matches(['[', ']']);
        match bare.parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(IpAddr::V4(address)) => {
                address.is_unspecified() || address.is_multicast() || address.is_broadcast()
            }
            Ok(IpAddr::V6(address)) => address.is_unspecified() || address.is_multicast(),
            Err(_) => bare.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'),
        }
    }

    /// Reads what another node names as the address of a node, as `host:port`. None where it is no such
    /// address: it could not be connected to, and must stand in no header and no log.
    pub(crate) fn of_node(text: &str) -> Option<String> {
        let address: Address = text.parse().ok()?;
        (address.host_and_port() == text && !address.is_nowhere()).then(|| text.to_owned())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// What stands before the path of a unix socket.
pub(crate) const UNIX_SCHEME: &str = "unix:";

/// The node that the command line names: by an address, or by a unix socket. Read from `HOST:PORT`, `http://HOST:PORT` or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Address(Address),
    /// A unix socket at this path.
    Socket(PathBuf),
}

/// Why a text names no node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerError {
    Address(AddressError),
    /// A unix socket without a path.
    NoPath,
}

impl Server {
    /// Whether TLS is spoken there.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Server::Address(address) if address.is_tls())
    }
}

impl FromStr for Server {
    type Err = ServerError;

    fn from_str(text: &str) -> Result<Server, ServerError> {
        match text.strip_prefix(UNIX_SCHEME) {
            Some("") => Err(ServerError::NoPath),
            Some(path) => Ok(Server::Socket(path.into())),
            None => text.parse().map(Server::Address).map_err(ServerError::Address),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Server::Address(address) => write!(f, "{address}"),
            Server::Socket(path) => write!(f, "{UNIX_SCHEME}{}", path.display()),
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerError::Address(error) => error.fmt(f),
            ServerError::NoPath => f.write_str("a unix socket has a path, as in unix:/run/pykv/pykv.sock"),
        }
    }
}

impl std::error::Error for ServerError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, url) in [
            ("127.0.0.1:7958", "http://127.0.0.1:7958"),
            ("localhost", "http://localhost:7958"),
            ("node-1.example:80", "http://node-1.example:80"),
            ("http://10.0.0.7:1", "http://10.0.0.7:1"),
            ("HTTP://host:65535/", "http://host:65535"),
            ("https://host:1", "https://host:1"),
            ("[::1]", "http://[::1]:7958"),
            ("http://[fe80::1]:99", "http://[fe80::1]:99"),
        ] {
            assert_eq!(
                text.parse::<Address>()
                    .map(|address| address.to_string())
                    .as_deref(),
                Ok(url)
            );
        }
    }

    #[test]
    fn addresses_of_nodes_are_exact() {
        assert_eq!(Address::of_node("10.0.0.7:1").as_deref(), Some("10.0.0.7:1"));
        assert_eq!(Address::of_node("[fe80::1]:99").as_deref(), Some("[fe80::1]:99"));
        let long = format!("{}:1", "x".repeat(254));
        for wrong in [
            "10.0.0.7",
            "http://a:1",
            "a:1/",
            "0.0.0.0:1",
            "0:1",
            "[::ffff:0.0.0.0]:1",
            "224.0.0.1:1",
            "255.255.255.255:1",
            "[ff02::1]:1",
            "[::]:1",
            "a:1\r\nSet-Cookie: b",
            "a b:1",
            "",
            &long,
        ] {
            assert_eq!(Address::of_node(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn no_addresses() {
        for (text, error) in [
            ("", AddressError::Host),
            (":7958", AddressError::Host),
            ("7958", AddressError::Host),
            (":", AddressError::Host),
            ("http://", AddressError::Host),
            ("a b:1", AddressError::Host),
            ("[nonsense]:1", AddressError::Host),
            ("ftp://host:1", AddressError::Scheme),
            ("host:1/kv", AddressError::More),
            ("user@host:1", AddressError::More),
            ("[::1]x", AddressError::More),
            ("::1", AddressError::Brackets),
            ("[::1", AddressError::Brackets),
            ("host:", AddressError::Port),
            ("host:0", AddressError::Port),
            ("host:+1", AddressError::Port),
            ("host:65536", AddressError::Port),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_node_is_named_by_an_address_or_a_path() {
        for (text, shown) in [
            ("localhost", "http://localhost:7958"),
            ("http://10.0.0.7:80", "http://10.0.0.7:80"),
            ("https://10.0.0.7:443", "https://10.0.0.7:443"),
            ("unix:/run/pykv/pykv.sock", "unix:/run/pykv/pykv.sock"),
            ("unix:pykv.sock", "unix:pykv.sock"),
        ] {
            assert_eq!(text.parse::<Server>().unwrap().to_string(), shown);
        }
        assert_eq!("unix:".parse::<Server>(), Err(ServerError::NoPath));
        assert!("ftp://localhost".parse::<Server>().is_err());
    }
}
