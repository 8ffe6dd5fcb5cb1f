//! A line of a file of tokens: one token, and what it allows.

use super::grant::{Grant, Life, Scope};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What stands before a prefix.
const PREFIX: &str = "prefix=";
/// What stands before the name that logs give the token.
const NAME: &str = "name=";
/// What stands before the moment from which on the token opens nothing.
const EXPIRES: &str = "expires=";
/// What stands before the digest of a token, in place of the token.
const SHA256: &str = "sha256:";

/// What stands before the name of a client's certificate, in place of a token.
const CERTIFICATE: &str = "cert:";

/// Longest name of a token, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The SHA-256 of a token.
pub(super) type TokenDigest = [u8; 32];

/// The digest of a token.
pub(super) fn digest(token: &[u8]) -> TokenDigest {
    Sha256::digest(token).into()
}

/// How a node knows a token again.
#[derive(Clone)]
pub(super) enum Secret {
    Token(Box<[u8]>),
    Digest(TokenDigest),
    /// The DNS name or the URI of a client's certificate: no token.
    Certificate(Box<str>),
}

impl Secret {
    /// The digest of the token, or of what stands in its place, which distinguishes it from every other.
    pub(super) fn digest(&self) -> TokenDigest {
        match self {
            Secret::Token(token) => digest(token),
            Secret::Digest(digest) => *digest,
            Secret::Certificate(name) => digest(format!("{CERTIFICATE}{name}").as_bytes()),
        }
    }
}

/// A token, and what it allows.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) secret: Secret,
    pub(super) grant: Grant,
    pub(super) life: Arc<Life>,
}

impl Known {
    pub(super) fn has_expired(&self, now: SystemTime) -> bool {
        self.life.has_expired(now)
    }
}

/// Why a text is no list of tokens. Lines are counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokensError {
    /// There is no token in it.
    Empty,
    /// A line is not a token, or a scope and a token, and what restricts it.
    Line(usize),
    /// A line has a scope, or what restricts a token, and no token.
    NoToken(usize),
    /// A token for admin has prefixes.
    AdminOfPrefixes(usize),
    /// A token has a byte that no header can carry.
    Byte(usize),
    /// A token stands in a line before this one too: which of them counts is anybody's guess.
    Twice(usize),
    /// What stands behind `sha256:` is no digest.
    Digest(usize),
    /// What stands behind `expires=` is no moment.
    Expires(usize),
    /// What stands behind `name=` is no name.
    Name(usize),
}

/// Reads a line, which has something in it.
pub(super) fn parse(line: &str, number: usize) -> Result<Known, TokensError> {
    let wrong = TokensError::Line(number);
    let no_token = TokensError::NoToken(number);
    let mut words = line.split_whitespace();
    let first = words.next().ok_or(wrong)?;
    let (scope, token) = match Scope::from_name(first) {
        Some(scope) => (scope, words.next().ok_or(no_token)?),
        None => (Scope::Admin, first),
    };
    // Where the token was forgotten, what was to restrict it would be a token, and open everything.
    let is_attribute = token.contains(PREFIX) || token.starts_with(NAME) || token.starts_with(EXPIRES);
    if is_attribute || Scope::from_name(token).is_some() {
        return Err(no_token);
    }
    let secret = secret(token, number)?;
    let mut prefixes: Vec<Box<str>> = Vec::new();
    let (mut name, mut expires) = (None, None);
    for word in words {
        if let Some(prefix) = word.strip_prefix(PREFIX).filter(|prefix| !prefix.is_empty()) {
            prefixes.push(prefix.into());
        } else if let Some(text) = word.strip_prefix(NAME).filter(|_| name.is_none()) {
            name = Some(Arc::from(
                Some(text)
                    .filter(|text| is_name(text))
                    .ok_or(TokensError::Name(number))?,
            ));
        } else if let Some(text) = word.strip_prefix(EXPIRES).filter(|_| expires.is_none()) {
            expires = Some(moment(text).ok_or(TokensError::Expires(number))?);
        } else {
            return Err(wrong);
        }
    }
    if !prefixes.is_empty() && scope == Scope::Admin {
        return Err(TokensError::AdminOfPrefixes(number));
    }
    let life = Arc::new(Life {
        expires,
        is_revoked: AtomicBool::new(false),
    });
    let grant = Grant {
        scope,
        prefixes: (!prefixes.is_empty()).then(|| Arc::from(prefixes)),
        name,
        life: Some(Arc::clone(&life)),
    };
    Ok(Known { secret, grant, life })
}

fn secret(token: &str, number: usize) -> Result<Secret, TokensError> {
    if let Some(hex) = token.strip_prefix(SHA256) {
        let digest = digest_of_hex(hex).ok_or(TokensError::Digest(number))?;
        return Ok(Secret::Digest(digest));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokensError::Byte(number));
    }
    if let Some(name) = token.strip_prefix(CERTIFICATE) {
        return Ok(Secret::Certificate(name.into()));
    }
    Ok(Secret::Token(token.as_bytes().into()))
}

fn digest_of_hex(hex: &str) -> Option<TokenDigest> {
    let mut digest = TokenDigest::default();
    let nibble = |byte: &u8| char::from(*byte).to_digit(16);
    let (pairs, []) = hex.as_bytes().as_chunks::<2>() else {
        return None;
    };
    if pairs.len() != digest.len() {
        return None;
    }
    for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
        *byte = (nibble(high)? << 4 | nibble(low)?) as u8;
    }
    Some(digest)
}

/// Whether a text may be the name of a token. It stands in logs as a word of its own.
pub(crate) fn is_name(text: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@:/+".contains(&byte);
    text != "-" && (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_of_name)
}

/// A moment by RFC 3339.
pub(crate) fn moment(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from)
}

