//! Clients that mean no good, or too well: the node's memory stays bounded and others are served meanwhile.

use crate::common::client::encode;
use crate::common::{Client, Random, Server, eventually, node::Setup, poll};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// What a node may hold resident under any abuse here. The store is all but empty, so this is the price of
/// connections and buffers, and far below what any of these clients announces or sends.
const RESIDENT_BYTES_MAX: u64 = 120 << 20;

/// Makes room for the test's own sockets.
fn raise_own_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}

/// Does something bad while another client is served and memory is looked at.
#[track_caller]
fn while_others_are_served(node: &Server, abuse: impl FnOnce() + Send) {
    let over = AtomicBool::new(false);
    let (mut served, mut resident_max, mut slowest) = (0, 0, Duration::ZERO);
    thread::scope(|scope| {
        let abuser = scope.spawn(|| {
            // However it ends, the loop below ends too.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(abuse));
            over.store(true, Relaxed);
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
        let mut kept = node.client();
        while !over.load(Relaxed) || served < 10 {
            let start = Instant::now();
            let answer = kept.put("/kv/other?upsert=true", b"v");
            assert!(answer.is_success(), "{answer:?}");
            node.get("/healthz").expect(200);
            slowest = slowest.max(start.elapsed());
            resident_max = resident_max.max(node.resident_bytes());
            served += 1;
        }
        abuser
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert!(
        resident_max < RESIDENT_BYTES_MAX,
        "{} MiB resident",
        resident_max >> 20
    );
    assert!(
        slowest < Duration::from_secs(5),
        "another client waited {slowest:?}"
    );
}

/// Writes the same bytes until `bytes` are sent or the node will have no more; how many it took.
fn pour(stream: &mut TcpStream, piece: &[u8], bytes: u64) -> u64 {
    let mut sent = 0;
    while sent < bytes {
        match stream.write(piece) {
            Ok(0) | Err(_) => break,
            Ok(count) => sent += count as u64,
        }
    }
    sent
}

#[test]
fn five_hundred_connections_at_once_are_all_answered() {
    raise_own_limit();
    let node = Server::start(&[]);
    let mut clients: Vec<Client> = (0..500).map(|_| node.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client
            .send(&encode("PUT", &format!("/kv/{number}?upsert=true"), &BYTES, b"v"))
            .unwrap();
    }
    // All stay open until the last has its answer.
    for client in &mut clients {
        client.response(false).unwrap().expect(201);
    }
    for client in &mut clients {
        client.get("/kv/0").expect(200);
    }
    assert!(
        node.resident_bytes() < RESIDENT_BYTES_MAX,
        "{} MiB",
        node.resident_bytes() >> 20
    );
}

const BYTES: [(&str, &str); 1] = [("Content-Type", "application/octet-stream")];

#[test]
fn a_node_that_ran_out_of_files_answers_again() {
    raise_own_limit();
    let node = Setup::new(&[])
        .wrapper(&["sh", "-c", "ulimit -n 64; exec \"$0\" \"$@\""])
        .start();
    for _ in 0..3 {
        let mut clients: Vec<Client> = (0..200)
            .filter_map(|_| Client::try_connect(node.address()).ok())
            .collect();
        for client in &mut clients {
            let _ = client.send(&encode("GET", "/healthz", &[], b""));
        }
        // The first are served; the others wait, or are turned away.
        clients[0].response(false).unwrap().expect(200);
        drop(clients);
        eventually("the node answers again", || {
            Client::try_connect(node.address())
                .and_then(|mut client| client.try_request("PUT", "/kv/k?upsert=true", &BYTES, b"v"))
                .is_ok_and(|answer| answer.is_success())
        });
    }
}

#[test]
fn connections_over_the_limit_are_told_to_come_back() {
    let node = Server::start(&["--max-connections", "20"]);
    let mut kept: Vec<Client> = (0..20).map(|_| node.client()).collect();
    for client in &mut kept {
        client.get("/healthz").expect(200);
    }
    let mut over = node.client();
    let answer = over
        .response(false)
        .or_else(|_| over.try_request("GET", "/healthz", &[], b""))
        .unwrap();
    answer.expect_problem(503);
    let seconds = answer.header("Retry-After").expect("says when");
    assert!(seconds.parse::<u32>().is_ok(), "{seconds}");
    assert!(over.is_closed());
    for client in &mut kept {
        client.get("/healthz").expect(200);
    }
    kept.truncate(10);
    eventually("there is room again", || {
        let mut client = node.client();
        client
            .try_request("GET", "/healthz", &[], b"")
            .is_ok_and(|answer| answer.status == 200)
    });
}

#[test]
fn a_header_without_end_is_cut_off() {
    let node = Server::start(&[]);
    while_others_are_served(&node, || {
        for start in ["GET / HTTP/1.1\r\nHost: a\r\nX: ", "GET /", "X", "\r\n"] {
            let mut client = node.client();
            client.send(start.as_bytes()).unwrap();
            let mut stream = client.socket().try_clone().unwrap();
            let sent = pour(&mut stream, &[b'x'; 65536], 200 << 20);
            assert!(sent < 200 << 20, "the node took all of it after {start:?}");
        }
        // Many small ones do as much harm.
        let mut client = node.client();
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
        let mut stream = client.socket().try_clone().unwrap();
        let sent = pour(&mut stream, &b"X: 1\r\n".repeat(10_000), 200 << 20);
        assert!(sent < 200 << 20, "the node took all of it");
    });
}

#[test]
fn a_body_that_is_too_large_is_refused_before_it_comes() {
    let node = Server::start(&[]);
    while_others_are_served(&node, || {
        let mut client = node.client();
        let head = "PUT /kv/k?upsert=true HTTP/1.1\r\nHost: a\r\nContent-Type: application/octet-stream\r\n";
        client
            .send(format!("{head}Content-Length: 10737418240\r\n\r\n").as_bytes())
            .unwrap();
        client.response(false).unwrap().expect_problem(413);
        let mut stream = client.socket().try_clone().unwrap();
        assert!(
            pour(&mut stream, &[b'x'; 65536], 1 << 30) < 1 << 30,
            "the node took a gigabyte of it"
        );

        // Nor may it come in chunks, whose sum nobody has announced.
        let mut client = node.client();
        client
            .send(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes())
            .unwrap();
        let mut stream = client.socket().try_clone().unwrap();
        let mut chunk = b"10000\r\n".to_vec();
        chunk.resize(chunk.len() + 0x10000, b'x');
        chunk.extend(b"\r\n");
        assert!(
            pour(&mut stream, &chunk, 1 << 30) < 1 << 30,
            "the node took a gigabyte of it"
        );
    });
    node.get("/kv/k").expect(404);
}

#[test]
fn clients_that_announce_and_do_not_send_cost_little() {
    raise_own_limit();
    let node = Server::start(&["--max-value", "32MiB"]);
    while_others_are_served(&node, || {
        let head = "PUT /kv/k?upsert=true HTTP/1.1\r\nHost: a\r\nContent-Type: application/octet-stream\r\n\
                    Content-Length: 33554432\r\n\r\n";
        let mut clients: Vec<Client> = (0..100).map(|_| node.client()).collect();
        for client in &mut clients {
            client.send(head.as_bytes()).unwrap();
            client.send(&[b'x'; 1000]).unwrap();
        }
        // A hundred announced 3 GiB; that their heads were read shows in one that is answered after them.
        node.get("/healthz").expect(200);
        assert!(node.resident_bytes() < RESIDENT_BYTES_MAX);
    });
}

#[test]
fn a_client_that_stalls_is_not_waited_for() {
    let timeouts = [
        "--header-timeout",
        "1s",
        "--body-timeout",
        "1s",
        "--idle-timeout",
        "6s",
    ];
    let node = Server::start(&timeouts);
    while_others_are_served(&node, || {
        let head = "PUT /kv/k?upsert=true HTTP/1.1\r\nHost: a\r\nContent-Type: application/octet-stream\r\n\
                    Content-Length: 10\r\n\r\n";
        // A body that never comes, or not all of it.
        for request in [head.to_string(), format!("{head}12345")] {
            let mut client = node.client();
            client.send(request.as_bytes()).unwrap();
            client.response(false).unwrap().expect_problem(408);
            assert!(client.is_closed());
        }
        // A header that never ends.
        let mut client = node.client();
        client.send(b"GET / HTTP/1.1\r\nHost:").unwrap();
        client.response(false).unwrap().expect_problem(408);
        assert!(client.is_closed());
        // A connection that is idle is closed without a word: an answer to nothing would only confuse.
        let mut client = node.client();
        client.get("/healthz").expect(200);
        let mut rest = Vec::new();
        client.socket().read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"");
    });
    node.get("/kv/k").expect(404);
}

#[test]
fn one_byte_at_a_time_does_not_hold_a_connection() {
    let node = Server::start(&[
        "--header-timeout",
        "1s",
        "--body-timeout",
        "1s",
        "--idle-timeout",
        "20s",
    ]);
    let head = "PUT /kv/k?upsert=true HTTP/1.1\r\nHost: a\r\nContent-Type: application/octet-stream\r\n\
                Content-Length: 100000\r\n\r\n";
    while_others_are_served(&node, || {
        for (start, drop) in [
            ("", "GET / HTTP/1.1\r\n"),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: ", "x"),
            (head, "x"),
        ] {
            let mut client = node.client();
            client.send(start.as_bytes()).unwrap();
            let mut stream = client.socket().try_clone().unwrap();
            // Reading with a timeout paces the drops, and tells when the node has had enough.
            stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let mut drops = drop.bytes().cycle();
            let mut said = Vec::new();
            let ended = poll(crate::common::SOON, || {
                let _ = stream.write(&[drops.next().unwrap()]);
                let mut answer = [0; 1024];
                match stream.read(&mut answer) {
                    Ok(0) => true,
                    Ok(count) => {
                        said.extend_from_slice(&answer[..count]);
                        false
                    }
                    Err(error) => {
                        !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
                    }
                }
            });
            assert!(
                ended,
                "still open after {:?}, having begun {start:?}",
                crate::common::SOON
            );
        }
    });
}

#[test]
fn garbage_is_no_reason_to_stop() {
    let node = Server::start(&[]);
    let mut random = Random::new(1);
    while_others_are_served(&node, || {
        for number in 0..300 {
            let mut client = node.client();
            let length = 1 + random.below(3000) as usize;
            let mut bytes = random.bytes(length);
            // Some of it begins as a request does.
            let start: &[u8] = [
                &b""[..],
                b"GET ",
                b"GET / HTTP/1.1\r\n",
                b"PUT /kv/k HTTP/1.1\r\nHost: a\r\n",
            ][number % 4];
            bytes.splice(..0, start.iter().copied());
            let _ = client.send(&bytes);
            client.end();
            match client.response(false) {
                Ok(answer) => assert!((400..600).contains(&answer.status), "{answer:?} to {bytes:?}"),
                Err(error) => assert!(
                    !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
                    "neither an answer nor an end: {error}"
                ),
            }
        }
    });
}

#[test]
fn clients_that_vanish_are_forgotten() {
    let node = Server::start(&["--max-connections", "50"]);
    for number in 0..500 {
        // Over the limit only as long as the node has not noticed who has gone.
        let Ok(mut client) = Client::try_connect(node.address()) else {
            continue;
        };
        let request = encode("PUT", &format!("/kv/{number}?upsert=true"), &BYTES, &[b'v'; 5000]);
        let _ = client.send(&request[..request.len() * (number % 11) / 10]);
    }
    eventually("the node takes connections", || {
        let mut client = node.client();
        client
            .try_request("GET", "/healthz", &[], b"")
            .is_ok_and(|answer| answer.status == 200)
    });
}

#[test]
fn a_flood_whose_answers_nobody_reads_is_held_back() {
    let node = Server::start(&[]);
    let mut client = node.client();
    client
        .put("/kv/large?upsert=true", &vec![b'v'; 1 << 20])
        .expect(201);
    let requests = encode("GET", "/kv/large?raw", &[], b"").repeat(1000);
    let asked_bytes = AtomicU64::new(0);
    while_others_are_served(&node, || {
        let floods: Vec<TcpStream> = (0..8)
            .map(|_| {
                let mut stream = node.client().socket().try_clone().unwrap();
                stream
                    .set_write_timeout(Some(Duration::from_millis(500)))
                    .unwrap();
                // Each request asks for a megabyte: taking 50 MB of them would owe terabytes.
                asked_bytes.fetch_add(pour(&mut stream, &requests, 50 << 20), Relaxed);
                stream
            })
            .collect();
        assert!(
            asked_bytes.load(Relaxed) < 8 * (50 << 20),
            "the node reads on though nobody reads it"
        );
        node.get("/kv/large?raw").expect(200);
        drop(floods);
    });
}
