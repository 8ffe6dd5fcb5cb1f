//! Lines become operations, and operations batches.
//!
//! Whatever of a line can be found wrong without the node is found here, so that one line at fault does not
//! cost its batch a second way.

use super::entry::Entry;
use super::tally::{BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX};
use crate::api::{self, Encoding, Operation, Outcome, StatusLimits};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

/// The longest line that an entry of a node can come to: each byte of it written in six, and the rest.
pub(super) fn line_bytes_max(limits: &StatusLimits) -> usize {
    let bytes = limits.key_bytes_max.saturating_add(limits.value_bytes_max);
    usize::try_from(bytes.saturating_mul(6).saturating_add(4096)).unwrap_or(usize::MAX)
}

/// Operations on different keys, which are sent as one.
#[derive(Debug, Default)]
pub(super) struct Batch {
    json: Vec<u8>,
    pub(super) operations: Vec<Gathered>,
    /// Lines whose operation another one of this batch has taken the place of.
    pub(super) superseded: u64,
}

/// An operation, and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Gathered {
    /// The number of its line.
    pub(super) line: u64,
    /// When it expires, where it has a deadline.
    pub(super) expires_at_ms: Option<u64>,
    json: Range<usize>,
    /// A get of its key; only where keys that are there are to be left alone.
    question: Range<usize>,
}

impl Batch {
    /// The body of a request for some of the operations.
    pub(super) fn body(&self, operations: Range<usize>, body: &mut Vec<u8>) {
        self.join(&self.operations[operations], |operation| &operation.json, body);
    }

    /// The body of a request that asks which of their keys are there.
    pub(super) fn questions(&self, operations: Range<usize>, body: &mut Vec<u8>) {
        self.join(
            &self.operations[operations],
            |operation| &operation.question,
            body,
        );
    }

    /// Takes those of some operations out whose keys are there, as the node's answers to their questions say. With
    /// an offset, what was written behind it with the value of its line counts as this import's own.
    pub(super) fn take_present(
        &mut self,
        asked: Range<usize>,
        answers: &[Outcome],
        own_since: Option<u64>,
    ) -> Present {
        let mut present = Present::default();
        let mut answers = answers.iter();
        let mut index = 0;
        let json = &self.json;
        self.operations.retain(|operation| {
            let is_asked = asked.contains(&index);
            index += 1;
            let answer = if is_asked { answers.next() } else { None };
            let Some(answer) = answer.filter(|answer| answer.status != 404) else {
                return true;
            };
            let is_behind = |since| answer.version.is_some_and(|version| version > since);
            if own_since.is_some_and(is_behind) && has_value(&json[operation.json.clone()], answer) {
                present.own += 1;
            } else {
                present.others += 1;
            }
            false
        });
        present
    }

    fn join(&self, operations: &[Gathered], part: impl Fn(&Gathered) -> &Range<usize>, body: &mut Vec<u8>) {
        body.clear();
        body.extend_from_slice(br#"{"operations":["#);
        for (position, operation) in operations.iter().enumerate() {
            if position > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&self.json[part(operation).clone()]);
        }
        body.extend_from_slice(b"]}");
    }

    fn write(&mut self, operation: &Operation<'_>) -> Range<usize> {
        let start = self.json.len();
        serde_json::to_writer(&mut self.json, operation)
            .expect("its numbers are finite, and a vector takes it");
        start..self.json.len()
    }
}

/// Keys that are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Present {
    /// This import has added them.
    pub(super) own: u64,
    pub(super) others: u64,
}

/// Whether a key has the value that an operation, as it was sent, sets. An answer that had no room for the value
/// does not deny it.
fn has_value(operation: &[u8], answer: &Outcome) -> bool {
    #[derive(Deserialize)]
    struct Sent<'a> {
        #[serde(borrow)]
        value: Cow<'a, str>,
        encoding: Option<Encoding>,
    }
    let Some(found) = &answer.value else {
        return true;
    };
    let found = api::decode_value(Cow::Borrowed(found), answer.encoding);
    serde_json::from_slice::<Sent<'_>>(operation)
        .is_ok_and(|sent| api::decode_value(sent.value, sent.encoding) == found)
}

/// The batch of one way that is being gathered.
#[derive(Default)]
struct Gathering {
    batch: Batch,
    /// Where in the batch each key is.
    keys: HashMap<String, usize>,
}

/// Makes batches of lines, for several ways.
pub(super) struct Gatherer {
    ways: Vec<Gathering>,
    hasher: RandomState,
    if_absent: bool,
    value_bytes_max: u64,
    operations_max: usize,
    bytes_max: usize,
}

