//! The end of a connection whose client may be sending still.

use super::transport::{Got, Transport};
use std::io;
use std::net::Shutdown;
use std::time::{Duration, Instant};

/// How long, and for how many bytes, a closing connection reads on so that the client can read the last
/// answer: closing a socket on unread bytes would take the answer away from it.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 << 20;

/// Closes a connection whose client may be sending: reads on, within bounds, until the client closes.
pub(crate) fn linger(transport: &Transport) -> io::Result<()> {
    transport.end()?;
    transport.shutdown(Shutdown::Write)?;
    let deadline = Instant::now() + LINGER_TIME;
    let mut discarded = Vec::with_capacity(4096);
    let mut bytes = 0;
    while bytes < LINGER_BYTES && transport.wait_readable(deadline)? {
        discarded.clear();
        match transport.read(&mut discarded)? {
            Got::Bytes => bytes += discarded.len(),
            Got::End => break,
            Got::TimedOut => {}
        }
    }
    Ok(())
}
