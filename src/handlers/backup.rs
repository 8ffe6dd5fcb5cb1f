//! `GET /backup`: the state of the store as a file, sent while it is made.

use super::connection_handle::Aborted;
use super::sink::Sink;
use super::stream::{Answer, LateResponse, Stream};
use crate::http::problem::Problem;
use crate::http::request::Head;
use crate::http::response::{Body, Media, Reply};
use crate::http::target;
use crate::node::Node;
use crate::wal::{BACKUP_BYTES, BackupError, Take};
use tiny_http::StatusCode;

pub(crate) fn get<'a>(node: &'a Node, head: &Head<'_>) -> Result<Answer<'a>, Problem> {
    let [] = target::parameters(head.query, [])?;
    Ok(Answer::Later(Box::new(move |_| {
        Ok(LateResponse::Stream(Stream {
            head: Reply::new(StatusCode(200), Body::Streamed(Media::Octets))
                .header("Content-Disposition", "attachment; filename=\"backup.pykv\""),
            holds: BACKUP_BYTES,
            is_endless: true,
            body: Box::new(move |sink| {
                node.backup(&mut Taker(sink)).map_err(|error| match error {
                    BackupError::Taker(cut) => cut,
                    BackupError::Refused(refusal) => Aborted::Unacknowledged(Problem::of_backup(&refusal)),
                    error => Aborted::Body(error.to_string()),
                })
            }),
        }))
    })))
}

/// Takes a backup as it is made.
struct Taker<'s, 'a, 'c>(&'s mut Sink<'a, 'c>);

impl Take for Taker<'_, '_, '_> {
    type Error = Aborted;

    fn hold(&mut self, bytes: usize) -> Result<(), Aborted> {
        self.0.hold(BACKUP_BYTES + bytes)
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), Aborted> {
        self.0.write(piece)
    }
}
