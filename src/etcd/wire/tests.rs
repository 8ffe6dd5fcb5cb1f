use super::*;

/// Answers of etcd 3.4.23, as they came.
const HEADER: &str = r#""header":{"cluster_id":"324952591200643719","member_id":"3319814642761637952","revision":"9","raft_term":"2"}"#;

fn answer(rest: &str) -> Vec<u8> {
    format!("{{{HEADER}{rest}}}").into_bytes()
}

fn header_of() -> Header {
    Header {
        cluster_id: 324_952_591_200_643_719,
        revision: 9,
        raft_term: 2,
    }
}

#[test]
fn a_range_is_read() {
    let body = answer(
        r#","kvs":[{"key":"Zm9v","create_revision":"2","mod_revision":"3","version":"2","value":"YmFy","lease":"77"},{"key":"Z28=","create_revision":"4","mod_revision":"4","version":"1"}],"count":"2""#,
    );
    let (header, kvs) = range(&body).unwrap();
    assert_eq!(header, header_of());
    assert_eq!(kvs.len(), 2);
    assert_eq!((kvs[0].key.as_str(), &kvs[0].value[..]), ("foo", &b"bar"[..]));
    assert_eq!((kvs[0].create_revision, kvs[0].mod_revision), (2, 3));
    assert_eq!(kvs[0].lease, Some(LeaseId(77)));
    assert_eq!(
        (&kvs[1].value[..], kvs[1].lease),
        (&b""[..], None),
        "what is absent is empty"
    );
    assert_eq!(range(&answer("")).unwrap().1, []);
}

