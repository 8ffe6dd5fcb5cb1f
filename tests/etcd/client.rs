//! The client of etcd, against a real etcd (the oldest that is supported is the one that Debian has), and against one
//! that answers what a test makes up.
//!
//! Expectations come from etcd's documentation of its v3 API.

use crate::common::etcd::Etcd;
use crate::common::fake::{Asked, Fake, answer, json};
use crate::common::tls::{Ca, certificates};
use crate::common::{SOON, eventually, poll, skip};
use pykv::internals::etcd::{
    Client, Compare, Done, Error, Event, Lease, LeaseId, Login, Notice, Op, Options, Stop,
};
use rustix::process::Signal;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than any request takes here, unless the test is about just that.
const TIMEOUT: Duration = Duration::from_secs(10);

const HEADER: &str = r#""header":{"cluster_id":"7","member_id":"1","revision":"9","raft_term":"2"}"#;

fn client(endpoints: &str) -> Client {
    client_with(endpoints, None, TIMEOUT)
}

fn client_with(endpoints: &str, login: Option<Login>, try_timeout: Duration) -> Client {
    let options = Options {
        endpoints: endpoints.parse().unwrap(),
        login,
        ca: None,
        try_timeout,
    };
    Client::new(options).unwrap()
}

fn put(key: &str, value: &str, lease: Option<LeaseId>) -> Op {
    Op::Put {
        key: key.to_owned(),
        value: value.as_bytes().to_vec(),
        lease,
    }
}

/// Writes a key, whatever it holds; returns its revision.
#[track_caller]
fn set(client: &Client, key: &str, value: &str, lease: Option<LeaseId>) -> u64 {
    let done = client.txn(&[], &[put(key, value, lease)], &[], TIMEOUT).unwrap();
    assert!(done.succeeded);
    done.header.revision
}

#[track_caller]
fn value(client: &Client, key: &str) -> Option<String> {
    let range = client.range(key, TIMEOUT).unwrap();
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
    range.kvs.first().map(|kv| text(&kv.value))
}

/// Starts etcd, or says that the test is left out.
macro_rules! etcd_or_skip {
    ($members:expr, $test:expr) => {
        match Etcd::start($members) {
            Some(etcd) => etcd,
            None => return skip($test, "etcd or etcdctl is not installed"),
        }
    };
}

#[test]
fn keys_are_written_read_and_deleted() {
    let etcd = etcd_or_skip!(1, "keys_are_written_read_and_deleted");
    let client = client(&etcd.endpoints());
    assert!(client.version(TIMEOUT).unwrap().starts_with("3."));
    assert_eq!(client.range("/a/1", TIMEOUT).unwrap().kvs, []);
    let made = set(&client, "/a/1", "one", None);
    let written = set(&client, "/a/1", "eins", None);
    set(&client, "/a/2", "", None);
    set(&client, "/b", "of another prefix", None);
    let range = client.range_prefix("/a/", TIMEOUT).unwrap();
    let keys: Vec<&str> = range.kvs.iter().map(|kv| kv.key.as_str()).collect();
    assert_eq!(keys, ["/a/1", "/a/2"]);
    let first = &range.kvs[0];
    assert_eq!((first.create_revision, first.mod_revision), (made, written));
    assert_eq!((&first.value[..], first.lease), (&b"eins"[..], None));
    assert_eq!(range.kvs[1].value, b"");
    assert!(range.header.revision > written);

    let delete = [Op::Delete("/a/1".to_owned()), Op::RangePrefix("/a/".to_owned())];
    let done = client.txn(&[], &delete, &[], TIMEOUT).unwrap();
    assert_eq!(done.done[0], Done::Deleted(1));
    assert!(matches!(&done.done[1], Done::Range(kvs) if kvs.len() == 1));
    assert!(
        set(&client, "/a/1", "again", None) > written,
        "revisions only grow"
    );
    assert_eq!(value(&client, "/a/1").as_deref(), Some("again"));
}

