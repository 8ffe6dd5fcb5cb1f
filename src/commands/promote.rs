//! `pykv promote`

use super::{Error, connect, print_json, print_text};
use crate::cli::Promote;

pub(super) fn run(args: &Promote) -> Result<(), Error> {
    let client = connect(&args.connection)?;
    let promoted = client
        .promote()
        .map_err(Error::client("cannot make the node primary"))?;
    if args.json {
        return print_json(serde_json::to_vec(&promoted).expect("plain data has a form in JSON"));
    }
    let text = format!(
        "the node is the primary of term {}, from offset {} on\n",
        promoted.term, promoted.offset
    );
    print_text(&text)
}
