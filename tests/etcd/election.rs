//! Failover that a real etcd decides: starts in any order, takeovers, handovers, pauses of takeovers, an etcd that is
//! away or has lost something, and nodes that are not what they seem.
//!
//! Where etcd is not installed the tests say so and pass. A lease lasts 5 s, the shortest that is allowed; what a test
//! expects it waits for, since a busy machine may take a lease from a node that did nothing wrong.

use crate::common::cluster::{Member, become_equal};
use crate::common::etcd::Etcd;
use crate::common::fake::Fake;
use crate::common::files::copy_dir;
use crate::common::node::Setup;
use crate::common::proxy::{Mode, Proxy};
use crate::common::{Server, eventually, poll, pykv, skip};
use rustix::process::Signal;
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Longer than a lease lasts, and the time that it takes to find that it is over.
pub(super) const LEASE_OVER: Duration = Duration::from_secs(8);

/// Nodes of one cluster, and the etcd that they ask, each by a link of its own.
pub(super) struct Cluster {
    pub(super) etcd: Etcd,
    pub(super) links: Vec<Proxy>,
    pub(super) nodes: Vec<Member>,
}

impl Cluster {
    /// So many nodes; none where etcd is not installed.
    pub(super) fn start(test: &str, count: usize, args: &[&str]) -> Option<Cluster> {
        let Some(etcd) = Etcd::start(1) else {
            skip(test, "etcd is not installed");
            return None;
        };
        let mut cluster = Cluster {
            etcd,
            links: Vec::new(),
            nodes: Vec::new(),
        };
        for _ in 0..count {
            cluster.add(args);
        }
        Some(cluster)
    }

    fn add(&mut self, args: &[&str]) {
        self.add_on(args, None);
    }

    /// A node, on a directory that is there already.
    fn add_on(&mut self, args: &[&str], data: Option<&std::path::Path>) {
        let (to_etcd, link) = (Proxy::start(), Proxy::start());
        to_etcd.lead_to(self.etcd.address(0));
        let url = format!("http://{}", to_etcd.address());
        let advertise = link.address();
        let own = ["--etcd", &url, "--cluster", "shop", "--advertise", &advertise];
        let mut setup = Setup::new(&[&own[..], &["--etcd-ttl", "5s"], args].concat());
        if let Some(data) = data {
            setup = setup.data(data);
        }
        self.nodes.push(Member::of(setup, link));
        self.links.push(to_etcd);
    }

    /// The node that is primary, once there is one among those that run.
    #[track_caller]
    pub(super) fn primary(&self) -> usize {
        let mut found = None;
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        let is_there = poll(crate::common::SOON, || {
            found = self.primary_of(&all);
            found.is_some()
        });
        assert!(is_there, "there is no primary: {}", self.views());
        found.unwrap()
    }

    pub(super) fn primary_of(&self, nodes: &[usize]) -> Option<usize> {
        nodes
            .iter()
            .copied()
            .find(|&at| self.asks(at, "/leader") == Some(200))
    }

    /// The status of an answer; none where the node does not run.
    pub(super) fn asks(&self, at: usize, path: &str) -> Option<u16> {
        let address = self.nodes[at].server.try_address()?;
        let mut client = crate::common::Client::try_connect(address).ok()?;
        let answer = client.try_request("GET", path, &[], b"").ok()?;
        Some(answer.status)
    }

    /// What the nodes say of the cluster.
    pub(super) fn views(&self) -> String {
        let views = self.nodes.iter().map(|node| {
            let mut client = crate::common::Client::try_connect(node.server.try_address()?).ok()?;
            let answer = client.try_request("GET", "/cluster", &[], b"").ok()?;
            Some(String::from_utf8_lossy(&answer.body).into_owned())
        });
        views.flatten().collect::<Vec<_>>().join("\n")
    }

    #[track_caller]
    pub(super) fn view(&self, at: usize) -> Value {
        self.nodes[at].server.get("/cluster").expect(200).body_json()
    }

