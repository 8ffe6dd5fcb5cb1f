//! Replicas whose primary is gone: they do not take each other for it, they say that they have none, and the one that
//! is to take over does.

use crate::common::cluster::{Member, become_equal};
use crate::common::node::Setup;
use crate::common::proxy::Mode;
use crate::common::replicas::{
    LOOKED_AT, Place, has_no_primary, has_no_way_to_a_primary, is_followed_by, says_even,
};
use crate::common::{eventually, poll, pykv};
use rustix::process::Signal;
use std::path::Path;

/// Follows another replica, since its operator says so.
const FROM_REPLICA: &str = "--from-replica";

/// A primary and two replicas that name each other, all equal; `successor` are arguments of the first replica.
#[track_caller]
fn trio(successor: &[&str]) -> [Member; 3] {
    let (a, b, c) = (Place::new(), Place::new(), Place::new());
    let (at_a, at_b, at_c) = (a.address(), b.address(), c.address());
    let a = a.primary(&["--sync-replicas", "1"]);
    let b = b.replica(&[&at_a, &at_c], successor);
    let c = c.replica(&[&at_a, &at_b], &[]);
    a.set("k", "1");
    become_equal(&[&a, &b, &c]);
    b.is_even();
    c.is_even();
    [a, b, c]
}

/// How a primary falls silent.
#[derive(Clone, Copy, Debug)]
enum Silence {
    Killed,
    Stopped,
    /// Its connections break, and none come about.
    CutOff,
    /// Its connections stand, and nothing comes.
    Frozen,
}

#[test]
fn replicas_that_know_each_other_do_not_take_each_other_for_the_primary() {
    let [mut a, b, c] = trio(&[]);
    a.server.kill_9();
    has_no_primary(&b);
    has_no_primary(&c);
    for node in [&b, &c] {
        let set = pykv(&["set", "k", "2"]).at(&node.server).run();
        assert_eq!(set.code, Some(6), "there is no primary: {set:?}");
    }
    a.start_again();
    is_followed_by(&a, &[&b, &c]);

    // It is away for a moment only.
    a.server.kill_9();
    a.start_again();
    is_followed_by(&a, &[&b, &c]);
    assert!(a.server.sigterm().success());
    assert!(!poll(LOOKED_AT, || b.is_primary() || c.is_primary()));
    a.start_again();
    is_followed_by(&a, &[&b, &c]);
    become_equal(&[&a, &b, &c]);
}

#[test]
fn the_successor_takes_over_though_it_knows_another_replica() {
    let [mut a, b, c] = trio(&["--failover-after", "1s"]);
    // Whoever was primary once is remembered: the third one too.
    c.promote();
    is_followed_by(&c, &[&a, &b]);
    a.promote();
    is_followed_by(&a, &[&b, &c]);
    for silence in [
        Silence::Killed,
        Silence::Stopped,
        Silence::CutOff,
        Silence::Frozen,
    ] {
        eprintln!("{silence:?}");
        become_equal(&[&a, &b, &c]);
        b.is_even();
        match silence {
            Silence::Killed => a.server.kill_9(),
            Silence::Stopped => a.server.suspend(),
            Silence::CutOff => a.link.set(Mode::Cut),
            Silence::Frozen => a.link.set(Mode::Hang),
        }
        eventually("the successor takes over", || b.is_primary());
        is_followed_by(&b, &[&c]);
        match silence {
            Silence::Killed => a.start_again(),
            Silence::Stopped => a.server.signal(Signal::CONT),
            Silence::CutOff | Silence::Frozen => a.link.set(Mode::Pass),
        }
        eventually("the one before steps down", || !a.is_primary());
        is_followed_by(&b, &[&a, &c]);
        a.promote();
        is_followed_by(&a, &[&b, &c]);
    }
}

#[test]
fn of_two_successors_that_name_each_other_one_takes_over() {
    let (a, b, c) = (Place::new(), Place::new(), Place::new());
    let (at_a, at_b, at_c) = (a.address(), b.address(), c.address());
    let mut a = a.primary(&[]);
    let b = b.replica(&[&at_a, &at_c], &["--failover-after", "1s"]);
    let c = c.replica(&[&at_a, &at_b], &["--failover-after", "1s"]);
    a.set("k", "1");
    become_equal(&[&a, &b, &c]);
    b.is_even();
    c.is_even();
    a.server.kill_9();
    eventually("one takes over", || b.is_primary() || c.is_primary());
    eventually("one is left", || b.is_primary() != c.is_primary());
    become_equal(&[&b, &c]);
    a.start_again();
    eventually("the one before steps down", || !a.is_primary());
    become_equal(&[&a, &b, &c]);
}

