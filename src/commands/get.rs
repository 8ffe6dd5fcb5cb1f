//! `pykv get`

use super::{Error, connect, is_missing, print, print_json, terminal};
use crate::cli::Get;
use crate::client::Client;

pub(super) fn run(args: &Get) -> Result<(), Error> {
    let client = connect(&args.connection)?;
    let mut missing = Vec::new();
    for key in &args.keys {
        if !get(&client, args, key)? {
            missing.push(key.clone());
        }
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Error::Missing(missing)),
    }
}

/// Prints the value of a key; `false` where it does not exist.
fn get(client: &Client, args: &Get, key: &str) -> Result<bool, Error> {
    let answer = if args.json {
        client.get_json(key)
    } else {
        client.get(key)
    };
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(error) if is_missing(&error) => return Ok(false),
        Err(error) => return Err(Error::client(format!("cannot get {key:?}"))(error)),
    };
    if args.json {
        print_json(answer)?;
        return Ok(true);
    }
    // A pipe or a file gets the exact bytes; a person gets what does not act on the terminal, on a line of its own.
    if terminal::is_seen() && !args.raw {
        answer = terminal::value(answer);
        if answer.last() != Some(&b'\n') {
            answer.push(b'\n');
        }
    } else if args.keys.len() > 1 {
        answer.push(b'\n');
    }
    print(&answer)?;
    Ok(true)
}