    /// Waits until the primary names so many standbys that may take over.
    #[track_caller]
    pub(super) fn has_standbys(&self, count: usize) -> usize {
        let mut primary = 0;
        let has = seldom(|| {
            primary = self.primary();
            let members = self.view(primary)["members"].clone();
            let able = members.as_array().unwrap().iter();
            able.filter(|member| member["standby"] == true && member["obstacle"].is_null())
                .count()
                >= count
        });
        assert!(has, "{}", self.views());
        primary
    }

    /// Waits until the primary knows all nodes: one that it does not know may not take over from it.
    #[track_caller]
    pub(super) fn is_known(&self) -> usize {
        eventually("the primary knows all nodes", || {
            let nodes = self.etcd.ctl(0, &["get", "/pykv/shop/failsafe"]);
            let nodes = String::from_utf8(nodes).unwrap();
            self.nodes.iter().all(|node| nodes.contains(&node.link.address()))
        });
        self.primary()
    }

    /// Waits until all nodes hold the same.
    #[track_caller]
    pub(super) fn is_equal(&self) {
        become_equal(&self.nodes.iter().collect::<Vec<_>>());
    }

    /// Writes until a node takes it, as a client does that may try again.
    #[track_caller]
    pub(super) fn set(&self, key: &str, value: &str) {
        let is_set = poll(crate::common::SOON, || {
            (0..self.nodes.len()).any(|at| self.try_set(at, key, value) == Some(true))
        });
        assert!(is_set, "nobody takes {key}: {}", self.views());
    }

    /// Whether a node has taken a write; none where it does not run.
    fn try_set(&self, at: usize, key: &str, value: &str) -> Option<bool> {
        let address = self.nodes[at].server.try_address()?;
        let mut client = crate::common::Client::try_connect(address).ok()?;
        let target = format!("/kv/{key}?upsert=true");
        let answer = client.try_request("PUT", &target, &[], value.as_bytes()).ok()?;
        Some(matches!(answer.status, 200 | 201))
    }

    pub(super) fn why_not(&self, at: usize) -> String {
        let view = self.view(at);
        let own = self.nodes[at].link.address();
        let members = view["members"].as_array().unwrap();
        let member = members.iter().find(|member| member["node"] == own.as_str());
        let obstacle = member.map(|member| member["obstacle"].clone());
        obstacle
            .and_then(|why| Some(why.as_str()?.to_owned()))
            .unwrap_or_default()
    }
}

#[test]
fn one_of_the_nodes_is_primary_whatever_starts_first_and_a_killed_one_is_replaced() {
    let name = "one_of_the_nodes_is_primary_whatever_starts_first_and_a_killed_one_is_replaced";
    let Some(mut cluster) = Cluster::start(name, 3, &["--sync-replicas", "1"]) else {
        return;
    };
    let first = cluster.has_standbys(1);
    for at in 0..20 {
        cluster.set(&format!("k{at}"), "1");
    }
    cluster.is_equal();
    cluster.nodes[first].server.kill_9();
    let others: Vec<usize> = (0..3).filter(|&at| at != first).collect();
    let mut second = None;
    eventually("another one takes over", || {
        second = cluster.primary_of(&others);
        second.is_some()
    });
    let second = second.unwrap();
    for at in 0..20 {
        assert_eq!(
            cluster.nodes[second].value(&format!("k{at}")).as_deref(),
            Some("1")
        );
    }
    cluster.set("after", "2");
    // It is not forgotten before the operator says so.
    let address = cluster.nodes[first].link.address();
    let shown = |at: usize| {
        let view = cluster.view(at);
        let members = view["members"].as_array().unwrap();
        let member = members.iter().find(|member| member["node"] == address.as_str());
        member.map(|member| member["obstacle"].as_str().unwrap_or_default().to_owned())
    };
    assert!(
        seldom(|| shown(second).is_some_and(|why| why.starts_with("not seen for"))),
        "{}",
        cluster.views()
    );
    pykv(&["forget", &address])
        .at(&cluster.nodes[second].server)
        .succeed();
    assert_eq!(shown(second), None);
    cluster.nodes[first].start_again();
    cluster.is_equal();
    // All of them, and in another order.
    cluster.nodes.iter_mut().for_each(|node| node.server.kill_9());
    for at in [second, first, 3 - first - second] {
        cluster.nodes[at].start_again();
    }
    cluster.primary();
    cluster.is_equal();
    assert_eq!(cluster.nodes[0].value("after").as_deref(), Some("2"));
}

