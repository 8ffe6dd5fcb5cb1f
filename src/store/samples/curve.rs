//! The hit ratio over the number of entries: what more memory would buy, or less would cost.
//!
//! An LRU cache of c entries has a key exactly if fewer than c others were used since the key was. So one histogram of
//! these distances gives the hit ratio at every size (Mattson et al. 1970). To know all distances costs as much as
//! the store itself; this is SHARDS (Waldspurger et al., FAST 2015): only keys whose hash is below a threshold are
//! looked at. They are a fair sample of all keys, and the distance among them, over the share of keys that they are,
//! estimates the distance among all. When there are too many of them, the threshold falls.
//!
//! # What is counted
//! - A write makes its key the last one used, and is no read. A read that hits does so too, and counts its distance.
//! - A read that misses counts its distance where the key is still known: a larger store would have had it. It does
//!   not use the key. That is for the write which follows where the node is a cache, and where it is none, nobody
//!   knows what a larger one would have held.
//! - A key that is deleted or expires is forgotten; one that is evicted is not.
//!
//! # Simplifications
//! - At most a quarter of the keys is looked at, which keeps the cost small where all would fit the sample. A store of a
//!   few hundred entries is therefore known to some points only.
//! - Keys deeper than [`DEPTHS`] times today's size are forgotten first, and the threshold falls only where that is not
//!   enough. So a small store in front of many keys is sampled as finely as a large one. Plain SHARDS has a share of
//!   all keys that were ever used.
//! - The threshold never rises again: after a store has shrunk a lot, its curve is coarser than it might be.
//! - The distance among all is not taken from the distance in the sample alone. How many keys were added since is known
//!   exactly, and how many of those are in the sample; what chance has put into the sample too much or too little of
//!   those, it has put into the distance as well, and is taken off again (a regression estimator, as surveys use).
//!   Where a store is swept by scans or loops, which have no other keys, the distance is thereby exact.
//! - How many reads were hits is known exactly too. So hits and misses are sampled apart, and weighed by what there
//!   were of each: the curve goes through the hit ratio of today. What was expected of the hits and not seen in the
//!   sample is laid to the shortest distance (the paper's SHARDS-adj): which way a sample is off depends mostly on
//!   whether it has got the very hottest keys.
//! - Counts are halved now and then ([`COUNTED_MAX`]), so that the curve follows what is asked.

use super::stack::Stack;

/// Most keys in the sample.
const KEYS_MAX: usize = 8192;

/// Keys that stay when there are too many.
const KEYS_KEPT: usize = KEYS_MAX / 8 * 7;

/// The share of keys to begin with: what fits a small store, and leaves three uses of four alone.
const THRESHOLD_MAX: u64 = u64::MAX / 4;

/// How deep keys are known, in sizes of the store: beyond what is reported.
const DEPTHS: u64 = 16;

/// Sampled reads that count; beyond, all are halved.
const COUNTED_MAX: f64 = 400_000.0;

/// Sampled reads below which nothing is reported.
const COUNTED_MIN: f64 = 200.0;

/// Buckets of the histogram for each doubling of the distance.
const CUTS: f64 = 64.0;

/// The last bucket begins at 2^32, as many entries as there may be.
const BUCKETS: usize = 32 * CUTS as usize + 2;

/// An estimate.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Keys in the sample.
    pub sampled: u64,
    /// The size of the store today, in entries: where it stands on the curve.
    pub entries: u64,
    /// By size, from a tenth of today's to ten times that.
    pub points: Vec<Point>,
}

/// The hit ratio at a size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The size, in entries.
    pub entries: u64,
    /// Hits over reads, from 0 to 1.
    pub hit_ratio: f64,
}

/// Sees every use of a key, and looks at few.
#[derive(Debug)]
pub(in crate::store) struct Sampler {
    /// Keys with a hash below are looked at.
    threshold: u64,
    hits: Reads,
    misses: Reads,
    /// Keys added to the store, and those of them that are in the sample.
    added: Added,
    /// Made with the first key: a store that holds nothing takes no memory for it.
    stack: Option<Stack<Added>>,
}

/// Reads with one outcome.
#[derive(Debug)]
struct Reads {
    /// All there were since `expected` was last brought up to them.
    fresh: u64,
    /// Those that were to be expected in the sample.
    expected: f64,
    /// Those that were in it.
    counted: f64,
    /// Those of them with a distance, by its bucket.
    distances: Box<[f64]>,
}

/// How many keys were added, up to a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Added {
    all: u64,
    /// A fraction, since it is scaled where the sample gets smaller.
    sampled: f64,
}

impl Default for Sampler {
    fn default() -> Sampler {
        Sampler {
            threshold: THRESHOLD_MAX,
            hits: Reads::new(),
            misses: Reads::new(),
            added: Added::default(),
            stack: None,
        }
    }
}

