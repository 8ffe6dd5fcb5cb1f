//! `GET /` and `GET /page/...`: the files of the web page.
//!
//! A long one, such as the description of the API, is sent from where it is: it takes no room of the budget, and comes
//! however much of that others have.

use super::conditions::{self, Fetch};
use super::context::Scratch;
use super::route::Route;
use super::stream::{Answer, LateResponse, Stream};
use crate::http::media;
use crate::http::problem::{self, Problem};
use crate::http::request::Head;
use crate::http::response::{Body, Caching, Reply};
use crate::http::target;
use crate::page::POLICY;
use tiny_http::StatusCode;
use twox_hash::XxHash3_64;

/// Files up to this size are copied into the answer, and so go out with their head in one write.
const COPIED_BYTES_MAX: usize = 16 * 1024;

pub(crate) fn get<'a>(
    route: &Route<'_>,
    head: &Head<'_>,
    scratch: &mut Scratch,
) -> Result<Answer<'a>, Problem> {
    let Some(file) = route.file else {
        return Err(Problem::new(problem::NO_PATH, "the page has no such file"));
    };
    let [] = target::parameters(head.query, [])?;
    // Browsers ask each time, and hear that nothing changed: so a new pykv is never seen by half.
    let is_gzip = media::takes_gzip(&head.accept_encoding);
    let bytes: &'static [u8] = if is_gzip { file.gzip() } else { file.bytes() };
    let is_copied = bytes.len() <= COPIED_BYTES_MAX;
    // A word, so that no client takes it for the version of a key.
    let tag = format!("page-{:016x}", XxHash3_64::oneshot(bytes));
    let mut reply = match conditions::of_file(head, &tag)? {
        Fetch::Go if !is_copied => {
            Reply::new(StatusCode(200), Body::Measured(file.media(), bytes.len() as u64))
        }
        Fetch::Go => {
            scratch.body.extend_from_slice(bytes);
            Reply::new(StatusCode(200), Body::Written(file.media()))
        }
        Fetch::NotModified => Reply::new(StatusCode(304), Body::None),
        Fetch::Failed => return Err(Problem::new(problem::PRECONDITION, "the file is another one")),
    };
    reply.caching = Caching::Revalidated;
    if is_gzip {
        reply = reply.header("Content-Encoding", "gzip");
    }
    let reply = reply
        .header("ETag", &format!("\"{tag}\""))
        .header("Vary", "Accept-Encoding")
        .header("Content-Security-Policy", POLICY)
        .header("Referrer-Policy", "no-referrer");
    if !matches!(reply.body, Body::Measured(..)) {
        return Ok(Answer::Now(reply));
    }
    Ok(Answer::Later(Box::new(move |_| {
        Ok(LateResponse::Stream(Stream {
            head: reply,
            holds: 0,
            is_endless: false,
            body: Box::new(move |sink| sink.write(bytes)),
        }))
    })))
}
