//! A machine's clock may say anything, as it does on a board without a battery: a node answers whatever it says, and a
//! signal ends it.
//!
//! `faketime` gives the node another clock.

use crate::common::node::Setup;
use crate::common::{Server, eventually, faketime, skip};
use std::time::Duration;

/// A node whose clock starts at this time; none where `faketime` is missing.
fn node_at(time: &str, args: &[&str]) -> Option<Server> {
    node_with(&format!("FAKETIME={time}"), args)
}

/// A node whose clock is what this variable says to `faketime`; none where that is missing.
fn node_with(variable: &str, args: &[&str]) -> Option<Server> {
    with_clock(variable, Setup::new(args))
}

fn with_clock(variable: &str, setup: Setup) -> Option<Server> {
    let wrapper = faketime::wrapper(variable)?;
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    Some(setup.wrapper(&wrapper).start())
}

#[test]
fn a_node_answers_and_stops_whatever_its_clock_says() {
    for (time, date) in [
        ("@1900-01-01 00:00:00", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("@1969-12-31 12:00:00", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("+10000y", "Fri, 31 Dec 9999 23:59:59 GMT"),
    ] {
        let home = tempfile::tempdir().unwrap();
        let access = home.path().join("access");
        let args = ["--max-connections", "1", "--access-log", access.to_str().unwrap()];
        let Some(mut node) = node_at(time, &args) else {
            return skip(
                "a_node_answers_and_stops_whatever_its_clock_says",
                "faketime is not installed",
            );
        };
        let mut client = node.client();
        let added = client.add("k", "v").expect(201);
        assert_eq!(added.header("Date"), Some(date), "{time}");
        client
            .request("PUT", "/kv/brief?upsert&ttl=100", &[], b"v")
            .expect(201);
        assert_eq!(
            client.get("/kv/brief").expect(200).body_json()["value"],
            "v",
            "{time}"
        );
        client.get("/metrics").expect(200);
        client.get("/history").expect(200);
        // The second client is told by the accept loop itself that there is no room.
        let refused = crate::common::Client::connect(node.address())
            .response(false)
            .unwrap();
        assert_eq!(
            (refused.status, refused.header("Date")),
            (503, Some(date)),
            "{time}"
        );
        drop(client);
        let status = node.sigterm();
        assert_eq!(status.code(), Some(0), "{time}: {}", node.stderr());
        assert!(!node.stderr().contains("panicked"), "{time}: {}", node.stderr());
        assert!(std::fs::read_to_string(&access).unwrap().lines().count() >= 4);
    }
}

const HOUR_SECONDS: i64 = 3600;
const YEAR_SECONDS: i64 = 365 * 86_400;

/// A clock that was wrong for a while, and was set right: what is given a deadline from then on gets the right one.
#[test]
fn a_clock_that_was_set_back_is_said_and_followed() {
    let clock = faketime::Clock::new();
    let Some(node) = node_with(&clock.variable(), &[]) else {
        return skip(
            "a_clock_that_was_set_back_is_said_and_followed",
            "faketime is not installed",
        );
    };
    let year = |node: &Server| {
        let answer = node.get("/healthz").expect(200);
        answer.header("Date").unwrap()[12..16].parse::<u32>().unwrap()
    };
    let seconds_left = |key: &str| node.get(&format!("/kv/{key}")).expect(200).body_json()["ttl"].clone();
    let put = |key: &str| {
        let mut client = node.client();
        client
            .put(&format!("/kv/{key}?upsert=true&ttl=60"), b"v")
            .expect(201);
    };
    let real = year(&node);
    assert!(node.get("/status").body_json()["clock_ahead_seconds"].is_null());
    clock.set(20 * YEAR_SECONDS, "the clock is ahead", || {
        year(&node) >= real + 19
    });
    put("ahead");
    clock.set(0, "the clock is right again", || year(&node) < real + 19);
    put("after");
    let left = seconds_left("after").as_f64().unwrap();
    assert!(left <= 60.0, "{left} s left of 60");
    // Given by the wrong clock: later by as much as that was ahead.
    assert!(seconds_left("ahead").as_f64().unwrap() > 19.0 * 365.0 * 86_400.0);
    eventually("the log says it", || node.stderr().contains("was set back by"));
    let ahead = node.get("/status").body_json()["clock_ahead_seconds"].clone();
    assert!(
        ahead
            .as_f64()
            .is_some_and(|seconds| seconds > 19.0 * 365.0 * 86_400.0),
        "{ahead}"
    );
    let ready = node.get("/readyz").expect(200).body_json();
    assert!(
        ready["detail"].as_str().unwrap().contains("was set back by"),
        "{ready}"
    );
    let metrics = String::from_utf8(node.get("/metrics").expect(200).body).unwrap();
    assert!(
        metrics
            .lines()
            .any(|line| line.starts_with("pykv_clock_ahead_seconds 6")),
        "{metrics}"
    );
    let said = String::from_utf8(crate::common::pykv(&["status"]).at(&node).succeed()).unwrap();
    assert!(said.contains("was set back by"), "{said}");
}

/// Deadlines come from the primary: a replica counts them down, and a clock that was set back lengthens none there.
#[test]
fn a_replica_counts_deadlines_as_its_primary_does() {
    let clock = faketime::Clock::new();
    let variable = clock.variable();
    let Some(primary) = node_with(&variable, &[]) else {
        return skip(
            "a_replica_counts_deadlines_as_its_primary_does",
            "faketime is not installed",
        );
    };
    let address = primary.address().to_string();
    let replica = with_clock(&variable, Setup::replica(&address, &[])).unwrap();
    let put = |key: &str| {
        let target = format!("/kv/{key}?upsert=true&ttl=60");
        primary.client().put(&target, b"v").expect(201);
    };
    let left_at = |node: &Server, key: &str| {
        let answer = node.get(&format!("/kv/{key}"));
        (answer.status == 200).then(|| answer.body_json()["ttl"].as_f64().unwrap())
    };
    put("before");
    eventually("the replica has it", || left_at(&replica, "before").is_some());
    clock.set(2 * HOUR_SECONDS, "what ends within the jump is gone", || {
        [&primary, &replica].map(|node| left_at(node, "before")) == [None, None]
    });
    put("ahead");
    let day = |node: &Server| {
        node.get("/healthz")
            .expect(200)
            .header("Date")
            .unwrap()
            .to_owned()
    };
    let date = day(&replica);
    clock.set(0, "the replica's clock is set back", || day(&replica) < date);
    eventually("the primary's is too", || {
        primary.get("/status").body_json()["clock_ahead_seconds"].is_number()
    });
    // Seen as soon as it is there: it has a minute left, whatever the replica's clock has shown before.
    let target = "/kv/after?upsert=true&ttl=60";
    let written = primary.client().put(target, b"v").expect(201);
    let offset = written.header("Pykv-Offset").unwrap().to_owned();
    let read = replica
        .client()
        .request("GET", "/kv/after", &[("Pykv-Min-Offset", &offset)], b"");
    read.expect(200);
    for node in [&primary, &replica] {
        let left = left_at(node, "after").unwrap();
        assert!(left <= 60.0, "{left} s left of 60");
        let ahead = left_at(node, "ahead").unwrap();
        assert!(ahead > 7000.0, "{ahead} s left");
        let said = crate::common::pykv(&["ttl", "after"]).at(node).succeed();
        let said: f64 = String::from_utf8(said).unwrap().trim().parse().unwrap();
        assert!(said <= 60.0, "{said} s left of 60");
    }
}

/// What is left of a deadline is what the node says, whatever the clock of whoever asks.
#[test]
fn the_time_that_is_left_is_counted_by_the_node() {
    let Some(node) = node_with("FAKETIME=-1h", &[]) else {
        return skip(
            "the_time_that_is_left_is_counted_by_the_node",
            "faketime is not installed",
        );
    };
    let pykv = crate::common::pykv;
    pykv(&["set", "--ttl", "60s", "k", "v"]).at(&node).succeed();
    let said = String::from_utf8(pykv(&["ttl", "k"]).at(&node).succeed()).unwrap();
    let left: f64 = said.trim().parse().unwrap();
    assert!((20.0..=60.0).contains(&left), "{left} s left of 60");
}

/// A node cannot tell whose clock is wrong, and says that they differ.
#[test]
fn a_replica_says_that_its_clock_is_not_that_of_its_primary() {
    let clock = faketime::Clock::new();
    let primary = Server::start(&[]);
    let setup = Setup::replica(&primary.address().to_string(), &[]);
    let Some(replica) = with_clock(&clock.variable(), setup) else {
        return skip(
            "a_replica_says_that_its_clock_is_not_that_of_its_primary",
            "faketime is not installed",
        );
    };
    let trouble = || {
        let status = replica.get("/status").expect(200).body_json();
        status["replication"]["error"].as_str().map(str::to_owned)
    };
    let skew_seconds = || {
        let metrics = String::from_utf8(replica.get("/metrics").expect(200).body).unwrap();
        let mut lines = metrics.lines();
        let line = lines.find_map(|line| line.strip_prefix("pykv_replica_clock_skew_seconds "));
        line.map(|number| number.parse::<i64>().unwrap())
    };
    eventually("it follows", || skew_seconds() == Some(0));
    for (hours, says) in [(2, "ahead of the primary's"), (-2, "behind the primary's")] {
        let seconds = hours * HOUR_SECONDS;
        clock.set(seconds, "it says so", || {
            trouble().is_some_and(|why| why.contains(says))
        });
        eventually("the log says it", || replica.stderr().contains(says));
        eventually("the metrics have it", || {
            skew_seconds().is_some_and(|skew| (skew - seconds).abs() < 5)
        });
        clock.set(0, "they agree", || trouble().is_none());
    }
}

/// The time that all threads of a process have been running, in ticks of 10 ms.
fn cpu_ticks(node: &Server) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11..13]
        .iter()
        .map(|ticks| ticks.parse::<u64>().unwrap())
        .sum()
}