#[test]
fn a_transaction_does_one_thing_or_the_other() {
    let etcd = etcd_or_skip!(1, "a_transaction_does_one_thing_or_the_other");
    let client = client(&etcd.endpoints());
    let take = |name: &str| {
        let otherwise = [Op::Range("/leader".to_owned())];
        client.txn(
            &[Compare::absent("/leader")],
            &[put("/leader", name, None)],
            &otherwise,
            TIMEOUT,
        )
    };
    let won = take("a").unwrap();
    assert!(won.succeeded);
    assert_eq!(won.done, [Done::Put]);
    let lost = take("b").unwrap();
    assert!(!lost.succeeded);
    assert!(matches!(&lost.done[0], Done::Range(kvs) if kvs[0].value == b"a"
        && kvs[0].create_revision == won.header.revision));

    let next = |compare: Compare| {
        let done = client.txn(&[compare], &[put("/leader", "c", None)], &[], TIMEOUT);
        done.unwrap().succeeded
    };
    let leader = "/leader".to_owned();
    assert!(!next(Compare::ModRevision(
        leader.clone(),
        won.header.revision + 1
    )));
    assert!(next(Compare::ModRevision(leader.clone(), won.header.revision)));
    assert!(
        !next(Compare::ModRevision(leader.clone(), won.header.revision)),
        "it was written since"
    );
    assert!(!next(Compare::Value(leader.clone(), b"a".to_vec())));
    assert!(next(Compare::Value(leader.clone(), b"c".to_vec())));
    assert!(next(Compare::CreateRevision(leader, won.header.revision)));
    assert!(!next(Compare::Value("/absent".to_owned(), Vec::new())));
}

#[test]
fn a_lease_takes_its_keys_with_it() {
    let etcd = etcd_or_skip!(1, "a_lease_takes_its_keys_with_it");
    let client = client(&etcd.endpoints());
    let short = client.grant(Duration::from_secs(1), TIMEOUT).unwrap();
    assert!(
        short.ttl >= Duration::from_secs(1),
        "it is as long as etcd makes it: {short:?}"
    );
    let long = client.grant(Duration::from_secs(60), TIMEOUT).unwrap();
    assert_eq!(long.ttl, Duration::from_secs(60));
    assert_ne!(short.id, long.id);
    set(&client, "/short", "", Some(short.id));
    set(&client, "/long", "", Some(long.id));
    let kept = client.range("/long", TIMEOUT).unwrap();
    assert_eq!(kept.kvs[0].lease, Some(long.id));
    assert_eq!(client.keep_alive(long.id, TIMEOUT).unwrap(), Some(long.ttl));
    eventually("the short lease ends", || value(&client, "/short").is_none());
    assert_eq!(client.keep_alive(short.id, TIMEOUT).unwrap(), None, "it is gone");
    let late = client.txn(&[], &[put("/short", "", Some(short.id))], &[], TIMEOUT);
    assert!(matches!(late, Err(Error::LeaseGone { .. })), "{late:?}");
    assert_eq!(value(&client, "/long").as_deref(), Some(""));
    client.revoke(long.id, TIMEOUT).unwrap();
    assert_eq!(value(&client, "/long"), None);
    assert_eq!(client.keep_alive(long.id, TIMEOUT).unwrap(), None);
    client.revoke(long.id, TIMEOUT).unwrap(); // It is gone: what was asked for.
}

/// A watch that runs in a thread of its own.
struct Watching {
    stop: Stop,
    notices: mpsc::Receiver<Notice>,
    thread: thread::JoinHandle<()>,
}

impl Watching {
    fn start(client: &Arc<Client>, from: Option<u64>) -> Watching {
        let (stop, client) = (Stop::new(), Arc::clone(client));
        let (sender, notices) = mpsc::channel();
        let thread = thread::spawn({
            let stop = stop.clone();
            move || client.watch("/w/", from, &stop, |notice| drop(sender.send(notice)))
        });
        Watching {
            stop,
            notices,
            thread,
        }
    }

    #[track_caller]
    fn next(&self) -> Notice {
        self.notices.recv_timeout(SOON).unwrap()
    }

    /// The next state, past failures.
    #[track_caller]
    fn state(&self) -> Vec<String> {
        loop {
            match self.next() {
                Notice::State(range) => return range.kvs.into_iter().map(|kv| kv.key).collect(),
                Notice::Failed(_) => {}
                changed => panic!("{changed:?}"),
            }
        }
    }

