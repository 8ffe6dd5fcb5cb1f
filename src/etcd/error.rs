//! Why etcd did not do what was asked, as its callers tell it apart.

use super::kv::LeaseId;
use std::fmt;
use std::time::Duration;

/// Why a request came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No endpoint answered in time, or none could.
    Unreachable {
        /// Each endpoint that was tried, and why it did not answer.
        tries: Vec<Try>,
        /// Whether the request was sent and may have been done: its outcome is unknown.
        may_be_done: bool,
    },
    /// etcd says no, and would say so again.
    Refused {
        /// Who said it.
        endpoint: String,
        /// What it said.
        message: String,
    },
    /// The lease that a request names has expired or was revoked. Nothing was done.
    LeaseGone {
        /// The lease, where the request names one alone.
        lease: Option<LeaseId>,
    },
    /// etcd does not know the user, or does not let it.
    Unauthorised {
        /// Who said it.
        endpoint: String,
        /// What it said.
        message: String,
    },
    /// The other side proves to be nobody that is trusted.
    Untrusted {
        /// Who was asked.
        endpoint: String,
        /// What TLS says.
        why: String,
    },
    /// There is nobody to trust: a file cannot be read, or holds no certificates.
    NoTrust(String),
    /// Another cluster of etcd answers than before.
    OtherCluster {
        /// Who answered.
        endpoint: String,
        /// The id of the cluster that answered first.
        first: u64,
        /// The id of the one that answers now.
        now: u64,
    },
    /// Every answer is from before answers that were seen. A member that lags answers so for a moment; a cluster that
    /// was restored from a backup, or has lost its data, does for good.
    WentBack {
        /// Who answered.
        endpoint: String,
        /// The term of etcd's raft and the revision that were seen.
        seen: (u64, u64),
        /// Those of the answer.
        now: (u64, u64),
        /// Whether the request may have been done.
        may_be_done: bool,
    },
    /// etcd is older than the oldest whose gateway is understood.
    TooOld {
        /// Who said it.
        endpoint: String,
        /// Its version.
        version: String,
    },
    /// etcd answers, and its JSON gateway is off.
    NoGateway {
        /// Who said it.
        endpoint: String,
    },
    /// The answer is not one that etcd gives.
    BadAnswer {
        /// Who answered.
        endpoint: String,
        /// What is wrong with it.
        why: String,
        /// Whether the request may have been done.
        may_be_done: bool,
    },
}

/// A try at an endpoint that came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Try {
    /// Who was asked.
    pub endpoint: String,
    /// Why there is no answer.
    pub why: String,
}

impl Error {
    /// Whether the request may have been done though there is no answer that says so. `false` says that it was not.
    pub fn may_be_done(&self) -> bool {
        match self {
            Error::Unreachable { may_be_done, .. }
            | Error::WentBack { may_be_done, .. }
            | Error::BadAnswer { may_be_done, .. } => *may_be_done,
            // The cluster that answers is none whose state counts.
            _ => false,
        }
    }

    /// No time was left to ask anybody.
    pub(super) fn no_time(endpoint: &str) -> Error {
        Error::Unreachable {
            tries: vec![Try {
                endpoint: endpoint.to_owned(),
                why: "no time was left to ask".to_owned(),
            }],
            may_be_done: false,
        }
    }
}

/// How a wait that was too long is said.
pub(super) fn no_answer_within(waited: Duration) -> String {
    format!("no answer within {} ms", waited.as_millis())
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unreachable { tries, .. } => {
                f.write_str("etcd cannot be reached:")?;
                for (at, Try { endpoint, why }) in tries.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ";" };
                    write!(f, "{comma} {endpoint}: {why}")?;
                }
                Ok(())
            }
            Error::Refused { endpoint, message } => write!(f, "etcd at {endpoint} refuses: {message}"),
            Error::LeaseGone { lease: Some(lease) } => {
                write!(f, "the lease {lease} of etcd has expired or was revoked")
            }
            Error::LeaseGone { lease: None } => f.write_str("a lease of etcd has expired or was revoked"),
            Error::Unauthorised { endpoint, message } => write!(
                f,
                "etcd at {endpoint} does not let this user: {message}; see --etcd-user and --etcd-password-file"
            ),
            Error::Untrusted { endpoint, why } => write!(f, "etcd at {endpoint} is not trusted: {why}"),
            Error::NoTrust(why) => f.write_str(why),
            Error::OtherCluster { endpoint, first, now } => write!(
                f,
                "etcd at {endpoint} is of another cluster ({now:x}) than the one that answered first ({first:x}): it \
                 lost its data, or the endpoints name two clusters"
            ),
            Error::WentBack {
                endpoint, seen, now, ..
            } => write!(
                f,
                "etcd at {endpoint} answers from before: term {} and revision {}, after term {} and revision {} were \
                 seen; it lags, was restored from a backup, or lost its data",
                now.0, now.1, seen.0, seen.1
            ),
            Error::TooOld { endpoint, version } => write!(
                f,
                "etcd at {endpoint} is version {version}; pykv needs 3.4 or later"
            ),
            Error::NoGateway { endpoint } => write!(
                f,
                "etcd at {endpoint} has no JSON gateway at /v3: it runs with --enable-grpc-gateway=false, or is older \
                 than 3.4"
            ),
            Error::BadAnswer { endpoint, why, .. } => {
                write!(f, "what answers at {endpoint} is no etcd, or a broken one: {why}")
            }
        }?;
        match self.may_be_done() {
            true => f.write_str("; the request may have been done"),
            false => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_outcome_is_said() {
        let unreachable = |may_be_done| Error::Unreachable {
            tries: vec![
                Try {
                    endpoint: "http://e1:1".to_owned(),
                    why: "Connection refused".to_owned(),
                },
                Try {
                    endpoint: "http://e2:1".to_owned(),
                    why: no_answer_within(Duration::from_millis(500)),
                },
            ],
            may_be_done,
        };
        assert_eq!(
            unreachable(false).to_string(),
            "etcd cannot be reached: http://e1:1: Connection refused; http://e2:1: no answer within 500 ms"
        );
        assert!(
            unreachable(true)
                .to_string()
                .ends_with("; the request may have been done")
        );
    }
}
