//! `pykv forget`

use super::{Error, connect, print, print_json};
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
    if args.json {
        return print_json(serde_json::to_vec(&forgotten).expect("plain data has a form in JSON"));
    }
    print(format!("forgot {}\n", forgotten.node).as_bytes())
}
