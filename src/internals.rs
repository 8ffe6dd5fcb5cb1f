//! What benches and the tests of `tests/` use of the rest. Nobody else may count on it.

#![allow(missing_docs)]

pub use crate::key::Key;

pub mod api {
    pub use crate::api::{
        Handover, Handshake, LogQuery, PATH_REPLICATION_HANDOVER, PATH_REPLICATION_HELLO,
        PATH_REPLICATION_LOG, REPLICATION_PROTOCOL,
    };
}

pub mod etcd {
    pub use crate::etcd::{
        Client, Compare, Done, Endpoints, EndpointsError, Error, Event, Header, KeyValue, Lease, LeaseId,
        Login, Notice, Op, Options, Range, Stop, Try, TxnAnswer,
    };
}

pub mod node {
    pub use crate::node::{
        Ahead, BatchError, Batched, ClusterOptions, Deadline, Edit, Edited, Mode, Node, Options, Outcome,
        Precondition, Step, WriteError, Written, acknowledged,
    };
}

pub mod record {
    pub use crate::record::{Operation, Record};
}

pub mod store {
    pub use crate::store::Limits;
    #[cfg(feature = "measure-holds")]
    pub use crate::store::holds;
}

pub mod wal {
    pub use crate::wal::{Branch, Error, Options, Policy, Term, branch_before, check, fork, term_before};
}

pub mod election {
    pub use crate::election::{
        Answer, Ask, Compare, Config, Confirm, Facts, Failure, FailureKind, Follower, Holder, Leader,
        Machine, Member, MemberReport, Operation, Outage, Pair, Question, Remembered, Reply, Report, Request,
        Sealed, Standby, Step, Txn,
    };
}
