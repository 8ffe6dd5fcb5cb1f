//! What a replica knows of the primary of its log: where it is, when it was last heard, how far it was then.
//!
//! # What must hold
//! - Only the primary of this node's own log counts as heard: by its own answer, or by that of a replica that
//!   says how long ago *it* heard the primary. So silence is never hidden, however long the chain.
//! - The lag is against the primary. It is zero only while the primary was heard within two heartbeats.
//! - Times are of a clock that counts suspends, so a node that slept knows that it did.

use crate::boot_clock::BootInstant;
use std::time::Duration;

/// How often the primary speaks while it has nothing new, at most this long apart.
pub(crate) const HEARTBEAT_EVERY: Duration = Duration::from_millis(500);

/// After this long without a heartbeat, time counts as lag.
const CAUGHT_UP_FOR: Duration = Duration::from_secs(1);

/// After this long without a word of the primary nobody is sent there, and this node does not say that it
/// follows it.
const HEARD_FOR: Duration = Duration::from_secs(3);

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Upstream {
    primary: Option<String>,
    heard_at: Option<BootInstant>,
    caught_up_at: Option<BootInstant>,
    /// How far the log of the primary was written when it was last heard.
    written: u64,
}

impl Upstream {
    /// The primary has spoken, `age` ago; its address, where that is known.
    pub(super) fn heard(&mut self, primary: Option<&str>, age: Duration) {
        let at = BootInstant::ago(age);
        self.heard_at = self.heard_at.max(Some(at));
        if let Some(primary) = primary
            && self.primary.as_deref() != Some(primary)
        {
            self.primary = Some(primary.to_owned());
        }
    }

    /// Another node is the primary; it was not heard yet.
    pub(super) fn expect(&mut self, primary: &str) {
        *self = Upstream {
            primary: Some(primary.to_owned()),
            ..Upstream::default()
        };
    }

    /// `age` ago the primary's log was written up to `written`, and this node has it up to `taken`.
    pub(super) fn took(&mut self, written: u64, taken: u64, age: Duration) {
        self.written = written;
        if taken >= written {
            self.caught_up_at = self.caught_up_at.max(Some(BootInstant::ago(age)));
        }
    }

    /// Where the primary is, while it is heard.
    pub(super) fn primary(&self) -> Option<&str> {
        self.primary.as_deref().filter(|_| self.is_heard())
    }

    /// Where the primary is said to be, heard or not.
    pub(super) fn address(&self) -> Option<&str> {
        self.primary.as_deref()
    }

    pub(super) fn is_heard(&self) -> bool {
        self.heard_for().is_some_and(|age| age <= HEARD_FOR)
    }

    /// How long ago the primary was heard.
    pub(super) fn heard_for(&self) -> Option<Duration> {
        self.heard_at.map(BootInstant::elapsed)
    }

    pub(super) fn heard_at(&self) -> Option<BootInstant> {
        self.heard_at
    }

    /// When this node last had all that the primary had.
    pub(super) fn caught_up_at(&self) -> Option<BootInstant> {
        self.caught_up_at
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// How far a node that has everything up to `applied` is behind, in bytes and in time.
    pub(super) fn lag(&self, applied: u64) -> (Option<u64>, Option<Duration>) {
        let is_known = self.caught_up_at.is_some() || self.written > 0;
        let bytes = is_known.then(|| self.written.saturating_sub(applied));
        let time = self.caught_up_at.map(BootInstant::elapsed).map(|age| {
            let is_caught_up = bytes == Some(0) && age <= CAUGHT_UP_FOR;
            if is_caught_up { Duration::ZERO } else { age }
        });
        (bytes, time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_was_heard_long_ago_is_no_primary_and_no_small_lag() {
        let mut upstream = Upstream::default();
        assert_eq!((upstream.primary(), upstream.lag(0)), (None, (None, None)));
        upstream.heard(Some("a:1"), Duration::ZERO);
        upstream.took(100, 100, Duration::ZERO);
        assert_eq!(upstream.primary(), Some("a:1"));
        assert_eq!(upstream.lag(100), (Some(0), Some(Duration::ZERO)));

        let mut upstream = Upstream::default();
        upstream.heard(Some("a:1"), 10 * SECOND);
        upstream.took(100, 100, 10 * SECOND);
        assert_eq!(upstream.primary(), None);
        assert_eq!(upstream.address(), Some("a:1"));
        assert!(upstream.lag(100).1.unwrap() >= 10 * SECOND);
    }

    #[test]
    fn older_news_change_nothing() {
        let mut upstream = Upstream::default();
        upstream.heard(Some("a:1"), Duration::ZERO);
        upstream.heard(None, 10 * SECOND);
        assert!(upstream.is_heard());
        upstream.took(100, 100, Duration::ZERO);
        upstream.took(200, 100, Duration::ZERO);
        assert_eq!(upstream.lag(100).0, Some(100));
        assert!(upstream.lag(100).1.unwrap() < SECOND);
    }

    #[test]
    fn another_primary_has_yet_to_be_heard() {
        let mut upstream = Upstream::default();
        upstream.heard(Some("a:1"), Duration::ZERO);
        upstream.took(100, 100, Duration::ZERO);
        upstream.expect("b:1");
        assert_eq!((upstream.primary(), upstream.address()), (None, Some("b:1")));
        assert_eq!(upstream.caught_up_at(), None);
    }
}
