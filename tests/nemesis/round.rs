//! One round: writers write, the schedule is done, everything is healed, and what must hold is held against it.

use super::board::Board;
use super::cluster::Cluster;
use super::ledger::{Ledger, Promise};
use super::schedule::{self, Situation, Step, name};
use super::{convergence, pace, sampler, timeline, writers};
use crate::common::Random;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

const WRITERS: usize = 3;

/// A cluster, and all that was acknowledged in its life.
pub struct Run<'a> {
    pub cluster: Cluster<'a>,
    pub board: &'a Board,
    pub ledger: Ledger,
    /// Of the next write.
    pub number: AtomicU64,
}

impl Run<'_> {
    /// Does a round. The cluster is one before it and after it.
    pub fn round(&mut self, random: &mut Random) {
        let nodes = self.cluster.count();
        let situation = Situation {
            primary: convergence::primary_soon(&self.cluster),
            has_copy: self.cluster.has_copy(),
        };
        eprintln!("           {} is primary", name(situation.primary));
        let steps = schedule::draw(random, &situation);
        let order = schedule::shuffled(random, nodes);
        let mut promise = Promise::new(nodes);
        let acknowledged = self.ledger.count();

        let Run {
            cluster,
            board,
            ledger,
            number,
        } = self;
        let (board, ledger, number) = (*board, &*ledger, &*number);
        let (is_quiet, is_over) = (&AtomicBool::new(false), &AtomicBool::new(false));
        thread::scope(|scope| {
            // What runs in other threads would go on for ever behind an assertion that fails.
            let _guards = (Over(is_quiet), Over(is_over));
            for node in 0..nodes {
                scope.spawn(move || sampler::sample(node, board, is_over));
            }
            let writers: Vec<_> = (0..WRITERS)
                .map(|first| scope.spawn(move || writers::write(first, board, ledger, number, is_quiet)))
                .collect();
            let begun = Instant::now();
            perform(cluster, &steps, begun, &mut promise);
            cluster.heal(&order);
            eprintln!("  {:5.2} s  all is healed", begun.elapsed().as_secs_f64());
            convergence::has_primary(cluster, Instant::now(), &promise);
            eprintln!("  {:5.2} s  there is one primary", begun.elapsed().as_secs_f64());
            is_quiet.store(true, Relaxed);
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            convergence::is_equal(cluster, Instant::now());
            eprintln!("  {:5.2} s  all are equal", begun.elapsed().as_secs_f64());
        });

        let acknowledged = self.ledger.count() - acknowledged;
        eprintln!(
            "           {acknowledged} writes acknowledged; {}",
            promise.describe()
        );
        self.check(&promise);
    }

    fn check(&self, promise: &Promise) {
        let deceptions = timeline::deceptions(self.cluster.count(), &self.board.timeline.events());
        self.board.timeline.forget_answers();
        for deception in &deceptions {
            eprintln!("{deception}");
        }
        assert!(deceptions.is_empty(), "{}", deceptions[0]);
        let primary = convergence::primary_soon(&self.cluster);
        let is_there = self.keys(primary);
        let missing = self.ledger.missing(&is_there, promise);
        assert!(
            missing.is_empty(),
            "{} writes were acknowledged by replicas, and are lost: {:?} and so on",
            missing.len(),
            &missing[..missing.len().min(10)]
        );
    }

    /// The keys that writers have written, as far as a node has them.
    fn keys(&self, node: usize) -> HashSet<String> {
        let mut client = self.cluster.server(node).client();
        let mut keys = HashSet::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/kv/?prefix={}&limit=1000{cursor}", writers::PREFIX);
            let page = client.get(&path).expect(200).body_json();
            let on_page = page["keys"].as_array().unwrap().iter();
            keys.extend(on_page.map(|key| key.as_str().unwrap().to_owned()));
            match page["cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return keys,
            }
        }
    }
}

/// Does each step when its moment comes.
fn perform(cluster: &mut Cluster<'_>, steps: &[Step], begun: Instant, promise: &mut Promise) {
    for step in steps {
        pace((begun + step.at).saturating_duration_since(Instant::now()));
        eprintln!("  {step}");
        if !cluster.apply(step.operation, promise) {
            eprintln!("           left out");
        }
    }
}

/// Ends the threads that look at it when it goes.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
