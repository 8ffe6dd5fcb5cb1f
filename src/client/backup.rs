//! A backup of a node, taken piece by piece.

use super::answer::{Bound, Sign};
use super::error::Error;
use super::exchange::Client;
use super::exchange::Request;
use crate::api;
use std::io::{self, Read, Write};
use ureq::http::Method;

/// Taken at a time, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// Why a backup was not taken.
#[derive(Debug)]
pub(crate) enum BackupError {
    /// The node did not give it, or not all of it.
    Node(Error),
    /// It could not be written down.
    Output(io::Error),
}

impl Client {
    /// Writes a backup of the node to `out`, and says how many bytes it has. How long it may take has no bound, as
    /// how large it is has none.
    pub(crate) fn backup(&self, out: &mut dyn Write) -> Result<u64, BackupError> {
        let target = api::PATH_BACKUP.to_owned();
        let mut request = Request::new(Method::GET, target, Sign::Bytes, Bound::Small);
        request.is_endless = true;
        let (at, mut response) = self.exchange(&request).map_err(BackupError::Node)?;
        let mut reader = response.body_mut().as_reader();
        let mut piece = vec![0; PIECE_BYTES];
        let mut bytes = 0;
        loop {
            let read = match reader.read(&mut piece) {
                Ok(0) => return Ok(bytes),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(BackupError::Node(self.failed(&at, &request, error.into()))),
            };
            out.write_all(&piece[..read]).map_err(BackupError::Output)?;
            bytes += read as u64;
        }
    }
}
