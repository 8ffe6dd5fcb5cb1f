//! What stands between a node and the web pages of others that run in a browser which can reach it.
//!
//! A browser sends what a page asks it to, from wherever the browser stands: behind the firewall, on the
//! node's own machine. Two things must not come of that.
//!
//! - **A page of another site writes**, or asks for what only administrators and other nodes have business
//!   with: backups and replication. Its answers are kept from it by the browser, but a request of a
//!   simple form (a `POST` without a body, say) is sent before anybody is asked. So such a request is refused where
//!   the browser says that another site asks for it: `Sec-Fetch-Site`, or where there is none, an `Origin`
//!   that is not the host the request went to. Programs send neither, and are not asked.
//!   (`--allow-origin` names sites whose pages may; see `cors`.)
//! - **A page makes itself one of this site** by letting its own name resolve to the node's address (DNS
//!   rebinding): then nothing is cross-site any more, and all can be read. What is left is the name, in
//!   `Host`. Where a node listens on loopback and asks for no token, its place is all that protects it, so
//!   there only names are answered that no stranger can give: addresses, names without a dot, which public
//!   DNS does not have, `localhost`, and what `--host-name` adds.

use super::authority::Authority;
use super::cors::Origins;
use super::problem::{self, Problem};
use super::request::Head;

/// The names that a node goes by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts {
    names: Vec<String>,
    /// Whether a request for another name is refused.
    is_checked: bool,
    /// Whose pages may use the node, though they are of other sites.
    origins: Origins,
}

impl Hosts {
    /// Answers for `names` and, where `is_checked`, beside those only for what no stranger can give.
    pub(crate) fn new(names: Vec<String>, is_checked: bool) -> Hosts {
        Hosts {
            names,
            is_checked,
            origins: Origins::default(),
        }
    }

    /// The same, for pages of `origins` too.
    pub(crate) fn shared_with(self, origins: Origins) -> Hosts {
        Hosts { origins, ..self }
    }