/// A line for a file of tokens; with the digest of the token in its place, where `is_digest`.
pub(crate) fn line(
    scope: Scope,
    token: &str,
    is_digest: bool,
    prefixes: &[String],
    name: Option<&str>,
    expires: Option<SystemTime>,
) -> String {
    let mut line = format!("{} ", scope.name());
    match is_digest {
        true => {
            line.push_str(SHA256);
            let hex = digest(token.as_bytes()).map(|byte| format!("{byte:02x}"));
            line.extend(hex);
        }
        false => line.push_str(token),
    }
    line.extend(name.map(|name| format!(" {NAME}{name}")));
    line.extend(prefixes.iter().map(|prefix| format!(" {PREFIX}{prefix}")));
    // Whole seconds: what is finer nobody reads.
    let expires = expires.and_then(|at| OffsetDateTime::from(at).replace_nanosecond(0).ok());
    let expires = expires.and_then(|at| at.format(&Rfc3339).ok());
    line.extend(expires.map(|at| format!(" {EXPIRES}{at}")));
    line
}

impl fmt::Display for TokensError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokensError::Empty => f.write_str("there is no token in it"),
            TokensError::Line(line) => write!(
                f,
                "line {line} is not understood: a token is one word; before it stands read, write, admin or nothing, and \
                 behind it prefix=, name= and expires= alone, as in `write TOKEN prefix=app1/ name=billing \
                 expires=2030-01-01T00:00:00Z`"
            ),
            // The words are not repeated: they may be the token.
            TokensError::NoToken(line) => write!(
                f,
                "line {line} has no token where one must stand: first, or behind read, write or admin"
            ),
            TokensError::AdminOfPrefixes(line) => write!(
                f,
                "the token in line {line} is for admin, which is about the node itself: it can have no prefixes; \
                 make it one for `read` or `write`"
            ),
            TokensError::Twice(line) => write!(
                f,
                "the token in line {line} stands in a line before it too; of the two lines of `pykv token`, only the \
                 first is for this file"
            ),
            TokensError::Byte(line) => {
                write!(
                    f,
                    "the token in line {line} has a character that is not visible ASCII"
                )
            }
            TokensError::Digest(line) => write!(
                f,
                "the digest in line {line} is not `sha256:` and 64 hexadecimal digits; `pykv token` prints such a line"
            ),
            TokensError::Expires(line) => write!(
                f,
                "line {line} does not say when the token expires as in `expires=2030-01-01T00:00:00Z`"
            ),
            TokensError::Name(line) => write!(
                f,
                "the name in line {line} is not 1 to {NAME_BYTES_MAX} letters, digits and -_.@:/+"
            ),
        }
    }
}

impl std::error::Error for TokensError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn a_line_that_is_written_is_read_again() {
        let expires = UNIX_EPOCH + Duration::from_millis(1_893_456_000_500);
        let prefixes = ["app1/".to_owned(), "shared/".to_owned()];
        for is_digest in [false, true] {
            let line = line(
                Scope::Write,
                "t0ken",
                is_digest,
                &prefixes,
                Some("billing"),
                Some(expires),
            );
            assert_eq!(line.contains("t0ken"), !is_digest, "{line}");
            assert!(line.ends_with("name=billing prefix=app1/ prefix=shared/ expires=2030-01-01T00:00:00Z"));
            let known = parse(&line, 1).unwrap();
            assert_eq!(known.secret.digest(), digest(b"t0ken"));
            assert_eq!(known.grant.scope, Scope::Write);
            assert_eq!(known.grant.name.as_deref(), Some("billing"));
            assert_eq!(
                known.life.expires,
                Some(UNIX_EPOCH + Duration::from_secs(1_893_456_000))
            );
        }
    }

    #[test]
    fn a_digest_is_that_of_the_standard() {
        // FIPS 180-2, appendix B.1.
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let known = parse(&format!("read sha256:{hex}"), 1).unwrap();
        assert_eq!(known.secret.digest(), digest(b"abc"));
        let upper = parse(&format!("sha256:{}", hex.to_uppercase()), 1).unwrap();
        assert_eq!(upper.secret.digest(), digest(b"abc"));
        assert_eq!(upper.grant.scope, Scope::Admin);
    }

    #[test]
    fn what_restricts_a_token_is_read_strictly() {
        let hex = "0".repeat(64);
        for (line, error) in [
            ("read t name=", TokensError::Name(7)),
            ("read t name=a name=b", TokensError::Line(7)),
            ("read t name=a\"b", TokensError::Name(7)),
            ("read t name=-", TokensError::Name(7)),
            ("read t expires=", TokensError::Expires(7)),
            ("read t expires=2030-01-01", TokensError::Expires(7)),
            ("read t expires=tomorrow", TokensError::Expires(7)),
            ("read t expires=2030-01-01T00:00:00", TokensError::Expires(7)),
            ("read t expire=2030-01-01T00:00:00Z", TokensError::Line(7)),
            ("read name=billing", TokensError::NoToken(7)),
            ("expires=2030-01-01T00:00:00Z", TokensError::NoToken(7)),
            ("read sha256:", TokensError::Digest(7)),
            (&format!("read sha256:{hex}0"), TokensError::Digest(7)),
            (&format!("read sha256:{}g", &hex[1..]), TokensError::Digest(7)),
            (&format!("read sha256:{}+", &hex[1..]), TokensError::Digest(7)),
        ] {
            assert_eq!(parse(line, 7).err(), Some(error), "{line}");
        }
        let at = |text: &str| parse(&format!("read t expires={text}"), 1).unwrap().life.expires;
        assert_eq!(at("2030-01-01T02:00:00+02:00"), at("2030-01-01T00:00:00Z"));
    }
}
