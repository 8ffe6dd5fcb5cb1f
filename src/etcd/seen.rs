//! What was seen of etcd: the cluster that answers, its highest term and its highest revision.
//!
//! # What must hold
//! - An answer counts only if its cluster is the one that answered first.
//! - An answer counts only if it is at least as new as what was seen when its request was sent. An answer that another
//!   one overtook on its way is good: both were true while they were asked for.

use super::kv::Header;

/// What was seen until a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    cluster_id: Option<u64>,
    raft_term: u64,
    revision: u64,
}

/// Why an answer does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stale {
    /// It is of another cluster than this.
    OtherCluster { first: u64 },
    /// It is from before this term of raft, or this revision.
    WentBack { raft_term: u64, revision: u64 },
}

impl Seen {
    /// Holds an answer against what was seen when its request was sent, and notes what it says. The revision of one
    /// that is not linearizable is that of the member that answers, and may lag.
    pub(super) fn note(
        &mut self,
        when_sent: Seen,
        header: &Header,
        is_linearizable: bool,
    ) -> Result<(), Stale> {
        if let Some(first) = self.cluster_id
            && first != header.cluster_id
        {
            return Err(Stale::OtherCluster { first });
        }
        let is_old = header.raft_term < when_sent.raft_term
            || (is_linearizable && header.revision < when_sent.revision);
        if is_old {
            return Err(Stale::WentBack {
                raft_term: when_sent.raft_term,
                revision: when_sent.revision,
            });
        }
        self.cluster_id = Some(header.cluster_id);
        self.raft_term = self.raft_term.max(header.raft_term);
        if is_linearizable {
            self.revision = self.revision.max(header.revision);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(cluster_id: u64, raft_term: u64, revision: u64) -> Header {
        Header {
            cluster_id,
            revision,
            raft_term,
        }
    }

    #[test]
    fn an_answer_from_before_does_not_count() {
        let mut seen = Seen::default();
        let before = seen;
        seen.note(before, &header(7, 3, 10), true).unwrap();
        let sent = seen;
        let went_back = Stale::WentBack {
            raft_term: 3,
            revision: 10,
        };
        assert_eq!(seen.note(sent, &header(7, 2, 11), true), Err(went_back));
        assert_eq!(seen.note(sent, &header(7, 2, 11), false), Err(went_back));
        assert_eq!(seen.note(sent, &header(7, 3, 9), true), Err(went_back));
        assert_eq!(seen.note(sent, &header(7, 3, 9), false), Ok(()), "it may lag");
        assert_eq!(seen.note(sent, &header(7, 3, 10), true), Ok(()));
    }

    #[test]
    fn an_answer_that_was_overtaken_counts() {
        let mut seen = Seen::default();
        let sent = seen;
        seen.note(sent, &header(7, 3, 10), true).unwrap();
        assert_eq!(seen.note(sent, &header(7, 2, 9), true), Ok(()));
        assert_eq!(
            seen,
            Seen {
                cluster_id: Some(7),
                raft_term: 3,
                revision: 10
            }
        );
    }

    #[test]
    fn another_cluster_never_counts() {
        let mut seen = Seen::default();
        let sent = seen;
        seen.note(sent, &header(7, 3, 10), true).unwrap();
        let other = Stale::OtherCluster { first: 7 };
        assert_eq!(seen.note(sent, &header(8, 9, 99), true), Err(other));
        assert_eq!(seen.note(seen, &header(8, 9, 99), false), Err(other));
        assert_eq!(seen.note(seen, &header(7, 3, 10), true), Ok(()));
    }
}
