//! `pykv get`

use super::{Error, connect, is_missing, print, print_json};
use crate::cli::Get;
use std::io::{self, IsTerminal};

pub(super) fn run(args: &Get) -> Result<(), Error> {
    let client = connect(&args.connection)?;
    let answer = if args.json {
        client.get_json(&args.key)
    } else {
        client.get(&args.key)
    };
    let mut answer = answer.map_err(|error| {
        if is_missing(&error) {
            Error::Missing(vec![args.key.clone()])
        } else {
            Error::client(format!("cannot get {:?}", args.key))(error)
        }
    })?;
    if args.json {
        return print_json(answer);
    }
    // A pipe or a file gets the exact bytes; a person gets the prompt on a line of its own.
    if io::stdout().is_terminal() && answer.last() != Some(&b'\n') {
        answer.push(b'\n');
    }
    print(&answer)
}
