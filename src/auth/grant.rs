//! What a client may do.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

/// What a token allows. Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    Read = 1,
    Write = 2,
    Admin = 3,
}

impl Scope {
    pub(super) fn from_name(name: &str) -> Option<Scope> {
        match name {
            "read" => Some(Scope::Read),
            "write" => Some(Scope::Write),
            "admin" => Some(Scope::Admin),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Write => "write",
            Scope::Admin => "admin",
        }
    }
}

/// How long a line of the file of tokens counts. A stream, which outlives its request, looks at it again and again.
#[derive(Debug, Default)]
pub(super) struct Life {
    /// From when on it opens nothing; none for never.
    pub(super) expires: Option<SystemTime>,
    /// Whether the line is not in the file any more.
    pub(super) is_revoked: AtomicBool,
}

impl Life {
    pub(super) fn has_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// What a client may do: a scope, over all keys or over those with certain prefixes.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(super) scope: Scope,
    /// None: all keys.
    pub(super) prefixes: Option<Arc<[Box<str>]>>,
    /// What logs call its client.
    pub(super) name: Option<Arc<str>>,
    /// None: for ever.
    pub(super) life: Option<Arc<Life>>,
}

impl Grant {
    /// Everything: what a client may do where no token is asked for.
    pub(crate) const ALL: Grant = Grant {
        scope: Scope::Admin,
        prefixes: None,
        name: None,
        life: None,
    };

    /// Whether it allows the same as another.
    pub(super) fn is_as(&self, other: &Grant) -> bool {
        (self.scope, &self.prefixes) == (other.scope, &other.prefixes)
    }

    /// Whether it opens a key.
    pub(crate) fn opens(&self, key: &[u8]) -> bool {
        match &self.prefixes {
            None => true,
            Some(prefixes) => prefixes.iter().any(|prefix| key.starts_with(prefix.as_bytes())),
        }
    }

    /// Whether it opens all keys that start with `prefix`.
    pub(crate) fn opens_all(&self, prefix: &str) -> bool {
        self.opens(prefix.as_bytes())
    }

    pub(crate) fn scope(&self) -> Scope {
        self.scope
    }

    /// What logs call its client; none where its token has no name.
    pub(crate) fn name(&self) -> Option<&Arc<str>> {
        self.name.as_ref()
    }

    /// The prefixes whose keys it opens; none where it opens all keys.
    pub(crate) fn prefixes(&self) -> Option<&Arc<[Box<str>]>> {
        self.prefixes.as_ref()
    }
}
