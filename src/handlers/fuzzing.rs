//! What reads bytes of clients, as [`crate::fuzzing`] calls it.

use super::batch::operations;
use super::conditions::{self, Conditions};
use super::route::Route;
use super::{body, replication};
use crate::api::{ChunkHeader, Divergence, Handover, Handshake};
use crate::http::Limits;
use crate::http::chunked::{Chunked, ChunkedError};
use crate::http::media;
use crate::http::request::{Framing, Head};

/// A head, and all that is read of one before its request is handled.
pub(crate) fn request_head(bytes: &[u8]) {
    let limits = Limits::default();
    let Ok(Some(head)) = Head::parse(bytes, &limits) else {
        return;
    };
    // The head alone says the same as the head and what follows it; no part of it says anything.
    let alone = &bytes[..head.bytes];
    let again = Head::parse(alone, &limits);
    assert!(matches!(&again, Ok(Some(again)) if again.path == head.path && again.framing == head.framing));
    assert!(matches!(
        Head::parse(&alone[..alone.len() - 1], &limits),
        Ok(None) | Err(_)
    ));
    assert!(alone.ends_with(b"\r\n\r\n"));
    assert!(head.host.is_some() || head.is_http10);
    assert!(head.framing != Framing::Chunked || !head.is_http10);
    let _ = Route::of_path(head.path);
    let _ = conditions::of_read(&head, 12);
    if let Ok(conditions) = Conditions::of_write(&head) {
        let _ = conditions.precondition().check(Some(12));
    }
    let _ = media::preferred(&head.accept);
    let _ = media::sent(head.content_type, None);
    let _ = replication::question(&head);
}

/// A chunked body, which is the same however it comes. The first byte says in which pieces.
pub(crate) fn chunked_body(bytes: &[u8]) {
    const BODY_BYTES_MAX: usize = 1000;
    let Some((&step, wire)) = bytes.split_first() else {
        return;
    };
    let decode = |step: usize| {
        let mut chunked = Chunked::new();
        let mut buffer = b"head".to_vec();
        let mut is_whole = false;
        for piece in wire.chunks(step) {
            buffer.extend_from_slice(piece);
            if !is_whole {
                is_whole = chunked.advance(&mut buffer, 4, BODY_BYTES_MAX)?;
                assert!(chunked.decoded_bytes() <= BODY_BYTES_MAX);
            }
        }
        assert!(buffer.starts_with(b"head"));
        let rest = buffer.split_off(4 + chunked.decoded_bytes());
        Ok::<_, ChunkedError>(is_whole.then_some((buffer, rest)))
    };
    assert_eq!(decode(usize::from(step).max(1)), decode(wire.len().max(1)));
}

/// Bodies of JSON, of which a batch is the most there is to read.
pub(crate) fn batch_json(bytes: &[u8]) {
    if let Ok(operations) = operations(bytes, 100) {
        assert!((1..=100).contains(&operations.len()));
        assert!(serde_json::from_slice::<serde_json::Value>(bytes).is_ok());
        assert!(
            operations
                .iter()
                .all(|operation| (1..=1024).contains(&operation.key().len()))
        );
    }
    let _ = body::value(bytes);
    let _ = body::key_and_value(bytes);
    let _ = body::patch(bytes);
}

/// What other nodes say.
pub(crate) fn hello(bytes: &[u8]) {
    if let Ok(said) = serde_json::from_slice::<Handshake>(bytes) {
        let text = serde_json::to_vec(&said.sealed()).expect("plain data has a form in JSON");
        assert!(serde_json::from_slice::<Handshake>(&text).is_ok_and(|again| again.is_sound()));
    }
    if let Ok(handover) = serde_json::from_slice::<Handover>(bytes) {
        assert!(handover.sealed().is_sound());
    }
    if let Ok(divergence) = serde_json::from_slice::<Divergence>(bytes) {
        assert!(divergence.sealed().is_sound());
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(chunk) = ChunkHeader::from_value(text)
    {
        assert_eq!(ChunkHeader::from_value(&chunk.to_value()), Some(chunk));
    }
    let head = [
        &b"GET /replication/log?"[..],
        bytes,
        b" HTTP/1.1\r\nHost: n\r\n\r\n",
    ]
    .concat();
    if let Ok(Some(head)) = Head::parse(&head, &Limits::default()) {
        let _ = replication::question(&head);
    }
}
