//! `pykv forget`

use super::{Error, connect, print};
use crate::api;
use crate::cli::Forget;
use crate::client;

pub(super) fn run(args: &Forget) -> Result<(), Error> {
    let client = connect(&args.connection)?;
    let forgotten = client.forget(&args.node).map_err(|error| match error {
        client::Error::Refused(problem) if problem.kind == api::PROBLEM_NO_NODE => {
            Error::UnknownNode(args.node.clone())
        }
        error => Error::client("cannot make the node forget another one")(error),
    })?;
    print(format!("forgot {}\n", forgotten.node).as_bytes())
}
