//! Pages of other origins that may use a node (`--allow-origin`): cross-origin resource sharing.
//!
//! A browser lets such a page read an answer where the answer says so, and asks before each request that is not of a
//! simple form (a preflight: OPTIONS). Who a page is stands in `Origin`, which no page can forge. A page still shows a
//! token, in `Authorization`: nothing is granted for where it comes from, and cookies mean nothing to a node.
//!
//! # What must hold
//! - Without `--allow-origin` no answer has any of these fields.
//! - Administration, backups and replication stay refused to pages of any other origin.

use super::request::Head;
use super::response::{Body, Reply, Sharing};
use crate::api;
use tiny_http::StatusCode;

/// How long a browser may go by a preflight, in seconds.
const PREFLIGHT_AGE: &str = "600";

/// Request fields that a page may send.
const REQUEST_FIELDS: &[&str] = &[
    "Accept",
    "Authorization",
    "Content-Type",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    api::HEADER_MIN_OFFSET,
    api::HEADER_SYNC_REPLICAS,
    api::HEADER_SYNC_REQUIRED,
    api::HEADER_SYNC_TIMEOUT,
];

/// Fields of answers that a page may read, beside those that every page may.
const RESPONSE_FIELDS: &[&str] = &[
    "Allow",
    "ETag",
    "Location",
    "Retry-After",
    "WWW-Authenticate",
    api::HEADER_DURABLE,
    api::HEADER_ENGINE,
    api::HEADER_EXPIRES_AT,
    api::HEADER_LOG,
    api::HEADER_OFFSET,
    api::HEADER_REPLICAS,
    api::HEADER_TTL,
    api::HEADER_VALUE_BYTES,
];

/// The origins whose pages may use the node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    allowed: Vec<(Box<str>, Sharing)>,
    /// Of an answer to anybody else.
    others: Sharing,
}

impl Origins {
    /// Those of the command line; made once, as what answers say of them is kept as long as the process.
    pub(crate) fn new(origins: &[String]) -> Origins {
        let exposed = RESPONSE_FIELDS.join(", ");
        let sharing = |origin: &String| {
            let fields = format!(
                "\r\nVary: Origin\r\nAccess-Control-Allow-Origin: {origin}\r\nAccess-Control-Expose-Headers: {exposed}"
            );
            (origin.as_str().into(), Sharing::new(fields.leak()))
        };
        let others = if origins.is_empty() {
            ""
        } else {
            "\r\nVary: Origin"
        };
        Origins {
            allowed: origins.iter().map(sharing).collect(),
            others: Sharing::new(others),
        }
    }

    /// Whether the page that asks is of one of them.
    pub(crate) fn allows(&self, head: &Head<'_>) -> bool {
        self.find(head).is_some()
    }

    /// What the answer to a request says.
    pub(crate) fn sharing(&self, head: &Head<'_>) -> Sharing {
        self.find(head).unwrap_or(self.others)
    }

    fn find(&self, head: &Head<'_>) -> Option<Sharing> {
        if self.allowed.is_empty() {
            return None;
        }
        let origin = head.origin?;
        let mut allowed = self.allowed.iter();
        allowed
            .find(|(own, _)| own.as_bytes().eq_ignore_ascii_case(origin))
            .map(|(_, sharing)| *sharing)
    }
}

/// The answer to a preflight of a path that takes `methods`.
pub(crate) fn preflight(methods: &[&str]) -> Reply {
    Reply::new(StatusCode(204), Body::None)
        .header("Access-Control-Allow-Methods", &methods.join(", "))
        .header("Access-Control-Allow-Headers", &REQUEST_FIELDS.join(", "))
        .header("Access-Control-Max-Age", PREFLIGHT_AGE)
}
