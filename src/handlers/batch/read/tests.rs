use super::*;
use crate::api;
use crate::node::{Deadline, Precondition};
use proptest::prelude::*;

fn refused(body: &[u8], operations_max: usize) -> (u16, Option<String>, Option<u64>) {
    let mut text = Vec::new();
    operations(body, operations_max)
        .unwrap_err()
        .into_reply(&mut text);
    let problem: api::Problem = serde_json::from_slice(&text).unwrap();
    (problem.status, problem.field, problem.limit)
}

#[test]
fn operations_are_read_in_order_and_without_copies() {
    let body = br#"{"operations":[
        {"op":"set","key":"a","value":"v"},
        {"value":"/wA=","key":"b","op":"set","encoding":"base64","ttl":1.5,"if_version":7},
        {"op":"set","key":"c","value":"","expires_at_ms":5,"if_absent":true},
        {"op":"set","key":"\u00e9","value":"a\nb","if_absent":false},
        {"op":"get","key":"a"},
        {"op":"get","key":"a"},
        {"op":"delete","key":"d"},
        {"op":"delete","key":"e","if_version":9}
    ]}"#;
    let set = |key: &'static str, value: &'static [u8], deadline, precondition| Operation::Set {
        key: key.into(),
        value: value.into(),
        deadline,
        precondition,
    };
    let get = || Operation::Get { key: "a".into() };
    let delete = |key: &'static str, precondition| Operation::Delete {
        key: key.into(),
        precondition,
    };
    let read = operations(body, 8).unwrap();
    assert_eq!(
        read,
        [
            set("a", b"v", Deadline::Never, Precondition::None),
            set("b", b"\xff\0", Deadline::In(1500), Precondition::Version(7)),
            set("c", b"", Deadline::At(5), Precondition::Absent),
            set("é", b"a\nb", Deadline::Never, Precondition::None),
            get(),
            get(),
            delete("d", Precondition::None),
            delete("e", Precondition::Version(9)),
        ]
    );
    assert!(matches!(
        &read[0],
        Operation::Set {
            key: Cow::Borrowed(_),
            value: Cow::Borrowed(_),
            ..
        }
    ));
}

