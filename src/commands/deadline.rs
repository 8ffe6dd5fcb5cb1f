//! `pykv ttl`, `pykv expire` and `pykv persist`

use super::{Error, connect, missing_or, print, print_json};
use crate::cli::{Expire, Persist, Ttl};
use std::time::{Duration, SystemTime};

pub(super) fn ttl(args: &Ttl) -> Result<(), Error> {
    let deadline = connect(&args.connection)?
        .deadline(&args.key)
        .map_err(missing_or(&args.key, "cannot look at"))?;
    print(format!("{}\n", text(deadline, SystemTime::now())).as_bytes())
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

/// How long a key has left. By the clock of this machine: a key that is there has some time left, whatever
/// that clock says.
pub(super) fn text(deadline: Option<SystemTime>, now: SystemTime) -> String {
    match deadline {
        None => "none".to_owned(),
        Some(deadline) => {
            let left = deadline.duration_since(now).unwrap_or(Duration::ZERO);
            format!("{}.{:03}", left.as_secs(), left.subsec_millis())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        assert_eq!(text(None, now), "none");
        assert_eq!(text(Some(now + Duration::from_millis(90_007)), now), "90.007");
        assert_eq!(text(Some(now - Duration::from_secs(1)), now), "0.000");
    }
}
