//! The sink of a stream, on a connection of its own: what stands on the wire, and who is cut off.

use crate::handlers::connection_handle::{Aborted, ConnectionHandle};
use crate::handlers::out::Out;
use crate::handlers::route;
use crate::handlers::shared::Shared;
use crate::handlers::sink::Sink;
use crate::http::Limits;
use crate::http::response::{Body, Encoder, Envelope, Media, Reply};
use crate::net::budget::{Budget, Use};
use crate::net::handshakes::Handshakes;
use crate::net::registry::{Peer, Registry};
use crate::net::transport::{Client, Transport};
use crate::observe::Observer;
use crate::server::tests::client::Fixture;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tiny_http::StatusCode;

/// What `work` sends, as the client reads it to the end of the connection.
fn sent(is_http10: bool, work: impl FnOnce(&mut Sink<'_, '_>)) -> String {
    let mut text = String::new();
    on_a_line(Limits::default(), |connection, shared, mut client| {
        let mut charge = shared.budget.charge();
        let head = Reply::new(StatusCode(200), Body::Streamed(Media::Json));
        let envelope = Envelope {
            is_http10,
            ..Envelope::default()
        };
        let encoder = Encoder::new("");
        let mut sink = Sink::new(connection, &mut charge, &encoder, envelope, Some(head));
        work(&mut sink);
        sink.end().unwrap();
        connection.close();
        client.read_to_string(&mut text).unwrap();
    });
    text
}

fn on_a_line(limits: Limits, work: impl FnOnce(ConnectionHandle<'_>, &Shared, TcpStream)) {
    let server = Fixture::start();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    let transport = Transport::Tcp(stream);
    transport
        .prepare(super::client::PATIENCE, limits.write_timeout)
        .unwrap();
    let peer = Peer::new(transport, Client::Ip(Ipv4Addr::LOCALHOST.into()), 0);
    let shared = Shared {
        certificates: None,
        observer: Arc::new(Observer::new(route::labels(), None, None)),
        tokens: None,
        tls_only: None,
        hosts: crate::http::Hosts::default(),
        history: Default::default(),
        budget: Budget::new(limits.in_flight_bytes_max),
        registry: Registry::new(1),
        handshakes: Handshakes::new(1),
        stopper: server.stopper.clone(),
        limits,
    };
    work(ConnectionHandle::new(&shared, &peer), &shared, client);
}

#[test]
fn pieces_come_as_chunks_and_the_end_as_an_empty_one() {
    let work = |sink: &mut Sink<'_, '_>| {
        for piece in [&b"0123456789abcdef"[..], b"", b"\r\n"] {
            sink.write(piece).unwrap();
        }
    };
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    // RFC 9112, 7.1: the size in hexadecimal digits.
    assert_eq!(
        sent(false, work),
        format!(
            "{head}Transfer-Encoding: chunked\r\nCache-Control: no-store\r\n\r\n10\r\n0123456789abcdef\r\n2\r\n\r\n\r\n0\r\n\r\n"
        )
    );
    assert_eq!(
        sent(true, work),
        format!("{head}Cache-Control: no-store\r\nConnection: close\r\n\r\n0123456789abcdef\r\n")
    );
}

#[test]
fn a_short_body_goes_with_its_length() {
    let work = |sink: &mut Sink<'_, '_>| {
        sink.buffer().extend_from_slice(b"{}");
        sink.settle().unwrap();
    };
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nCache-Control: no-store\r\n";
    assert_eq!(sent(false, work), format!("{head}\r\n{{}}"));
    assert_eq!(
        sent(true, work),
        format!("{head}Connection: keep-alive\r\n\r\n{{}}")
    );
}

#[test]
fn who_does_not_read_is_cut_off_and_holds_no_memory() {
    let limits = Limits {
        write_timeout: Duration::from_millis(100),
        in_flight_bytes_max: 1 << 20,
        ..Limits::default()
    };
    on_a_line(limits, |connection, shared, client| {
        let mut charge = shared.budget.charge();
        let encoder = Encoder::new("");
        let mut sink = Sink::new(connection, &mut charge, &encoder, Envelope::default(), None).endless();
        let begun = Instant::now();
        let cut = loop {
            if let Err(cut) = sink.write(&[b'x'; 20_000]) {
                break cut;
            }
        };
        let is_timeout =
            |error: &std::io::Error| matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock);
        assert!(
            matches!(&cut, Aborted::Client(error) if is_timeout(error)),
            "{cut}"
        );
        assert!(begun.elapsed() < Duration::from_secs(10));
        let mut other = shared.budget.charge();
        assert!(other.raise_to(Use::Answer, 1 << 19));
        assert!(
            matches!(sink.hold(1 << 20), Err(Aborted::Overloaded)),
            "another has it, for longer than is waited"
        );
        other.release();
        sink.hold(2 << 20).unwrap();
        assert!(
            !other.raise_to(Use::Answer, 1 << 17),
            "what is more than all takes all that answers may"
        );
        sink.hold(0).unwrap();
        assert!(!connection.has_gone());
        drop(client);
        let begun = Instant::now();
        while !connection.has_gone() {
            assert!(begun.elapsed() < Duration::from_secs(10), "the close is not seen");
            std::thread::yield_now();
        }
    });
}
