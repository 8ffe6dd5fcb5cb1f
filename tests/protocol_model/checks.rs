//! What must hold in every state.

use super::Run;
use super::state::{Fault, Record, State, history_of};
use pykv::internals::wal::branch_before;

impl State {
    /// What does not hold of all that must.
    pub fn broken(&self, run: &Run) -> Option<String> {
        self.fault_of(run)
            .or_else(|| self.hears_nobody())
            .or_else(|| self.acknowledges_twice())
            .or_else(|| self.loses())
            .or_else(|| self.differs())
            .or_else(|| self.forgets())
    }

    fn fault_of(&self, run: &Run) -> Option<String> {
        match self.fault? {
            // Where branches are not spread, only what tells them apart is looked at.
            Fault::GivenTwice if !run.spreads_branches => None,
            Fault::GivenTwice => Some("an offset was given twice".to_owned()),
            Fault::Joined => Some("two histories were joined".to_owned()),
            Fault::TookOverWithout(write, age) => Some(format!(
                "a node took over without write {write}, which is {age} ticks old"
            )),
        }
    }

    /// A replica says that it hears the primary, and there is none.
    fn hears_nobody(&self) -> Option<String> {
        let heard = self.nodes.iter().filter_map(|node| node.clock.heard).max()?;
        (heard > self.primary_at).then(|| {
            format!(
                "a primary is heard at {heard}, and there was none after {}",
                self.primary_at
            )
        })
    }

    fn acknowledges_twice(&self) -> Option<String> {
        let twice = self.synced.iter().enumerate().find(|(at, (_, branch, node))| {
            let before = &self.synced[..*at];
            before.iter().any(|(_, other, by)| other == branch && by != node)
        });
        twice.map(|(_, (_, branch, _))| format!("two nodes acknowledged in {branch:?}"))
    }

    fn loses(&self) -> Option<String> {
        // A directory that was put back from a copy is believed, though others have more: that is set aside.
        if self.counts.puts > 0 {
            return None;
        }
        let primaries = self.nodes.iter().filter(|node| node.is_primary);
        let winner = primaries.max_by_key(|node| node.term())?;
        let has = |write: u8| winner.log.iter().any(|record| record.write == Some(write));
        let lost = self.synced.iter().find(|(write, ..)| !has(*write));
        lost.map(|(write, branch, by)| {
            format!("write {write}, acknowledged by node {by} in {branch:?}, is lost")
        })
    }

    /// Two logs with the same branch before an offset are the same up to there.
    fn differs(&self) -> Option<String> {
        for (at, one) in self.nodes.iter().enumerate() {
            for other in &self.nodes[..at] {
                let (history, others) = (history_of(&one.log), history_of(&other.log));
                for end in one.log.iter().map(|record| record.end) {
                    let before = |log: &[Record]| -> Vec<Record> {
                        log.iter().filter(|record| record.end <= end).copied().collect()
                    };
                    if other.log.iter().any(|record| record.end == end)
                        && branch_before(&history, end) == branch_before(&others, end)
                        && before(&one.log) != before(&other.log)
                    {
                        return Some(format!("two logs of one branch differ before offset {end}"));
                    }
                }
            }
        }
        None
    }

    fn forgets(&self) -> Option<String> {
        let gone = self.hoped.iter().find(|write| !self.is_somewhere(**write));
        gone.map(|write| format!("write {write} is nowhere"))
    }
}