#[test]
fn a_node_that_stops_hands_over_and_nothing_is_lost() {
    let name = "a_node_that_stops_hands_over_and_nothing_is_lost";
    let Some(mut cluster) = Cluster::start(name, 2, &[]) else {
        return;
    };
    cluster.primary();
    cluster.is_equal();
    let first = cluster.is_known();
    cluster.set("k", "1");
    assert!(cluster.nodes[first].server.sigterm().success());
    let said = cluster.nodes[first].server.stderr();
    assert!(said.contains("it hands over"), "{said}");
    let second = cluster.primary();
    assert_ne!(second, first);
    assert_eq!(cluster.nodes[second].value("k").as_deref(), Some("1"));
    // The node was not waited for.
    let key = cluster.etcd.ctl(0, &["get", "--prefix", "/pykv/shop/members/"]);
    assert!(
        !String::from_utf8(key)
            .unwrap()
            .contains(&cluster.nodes[first].link.address())
    );
    cluster.nodes[first].start_again();
    cluster.is_equal();
}

#[test]
fn a_switchover_under_writers_loses_nothing() {
    let name = "a_switchover_under_writers_loses_nothing";
    let Some(cluster) = Cluster::start(name, 3, &["--sync-replicas", "1"]) else {
        return;
    };
    let first = cluster.has_standbys(1);
    let to_stop = AtomicBool::new(false);
    let (written, answers) = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (cluster, to_stop) = (&cluster, &to_stop);
                scope.spawn(move || {
                    let mut written = 0;
                    while !to_stop.load(Ordering::Relaxed) {
                        cluster.set(&format!("w{writer}-{written}"), "1");
                        written += 1;
                    }
                    written
                })
            })
            .collect();
        let mut switched = 0;
        let mut answers = Vec::new();
        eventually("it is handed over twice", || {
            // From any node: it is sent on to the primary.
            let output = pykv(&["switchover"])
                .at(&cluster.nodes[(first + switched) % 3].server)
                .run();
            if output.code == Some(0) {
                switched += 1;
                // What it says is so: the node that it names is primary by now. (On a machine that stands still for as
                // long as a lease lasts, it was.)
                let said = String::from_utf8(output.stdout).unwrap();
                let (named, term) = said.trim_end().split_once(" is the primary of ").unwrap();
                let mut nodes = cluster.nodes.iter();
                let named = nodes.find(|node| node.link.address() == named).unwrap();
                let is_primary = named.server.get("/leader").status == 200
                    || named
                        .server
                        .stderr()
                        .contains(&format!("this node is the primary of {term},"));
                answers.push((said, is_primary));
            }
            switched == 2
        });
        to_stop.store(true, Ordering::Relaxed);
        let written = writers.into_iter().map(|writer| writer.join().unwrap());
        (written.collect::<Vec<usize>>(), answers)
    });
    assert!(answers.iter().all(|(_, is_primary)| *is_primary), "{answers:?}");
    cluster.primary();
    cluster.is_equal();
    for (writer, count) in written.into_iter().enumerate() {
        assert!(count > 0);
        for at in 0..count {
            let value = cluster.nodes[0].value(&format!("w{writer}-{at}"));
            assert_eq!(value.as_deref(), Some("1"), "w{writer}-{at} of {count}");
        }
    }
}

