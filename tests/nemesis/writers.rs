//! Clients that write all the time, and note what was acknowledged.

use super::board::Board;
use super::ledger::Ledger;
use super::pace;
use crate::common::Client;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
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

/// Between two writes: load enough, on a machine that runs all the nodes.
const PAUSE: Duration = Duration::from_millis(5);

/// The prefix of every key.
pub const PREFIX: &str = "w";

/// Writes to whichever node takes it until told to stop. It knocks at each node by itself, as clients behind a
/// load balancer do, and sends nothing on. `number` counts the writes of all writers over the whole run.
pub fn write(first: usize, board: &Board, ledger: &Ledger, number: &AtomicU64, is_over: &AtomicBool) {
    let mut connections: HashMap<SocketAddr, Client> = HashMap::new();
    let mut at = first;
    while !is_over.load(Relaxed) {
        pace(PAUSE);
        let addresses = board.addresses();
        connections.retain(|address, _| addresses.contains(address));
        let Some(address) = addresses.get(at % addresses.len().max(1)) else {
            continue;
        };
        let known = connections.remove(address);
        let Ok(mut client) = known.map_or_else(|| connect(*address), Ok) else {
            at += 1;
            continue;
        };
        let key = format!("{PREFIX}{}", number.fetch_add(1, Relaxed));
        let path = format!("/kv/{key}?upsert=true");
        let answer = client.try_request("PUT", &path, &HEADERS, key.as_bytes());
        match &answer {
            Ok(answer) if answer.status == 201 => ledger.note(key),
            // It may be there all the same; that is no promise.
            _ => at += 1,
        }
        if answer.is_ok() {
            connections.insert(*address, client);
        }
    }
}

fn connect(address: SocketAddr) -> io::Result<Client> {
    let client = Client::try_connect(address)?;
    client.socket().set_read_timeout(Some(ANSWER_TIME_MAX))?;
    Ok(client)
}
