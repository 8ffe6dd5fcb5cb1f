//! The tokens of now: others may take their place while requests are checked.
//!
//! # What must hold
//! - A request is checked against one list as a whole, never against parts of two.
//! - A list that cannot be read changes nothing: the one before stays, and why is kept to be shown.

use super::grant::{Grant, Scope};
use super::tokens::{Denied, Tokens};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// See the module.
#[derive(Debug)]
pub(crate) struct LiveTokens {
    now: RwLock<Tokens>,
    /// How often a list was read anew, and taken.
    reloads: AtomicU64,
    /// How often it was not.
    failures: AtomicU64,
    /// Why the last one was not; none where it was.
    error: Mutex<Option<String>>,
}

impl LiveTokens {
    pub(crate) fn new(tokens: Tokens) -> LiveTokens {
        LiveTokens {
            now: RwLock::new(tokens),
            reloads: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            error: Mutex::default(),
        }
    }

    /// As [`Tokens::check`].
    pub(crate) fn check(&self, authorization: Option<&[u8]>, scope: Scope) -> Result<Grant, Denied> {
        self.read(|tokens| tokens.check(authorization, scope))
    }

    /// As [`Tokens::check_names`].
    pub(crate) fn check_names(&self, names: &[String], scope: Scope) -> Result<Grant, Denied> {
        self.read(|tokens| tokens.check_names(names, scope))
    }

    /// As [`Tokens::name`].
    pub(crate) fn name(&self, authorization: Option<&[u8]>) -> Option<Arc<str>> {
        self.read(|tokens| tokens.name(authorization))
    }

    /// Takes another list in place of the one of before.
    pub(crate) fn replace(&self, mut tokens: Tokens) {
        self.read(|before| tokens.take_over_from(before));
        // What it was is freed out of the lock.
        let _before = {
            let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *now, tokens)
        };
        self.reloads.fetch_add(1, Relaxed);
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Keeps the list, since another could not be read; says whether it is for another reason than the time before.
    pub(crate) fn keep(&self, why: String) -> bool {
        self.failures.fetch_add(1, Relaxed);
        let mut error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = error.as_ref() != Some(&why);
        *error = Some(why);
        is_new
    }

    /// How often another list was taken, and how often it could not be read.
    pub(crate) fn reloads(&self) -> (u64, u64) {
        (self.reloads.load(Relaxed), self.failures.load(Relaxed))
    }

    /// Why the file that was read last was not taken; none where it was.
    pub(crate) fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn read<T>(&self, with: impl FnOnce(&Tokens) -> T) -> T {
        // A list is replaced as a whole: a panic elsewhere leaves none in between.
        with(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_cannot_be_read_changes_nothing() {
        let live = LiveTokens::new(Tokens::parse("read old").unwrap());
        let opens = |token: &str| {
            let authorization = format!("Bearer {token}");
            live.check(Some(authorization.as_bytes()), Scope::Read).is_ok()
        };
        assert!(live.keep("line 2 is wrong".to_owned()));
        assert!(!live.keep("line 2 is wrong".to_owned()));
        assert!(opens("old") && !opens("new"));
        assert_eq!(live.error().as_deref(), Some("line 2 is wrong"));
        live.replace(Tokens::parse("read new").unwrap());
        assert!(!opens("old") && opens("new"));
        assert_eq!((live.error(), live.reloads()), (None, (1, 2)));
    }
}
