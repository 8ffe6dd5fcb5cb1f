//! `pykv ping`

use super::{Error, connect, print};
use crate::cli::Ping;

pub(super) fn run(args: &Ping) -> Result<(), Error> {
    connect(&args.connection)?
        .ping(args.ready)
        .map_err(Error::client("the node is not well"))?;
    print(b"pong\n")
}