#[test]
fn a_refused_switchover_names_its_reason() {
    let name = "a_refused_switchover_names_its_reason";
    let Some(cluster) = Cluster::start(name, 1, &[]) else {
        return;
    };
    let at = cluster.primary();
    let node = &cluster.nodes[at];
    let alone = pykv(&["switchover"]).at(&node.server).expect(4);
    assert!(alone.stderr.contains("no other member"), "{alone:?}");
    let stranger = pykv(&["switchover", "--to", "h:1"]).at(&node.server).expect(4);
    assert!(
        stranger.stderr.contains("h:1: no member has this address"),
        "{stranger:?}"
    );
    let forced = pykv(&["failover", "--to", "h:1", "--accept-loss"])
        .at(&node.server)
        .expect(4);
    assert!(forced.stderr.contains("is primary in term"), "{forced:?}");
    let promoted = pykv(&["promote", "--force"]).at(&node.server).expect(4);
    assert!(promoted.stderr.contains("etcd decides"), "{promoted:?}");
    let table = String::from_utf8(pykv(&["cluster"]).at(&node.server).succeed()).unwrap();
    assert!(
        table.contains(&format!("{} is primary in term 2", node.link.address())),
        "{table}"
    );
    node.server.get("/liveness").expect(200);
    node.server.get("/primary").expect(200);
    let metrics = String::from_utf8(node.server.get("/metrics").expect(200).body).unwrap();
    for line in [
        "pykv_etcd_silence_seconds 0\n",
        "pykv_election_paused 0\n",
        "pykv_election_lease_seconds ",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

/// Sends a command until it is carried out: on a busy machine an etcd may be late once, and then nothing is done.
fn until_done(command: &str, node: &Member) {
    eventually(command, || {
        pykv(&[command]).at(&node.server).run().code == Some(0)
    });
}

#[test]
fn while_takeovers_are_paused_nobody_takes_over() {
    let name = "while_takeovers_are_paused_nobody_takes_over";
    let Some(mut cluster) = Cluster::start(name, 2, &[]) else {
        return;
    };
    cluster.primary();
    cluster.is_equal();
    let first = cluster.is_known();
    let second = 1 - first;
    until_done("pause", &cluster.nodes[second]);
    cluster.nodes[first].server.kill_9();
    let has_taken_over = poll(LEASE_OVER + LEASE_OVER / 2, || {
        cluster.primary_of(&[second]).is_some()
    });
    assert!(!has_taken_over, "{}", cluster.views());
    let why = cluster.why_not(second);
    assert!(why.contains("paused"), "{why}");
    until_done("resume", &cluster.nodes[second]);
    eventually("it takes over", || cluster.primary_of(&[second]).is_some());
}

#[test]
fn with_failsafe_the_primary_continues_while_etcd_is_away() {
    let name = "with_failsafe_the_primary_continues_while_etcd_is_away";
    let Some(mut cluster) = Cluster::start(name, 2, &["--sync-replicas", "1"]) else {
        return;
    };
    cluster.has_standbys(1);
    let first = cluster.is_known();
    let term = cluster.view(first)["term"].clone();
    cluster.etcd.kill_all();
    assert!(
        seldom(|| cluster.view(first)["failsafe"] == true),
        "{}",
        cluster.views()
    );
    for at in [first, 1 - first] {
        let says = seldom(|| {
            let table =
                String::from_utf8(pykv(&["cluster"]).at(&cluster.nodes[at].server).succeed()).unwrap();
            table.contains("etcd has not answered") && table.contains("while every other node confirms it")
        });
        assert!(says, "{}", cluster.views());
    }
    let to = cluster.nodes[1 - first].link.address();
    for words in [
        &["switchover"][..],
        &["failover", "--accept-loss", "--to", &to],
        &["pause"],
        &["resume"],
    ] {
        let refused = pykv(words).at(&cluster.nodes[first].server).expect(6);
        for said in ["etcd has not answered", "nothing was done", "bring etcd back"] {
            assert!(refused.stderr.contains(said), "{words:?}: {refused:?}");
        }
    }
    let has_lapsed = poll(LEASE_OVER, || cluster.primary_of(&[first]).is_none());
    assert!(!has_lapsed, "{}", cluster.views());
    assert_eq!(cluster.try_set(first, "k", "1"), Some(true));
    // Without that word it is none for long.
    cluster.nodes[1 - first].link.set(Mode::Cut);
    eventually("it steps down", || cluster.primary_of(&[first]).is_none());
    assert_ne!(cluster.try_set(first, "k", "2"), Some(true));
    cluster.nodes[1 - first].link.set(Mode::Pass);
    cluster.etcd.start_all();
    let now = cluster.primary();
    // Its lease may have outlived the absence of etcd: then it is the primary again, in its own term.
    let is_first = now == first && cluster.view(now)["term"] == term;
    assert!(is_first || cluster.view(now)["term"].as_u64() > term.as_u64());
    assert_eq!(
        cluster.view(now)["paused"],
        false,
        "a refused pause is never done"
    );
    assert_eq!(cluster.nodes[now].value("k").as_deref(), Some("1"));
    cluster.is_equal();
}

#[test]
fn without_failsafe_the_primary_steps_down_in_time() {
    let name = "without_failsafe_the_primary_steps_down_in_time";
    let args = ["--failsafe", "off", "--sync-replicas", "1"];
    let Some(cluster) = Cluster::start(name, 2, &args) else {
        return;
    };
    let first = cluster.has_standbys(1);
    cluster.set("k", "1");
    cluster.links[first].set(Mode::Hang);
    eventually("the other one takes over", || {
        cluster.primary_of(&[1 - first]).is_some()
    });
    // That it is so means that the former one is none.
    assert_ne!(cluster.asks(first, "/leader"), Some(200));
    cluster.set("k", "2");
    cluster.links[first].set(Mode::Pass);
    cluster.is_equal();
    assert_eq!(cluster.nodes[first].value("k").as_deref(), Some("2"));
}

#[test]
fn a_primary_stops_though_etcd_does_not_answer() {
    let Some(mut cluster) = Cluster::start("a_primary_stops_though_etcd_does_not_answer", 2, &[]) else {
        return;
    };
    cluster.primary();
    cluster.is_equal();
    let first = cluster.is_known();
    cluster.set("k", "1");
    cluster.is_equal();
    cluster.links[first].set(Mode::Hang);
    assert!(cluster.nodes[first].server.sigterm().success());
    let other = 1 - first;
    eventually("the other one takes over", || {
        cluster.primary_of(&[other]).is_some()
    });
    assert_eq!(cluster.nodes[other].value("k").as_deref(), Some("1"));
}

#[test]
fn a_primary_that_stops_just_after_etcd_was_away_hands_over() {
    let name = "a_primary_that_stops_just_after_etcd_was_away_hands_over";
    let Some(mut cluster) = Cluster::start(name, 2, &[]) else {
        return;
    };
    cluster.primary();
    cluster.is_equal();
    let first = cluster.is_known();
    cluster.etcd.kill_all();
    assert!(
        seldom(|| cluster.view(first)["failsafe"] == true),
        "{}",
        cluster.views()
    );
    cluster.etcd.start_all();
    assert!(cluster.nodes[first].server.sigterm().success());
    let said = cluster.nodes[first].server.stderr();
    assert!(said.contains("it hands over"), "{said}");
    eventually("the other one takes over", || {
        cluster.primary_of(&[1 - first]).is_some()
    });
}

#[test]
fn an_etcd_that_has_lost_its_data_makes_nobody_primary_before_the_operator_does() {
    let name = "an_etcd_that_has_lost_its_data_makes_nobody_primary_before_the_operator_does";
    let Some(mut cluster) = Cluster::start(name, 2, &[]) else {
        return;
    };
    cluster.primary();
    cluster.is_equal();
    cluster.set("k", "1");
    cluster.is_equal();
    let backup = cluster.etcd.back_up();
    // A later term, which the backup does not know.
    eventually("it is handed over", || {
        let switchover = pykv(&["switchover"]).at(&cluster.nodes[0].server).run();
        switchover.code == Some(0)
    });
    cluster.primary();
    cluster.is_equal();
    cluster.etcd.restore(&backup);
    refuses_until_forced(&cluster, "put back from a backup");
    cluster.etcd.lose_data();
    refuses_until_forced(&cluster, "lost what it knew");
    assert_eq!(cluster.nodes[1].value("k").as_deref(), Some("1"));
}

/// Polls with pauses: each look at the cluster has the nodes ask each other.
pub(super) fn seldom(mut condition: impl FnMut() -> bool) -> bool {
    poll(crate::common::SOON, || {
        std::thread::sleep(Duration::from_millis(100)); // Between two looks, up to the deadline.
        condition()
    })
}

/// No node becomes primary, and each says why; until the operator makes one primary, which the other follows.
#[track_caller]
fn refuses_until_forced(cluster: &Cluster, why: &str) {
    let says_why = seldom(|| (0..2).all(|at| cluster.why_not(at).contains(why)));
    assert!(says_why, "{}", cluster.views());
    assert_eq!(cluster.primary_of(&[0, 1]), None);
    let node = &cluster.nodes[1];
    let to = node.link.address();
    eventually("the operator makes one primary", || {
        let forced = pykv(&["failover", "--accept-loss", "--to", &to])
            .at(&cluster.nodes[0].server)
            .run();
        forced.code == Some(0)
    });
    cluster.primary();
    cluster.is_equal();
    let believe = seldom(|| (0..2).all(|at| !cluster.why_not(at).contains("etcd")));
    assert!(believe, "{}", cluster.views());
}

#[test]
fn a_primary_that_stood_still_answers_no_write_after_its_lease() {
    let name = "a_primary_that_stood_still_answers_no_write_after_its_lease";
    let Some(cluster) = Cluster::start(name, 2, &[]) else {
        return;
    };
    cluster.primary();
    cluster.is_equal();
    let first = cluster.is_known();
    // Asked before and read after: past the link, which would keep it.
    let mut client = cluster.nodes[first].server.client();
    client.put("/kv/k?upsert=true", b"1").expect(201);
    cluster.is_equal();
    cluster.nodes[first].server.suspend();
    let write = crate::common::client::encode("PUT", "/kv/k?upsert=true", &[], b"lost");
    client.send(&write).unwrap();
    let read = crate::common::client::encode("GET", "/kv/k", &[], b"");
    client.send(&read).unwrap();
    eventually("the other one takes over", || {
        cluster.primary_of(&[1 - first]).is_some()
    });
    cluster.set("k", "2");
    cluster.nodes[first].server.signal(Signal::CONT);
    let answer = client.response(false).unwrap();
    assert!(matches!(answer.status, 307 | 503), "{answer:?}");
    // A read is refused, or says that it is a replica's.
    let answer = client.response(false).unwrap();
    assert!(
        answer.status == 503 || answer.header("Pykv-Offset").is_some(),
        "{answer:?}"
    );
    cluster.is_equal();
    assert_eq!(cluster.nodes[first].value("k").as_deref(), Some("2"));
}

#[test]
fn another_store_and_another_process_are_not_followed_and_take_nothing_over() {
    let name = "another_store_and_another_process_are_not_followed_and_take_nothing_over";
    let Some(mut cluster) = Cluster::start(name, 2, &[]) else {
        return;
    };
    cluster.primary();
    cluster.set("k", "1");
    cluster.is_equal();
    // A store of its own that is started as a member of the cluster.
    let mut stranger = Server::start(&[]);
    stranger.client().put("/kv/other?upsert=true", b"1").expect(201);
    stranger.sigterm();
    cluster.add_on(&[], Some(stranger.dir()));
    let says_why = seldom(|| cluster.why_not(2).contains("and the cluster has the store"));
    assert!(says_why, "{}", cluster.views());
    assert_eq!(
        cluster.nodes[2].value("other").as_deref(),
        Some("1"),
        "it keeps what it has"
    );
    // What it says to do is what can be done: with etcd, nobody is promoted, and no store is replaced.
    let said = cluster.nodes[2].server.stderr();
    assert!(
        said.contains("move its directory away")
            && !said.contains("pykv promote")
            && !said.contains("--replace"),
        "{said}"
    );

    // A copy of the primary's directory, at the primary's address: not the process that etcd names.
    let first = cluster.primary();
    let second = 1 - first;
    let copy = tempfile::tempdir().unwrap();
    copy_dir(cluster.nodes[first].server.dir(), &copy.path().join("data"));
    let impostor = Setup::new(&["--advertise", &cluster.nodes[first].link.address()])
        .data(&copy.path().join("data"))
        .start();
    pykv(&["promote", "--force"]).at(&impostor).succeed();
    impostor.client().put("/kv/k?upsert=true", b"false").expect(200);
    cluster.nodes[first].link.lead_to(impostor.address());
    cluster.nodes[first].link.break_connections();
    let is_fooled = || cluster.nodes[second].value("k").as_deref() == Some("false");
    assert!(!poll(Duration::from_secs(3), is_fooled));
    cluster.nodes[first]
        .link
        .lead_to(cluster.nodes[first].server.address());
    cluster.set("k", "2");
    become_equal(&[&cluster.nodes[0], &cluster.nodes[1]]);
    assert_eq!(cluster.nodes[second].value("k").as_deref(), Some("2"));
}

#[test]
fn a_second_process_at_an_address_takes_no_part_until_the_first_is_gone() {
    let name = "a_second_process_at_an_address_takes_no_part_until_the_first_is_gone";
    let Some(mut cluster) = Cluster::start(name, 2, &["--sync-replicas", "1"]) else {
        return;
    };
    let first = cluster.has_standbys(1);
    cluster.set("k", "1");
    cluster.is_equal();
    let address = cluster.nodes[1 - first].link.address();
    let endpoints = cluster.etcd.endpoints();
    let args = ["--etcd", &endpoints, "--cluster", "shop", "--advertise", &address];
    let twin = Server::start(&[&args[..], &["--etcd-ttl", "5s", "--sync-replicas", "1"]].concat());
    let why_not = || {
        let view: Value = twin.get("/cluster").expect(200).body_json();
        let members = view["members"].as_array().unwrap();
        let own = members.iter().find(|member| member["node"] == address.as_str());
        own.and_then(|own| Some(own["obstacle"].as_str()?.to_owned()))
            .unwrap_or_default()
    };
    assert!(seldom(
        || why_not().contains("each node needs an --advertise of its own")
    ));
    assert!(twin.stderr().contains("another process has the address"));
    // What it has is not taken for what the other one has, and it has nothing.
    let state = || twin.get("/status").expect(200).body_json()["replication"]["state"].clone();
    assert!(!poll(Duration::from_secs(6), || state() == "streaming"));
    let primary = &cluster.nodes[first];
    let followers = primary.status()["replication"]["followers"].clone();
    assert_eq!(followers.as_array().map(Vec::len), Some(1), "{followers}");
    // Once the first one has ended, it is the node of the address.
    cluster.nodes[1 - first].server.kill_9();
    cluster.nodes[1 - first].link.lead_to(twin.address());
    eventually("the second one follows", || state() == "streaming");
    eventually("it has all", || twin.get("/kv/k?raw").body == b"1");
}

#[test]
fn a_key_of_a_member_that_was_deleted_comes_back() {
    let name = "a_key_of_a_member_that_was_deleted_comes_back";
    let Some(cluster) = Cluster::start(name, 2, &[]) else {
        return;
    };
    cluster.primary();
    cluster.is_known();
    let keys =
        || String::from_utf8(cluster.etcd.ctl(0, &["get", "--prefix", "/pykv/shop/members/"])).unwrap();
    let before = keys();
    cluster.etcd.ctl(0, &["del", "--prefix", "/pykv/shop/members/"]);
    eventually("the keys are back", || keys() == before);
    for node in &cluster.nodes {
        assert!(node.server.stderr().contains("has lost the key"));
    }
}

#[test]
fn a_pause_that_etcd_did_not_confirm_is_unknown_or_never_done() {
    let name = "a_pause_that_etcd_did_not_confirm_is_unknown_or_never_done";
    let Some(cluster) = Cluster::start(name, 1, &[]) else {
        return;
    };
    let at = cluster.primary();
    cluster.links[at].set(Mode::Hang);
    let refused = pykv(&["pause"]).at(&cluster.nodes[at].server).expect(6);
    let is_unknown = refused.stderr.contains("it may have been done");
    assert!(
        is_unknown || refused.stderr.contains("nothing was done"),
        "{refused:?}"
    );
    cluster.links[at].set(Mode::Pass);
    cluster.primary();
    if !is_unknown {
        assert_eq!(cluster.view(at)["paused"], false);
    }
    until_done("resume", &cluster.nodes[at]);
    until_done("pause", &cluster.nodes[at]);
    assert_eq!(cluster.view(at)["paused"], true);
}

#[test]
fn what_does_not_go_together_is_refused_in_one_line() {
    let old = Fake::always(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 49\r\n\r\n{\"etcdserver\":\"3.3.11\",\"etcdcluster\":\"3.3.0\"}    ",
    );
    let old = old.url();
    let here = "http://127.0.0.1:1";
    for (args, said) in [
        (&["serve", "--etcd", here][..], "--cluster"),
        (&["serve", "--cluster", "shop"], "--etcd"),
        (&["serve", "--failsafe", "off"], "--etcd"),
        (&["serve", "--etcd", "127.0.0.1:1", "--cluster", "a"], "http"),
        (&["serve", "--etcd", here, "--cluster", "a/b"], "letters"),
        (
            &["serve", "--etcd", here, "--cluster", "a", "--etcd-ttl", "4s"],
            "5s",
        ),
        (
            &["serve", "--etcd", here, "--cluster", "a", "--etcd-user", "u"],
            "--etcd-password-file",
        ),
        (
            &["replica", "--from", "h:1", "--etcd", here, "--cluster", "a"],
            "--from",
        ),
        (&["serve", "--etcd", &old, "--cluster", "a"], "3.4"),
    ] {
        is_refused_in_one_line(args, said);
    }
}

#[test]
fn an_address_that_leads_nowhere_and_a_password_in_a_url_are_refused_in_one_line() {
    let here = "http://127.0.0.1:1";
    for (args, said) in [
        (
            &["serve", "--etcd", "http://u:secret@h:1", "--cluster", "a"][..],
            "--etcd-password-file",
        ),
        (
            &[
                "serve",
                "--etcd",
                here,
                "--cluster",
                "a",
                "--advertise",
                "nonsense",
            ],
            "HOST:PORT",
        ),
        (
            &[
                "serve",
                "--etcd",
                here,
                "--cluster",
                "a",
                "--advertise",
                "http://h:1",
            ],
            "HOST:PORT",
        ),
        (
            &[
                "serve",
                "--etcd",
                here,
                "--cluster",
                "a",
                "--sync-replicas",
                "1",
                "--max-lag-on-failover",
                "1MiB",
            ],
            "--sync-replicas",
        ),
    ] {
        is_refused_in_one_line(args, said);
    }
}

#[track_caller]
fn is_refused_in_one_line(args: &[&str], said: &str) {
    let dir = tempfile::tempdir().unwrap();
    let output = pykv(args)
        .arg("--listen")
        .arg("127.0.0.1:0")
        .dir(&dir.path().join("data"))
        .expect(2);
    let lines = output
        .stderr
        .lines()
        .filter(|line| line.starts_with("pykv:"))
        .count();
    assert!(output.stderr.contains(said) && lines == 1, "{args:?}: {output:?}");
    assert!(!output.stderr.contains("secret"), "{output:?}");
    assert!(!dir.path().join("data").exists(), "{args:?}");
}

#[test]
fn a_wrong_password_is_refused_in_one_line() {
    let Some(etcd) = Etcd::start(1) else {
        return skip("a_wrong_password_is_refused_in_one_line", "etcd is not installed");
    };
    for args in [
        &["user", "add", "root:right"][..],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        etcd.ctl(0, args);
    }
    let dir = tempfile::tempdir().unwrap();
    let (right, wrong) = (dir.path().join("right"), dir.path().join("wrong"));
    std::fs::write(&right, "right\n").unwrap();
    std::fs::write(&wrong, "wrong\n").unwrap();
    let endpoints = etcd.endpoints();
    let args = |file: &std::path::Path| {
        let own = ["--etcd", &endpoints, "--cluster", "shop", "--etcd-user", "root"];
        let own = own.iter().map(|arg| (*arg).to_owned());
        own.chain(["--etcd-password-file".to_owned(), file.display().to_string()])
            .collect::<Vec<String>>()
    };
    let wrong = args(&wrong);
    let words: Vec<&str> = ["serve", "--listen", "127.0.0.1:0"]
        .into_iter()
        .chain(wrong.iter().map(String::as_str))
        .collect();
    let output = pykv(&words).dir(&dir.path().join("data")).expect(2);
    assert!(output.stderr.contains("--etcd-password-file"), "{output:?}");
    let right = args(&right);
    let node = Server::start(&right.iter().map(String::as_str).collect::<Vec<_>>());
    eventually("it is primary", || node.get("/leader").status == 200);
}
