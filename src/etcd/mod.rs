//! etcd, by the JSON gateway of its v3 API: a client that blocks, and knows nothing of pykv's nodes.
//!
//! | file | what it is |
//! | --- | --- |
//! | `endpoints` | where etcd's members listen, as people type it |
//! | `client` | sends a request to whichever endpoint answers |
//! | `calls` | the requests that callers make |
//! | `watch` | the changes of keys, over any number of connections |
//! | `kv` | what etcd holds and answers |
//! | `requests`, `wire` | the gateway's JSON: what is sent, and what comes |
//! | `post` | one request to one endpoint, within its time |
//! | `login` | user, password and token |
//! | `seen` | which answers count |
//! | `verdict` | what follows from a failed try at one endpoint |
//! | `error` | why a request came to nothing |
//!
//! # What must hold
//! - No request outlasts the time that its caller gives it.
//! - A request that changes something is sent once. Where no answer comes, the error says that it may have been done.
//! - Every answer is bounded in bytes and every number in it checked: whatever listens at an endpoint may send anything.
//! - All reads are linearizable.
//!
//! # What etcd promises of a lease
//! It does not end before its TTL has passed since etcd has taken the last renewal, but it may end later: a new leader of
//! etcd gives every lease its full TTL again. And etcd has had bugs that ended leases early. So a lease says when its
//! holder must stop; that nobody else has begun before is for a fencing token to say, as the `create_revision` of a key.

mod calls;
mod client;
mod endpoints;
mod error;
mod kv;
mod login;
mod post;
mod requests;
mod seen;
mod verdict;
mod watch;
mod wire;

pub use client::{Client, Options};
pub use endpoints::{Endpoints, EndpointsError};
pub use error::{Error, Try};
pub use kv::{Compare, Done, Event, Header, KeyValue, Lease, LeaseId, Op, Range, TxnAnswer};
pub use login::Login;
pub use watch::{Notice, Stop};
