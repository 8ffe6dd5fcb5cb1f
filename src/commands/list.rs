//! `pykv list`

use super::{Error, beginning_with, connect, print, print_lines_of_json, say, terminal};
use crate::api::LIST_LIMIT_MAX;
use crate::cli::List;

pub(super) fn run(args: &List) -> Result<(), Error> {
    let client = connect(&args.connection)?;
    let mut left = args.limit.map_or(u64::MAX, |limit| limit.get());
    let mut cursor: Option<String> = None;
    let pattern = args.pattern.as_deref();
    let mut out = Vec::new();
    let is_seen = terminal::is_seen() && !args.null;
    let mut is_empty = true;
    loop {
        let page_keys = left.min(LIST_LIMIT_MAX as u64) as usize;
        let from = cursor.as_deref();
        let cannot_list = Error::client(beginning_with("cannot list the keys", &args.prefix));
        let listed;
        out.clear();
        if args.values {
            let page = client
                .list_entries(&args.prefix, pattern, from, page_keys)
                .map_err(cannot_list)?;
            listed = page.entries.len();
            for entry in page.entries.iter().take(page_keys) {
                serde_json::to_writer(&mut out, entry)
                    .expect("plain data has a form in JSON, and a vector takes it");
                out.push(b'\n');
            }
            cursor = page.cursor;
        } else {
            let page = client
                .list(&args.prefix, pattern, from, page_keys)
                .map_err(cannot_list)?;
            listed = page.keys.len();
            for key in page.keys.iter().take(page_keys) {
                if args.json {
                    out.extend(serde_json::Value::from(key.as_str()).to_string().bytes());
                } else if is_seen {
                    out.extend_from_slice(terminal::key(key).as_bytes());
                } else {
                    out.extend_from_slice(key.as_bytes());
                }
                out.push(if args.null { 0 } else { b'\n' });
            }
            cursor = page.cursor;
        }
        if args.values || args.json {
            print_lines_of_json(&out)?;
        } else {
            print(&out)?;
        }
        is_empty &= listed == 0;
        left -= listed.min(page_keys) as u64;
        if left == 0 || cursor.is_none() {
            if is_empty && pattern.is_none() && is_perhaps_pattern(&args.prefix) {
                say_pattern(&args.prefix);
            }
            return Ok(());
        }
    }
}

/// Whether a prefix looks like a pattern.
pub(super) fn is_perhaps_pattern(prefix: &str) -> bool {
    prefix.contains(['*', '?', '['])
}

/// A prefix is taken as it is written; who comes from another store may mean a pattern.
fn say_pattern(prefix: &str) {
    say(&format!(
        "pykv: no key begins with {prefix}; `pykv list --match '{prefix}'` takes a pattern"
    ));
}
