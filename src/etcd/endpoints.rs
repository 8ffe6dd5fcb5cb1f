//! The addresses at which etcd's members listen for clients, as people type them.

use crate::address::{Address, AddressError};
use std::fmt;
use std::str::FromStr;

/// Most endpoints. A cluster of etcd has three or five members.
const ENDPOINTS_MAX: usize = 16;

/// One address or more, no two of them equal, and all of one scheme. Read from `http://HOST:PORT,http://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints(Vec<Address>);

/// Why a text names no endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointsError {
    /// There is none, or nothing between two commas.
    Empty,
    /// One of them has no scheme, or another one than `http` and `https`.
    Scheme(String),
    /// One of them has a path or a query.
    More(String),
    /// One of them has a user, and perhaps a password, which is not to be shown.
    User,
    /// One of them has no host, or characters that no host has.
    Host(String),
    /// One of them is an IPv6 address without brackets.
    Brackets(String),
    /// One of them has no port, or one that is no port.
    Port(String),
    /// One of them stands there twice.
    Twice(String),
    /// Some are named with `http` and some with `https`.
    Mixed,
    /// There are more than [`ENDPOINTS_MAX`].
    TooMany(usize),
}

impl Endpoints {
    pub(super) fn as_slice(&self) -> &[Address] {
        &self.0
    }

    /// How many there are.
    #[allow(clippy::len_without_is_empty)] // It is never empty.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether TLS is spoken there.
    pub fn are_tls(&self) -> bool {
        self.0[0].is_tls()
    }
}

impl FromStr for Endpoints {
    type Err = EndpointsError;

    fn from_str(text: &str) -> Result<Endpoints, EndpointsError> {
        let mut endpoints: Vec<Address> = Vec::new();
        for one in text.split(',').map(str::trim) {
            let endpoint = endpoint(one)?;
            if endpoints.contains(&endpoint) {
                return Err(EndpointsError::Twice(endpoint.to_string()));
            }
            if endpoints
                .first()
                .is_some_and(|first| first.is_tls() != endpoint.is_tls())
            {
                return Err(EndpointsError::Mixed);
            }
            endpoints.push(endpoint);
        }
        match endpoints.len() {
            count @ ..=ENDPOINTS_MAX => {
                debug_assert!(count > 0, "a text has at least one part");
                Ok(Endpoints(endpoints))
            }
            count => Err(EndpointsError::TooMany(count)),
        }
    }
}

fn endpoint(text: &str) -> Result<Address, EndpointsError> {
    if text.is_empty() {
        return Err(EndpointsError::Empty);
    }
    if text.contains('@') {
        return Err(EndpointsError::User);
    }
    let said = || text.to_owned();
    let Some((_, rest)) = text.split_once("://") else {
        return Err(EndpointsError::Scheme(said()));
    };
    let address: Address = text.parse().map_err(|error| match error {
        AddressError::Scheme => EndpointsError::Scheme(said()),
        AddressError::More => EndpointsError::More(said()),
        AddressError::Host => EndpointsError::Host(said()),
        AddressError::Brackets => EndpointsError::Brackets(said()),
        AddressError::Port => EndpointsError::Port(said()),
    })?;
    // An address without a port has that of a pykv node, where no etcd listens.
    let host = address.host();
    let has_port = rest.get(host.len()..).is_some_and(|after| after.starts_with(':'));
    match has_port {
        true => Ok(address),
        false => Err(EndpointsError::Port(said())),
    }
}

impl fmt::Display for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, endpoint) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{endpoint}")?;
        }
        Ok(())
    }
}

impl fmt::Display for EndpointsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointsError::User => f.write_str(
                "a user and a password do not stand in an endpoint: give them with --etcd-user and --etcd-password-file",
            ),
            EndpointsError::Empty => {
                f.write_str("an endpoint of etcd is missing; name it as in http://10.0.0.1:2379")
            }
            EndpointsError::Scheme(text) => write!(
                f,
                "{text}: an endpoint of etcd begins with http:// or https://, as in http://10.0.0.1:2379"
            ),
            EndpointsError::More(text) => {
                write!(f, "{text}: an endpoint of etcd has no path, query or user")
            }
            EndpointsError::Host(text) => write!(f, "{text}: there is no host in it"),
            EndpointsError::Brackets(text) => {
                write!(f, "{text}: an IPv6 address stands in brackets, as in [::1]:2379")
            }
            EndpointsError::Port(text) => {
                write!(f, "{text}: an endpoint of etcd has a port, most often 2379")
            }
            EndpointsError::Twice(text) => write!(f, "{text} is named twice"),
            EndpointsError::Mixed => {
                f.write_str("some endpoints of etcd are named with http:// and some with https://; use one")
            }
            EndpointsError::TooMany(count) => {
                write!(
                    f,
                    "{count} endpoints of etcd are too many; name at most {ENDPOINTS_MAX}"
                )
            }
        }
    }
}

impl std::error::Error for EndpointsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for (text, shown) in [
            ("http://e1:2379", "http://e1:2379"),
            ("http://e1:2379/, http://e2:2379", "http://e1:2379,http://e2:2379"),
            (
                "https://[::1]:1,https://[::1]:2",
                "https://[::1]:1,https://[::1]:2",
            ),
        ] {
            let endpoints: Endpoints = text.parse().unwrap();
            assert_eq!(endpoints.to_string(), shown);
            assert_eq!(endpoints.are_tls(), text.starts_with("https"));
        }
    }

    #[test]
    fn no_endpoints() {
        let said = |text: &str| text.to_owned();
        let many: Vec<String> = (1..=17).map(|port| format!("http://e:{port}")).collect();
        for (text, error) in [
            ("", EndpointsError::Empty),
            ("http://e1:1,", EndpointsError::Empty),
            ("http://e1:1,,http://e2:1", EndpointsError::Empty),
            ("e1:2379", EndpointsError::Scheme(said("e1:2379"))),
            ("ftp://e1:2379", EndpointsError::Scheme(said("ftp://e1:2379"))),
            ("http://e1:1/v3", EndpointsError::More(said("http://e1:1/v3"))),
            ("http://u:secret@e1:1", EndpointsError::User),
            ("http://:1", EndpointsError::Host(said("http://:1"))),
            ("http://::1:1", EndpointsError::Brackets(said("http://::1:1"))),
            ("http://e1", EndpointsError::Port(said("http://e1"))),
            ("http://[::1]", EndpointsError::Port(said("http://[::1]"))),
            ("http://e1:0", EndpointsError::Port(said("http://e1:0"))),
            (
                "http://e1:1,http://e1:1/",
                EndpointsError::Twice(said("http://e1:1")),
            ),
            ("http://e1:1,https://e2:1", EndpointsError::Mixed),
            (&many.join(","), EndpointsError::TooMany(17)),
        ] {
            assert_eq!(text.parse::<Endpoints>(), Err(error.clone()), "{text}");
            assert_eq!(error.to_string().lines().count(), 1);
        }
    }
}