impl Reads {
    fn new() -> Reads {
        Reads {
            fresh: 0,
            expected: 0.0,
            counted: 0.0,
            distances: vec![0.0; BUCKETS].into(),
        }
    }

    fn count(&mut self, distance: Option<f64>) {
        self.counted += 1.0;
        if let Some(distance) = distance {
            let bucket = place(distance) as usize;
            self.distances[bucket.min(BUCKETS - 1)] += 1.0;
        }
    }

    /// Brings what is expected up to the reads there were.
    fn settle(&mut self, share: f64) {
        self.expected += std::mem::take(&mut self.fresh) as f64 * share;
    }

    fn scale(&mut self, factor: f64) {
        self.expected *= factor;
        self.counted *= factor;
        self.distances.iter_mut().for_each(|count| *count *= factor);
    }

    /// By bucket, those with distances in it and in all before.
    fn sums(&self) -> Vec<f64> {
        let sums = self.distances.iter().scan(0.0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        std::iter::once(0.0).chain(sums).collect()
    }
}

impl Sampler {
    /// A key was read and was there; `entries` is the size of the store today.
    pub(in crate::store) fn hit(&mut self, hash: u64, entries: impl FnOnce() -> u64) {
        self.hits.fresh += 1;
        if hash < self.threshold {
            let distance = self.distance(hash);
            self.hits.count(distance);
            self.use_key(hash, entries());
        }
    }

    /// A key was read and was not there.
    pub(in crate::store) fn miss(&mut self, hash: u64) {
        self.misses.fresh += 1;
        if hash < self.threshold {
            let distance = self.distance(hash);
            self.misses.count(distance);
        }
    }

    /// A key was added; `entries` is the size of the store today.
    pub(in crate::store) fn added(&mut self, hash: u64, entries: impl FnOnce() -> u64) {
        self.added.all += 1;
        if hash < self.threshold {
            self.added.sampled += 1.0;
            self.use_key(hash, entries());
        }
    }

    /// A key has got another value; `entries` is the size of the store today.
    pub(in crate::store) fn updated(&mut self, hash: u64, entries: impl FnOnce() -> u64) {
        if hash < self.threshold {
            self.use_key(hash, entries());
        }
    }

    /// A key is gone from stores of every size.
    pub(in crate::store) fn removed(&mut self, hash: u64) {
        if hash < self.threshold
            && let Some(stack) = &mut self.stack
        {
            stack.remove(hash);
        }
    }

    /// What is estimated for a store that has `entries` today; none where too little was read.
    pub(in crate::store) fn curve(&mut self, entries: u64) -> Option<Curve> {
        self.settle();
        let stack = self.stack.as_ref()?;
        if self.hits.counted + self.misses.counted < COUNTED_MIN || entries == 0 {
            return None;
        }
        let (hits, misses) = (self.hits.sums(), self.misses.sums());
        // The hottest keys are in the sample or are not; what that adds or takes is laid to the shortest distance.
        let unseen = self.hits.expected - self.hits.counted;
        // No such keys are among the misses: those in the sample stand for all.
        let weight = match self.misses.counted > 0.0 {
            true => self.misses.expected / self.misses.counted,
            false => 0.0,
        };
        let reads = self.hits.expected + self.misses.expected;
        let mut points: Vec<Point> = sizes(entries)
            .map(|entries| {
                let hits = up_to(&hits, entries) + unseen + weight * up_to(&misses, entries);
                Point {
                    entries,
                    hit_ratio: (hits / reads).clamp(0.0, 1.0),
                }
            })
            .collect();
        points.dedup_by_key(|point| point.entries);
        Some(Curve {
            sampled: stack.len() as u64,
            entries,
            points,
        })
    }

    /// An estimate of how many other keys were used since one in the sample was.
    fn distance(&self, hash: u64) -> Option<f64> {
        let (distance, then) = self.stack.as_ref()?.distance(hash)?;
        let share = self.share();
        let distance = distance as f64 / share;
        let added = (self.added.all - then.all) as f64;
        let excess = (self.added.sampled - then.sampled) / share - added;
        // Keys that were added more than once since are one key each.
        let weight = if added > distance { distance / added } else { 1.0 };
        Some((distance - weight * excess).max(0.0))
    }

    fn use_key(&mut self, hash: u64, entries: u64) {
        let stack = self.stack.get_or_insert_with(|| Stack::new(KEYS_MAX));
        stack.use_key(hash, self.added);
        if stack.is_used_up() || stack.len() == KEYS_MAX {
            self.make_room(entries);
        }
    }

