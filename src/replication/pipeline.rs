//! Chunks of another node's log on their way into this one's: while one is applied, the next is fetched and checked.
//!
//! A chunk is checked, appended to the log, and applied to the store. What a question proves to the other node is the
//! log alone, so the follower asks for the next chunk once the log has this one. A node that is far behind gets
//! chunks of a megabyte, and checking one takes about half of what appending and applying it takes. So a large chunk
//! is appended and applied by a thread of its own, `apply`, which ends with it. A small one, as it comes while the
//! node is up to date, takes less time than a change of threads, so the follower's own thread does all of it.
//!
//! # What must hold
//! - Chunks are appended and applied one at a time, in the order of the log.
//! - The thread is joined before the next chunk is appended, and before following ends.

use crate::node::{End, Node, ReplicatedChunk, TakeError};
use std::panic;
use std::thread::{Builder, Scope, ScopedJoinHandle};

/// A chunk of at least so many bytes gets a thread: some thousand records, a few milliseconds of work.
const THREAD_BYTES_MIN: usize = 256 * 1024;

/// Takes chunks, one after the other. See the module.
pub(super) struct Pipeline<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    node: &'env Node,
    /// The thread of the last chunk, if it had one.
    applying: Option<ScopedJoinHandle<'scope, Result<(), TakeError>>>,
}

impl<'scope, 'env> Pipeline<'scope, 'env> {
    /// Its threads are of `scope`, which joins whatever is not joined here.
    pub(super) fn new(scope: &'scope Scope<'scope, 'env>, node: &'env Node) -> Self {
        Pipeline {
            scope,
            node,
            applying: None,
        }
    }

    /// Appends a chunk behind the one before, once that is applied. Returns the end of the log as soon as it has the
    /// chunk, which may not be applied then.
    ///
    /// # Errors
    /// Why this chunk, or the one before, was not taken.
    pub(super) fn take(&mut self, chunk: ReplicatedChunk) -> Result<End, TakeError> {
        self.finish()?;
        let node = self.node;
        let (say, logged) = crossbeam_channel::bounded(1);
        let on_logged = move |end| {
            // It is received below, and there is room.
            let _ = say.send(end);
        };
        if chunk.bytes() < THREAD_BYTES_MIN {
            node.take_chunk(chunk, on_logged)?;
        } else {
            let apply = Builder::new().name("apply".to_owned());
            let thread = apply.spawn_scoped(self.scope, move || node.take_chunk(chunk, on_logged));
            self.applying = Some(thread.map_err(TakeError::Thread)?);
        }
        match logged.recv() {
            Ok(end) => Ok(end),
            // It ended without a word: its error says why.
            Err(_) => self.finish().map(|()| node.end()),
        }
    }

    /// Waits until the last chunk is applied.
    ///
    /// # Errors
    /// Why it was not.
    pub(super) fn finish(&mut self) -> Result<(), TakeError> {
        match self.applying.take().map(ScopedJoinHandle::join) {
            None => Ok(()),
            Some(Ok(taken)) => taken,
            Some(Err(panicked)) => panic::resume_unwind(panicked),
        }
    }
}
