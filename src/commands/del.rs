//! `pykv del`

use super::{Error, condition, connect, is_missing};
use crate::cli::Del;

pub(super) fn run(args: &Del) -> Result<(), Error> {
    if args.if_version.is_some() && args.keys.len() > 1 {
        return Err(Error::Usage(
            "--if-version is the version of one key; delete the others by commands of their own".to_owned(),
        ));
    }
    let client = connect(&args.connection)?;
    let condition = condition(args.if_version);
    let mut missing = Vec::new();
    for key in &args.keys {
        match client.delete(key, condition) {
            Ok(()) => {}
            Err(error) if is_missing(&error) => missing.push(key.clone()),
            Err(error) => return Err(Error::client(format!("cannot delete {key:?}"))(error)),
        }
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Error::Missing(missing))
    }
}
