//! The network does what a schedule asks of it: each pair of nodes is cut by itself, and each way.

use crate::common::network::Network;
use crate::common::node::Setup;
use crate::common::{Server, eventually, opener, poll, skip};
use std::time::Duration;

/// A primary and two replicas that know only it.
fn trio(network: &Network) -> [Server; 3] {
    let start = |node: usize, setup: Setup| {
        let server = setup.start();
        network.lead_to(node, Some(server.address()));
        server
    };
    let advertise = |node: usize| format!("--advertise={}", network.address(node));
    let replica = |node: usize| Setup::replica(&network.address(0), &[&advertise(node)]);
    [
        start(0, Setup::new(&[&advertise(0)])),
        start(1, replica(1)),
        start(2, replica(2)),
    ]
}

fn write(primary: &Server, key: &str) {
    let path = format!("/kv/{key}?upsert=true");
    primary.client().put(&path, b"value").expect(201);
}

fn has(node: &Server, key: &str) -> bool {
    node.get(&format!("/kv/{key}")).status == 200
}

#[test]
fn a_node_is_cut_from_one_other_and_not_from_the_third() {
    if !opener::is_known_here() {
        return skip("links", "the kernel does not tell who opened a connection");
    }
    let network = Network::start(3);
    let [a, b, c] = trio(&network);
    let cuts: [(&str, &dyn Fn()); 3] = [
        ("cut", &|| network.cut(0, 1)),
        ("asks-in-vain", &|| network.silence(1, 0)),
        ("is-deaf", &|| network.silence(0, 1)),
    ];
    for (name, cut) in cuts {
        write(&a, name);
        eventually("both follow", || has(&b, name) && has(&c, name));
        cut();
        assert!(!network.passes(0, 1) && network.passes(0, 2));
        let last = format!("{name}-while-9");
        // A poll that had come before the cut may still be answered, with the first of these.
        for number in 0..10 {
            let key = format!("{name}-while-{number}");
            write(&a, &key);
            eventually("the third node has it", || has(&c, &key));
        }
        let is_cut_off = !poll(Duration::from_millis(300), || has(&b, &last));
        assert!(is_cut_off, "{name}: it was to hear nothing");
        network.heal(0, 1);
        eventually("it has it too", || has(&b, &last));
    }
    // A client always gets through, also to an address that a node gave.
    network.cut(0, 1);
    let answer = b.client().put("/kv/sent-on?upsert=true", b"value");
    if let Some(location) = answer.header("Location") {
        assert!(location.contains(&network.address(0)), "{location}");
        let address = network.address(0).parse().unwrap();
        let mut client = crate::common::Client::connect(address);
        client.put("/kv/sent-on?upsert=true", b"value").expect(201);
    }
}
