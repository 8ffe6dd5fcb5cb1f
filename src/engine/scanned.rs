//! What `SCAN` is asked, and what it answers.

use super::error::{EngineError, unexpected};
use super::topology::text_of;
use redis::Value;

/// What `SCAN` has answered: where it continues, and keys.
pub(super) fn scanned(answer: &Value) -> Result<(u64, Vec<Vec<u8>>), EngineError> {
    let Value::Array(parts) = answer else {
        return Err(unexpected(Some(answer)));
    };
    let [next, Value::Array(keys)] = &parts[..] else {
        return Err(unexpected(None));
    };
    let next = text_of(next)
        .and_then(|next| next.parse().ok())
        .ok_or_else(|| unexpected(None))?;
    let keys = keys.iter().filter_map(|key| match key {
        Value::BulkString(key) => Some(key.clone()),
        _ => None,
    });
    Ok((next, keys.collect()))
}

/// The pattern of what begins with a prefix.
pub(super) fn pattern_of(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for c in prefix.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('*');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_no_pattern() {
        assert_eq!(pattern_of("a*[b]?\\"), "a\\*\\[b\\]\\?\\\\*");
    }
}
