//! Many requests on one connection, many connections at once, and the end of all of them.

use crate::api;
use crate::http::Limits;
use crate::server::tests::client::{Client, Fixture, PATIENCE, get, request};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

#[test]
fn a_pipeline_is_answered_in_order_and_in_one_piece() {
    let server = Fixture::start();
    let mut client = server.connect();
    let mut requests = String::new();
    for number in 0..8 {
        requests += &request("PUT", &format!("/kv/k{number}?upsert"), "", &format!("v{number}"));
        requests += &get(&format!("/kv/k{number}?raw"));
    }
    client.send(requests);
    for number in 0..8 {
        assert_eq!(client.answer(false).status, 201);
        assert_eq!(client.answer(false).text(), format!("v{number}"));
    }
    assert!(client.reads <= 2, "16 answers took {} reads", client.reads);
}

#[test]
fn a_pipeline_survives_being_cut_anywhere() {
    let server = Fixture::start();
    let put = request("PUT", "/kv/k?upsert", "", "value");
    let wire = format!("{put}{}{put}{}", get("/kv/k?raw"), get("/kv/none"));
    let mut client = server.connect();
    client.ask(&put);
    for cut in 1..wire.len() {
        client.send(&wire[..cut]);
        client.send(&wire[cut..]);
        let statuses = [(); 4].map(|()| client.answer(false).status);
        assert_eq!(statuses, [200, 200, 200, 404], "cut at {cut}");
    }
}

#[test]
fn what_follows_the_last_request_is_not_answered() {
    let server = Fixture::start();
    let mut client = server.connect();
    let last = request("GET", "/healthz", "Connection: close\r\n", "");
    client.send(format!(
        "{}{last}{}",
        get("/healthz"),
        request("PUT", "/kv/k?upsert", "", "v")
    ));
    assert!(!client.answer(false).closes());
    assert!(client.answer(false).closes());
    assert!(client.is_closed());
    assert_eq!(server.node.counters().entries, 0);
}

#[test]
fn all_of_500_connections_opened_at_once_are_answered() {
    let server = Fixture::start();
    let mut clients: Vec<Client> = (0..500).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(get("/healthz"));
    }
    for client in &mut clients {
        assert_eq!(client.answer(false).status, 200);
    }
    let stats: api::Stats = clients[0].ask(get("/stats")).json();
    assert_eq!(stats.connections.open, 500);
    // In any order, and they are all still served.
    for client in clients.iter_mut().rev() {
        assert_eq!(client.ask(get("/healthz")).status, 200);
    }
}

#[test]
fn a_connection_over_the_limit_is_told_so() {
    let limits = Limits {
        connections_max: 3,
        ..Limits::default()
    };
    let server = Fixture::with(limits, None);
    let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask(get("/healthz")).status, 200);
    }
    for _ in 0..30 {
        let answer = server.connect().ask(get("/healthz"));
        assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("1")));
        assert!(answer.closes());
    }
    assert_eq!(clients[1].ask(get("/healthz")).status, 200);
    drop(clients.pop());
    let deadline = Instant::now() + PATIENCE;
    while server.connect().ask(get("/healthz")).status != 200 {
        assert!(Instant::now() < deadline, "the place was never free");
    }
    let stats: api::Stats = clients[0].ask(get("/stats")).json();
    assert!(stats.connections.refused >= 30 && stats.connections.max == 3);
}

#[test]
fn clients_that_vanish_leave_nothing_behind() {
    let server = Fixture::start();
    let put = request("PUT", "/kv/k?upsert", "", &"v".repeat(50_000));
    for cut in [0, 10, 60, 20_000, put.len()] {
        server.connect().send(&put[..cut]);
    }
    let mut client = server.connect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stats: api::Stats = client.ask(get("/stats")).json();
        if stats.connections.open == 1 {
            break;
        }
        assert!(Instant::now() < deadline, "{stats:?}");
    }
}

#[test]
fn a_flood_that_reads_no_answers_is_not_kept_in_memory() {
    let limits = Limits {
        write_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let server = Fixture::with(limits, None);
    let mut flood = server.connect();
    flood.ask(request("PUT", "/kv/k?upsert", "", &"v".repeat(50_000)));
    let requests = get("/kv/k").repeat(1000);
    let mut sent = 0;
    // The server stops reading when its answers are not taken, and after a while it gives up.
    while sent < 1000 && flood.stream.write_all(requests.as_bytes()).is_ok() {
        sent += 1;
    }
    assert!(sent < 1000, "all was read");
    assert_eq!(server.connect().ask(get("/healthz")).status, 200);
}

#[test]
fn stopping_finishes_what_is_in_flight() {
    let mut server = Fixture::start();
    let mut idle = server.connect();
    assert_eq!(idle.ask(get("/healthz")).status, 200);
    let put = request("PUT", "/kv/k?upsert", "", "value");
    let mut busy = server.connect();
    // The answer to what came before it in one piece says that the server has it in hand.
    let begun = get("/healthz") + &put[..put.len() - 2];
    assert_eq!(busy.ask(begun).status, 200);
    let mut slow = server.connect();
    slow.send(request("PUT", "/kv/l?upsert", "Expect: 100-continue\r\n", "").replace("gth: 0", "gth: 5"));
    assert_eq!(slow.answer(false).status, 100);

    server.stopper.stop();
    assert!(idle.is_closed());
    assert_eq!(slow.ask("value").status, 201);
    busy.send(&put[put.len() - 2..]);
    let answer = busy.answer(false);
    assert_eq!((answer.status, answer.closes()), (201, true));
    assert!(busy.is_closed());
    server.stop();
    assert!(std::net::TcpStream::connect(server.address).is_err());
}

#[test]
fn stopping_cuts_what_does_not_end() {
    let mut server = Fixture::with_grace(Limits::default(), None, Duration::from_millis(50));
    let mut held = server.connect();
    held.send("PUT /kv/k?upsert HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(held.answer(false).status, 100);
    let begun = Instant::now();
    server.stop();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(!matches!(held.stream.read(&mut [0]), Ok(1..)));
}

#[test]
fn an_accept_loop_that_panics_ends_the_server_in_order() {
    let mut server = Fixture::start();
    let mut open = server.connect();
    assert_eq!(open.ask(get("/healthz")).status, 200);
    server.stopper.panic();
    let error = server.end().unwrap_err();
    assert!(error.to_string().contains("start the node anew"), "{error}");
    assert!(open.is_closed());
}

#[test]
fn a_server_stopped_before_it_runs_does_not_run() {
    let mut server = Fixture::start();
    server.stopper.stop();
    server.stopper.stop();
    server.stop();
}
