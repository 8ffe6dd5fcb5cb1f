//! A backup of a node, taken piece by piece.

use super::{Client, Error, Request};
use crate::api;
use std::io::{self, Read, Write};
use ureq::http::{Method, StatusCode};

/// Taken at a time, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// Why a backup was not taken.
#[derive(Debug)]
pub enum BackupError {
    /// The node did not give it, or not all of it.
    Node(Error),
    /// It could not be written down.
    Output(io::Error),
}

impl Client {
    /// Writes a backup of the node to `out`, and says how many bytes it has. How long it may take has no bound, as
    /// how large it is has none.
    pub fn backup(&self, out: &mut dyn Write) -> Result<u64, BackupError> {
        let mut request = Request::new(Method::GET, api::PATH_BACKUP.to_owned());
        request.is_endless = true;
        let url = format!("{}{}", self.server, request.target);
        let mut response = self.send_to(&url, &request).map_err(BackupError::Node)?;
        if response.status() != StatusCode::OK {
            let body = response.body_mut().read_to_vec().unwrap_or_default();
            let problem = super::problem(response.status(), &body);
            return Err(BackupError::Node(Error::Refused(Box::new(problem))));
        }
        let mut reader = response.body_mut().as_reader();
        let mut piece = vec![0; PIECE_BYTES];
        let mut bytes = 0;
        loop {
            let read = match reader.read(&mut piece) {
                Ok(0) => return Ok(bytes),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(BackupError::Node(self.failed(ureq::Error::Io(error)))),
            };
            out.write_all(&piece[..read]).map_err(BackupError::Output)?;
            bytes += read as u64;
        }
    }
}
