//! `pykv list`

use super::{Error, connect, print};
use crate::api::LIST_LIMIT_MAX;
use crate::cli::List;

pub(super) fn run(args: &List) -> Result<(), Error> {
    let client = connect(&args.connection)?;
    let mut left = args.limit.map_or(u64::MAX, |limit| limit.get());
    let mut cursor = None;
    let mut out = Vec::new();
    loop {
        let page_keys = left.min(LIST_LIMIT_MAX as u64) as usize;
        let page = client
            .list(&args.prefix, cursor.as_deref(), page_keys)
            .map_err(Error::client("cannot list the keys"))?;
        out.clear();
        for key in page.keys.iter().take(page_keys) {
            if args.json {
                out.extend(serde_json::Value::from(key.as_str()).to_string().bytes());
            } else {
                out.extend_from_slice(key.as_bytes());
            }
            out.push(if args.null { 0 } else { b'\n' });
        }
        print(&out)?;
        left -= page.keys.len().min(page_keys) as u64;
        cursor = page.cursor;
        if left == 0 || cursor.is_none() {
            return Ok(());
        }
    }
}
