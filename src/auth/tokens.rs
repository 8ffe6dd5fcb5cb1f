//! Who may do what: bearer tokens and their scopes.
//!
//! A token is compared with every one that is known, in constant time, so that the time an answer takes
//! reveals nothing about how much of a guess was right.

use super::grant::{Grant, Scope};
use super::line::{self, Known, Secret, TokensError};
use crate::wall;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// The tokens that a node accepts.
#[derive(Clone)]
pub(crate) struct Tokens {
    known: Vec<Known>,
    /// Whether the digest of a token that is shown is needed to know it.
    has_digests: bool,
}

impl Tokens {
    /// How many have fewer bytes than that, as far as the file holds them themselves.
    pub(crate) fn shorter_than(&self, bytes: usize) -> usize {
        let is_short = |known: &&Known| matches!(&known.secret, Secret::Token(token) if token.len() < bytes);
        self.known.iter().filter(is_short).count()
    }

    /// How many open nothing any more.
    pub(crate) fn expired(&self) -> usize {
        let now = wall::now();
        self.known.iter().filter(|known| known.has_expired(now)).count()
    }

    /// Reads tokens, one a line: the token, or `read`, `write` or `admin` and the token, and then, in any order:
    /// - any number of `prefix=` and the beginning of the keys that it opens; without one it opens all;
    /// - `name=` and what logs call its client;
    /// - `expires=` and the moment from which on it opens nothing.
    ///
    /// In place of the token may stand `sha256:` and its digest; or `cert:` and a DNS name or a URI, for clients whose
    /// certificate has that name. A token without a scope is one for `admin`, which has
    /// no prefixes. None may stand there twice. Blank lines and those that start with `#` are ignored.
    pub(crate) fn parse(text: &str) -> Result<Tokens, TokensError> {
        let mut tokens = Vec::new();
        let mut seen = HashSet::new();
        for (line, number) in text.lines().map(str::trim).zip(1..) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let known = line::parse(line, number)?;
            if !seen.insert(known.secret.digest()) {
                return Err(TokensError::Twice(number));
            }
            tokens.push(known);
        }
        if tokens.is_empty() {
            return Err(TokensError::Empty);
        }
        let has_digests = tokens
            .iter()
            .any(|known| matches!(known.secret, Secret::Digest(_)));
        Ok(Tokens {
            known: tokens,
            has_digests,
        })
    }

    /// Takes the place of another list. A grant of the old list stays valid if its line is in the new one; all other
    /// grants end.
    pub(super) fn take_over_from(&mut self, before: &Tokens) {
        let key = |known: &Known| (known.secret.digest(), known.life.expires);
        let own: HashMap<_, usize> = self.known.iter().map(key).zip(0..).collect();
        for old in &before.known {
            match own.get(&key(old)).map(|&at| &mut self.known[at]) {
                Some(new) if new.grant.is_as(&old.grant) => {
                    new.life = Arc::clone(&old.life);
                    new.grant.life = Some(Arc::clone(&old.life));
                }
                _ => old.life.is_revoked.store(true, Relaxed),
            }
        }
    }

    /// The first token that is good for everything, for a node to show to others of its cluster. One of which the
    /// file holds the digest cannot be shown.
    pub(crate) fn first_for_admin(&self) -> Option<String> {
        let now = wall::now();
        let of_admin = |known: &&Known| known.grant.scope == Scope::Admin && !known.has_expired(now);
        let tokens = self.known.iter().filter(of_admin);
        let mut tokens = tokens.filter_map(|known| match &known.secret {
            Secret::Token(token) => String::from_utf8(token.to_vec()).ok(),
            Secret::Digest(_) | Secret::Certificate(_) => None,
        });
        tokens.next()
    }

    /// A token that is known; all are compared, whichever it is.
    fn find(&self, given: &[u8]) -> Option<&Known> {
        let digest = match self.has_digests {
            true => line::digest(given),
            false => Default::default(),
        };
        let mut found = 0u32;
        for (known, number) in self.known.iter().zip(1..) {
            let is_it = match &known.secret {
                Secret::Token(token) => token.ct_eq(given),
                Secret::Digest(known) => known.ct_eq(&digest),
                // It stands for a certificate, and is no token.
                Secret::Certificate(_) => Choice::from(0),
            };
            found.conditional_assign(&number, is_it);
        }
        self.known.get((found as usize).checked_sub(1)?)
    }

    /// The name that logs give the client that shows `authorization`, whatever it may do.
    pub(crate) fn name(&self, authorization: Option<&[u8]>) -> Option<Arc<str>> {
        let known = self.find(bearer(authorization).ok()?)?;
        known.grant.name.clone()
    }

    /// What a request may do that shows `authorization`, where that includes `scope`.
    pub(crate) fn check(&self, authorization: Option<&[u8]>, scope: Scope) -> Result<Grant, Denied> {
        self.check_at(authorization, scope, wall::now)
    }

    /// As [`Tokens::check`], where it is `now`.
    fn check_at(
        &self,
        authorization: Option<&[u8]>,
        scope: Scope,
        now: impl FnOnce() -> SystemTime,
    ) -> Result<Grant, Denied> {
        let known = self.find(bearer(authorization)?).ok_or(Denied::Unknown)?;
        allowed(known, scope, now)
    }

    /// What a request may do that shows no token, and whose client has proved `names` by a certificate, where that
    /// includes `scope`: by the first of the lines that stands for one of these.
    pub(crate) fn check_names(&self, names: &[String], scope: Scope) -> Result<Grant, Denied> {
        let known = self.find_name(names).ok_or(Denied::Certificate)?;
        allowed(known, scope, wall::now)
    }

    fn find_name(&self, names: &[String]) -> Option<&Known> {
        self.known.iter().find(|known| match &known.secret {
            Secret::Certificate(name) => names.iter().any(|proved| **proved == **name),
            Secret::Token(_) | Secret::Digest(_) => false,
        })
    }
}

