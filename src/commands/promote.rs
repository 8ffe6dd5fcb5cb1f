//! `pykv promote`

use super::{Error, connect, print_json, print_text};
use crate::cli::Promote;

pub(super) fn run(args: &Promote) -> Result<(), Error> {
    let client = connect(&args.connection)?;
    let promoted = client
        .promote(args.force)
        .map_err(Error::client("cannot make the node primary"))?;
    if args.json {
        return print_json(serde_json::to_vec(&promoted).expect("plain data has a form in JSON"));
    }
    let mut text = format!(
        "the node is the primary of term {}, from offset {} on\n",
        promoted.term, promoted.offset
    );
    if promoted.left_behind_bytes > 0 {
        let bytes = promoted.left_behind_bytes;
        text.push_str(&format!(
            "{bytes} bytes of the former primary's log did not get here\n"
        ));
    }
    if promoted.evicted > 0 {
        let keys = promoted.evicted;
        text.push_str(&format!(
            "it evicted {keys} keys: its bounds are smaller than the former primary's\n"
        ));
    }
    print_text(&text)
}
