//! What must hold at every moment.

use super::Mutant;
use super::world::World;

impl World {
    /// What does not hold.
    pub fn broken(&self) -> Option<String> {
        if let Some(fault) = &self.fault {
            return Some(fault.clone());
        }
        let open = |mutant| {
            self.nodes
                .iter()
                .filter(move |node| node.is_open(self.now, mutant))
        };
        let mutant = match self.run.mutant {
            Mutant::OpenBeforeSync => Mutant::None,
            mutant => mutant,
        };
        let names: Vec<&str> = open(mutant).map(|node| node.address.as_str()).collect();
        (names.len() > 1).then(|| format!("{} may take writes at one moment", names.join(" and ")))
    }

    /// A node answers a write.
    pub fn note_answer(&mut self, at: usize, write: u64) {
        let term = self.nodes[at].term() >> 32;
        if let Some((_, later)) = self.answered.iter().find(|(_, other)| *other > term) {
            self.fault = Some(format!(
                "n{at} answers a write after one of term {later} was, in term {term}"
            ));
        }
        self.answered.push((write, term));
    }

    /// A node begins a term.
    pub fn note_term(&mut self, at: usize, term: u64) {
        if !self.terms.insert(term) {
            self.fault = Some(format!("n{at} begins a term that was there: {term}"));
        }
    }

    /// A node that may take writes has every write that was answered.
    pub fn note_open(&mut self, at: usize) {
        let node = &self.nodes[at];
        if self.run.standbys == 0 || !node.is_open(self.now, self.run.mutant) {
            return;
        }
        let term = node.term() >> 32;
        if !self.opened.insert(term) {
            return;
        }
        let has = |write: u64| node.dir.log.iter().any(|record| record.write == Some(write));
        if let Some((write, of)) = self.answered.iter().find(|(write, _)| !has(*write)) {
            self.fault = Some(format!(
                "n{at} is primary in term {term}, and lacks a write that was answered in term {of}: {write}"
            ));
        }
    }
}
