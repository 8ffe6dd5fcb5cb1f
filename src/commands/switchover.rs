//! `pykv switchover` and `pykv failover`

use super::{Error, connect, print_json, print_text};
use crate::api::Elected;
use crate::cli::{Failover, Switchover};

pub(super) fn switchover(args: &Switchover) -> Result<(), Error> {
    let client = connect(&args.connection)?;
    let elected = client
        .switchover(args.to.as_deref())
        .map_err(Error::client("cannot hand over"))?;
    say(&elected, args.json)
}

pub(super) fn failover(args: &Failover) -> Result<(), Error> {
    let client = connect(&args.connection)?;
    let elected = client
        .failover(&args.to, args.accept_loss)
        .map_err(Error::client("cannot make the node primary"))?;
    say(&elected, args.json)
}

fn say(elected: &Elected, as_json: bool) -> Result<(), Error> {
    if as_json {
        return print_json(serde_json::to_vec(elected).expect("plain data has a form in JSON"));
    }
    print_text(&format!(
        "{} is the primary of term {}\n",
        elected.primary, elected.term
    ))
}