    /// The next changes, past failures: a key each, with a minus where it was deleted.
    #[track_caller]
    fn changes(&self, count: usize) -> Vec<String> {
        let mut changes = Vec::new();
        while changes.len() < count {
            match self.next() {
                Notice::Changed { events, .. } => {
                    changes.extend(events.into_iter().map(|event| match event {
                        Event::Put(kv) => kv.key,
                        Event::Delete { key, .. } => format!("-{key}"),
                    }))
                }
                Notice::Failed(_) => {}
                state => panic!("{state:?}"),
            }
        }
        changes
    }

    #[track_caller]
    fn end(self) {
        let begun = Instant::now();
        self.stop.stop();
        self.thread.join().unwrap();
        assert!(begun.elapsed() < SOON, "it ends at once");
    }
}

#[test]
fn a_watch_sees_every_change() {
    let etcd = etcd_or_skip!(1, "a_watch_sees_every_change");
    let client = Arc::new(client(&etcd.endpoints()));
    let first = set(&client, "/w/1", "", None);
    let watching = Watching::start(&client, None);
    assert_eq!(watching.state(), ["/w/1"]);
    set(&client, "/other", "", None);
    set(&client, "/w/2", "", None);
    assert_eq!(watching.changes(1), ["/w/2"], "a single change comes at once");
    let lease = client.grant(Duration::from_secs(60), TIMEOUT).unwrap();
    set(&client, "/w/3", "", Some(lease.id));
    client.revoke(lease.id, TIMEOUT).unwrap();
    assert_eq!(watching.changes(2), ["/w/3", "-/w/3"]);

    let past = Watching::start(&client, Some(first));
    assert_eq!(past.changes(4), ["/w/1", "/w/2", "/w/3", "-/w/3"]);
    // What a stop must end waits for something that does not come.
    past.end();
    watching.end();
}

#[test]
fn a_watch_outlives_its_connections() {
    let mut etcd = etcd_or_skip!(1, "a_watch_outlives_its_connections");
    let client = Arc::new(client(&etcd.endpoints()));
    set(&client, "/w/1", "", None);
    let watching = Watching::start(&client, None);
    assert_eq!(watching.state(), ["/w/1"]);
    set(&client, "/w/2", "", None);
    assert_eq!(watching.changes(1), ["/w/2"]);
    etcd.kill_9(0);
    assert!(matches!(watching.next(), Notice::Failed(_)));
    etcd.start_again(0);
    etcd.is_ready();
    set(&client, "/w/3", "", None);
    assert_eq!(watching.changes(1), ["/w/3"], "it goes on where it was");
    watching.end();
}

#[test]
fn a_watch_of_what_was_compacted_begins_with_the_state() {
    let etcd = etcd_or_skip!(1, "a_watch_of_what_was_compacted_begins_with_the_state");
    let client = Arc::new(client(&etcd.endpoints()));
    let first = set(&client, "/w/1", "", None);
    let last = set(&client, "/w/2", "", None);
    etcd.ctl(0, &["compaction", &last.to_string()]);
    let watching = Watching::start(&client, Some(first));
    assert_eq!(watching.state(), ["/w/1", "/w/2"]);
    set(&client, "/w/3", "", None);
    assert_eq!(watching.changes(1), ["/w/3"]);
    watching.end();
    // A revision that is not there yet is one that was lost.
    let ahead = Watching::start(&client, Some(last + 1000));
    assert_eq!(ahead.state(), ["/w/1", "/w/2", "/w/3"]);
    ahead.end();
}