#[test]
fn a_lease_is_read() {
    let (_, lease) = granted(&answer(r#","ID":"2324035630236927750","TTL":"5""#)).unwrap();
    assert_eq!(lease.id, LeaseId(2_324_035_630_236_927_750));
    assert_eq!(lease.ttl, Duration::from_secs(5));
    let result = |rest: &str| format!("{{\"result\":{{{HEADER},\"ID\":\"12345\"{rest}}}}}\n");
    let left = |rest: &str| renewed(result(rest).as_bytes()).unwrap().1;
    assert_eq!(left(r#","TTL":"5""#), Some(Duration::from_secs(5)));
    assert_eq!(left(""), None, "a lease without a TTL is gone");
    assert_eq!(left(r#","TTL":"0""#), None);
}

#[test]
fn a_transaction_is_read() {
    let body = answer(
        r#","succeeded":true,"responses":[{"response_put":{"header":{"revision":"9"}}},{"response_delete_range":{"header":{"revision":"9"},"deleted":"1"}},{"response_delete_range":{"header":{"revision":"9"}}}]"#,
    );
    let (_, txn_answer) = txn(&body).unwrap();
    assert!(txn_answer.succeeded);
    assert_eq!(txn_answer.done, [Done::Put, Done::Deleted(1), Done::Deleted(0)]);
    let lost =
        answer(r#","responses":[{"response_range":{"kvs":[{"key":"Zm9v","value":"YmFy"}],"count":"1"}}]"#);
    let (_, txn_answer) = txn(&lost).unwrap();
    assert!(!txn_answer.succeeded, "what is absent is false");
    assert!(matches!(&txn_answer.done[0], Done::Range(kvs) if kvs[0].value == b"bar"));
}

#[test]
fn a_message_of_a_watch_is_read() {
    let message = |rest: &str| watched(format!("{{\"result\":{{{HEADER}{rest}}}}}").as_bytes());
    assert!(message(r#","created":true"#).unwrap().created);
    let changed = message(
        r#","events":[{"kv":{"key":"Zm9v","create_revision":"2","mod_revision":"2","version":"1","value":"YmFy"}},{"type":"DELETE","kv":{"key":"Zm9v","mod_revision":"3"}}]"#,
    )
    .unwrap();
    assert!(matches!(&changed.events[0], Event::Put(kv) if kv.value == b"bar"));
    let deleted = Event::Delete {
        key: "foo".to_owned(),
        revision: 3,
    };
    assert_eq!(changed.events[1], deleted);
    let compacted = message(r#","canceled":true,"compact_revision":"5""#).unwrap();
    assert!(compacted.is_compacted && compacted.canceled.is_some());
    assert!(message(r#","events":[{"type":"MOVED"}]"#).is_err());
}

#[test]
fn refusals_are_read() {
    let said = |body: &str| refusal(body.as_bytes());
    let not_found = No::Etcd {
        code: 5,
        message: "etcdserver: requested lease not found".to_owned(),
    };
    let old = r#"{"error":"etcdserver: requested lease not found","message":"etcdserver: requested lease not found","code":5}"#;
    assert_eq!(said(old), Some(not_found));
    let new = r#"{"code":5, "message":"etcdserver: requested lease not found", "details":[]}"#;
    assert_eq!(said(new), said(old));
    assert_eq!(said("Not Found\n"), None);
    let stream = r#"{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader","http_status":"Service Unavailable"}}"#;
    let no_leader = No::Etcd {
        code: 14,
        message: "etcdserver: no leader".to_owned(),
    };
    assert_eq!(renewed(stream.as_bytes()), Err(no_leader));
    let lines = format!(r#"{{"message":"two\nlines {}","code":2}}"#, "x".repeat(1000));
    let Some(No::Etcd { message, .. }) = said(&lines) else {
        panic!("it is a refusal")
    };
    assert_eq!((message.lines().count(), message.len()), (1, MESSAGE_CHARS_MAX));
}

#[test]
fn what_is_out_of_bounds_is_malformed() {
    let ttl_of = |ttl: &str| granted(&answer(&format!(r#","ID":"7","TTL":"{ttl}""#)));
    assert!(ttl_of("86400").is_ok());
    for ttl in ["", "-1", "0", "86401", "18446744073709551616", "1.5", "x"] {
        assert!(matches!(ttl_of(ttl), Err(No::Malformed(_))), "{ttl:?}");
    }
    assert!(granted(&answer(r#","TTL":"5""#)).is_err(), "a lease has an id");
    for body in ["", "null", "[]", "{}", r#"{"kvs":[]}"#, r#"{"header":{}}"#] {
        assert!(range(body.as_bytes()).is_err(), "{body}");
        assert!(txn(body.as_bytes()).is_err(), "{body}");
        assert!(granted(body.as_bytes()).is_err(), "{body}");
        assert!(renewed(body.as_bytes()).is_err(), "{body}");
        assert!(watched(body.as_bytes()).is_err(), "{body}");
    }
    assert!(range(&answer(r#","kvs":[{"key":"%"}]"#)).is_err(), "no base64");
    assert!(range(&answer(r#","more":true"#)).is_err());
    let many = vec!["{}"; KEYS_MAX + 1].join(",");
    assert!(range(&answer(&format!(r#","kvs":[{many}]"#))).is_err());
}

/// Whatever listens at an endpoint may send anything: the parsers answer, and do not panic.
#[test]
fn cut_and_changed_answers_are_no_panic() {
    let all = |body: &[u8]| {
        let _ = (
            range(body),
            granted(body),
            renewed(body),
            txn(body),
            watched(body),
        );
        let _ = (header_alone(body), token(body), version(body), refusal(body));
    };
    let answers = [
        answer(r#","kvs":[{"key":"Zm9v","create_revision":"2","lease":"77"}],"count":"1""#),
        answer(r#","ID":"2324035630236927750","TTL":"5""#),
        answer(r#","succeeded":true,"responses":[{"response_range":{"kvs":[{"key":"Zm9v"}]}}]"#),
        format!(r#"{{"result":{{{HEADER},"events":[{{"type":"DELETE","kv":{{"key":"Zm9v"}}}}]}}}}"#)
            .into_bytes(),
        br#"{"error":{"grpc_code":14,"message":"etcdserver: no leader"}}"#.to_vec(),
        br#"{"etcdserver":"3.4.23","token":"x.1"}"#.to_vec(),
    ];
    for answer in answers {
        for at in 0..answer.len() {
            all(&answer[..at]);
            for byte in [0, b'"', b'9', b'-', b'{', b']', 0x80, 0xff] {
                let mut changed = answer.clone();
                changed[at] = byte;
                all(&changed);
            }
        }
    }
}