impl Grant {
    /// For how long it counts; none where it has no end. An error where its line has expired, or is not in the file of
    /// tokens any more.
    pub(crate) fn time_left(&self) -> Result<Option<Duration>, Denied> {
        let Some(life) = &self.life else {
            return Ok(None);
        };
        if life.is_revoked.load(Relaxed) {
            return Err(Denied::Unknown);
        }
        let left = |expires: SystemTime| expires.duration_since(wall::now()).map_err(|_| Denied::Expired);
        life.expires.map(left).transpose()
    }
}

fn allowed(known: &Known, scope: Scope, now: impl FnOnce() -> SystemTime) -> Result<Grant, Denied> {
    // The clock is not asked for the many that never expire.
    if known.life.expires.is_some() && known.has_expired(now()) {
        return Err(Denied::Expired);
    }
    let grant = &known.grant;
    if grant.scope < scope {
        return Err(Denied::Scope {
            needed: scope,
            held: grant.scope,
        });
    }
    Ok(grant.clone())
}

/// The token that a request shows.
fn bearer(authorization: Option<&[u8]>) -> Result<&[u8], Denied> {
    let authorization = authorization.ok_or(Denied::Missing)?;
    match authorization.split_at_checked("Bearer ".len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"Bearer ") => Ok(token.trim_ascii()),
        _ => Err(Denied::Scheme),
    }
}

/// Prefixes that a message names at most.
const PREFIXES_NAMED_MAX: usize = 8;

