//! `pykv incr`

use super::{Error, connect, print, print_json};
use crate::cli::Incr;
use crate::client::Client;
use serde::Deserialize;

/// What is read of the answer.
#[derive(Deserialize)]
struct Made {
    value: String,
}

pub(super) fn run(args: &Incr) -> Result<(), Error> {
    let client = connect(&args.connection)?;
    let answer = increment(&client, &args.key, args.by, args.initial.unwrap_or(args.by))?;
    match args.json {
        true => print_json(answer),
        false => print(format!("{}\n", number(&answer)?).as_bytes()),
    }
}

/// Adds to a number; a key that does not exist becomes `initial`. Returns the answer of the node.
pub(super) fn increment(client: &Client, key: &str, by: i64, initial: i64) -> Result<Vec<u8>, Error> {
    let answer = client.increment(key, by, initial);
    answer.map_err(Error::client(format!("cannot increment {key:?}")))
}

/// The number in such an answer.
pub(super) fn number(answer: &[u8]) -> Result<String, Error> {
    let made: Result<Made, _> = serde_json::from_slice(answer);
    made.map(|made| made.value)
        .map_err(|_| Error::Broken("the answer of the node to an increment has no number".to_owned()))
}
