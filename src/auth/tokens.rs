//! Who may do what: bearer tokens and their scopes.
//!
//! A token is compared with every one that is known, in constant time, so that the time an answer takes
//! tells nothing of how much of a guess was right.

use std::collections::HashSet;
use std::fmt;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// What a token allows. Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    Read = 1,
    Write = 2,
    Admin = 3,
}

impl Scope {
    fn from_name(name: &str) -> Option<Scope> {
        match name {
            "read" => Some(Scope::Read),
            "write" => Some(Scope::Write),
            "admin" => Some(Scope::Admin),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Write => "write",
            Scope::Admin => "admin",
        }
    }
}

/// The tokens that a node accepts.
#[derive(Clone)]
pub struct Tokens(Vec<(Scope, Box<[u8]>)>);

/// Why a text is no list of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokensError {
    /// There is no token in it.
    Empty,
    /// A line (counted from 1) is not a token, or a scope and a token.
    Line(usize),
    /// A token has a byte that no header can carry; holds the line (counted from 1).
    Byte(usize),
    /// A token stands in a line before this one (counted from 1) too: which of them counts is anybody's guess.
    Twice(usize),
}

impl Tokens {
    /// How many have fewer bytes than that.
    pub fn shorter_than(&self, bytes: usize) -> usize {
        self.0.iter().filter(|(_, token)| token.len() < bytes).count()
    }

    /// Reads tokens, one a line: the token, or `read`, `write` or `admin` and the token. A token without a
    /// scope is one for `admin`. None may stand there twice. Blank lines and those that start with `#` are read over.
    pub fn parse(text: &str) -> Result<Tokens, TokensError> {
        let mut tokens = Vec::new();
        let mut known = HashSet::new();
        for (line, number) in text.lines().map(str::trim).zip(1..) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.split_whitespace();
            let (scope, token) = match (words.next(), words.next(), words.next()) {
                (Some(word), None, _) if Scope::from_name(word).is_none() => (Scope::Admin, word),
                (Some(scope), Some(token), None) => {
                    (Scope::from_name(scope).ok_or(TokensError::Line(number))?, token)
                }
                _ => return Err(TokensError::Line(number)),
            };
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(TokensError::Byte(number));
            }
            if !known.insert(token) {
                return Err(TokensError::Twice(number));
            }
            tokens.push((scope, token.as_bytes().into()));
        }
        if tokens.is_empty() {
            return Err(TokensError::Empty);
        }
        Ok(Tokens(tokens))
    }

    /// The first token that is good for everything, for a node to show to others of its cluster.
    pub fn first_for_admin(&self) -> Option<String> {
        let (_, token) = self.0.iter().find(|(scope, _)| *scope == Scope::Admin)?;
        String::from_utf8(token.to_vec()).ok()
    }

    /// The widest scope that a token has.
    fn scope(&self, given: &[u8]) -> Option<Scope> {
        let mut found = 0u8;
        for (scope, token) in &self.0 {
            let scope = *scope as u8;
            let wider = Choice::from(u8::from(scope > found));
            found.conditional_assign(&scope, token.ct_eq(given) & wider);
        }
        [Scope::Read, Scope::Write, Scope::Admin]
            .into_iter()
            .find(|&scope| scope as u8 == found)
    }

    /// Whether a request that shows `authorization` may do what needs `scope`.
    pub(crate) fn check(&self, authorization: Option<&[u8]>, scope: Scope) -> Result<(), Denied> {
        let authorization = authorization.ok_or(Denied::Missing)?;
        let given = match authorization.split_at_checked("Bearer ".len()) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"Bearer ") => token.trim_ascii(),
            _ => return Err(Denied::Scheme),
        };
        match self.scope(given) {
            None => Err(Denied::Unknown),
            Some(held) if held < scope => Err(Denied::Scope { needed: scope, held }),
            Some(_) => Ok(()),
        }
    }
}

/// Why a request may not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It shows no token.
    Missing,
    /// It shows something else than a bearer token.
    Scheme,
    /// Nobody knows the token.
    Unknown,
    /// The token allows less than it takes.
    Scope { needed: Scope, held: Scope },
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
        }
    }
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
                "line {line} is neither a token nor one of `read`, `write`, `admin` and a token"
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
                Ok(()) => 200,
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
        assert_eq!(format!("{:?}", Tokens::parse("secret").unwrap()), "Tokens(1)");
    }
}
