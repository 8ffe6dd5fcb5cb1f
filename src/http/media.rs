//! Which form a body has, and which form of a value a client would rather have.

use super::problem::{self, Problem};
use super::request::Lines;
use super::response::Media;
use crate::api;

/// The form of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Json,
    Octets,
}

/// What a `Content-Type` says. `missing` is what it means where there is none.
pub(crate) fn sent(content_type: Option<&[u8]>, missing: Option<Sent>) -> Result<Sent, Problem> {
    let refused = |detail| Err(Problem::new(problem::MEDIA_TYPE, detail).field("Content-Type"));
    let Some(content_type) = content_type else {
        return match missing {
            Some(sent) => Ok(sent),
            None => refused("send `Content-Type: application/json`"),
        };
    };
    // As nearly all clients write it: no parameters to look for.
    if content_type == api::MEDIA_OCTETS.as_bytes() && missing.is_some() {
        return Ok(Sent::Octets);
    }
    let mut parts = content_type.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let media = parts.next().unwrap_or_default();
    if media.eq_ignore_ascii_case(api::MEDIA_OCTETS.as_bytes()) && missing.is_some() {
        return Ok(Sent::Octets);
    }
    if !media.eq_ignore_ascii_case(api::MEDIA_JSON.as_bytes()) {
        return refused(match missing {
            Some(_) => {
                "a value comes as application/json or application/octet-stream; with curl, send bytes by `curl -T FILE`, or name the type: \
             `-H 'Content-Type: application/octet-stream'`"
            }
            None => "the body is JSON: name its type by `Content-Type: application/json`",
        });
    }
    for parameter in parts.filter(|parameter| !parameter.is_empty()) {
        let is_utf8 = ["charset=utf-8", "charset=\"utf-8\""]
            .iter()
            .any(|utf8| parameter.eq_ignore_ascii_case(utf8.as_bytes()));
        if !is_utf8 {
            return refused("JSON is UTF-8 here, and has no other parameters");
        }
    }
    Ok(Sent::Json)
}

/// Refuses a body that is coded: its coding would be forgotten, and a reader would not know of it.
pub(crate) fn check_coding(content_encoding: Option<&[u8]>) -> Result<(), Problem> {
    match content_encoding {
        None => Ok(()),
        Some(coding) if coding.eq_ignore_ascii_case(b"identity") => Ok(()),
        Some(_) => Err(
            Problem::new(problem::MEDIA_TYPE, "send the body without a content coding")
                .field("Content-Encoding")
                .header("Accept-Encoding", "identity"),
        ),
    }
}

/// The form of a value that an `Accept` asks for: JSON, unless the bytes alone are liked better.
pub(crate) fn preferred(accept: &Lines<'_>) -> Result<Media, Problem> {
    if accept.is_empty() {
        return Ok(Media::Json);
    }
    // As nearly all clients write it: one range, and no weights to compare.
    match accept.single() {
        Some(b"*/*" | b"application/json") => return Ok(Media::Json),
        Some(b"application/octet-stream") => return Ok(Media::Octets),
        _ => {}
    }
    let json = quality(accept, b"application/json");
    let octets = quality(accept, b"application/octet-stream");
    match (json, octets) {
        (0, 0) => Err(Problem::new(
            problem::NOT_ACCEPTABLE,
            "a value is given as application/json or application/octet-stream",
        )
        .field("Accept")),
        _ if octets > json => Ok(Media::Octets),
        _ => Ok(Media::Json),
    }
}

/// Whether an `Accept` asks for server-sent events rather than JSON.
pub(crate) fn prefers_events(accept: &Lines<'_>) -> Result<bool, Problem> {
    if accept.is_empty() {
        return Ok(false);
    }
    let json = quality(accept, b"application/json");
    let events = quality(accept, b"text/event-stream");
    if (json, events) == (0, 0) {
        return Err(Problem::new(
            problem::NOT_ACCEPTABLE,
            "changes are given as application/json or text/event-stream",
        )
        .field("Accept"));
    }
    Ok(events > json)
}

/// Whether an `Accept-Encoding` takes gzip.
pub(crate) fn takes_gzip(accept_encoding: &Lines<'_>) -> bool {
    let mut best = (0, 0);
    for coding in accept_encoding
        .iter()
        .flat_map(|line| line.split(|&byte| byte == b','))
    {
        let mut parts = coding.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let specific = match parts.next().unwrap_or_default() {
            name if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") => 2,
            b"*" => 1,
            _ => continue,
        };
        best = best.max((specific, weight(parts)));
    }
    best.1 > 0
}

