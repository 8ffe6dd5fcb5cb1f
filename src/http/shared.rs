//! What all connections of a server share.

use super::auth::Tokens;
use super::budget::Budget;
use super::history::History;
use super::limits::Limits;
use super::observe::Observer;
use super::origin::Hosts;
use super::registry::Registry;
use super::stopper::Stopper;
use std::sync::Arc;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) tokens: Option<Tokens>,
    pub(super) hosts: Hosts,
    pub(super) budget: Budget,
    pub(super) registry: Registry,
    pub(super) stopper: Stopper,
    pub(super) history: History,
    pub(super) observer: Arc<Observer>,
}

impl Shared {
    pub(super) fn is_stopping(&self) -> bool {
        self.stopper.is_stopping()
    }
}
