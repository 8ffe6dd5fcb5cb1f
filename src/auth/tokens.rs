//! Who may do what: bearer tokens and their scopes.
//!
//! A token is compared with every one that is known, in constant time, so that the time an answer takes
//! tells nothing of how much of a guess was right.

use super::grant::{Grant, Scope};
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// What stands before a prefix in a line of tokens.
const PREFIX: &str = "prefix=";

/// What stands before the name of a client's certificate, in the place of a token.
const CERTIFICATE: &[u8] = b"cert:";

/// The tokens that a node accepts.
#[derive(Clone)]
pub(crate) struct Tokens(Vec<Known>);

/// A token, and what it allows.
#[derive(Clone)]
struct Known {
    token: Box<[u8]>,
    grant: Grant,
}

impl Known {
    /// Whether it stands for a certificate, and is no token.
    fn is_certificate(&self) -> bool {
        self.token.starts_with(CERTIFICATE)
    }

    /// The contrary, for constant time.
    fn is_token(&self) -> Choice {
        Choice::from(u8::from(!self.is_certificate()))
    }
}

/// Why a text is no list of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokensError {
    /// There is no token in it.
    Empty,
    /// A line (counted from 1) is not a token, or a scope and a token, and prefixes.
    Line(usize),
    /// A token for admin has prefixes; holds the line (counted from 1).
    AdminOfPrefixes(usize),
    /// A token has a byte that no header can carry; holds the line (counted from 1).
    Byte(usize),
    /// A token stands in a line before this one (counted from 1) too: which of them counts is anybody's guess.
    Twice(usize),
}

impl Tokens {
    /// How many have fewer bytes than that.
    pub(crate) fn shorter_than(&self, bytes: usize) -> usize {
        let is_short = |known: &&Known| known.token.len() < bytes && !known.is_certificate();
        self.0.iter().filter(is_short).count()
    }

    /// Reads tokens, one a line: the token, or `read`, `write` or `admin` and the token, and then any number of
    /// `prefix=` and the beginning of the keys that it opens; without one it opens all. A token without a scope is one
    /// for `admin`, which has no prefixes. In the place of a token may stand `cert:` and a DNS name or a URI, for clients
    /// whose certificate has that name. None may stand there twice. Blank lines and those that start with `#` are
    /// read over.
    pub(crate) fn parse(text: &str) -> Result<Tokens, TokensError> {
        let mut tokens = Vec::new();
        let mut seen = HashSet::new();
        for (line, number) in text.lines().map(str::trim).zip(1..) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (token, grant) = parse_line(line, number)?;
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(TokensError::Byte(number));
            }
            if !seen.insert(token) {
                return Err(TokensError::Twice(number));
            }
            tokens.push(Known {
                token: token.as_bytes().into(),
                grant,
            });
        }
        if tokens.is_empty() {
            return Err(TokensError::Empty);
        }
        Ok(Tokens(tokens))
    }

    /// The first token that is good for everything, for a node to show to others of its cluster.
    pub(crate) fn first_for_admin(&self) -> Option<String> {
        let is_for_admin = |known: &&Known| known.grant.scope == Scope::Admin && !known.is_certificate();
        let known = self.0.iter().find(is_for_admin)?;
        String::from_utf8(known.token.to_vec()).ok()
    }

    /// What a token allows; none where it is not known. All are compared, whichever it is.
    fn grant(&self, given: &[u8]) -> Option<&Grant> {
        let mut found = 0u32;
        for (known, number) in self.0.iter().zip(1..) {
            found.conditional_assign(&number, known.token.ct_eq(given) & known.is_token());
        }
        let index = (found as usize).checked_sub(1)?;
        self.0.get(index).map(|known| &known.grant)
    }

    /// What the first of the lines allows that stands for one of these names of a certificate.
    fn grant_of_names(&self, names: &[String]) -> Option<&Grant> {
        let stands_for = |known: &&Known| {
            let name = known.token.strip_prefix(CERTIFICATE);
            name.is_some_and(|name| names.iter().any(|proved| proved.as_bytes() == name))
        };
        self.0.iter().find(stands_for).map(|known| &known.grant)
    }

    /// What a request may do that shows `authorization`, where that includes `scope`.
    pub(crate) fn check(&self, authorization: Option<&[u8]>, scope: Scope) -> Result<Grant, Denied> {
        let authorization = authorization.ok_or(Denied::Missing)?;
        let given = match authorization.split_at_checked("Bearer ".len()) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"Bearer ") => token.trim_ascii(),
            _ => return Err(Denied::Scheme),
        };
        allowed(self.grant(given), scope)
    }

    /// What a request may do that shows no token, and whose client has proved `names` by a certificate, where that
    /// includes `scope`.
    pub(crate) fn check_names(&self, names: &[String], scope: Scope) -> Result<Grant, Denied> {
        allowed(self.grant_of_names(names), scope)
    }
}

fn allowed(grant: Option<&Grant>, scope: Scope) -> Result<Grant, Denied> {
    match grant {
        None => Err(Denied::Unknown),
        Some(grant) if grant.scope < scope => Err(Denied::Scope {
            needed: scope,
            held: grant.scope,
        }),
        Some(grant) => Ok(grant.clone()),
    }
}

fn parse_line(line: &str, number: usize) -> Result<(&str, Grant), TokensError> {
    let wrong = TokensError::Line(number);
    let mut words = line.split_whitespace().peekable();
    let first = words.next().ok_or(wrong)?;
    let (scope, token) = match Scope::from_name(first) {
        Some(scope) => (scope, words.next().ok_or(wrong)?),
        None => (Scope::Admin, first),
    };
    // Where the token was forgotten, what was to restrict it would be a token, and open everything.
    if token.contains(PREFIX) || Scope::from_name(token).is_some() {
        return Err(wrong);
    }
    let prefixes: Option<Vec<Box<str>>> = words
        .map(|word| word.strip_prefix(PREFIX).filter(|prefix| !prefix.is_empty()))
        .map(|prefix| prefix.map(Box::from))
        .collect();
    let prefixes = prefixes.ok_or(wrong)?;
    if !prefixes.is_empty() && scope == Scope::Admin {
        return Err(TokensError::AdminOfPrefixes(number));
    }
    let prefixes = (!prefixes.is_empty()).then(|| Arc::from(prefixes));
    Ok((token, Grant { scope, prefixes }))
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
            Denied::Missing => f.write_str("send `Authorization: Bearer` and a token"),
            Denied::Scheme => f.write_str("the scheme is Bearer"),
            Denied::Unknown => f.write_str("the token is not known here"),
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

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.0.len())
    }
}

impl fmt::Display for TokensError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokensError::Empty => f.write_str("there is no token in it"),
            TokensError::Line(line) => write!(
                f,
                "line {line} is not a token, or `read`, `write` or `admin` and a token, and then prefixes such as \
                 `prefix=app1/`"
            ),
            TokensError::AdminOfPrefixes(line) => write!(
                f,
                "the token in line {line} is for admin, which is about the whole node: it can have no prefixes; \
                 make it one for `read` or `write`"
            ),
            TokensError::Twice(line) => write!(f, "the token in line {line} stands in a line before it too"),
            TokensError::Byte(line) => {
                write!(
                    f,
                    "the token in line {line} has a character that is not visible ASCII"
                )
            }
        }
    }
}

impl std::error::Error for TokensError {}

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
        assert_eq!(Tokens::parse("read").unwrap_err(), TokensError::Line(1));
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
                TokensError::Line(1),
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
}
