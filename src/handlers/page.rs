//! `GET /` and `GET /page/...`: the files of the web page.

use super::conditions::{self, Fetch};
use super::context::Scratch;
use super::route::Route;
use crate::http::media;
use crate::http::problem::{self, Problem};
use crate::http::request::Head;
use crate::http::response::{Body, Caching, Reply};
use crate::http::target;
use crate::page::POLICY;
use crate::store::VERSION_MAX;
use tiny_http::StatusCode;
use twox_hash::XxHash3_64;

pub(crate) fn get(route: &Route<'_>, head: &Head<'_>, scratch: &mut Scratch) -> Result<Reply, Problem> {
    let Some(file) = route.file else {
        return Err(Problem::new(problem::NO_PATH, "the page has no such file"));
    };
    let [] = target::parameters(head.query, [])?;
    // Asked for anew each time, and told that nothing changed: so a new pykv is never seen by half.
    // As long as a version is, which numbers in JSON hold exactly.
    let is_gzip = media::takes_gzip(&head.accept_encoding);
    let bytes = if is_gzip { file.gzip() } else { file.bytes() };
    let version = XxHash3_64::oneshot(bytes) & VERSION_MAX;
    let mut reply = match conditions::of_read(head, version)? {
        Fetch::Go => {
            scratch.body.extend_from_slice(bytes);
            Reply::new(StatusCode(200), Body::Written(file.media()))
        }
        Fetch::NotModified => Reply::new(StatusCode(304), Body::None),
        Fetch::Failed => return Err(Problem::precondition_failed(version)),
    };
    reply.caching = Caching::Revalidated;
    if is_gzip {
        reply = reply.header("Content-Encoding", "gzip");
    }
    Ok(reply
        .version(version)
        .header("Vary", "Accept-Encoding")
        .header("Content-Security-Policy", POLICY)
        .header("Referrer-Policy", "no-referrer"))
}