    /// Whose pages may use the node, though they are of other sites.
    pub(crate) fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Refuses a request for a name that is not the node's.
    pub(crate) fn check_name(&self, head: &Head<'_>) -> Result<(), Problem> {
        match &head.host {
            Some(host) if self.is_checked && !self.is_own(host) => {
                let detail =
                    "the node does not know itself by this host name; `pykv serve --host-name` adds one";
                Err(Problem::new(problem::MISDIRECTED, detail).field("Host"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses what a page of another site asks for.
    pub(crate) fn check_site(&self, head: &Head<'_>) -> Result<(), Problem> {
        // Where that is allowed already, it does not open what is asked for.
        let advice = match self.origins.allows(head) {
            true => "",
            false => "; `pykv serve --allow-origin` lets pages of another origin read and write keys",
        };
        if let Some(site) = head.sec_fetch_site {
            if matches!(site, b"same-origin" | b"none") {
                return Ok(());
            }
            let detail =
                format!("the browser says that the request comes from a page of another site{advice}");
            return Err(Problem::new(problem::CROSS_SITE, detail).field("Sec-Fetch-Site"));
        }
        match head.origin {
            Some(origin) if !self.is_own_origin(origin, head.host) => {
                let detail = format!(
                    "the page that asks for this is not of the host that the request names; behind a proxy, \
                     `pykv serve --host-name` says under which name browsers see the node{advice}"
                );
                Err(Problem::new(problem::CROSS_SITE, detail).field("Origin"))
            }
            _ => Ok(()),
        }
    }

    fn is_own(&self, host: &Authority<'_>) -> bool {
        // What nearly all ask for, before anything is parsed: this is on the way of every request.
        let name = host.host;
        if matches!(name, "127.0.0.1" | "localhost") {
            return true;
        }
        !name.contains('.') && !name.is_empty()
            || host.is_address()
            || name
                .rsplit_once('.')
                .is_some_and(|(_, top)| top.eq_ignore_ascii_case("localhost"))
            || self.names(name)
    }

    fn names(&self, name: &str) -> bool {
        self.names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    fn is_own_origin(&self, origin: &[u8], host: Option<Authority<'_>>) -> bool {
        // Behind a proxy that speaks TLS the scheme is another one here than in the browser.
        let authority = [&b"http://"[..], b"https://"]
            .iter()
            .find_map(|scheme| origin.strip_prefix(*scheme))
            .and_then(Authority::parse);
        authority.is_some_and(|page| {
            host.is_some_and(|own| own.text.eq_ignore_ascii_case(page.text)) || self.names(page.host)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Limits;

    /// The status that a request is refused with by `check`; 0 where it is not.
    fn status(check: impl FnOnce(&Head<'_>) -> Result<(), Problem>, head: &str) -> u16 {
        let head = format!("{head}\r\n\r\n")
            .replace('\n', "\r\n")
            .replace("\r\r", "\r");
        let head = Head::parse(head.as_bytes(), &Limits::default()).unwrap().unwrap();
        check(&head).map_or_else(|problem| problem.kind.status, |()| 0)
    }

    #[test]
    fn names_that_a_stranger_can_give_are_refused_where_the_place_protects() {
        let hosts = Hosts::new(vec!["kv.example.org".to_owned()], true);
        for (host, expected) in [
            ("127.0.0.1:7958", 0),
            ("127.0.0.1", 0),
            ("[::1]:7958", 0),
            ("[::1]", 0),
            ("localhost:7958", 0),
            ("LOCALHOST", 0),
            ("pykv.localhost:7958", 0),
            ("pykv:7958", 0),
            ("KV.example.org:80", 0),
            ("evil.example:7958", 421),
            ("evil.example", 421),
            ("127.0.0.1.evil.example:7958", 421),
            ("localhost.evil.example", 421),
            ("evil.example.:7958", 421),
            ("kv.example.org.evil.example", 421),
            ("", 421),
            (":7958", 421),
        ] {
            let head = format!("GET /kv/k HTTP/1.1\nHost: {host}");
            assert_eq!(status(|head| hosts.check_name(head), &head), expected, "{host}");
            // An absolute target is what counts (RFC 9112, 3.2.2).
            if !host.is_empty() && !host.starts_with(':') {
                let head = format!("GET http://{host}/kv/k HTTP/1.1\nHost: localhost");
                assert_eq!(status(|head| hosts.check_name(head), &head), expected, "{host}");
            }
        }
        // HTTP/1.0 has no Host, and no browser speaks it.
        assert_eq!(status(|head| hosts.check_name(head), "GET /kv/k HTTP/1.0"), 0);
        let evil = "GET / HTTP/1.1\nHost: evil.example";
        assert_eq!(status(|head| Hosts::default().check_name(head), evil), 0);
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let hosts = Hosts::new(vec!["kv.example.org".to_owned()], false);
        for (fields, expected) in [
            ("", 0),
            ("Origin: http://node:1", 0),
            ("Origin: HTTP://node:1", 403),
            ("Origin: https://node:1", 0),
            ("Origin: https://kv.example.org", 0),
            ("Origin: http://node:2", 403),
            ("Origin: http://node", 403),
            ("Origin: http://evil.example", 403),
            ("Origin: http://node:1.evil.example", 403),
            ("Origin: null", 403),
            ("Origin: node:1", 403),
            ("Origin: ", 403),
            ("Origin: chrome-extension://node:1", 403),
            ("Sec-Fetch-Site: same-origin", 0),
            (
                "Sec-Fetch-Site: same-origin\nOrigin: https://elsewhere.example",
                0,
            ),
            ("Sec-Fetch-Site: none", 0),
            ("Sec-Fetch-Site: same-site", 403),
            ("Sec-Fetch-Site: cross-site", 403),
            ("Sec-Fetch-Site: cross-site\nOrigin: http://node:1", 403),
            ("Sec-Fetch-Site: whatever", 403),
        ] {
            let head = format!("POST /kv/k HTTP/1.1\nHost: node:1\n{fields}");
            let head = head.trim_end_matches('\n');
            assert_eq!(status(|head| hosts.check_site(head), head), expected, "{fields}");
        }
    }
}
