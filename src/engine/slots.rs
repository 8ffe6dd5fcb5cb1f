//! Slots of a cluster: which one a key is in, and sets of them.

use crc16::{State, XMODEM};
use std::fmt;

/// Slots of a cluster.
pub(crate) const SLOTS: usize = 16_384;

/// One slot.
pub(crate) type Slot = u16;

/// The slot of a key: that of its hash tag, where it has one.
pub(crate) fn slot_of(key: &[u8]) -> Slot {
    let tag = || {
        let open = key.iter().position(|&byte| byte == b'{')?;
        let rest = &key[open + 1..];
        let close = rest.iter().position(|&byte| byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    };
    State::<XMODEM>::calculate(tag().unwrap_or(key)) % SLOTS as u16
}

/// A set of slots.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SlotSet(Box<[u64; SLOTS / 64]>);

impl Default for SlotSet {
    fn default() -> SlotSet {
        SlotSet(Box::new([0; SLOTS / 64]))
    }
}

impl SlotSet {
    pub(crate) fn all() -> SlotSet {
        SlotSet(Box::new([u64::MAX; SLOTS / 64]))
    }

    pub(crate) fn insert(&mut self, slot: Slot) {
        if let Some(word) = self.0.get_mut(usize::from(slot) / 64) {
            *word |= 1 << (slot % 64);
        }
    }

    pub(crate) fn contains(&self, slot: Slot) -> bool {
        let word = self.0.get(usize::from(slot) / 64);
        word.is_some_and(|word| word & (1 << (slot % 64)) != 0)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Slot> {
        (0..SLOTS as Slot).filter(|slot| self.contains(*slot))
    }

    /// Adds those of another.
    pub(crate) fn add(&mut self, other: &SlotSet) {
        self.zip(other, |mine, other| mine | other);
    }

    /// Takes those of another out.
    pub(crate) fn remove(&mut self, other: &SlotSet) {
        self.zip(other, |mine, other| mine & !other);
    }

    /// Keeps those that are in another too.
    pub(crate) fn keep(&mut self, other: &SlotSet) {
        self.zip(other, |mine, other| mine & other);
    }

    fn zip(&mut self, other: &SlotSet, merge: impl Fn(u64, u64) -> u64) {
        for (mine, other) in self.0.iter_mut().zip(other.0.iter()) {
            *mine = merge(*mine, *other);
        }
    }

    /// Reads what [`fmt::Display`] writes, and `CLUSTER NODES` too: `0-100,200`.
    pub(crate) fn parse(text: &str) -> Option<SlotSet> {
        let mut set = SlotSet::default();
        for range in text.split(',').filter(|range| !range.is_empty()) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (first.parse::<Slot>().ok()?, last.parse::<Slot>().ok()?);
            if usize::from(last) >= SLOTS || first > last {
                return None;
            }
            (first..=last).for_each(|slot| set.insert(slot));
        }
        Some(set)
    }
}

impl fmt::Display for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut slots = self.iter().peekable();
        let mut comma = "";
        while let Some(first) = slots.next() {
            let mut last = first;
            while slots.peek() == Some(&(last + 1)) {
                last += 1;
                slots.next();
            }
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
            comma = ",";
        }
        Ok(())
    }
}

impl fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first is the example of the cluster's specification, the others what `CLUSTER KEYSLOT` answers.
    #[test]
    fn the_slot_of_a_key_is_the_one_that_the_engine_has_for_it() {
        for (key, slot) in [
            ("123456789", 12_739),
            ("foo", 12_182),
            ("{foo}.bar", 12_182),
            ("a{foo}b{bar}", 12_182),
            ("foo{}{bar}", slot_of(b"foo{}{bar}")),
        ] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        assert_ne!(slot_of(b"foo{}{bar}"), slot_of(b"bar"), "an empty tag is none");
    }

    #[test]
    fn a_set_reads_what_it_writes() {
        for text in ["", "0", "16383", "0-16383", "1,3-5,64-200"] {
            assert_eq!(SlotSet::parse(text).unwrap().to_string(), text);
        }
        for wrong in ["16384", "5-3", "x", "1-", "-"] {
            assert!(SlotSet::parse(wrong).is_none(), "{wrong}");
        }
        assert_eq!(SlotSet::all().len(), SLOTS);
    }
}
