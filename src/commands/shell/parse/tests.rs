use super::*;
use proptest::prelude::*;

fn split(line: &str) -> Vec<Vec<u8>> {
    words(line.as_bytes()).unwrap()
}

#[test]
fn words_are_those_of_redis_cli() {
    assert_eq!(split("  set  a\tb "), [&b"set"[..], b"a", b"b"]);
    assert_eq!(
        split(r#""a b" 'c "d"' "\x00\xFF\n\"\\\q" '\'\n' """#),
        [&b"a b"[..], b"c \"d\"", b"\0\xff\n\"\\q", b"'\\n", b""]
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
    assert_eq!(parse(""), None);
    assert_eq!(parse("gEt 'a b'"), Some(Command::Get("a b".to_owned())));
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
            limit,
            with_values,
        })
    };
    assert_eq!(parse("LIST"), list("", None, false));
    assert_eq!(parse("list user:"), list("user:", None, false));
    assert_eq!(parse("list limit 5"), list("", Some(5), false));
    assert_eq!(parse("list limit"), list("limit", None, false));
    assert_eq!(parse("values limit limit 5"), list("limit", Some(5), true));
    assert_eq!(
        parse("delprefix '' dryrun"),
        Some(Command::DelPrefix {
            prefix: String::new(),
            dry_run: true
        })
    );
    assert_eq!(parse("quit"), Some(Command::Exit));
    assert_eq!(parse("help"), Some(Command::Help(None)));
    assert!(matches!(parse("help set"), Some(Command::Help(Some(topic))) if topic.name == "SET"));
}

#[test]
fn what_is_no_command() {
    for (line, said) in [
        ("put k v", "no command"),
        ("get", "GET KEY"),
        ("get a b", "GET KEY"),
        ("set k", "SET KEY VALUE"),
        ("set k v soon", "SET KEY VALUE"),
        ("set k v ttl", "SET KEY VALUE"),
        ("set k v ttl 90", "90s"),
        ("set k v ifabsent ifversion 1", "SET KEY VALUE"),
        ("set k v ifversion x", "version"),
        ("del", "DEL KEY"),
        ("get ''", "at least one byte"),
        ("get \"\\xff\"", "UTF-8"),
        ("list a limit 0", "LIMIT"),
        ("expire k", "EXPIRE KEY TIME"),
        ("status now", "STATUS"),
        ("help nonsense", "no command"),
    ] {
        let error = command(line.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(said), "{line}: {error}");
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
