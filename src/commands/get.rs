//! `pykv get`

use super::{Error, connect, missing_or, print, print_json};
use crate::cli::Get;
use std::io::{self, IsTerminal};

pub(super) fn run(args: &Get) -> Result<(), Error> {
    let client = connect(&args.connection)?;
    let answer = if args.json {
        client.get_json(&args.key)
    } else {
        client.get(&args.key)
    };
    let mut answer = answer.map_err(missing_or(&args.key, "cannot get"))?;
    if args.json {
        return print_json(answer);
    }
    // A pipe or a file gets the exact bytes; a person gets the prompt on a line of its own.
    if io::stdout().is_terminal() && answer.last() != Some(&b'\n') {
        answer.push(b'\n');
    }
    print(&answer)
}
