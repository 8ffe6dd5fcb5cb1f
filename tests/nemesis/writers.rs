//! Clients that write all the time, and note what was acknowledged.

use super::board::Board;
use super::ledger::Ledger;
use super::pace;
use crate::common::Client;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What every write asks for.
const HEADERS: [(&str, &str); 3] = [
    ("Pykv-Sync-Replicas", "1"),
    ("Pykv-Sync-Required", "true"),
    ("Pykv-Sync-Timeout", "0.5"),
];

/// A node that hangs costs a writer so long.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

/// Between two writes, and before another node is tried: load enough, on a machine that runs all the nodes.
const PAUSE: Duration = Duration::from_millis(5);

/// The prefix of every key.
pub const PREFIX: &str = "w";

/// Writes to whichever node takes it until told to stop. It knocks at each node by itself, as clients behind a
/// load balancer do, and sends nothing on. `number` counts the writes of all writers over the whole run.
pub fn write(first: usize, board: &Board, ledger: &Ledger, number: &AtomicU64, is_over: &AtomicBool) {
    let mut at = first;
    while !is_over.load(Relaxed) {
        pace(PAUSE);
        let addresses = board.addresses();
        at += 1;
        let Some(address) = addresses.get(at % addresses.len().max(1)) else {
            continue;
        };
        let Ok(mut client) = Client::try_connect(*address) else {
            continue;
        };
        let _ = client.socket().set_read_timeout(Some(ANSWER_TIME_MAX));
        while !is_over.load(Relaxed) {
            let key = format!("{PREFIX}{}", number.fetch_add(1, Relaxed));
            let path = format!("/kv/{key}?upsert=true");
            match client.try_request("PUT", &path, &HEADERS, key.as_bytes()) {
                Ok(answer) if answer.status == 201 => ledger.note(key),
                // It may have it all the same; that is no promise.
                _ => break,
            }
            pace(PAUSE);
        }
    }
}
