//! What follows from a failed try at one endpoint: whether another one is asked, and what the caller hears.

use super::error::{Error, Try};
use super::kv::{Header, LeaseId};
use super::post::Failed;
use super::seen::Stale;
use crate::address::Address;

/// What to do after a try that failed.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Another endpoint may do better. The error is for the case that none does.
    Elsewhere(Error),
    /// etcd has decided, and every endpoint would say the same.
    Final(Error),
}

/// The codes of gRPC that say that the member, or etcd at the moment, cannot do it: cancelled, unknown (of which
/// "not a primary lessor" is one), deadline exceeded, aborted, internal, unavailable.
const CODES_OF_TROUBLE: [u32; 6] = [1, 2, 4, 10, 13, 14];

/// Permission denied, and unauthenticated.
const CODES_OF_ACCESS: [u32; 2] = [7, 16];

/// What a member says before it has begun with a request.
const NOT_BEGUN: [&str; 3] = [
    "etcdserver: no leader",
    "raft proposal dropped",
    "etcdserver: too many requests",
];

const LEASE_NOT_FOUND: &str = "requested lease not found";

/// What etcd says of a user that it does not know, or of none.
const NO_SUCH_USER: [&str; 4] = [
    "authentication failed",
    "user name is empty",
    "invalid auth token",
    "revision of auth store is old",
];

impl Verdict {
    /// `lease`: the one that the request names.
    pub(super) fn of(at: &Address, is_write: bool, lease: Option<LeaseId>, failed: Failed) -> Verdict {
        let endpoint = at.to_string();
        match failed {
            Failed::NotSent(why) => unreachable(endpoint, why, false),
            Failed::Lost(why) => unreachable(endpoint, why, is_write),
            Failed::Untrusted(why) => Verdict::Elsewhere(Error::Untrusted { endpoint, why }),
            Failed::NoGateway => Verdict::Elsewhere(Error::NoGateway { endpoint }),
            Failed::Foreign(why) => Verdict::Elsewhere(Error::BadAnswer {
                endpoint,
                why,
                may_be_done: is_write,
            }),
            Failed::Etcd { code, message } => {
                let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
                if says(&[LEASE_NOT_FOUND]) {
                    Verdict::Final(Error::LeaseGone { lease })
                } else if says(&NO_SUCH_USER) || CODES_OF_ACCESS.contains(&code) {
                    Verdict::Final(Error::Unauthorised { endpoint, message })
                } else if says(&NOT_BEGUN) {
                    unreachable(endpoint, message, false)
                } else if CODES_OF_TROUBLE.contains(&code) {
                    unreachable(endpoint, message, is_write)
                } else {
                    Verdict::Final(Error::Refused { endpoint, message })
                }
            }
        }
    }

    pub(super) fn of_stale(at: &Address, is_write: bool, stale: Stale, header: &Header) -> Verdict {
        let endpoint = at.to_string();
        Verdict::Elsewhere(match stale {
            Stale::OtherCluster { first } => Error::OtherCluster {
                endpoint,
                first,
                now: header.cluster_id,
            },
            Stale::WentBack { raft_term, revision } => Error::WentBack {
                endpoint,
                seen: (raft_term, revision),
                now: (header.raft_term, header.revision),
                may_be_done: is_write,
            },
        })
    }

    pub(super) fn elsewhere(error: Error) -> Verdict {
        Verdict::Elsewhere(error)
    }

    pub(super) fn may_be_done(&self) -> bool {
        let (Verdict::Elsewhere(error) | Verdict::Final(error)) = self;
        error.may_be_done()
    }

    pub(super) fn into_error(self) -> Error {
        let (Verdict::Elsewhere(error) | Verdict::Final(error)) = self;
        error
    }
}

fn unreachable(endpoint: String, why: String, may_be_done: bool) -> Verdict {
    Verdict::Elsewhere(Error::Unreachable {
        tries: vec![Try { endpoint, why }],
        may_be_done,
    })
}

