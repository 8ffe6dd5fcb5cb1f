//! `pykv del`

use super::{Error, condition, connect, is_missing, print, print_json};
use crate::cli::Del;
use serde_json::json;

pub(super) fn run(args: &Del) -> Result<(), Error> {
    if args.if_version.is_some() && args.keys.len() > 1 {
        return Err(Error::Usage(
            "--if-version is for one key; delete other keys by separate commands".to_owned(),
        ));
    }
    let prefix = prefix(args)?;
    let client = connect(&args.connection)?;
    if let Some(prefix) = prefix {
        let doing = match prefix {
            "" => "cannot delete all keys".to_owned(),
            prefix => format!("cannot delete the keys that begin with {prefix:?}"),
        };
        let answer = client
            .delete_prefix(prefix, args.dry_run)
            .map_err(Error::client(doing))?;
        if args.json {
            return print_json(serde_json::to_vec(&answer).expect("plain data has a form in JSON"));
        }
        let keys = answer.would_delete.unwrap_or(answer.deleted);
        return print(format!("{keys}\n").as_bytes());
    }
    let condition = condition(args.if_version);
    let mut missing = Vec::new();
    for key in &args.keys {
        match client.delete(key, condition) {
            Ok(()) => {}
            Err(error) if is_missing(&error) => missing.push(key.clone()),
            Err(error) => return Err(Error::client(format!("cannot delete {key:?}"))(error)),
        }
    }
    if args.json {
        let answer = json!({"deleted": args.keys.len() - missing.len(), "missing": missing});
        print_json(answer.to_string().into_bytes())?;
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Error::Missing(missing))
    }
}

/// What the keys to delete begin with; none where they are named.
fn prefix(args: &Del) -> Result<Option<&str>, Error> {
    match (args.prefix.as_deref(), args.all) {
        (Some(""), false) if !args.dry_run => Err(Error::Usage(
            "an empty --prefix means every key: use --all to delete all keys".to_owned(),
        )),
        (Some(prefix), true) if !prefix.is_empty() => Err(Error::Usage(format!(
            "--all and --prefix {prefix:?} cannot be combined"
        ))),
        (None, true) => Ok(Some("")),
        (prefix, _) => Ok(prefix),
    }
}
