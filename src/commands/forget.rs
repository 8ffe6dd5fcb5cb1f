//! `pykv forget`

use super::{Error, connect, print};
use crate::cli::Forget;
use crate::client;

/// The kind of problem that says that the node is not known. An older node answers another 404.
const KIND_UNKNOWN: &str = "urn:pykv:problem:no-such-node";

pub(super) fn run(args: &Forget) -> Result<(), Error> {
    let client = connect(&args.connection)?;
    let forgotten = client.forget(&args.node).map_err(|error| match &error {
        client::Error::Refused(problem) if problem.kind == KIND_UNKNOWN => {
            Error::UnknownNode(args.node.clone())
        }
        _ => Error::client("cannot make the node forget another one")(error),
    })?;
    print(format!("forgot {}\n", forgotten.node).as_bytes())
}
