//! What a node refuses, as a client sees it.

use super::connection_handle::overloaded;
use crate::auth::Denied;
use crate::engine::EngineError;
use crate::http::problem::{
    self, DISK_FULL, EXISTS, NO_PRIMARY, NO_WRITES, NOT_A_NUMBER, OVERFLOW, PRECONDITION, Problem, SHAPE,
    UNKNOWN_OUTCOME, UNKNOWN_OUTCOME_DISK_FULL, no_key, value_too_large,
};
use crate::node::WriteError;
use crate::session::Refused;
use crate::wal::{Health, Refusal};

impl Problem {
    /// What a write was refused for. `conditional`: the request asked for a key that is there.
    pub(crate) fn of_write(error: WriteError, conditional: bool) -> Problem {
        match error {
            WriteError::Exists { version } => Problem::exists(EXISTS, version, "; PUT gives it a new value"),
            WriteError::Missing if !conditional => no_key(),
            WriteError::Missing | WriteError::Precondition { version: None } => {
                Problem::new(PRECONDITION, "the key does not exist")
            }
            WriteError::Precondition {
                version: Some(version),
            } if conditional => Problem::precondition_failed(version),
            // It was asked for a key that is not there.
            WriteError::Precondition {
                version: Some(version),
            } => Problem::exists(PRECONDITION, version, ""),
            WriteError::NotANumber => Problem::new(NOT_A_NUMBER, error.to_string()),
            WriteError::Overflow => Problem::new(OVERFLOW, error.to_string()),
            WriteError::Past => Problem::new(SHAPE, error.to_string()).field("expires_at_ms"),
            WriteError::TooLarge { bytes_max } => value_too_large(bytes_max),
            WriteError::NoRoom => overloaded(),
            WriteError::Contended => Problem::new(problem::OVERLOADED, error.to_string()).retry_after(1),
            WriteError::Refused(refusal) => Problem::of_refusal(&refusal),
        }
    }

    /// Why the log does not take a write, or did not acknowledge it.
    pub(crate) fn of_refusal(refusal: &Refusal) -> Problem {
        let (kind, unknown) = match refusal {
            // Before the log was asked the node was a primary that held nobody.
            Refusal::Replica => return Problem::held(),
            Refusal::LeaseOver => (NO_PRIMARY, false),
            Refusal::LeaseOverSince => (UNKNOWN_OUTCOME, true),
            Refusal::Unhealthy(Health::DiskFull { .. } | Health::Short { .. }) => (DISK_FULL, false),
            Refusal::Unknown(Health::DiskFull { .. }) => (UNKNOWN_OUTCOME_DISK_FULL, true),
            Refusal::Unknown(_) | Refusal::TimedOut { .. } => (UNKNOWN_OUTCOME, true),
            Refusal::Unhealthy(_) | Refusal::Busy { .. } | Refusal::Full | Refusal::TermsUsedUp => {
                (NO_WRITES, false)
            }
        };
        let problem = Problem::new(kind, refusal.to_string()).retry_after(1);
        if unknown {
            problem.outcome("unknown")
        } else {
            problem
        }
    }

    /// Why a backup cannot be made: it waits for the log, and changes nothing.
    pub(crate) fn of_backup(refusal: &Refusal) -> Problem {
        let (kind, why) = match refusal {
            Refusal::Unhealthy(health) | Refusal::Unknown(health) => {
                let is_full = matches!(health, Health::DiskFull { .. } | Health::Short { .. });
                (if is_full { DISK_FULL } else { NO_WRITES }, health.to_string())
            }
            Refusal::TimedOut { waited } => {
                let why = format!("the log is behind the store, for {} s", waited.as_secs());
                (NO_WRITES, why)
            }
            refusal => (NO_WRITES, refusal.to_string()),
        };
        let why = format!("{why}; a backup needs all that the store holds in the log");
        Problem::new(kind, why).retry_after(1)
    }

    /// Why nothing was done.
    pub(crate) fn of_refused(refused: Refused) -> Problem {
        match refused {
            Refused::Denied(denied) => Problem::of_denied(denied),
            Refused::Engine(error) => Problem::of_engine(error),
        }
    }

    /// What the engine did not do.
    pub(crate) fn of_engine(error: EngineError) -> Problem {
        let detail = error.to_string();
        match error {
            EngineError::Unavailable(_) => Problem::new(problem::ENGINE_UNAVAILABLE, detail).retry_after(1),
            EngineError::Unknown(_) => Problem::new(UNKNOWN_OUTCOME, detail)
                .retry_after(1)
                .outcome("unknown"),
            EngineError::Full => Problem::new(problem::ENGINE_FULL, detail).retry_after(1),
            EngineError::Refused(_) => Problem::new(problem::ENGINE_REFUSED, detail).retry_after(1),
            EngineError::Foreign => Problem::new(problem::FOREIGN_VALUE, detail),
            EngineError::CrossSlot { .. } => Problem::new(problem::CROSS_SLOT, detail),
            EngineError::NotReplicated { reached, .. } => {
                Problem::new(problem::NOT_REPLICATED, detail).replicas(reached)
            }
            EngineError::NoRoom => overloaded(),
            EngineError::NoOrder => Problem::new(problem::NOT_OF_ENGINE, detail),
        }
    }

    /// Why a token does not do.
    pub(crate) fn of_denied(denied: Denied) -> Problem {
        let (kind, challenge) = match denied {
            Denied::Missing | Denied::Scheme => (problem::UNAUTHORIZED, "Bearer realm=\"pykv\""),
            Denied::Unknown | Denied::Certificate | Denied::Expired => (
                problem::UNAUTHORIZED,
                "Bearer realm=\"pykv\", error=\"invalid_token\"",
            ),
            Denied::Scope { .. } | Denied::Key(_) | Denied::Prefix(_) => (
                problem::FORBIDDEN,
                "Bearer realm=\"pykv\", error=\"insufficient_scope\"",
            ),
        };
        Problem::new(kind, denied.to_string()).header("WWW-Authenticate", challenge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(problem: Problem) -> crate::api::Problem {
        let mut body = Vec::new();
        problem.into_reply(&mut body);
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn a_full_disk_is_told_from_others_and_the_unknown_from_the_refused() {
        let full = Health::DiskFull { why: "full".into() };
        let failed = Health::WriteFailed { why: "failed".into() };
        for (refusal, status, outcome) in [
            (Refusal::Unhealthy(full.clone()), 507, None),
            (Refusal::Unhealthy(failed.clone()), 503, None),
            (Refusal::Unknown(full), 507, Some("unknown")),
            (Refusal::Unknown(failed), 503, Some("unknown")),
            (Refusal::Full, 503, None),
        ] {
            let problem = body(Problem::of_refusal(&refusal));
            assert_eq!(
                (problem.status, problem.outcome.as_deref()),
                (status, outcome),
                "{refusal}"
            );
        }
    }
}
