//! `pykv pause` and `pykv resume`

use super::{Error, connect, print_json, print_text};
use crate::cli::Pause;

pub(super) fn run(args: &Pause, is_paused: bool) -> Result<(), Error> {
    let client = connect(&args.connection)?;
    let doing = match is_paused {
        true => "cannot pause takeovers",
        false => "cannot end the pause of takeovers",
    };
    let paused = client.pause(is_paused).map_err(Error::client(doing))?;
    if args.json {
        return print_json(serde_json::to_vec(&paused).expect("plain data has a form in JSON"));
    }
    print_text(match paused.paused {
        true => "no node takes over by itself before `pykv resume`\n",
        false => "nodes take over by themselves\n",
    })
}
