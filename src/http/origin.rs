//! What stands between a node and the web pages of others that run in a browser which can reach it.
//!
//! A browser sends what a page asks it to, from wherever the browser stands: behind the firewall, on the
//! node's own machine. Two things must not come of that.
//!
//! - **A page of another site writes.** Its answers are kept from it by the browser, but a request of a
//!   simple form (a `POST` without a body, say) is sent before anybody is asked. So a write is refused where
//!   the browser says that another site asks for it: `Sec-Fetch-Site`, or where there is none, an `Origin`
//!   that is not the host the request went to. Programs send neither, and are not asked.
//! - **A page makes itself one of this site** by letting its own name resolve to the node's address (DNS
//!   rebinding): then nothing is cross-site any more, and all can be read. What is left is the name, in
//!   `Host`. Where a node listens on loopback and asks for no token, its place is all that protects it, so
//!   there only names are answered that no stranger can give: addresses, names without a dot, which public
//!   DNS does not have, `localhost`, and what `--host-name` adds.

use super::problem::{self, Problem};
use super::request::Head;
use std::net::IpAddr;
use tiny_http::Method;

/// The names that a node goes by.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    names: Vec<String>,
    /// Whether a request for another name is refused.
    is_checked: bool,
}

impl Hosts {
    /// Answers for `names` and, where `is_checked`, beside those only for what no stranger can give.
    pub fn new(names: Vec<String>, is_checked: bool) -> Hosts {
        Hosts { names, is_checked }
    }

    /// Refuses what a page of another site may be behind.
    pub(super) fn check(&self, head: &Head<'_>) -> Result<(), Problem> {
        if self.is_checked
            && let Some(host) = head.host
            && !self.is_own(name_of(host))
        {
            let detail = "the Host is no name of this node; `pykv serve --host-name` adds one";
            return Err(Problem::new(problem::MISDIRECTED, detail).field("Host"));
        }
        if matches!(head.method, Method::Get | Method::Head) || self.is_same_site(head) {
            return Ok(());
        }
        let detail = "a page of another site asks for this";
        Err(Problem::new(problem::CROSS_SITE, detail).field("Origin"))
    }

    fn is_own(&self, name: &[u8]) -> bool {
        // What nearly all ask for, before anything is parsed: this is on the way of every request.
        if matches!(name, b"127.0.0.1" | b"localhost") {
            return true;
        }
        let Ok(name) = std::str::from_utf8(name) else {
            return false;
        };
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        !name.contains('.') && address.is_none() && !name.is_empty()
            || address.unwrap_or(name).parse::<IpAddr>().is_ok()
            || name
                .rsplit_once('.')
                .is_some_and(|(_, top)| top.eq_ignore_ascii_case("localhost"))
            || self.names(name)
    }

    fn names(&self, name: &str) -> bool {
        self.names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// Whether the browser says that a page of this very site asks, or does not speak of pages at all.
    fn is_same_site(&self, head: &Head<'_>) -> bool {
        if let Some(site) = head.sec_fetch_site {
            return matches!(site, b"same-origin" | b"none");
        }
        let Some(origin) = head.origin else {
            return true;
        };
        // Behind a proxy that speaks TLS the scheme is another one here than in the browser.
        let Some(host) = [&b"http://"[..], b"https://"]
            .iter()
            .find_map(|scheme| origin.strip_prefix(*scheme))
        else {
            return false;
        };
        head.host.is_some_and(|own| own.eq_ignore_ascii_case(host))
            || std::str::from_utf8(name_of(host)).is_ok_and(|name| self.names(name))
    }
}

/// A host without its port.
fn name_of(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|&byte| byte == b':') {
        // In brackets colons are those of an address.
        Some(colon) if !host[colon..].contains(&b']') => &host[..colon],
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::Limits;
    use super::*;

    /// The status that a request is refused with; 0 where it is not.
    fn status(hosts: &Hosts, head: &str) -> u16 {
        let head = format!("{head}\r\n\r\n")
            .replace('\n', "\r\n")
            .replace("\r\r", "\r");
        let head = Head::parse(head.as_bytes(), &Limits::default()).unwrap().unwrap();
        hosts
            .check(&head)
            .map_or_else(|problem| problem.kind.status, |()| 0)
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
            ("[evil.example]:7958", 421),
            ("[evil]", 421),
            ("", 421),
            (":7958", 421),
        ] {
            let head = format!("GET /kv/k HTTP/1.1\nHost: {host}");
            assert_eq!(status(&hosts, &head), expected, "{host}");
        }
        // HTTP/1.0 has no Host, and no browser speaks it.
        assert_eq!(status(&hosts, "GET /kv/k HTTP/1.0"), 0);
        assert_eq!(status(&Hosts::default(), "GET / HTTP/1.1\nHost: evil.example"), 0);
    }

    #[test]
    fn writes_of_other_sites_are_refused() {
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
            for method in ["POST", "PUT", "PATCH", "DELETE", "GET", "HEAD"] {
                let head = format!("{method} /kv/k HTTP/1.1\nHost: node:1\n{fields}");
                let expected = match method {
                    "GET" | "HEAD" => 0,
                    _ => expected,
                };
                let head = head.trim_end_matches('\n');
                assert_eq!(status(&hosts, head), expected, "{method} {fields}");
            }
        }
    }
}