#[test]
fn a_power_cycle_in_any_order_ends_with_all_behind_the_primary() {
    let (a, b, c) = (Place::new(), Place::new(), Place::new());
    let (at_a, at_b) = (a.address(), b.address());
    let a = a.primary(&["--sync-replicas", "1"]);
    let b = b.replica(&[&at_a], &["--failover-after", "1s"]);
    let c = c.replica(&[&at_a, &at_b], &[]);
    b.is_even();
    c.is_even();
    c.promote();
    is_followed_by(&c, &[&a, &b]);
    let mut nodes = [a, b, c];
    nodes[2].server.kill_9();
    nodes[2].start_again();
    let [a, b, c] = &nodes;
    is_followed_by(c, &[a, b]);
    for order in [[2, 1, 0], [1, 2, 0], [0, 1, 2]] {
        eprintln!("{order:?}");
        for node in &mut nodes {
            node.server.kill_9();
        }
        for node in order {
            nodes[node].start_again();
        }
        let [a, b, c] = &nodes;
        is_followed_by(c, &[a, b]);
        become_equal(&[a, b, c]);
    }
}

#[test]
fn writers_are_not_sent_in_circles_nor_to_the_dead() {
    let [mut a, mut b, c] = trio(&["--failover-after", "1s"]);
    c.promote();
    is_followed_by(&c, &[&a, &b]);
    a.promote();
    is_followed_by(&a, &[&b, &c]);
    become_equal(&[&a, &b, &c]);
    b.is_even();
    a.server.kill_9();
    eventually("the successor takes over", || b.is_primary());
    is_followed_by(&b, &[&c]);
    b.server.kill_9();
    has_no_primary(&c);
    a.start_again();
    // It may take writes until it hears of the higher term, and then has no primary any more.
    eventually("the first one hears that it is not the primary", || {
        !a.is_primary()
    });
    has_no_primary(&a);
    has_no_primary(&c);
    b.start_again();
    is_followed_by(&b, &[&a, &c]);
}

#[test]
fn a_chain_hands_down_how_far_it_is_behind_the_primary() {
    let mut a = Place::new().primary(&[]);
    let b = Place::new().replica(&[&a.link.address()], &[]);
    let c = Place::new().replica(&[&b.link.address()], &[FROM_REPLICA]);
    a.set("k", "1");
    become_equal(&[&a, &b, &c]);
    eventually("both say so", || says_even(&b) && says_even(&c));
    for mode in [Mode::Hang, Mode::Cut] {
        a.link.set(mode);
        a.set("k", "2");
        has_no_primary(&b);
        has_no_way_to_a_primary(&c);
        a.link.set(Mode::Pass);
        become_equal(&[&a, &b, &c]);
        eventually("both have a primary again", || says_even(&b) && says_even(&c));
    }
    // The link in the middle: the replica at the end is alone.
    b.link.set(Mode::Hang);
    has_no_way_to_a_primary(&c);
    assert!(says_even(&b), "{}", b.status());
    b.link.set(Mode::Pass);
    eventually("it has a primary again", || says_even(&c));

    a.server.kill_9();
    has_no_primary(&b);
    has_no_way_to_a_primary(&c);
    b.promote_by_force();
    eventually("it follows the new one", || says_even(&c));
    become_equal(&[&b, &c]);
}

#[test]
fn a_ring_knows_that_it_has_no_primary() {
    let home = tempfile::tempdir().unwrap();
    let dirs = ["b", "c"].map(|name| home.path().join(name));
    let mut a = Place::new().primary(&[]);
    a.set("k", "1");
    let at_a = a.link.address();
    for dir in &dirs {
        let mut replica = Setup::replica(&at_a, &[]).data(dir).start();
        eventually("it has the store", || replica.get("/kv/k").status == 200);
        assert!(replica.sigterm().success());
    }
    a.server.kill_9();
    let (b, c) = (Place::new(), Place::new());
    let (at_b, at_c) = (b.address(), c.address());
    let ring = |place: Place, from: &str, dir: &Path| {
        let advertise = place.address();
        let setup = Setup::replica(from, &[FROM_REPLICA, "--advertise", &advertise]);
        Member::of(setup.data(dir), place.link)
    };
    let b = ring(b, &at_c, &dirs[0]);
    let c = ring(c, &at_b, &dirs[1]);
    assert!(!poll(LOOKED_AT, || says_even(&b) || says_even(&c)));
    has_no_way_to_a_primary(&b);
    has_no_way_to_a_primary(&c);
    b.promote_by_force();
    b.set("k", "2");
    become_equal(&[&b, &c]);
    eventually("it has a primary", || says_even(&c));
}
