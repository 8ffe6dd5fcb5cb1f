//! `pykv ping`

use super::{Error, connect, print, print_json};
use crate::cli::Ping;

pub(super) fn run(args: &Ping) -> Result<(), Error> {
    let doing = match args.ready {
        true => "the node is not ready",
        false => "the node does not answer",
    };
    connect(&args.connection)?
        .ping(args.ready)
        .map_err(Error::client(doing))?;
    match args.json {
        true => print_json(br#"{"answer":"pong"}"#.to_vec()),
        false => print(b"pong\n"),
    }
}
