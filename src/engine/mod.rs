//! What holds the entries: a node of this process, or a Redis or Valkey that this process is a gateway to.
//!
//! Handlers know neither: they use a [`Session`](crate::session::Session), which calls one or the other. What a node
//! alone has (its log, its replicas, its compactions) is asked of [`Engine::node`], and is refused where there is none.
//!
//! A gateway keeps nothing: any number of them serve one engine.
//!
//! | file | what it is |
//! | --- | --- |
//! | `endpoint` | the engine as the command line names it |
//! | `layout` | how an entry is kept: one string has value, version and deadline |
//! | `gateway`, `change`, `batch` | reads and changes, and what makes a version unique |
//! | `script`, `write.lua` | the script by which entries change: all checks, then all changes |
//! | `upsert`, `upsert.lua` | the shorter one for values that are set whatever there was |
//! | `scan`, `scanned`, `cursor`, `many` | lists with a cursor that outlives a reshard; many keys at once |
//! | `routing` | from a slot to its server: redirections, what is tried again, the time limit |
//! | `topology`, `slots` | what a cluster says of itself; slots and sets of them |
//! | `request` | what is sent to the server of a slot |
//! | `pipeline`, `pending` | implicit pipelining: small requests of many threads go to a server together; where their answers go |
//! | `relay` | answers that go on to the client as soon as they come |
//! | `pool` | connections to one server |
//! | `report`, `looking` | how the engine is, looked at every second |
//! | `error` | why the engine did not do it |
//!
//! # What must hold
//! - A change whose outcome is not known is never sent again: the answer says that it is not known.
//! - A request holds one connection, and nothing while it waits for one.

mod batch;
mod change;
mod cursor;
mod endpoint;
mod error;
mod gateway;
mod layout;
mod looking;
mod many;
mod pending;
mod pipeline;
mod pool;
mod relay;
mod report;
mod request;
mod routing;
mod scan;
mod scanned;
mod script;
mod slots;
mod topology;
mod upsert;

pub(crate) use cursor::Cursor;
pub(crate) use endpoint::EngineUrl;
pub(crate) use error::EngineError;
pub(crate) use gateway::{Gateway, GatewayOptions};
pub(crate) use looking::Looking;
pub(crate) use pool::{Dial, DialTls};
pub(crate) use relay::{Relay, Relayed, Said};
pub(crate) use report::{Report, ServerReport};
pub(crate) use scan::Lister;

use crate::node::Node;

/// What holds the entries.
#[derive(Clone, Copy)]
pub(crate) enum Engine<'a> {
    /// A node of this process.
    Embedded(&'a Node),
    /// A Redis or Valkey.
    Redis(&'a Gateway),
}

impl<'a> Engine<'a> {
    /// The node, where it holds the entries.
    pub(crate) fn node(self) -> Option<&'a Node> {
        match self {
            Engine::Embedded(node) => Some(node),
            Engine::Redis(_) => None,
        }
    }

    /// Largest value, in bytes.
    pub(crate) fn value_bytes_max(self) -> usize {
        match self {
            Engine::Embedded(node) => node.value_bytes_max(),
            Engine::Redis(gateway) => gateway.value_bytes_max(),
        }
    }
}
