//! `pykv get`

use super::{Error, connect, missing_or, print, print_json, terminal};
use crate::cli::Get;

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
    // A pipe or a file gets the exact bytes; a person gets what does not act on the terminal, on a line of its own.
    if terminal::is_seen() {
        answer = terminal::value(answer);
        if answer.last() != Some(&b'\n') {
            answer.push(b'\n');
        }
    }
    print(&answer)
}
