//! Who is primary, where etcd decides: the rules, without any I/O.
//!
//! | file | what it is |
//! | --- | --- |
//! | `facts`, `state` | what the machine is given and what it wants done; what it keeps |
//! | `machine` | what a node does next, and what it learns |
//! | `leadership`, `primary` | what a primary keeps of its lease; what it does |
//! | `standby_set`, `standbys` | who must have its writes |
//! | `membership`, `occupant` | which process is the node of an address |
//! | `handover` | how it hands over |
//! | `racing` | who may take over, and why another one may not |
//! | `registers` | the keys in etcd, and what stands in them |
//! | `view` | all of them as one read of etcd shows them |
//! | `request`, `question` | what is asked of etcd, and of the other members |
//! | `report` | what a node says of all that |
//! | `shared` | the machine, shared between the thread that drives it and those who ask |
//!
//! [`Machine::next`] says what to do, and the thread `elector` does it: one thing at a time, and what came of it goes
//! back into the machine. So `tests/election_model/` runs the same code through every kind of misfortune.
//!
//! # The lease
//! The key `leader` names the primary. It hangs on a lease, which the primary renews every third of its time. The
//! primary counts its own time from before a renewal is sent, by a clock that runs on in a suspend, and only two thirds
//! of what etcd grants: its deadline comes before etcd can give the key to another node. The deadline is checked in the
//! way of every write, so no thread has to notice anything in time.
//!
//! # The term
//! The transaction that creates `leader` raises the number at `term`. No two primaries have one number. A node never
//! goes back to a lower one: an etcd whose number is lower than the node's own has lost something.
//!
//! # The runs of a directory
//! Each process has a random name. A process writes its name into its directory before etcd learns of it, and `sync`
//! names the processes that have every answered write. So a directory may stand for one that `sync` names if that
//! process has written its name there: it is that directory or a later state of it. A copy that was made before that
//! process started lacks the name. A write never waits for a later process alone while `sync` names an earlier one.
//!
//! # Words
//! - A **promise** is what a node gives that confirms a primary: it does not take over for a time.
//! - The **failsafe** is that a primary continues without etcd while every other node promises that.
//! - The **standbys** have every write that was answered; `sync` names them.
//! - A node is **registered** while etcd has its key below `members/`.
//! - A **handover** is how a primary steps down in order; its **candidate** is to be primary next.
//!
//! # What must hold
//! - A node takes writes only before its deadline, and only after `sync` names it.
//! - Who waits for a standby does so before `sync` names the standby, and until `sync` does not name it any more. So
//!   each node in `sync` has every write that was answered.
//! - A process counts as the node of an address only while etcd names it there.
//! - With standbys in `sync`, only these and its primary may take over, on the directories that they had.
//! - A primary that etcd does not answer continues only while every node in `failsafe` promises not to take over. A node
//!   that is not in `failsafe` does not take over at all.
//! - A node that is about to take over gives no such promise, and does not know that it failed before it has read so.

mod facts;
mod handover;
mod leadership;
mod machine;
mod membership;
mod occupant;
mod primary;
mod question;
mod racing;
mod registers;
mod report;
mod request;
mod shared;
mod standby_set;
mod standbys;
mod state;
mod view;

pub use facts::{Config, Facts, Follower, Remembered, Step};
pub use question::{Answer, Ask, Confirm, Question, Sealed};
pub use registers::{Leader, Member, Standby};
pub use report::{Holder, MemberReport, Outage, Report};
pub use request::{Compare, Failure, FailureKind, Operation, Pair, Reply, Request, Txn};
pub(crate) use shared::SharedMachine;
pub use state::Machine;