    /// Makes room for more uses, and for more keys: forgets those too deep to matter, and where they are few, those
    /// with the largest hashes.
    #[cold]
    fn make_room(&mut self, entries: u64) {
        self.settle();
        let depth = (entries.saturating_mul(DEPTHS) as f64 * self.share()).ceil() as usize;
        let Some(stack) = &mut self.stack else { return };
        let mut factor = 1.0;
        if stack.len().min(depth) > KEYS_KEPT {
            let mut hashes: Vec<u64> = stack.keys().collect();
            let (_, &mut threshold, _) = hashes.select_nth_unstable(KEYS_KEPT);
            factor = threshold as f64 / self.threshold as f64;
            self.threshold = threshold;
        }
        let threshold = self.threshold;
        self.added.sampled *= factor;
        let remark = |added: Added| Added {
            sampled: added.sampled * factor,
            ..added
        };
        stack.close_up(depth.clamp(1, KEYS_KEPT), |hash| hash < threshold, remark);
        if self.hits.counted + self.misses.counted > COUNTED_MAX {
            factor /= 2.0;
        }
        self.hits.scale(factor);
        self.misses.scale(factor);
    }

    /// The share of keys that are looked at.
    fn share(&self) -> f64 {
        self.threshold as f64 / u64::MAX as f64
    }

