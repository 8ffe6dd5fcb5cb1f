//! `pykv exists`

use super::{Error, connect, is_missing, print, print_json};
use crate::cli::Exists;
use crate::client::Client;
use serde_json::json;

pub(super) fn run(args: &Exists) -> Result<(), Error> {
    let client = connect(&args.connection)?;
    let missing = missing(&client, &args.keys)?;
    let existing = args.keys.len() - missing.len();
    if args.json {
        let answer = json!({"exist": existing, "missing": missing});
        print_json(answer.to_string().into_bytes())?;
    } else {
        print(format!("{existing}\n").as_bytes())?;
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Error::Missing(missing)),
    }
}

/// The keys that do not exist.
pub(super) fn missing(client: &Client, keys: &[String]) -> Result<Vec<String>, Error> {
    let mut missing = Vec::new();
    for key in keys {
        match client.ttl(key) {
            Ok(_) => {}
            Err(error) if is_missing(&error) => missing.push(key.clone()),
            Err(error) => return Err(Error::client(format!("cannot look at {key:?}"))(error)),
        }
    }
    Ok(missing)
}
