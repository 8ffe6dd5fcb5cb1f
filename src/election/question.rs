//! What members of a cluster ask each other where etcd decides.

use super::registers::{self, Leader};
use serde::{Deserialize, Serialize};

/// What is asked of other members, and for how long their answers are waited for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ask {
    /// Whom.
    pub addresses: Vec<String>,
    /// Whether they confirm this primary; none where they are asked how they are.
    pub confirm: Option<Confirm>,
    /// How long an answer may take, in the units of the machine's clock.
    pub time_max: u64,
}

/// A question as it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The name of the cluster that the asking node is of.
    pub cluster: String,
    /// See [`Ask::confirm`].
    pub confirm: Option<Confirm>,
}

impl Answer {
    /// How many bytes of this node's log another one lacks that has it up to `written`. The gap before a term holds
    /// nothing.
    pub fn missing_bytes(&self, written: u64) -> u64 {
        registers::missing_bytes(self.start, self.first, self.written, written)
    }
}

/// What is sent, with a checksum: a node acts on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed<T> {
    what: T,
    check: u32,
}

impl<T: Serialize> Sealed<T> {
    /// With the right checksum.
    pub fn new(what: T) -> Sealed<T> {
        let check = check_of(&what);
        Sealed { what, check }
    }

    /// What was sent; none where the checksum is wrong.
    pub fn open(self) -> Option<T> {
        (self.check == check_of(&self.what)).then_some(self.what)
    }
}

/// CRC-32 of a value's JSON.
fn check_of(what: &impl Serialize) -> u32 {
    crc32fast::hash(&serde_json::to_vec(what).expect("plain data has a form in JSON"))
}

/// A primary that etcd does not answer asks to be taken for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Confirm {
    /// Who asks.
    pub leader: Leader,
    /// The id of its log.
    pub log: String,
    /// For how long whoever confirms does not take over, in the units of the machine's clock.
    pub time: u64,
}

/// How a member is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Answer {
    /// How others reach it.
    pub node: String,
    /// Which run of it.
    pub process: String,
    /// The id of its log.
    pub log: String,
    /// Whether it is primary and may take writes.
    pub is_primary: bool,
    /// Whether it has nothing yet.
    pub is_empty: bool,
    /// The term of its log, number and mark.
    pub term: u64,
    /// Where its term begins in its log.
    pub start: u64,
    /// The first offset that the term gives, where it is primary: far after `start`.
    pub first: u64,
    /// How far its log is written.
    pub written: u64,
    /// For how long it may take writes yet, where it is primary, in the units of its clock.
    pub lease_left: Option<u64>,
    /// Why it may not take over; none where it may.
    pub obstacle: Option<String>,
    /// Whether it confirms the primary that asks; none where none asks.
    pub confirms: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turned_bit_is_noticed() {
        let question = Question {
            cluster: "shop".to_owned(),
            confirm: None,
        };
        let sealed = Sealed::new(question.clone());
        let text = serde_json::to_string(&sealed).unwrap();
        assert_eq!(
            serde_json::from_str::<Sealed<Question>>(&text).unwrap().open(),
            Some(question)
        );
        let turned = text.replace("shop", "shoq");
        assert_eq!(
            serde_json::from_str::<Sealed<Question>>(&turned).unwrap().open(),
            None
        );
    }
}
