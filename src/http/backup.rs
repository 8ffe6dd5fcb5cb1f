//! `GET /backup`: the state of the store as a file, sent while it is made.

use super::problem::Problem;
use super::request::Head;
use super::response::{Body, Media, Reply};
use super::stream::{Answer, Cut, Outcome, Stream};
use super::target;
use crate::log::BackupError;
use tiny_http::StatusCode;

pub(super) fn get<'a>(head: &Head<'_>) -> Result<Answer<'a>, Problem> {
    let [] = target::parameters(head.query, [])?;
    Ok(Answer::Later(Box::new(|line, _| {
        let node = line.node();
        Ok(Outcome::Stream(Stream {
            head: Reply::new(StatusCode(200), Body::Streamed(Media::Octets))
                .header("Content-Disposition", "attachment; filename=\"backup.pykv\""),
            body: Box::new(move |sink| {
                node.backup(&mut |piece| sink.write(piece))
                    .map_err(|error| match error {
                        BackupError::Taker(cut) => cut,
                        error => Cut::Body(error.to_string()),
                    })
            }),
        }))
    })))
}
