//! Watching: what has changed after an offset, and what changes then.

use super::Node;
use crate::wal::{Feed, FeedError};

impl Node {
    /// A feed of the records after an offset, which continues as changes are made; of those from now on where
    /// no offset is given. It reads the log's files and takes no lock of the store.
    pub fn feed(&self, after: Option<u64>) -> Result<Feed<'_>, FeedError> {
        self.log.feed(after)
    }

    /// Makes everybody who waits in a feed ask whether to continue.
    pub fn wake_watchers(&self) {
        self.log.wake_watchers();
        self.followers.wake();
        self.cluster.applied.wake();
    }
}
