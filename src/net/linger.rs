//! The end of a connection whose client may be sending still.

use super::input::wait_readable;
use std::io::{self, Read};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// How long, and for how many bytes, a closing connection reads on so that the client can read the last
/// answer: closing a socket on unread bytes would take the answer away from it.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 << 20;

/// Closes a connection whose client may be sending: reads on, within bounds, until the client closes.
pub(crate) fn linger(mut stream: &TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    let deadline = Instant::now() + LINGER_TIME;
    let mut discarded = [0; 4096];
    let mut bytes = 0;
    while bytes < LINGER_BYTES && wait_readable(stream, deadline)? {
        match stream.read(&mut discarded) {
            Ok(0) => break,
            Ok(read) => bytes += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
