//! The token that a client shows, and the flags that say which.

use std::fmt;
use ureq::http::HeaderValue;

/// A token as it is shown to a node.
#[derive(Clone)]
pub(crate) struct Token {
    bearer: HeaderValue,
    /// Where it was found, for errors.
    source: String,
}

impl Token {
    /// From the token's text, and where it was found; `None` where it has characters that no token has.
    pub(crate) fn new(text: &str, source: impl Into<String>) -> Option<Token> {
        let mut bearer = HeaderValue::try_from(format!("Bearer {text}")).ok()?;
        bearer.set_sensitive(true); // Keeps it out of debug output.
        (!text.is_empty() && !text.contains(char::is_whitespace)).then(|| Token {
            bearer,
            source: source.into(),
        })
    }

    /// The value of the field that shows it.
    pub(super) fn bearer(&self) -> &HeaderValue {
        &self.bearer
    }

    /// Where it was found.
    pub(super) fn source(&self) -> &str {
        &self.source
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// What a client is described with, for errors that say what to change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flags {
    /// The flag that names the node.
    pub(crate) server: &'static str,
    /// The flag and the variable that give the token.
    pub(crate) token: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_not_shown() {
        let token = Token::new("s3cret", "here").unwrap();
        assert!(!format!("{token:?}{:?}", token.bearer).contains("s3cret"));
        for text in ["", "two words", "line\n", "\u{7f}"] {
            assert!(Token::new(text, "here").is_none(), "{text:?}");
        }
    }
}
