//! Changes on their way to the other side, on several connections.
//!
//! A key always goes by the same connection, so its changes keep their order. Of several changes in one piece the last
//! counts. A gateway to a cluster takes no batch of keys in several slots: then each change is a request by itself.

use super::super::Error;
use super::super::import::is_cross_slot;
use crate::api::{Batch, Encoding, Operation, StatusLimits};
use crate::client::{self, Client};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

/// How long is waited before something that may pass is tried again: a little first, then more.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(100);
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Most operations of a batch, however many the other side takes.
const OPERATIONS_MAX: usize = 200;

/// How long the other side may be away before the mirror gives up.
const AWAY_MAX: Duration = Duration::from_secs(300);

/// One change of a key.
pub(super) struct Change {
    pub(super) key: String,
    /// None: the key is gone.
    pub(super) value: Option<(String, Option<Encoding>)>,
    pub(super) expires_at_ms: Option<u64>,
}

/// The threads that write, each over a connection of its own.
pub(super) struct Writers {
    ways: Mutex<Vec<Sender<Vec<Change>>>>,
    hasher: RandomState,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Pieces that were handed over and are not written.
    pending: Mutex<usize>,
    written: Condvar,
    failed: Mutex<Option<client::Error>>,
    /// Whether the keys of a batch must share a slot.
    is_alone: AtomicBool,
}

impl Writers {
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        clients: &'scope [Client],
        limits: &StatusLimits,
    ) -> Writers {
        let shared = Arc::new(Shared::default());
        let operations_max = OPERATIONS_MAX.min(limits.batch_operations_max.try_into().unwrap_or(1));
        let bytes_max = usize::try_from(limits.batch_bytes_max / 8).unwrap_or(usize::MAX);
        let ways = clients.iter().map(|client| {
            let (way, pieces) = bounded::<Vec<Change>>(1);
            let writer = Writer {
                client,
                shared: Arc::clone(&shared),
                operations_max: operations_max.max(1),
                bytes_max,
            };
            scope.spawn(move || writer.run(&pieces));
            way
        });
        Writers {
            ways: Mutex::new(ways.collect()),
            hasher: RandomState::new(),
            shared,
        }
    }

    /// Hands changes over, which [`Writers::finish`] waits for.
    pub(super) fn write(&self, changes: impl Iterator<Item = Change>) -> Result<(), Error> {
        let ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        let mut pieces: Vec<Vec<Change>> = ways.iter().map(|_| Vec::new()).collect();
        for change in changes {
            let way = self.hasher.hash_one(&change.key) as usize % pieces.len().max(1);
            if let Some(piece) = pieces.get_mut(way) {
                piece.push(change);
            }
        }
        for (way, piece) in ways.iter().zip(pieces) {
            if piece.is_empty() {
                continue;
            }
            *self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            if way.send(piece).is_err() {
                self.shared.done();
            }
        }
        Ok(())
    }

    /// Waits until all is written that was handed over.
    pub(super) fn finish(&self) -> Result<(), Error> {
        let pending = self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.shared.written.wait_while(pending, |pending| *pending > 0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        let failed = self
            .shared
            .failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match failed {
            Some(error) => Err(Error::client("cannot write to --to")(error)),
            None => Ok(()),
        }
    }

    /// Ends the threads.
    pub(super) fn end(&self) {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Shared {
    fn done(&self) {
        *self.pending.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.written.notify_all();
    }
}

/// One thread that writes.
struct Writer<'c> {
    client: &'c Client,
    shared: Arc<Shared>,
    operations_max: usize,
    bytes_max: usize,
}

impl Writer<'_> {
    fn run(&self, pieces: &Receiver<Vec<Change>>) {
        for piece in pieces {
            if let Err(error) = self.write(piece) {
                *self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
            self.shared.done();
        }
    }

    fn write(&self, piece: Vec<Change>) -> Result<(), client::Error> {
        // Of several changes of a key the last counts, in the place of the first.
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut last: Vec<Change> = Vec::with_capacity(piece.len());
        for change in piece {
            match places.get(&change.key).and_then(|place| last.get_mut(*place)) {
                Some(before) => *before = change,
                None => {
                    places.insert(change.key.clone(), last.len());
                    last.push(change);
                }
            }
        }
        let mut rest = &mut last[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let operations_max = match self.shared.is_alone.load(Relaxed) {
                true => 1,
                false => self.operations_max,
            };
            let fit = rest.iter().take(operations_max).take_while(|change| {
                bytes += change.key.len() + change.value.as_ref().map_or(0, |(value, _)| value.len());
                bytes <= self.bytes_max
            });
            let count = fit.count().max(1);
            let (now, later) = std::mem::take(&mut rest).split_at_mut(count);
            rest = later;
            self.send(now)?;
        }
        Ok(())
    }

    /// Sends some changes, again where that may go better. What has expired meanwhile is deleted.
    fn send(&self, changes: &mut [Change]) -> Result<(), client::Error> {
        let begun = Instant::now();
        let mut pause = PAUSE_MIN;
        loop {
            let error = match self.client.apply(&body(changes)) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match &error {
                client::Error::Refused(problem) if is_cross_slot(problem) && changes.len() > 1 => {
                    self.shared.is_alone.store(true, Relaxed);
                    for at in 0..changes.len() {
                        if let Some(one) = changes.get_mut(at..=at) {
                            self.send(one)?;
                        }
                    }
                    return Ok(());
                }
                client::Error::Refused(problem) if problem.status == 422 => {
                    let index = problem.index.and_then(|index| usize::try_from(index).ok());
                    let expired = changes.get_mut(index.unwrap_or(0));
                    match expired.filter(|change| change.expires_at_ms.is_some() && change.value.is_some()) {
                        Some(change) => change.value = None,
                        None => return Err(error),
                    }
                }
                error_ if error_.may_pass() && begun.elapsed() < AWAY_MAX => {
                    thread::sleep(pause);
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                _ => return Err(error),
            }
        }
    }
}

/// The body of a batch.
fn body(changes: &[Change]) -> Vec<u8> {
    let operations = changes.iter().map(|change| match &change.value {
        Some((value, encoding)) => Operation::Set {
            key: Cow::Borrowed(&change.key),
            value: Cow::Borrowed(value),
            encoding: *encoding,
            ttl: None,
            expires_at_ms: change.expires_at_ms,
            if_version: None,
            if_absent: false,
        },
        None => Operation::Delete {
            key: Cow::Borrowed(&change.key),
            if_version: None,
        },
    });
    let batch = Batch {
        operations: operations.collect(),
    };
    serde_json::to_vec(&batch).expect("plain data has a form in JSON")
}
