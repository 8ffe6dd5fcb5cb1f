//! How long things took: counts by duration, fine enough for percentiles, cheap enough for every request.
//!
//! A duration is counted in whole microseconds. Below [`EXACT`] each has a bucket of its own; above, every doubling
//! is cut into eight, so that a percentile is off by an eighth at most. The layout is that of HdrHistogram with three
//! significant bits. Bounds of buckets that are powers of two are exact ([`Counts::below`]).
//!
//! Counting is two additions to memory that is not locked. Whoever reads while others count may miss what is being
//! counted in that moment; nothing is counted twice.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Durations below this many microseconds are counted exactly.
const EXACT: u64 = 8;

/// Buckets that each doubling is cut into, as a power of two.
const CUT_BITS: u32 = EXACT.ilog2();

/// The longest duration that differs from longer ones is 2^26 microseconds, some 67 seconds.
const DOUBLINGS: usize = 26;

const BUCKETS: usize = (DOUBLINGS - CUT_BITS as usize + 1) * EXACT as usize;

/// Counts that grow.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            sum_us: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Counts a duration.
    pub(crate) fn count(&self, duration: Duration) {
        let us = microseconds(duration);
        self.buckets[bucket_of(us)].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    /// Adds what was counted so far to `counts`.
    pub(crate) fn add_to(&self, counts: &mut Counts) {
        for (sum, bucket) in counts.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.load(Relaxed);
        }
        counts.sum_us += self.sum_us.load(Relaxed);
    }

    /// What was counted so far.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.add_to(&mut counts);
        counts
    }
}

/// What histograms had counted at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    buckets: Box<[u64; BUCKETS]>,
    sum_us: u64,
}

impl Default for Counts {
    fn default() -> Counts {
        Counts {
            buckets: Box::new([0; BUCKETS]),
            sum_us: 0,
        }
    }
}

impl Counts {
    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All of them together.
    pub(crate) fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us)
    }

    /// Those that were counted since `before`, an earlier state of the same.
    pub(crate) fn since(&self, before: &Counts) -> Counts {
        let mut since = self.clone();
        for (bucket, old) in since.buckets.iter_mut().zip(before.buckets.iter()) {
            *bucket = bucket.saturating_sub(*old);
        }
        since.sum_us = since.sum_us.saturating_sub(before.sum_us);
        since
    }

    /// The duration that a share of them did not pass, from 0 for none to 1 for all; none where there are none.
    /// Up to an eighth too long, never too short.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        let rank = ((count as f64 * share).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        for (bucket, of_bucket) in self.buckets.iter().enumerate() {
            seen += of_bucket;
            if seen >= rank {
                return Some(Duration::from_micros(end_of(bucket)));
            }
        }
        None
    }

    /// How many took less than 2^`power` microseconds.
    pub(crate) fn below(&self, power: u32) -> u64 {
        let end = bucket_of(1 << power);
        self.buckets[..end].iter().sum()
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn bucket_of(us: u64) -> usize {
    if us < EXACT {
        return us as usize;
    }
    let power = us.ilog2();
    let cut = (us >> (power - CUT_BITS)) & (EXACT - 1);
    let bucket = u64::from(power - CUT_BITS + 1) * EXACT + cut;
    (bucket as usize).min(BUCKETS - 1)
}

/// The longest duration of a bucket, in microseconds; of the last one, the longest that differs from longer ones.
fn end_of(bucket: usize) -> u64 {
    let (doubling, cut) = (bucket as u64 / EXACT, bucket as u64 % EXACT);
    match doubling {
        0 => cut,
        _ => ((EXACT + cut + 1) << (doubling - 1)) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    #[test]
    fn every_duration_has_the_bucket_that_ends_behind_it() {
        let mut last = 0;
        for us in (0..100_000).chain((0..26).map(|power| (1 << power) - 1)) {
            let bucket = bucket_of(us);
            let end = end_of(bucket);
            assert!(us <= end && end <= us + us / 8, "{us}: {end}");
            assert!(bucket == 0 || end_of(bucket - 1) < us, "{us}");
            last = last.max(bucket);
        }
        assert_eq!(bucket_of((1 << 26) - 1), BUCKETS - 1);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_of_a_hundred_durations() {
        let histogram = Histogram::default();
        assert_eq!(histogram.counts().quantile(0.5), None);
        for at in 1..=100 {
            histogram.count(us(at * 1000));
        }
        let counts = histogram.counts();
        assert_eq!((counts.count(), counts.sum()), (100, us(5_050_000)));
        for (share, exact) in [(0.0, 1000), (0.5, 50_000), (0.99, 99_000), (1.0, 100_000)] {
            let quantile = counts.quantile(share).unwrap();
            assert!(
                quantile >= us(exact) && quantile <= us(exact * 9 / 8),
                "{share}: {quantile:?}"
            );
        }
    }

    #[test]
    fn powers_of_two_divide_exactly() {
        let histogram = Histogram::default();
        for at in [0, 1, 7, 8, 1023, 1024, 1025, u64::MAX / 2] {
            histogram.count(us(at));
        }
        let counts = histogram.counts();
        let below = [0, 3, 4, 10, 11, 26].map(|power| counts.below(power));
        assert_eq!(below, [1, 3, 4, 5, 7, 7]);
    }

    #[test]
    fn what_was_counted_since() {
        let histogram = Histogram::default();
        histogram.count(us(10));
        let before = histogram.counts();
        histogram.count(us(5000));
        let since = histogram.counts().since(&before);
        assert_eq!((since.count(), since.sum()), (1, us(5000)));
    }
}