#[test]
fn another_member_answers_where_one_does_not() {
    let mut etcd = etcd_or_skip!(3, "another_member_answers_where_one_does_not");
    let client = client_with(&etcd.endpoints(), None, Duration::from_secs(2));
    let patient = |doing: &dyn Fn() -> Result<(), Error>| {
        let mut last = Ok(());
        let is_done = poll(SOON, || {
            last = doing();
            last.is_ok()
        });
        assert!(is_done, "{last:?}");
    };
    set(&client, "/a", "1", None);
    let lease = client.grant(Duration::from_secs(60), TIMEOUT).unwrap();
    let asked_first = client.endpoint();
    let number = (0..3)
        .find(|&number| etcd.endpoint(number) == asked_first)
        .unwrap();

    // One that is gone: nothing was sent, so even a write is sent to another one.
    etcd.kill_9(number);
    patient(&|| client.range("/a", TIMEOUT).map(drop));
    assert_ne!(client.endpoint(), asked_first);
    patient(&|| {
        client
            .keep_alive(lease.id, TIMEOUT)
            .map(|left| assert_eq!(left, Some(lease.ttl)))
    });
    etcd.start_again(number);
    etcd.is_ready();

    // One that hangs is left after the time of a try, and is not asked again while another one answers.
    let asked_first = client.endpoint();
    let number = (0..3)
        .find(|&number| etcd.endpoint(number) == asked_first)
        .unwrap();
    etcd.signal(number, Signal::STOP);
    patient(&|| client.range("/a", TIMEOUT).map(drop));
    assert_ne!(client.endpoint(), asked_first);
    patient(&|| {
        client
            .keep_alive(lease.id, TIMEOUT)
            .map(|left| assert_eq!(left, Some(lease.ttl)))
    });
    etcd.signal(number, Signal::CONT);

    // Without a majority nobody can answer, and each says so in time.
    for number in 1..3 {
        etcd.kill_9(number);
    }
    let begun = Instant::now();
    let timeout = Duration::from_secs(3);
    let lost = client.range("/a", timeout);
    assert!(
        matches!(
            lost,
            Err(Error::Unreachable {
                may_be_done: false,
                ..
            })
        ),
        "{lost:?}"
    );
    assert!(begun.elapsed() < timeout + SOON / 2);
    for number in 1..3 {
        etcd.start_again(number);
    }
    etcd.is_ready();
    patient(&|| {
        client
            .range("/a", TIMEOUT)
            .map(|range| assert_eq!(range.kvs[0].value, b"1"))
    });
}

/// The member that a watch hangs on has lost the others: it must say so, for nothing would come any more.
#[test]
fn a_watch_leaves_a_member_without_a_leader() {
    let etcd = etcd_or_skip!(3, "a_watch_leaves_a_member_without_a_leader");
    let client = Arc::new(client_with(&etcd.endpoints(), None, Duration::from_secs(2)));
    let watching = Watching::start(&client, None);
    assert!(watching.state().is_empty());
    for number in 1..3 {
        etcd.signal(number, Signal::STOP);
    }
    assert!(matches!(watching.next(), Notice::Failed(_)));
    for number in 1..3 {
        etcd.signal(number, Signal::CONT);
    }
    eventually("it can be written to", || {
        client.txn(&[], &[put("/w/1", "", None)], &[], TIMEOUT).is_ok()
    });
    loop {
        match watching.next() {
            Notice::State(range) if range.kvs.is_empty() => {}
            Notice::State(_) | Notice::Changed { .. } => break,
            Notice::Failed(_) => {}
        }
    }
    watching.end();
}

#[test]
fn what_was_lost_or_restored_is_not_taken_for_the_present() {
    let mut etcd = etcd_or_skip!(1, "what_was_lost_or_restored_is_not_taken_for_the_present");
    let client = client(&etcd.endpoints());
    set(&client, "/a", "1", None);
    let backup = etcd.back_up();
    set(&client, "/a", "2", None);
    etcd.restore(&backup);
    let old = client.range("/a", TIMEOUT);
    assert!(
        matches!(old, Err(Error::WentBack { .. } | Error::OtherCluster { .. })),
        "{old:?}"
    );
    client.forget_seen();
    assert_eq!(value(&client, "/a").as_deref(), Some("1"));
    etcd.lose_data();
    let empty = client.range("/a", TIMEOUT);
    assert!(
        matches!(empty, Err(Error::WentBack { .. } | Error::OtherCluster { .. })),
        "{empty:?}"
    );
    client.forget_seen();
    assert_eq!(value(&client, "/a"), None);
}

