//! Where a listing of an engine continues, as text.

use super::slots::{SLOTS, Slot, SlotSet};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use std::collections::BTreeMap;
use std::fmt;

/// Longest name of a server, in bytes; those of Redis have 40.
const SERVER_BYTES_MAX: usize = 64;

/// Where a listing continues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Tells the prefix and the pattern from others.
    pub(super) question: u32,
    pub(super) covered: SlotSet,
    pub(super) walk: Option<Walk>,
    /// Slots that were walked at their source, and the target where they are to be walked.
    pub(super) halves: Vec<(Slot, String)>,
    /// Keys that were found and not given.
    pub(super) left: Vec<String>,
}

/// A walk over one master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Walk {
    /// The engine's name of the server.
    pub(super) server: String,
    /// Which run of it: another one has another order of keys.
    pub(super) run: String,
    /// Where `SCAN` continues.
    pub(super) at: u64,
    /// What it had at the beginning, and what of that was moving.
    pub(super) slots: SlotSet,
    pub(super) moving: SlotSet,
}

impl Cursor {
    /// From text; `None` where it is no cursor of any gateway.
    pub(crate) fn decode(text: &str) -> Option<Cursor> {
        let bytes = BASE64.decode(text).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let mut lines = text.split('\n');
        if lines.next()? != "2" {
            return None;
        }
        let question = lines.next()?.parse().ok()?;
        let covered = SlotSet::parse(lines.next()?)?;
        let walk = match lines.next()? {
            "" => None,
            walk => {
                let mut fields = walk.split(' ');
                Some(Walk {
                    server: fields.next()?.to_owned(),
                    run: fields.next()?.to_owned(),
                    at: fields.next()?.parse().ok()?,
                    slots: SlotSet::parse(fields.next()?)?,
                    moving: SlotSet::parse(fields.next()?)?,
                })
            }
        };
        let mut halves = Vec::new();
        for half in lines.next()?.split(' ').filter(|half| !half.is_empty()) {
            let (server, slots) = half.split_once(':')?;
            let slots = SlotSet::parse(slots)?;
            // It comes from outside. A slot moves to one server at a time.
            if server.len() > SERVER_BYTES_MAX || halves.len() + slots.len() > SLOTS {
                return None;
            }
            halves.extend(slots.iter().map(|slot| (slot, server.to_owned())));
        }
        let left = lines.map(|key| String::from_utf8(BASE64.decode(key).ok()?).ok());
        Some(Cursor {
            question,
            covered,
            walk,
            halves,
            left: left.collect::<Option<Vec<_>>>()?,
        })
    }

    /// As text, for a query.
    pub(crate) fn encode(&self) -> String {
        BASE64.encode(self.to_string())
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "2\n{}\n{}\n", self.question, self.covered)?;
        if let Some(walk) = &self.walk {
            let Walk {
                server,
                run,
                at,
                slots,
                moving,
            } = walk;
            write!(f, "{server} {run} {at} {slots} {moving}")?;
        }
        f.write_str("\n")?;
        // By server: hundreds of slots may move within one listing, and a request line has an end.
        let mut by_server: BTreeMap<&str, SlotSet> = BTreeMap::new();
        for (slot, server) in &self.halves {
            by_server.entry(server).or_default().insert(*slot);
        }
        for (server, slots) in by_server {
            write!(f, "{server}:{slots} ")?;
        }
        for key in &self.left {
            write!(f, "\n{}", BASE64.encode(key))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_that_move_together_stay_short() {
        let server = "0123456789abcdef0123456789abcdef01234567";
        let halves = (3000..3600).map(|slot| (slot, server.to_owned()));
        let cursor = Cursor {
            halves: halves.collect(),
            ..Cursor::default()
        };
        let text = cursor.encode();
        assert!(text.len() < 128, "{text}");
        assert_eq!(Cursor::decode(&text), Some(cursor));
    }

    #[test]
    fn a_cursor_reads_what_it_writes() {
        let cursor = Cursor {
            question: 7,
            covered: SlotSet::parse("0-100,5000").unwrap(),
            walk: Some(Walk {
                server: "ab".to_owned(),
                run: "cd".to_owned(),
                at: u64::MAX,
                slots: SlotSet::parse("101-200").unwrap(),
                moving: SlotSet::default(),
            }),
            halves: vec![(3, "ef".to_owned())],
            left: vec!["a\nb".to_owned(), "ü".to_owned()],
        };
        assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        assert_eq!(
            Cursor::decode(&Cursor::default().encode()),
            Some(Cursor::default())
        );
        // Names of servers that are none, and more slots than there are.
        let long = format!("2\n0\n\n\n{}:1 ", "a".repeat(65));
        let much = "2\n0\n\n\na:0-16383 b:0 ";
        for text in [long.as_str(), much] {
            assert!(Cursor::decode(&BASE64.encode(text)).is_none());
        }
        for wrong in ["", "x", "AAAA", "MQ"] {
            assert!(Cursor::decode(wrong).is_none(), "{wrong}");
        }
    }
}