/// Whoever waits until a moment that its clock never shows, or has shown long ago, would run all the time.
#[test]
fn a_node_that_has_nothing_to_do_rests_whatever_its_clock_says() {
    let nodes: Option<Vec<(Server, crate::common::Client)>> = ["@1900-01-01 00:00:00", "+10000y"]
        .into_iter()
        .map(|time| {
            let node = node_at(time, &["--max-connections", "1"])?;
            let mut client = node.client();
            client
                .request("PUT", "/kv/brief?upsert&ttl=0.5", &[], b"v")
                .expect(201);
            client
                .request("PUT", "/kv/long?upsert&ttl=3000000000", &[], b"v")
                .expect(201);
            eventually("a deadline comes whatever the clock says", || {
                client.get("/stats").body_json()["entries"] == 1
            });
            client.get("/kv/long").expect(200);
            Some((node, client))
        })
        .collect();
    let Some(nodes) = nodes else {
        return skip(
            "a_node_that_has_nothing_to_do_rests_whatever_its_clock_says",
            "faketime is not installed",
        );
    };
    let before: Vec<u64> = nodes.iter().map(|(node, _)| cpu_ticks(node)).collect();
    // One that runs all the time has many times as much of the machine meanwhile, also of a busy one.
    crate::common::poll(Duration::from_secs(2), || false);
    for ((node, _), before) in nodes.iter().zip(before) {
        let ticks = cpu_ticks(node) - before;
        assert!(ticks < 20, "{ticks} ticks of 200");
    }
}