#[test]
fn what_is_not_json_is_told_from_what_is_not_asked_for() {
    for body in [
        &b""[..],
        b"{",
        b"nonsense",
        br#"{"operations":[{"op":"get","key":"k"}]} {}"#,
        br#"{"operations":[{"op":"get","key":"k"},]}"#,
        br#"{"operations":[{"op":"get","key":"k"}"#,
        b"{\"operations\":[{\"op\":\"get\",\"key\":\"\xff\"}]}",
    ] {
        let text = String::from_utf8_lossy(body);
        assert_eq!(refused(body, 9), (400, None, None), "{text}");
    }
    for (body, field) in [
        ("[]", None),
        ("{}", Some("operations")),
        (r#"{"operations":[]}"#, Some("operations")),
        (r#"{"operations":{}}"#, Some("operations")),
        (r#"{"operations":[],"operations":[]}"#, Some("operations")),
        (r#"{"ops":[]}"#, Some("ops")),
    ] {
        assert_eq!(
            refused(body.as_bytes(), 9),
            (422, field.map(str::to_owned), None),
            "{body}"
        );
    }
}

#[test]
fn the_field_at_fault_is_named_with_its_operation() {
    for (operation, field) in [
        ("5", ""),
        ("null", ""),
        ("{}", ".op"),
        (r#"{"op":"get"}"#, ".key"),
        (r#"{"key":"k"}"#, ".op"),
        (r#"{"op":"GET","key":"k"}"#, ".op"),
        (r#"{"op":"get","key":5}"#, ".key"),
        (r#"{"op":"get","key":"k","key":"k"}"#, ".key"),
        (r#"{"op":"get","key":"k","value":""}"#, ".value"),
        (r#"{"op":"get","key":"k","if_version":1}"#, ".if_version"),
        (r#"{"op":"delete","key":"k","ttl":1}"#, ".ttl"),
        (r#"{"op":"delete","key":"k","if_absent":true}"#, ".if_absent"),
        (r#"{"op":"set","key":"k"}"#, ".value"),
        (r#"{"op":"set","key":"k","value":null}"#, ".value"),
        (
            r#"{"op":"set","key":"k","value":"?","encoding":"base64"}"#,
            ".value",
        ),
        (
            r#"{"op":"set","key":"k","value":"","encoding":"hex"}"#,
            ".encoding",
        ),
        (r#"{"op":"set","key":"k","value":"","ttl":0}"#, ".ttl"),
        (r#"{"op":"set","key":"k","value":"","ttl":-1}"#, ".ttl"),
        (r#"{"op":"set","key":"k","value":"","ttl":"5"}"#, ".ttl"),
        (r#"{"op":"set","key":"k","value":"","ttl":3155760001}"#, ".ttl"),
        (
            r#"{"op":"set","key":"k","value":"","expires_at_ms":-1}"#,
            ".expires_at_ms",
        ),
        (
            r#"{"op":"set","key":"k","value":"","expires_at_ms":253402300800000}"#,
            ".expires_at_ms",
        ),
        (
            r#"{"op":"set","key":"k","value":"","ttl":1,"expires_at_ms":1}"#,
            ".expires_at_ms",
        ),
        (
            r#"{"op":"set","key":"k","value":"","if_version":1.5}"#,
            ".if_version",
        ),
        (r#"{"op":"set","key":"k","value":"","if_absent":1}"#, ".if_absent"),
        (
            r#"{"op":"set","key":"k","value":"","if_version":1,"if_absent":true}"#,
            ".if_absent",
        ),
        (r#"{"op":"get","key":"k","surprise":1}"#, ".surprise"),
    ] {
        let body = format!(r#"{{"operations":[{{"op":"get","key":"k"}},{operation}]}}"#);
        assert_eq!(
            refused(body.as_bytes(), 9),
            (422, Some(format!("operations[1]{field}")), None),
            "{body}"
        );
    }
}

#[test]
fn keys_are_keys_and_written_once() {
    let long = "k".repeat(1025);
    for key in ["", &long] {
        let body = format!(r#"{{"operations":[{{"op":"get","key":"{key}"}}]}}"#);
        let (status, field, _) = refused(body.as_bytes(), 9);
        assert_eq!((status, field.as_deref()), (400, Some("operations[0].key")));
    }
    // However the key is spelt.
    let twice = br#"{"operations":[{"op":"set","key":"k","value":""},{"op":"get","key":"k"},{"op":"delete","key":"\u006b"}]}"#;
    assert_eq!(
        refused(twice, 9),
        (422, Some("operations[2].key".to_owned()), None)
    );
}

#[test]
fn what_is_over_the_limit_is_not_read() {
    let body = br#"{"operations":[{"op":"get","key":"a"},{"op":"get","key":"b"}]}"#;
    assert_eq!(operations(body, 2).unwrap().len(), 2);
    // Nothing after the second operation is looked at: it need not even be JSON.
    let body = br#"{"operations":[{"op":"get","key":"a"},{"op":"get","key":"b"},{"op"#;
    assert_eq!(refused(body, 2), (422, Some("operations".to_owned()), Some(2)));
}

fn operation() -> impl Strategy<Value = api::Operation<'static>> {
    let key = "[a-zé\n\"\\\\]{1,6}";
    let number = proptest::option::of(0..api::DEADLINE_MS_MAX);
    let set = (key, "\\PC{0,8}", number.clone(), number.clone(), any::<bool>());
    prop_oneof![
        key.prop_map(|key| api::Operation::Get { key: key.into() }),
        (key, number).prop_map(|(key, if_version)| api::Operation::Delete {
            key: key.into(),
            if_version
        }),
        set.prop_map(
            |(key, value, expires_at_ms, if_version, if_absent)| api::Operation::Set {
                key: key.into(),
                value: value.into(),
                encoding: None,
                ttl: None,
                expires_at_ms,
                if_version,
                if_absent: if_absent && if_version.is_none(),
            }
        ),
    ]
}

proptest! {
    #[test]
    fn what_a_client_writes_is_what_is_read(sent in proptest::collection::vec(operation(), 1..9)) {
        let mut written = HashSet::new();
        let has_twice = sent.iter().any(|operation| match operation {
            api::Operation::Get { .. } => false,
            api::Operation::Set { key, .. } | api::Operation::Delete { key, .. } => !written.insert(key.clone()),
        });
        let body = serde_json::to_vec(&api::Batch { operations: sent.clone() }).unwrap();
        let read = operations(&body, 8);
        prop_assert_eq!(read.is_err(), has_twice);
        for (read, sent) in read.into_iter().flatten().zip(&sent) {
            match (read, sent) {
                (Operation::Get { key }, api::Operation::Get { key: sent }) => prop_assert_eq!(&key, sent),
                (
                    Operation::Set { key, value, deadline, precondition },
                    api::Operation::Set { key: sent, value: text, expires_at_ms, if_version, if_absent, .. },
                ) => {
                    prop_assert_eq!((&key, &*value), (sent, text.as_bytes()));
                    prop_assert_eq!(deadline, expires_at_ms.map_or(Deadline::Never, Deadline::At));
                    prop_assert_eq!(precondition, wanted(*if_version, *if_absent));
                }
                (Operation::Delete { key, precondition }, api::Operation::Delete { key: sent, if_version }) => {
                    prop_assert_eq!((&key, precondition), (sent, wanted(*if_version, false)));
                }
                (read, sent) => prop_assert!(false, "{read:?} of {sent:?}"),
            }
        }
    }

    #[test]
    fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..64), cut in 0..200usize) {
        let _ = operations(&body, 3);
        let whole = br#"{"operations":[{"op":"set","key":"k","value":"v","ttl":1.5,"if_absent":true}]}"#;
        let _ = operations(&whole[..cut.min(whole.len())], 3);
    }
}

fn wanted(if_version: Option<u64>, if_absent: bool) -> Precondition<'static> {
    match if_version {
        Some(version) => Precondition::Version(version),
        None if if_absent => Precondition::Absent,
        None => Precondition::None,
    }
}
