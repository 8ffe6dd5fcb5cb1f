//! Requests of one key whose answers an engine's answer becomes at once.

use super::Session;
use crate::engine::{Engine, Relay, Said};
use crate::key::Key;
use crate::node::Written;

impl Session<'_> {
    /// As [`Gateway::may_relay`](crate::engine::Gateway::may_relay), where the client may use the key.
    pub(crate) fn may_relay(&self, key: Key<'_>) -> bool {
        match self.engine {
            Engine::Embedded(_) => false,
            Engine::Redis(gateway) => self.may_use(key).is_ok() && gateway.may_relay(key),
        }
    }

    /// As [`Gateway::relay_read`](crate::engine::Gateway::relay_read).
    pub(crate) fn relay_read(
        &self,
        key: Key<'_>,
        send_on: impl FnOnce(Said<'_>) + Send + 'static,
    ) -> Option<Relay> {
        match self.engine {
            Engine::Redis(gateway) if self.may_use(key).is_ok() => gateway.relay_read(key, send_on),
            _ => None,
        }
    }

    /// As [`Gateway::relay_upsert`](crate::engine::Gateway::relay_upsert); none where replicas must have the value.
    pub(crate) fn relay_upsert(
        &self,
        key: Key<'_>,
        value: &[u8],
        send_on: impl FnOnce(Written) + Send + 'static,
    ) -> Option<Relay> {
        match self.engine {
            Engine::Redis(gateway) if self.may_use(key).is_ok() && self.sync().replicas == 0 => {
                gateway.relay_upsert(key, value, send_on)
            }
            _ => None,
        }
    }
}
