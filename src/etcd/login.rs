//! The user by whose name etcd is asked, and the token that stands for it.
//!
//! A token ends some minutes after its last use, with a restart of a member, and with each change of users and roles.
//! So an answer that does not know the token is a reason to log in again, once a request.

use std::fmt;
use std::sync::{Mutex, MutexGuard};
use ureq::http::HeaderValue;

/// A user of etcd and its password.
#[derive(Clone)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// What is known of the token.
#[derive(Clone)]
pub(super) enum Token {
    /// Nobody has logged in.
    None,
    /// etcd asks for no user.
    NotNeeded,
    Known(HeaderValue),
}

/// The login, where there is one, and its token.
pub(super) struct Session {
    pub(super) login: Option<Login>,
    token: Mutex<Token>,
}

impl Session {
    pub(super) fn new(login: Option<Login>) -> Session {
        Session {
            login,
            token: Mutex::new(Token::None),
        }
    }

    pub(super) fn token(&self) -> Token {
        self.lock().clone()
    }

    pub(super) fn set(&self, token: Token) {
        *self.lock() = token;
    }

    fn lock(&self) -> MutexGuard<'_, Token> {
        self.token.lock().expect("nothing under this lock panics")
    }
}

/// A token as a header has it: bare, without a scheme.
pub(super) fn header_of(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(token).ok()?;
    value.set_sensitive(true); // Keeps it out of debug output.
    Some(value)
}

/// Whether etcd says that it does not know the token, or that there should be one.
pub(super) fn is_token_unknown(message: &str) -> bool {
    [
        "invalid auth token",
        "user name is empty",
        "revision of auth store is old",
    ]
    .iter()
    .any(|said| message.contains(said))
}

/// Whether etcd says that it asks for no user.
pub(super) fn is_no_login_needed(message: &str) -> bool {
    message.contains("authentication is not enabled")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let login = Login {
            user: "shop".to_owned(),
            password: "secret".to_owned(),
        };
        assert_eq!(format!("{login:?}"), "Login { user: \"shop\", .. }");
        assert!(header_of("a\nb").is_none());
        assert!(!format!("{:?}", header_of("secret")).contains("secret"));
    }
}
