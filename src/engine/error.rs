//! Why the engine did not do what was asked.

use redis::{ErrorKind, RedisError, ServerErrorKind};
use std::fmt;
use std::time::Duration;

/// Why the engine did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EngineError {
    /// It could not be reached in time, or does not serve the slot. Nothing was changed.
    Unavailable(String),
    /// The change was sent, and no answer came: it may be there or not.
    Unknown(String),
    /// Its memory is full, and it drops nothing. Nothing was changed.
    Full,
    /// It refuses, and would again. Nothing was changed.
    Refused(String),
    /// The key holds what pykv did not write.
    Foreign,
    /// A batch has keys of several slots.
    CrossSlot {
        /// Two of them.
        keys: [String; 2],
    },
    /// Fewer replicas than asked for have a change that was made.
    NotReplicated {
        /// How many were to have it.
        wanted: usize,
        /// How many have it.
        reached: usize,
    },
    /// A batch has no room for what it reads.
    NoRoom,
    /// The engine does not order its changes, so nobody can watch them.
    NoOrder,
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EngineError::Unavailable(why) => write!(f, "the engine cannot do it now: {why}"),
            EngineError::Unknown(why) => write!(f, "the engine may have done it or not: {why}"),
            EngineError::Full => f.write_str("the engine has no memory left and evicts nothing"),
            EngineError::Refused(why) => write!(f, "the engine refuses it: {why}"),
            EngineError::Foreign => f.write_str(
                "the key holds something that pykv did not write; another program uses this engine",
            ),
            EngineError::CrossSlot { keys: [one, other] } => write!(
                f,
                "`{one}` and `{other}` are in different slots of the engine; keys with the same {{tag}} share one, such as \
                 {{user:7}}:name and {{user:7}}:mail"
            ),
            EngineError::NotReplicated { wanted, reached } => {
                write!(
                    f,
                    "{reached} of {wanted} replicas have it; the engine's master keeps it"
                )
            }
            EngineError::NoRoom => f.write_str("there is no room for the values that it reads"),
            EngineError::NoOrder => f.write_str("the engine does not order its changes"),
        }
    }
}

impl std::error::Error for EngineError {}

/// What to do about an error of one attempt.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Another node has the slot.
    Moved { address: String },
    /// Another node has the key, for this one request.
    Ask { address: String },
    /// The script is not known there.
    NoScript,
    /// Nothing was done; it may work in a moment.
    Later(String),
    /// The connection failed before an answer came.
    Broken(String),
    /// There is no use in trying again.
    Final(EngineError),
}

/// What an error of an attempt means.
pub(super) fn judge(error: &RedisError) -> Verdict {
    let redirect = || error.redirect_node().map(|(address, _)| address.to_owned());
    let words = || words(error);
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::Moved) => match redirect() {
            Some(address) => Verdict::Moved { address },
            None => Verdict::Later(words()),
        },
        ErrorKind::Server(ServerErrorKind::Ask) => match redirect() {
            Some(address) => Verdict::Ask { address },
            None => Verdict::Later(words()),
        },
        ErrorKind::Server(ServerErrorKind::NoScript) => Verdict::NoScript,
        ErrorKind::Server(
            ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::BusyLoading
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ReadOnly,
        ) => Verdict::Later(words()),
        ErrorKind::Io | ErrorKind::Parse => Verdict::Broken(words()),
        _ => match error.code() {
            Some("OOM") => Verdict::Final(EngineError::Full),
            Some("WRONGTYPE") => Verdict::Final(EngineError::Foreign),
            // A master that is not the right one any more, or one that has too few replicas just now.
            Some("NOREPLICAS" | "BUSY" | "NOGOODSLAVE") => Verdict::Later(words()),
            _ => Verdict::Final(EngineError::Refused(words())),
        },
    }
}

/// An error of the engine or of its connection, in one line.
pub(super) fn words(error: &RedisError) -> String {
    if error.is_timeout() {
        return "it did not answer in time".to_owned();
    }
    match error.kind() {
        // What the parser stumbled over says nothing to whoever named an HTTP server.
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => {
            return "what answers there does not speak as Redis does".to_owned();
        }
        ErrorKind::AuthenticationFailed => {
            return "it refuses this user and password: see --engine-auth-file".to_owned();
        }
        _ => {}
    }
    match (error.code(), error.detail()) {
        (Some("NOAUTH"), _) => "it wants a password: --engine-auth-file names a file with it".to_owned(),
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ if error.is_connection_refusal() => "the connection was refused".to_owned(),
        _ if error.is_connection_dropped() => "the connection was cut".to_owned(),
        _ => error.to_string(),
    }
}

/// What is said once the time is over.
pub(super) fn in_time(limit: Duration, last: &str) -> EngineError {
    EngineError::Unavailable(format!("not within {} s: {last}", limit.as_secs_f32()))
}

/// An answer that no engine of a version that is known gives.
pub(super) fn unexpected(answer: Option<&redis::Value>) -> EngineError {
    match answer {
        Some(redis::Value::ServerError(error)) => {
            EngineError::Refused(words(&RedisError::from(error.clone())))
        }
        _ => EngineError::Refused("it answered something else than was asked for".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Errors as the engine and its client give them.
    fn said(kind: ErrorKind) -> String {
        words(&RedisError::from((kind, "of the client")))
    }

    #[test]
    fn what_is_said_of_a_password_names_the_flag() {
        let no_auth = redis::parse_redis_value(b"-NOAUTH Authentication required.\r\n").unwrap();
        let redis::Value::ServerError(no_auth) = no_auth else {
            panic!("{no_auth:?}");
        };
        let wanted = words(&RedisError::from(no_auth));
        for words in [wanted, said(ErrorKind::AuthenticationFailed)] {
            assert!(words.contains("--engine-auth-file"), "{words}");
        }
    }

    #[test]
    fn what_a_parser_stumbled_over_is_not_repeated() {
        for kind in [ErrorKind::Parse, ErrorKind::UnexpectedReturnType] {
            assert_eq!(said(kind), "what answers there does not speak as Redis does");
        }
    }
}
