//! What all connections of a server share.

use crate::auth::LiveTokens;
use crate::http::Hosts;
use crate::http::Limits;
use crate::net::Stopper;
use crate::net::budget::Budget;
use crate::net::certificates::Certificates;
use crate::net::handshakes::Handshakes;
use crate::net::registry::Registry;
use crate::observe::Observer;
use crate::observe::history::History;
use std::sync::Arc;
use std::time::Duration;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) tokens: Option<LiveTokens>,
    /// What is shown under TLS; none where plain HTTP is spoken.
    pub(crate) certificates: Option<Arc<Certificates>>,
    /// For how long browsers are to ask for the node's host by TLS alone; none to leave that to them.
    pub(crate) tls_only: Option<Duration>,
    pub(crate) hosts: Hosts,
    pub(crate) budget: Budget,
    pub(crate) registry: Registry,
    pub(crate) handshakes: Handshakes,
    pub(crate) stopper: Stopper,
    pub(crate) history: History,
    pub(crate) observer: Arc<Observer>,
}

impl Shared {
    /// How a URL of this node begins, and of the others of its cluster.
    pub(crate) fn scheme(&self) -> &'static str {
        match self.certificates {
            Some(_) => "https",
            None => "http",
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopper.is_stopping()
    }
}
