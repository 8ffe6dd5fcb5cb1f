//! Asks a node what it is, over and over, and notes what it says.

use super::board::Board;
use super::pace;
use super::timeline::{Answer, Event};
use crate::common::Client;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How often.
const SAMPLE_EVERY: Duration = Duration::from_millis(50);

/// A node that does not answer for so long does not answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

/// Samples one node until told to stop. It asks the node itself, past every cut and slow link.
pub fn sample(node: usize, board: &Board, is_over: &AtomicBool) {
    let mut connection: Option<(SocketAddr, Client)> = None;
    while !is_over.load(Relaxed) {
        pace(SAMPLE_EVERY);
        let Some(address) = board.address(node) else {
            continue;
        };
        let sent = Instant::now();
        let known = connection.take().filter(|(known, _)| *known == address);
        let asked = match known {
            Some((_, client)) => Ok(client),
            None => connect(address),
        }
        .and_then(|mut client| Ok((ask(&mut client)?, client)));
        // One that was stopped on purpose meanwhile has noted that by itself.
        if board.address(node) != Some(address) {
            continue;
        }
        let answer = match asked {
            Ok((answer, client)) => {
                connection = Some((address, client));
                board.set_primary(node, answer.is_primary);
                Some(answer)
            }
            Err(_) => None,
        };
        board.timeline.note(Event::Said { node, sent, answer });
    }
}

fn connect(address: SocketAddr) -> io::Result<Client> {
    let client = Client::try_connect(address)?;
    client.socket().set_read_timeout(Some(ANSWER_TIME_MAX))?;
    Ok(client)
}

fn ask(client: &mut Client) -> io::Result<Answer> {
    let probe = client.try_request("GET", "/replica?max_lag=2", &[], b"")?;
    let status = client.try_request("GET", "/status", &[], b"")?.body_json();
    let replication = &status["replication"];
    Ok(Answer {
        is_primary: status["role"] == "primary",
        is_even: probe.status == 200 || (replication["state"] == "streaming" && replication["lag_ms"] == 0),
    })
}
