//! The engine as the command line names it: `redis://HOST:PORT,HOST:PORT`, or `rediss://` for TLS.

use crate::address::{Address, AddressError};
use std::fmt;
use std::str::FromStr;

/// The port of a server unless one is named.
const PORT_DEFAULT: u16 = 6379;

/// Where the engine is: some of its servers, from which the others are learnt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EngineUrl {
    /// `HOST:PORT` each; there is at least one.
    pub(crate) seeds: Vec<String>,
    pub(crate) is_tls: bool,
}

impl FromStr for EngineUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<EngineUrl, String> {
        let wrong = "an engine is named as in redis://10.0.0.1:6379,10.0.0.2:6379, or rediss:// for TLS";
        let (is_tls, rest) = match text.split_once("://") {
            Some(("redis", rest)) => (false, rest),
            Some(("rediss", rest)) => (true, rest),
            _ => return Err(wrong.to_owned()),
        };
        if rest.contains('@') {
            return Err(
                "user and password do not stand in the URL, where everybody on the machine sees them; name a file \
                 with --engine-auth-file"
                    .to_owned(),
            );
        }
        // Other clients take the number of a database there; a cluster has that of 0 alone.
        let rest = rest.strip_suffix("/0").unwrap_or(rest);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if let Some((_, database)) = rest.split_once('/') {
            return Err(format!(
                "a gateway uses database 0 of an engine: leave out /{database}"
            ));
        }
        let seeds = rest.split(',').map(|one| {
            let has_port = one.rsplit_once(']').map_or(one, |(_, after)| after).contains(':');
            let named = match has_port {
                true => one.to_owned(),
                false => format!("{one}:{PORT_DEFAULT}"),
            };
            let address: Address = named.parse().map_err(|error| match error {
                AddressError::More | AddressError::Host | AddressError::Scheme => {
                    format!("{one}: a server is named by host and port alone, as in 10.0.0.1:6379")
                }
                AddressError::Brackets | AddressError::Port => format!("{one}: {error}"),
            })?;
            Ok(address.host_and_port())
        });
        let seeds = seeds.collect::<Result<Vec<String>, String>>()?;
        Ok(EngineUrl { seeds, is_tls })
    }
}

impl fmt::Display for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "rediss" } else { "redis" };
        write!(f, "{scheme}://{}", self.seeds.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_engines() {
        let url: EngineUrl = "redis://a:7000,[::1]:7001,c".parse().unwrap();
        assert_eq!(url.seeds, ["a:7000", "[::1]:7001", "c:6379"]);
        assert_eq!(url.to_string(), "redis://a:7000,[::1]:7001,c:6379");
        assert!("rediss://a".parse::<EngineUrl>().unwrap().is_tls);
        let with_database: EngineUrl = "redis://a:7000,b/0".parse().unwrap();
        assert_eq!(with_database.seeds, ["a:7000", "b:6379"]);
        for wrong in [
            "a:7000",
            "http://a",
            "redis://",
            "redis://a,,b",
            "redis://a/1",
            "redis://a:x",
        ] {
            assert!(wrong.parse::<EngineUrl>().is_err(), "{wrong}");
        }
        for (wrong, said) in [
            ("redis://a:6379/1", "database 0"),
            (
                "redis://a:6379?db=0",
                "a:6379?db=0: a server is named by host and port alone",
            ),
        ] {
            let why = wrong.parse::<EngineUrl>().unwrap_err();
            assert!(why.contains(said) && !why.contains("7958"), "{wrong}: {why}");
        }
        let with_password = "redis://me:secret@a".parse::<EngineUrl>().unwrap_err();
        assert!(with_password.contains("--engine-auth-file") && !with_password.contains("secret"));
    }
}