impl Gatherer {
    pub(super) fn new(ways: usize, if_absent: bool, limits: &StatusLimits) -> Gatherer {
        let least = |a: u64, b: u64| usize::try_from(a.min(b)).unwrap_or(usize::MAX).max(1);
        Gatherer {
            ways: (0..ways).map(|_| Gathering::default()).collect(),
            hasher: RandomState::new(),
            if_absent,
            value_bytes_max: limits.value_bytes_max,
            operations_max: least(BATCH_OPERATIONS_MAX, limits.batch_operations_max),
            bytes_max: least(BATCH_BYTES_MAX, limits.batch_bytes_max),
        }
    }

    /// Takes a line. Returns a batch that is full, and its way; or why the line is none.
    pub(super) fn add(&mut self, number: u64, line: &[u8]) -> Result<Option<(usize, Batch)>, String> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(None);
        }
        let entry = Entry::parse(line, self.value_bytes_max)?;
        let way = (self.hasher.hash_one(&*entry.key) % self.ways.len() as u64) as usize;
        let mut full = None;
        // As much as a line can become, and what stands around the operations.
        if self.ways[way].batch.json.len() + line.len() + 256 > self.bytes_max {
            full = self.take(way);
        }
        self.ways[way].add(number, entry, self.if_absent);
        if full.is_none() && self.ways[way].batch.operations.len() >= self.operations_max {
            full = self.take(way);
        }
        Ok(full.map(|batch| (way, batch)))
    }

    /// The batches that are not full.
    pub(super) fn into_rest(mut self) -> impl Iterator<Item = (usize, Batch)> {
        (0..self.ways.len()).filter_map(move |way| self.take(way).map(|batch| (way, batch)))
    }

    fn take(&mut self, way: usize) -> Option<Batch> {
        let gathering = std::mem::take(&mut self.ways[way]);
        (!gathering.batch.operations.is_empty()).then_some(gathering.batch)
    }
}

