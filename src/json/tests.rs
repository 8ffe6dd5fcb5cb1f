use super::*;

/// All kinds of fields, read as they are asked for by their names.
struct All;

impl<'de> DeserializeSeed<'de> for All {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for All {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<String, A::Error> {
        let mut read = String::new();
        while let Some(Name(name)) = map.next_key()? {
            read += &match &*name {
                "value" => text(&mut map, "value")?.into_owned(),
                "key" => text(&mut map, "key")?.into_owned(),
                "ttl" => number(&mut map, "ttl")?.to_string(),
                "ttl?" => format!("{:?}", number_or_null(&mut map, "ttl")?),
                "version" => whole(&mut map, "version")?.to_string(),
                "version?" => format!("{:?}", whole_or_null(&mut map, "version")?),
                _ => flag(&mut map, "flag")?.to_string(),
            };
            read.push(' ');
        }
        Ok(read)
    }

    refuse_others!(map, "this must be an object");
}

fn read(text: &str) -> Result<String, String> {
    let mut json = serde_json::Deserializer::from_slice(text.as_bytes());
    All.deserialize(&mut json)
        .and_then(|read| json.end().map(|()| read))
        .map_err(|error| why(&error, false))
}

#[test]
fn fields_are_what_they_must_be() {
    let all = r#"{"key":"a\u00e9","ttl":1,"ttl":-1.5,"ttl?":null,"ttl?":2e1,"version":7,"version?":null,"flag":true}"#;
    assert_eq!(read(all).unwrap(), "aé 1 -1.5 None Some(20.0) 7 None true ");
    for (field, said) in [
        (r#""key":5"#, "`key` must be a string, not a number"),
        (r#""key":null"#, "`key` must be a string, not null"),
        (r#""key":[]"#, "`key` must be a string, not a list"),
        (
            r#""value":{"a":1}"#,
            "`value` must be a string, not an object; to store JSON, write it as text in a string",
        ),
        (r#""ttl":"5""#, "`ttl` must be a number, not a string"),
        (r#""ttl?":true"#, "`ttl` must be a number, or null, not true"),
        (r#""version":1.5"#, "`version` must be a whole number, 0 or more"),
        (r#""version":-1"#, "`version` must be a whole number, 0 or more"),
        (
            r#""version?":"1""#,
            "`version` must be a whole number, 0 or more, or null, not a string",
        ),
        (r#""flag":1"#, "`flag` must be true or false, not a number"),
    ] {
        assert_eq!(read(&format!("{{{field}}}")), Err(said.to_owned()), "{field}");
    }
    for (text, said) in [
        ("[1]", "this must be an object, not a list"),
        ("5", "this must be an object, not a number"),
        ("-5", "this must be an object, not a number"),
        ("5.5", "this must be an object, not a number"),
        ("\"a\"", "this must be an object, not a string"),
        ("null", "this must be an object, not null"),
        ("true", "this must be an object, not true"),
    ] {
        assert_eq!(read(text), Err(said.to_owned()), "{text}");
    }
}

#[test]
fn the_words_are_not_the_parsers() {
    let deep = "[".repeat(300_000);
    for (text, said) in [
        ("", "there is no JSON"),
        ("{", "the JSON is cut short, at column 1"),
        ("nonsense", "this is not JSON, at column 2"),
        ("\u{feff}{}", "this is not JSON, at column 1"),
        ("{} {}", "something follows where the JSON has ended, at column 4"),
        (
            "{a:1}",
            "the name of a field must be in double quotes, at column 2",
        ),
        (
            "{\"key\" 1}",
            "a colon is missing behind the name of a field, at column 8",
        ),
        (
            "{\"key\":\"a\" 1}",
            "a comma or the closing } is missing, at column 12",
        ),
        ("{\"key\":\"a\",}", "a comma has nothing behind it, at column 12"),
        (
            "{\"key\":\"\\q\"}",
            "a backslash in a string begins an escape that JSON does not have, at column 10",
        ),
        (
            "{\"key\":\"\\ud800\"}",
            "a \\u escape in a string is half of a pair, or too short, at column 15",
        ),
        ("{\"ttl\":1e999}", "a number is too large, at column 12"),
        (
            "{\"ttl\":01}",
            "a number is not written as JSON has it, at column 9",
        ),
    ] {
        assert_eq!(read(text), Err(said.to_owned()), "{text}");
    }
    let error = serde_json::from_str::<serde_json::Value>(&deep).unwrap_err();
    assert_eq!(
        why(&error, true),
        "it is nested too deeply, at line 1, column 128"
    );
    let error = serde_json::from_slice::<serde_json::Value>(b"\"\n\"").unwrap_err();
    assert!(why(&error, false).starts_with("a line break"), "{error}");
    let error = serde_json::from_slice::<serde_json::Value>(b"\"\xff\"").unwrap_err();
    assert!(why(&error, false).starts_with("it is not UTF-8"), "{error}");
}
