//! Who acknowledged writes, and when: whether at any moment two nodes did.
//!
//! All nodes that rightly acknowledge write one log, and the answer to a write has the offset of its record. So the
//! order of offsets is the order in which the writes took place: of two writes, the one with the lower offset was not
//! sent after the answer to the other had come. A node that acknowledges while another is primary writes another log:
//! its offsets do not fit between those of the other, or are equal to some of them.

use std::fmt;
use std::time::Duration;

/// A write that was acknowledged, since the cluster began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    pub node: usize,
    /// Where its record ends.
    pub offset: u64,
    pub sent: Duration,
    pub came: Duration,
}

/// Two writes that no one log can hold in the order in which they took place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap(Ack, Ack);

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Overlap(lower, higher) = self;
        write!(
            f,
            "two nodes acknowledged in overlapping time: {lower:?} and {higher:?}"
        )
    }
}

/// Holds all acknowledged writes against each other.
pub fn check(acks: &[Ack]) -> Result<(), Overlap> {
    let mut acks = acks.to_vec();
    acks.sort_by_key(|ack| (ack.offset, ack.sent));
    let mut last_sent: Option<Ack> = None;
    let mut before: Option<Ack> = None;
    for ack in acks {
        if let Some(lower) = last_sent
            && ack.came < lower.sent
        {
            return Err(Overlap(lower, ack));
        }
        if let Some(before) = before
            && before.offset == ack.offset
            && before.node != ack.node
        {
            return Err(Overlap(before, ack));
        }
        before = Some(ack);
        if last_sent.is_none_or(|last| last.sent < ack.sent) {
            last_sent = Some(ack);
        }
    }
    Ok(())
}

/// How often another node acknowledged than the one before.
pub fn reigns(acks: &[Ack]) -> usize {
    let mut acks = acks.to_vec();
    acks.sort_by_key(|ack| ack.offset);
    let changes = acks.windows(2).filter(|two| two[0].node != two[1].node);
    changes.count() + usize::from(!acks.is_empty())
}

/// The same with a write that a node acknowledges after another node has taken over from it: a lost term. None where
/// no node has taken over.
pub fn with_lost_term(acks: &[Ack]) -> Option<Vec<Ack>> {
    let mut acks = acks.to_vec();
    acks.sort_by_key(|ack| ack.offset);
    let at = acks.windows(2).position(|two| two[0].node != two[1].node)?;
    let (last, next) = (acks[at], acks[at + 1]);
    acks.push(Ack {
        offset: last.offset + 1,
        sent: next.came + Duration::from_micros(1),
        came: next.came + Duration::from_micros(2),
        ..last
    });
    Some(acks)
}

mod tests {
    use super::*;

    fn ack(node: usize, offset: u64, sent: u64, came: u64) -> Ack {
        Ack {
            node,
            offset,
            sent: Duration::from_millis(sent),
            came: Duration::from_millis(came),
        }
    }

    #[test]
    fn one_primary_after_another_is_no_overlap() {
        let acks = [
            ack(0, 10, 0, 5),
            ack(0, 20, 1, 4),
            ack(1, 30, 4, 9),
            ack(0, 90, 20, 21),
        ];
        assert_eq!(check(&acks), Ok(()));
        assert_eq!(reigns(&acks), 3);
        assert_eq!(check(&[]), Ok(()));
    }

    #[test]
    fn two_primaries_are_found() {
        // The one before acknowledges still, at the end of a log of its own.
        let acks = [ack(0, 10, 0, 1), ack(1, 500, 5, 6), ack(0, 20, 7, 8)];
        assert!(check(&acks).is_err());
        // They write the same offset.
        let acks = [ack(0, 10, 0, 1), ack(1, 20, 5, 8), ack(0, 20, 5, 8)];
        assert!(check(&acks).is_err());
        let right = [ack(0, 10, 0, 1), ack(1, 500, 5, 6), ack(1, 600, 9, 10)];
        assert_eq!(check(&right), Ok(()));
        assert!(check(&with_lost_term(&right).unwrap()).is_err());
    }
}
