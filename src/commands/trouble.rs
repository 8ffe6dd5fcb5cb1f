//! What is wrong with a node though it takes requests, as `pykv status` shows it.

use crate::api::Status;

/// A line for each thing. What is wrong with its place in a cluster is not among them.
pub(super) fn of(status: &Status) -> impl Iterator<Item = (&'static str, String)> {
    let all = [clock(status), tokens(status), certificate(status)];
    all.into_iter().flatten().map(|why| ("trouble", why))
}

/// The system's clock was set back.
fn clock(status: &Status) -> Option<String> {
    let seconds = status.clock_ahead_seconds?;
    Some(format!(
        "the system's clock was set back by {seconds:.0} s: deadlines given before may be as much too late"
    ))
}

/// The file of tokens could not be read anew.
fn tokens(status: &Status) -> Option<String> {
    let error = status.tokens.as_ref()?.error.as_ref()?;
    Some(format!("the tokens of before are in use: {error}"))
}

/// The certificate could not be read anew.
fn certificate(status: &Status) -> Option<String> {
    let error = status.tls.as_ref()?.failure.as_ref()?;
    Some(format!("the certificate of before is in use: {error}"))
}