/// How much a media type is liked, in thousandths: what the most specific range that has it says.
fn quality(accept: &Lines<'_>, media: &[u8]) -> u32 {
    let kind = media.split(|&byte| byte == b'/').next().unwrap_or_default();
    let mut best = (0, 0);
    for range in accept.iter().flat_map(|line| line.split(|&byte| byte == b',')) {
        let mut parts = range.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let specific = if name.eq_ignore_ascii_case(media) {
            3
        } else if name
            .strip_suffix(b"/*")
            .is_some_and(|name| name.eq_ignore_ascii_case(kind))
        {
            2
        } else if name == b"*/*" {
            1
        } else {
            continue;
        };
        best = best.max((specific, weight(parts)));
    }
    best.1
}

/// What the parameters behind a name say of how much it is liked, in thousandths.
fn weight<'a>(mut parameters: impl Iterator<Item = &'a [u8]>) -> u32 {
    parameters
        .find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")))
        .map_or(1000, thousandths)
}

/// A quality value; what is none counts as full, as if it were not there.
fn thousandths(text: &[u8]) -> u32 {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse::<f32>().ok())
        .filter(|quality| (0.0..=1.0).contains(quality))
        .map_or(1000, |quality| (quality * 1000.0) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_taken_where_it_is_asked_for() {
        for (coding, takes) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("br, *", true),
            ("*, gzip;q=0", false),
            ("gzip; q=0", false),
            ("br", false),
            ("identity", false),
            ("", false),
        ] {
            assert_eq!(takes_gzip(&Lines::of([coding])), takes, "{coding:?}");
        }
        assert!(!takes_gzip(&Lines::default()));
    }

    #[test]
    fn the_bytes_alone_are_sent_to_those_who_ask_for_them() {
        for (accept, media) in [
            ("*/*", Some(Media::Json)),
            ("application/*", Some(Media::Json)),
            ("application/octet-stream", Some(Media::Octets)),
            (
                "Application/Octet-Stream, application/json;q=0.5",
                Some(Media::Octets),
            ),
            ("application/octet-stream;q=0.2, */*", Some(Media::Json)),
            ("application/json;q=0, */*;q=0.1", Some(Media::Octets)),
            ("text/html, */*;q=0.8", Some(Media::Json)),
            ("text/html", None),
            ("*/*;q=0", None),
            ("", None),
        ] {
            assert_eq!(preferred(&Lines::of([accept])).ok(), media, "{accept:?}");
        }
        assert_eq!(preferred(&Lines::default()).ok(), Some(Media::Json));
        let lines = ["application/json;q=0.5", "application/octet-stream"];
        assert_eq!(preferred(&Lines::of(lines)).ok(), Some(Media::Octets));
    }

    #[test]
    fn events_are_sent_to_those_who_ask_for_them() {
        for (accept, events) in [
            ("text/event-stream", Some(true)),
            ("text/*, */*;q=0.1", Some(true)),
            ("*/*", Some(false)),
            ("application/json, text/event-stream", Some(false)),
            ("image/png", None),
        ] {
            assert_eq!(prefers_events(&Lines::of([accept])).ok(), events, "{accept:?}");
        }
        assert_eq!(prefers_events(&Lines::default()).ok(), Some(false));
    }

    #[test]
    fn a_body_is_json_or_bytes_or_refused() {
        let put = |text: &str| sent(Some(text.as_bytes()), Some(Sent::Octets)).ok();
        assert_eq!(put("application/json"), Some(Sent::Json));
        assert_eq!(put("APPLICATION/JSON ; Charset=UTF-8;"), Some(Sent::Json));
        assert_eq!(put("application/json; charset=\"utf-8\""), Some(Sent::Json));
        assert_eq!(put("application/octet-stream"), Some(Sent::Octets));
        for wrong in [
            "application/json; charset=latin1",
            "text/plain",
            "",
            "application/jsonp",
        ] {
            assert_eq!(put(wrong), None, "{wrong}");
        }
        assert_eq!(sent(None, Some(Sent::Octets)).ok(), Some(Sent::Octets));
        assert!(sent(None, None).is_err());
        assert!(sent(Some(b"application/octet-stream"), None).is_err());
    }
}
