//! `pykv ttl`, `pykv expire` and `pykv persist`

use super::{Error, connect, missing_or, print, print_json};
use crate::cli::{Expire, Persist, Ttl};
use serde_json::json;
use std::time::Duration;

pub(super) fn ttl(args: &Ttl) -> Result<(), Error> {
    let ttl = connect(&args.connection)?
        .ttl(&args.key)
        .map_err(missing_or(&args.key, "cannot look at"))?;
    if args.json {
        let ttl = ttl.map(|left| left.as_secs_f64());
        return print_json(json!({"key": args.key, "ttl": ttl}).to_string().into_bytes());
    }
    print(format!("{}\n", text(ttl)).as_bytes())
}

pub(super) fn expire(args: &Expire) -> Result<(), Error> {
    let answer = connect(&args.connection)?
        .set_deadline(&args.key, Some(args.ttl.0))
        .map_err(missing_or(&args.key, "cannot set the deadline of"))?;
    if args.json { print_json(answer) } else { Ok(()) }
}

pub(super) fn persist(args: &Persist) -> Result<(), Error> {
    let answer = connect(&args.connection)?
        .set_deadline(&args.key, None)
        .map_err(missing_or(&args.key, "cannot remove the deadline of"))?;
    if args.json { print_json(answer) } else { Ok(()) }
}

/// How long a key has left, in seconds.
pub(super) fn text(ttl: Option<Duration>) -> String {
    match ttl {
        None => "none".to_owned(),
        Some(left) => format!("{}.{:03}", left.as_secs(), left.subsec_millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left() {
        assert_eq!(text(None), "none");
        assert_eq!(text(Some(Duration::from_millis(90_007))), "90.007");
        assert_eq!(text(Some(Duration::ZERO)), "0.000");
    }
}