    fn settle(&mut self) {
        let share = self.share();
        self.hits.settle(share);
        self.misses.settle(share);
    }
}

/// How many of those with a distance have one that a store of this size makes a hit of.
fn up_to(sums: &[f64], entries: u64) -> f64 {
    let place = place(entries as f64);
    let bucket = (place as usize).min(BUCKETS - 1);
    sums[bucket] + (sums[bucket + 1] - sums[bucket]) * (place - bucket as f64).min(1.0)
}

/// Where a distance stands in the histogram: its bucket, and how far into it.
fn place(distance: f64) -> f64 {
    // The first bucket has the distances below 1.
    if distance < 1.0 {
        distance
    } else {
        1.0 + distance.log2() * CUTS
    }
}

/// The sizes that are reported: from a tenth to ten times today's, with today's doublings and halvings among them.
fn sizes(entries: u64) -> impl Iterator<Item = u64> {
    let times = (-13..=13).map(|quarter| f64::from(quarter).mul_add(0.25, 0.0).exp2());
    std::iter::once(0.1)
        .chain(times)
        .chain([10.0])
        .map(move |times| ((entries as f64 * times).round() as u64).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::Pair;
    use crate::store::{Limits, LruMap};
    use std::hash::{BuildHasher, RandomState};

    /// Plays a trace as a cache in front of something slow: GET, and SET what is not there.
    fn play(trace: &[String], entries_max: u64) -> Curve {
        let hasher = RandomState::new();
        let limits = Limits {
            entries_max,
            bytes_max: u64::MAX,
        };
        let mut map = LruMap::new(limits, hasher.clone());
        for (at, key) in trace.iter().enumerate() {
            let hash = hasher.hash_one(key.as_bytes());
            if let Some(slot) = map.find(hash, key.as_bytes()) {
                map.hit(hash, slot);
                continue;
            }
            map.miss(hash);
            if map.is_over(1, 0, 0) {
                let oldest = map.oldest().unwrap();
                map.evict(oldest);
            }
            map.insert(hash, Pair::new(key.as_bytes(), b""), at as u64 + 1);
        }
        map.curve().unwrap()
    }

    /// The hit ratios of LRU caches of these sizes, each played by itself.
    fn exact(trace: &[String], sizes: &[u64]) -> Vec<f64> {
        // A stack with room for all keys knows every distance.
        let mut numbers = std::collections::HashMap::new();
        let mut stack = Stack::<()>::new(trace.len());
        let mut hits = vec![0_u64; sizes.len()];
        for key in trace {
            let count = numbers.len() as u64;
            let number = *numbers.entry(key.as_str()).or_insert(count);
            if let Some((distance, ())) = stack.distance(number) {
                for (hits, &size) in hits.iter_mut().zip(sizes) {
                    *hits += u64::from((distance as u64) < size);
                }
            }
            stack.use_key(number, ());
            if stack.is_used_up() {
                stack.close_up(usize::MAX, |_| true, |()| ());
            }
        }
        hits.iter()
            .map(|&hits| hits as f64 / trace.len() as f64)
            .collect()
    }

    fn at(curve: &Curve, entries: u64) -> f64 {
        let point = curve.points.iter().find(|point| point.entries == entries);
        point
            .unwrap_or_else(|| panic!("{entries} is among {curve:?}"))
            .hit_ratio
    }

    /// Keys by Zipf's law, and now and then a scan over keys in a row.
    fn zipf_and_scans(length: usize, keys: u64, seed: u64) -> Vec<String> {
        let mut state = seed;
        let mut random = move || {
            // splitmix64 (Steele, Lea and Flood 2014).
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
            (mixed ^ mixed >> 31) as f64 / u64::MAX as f64
        };
        let mut trace = Vec::with_capacity(length);
        while trace.len() < length {
            if random() < 0.001 {
                let first = (random() * keys as f64) as u64;
                trace.extend((first..first + keys / 20).map(|key| key.to_string()));
            }
            // The inverse of the sums of 1/n, except for a constant.
            trace.push(((keys as f64).powf(random()) as u64).to_string());
        }
        trace
    }

    #[test]
    fn estimates_lie_near_the_exact_ratios() {
        for (keys, entries_max) in [(20_000, 4_000), (40_000, 8_000), (200_000, 4_000)] {
            let trace = zipf_and_scans(300_000, keys, 7958);
            let sizes = [1, 2, 4, 8, 16].map(|times| entries_max / 4 * times);
            // Which keys are sampled is up to the hash, which is another one for each map.
            let curves = [(); 4].map(|()| play(&trace, entries_max));
            assert!(curves.iter().all(|curve| curve.sampled <= KEYS_MAX as u64));
            for (size, exact) in sizes.into_iter().zip(exact(&trace, &sizes)) {
                let sum: f64 = curves.iter().map(|curve| at(curve, size)).sum();
                let estimate = sum / curves.len() as f64;
                assert!(
                    (exact - estimate).abs() < 0.02,
                    "{size} of {keys}: {exact} {estimate}"
                );
            }
        }
    }

    #[test]
    fn points_go_from_a_tenth_to_ten_times_and_rise() {
        let curve = play(&zipf_and_scans(100_000, 10_000, 1), 1_000);
        let (first, last) = (curve.points[0], curve.points[curve.points.len() - 1]);
        assert_eq!((curve.entries, first.entries, last.entries), (1_000, 100, 10_000));
        assert!(
            curve
                .points
                .is_sorted_by(|one, other| one.entries < other.entries)
        );
        assert!(
            curve
                .points
                .is_sorted_by(|one, other| one.hit_ratio <= other.hit_ratio)
        );
        let tiny = play(&zipf_and_scans(100_000, 10_000, 1), 1);
        assert_eq!(tiny.points[0].entries, 1);
        assert!(tiny.points.is_sorted_by(|one, other| one.entries < other.entries));
    }

    #[test]
    fn too_little_tells_nothing() {
        let mut sampler = Sampler::default();
        assert_eq!(sampler.curve(10), None);
        for hash in 0..100 {
            sampler.added(hash, || 100);
            sampler.hit(hash, || 100);
        }
        assert_eq!(sampler.curve(10), None);
        (0..100).for_each(|hash| sampler.hit(hash, || 100));
        assert!(sampler.curve(10).is_some());
        assert_eq!(sampler.curve(0), None);
    }

    #[test]
    fn what_is_deleted_would_be_missed_by_any_size() {
        let mut sampler = Sampler::default();
        for round in 0..10 {
            for hash in 0..1000 {
                // The threshold is a quarter: all of these are sampled, and three times as many are not.
                (0..3).for_each(|_| sampler.added(u64::MAX, || 4000));
                sampler.added(hash, || 4000);
            }
            for hash in 0..1000 {
                if round % 2 == 0 {
                    sampler.removed(hash);
                }
                (0..3).for_each(|_| sampler.miss(u64::MAX));
                sampler.miss(hash);
            }
        }
        // Half of the reads are of keys that were deleted; the other half would hit in a store of 4,000.
        let curve = sampler.curve(4_000).unwrap();
        let largest = curve.points[curve.points.len() - 1];
        assert!((largest.hit_ratio - 0.5).abs() < 0.02, "{curve:?}");
        // The last tenth of the keys that were added has fewer than 400 behind it.
        assert!((at(&curve, 400) - 0.05).abs() < 0.01, "{curve:?}");
    }

    /// `PYKV_TRACE=trace.txt PYKV_TRACE_ROUNDS=20 cargo test --release --lib trace_file -- --nocapture`, for a trace of
    /// one's own, one key a line, in front of a store of 5,000 entries.
    #[test]
    fn trace_file() {
        let Some(path) = std::env::var_os("PYKV_TRACE") else {
            return;
        };
        let rounds: u32 = std::env::var("PYKV_TRACE_ROUNDS").map_or(3, |rounds| rounds.parse().unwrap());
        let text = std::fs::read_to_string(path).unwrap();
        let trace: Vec<String> = text.lines().map(str::to_owned).collect();
        let sizes = [5_000, 10_000, 20_000];
        let exact = exact(&trace, &sizes);
        for _ in 0..rounds {
            let curve = play(&trace, 5_000);
            let estimates = sizes.map(|size| at(&curve, size));
            println!("{exact:.4?} {estimates:.4?} of {}", curve.sampled);
            for (exact, estimate) in exact.iter().zip(estimates) {
                assert!((exact - estimate).abs() < 0.02);
            }
        }
    }
}