/// Why a request may not come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It shows no token.
    Missing,
    /// It shows something else than a bearer token.
    Scheme,
    /// Nobody knows the token.
    Unknown,
    /// No line stands for any name of the client's certificate, and it shows no token.
    Certificate,
    /// The token was known, and its time is over.
    Expired,
    /// The token allows less than it takes.
    Scope { needed: Scope, held: Scope },
    /// The token does not open the key; the prefixes whose keys it opens.
    Key(Arc<[Box<str>]>),
    /// The token does not open all keys of the prefix; those whose keys it opens.
    Prefix(Arc<[Box<str>]>),
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Denied::Missing => f.write_str("a token is needed: send `Authorization: Bearer TOKEN`"),
            Denied::Scheme => f.write_str("the scheme must be Bearer: send `Authorization: Bearer TOKEN`"),
            Denied::Unknown => f.write_str("the node does not know this token"),
            Denied::Certificate => f.write_str(
                "the token file names nobody of the client's certificate; add a line for it, or send `Authorization: Bearer TOKEN`",
            ),
            Denied::Expired => f.write_str("the token has expired"),
            Denied::Scope { needed, held } => write!(
                f,
                "this needs a token for {}; this one is for {}",
                needed.name(),
                held.name()
            ),
            Denied::Key(opened) => {
                write!(f, "this token opens only keys that begin with {}", any_of(opened))
            }
            Denied::Prefix(opened) => write!(
                f,
                "this token opens only keys that begin with {}: ask for a prefix that begins so",
                any_of(opened)
            ),
        }
    }
}

/// Prefixes as a message names them.
fn any_of(prefixes: &[Box<str>]) -> String {
    let named: Vec<String> = prefixes
        .iter()
        .take(PREFIXES_NAMED_MAX)
        .map(|prefix| format!("{prefix:?}"))
        .collect();
    let more = match prefixes.len().saturating_sub(named.len()) {
        0 => String::new(),
        more => format!(", or {more} more"),
    };
    named.join(" or ") + &more
}