/// The error to return where all tries have failed: that of the request that may have been done, else the one that
/// tells the most, and all of those that found nobody as one.
pub(super) fn worst(failed: Vec<Verdict>) -> Error {
    let mut tries = Vec::new();
    let mut may_be_done = false;
    let mut told: Option<Error> = None;
    for error in failed.into_iter().map(Verdict::into_error) {
        match error {
            Error::Unreachable {
                tries: more,
                may_be_done: may,
            } => {
                tries.extend(more);
                may_be_done |= may;
            }
            error if told.as_ref().is_none_or(|told| weight(&error) > weight(told)) => told = Some(error),
            _ => {}
        }
    }
    match told {
        Some(told) if told.may_be_done() || !may_be_done => told,
        _ => Error::Unreachable { tries, may_be_done },
    }
}

/// How much an error tells.
fn weight(error: &Error) -> u32 {
    match error {
        error if error.may_be_done() => 6,
        Error::OtherCluster { .. } => 5,
        Error::WentBack { .. } => 4,
        Error::Untrusted { .. } | Error::NoTrust(_) => 3,
        Error::NoGateway { .. } | Error::TooOld { .. } => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(is_write: bool, failed: Failed) -> Verdict {
        Verdict::of(&"http://e1:1".parse().unwrap(), is_write, None, failed)
    }

    fn says(code: u32, message: &str) -> Failed {
        Failed::Etcd {
            code,
            message: message.to_owned(),
        }
    }

    #[test]
    fn trouble_of_a_member_is_a_reason_to_ask_another() {
        for (code, message) in [
            (14, "etcdserver: request timed out"),
            (2, "lease: not a primary lessor"),
            (4, "context deadline exceeded"),
            (14, "etcdserver: leader changed"),
        ] {
            let verdict = of(false, says(code, message));
            assert!(matches!(verdict, Verdict::Elsewhere(_)), "{message}");
            assert!(!verdict.may_be_done(), "{message}");
            assert!(of(true, says(code, message)).may_be_done(), "{message}");
        }
        for (code, message) in [
            (14, "etcdserver: no leader"),
            (2, "raft proposal dropped"),
            (8, "etcdserver: too many requests"),
        ] {
            let verdict = of(true, says(code, message));
            assert!(
                matches!(verdict, Verdict::Elsewhere(_)) && !verdict.may_be_done(),
                "{message}"
            );
        }
    }

    #[test]
    fn what_etcd_decides_is_final() {
        let error = |code, message| match of(true, says(code, message)) {
            Verdict::Final(error) => error,
            verdict => panic!("{verdict:?}"),
        };
        assert_eq!(
            error(5, "etcdserver: requested lease not found"),
            Error::LeaseGone { lease: None }
        );
        for (code, message) in [
            (
                3,
                "etcdserver: authentication failed, invalid user ID or password",
            ),
            (7, "etcdserver: permission denied"),
            (16, "etcdserver: invalid auth token"),
            (3, "etcdserver: user name is empty"),
        ] {
            assert!(
                matches!(error(code, message), Error::Unauthorised { .. }),
                "{message}"
            );
        }
        for (code, message) in [
            (3, "etcdserver: duplicate key given in txn request"),
            (8, "etcdserver: mvcc: database space exceeded"),
        ] {
            assert!(matches!(error(code, message), Error::Refused { .. }), "{message}");
        }
    }

    #[test]
    fn of_many_failures_the_one_that_tells_most_is_returned() {
        let refused = || of(false, Failed::NotSent("Connection refused".to_owned()));
        let both = worst(vec![refused(), refused()]);
        assert!(matches!(both, Error::Unreachable { tries, may_be_done: false } if tries.len() == 2));
        let off = worst(vec![refused(), of(false, Failed::NoGateway), refused()]);
        assert!(matches!(off, Error::NoGateway { .. }));
        let lost = worst(vec![
            of(true, Failed::NoGateway),
            of(true, Failed::Lost("no answer".to_owned())),
        ]);
        assert!(lost.may_be_done(), "{lost:?}");
        let foreign = worst(vec![
            of(true, Failed::NoGateway),
            of(true, Failed::Foreign("x".to_owned())),
        ]);
        assert!(matches!(
            foreign,
            Error::BadAnswer {
                may_be_done: true,
                ..
            }
        ));
    }
}