impl Gathering {
    fn add(&mut self, line: u64, entry: Entry<'_>, if_absent: bool) {
        let batch = &mut self.batch;
        let index = match self.keys.entry(entry.key.clone().into_owned()) {
            hash_map::Entry::Occupied(_) if if_absent => {
                batch.superseded += 1;
                return;
            }
            hash_map::Entry::Occupied(place) => Some(*place.get()),
            hash_map::Entry::Vacant(place) => {
                place.insert(batch.operations.len());
                None
            }
        };
        let question = match if_absent {
            true => batch.write(&Operation::Get {
                key: Cow::Borrowed(&entry.key),
            }),
            false => 0..0,
        };
        let expires_at_ms = entry.expires_at_ms;
        let json = batch.write(&Operation::Set {
            key: entry.key,
            value: entry.value,
            encoding: entry.encoding,
            ttl: entry.ttl,
            expires_at_ms: entry.expires_at_ms,
            if_version: None,
            if_absent,
        });
        let gathered = Gathered {
            line,
            expires_at_ms,
            json,
            question,
        };
        match index {
            // No batch may write a key twice; the later line counts.
            Some(index) => {
                batch.operations[index] = gathered;
                batch.superseded += 1;
            }
            None => batch.operations.push(gathered),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> StatusLimits {
        StatusLimits {
            entries_max: None,
            bytes_max: None,
            key_bytes_max: 1024,
            value_bytes_max: 10,
            batch_operations_max: 2,
            batch_bytes_max: 1 << 20,
        }
    }

    fn body(batch: &Batch) -> String {
        let mut body = Vec::new();
        batch.body(0..batch.operations.len(), &mut body);
        String::from_utf8(body).unwrap()
    }

    #[test]
    fn lines_become_batches() {
        let mut gatherer = Gatherer::new(1, false, &limits());
        let mut add = |number, line: &str| gatherer.add(number, line.as_bytes()).unwrap();
        assert!(add(1, " \r").is_none());
        assert!(add(2, r#"{"key":"a\n","value":"1"}"#).is_none());
        let (way, full) = add(
            3,
            r#"{"value":"/w==","key":"b","encoding":"base64","expires_at_ms":5}"#,
        )
        .unwrap();
        assert_eq!(way, 0);
        assert_eq!(
            body(&full),
            r#"{"operations":[{"op":"set","key":"a\n","value":"1"},{"op":"set","key":"b","value":"/w==","encoding":"base64","expires_at_ms":5}]}"#
        );
        assert_eq!(
            full.operations.iter().map(|one| one.line).collect::<Vec<_>>(),
            [2, 3]
        );
        assert!(
            add(
                4,
                r#"{"key":"c","value":"","version":7,"expires_at":"x","ttl":1.5}"#
            )
            .is_none()
        );
        let rest: Vec<_> = gatherer.into_rest().collect();
        assert_eq!(
            body(&rest[0].1),
            r#"{"operations":[{"op":"set","key":"c","value":"","ttl":1.5}]}"#
        );
    }

    #[test]
    fn a_key_is_in_a_batch_once() {
        for (if_absent, value) in [(false, "3"), (true, "1")] {
            let mut gatherer = Gatherer::new(1, if_absent, &limits());
            for number in 1..=3 {
                let line = format!(r#"{{"key":"k","value":"{number}"}}"#);
                assert!(gatherer.add(number, line.as_bytes()).unwrap().is_none());
            }
            let (_, batch) = gatherer.into_rest().next().unwrap();
            assert_eq!((batch.operations.len(), batch.superseded), (1, 2));
            assert!(body(&batch).contains(&format!(r#""value":"{value}""#)));
            let mut questions = Vec::new();
            batch.questions(0..1, &mut questions);
            let asked = questions == br#"{"operations":[{"op":"get","key":"k"}]}"#;
            assert_eq!(asked, if_absent);
        }
    }

    #[test]
    fn a_key_goes_one_way() {
        let mut gatherer = Gatherer::new(4, false, &limits());
        let mut ways = Vec::new();
        for number in 0..20 {
            for other in ["x", "y", "z"] {
                let line = format!(r#"{{"key":"{other}{number}","value":""}}"#);
                gatherer.add(number, line.as_bytes()).unwrap();
            }
            let full = gatherer.add(number, br#"{"key":"k","value":""}"#).unwrap();
            ways.extend(full.map(|(way, _)| way));
        }
        ways.dedup();
        assert!(ways.len() <= 1, "{ways:?}");
    }

    #[test]
    fn what_this_import_has_added_is_told_from_what_was_there() {
        let mut gatherer = Gatherer::new(
            1,
            true,
            &StatusLimits {
                batch_operations_max: 9,
                ..limits()
            },
        );
        for line in [
            r#"{"key":"absent","value":"1"}"#,
            r#"{"key":"own","value":"MQ==","encoding":"base64"}"#,
            r#"{"key":"older","value":"1"}"#,
            r#"{"key":"changed","value":"1"}"#,
            r#"{"key":"no room","value":"1"}"#,
        ] {
            gatherer.add(1, line.as_bytes()).unwrap();
        }
        let (_, mut batch) = gatherer.into_rest().next().unwrap();
        let answers: Vec<Outcome> = serde_json::from_str(
            r#"[{"status":404,"key":"absent"},
                {"status":200,"key":"own","value":"1","version":101},
                {"status":200,"key":"older","value":"1","version":100},
                {"status":200,"key":"changed","value":"2","version":102},
                {"status":413,"key":"no room","version":103}]"#,
        )
        .unwrap();
        let present = batch.take_present(0..5, &answers, Some(100));
        assert_eq!(present, Present { own: 2, others: 2 });
        assert_eq!(batch.operations.len(), 1);
        assert!(body(&batch).contains("absent"));
    }

    #[test]
    fn what_is_no_line() {
        let mut gatherer = Gatherer::new(1, false, &limits());
        for (line, said) in [
            ("nonsense", "not JSON, at column 2"),
            ("{", "cut short"),
            ("[]", "must be an object"),
            (r#"["k7","v7",null,null,null,null,null]"#, "must be an object"),
            (
                r#"{"key":"k","value":{"a":1}}"#,
                "`value` must be a string, not an object",
            ),
            (r#"{"key":"k"}"#, "`value`"),
            (r#"{"key":"k","value":5}"#, "not a number"),
            (r#"{"key":"","value":""}"#, "at least one byte"),
            (r#"{"key":"k","value":"","value":""}"#, "`value`"),
            (r#"{"key":"k","value":"","tll":5}"#, "`tll`"),
            (r#"{"key":"k","value":"?","encoding":"base64"}"#, "base64"),
            (r#"{"key":"k","value":"","encoding":"hex"}"#, "`encoding`"),
            (r#"{"key":"k","value":"","ttl":0}"#, "`ttl`"),
            (r#"{"key":"k","value":"","ttl":1,"expires_at_ms":1}"#, "both"),
            (
                r#"{"key":"k","value":"","expires_at_ms":253402300800000}"#,
                "at most",
            ),
            (r#"{"key":"k","value":"12345678901"}"#, "11 bytes"),
        ] {
            let why = gatherer.add(1, line.as_bytes()).unwrap_err();
            assert!(why.contains(said), "{line}: {why}");
            for word in [
                "line 1",
                "expected",
                "invalid type",
                "EOF",
                "f64",
                "u64",
                "struct",
            ] {
                assert!(!why.contains(word), "{line}: {why}");
            }
        }
        assert!(gatherer.add(1, b"{\"key\":\"\xff\",\"value\":\"\"}").is_err());
        assert_eq!(gatherer.into_rest().count(), 0);
    }
}