/// How many there are.
impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known.len() {
            1 => f.write_str("1 token"),
            more => write!(f, "{more} tokens"),
        }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.known.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# tokens\n\n  read r1\nwrite\tw1\nadmin a1\n a2 \n";

    #[test]
    fn a_scope_includes_those_below_it() {
        let tokens = Tokens::parse(FILE).unwrap();
        let status = |token: &str, scope| {
            let authorization = format!("Bearer {token}");
            match tokens.check(Some(authorization.as_bytes()), scope) {
                Ok(_) => 200,
                Err(Denied::Scope { .. }) => 403,
                Err(_) => 401,
            }
        };
        for (token, allowed) in [
            ("r1", [200, 403, 403]),
            ("w1", [200, 200, 403]),
            ("a1", [200, 200, 200]),
            ("a2", [200, 200, 200]),
            ("r", [401, 401, 401]),
            ("r11", [401, 401, 401]),
            ("", [401, 401, 401]),
        ] {
            let statuses = [Scope::Read, Scope::Write, Scope::Admin].map(|scope| status(token, scope));
            assert_eq!(statuses, allowed, "{token}");
        }
    }

    #[test]
    fn only_bearer_opens() {
        let tokens = Tokens::parse("secret").unwrap();
        assert!(tokens.check(Some(b"bearer  secret"), Scope::Admin).is_ok());
        for wrong in [
            None,
            Some(&b"secret"[..]),
            Some(b"Basic secret"),
            Some(b"Bearer"),
            Some(b""),
        ] {
            let denied = tokens.check(wrong, Scope::Read).unwrap_err();
            assert!(!matches!(denied, Denied::Scope { .. }), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_and_never_printed() {
        assert_eq!(Tokens::parse("# none\n").unwrap_err(), TokensError::Empty);
        assert_eq!(Tokens::parse("a\nroot t").unwrap_err(), TokensError::Line(2));
        assert_eq!(Tokens::parse("read").unwrap_err(), TokensError::NoToken(1));
        assert_eq!(Tokens::parse("read a b").unwrap_err(), TokensError::Line(1));
        assert_eq!(
            Tokens::parse("read a\n\nwrite a").unwrap_err(),
            TokensError::Twice(3)
        );
        assert_eq!(Tokens::parse("é").unwrap_err(), TokensError::Byte(1));
        assert_eq!(Tokens::parse("read a prefix=").unwrap_err(), TokensError::Line(1));
        for forgotten in [
            "write prefix=app1/",
            "prefix=a",
            "read X9,prefix=a",
            "read read",
            "write admin prefix=a",
        ] {
            assert_eq!(
                Tokens::parse(forgotten).unwrap_err(),
                TokensError::NoToken(1),
                "{forgotten}"
            );
        }
        let admin = TokensError::AdminOfPrefixes(1);
        assert_eq!(Tokens::parse("admin a prefix=b").unwrap_err(), admin);
        assert_eq!(Tokens::parse("a prefix=b").unwrap_err(), admin);
        assert_eq!(format!("{:?}", Tokens::parse("secret").unwrap()), "Tokens(1)");
    }

    #[test]
    fn a_token_opens_the_keys_of_its_prefixes() {
        let tokens = Tokens::parse("write two prefix=app1/ prefix=app2/\nread all").unwrap();
        let grant = |token: &str| {
            let authorization = format!("Bearer {token}");
            tokens.check(Some(authorization.as_bytes()), Scope::Read).unwrap()
        };
        let two = grant("two");
        for (key, is_open) in [
            ("app1/a", true),
            ("app2/", true),
            ("app1", false),
            ("app3/app1/", false),
            ("", false),
        ] {
            assert_eq!(two.opens(key.as_bytes()), is_open, "{key}");
        }
        for (prefix, is_open) in [
            ("app1/", true),
            ("app1/users/", true),
            ("app", false),
            ("", false),
        ] {
            assert_eq!(two.opens_all(prefix), is_open, "{prefix}");
        }
        assert!(grant("all").opens_all("") && grant("all").opens(b"app3/a"));
    }

    #[test]
    fn a_digest_stands_for_its_token_and_is_none() {
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; // of "abc"
        let file = format!("write sha256:{hex} name=billing\nread plain\n");
        let tokens = Tokens::parse(&file).unwrap();
        let check = |token: &str| {
            let authorization = format!("Bearer {token}");
            tokens.check(Some(authorization.as_bytes()), Scope::Read)
        };
        assert_eq!(check("abc").unwrap().name().map(|name| &**name), Some("billing"));
        assert!(check("plain").unwrap().name().is_none());
        for wrong in [hex, &format!("sha256:{hex}"), "ab", ""] {
            assert_eq!(check(wrong).unwrap_err(), Denied::Unknown, "{wrong}");
        }
        assert_eq!(tokens.first_for_admin(), None);
        // The same token, once by its digest.
        let twice = Tokens::parse(&format!("read abc\nwrite sha256:{hex}"));
        assert_eq!(twice.unwrap_err(), TokensError::Twice(2));
    }

    #[test]
    fn a_token_opens_until_its_moment() {
        let tokens = Tokens::parse("read t expires=2030-01-01T00:00:00Z\nread other").unwrap();
        let moment = line::moment("2030-01-01T00:00:00Z").unwrap();
        let at = |now| {
            tokens
                .check_at(Some(b"Bearer t"), Scope::Read, || now)
                .map(|_| ())
        };
        assert_eq!(at(moment - std::time::Duration::from_nanos(1)), Ok(()));
        assert_eq!(at(moment), Err(Denied::Expired));
        // What it was for makes no difference then.
        let write = tokens.check_at(Some(b"Bearer t"), Scope::Write, || moment);
        assert_eq!(write.unwrap_err(), Denied::Expired);
        let old = Tokens::parse("admin a expires=2001-01-01T00:00:00Z\nadmin b").unwrap();
        assert_eq!(old.first_for_admin().as_deref(), Some("b"));
        assert_eq!(old.expired(), 1);
    }
}
