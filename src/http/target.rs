//! Paths and queries: percent-decoding that refuses what it cannot read, and parameters by name.
//!
//! A parameter that is not known is refused rather than ignored: a misspelt `?upsrt=true` must not
//! quietly do something else.

use super::problem::{self, Kind, Problem};
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// Decodes the escapes of a path's part. Borrows where there are none.
pub(crate) fn decode<'a>(text: &'a str, kind: &'static Kind) -> Result<Cow<'a, str>, Problem> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let mut rest = text.as_bytes();
    while let Some(percent) = rest.iter().position(|&byte| byte == b'%') {
        match &rest[percent..] {
            [_, high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest = after,
            _ => {
                return Err(Problem::new(
                    kind,
                    "a `%` is not followed by two hexadecimal digits",
                ));
            }
        }
    }
    percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| Problem::new(kind, "it is not UTF-8 once its percent-encoding is decoded"))
}

/// Parameters that may stand without a `=`; see [`flag`].
const FLAGS: [&str; 5] = ["dry_run", "raw", "upsert", "values", "wait"];

/// The values of the parameters `names`, in their order; none for one that is not there.
///
/// Only a flag may stand without a `=`. Of others that says nothing, and for a prefix nothing would mean all keys.
pub(crate) fn parameters<'a, const N: usize>(
    query: Option<&'a str>,
    names: [&'static str; N],
) -> Result<[Option<Cow<'a, str>>; N], Problem> {
    let mut values = [const { None }; N];
    let mut rest = query;
    while let Some(query) = rest {
        let pair;
        (pair, rest) = cut(query, b'&');
        if pair.is_empty() {
            continue;
        }
        let (name, value) = cut(pair, b'=');
        let name = decode_parameter(name)?;
        let Some(index) = names.iter().position(|known| *known == name) else {
            return Err(Problem::new(
                problem::BAD_QUERY,
                format!("there is no parameter {name:?} on this path"),
            )
            .field(name.into_owned()));
        };
        let Some(value) = value.or(FLAGS.contains(&names[index]).then_some("")) else {
            let why = "the parameter has no value; one that is empty is written with a `=`";
            return Err(Problem::new(problem::BAD_QUERY, why).field(names[index]));
        };
        let value = decode_parameter(value)?;
        if values[index].replace(value).is_some() {
            return Err(Problem::new(problem::BAD_QUERY, "the parameter occurs twice").field(names[index]));
        }
    }
    Ok(values)
}

/// A flag: there without a value, or with `true` or `false`.
pub(crate) fn flag(name: &'static str, value: Option<&str>) -> Result<bool, Problem> {
    match value {
        None | Some("false") => Ok(false),
        Some("" | "true") => Ok(true),
        Some(_) => Err(Problem::new(problem::BAD_QUERY, "must be `true` or `false`").field(name)),
    }
}

/// What stands before the first such byte, which is ASCII, and after it. A loop over bytes: for texts as short as these
/// a search of `str` costs more to begin than to do.
fn cut(text: &str, at: u8) -> (&str, Option<&str>) {
    match text.bytes().position(|byte| byte == at) {
        Some(index) => (&text[..index], Some(&text[index + 1..])),
        None => (text, None),
    }
}

/// In a query, and only there, `+` stands for a blank.
fn decode_parameter(text: &str) -> Result<Cow<'_, str>, Problem> {
    if !text.bytes().any(|byte| matches!(byte, b'+' | b'%')) {
        return Ok(Cow::Borrowed(text));
    }
    if !text.contains('+') {
        return decode(text, problem::BAD_QUERY);
    }
    let text = text.replace('+', "%20");
    decode(&text, problem::BAD_QUERY).map(|decoded| Cow::Owned(decoded.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_are_read_or_refused() {
        let path = |text| decode(text, problem::BAD_KEY);
        assert_eq!(path("a+b/c").unwrap(), "a+b/c");
        assert_eq!(path("a%20b%2F%D0%BA").unwrap(), "a b/к");
        assert_eq!(path("%00").unwrap(), "\0");
        for wrong in ["%", "a%2", "%zz", "%2g", "%%41", "%ff", "%C3", "%+1"] {
            assert_eq!(path(wrong).unwrap_err().kind.status, 400, "{wrong}");
        }
    }

    #[test]
    fn parameters_are_known_and_single() {
        let read = |query| parameters(Some(query), ["prefix", "limit"]);
        assert_eq!(
            read("limit=5&prefix=a+b%2Bc").unwrap(),
            [Some("a b+c".into()), Some("5".into())]
        );
        assert_eq!(read("prefix=").unwrap(), [Some("".into()), None]);
        assert_eq!(parameters(Some("raw"), ["raw"]).unwrap(), [Some("".into())]);
        assert_eq!(read("&&").unwrap(), [None, None]);
        for wrong in [
            "limit=1&limit=1",
            "limt=1",
            "prefix",
            "prefix&limit=1",
            "prefix=%",
            "prefix=%ff",
            "=1",
            "Limit=1",
        ] {
            assert_eq!(read(wrong).unwrap_err().kind.status, 400, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_a_client_encodes_is_what_comes_out(key in "\\PC{1,50}") {
            let path = crate::api::key_path(&key);
            let decoded = decode(path.strip_prefix(crate::api::PATH_KV).unwrap(), problem::BAD_KEY);
            prop_assert_eq!(decoded.unwrap(), key.clone());
            let query = format!("prefix={}", crate::api::query_value(&key));
            let [prefix] = parameters(Some(&query), ["prefix"]).unwrap();
            prop_assert_eq!(prefix.unwrap(), key);
        }
    }
}