#[test]
fn a_user_logs_in_and_again_when_its_token_has_ended() {
    let mut etcd = etcd_or_skip!(1, "a_user_logs_in_and_again_when_its_token_has_ended");
    let of = |user: &str, password: &str| {
        let login = Login {
            user: user.to_owned(),
            password: password.to_owned(),
        };
        client_with(&etcd.endpoints(), Some(login), TIMEOUT)
    };
    let (root, wrong, nobody) = (
        of("root", "secret"),
        of("root", "false"),
        client(&etcd.endpoints()),
    );
    set(&root, "/a", "without", None); // etcd asks for no user yet.
    etcd.ctl(0, &["user", "add", "root:secret"]);
    etcd.ctl(0, &["user", "add", "shop:secret"]);
    etcd.ctl(0, &["user", "grant-role", "root", "root"]);
    etcd.ctl(0, &["auth", "enable"]);
    set(&root, "/a", "with", None);
    for client in [&wrong, &nobody, &of("shop", "secret")] {
        let refused = client.txn(&[], &[put("/a", "x", None)], &[], TIMEOUT);
        assert!(matches!(refused, Err(Error::Unauthorised { .. })), "{refused:?}");
    }
    assert_eq!(value(&root, "/a").as_deref(), Some("with"));
    let root = Arc::new(root);
    let watching = Watching::start(&root, None);
    assert!(watching.state().is_empty());
    // A restart forgets all tokens; a change of users makes them old.
    etcd.kill_9(0);
    etcd.start_again(0);
    eventually("a token is known again", || root.range("/a", TIMEOUT).is_ok());
    let user = ["--user", "root:secret", "user", "add", "other:secret"];
    etcd.ctl(0, &user);
    set(&root, "/a", "again", None);
    assert_eq!(value(&root, "/a").as_deref(), Some("again"));
    set(&root, "/w/1", "", None);
    assert_eq!(
        watching.changes(1),
        ["/w/1"],
        "the watch has logged in again, too"
    );
    watching.end();
}

#[test]
fn etcd_is_spoken_with_under_tls() {
    let (dir, ca, pair) = certificates();
    let Some(etcd) = Etcd::start_tls(&ca, &pair) else {
        return skip("etcd_is_spoken_with_under_tls", "etcd is not installed");
    };
    let of = |endpoints: &str, ca: &str| {
        let options = Options {
            endpoints: endpoints.parse().unwrap(),
            login: None,
            ca: Some(ca.into()),
            try_timeout: TIMEOUT,
        };
        Client::new(options)
    };
    let client = Arc::new(of(&etcd.endpoints(), &ca.file()).unwrap());
    client.version(TIMEOUT).unwrap();
    set(&client, "/w/1", "one", None);
    assert_eq!(value(&client, "/w/1").as_deref(), Some("one"));
    let watching = Watching::start(&client, None);
    assert_eq!(watching.state(), ["/w/1"]);
    set(&client, "/w/2", "", None);
    assert_eq!(watching.changes(1), ["/w/2"]);
    watching.end();

    let other = Ca::new(dir.path(), "other");
    let untrusted = of(&etcd.endpoints(), &other.file())
        .unwrap()
        .range("/w/1", TIMEOUT);
    assert!(
        matches!(&untrusted, Err(Error::Untrusted { why, .. }) if why.contains("--etcd-ca")),
        "{untrusted:?}"
    );
    let plain = etcd.endpoints().replace("https", "http");
    let plain = of(&plain, &ca.file())
        .unwrap()
        .range("/w/1", TIMEOUT)
        .unwrap_err();
    assert!(
        matches!(plain, Error::BadAnswer { .. } | Error::Unreachable { .. }),
        "{plain:?}"
    );
    let missing = of(&etcd.endpoints(), "/nowhere/ca.pem").unwrap_err();
    assert!(
        matches!(&missing, Error::NoTrust(why) if why.contains("/nowhere/ca.pem")),
        "{missing:?}"
    );
    assert!(of(&etcd.endpoints(), &pair.key).is_err(), "a key is no CA");
}

#[test]
fn a_gateway_that_is_off_is_named() {
    let places = [crate::common::etcd::Place::here()];
    let Some(etcd) = Etcd::start_at(&places, &["--enable-grpc-gateway=false"]) else {
        return skip("a_gateway_that_is_off_is_named", "etcd is not installed");
    };
    let refused = client(&etcd.endpoints()).version(TIMEOUT);
    assert!(matches!(refused, Err(Error::NoGateway { .. })), "{refused:?}");
}

