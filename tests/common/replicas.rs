//! What a replica says of its primary.

use super::cluster::Member;
use super::node::Setup;
use super::proxy::Proxy;
use super::{Response, poll};
use std::time::Duration;

/// How long a replica may take to see that its primary is gone: heartbeats come once a second, on a busy machine a
/// few seconds late.
pub const NOTICED_MAX: Duration = Duration::from_secs(6);

/// For how long it is looked whether something happens that must not: faults of this kind show within a second.
pub const LOOKED_AT: Duration = Duration::from_millis(1500);

/// A node in preparation, whose address others may be told already.
pub struct Place {
    pub link: Proxy,
}

impl Place {
    pub fn new() -> Place {
        Place { link: Proxy::start() }
    }

    pub fn address(&self) -> String {
        self.link.address()
    }

    #[track_caller]
    pub fn primary(self, args: &[&str]) -> Member {
        let advertise = self.address();
        let args = [args, &["--advertise", &advertise]].concat();
        Member::of(Setup::new(&args), self.link)
    }

    /// A replica of whichever of these addresses is primary.
    #[track_caller]
    pub fn replica(self, from: &[&str], args: &[&str]) -> Member {
        let advertise = self.address();
        let args = [args, &["--advertise", &advertise]].concat();
        Member::of(Setup::replica(&from.join(","), &args), self.link)
    }
}

/// Whether it says that it has what the primary has.
pub fn says_even(member: &Member) -> bool {
    let replication = &member.status()["replication"];
    let is_even = replication["state"] == "streaming" && replication["lag_ms"] == 0;
    is_even || member.server.get("/replica?max_lag=2").status == 200
}

/// A write as a client sends it that follows nobody's word.
pub fn knock(member: &Member) -> Response {
    member.server.client().put("/kv/knock?upsert=true", b"knock")
}

/// Waits until it says to load balancers, writers and whoever looks that it has no primary; and sees to it that it
/// says so for a while.
#[track_caller]
pub fn has_no_primary(member: &Member) {
    has_no_way_to_a_primary(member);
    let status = member.status();
    assert_ne!(status["replication"]["state"], "streaming", "{status}");
}

/// The same of one that may follow another replica, which has none either.
#[track_caller]
pub fn has_no_way_to_a_primary(member: &Member) {
    let is_seen = || {
        let answer = knock(member);
        member.server.get("/replica").status == 503
            && !says_even(member)
            && answer.status == 503
            && answer.header("Retry-After").is_some()
    };
    assert!(
        poll(NOTICED_MAX, is_seen),
        "it does not say that it has no primary: /replica {}, a write {:?}, {}",
        member.server.get("/replica").status,
        knock(member),
        member.status()
    );
    assert!(!poll(LOOKED_AT, || says_even(member)), "{}", member.status());
}

/// Waits until all of these follow it, and a write that they must all have is acknowledged.
#[track_caller]
pub fn is_followed_by(primary: &Member, replicas: &[&Member]) {
    let addresses: Vec<String> = replicas.iter().map(|replica| replica.link.address()).collect();
    super::eventually("the primary has all its followers", || {
        let followers = primary.status()["replication"]["followers"].clone();
        let followers = followers.as_array().unwrap();
        let is_there = |address: &String| followers.iter().any(|it| it["address"] == address.as_str());
        addresses.iter().all(is_there)
    });
    let count = replicas.len().to_string();
    let headers = [
        ("Pykv-Sync-Replicas", count.as_str()),
        ("Pykv-Sync-Required", "true"),
        ("Pykv-Sync-Timeout", "20"),
    ];
    let mut client = primary.server.client();
    let answer = client.request("PUT", "/kv/for-all?upsert=true", &headers, b"1");
    assert!(answer.is_success(), "{answer:?}");
    assert_eq!(answer.header("Pykv-Replicas"), Some(count.as_str()));
    for replica in replicas {
        assert_eq!(replica.value("for-all").as_deref(), Some("1"));
    }
}
