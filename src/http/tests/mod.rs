//! The server as its clients see it: raw sockets against a node in a temporary directory.

mod client;

use client::{Fixture, get};

#[test]
fn a_value_is_added_read_and_deleted() {
    let server = Fixture::start();
    let mut client = server.connect();
    let added = client.ask("POST /kv/ HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 23\r\n\r\n{\"key\":\"k\",\"value\":\"v\"}");
    assert_eq!(added.status, 201, "{added:?}");
    assert_eq!(added.header("Location"), Some("/kv/k"));
    let read = client.ask(&get("/kv/k"));
    assert_eq!(read.status, 200, "{read:?}");
}