fn fake_etcd(answers: impl Fn(&Asked) -> Option<Vec<u8>> + Send + Sync + 'static) -> Fake {
    Fake::start(
        move |asked: &Asked, stream: &mut TcpStream| match answers(asked) {
            Some(bytes) => stream.write_all(&bytes),
            None => Err(std::io::ErrorKind::Other.into()),
        },
    )
}

#[test]
fn an_etcd_that_is_too_old_is_refused() {
    for version in ["3.3.27", "2.3.8", "3.3.27+git"] {
        let body = format!(r#"{{"etcdserver":"{version}","etcdcluster":"3.3.0"}}"#);
        let fake = Fake::always(&json(&body));
        let refused = client(&fake.url()).version(TIMEOUT);
        assert!(
            matches!(&refused, Err(Error::TooOld { version: old, .. }) if old == version),
            "{refused:?}"
        );
    }
    for body in ["{}", r#"{"etcdserver":"new"}"#, r#"{"etcdserver":""}"#, "[]", ""] {
        let refused = client(&Fake::always(&json(body)).url()).version(TIMEOUT);
        assert!(
            matches!(refused, Err(Error::BadAnswer { .. })),
            "{body}: {refused:?}"
        );
    }
}

/// A write that was sent and not answered may have been done, so nobody else may be asked to do it.
#[test]
fn a_write_is_sent_once() {
    let writes = Arc::new(AtomicUsize::new(0));
    let counted = |writes: &Arc<AtomicUsize>| {
        let writes = writes.clone();
        fake_etcd(move |asked| {
            if asked.target == "/v3/kv/txn" {
                writes.fetch_add(1, Relaxed);
                return None; // The connection ends without an answer.
            }
            Some(json(&format!("{{{HEADER}}}")))
        })
    };
    let both = [counted(&writes), counted(&writes)];
    let client = client(&format!("{},{}", both[0].url(), both[1].url()));
    let lost = client.txn(&[], &[put("/a", "", None)], &[], TIMEOUT).unwrap_err();
    assert!(lost.may_be_done(), "{lost:?}");
    assert_eq!(writes.load(Relaxed), 1);
    assert_eq!(
        client.endpoint(),
        both[1].url(),
        "the next request goes elsewhere"
    );
    // What only reads is asked of both.
    let lost = client
        .txn(&[], &[Op::Range("/a".to_owned())], &[], TIMEOUT)
        .unwrap_err();
    assert!(!lost.may_be_done());
    assert_eq!(writes.load(Relaxed), 3);

    // Where nobody listens nothing was sent.
    let listens = fake_etcd(|_| Some(json(&format!(r#"{{{HEADER},"succeeded":true}}"#))));
    let gone = Fake::always(b"").url();
    let client = client_with(&format!("{gone},{}", listens.url()), None, TIMEOUT);
    assert!(
        client
            .txn(&[], &[put("/a", "", None)], &[], TIMEOUT)
            .unwrap()
            .succeeded
    );
}

#[test]
fn an_endpoint_that_is_no_etcd_is_told_from_one_that_is_away() {
    let of = |bytes: Vec<u8>| {
        client(&Fake::always(&bytes).url())
            .range("/a", TIMEOUT)
            .unwrap_err()
    };
    for bytes in [
        json("{}"),
        json("[]"),
        json(r#"{"header":{"cluster_id":"x"}}"#),
        answer("200 OK", "Content-Type: text/html\r\n", "<html>"),
        answer("502 Bad Gateway", "", "down"),
        b"SSH-2.0-OpenSSH_9\r\n".to_vec(),
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n".to_vec(),
            vec![b' '; 5 << 20],
        ]
        .concat(),
    ] {
        let error = of(bytes);
        assert!(matches!(error, Error::BadAnswer { .. }), "{error:?}");
        assert_eq!(error.to_string().lines().count(), 1);
    }
    assert!(matches!(
        of(answer("404 Not Found", "", "Not Found\n")),
        Error::NoGateway { .. }
    ));
    let busy = br#"{"error":"x","message":"etcdserver: request timed out","code":14}"#;
    let busy = answer("503 Service Unavailable", "", std::str::from_utf8(busy).unwrap());
    assert!(matches!(of(busy), Error::Unreachable { .. }));
    assert!(
        matches!(of(Vec::new()), Error::Unreachable { .. }),
        "it closes the connection"
    );
}

#[test]
fn no_request_outlasts_its_time() {
    // They accept and say nothing, until the test ends.
    let silent = || {
        Fake::start(|_, _| {
            thread::park_timeout(SOON);
            Ok(())
        })
    };
    let all = [silent(), silent(), silent()];
    let endpoints: Vec<String> = all.iter().map(Fake::url).collect();
    let client = client_with(&endpoints.join(","), None, Duration::from_secs(60));
    let timeout = Duration::from_millis(600);
    let begun = Instant::now();
    let lost = client.range("/a", timeout).unwrap_err();
    let took = begun.elapsed();
    assert!(
        matches!(&lost, Error::Unreachable { tries, .. } if tries.len() == 3),
        "{lost:?}"
    );
    assert!(took >= timeout / 2 && took < SOON / 2, "{took:?}");
    let lease = Lease {
        ttl: Duration::from_secs(1),
        ..granted()
    };
    let begun = Instant::now();
    assert!(client.keep_alive(lease.id, timeout).is_err());
    assert!(begun.elapsed() < SOON / 2);
}

/// A lease, as an etcd that is none grants it.
fn granted() -> Lease {
    let fake = fake_etcd(|_| Some(json(&format!(r#"{{{HEADER},"ID":"77","TTL":"5"}}"#))));
    client(&fake.url())
        .grant(Duration::from_secs(5), TIMEOUT)
        .unwrap()
}

#[test]
fn an_answer_of_another_cluster_or_from_before_is_not_taken() {
    let says = |cluster: u64, revision: u64, term: u64| {
        let body = format!(
            r#"{{"header":{{"cluster_id":"{cluster}","revision":"{revision}","raft_term":"{term}"}}}}"#
        );
        Fake::always(&json(&body))
    };
    let (first, other, old, new) = (says(7, 9, 2), says(8, 9, 2), says(7, 8, 2), says(7, 9, 3));
    let ask = |fakes: &[&Fake]| {
        let urls: Vec<String> = fakes.iter().map(|fake| fake.url()).collect();
        let client = client(&urls.join(","));
        // The one that answered last is asked first, so the next one is asked when that is gone.
        client.range("/a", TIMEOUT).unwrap();
        client
    };
    // One endpoint behind another: a listener that answers once and then refuses leads on to the next.
    let once = |cluster: u64, revision: u64, term: u64| {
        let asked = AtomicUsize::new(0);
        fake_etcd(move |_| {
            let body = format!(
                r#"{{"header":{{"cluster_id":"{cluster}","revision":"{revision}","raft_term":"{term}"}}}}"#
            );
            (asked.fetch_add(1, Relaxed) == 0).then(|| json(&body))
        })
    };
    let begins = once(7, 9, 2);
    let error = ask(&[&begins, &other]).range("/a", TIMEOUT).unwrap_err();
    assert!(
        matches!(error, Error::OtherCluster { first: 7, now: 8, .. }),
        "{error:?}"
    );
    let begins = once(7, 9, 2);
    let error = ask(&[&begins, &old]).range("/a", TIMEOUT).unwrap_err();
    assert!(
        matches!(
            error,
            Error::WentBack {
                seen: (2, 9),
                now: (2, 8),
                ..
            }
        ),
        "{error:?}"
    );
    let begins = once(7, 9, 3);
    let error = ask(&[&begins, &first]).range("/a", TIMEOUT).unwrap_err();
    assert!(
        matches!(
            error,
            Error::WentBack {
                seen: (3, 9),
                now: (2, 9),
                ..
            }
        ),
        "{error:?}"
    );
    let begins = once(7, 9, 2);
    let client = ask(&[&begins, &old, &new]);
    client.range("/a", TIMEOUT).unwrap(); // One of them answers from now.
    assert_eq!(client.endpoint(), new.url());
}
