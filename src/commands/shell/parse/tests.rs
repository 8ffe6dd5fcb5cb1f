use super::super::words::{last_word, quoted};
use super::*;
use proptest::prelude::*;

fn split(line: &str) -> Vec<Vec<u8>> {
    words(line.as_bytes()).unwrap()
}

#[test]
fn words_are_those_of_redis_cli() {
    assert_eq!(split("  set  a\tb "), [&b"set"[..], b"a", b"b"]);
    assert_eq!(
        split(r#""a b" 'c "d"' "\x00\xFF\n\"\\\'" '\'\n' """#),
        [&b"a b"[..], b"c \"d\"", b"\0\xff\n\"\\'", b"'\\n", b""]
    );
    assert_eq!(split(r#"it"s"#), [b"it\"s"], "a quote in a word is itself");
    assert!(split("   ").is_empty());
    for wrong in [r#""a"#, "'a", r#""a"b"#, "'a''b'", r#""a\""#, r#"""""#] {
        assert!(words(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn commands_in_any_case() {
    let parse = |line: &str| command(line.as_bytes()).unwrap();
    for nothing in ["", "# get a", "  #", "# it's \"open"] {
        assert_eq!(parse(nothing), None, "{nothing}");
    }
    assert_eq!(parse("gEt 'a b'"), Some(Command::Get(vec!["a b".to_owned()])));
    assert_eq!(
        parse("set k \"\\xff\" ttl 90s ifabsent"),
        Some(Command::Set {
            key: "k".to_owned(),
            value: b"\xff".to_vec(),
            ttl: Some(Duration::from_secs(90)),
            condition: Condition::Absent,
        })
    );
    assert_eq!(
        parse("SET k v IFVERSION 7"),
        Some(Command::Set {
            key: "k".to_owned(),
            value: b"v".to_vec(),
            ttl: None,
            condition: Condition::Version(7),
        })
    );
    let list = |prefix: &str, limit, with_values| {
        Some(Command::List {
            prefix: prefix.to_owned(),
            pattern: None,
            limit,
            with_values,
        })
    };
    assert_eq!(parse("LIST"), list("", None, false));
    assert_eq!(parse("list user:"), list("user:", None, false));
    assert_eq!(parse("list limit 5"), list("", Some(5), false));
    assert_eq!(parse("list limit"), list("limit", None, false));
    assert_eq!(parse("values limit limit 5"), list("limit", Some(5), true));
    let matching = |prefix: &str, limit| {
        Some(Command::List {
            prefix: prefix.to_owned(),
            pattern: Some("u*".to_owned()),
            limit,
            with_values: false,
        })
    };
    assert_eq!(parse("list match u*"), matching("", None));
    assert_eq!(parse("list limit 5 match u*"), matching("", Some(5)));
    assert_eq!(parse("LIST u MATCH u* LIMIT 5"), matching("u", Some(5)));
    for (line, dry_run) in [
        ("delprefix '' dryrun", true),
        ("delprefix '' all", false),
        ("DELPREFIX '' ALL DRYRUN", true),
    ] {
        let prefix = String::new();
        assert_eq!(
            parse(line),
            Some(Command::DelPrefix { prefix, dry_run }),
            "{line}"
        );
    }
    assert_eq!(parse("quit"), Some(Command::Exit));
    assert_eq!(parse("help"), Some(Command::Help(None)));
    assert!(matches!(parse("help set"), Some(Command::Help(Some(topic))) if topic.name == "SET"));
}

#[test]
fn what_is_no_command() {
    for (line, said) in [
        ("add k v", "no command"),
        ("get", "GET KEY"),
        ("incr k 1 2", "INCR KEY"),
        ("incr k x", "whole number"),
        ("set k", "SET KEY VALUE"),
        ("set k v soon", "SET KEY VALUE"),
        ("set k v ttl", "SET KEY VALUE"),
        ("set k v ttl 9e1", "a duration"),
        ("set k v ifabsent ifversion 1", "SET KEY VALUE"),
        ("set k v ifversion x", "version"),
        ("del", "DEL KEY"),
        ("get ''", "at least one byte"),
        ("get \"\\xff\"", "UTF-8"),
        ("list a limit 0", "LIMIT"),
        ("expire k", "EXPIRE KEY TIME"),
        ("status now", "STATUS"),
        ("help nonsense", "no command"),
        ("delprefix ''", "ALL"),
        ("delprefix \"\"", "ALL"),
        ("delprefix a all", "empty prefix"),
        ("set k v ttl 1us", "at least 1ms"),
    ] {
        let error = command(line.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(said), "{line}: {error}");
    }
}

#[test]
fn what_is_wrong_in_quotes_is_said_with_its_column() {
    for (line, said) in [
        (r#"set k "\u00e9""#, r"there is no escape \u at column 8:"),
        (r#"  set é "a\0""#, r"there is no escape \0 at column 11:"),
        (r#"set k "\q""#, r"\q at column 8"),
        (r#"set k "\xzz""#, r"\x at column 8"),
        (r#"set k "\x4""#, r"\x at column 8"),
        ("set k \"\\é\"", r"\é at column 8"),
        ("set k \"\\\x1b\"", r"\\u{1b} at column 8"),
        (r#"set k "abc"#, r#"begins with " at column 7"#),
        (r#"set k "abc\"#, r#"begins with " at column 7"#),
        ("set k 'abc  ", "begins with ' at column 7"),
        (
            r#"set k "a"b"#,
            "must follow the quote that ends a word, at column 10",
        ),
    ] {
        let error = command(line.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(&said.replace("\\\\", "\\")), "{line}: {error}");
        assert!(!error.contains(char::is_control), "{line}: {error}");
    }
}

#[test]
fn the_word_at_the_end() {
    for (line, start, word, before) in [
        ("", 0, "", 0),
        ("ge", 0, "ge", 0),
        ("get ", 4, "", 1),
        ("  get us", 6, "us", 1),
        ("get \"a b", 4, "a b", 1),
        ("get 'a b", 4, "a b", 1),
        ("del a 'b c' d", 12, "d", 3),
        ("get \"a\\", 4, "", 1),
    ] {
        assert_eq!(last_word(line), (start, word.to_owned(), before), "{line}");
    }
}

proptest! {
    #[test]
    fn what_is_quoted_comes_back(word in proptest::collection::vec(any::<u8>(), 0..20), text in "\\PC{1,9}") {
        for word in [word, text.into_bytes()] {
            let typed = quoted(&word);
            prop_assert!(!typed.contains(char::is_control));
            prop_assert_eq!(words(typed.as_bytes()).unwrap(), vec![word]);
        }
    }

    #[test]
    fn no_line_panics(line in "[ -~é\t]{0,20}") {
        let _ = command(line.as_bytes());
        let (start, _, _) = last_word(&line);
        prop_assert!(line.is_char_boundary(start));
    }
}

#[test]
fn what_other_shells_have_is_answered_with_what_is_typed_here() {
    let wrong = |line: &str| command(line.as_bytes()).unwrap_err().to_string();
    for (line, said) in [
        ("decr n", "INCR KEY -1 does that"),
        ("count", "STATUS shows how many"),
        ("dump", "`pykv export` does that"),
        ("strlen k", "`pykv get KEY | wc -c` counts"),
        ("nonsense", "HELP alone lists them"),
        ("set k v ex 10", "TTL 10s makes a key expire"),
        ("set k v NX", "IFABSENT stores only what is new"),
        ("set k v XX", "it is SET KEY VALUE"),
    ] {
        assert!(wrong(line).contains(said), "{line}: {}", wrong(line));
    }
}
