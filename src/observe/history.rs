//! How the node did over the last hour and the last day, so that a page opened now shows what was.
//!
//! Whatever is counted anyway is looked at every [`INTERVAL`], by the thread `history`, which asks the disk how large
//! the log is: a disk that hangs holds up nobody else. Nothing is added to the way of a request. Every [`DAY_EVERY`]th
//! look is a sample of the day too. A sample is some 200 bytes, and there are [`SAMPLES_MAX`] of either kind at most.

use super::Observer;
use crate::api;
use crate::engine::Engine;
use crate::histogram::Counts;
use crate::net::registry::Registry;
use crate::store::Counters;
use crate::wall;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How far samples lie apart.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);

/// Samples that are kept: an hour of them, and a day of those that lie further apart.
const SAMPLES_MAX: usize = 720;

/// Looks from one sample of the day to the next: two minutes.
const DAY_EVERY: u32 = 24;

/// Which samples are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    /// Those of the last hour.
    Hour,
    /// Those of the last day, which lie further apart.
    Day,
}

impl Range {
    /// How far samples lie apart.
    pub(crate) fn interval(self) -> Duration {
        match self {
            Range::Hour => INTERVAL,
            Range::Day => INTERVAL * DAY_EVERY,
        }
    }
}

/// What was counted up to a moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    at_ms: u64,
    counters: Counters,
    answers: u64,
    connections: u64,
    log_bytes: u64,
    lag_bytes: Option<u64>,
    /// Over the interval: what half, 99 and 99.9 of a hundred requests for keys did not pass.
    latency: Option<[Duration; 3]>,
    /// Over the interval: the longest sync.
    sync: Option<Duration>,
}

/// The samples, and what percentiles of the next one are counted from. A lock of its own, held to copy them.
#[derive(Debug, Default)]
pub(crate) struct History {
    inner: Mutex<Inner>,
    /// Told when the thread is to end.
    to_end: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    hour: Series,
    day: Series,
    /// Looks so far.
    looks: u32,
    is_ending: bool,
}

/// Samples that lie equally far apart, and the counts at the last of them.
#[derive(Debug, Default)]
struct Series {
    /// One more than is shown: rates are of two.
    samples: VecDeque<Sample>,
    latencies: Counts,
    syncs: Counts,
}

impl Series {
    /// Adds what was seen just now, with the percentiles since the last sample.
    fn push(&mut self, seen: Sample, latencies: Counts, syncs: Counts) {
        let recent = latencies.since(&self.latencies);
        let quantiles = [0.5, 0.99, 0.999].map(|share| recent.quantile(share).unwrap_or_default());
        let sample = Sample {
            latency: (recent.count() > 0).then_some(quantiles),
            sync: syncs.since(&self.syncs).quantile(1.0),
            ..seen
        };
        self.latencies = latencies;
        self.syncs = syncs;
        if self.samples.len() > SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }
}

impl History {
    /// Takes a sample now and every [`INTERVAL`], until [`History::end`].
    pub(crate) fn run(&self, engine: Engine<'_>, registry: &Registry, observer: &Observer) {
        loop {
            self.take(engine, registry, observer);
            let is_going = |inner: &mut Inner| !inner.is_ending;
            let waited = self.to_end.wait_timeout_while(self.lock(), INTERVAL, is_going);
            let (inner, _) = waited.expect("nothing under the lock of the history panics");
            if inner.is_ending {
                return;
            }
        }
    }

    /// Ends the thread that takes samples.
    pub(crate) fn end(&self) {
        self.lock().is_ending = true;
        self.to_end.notify_all();
    }

    fn take(&self, engine: Engine<'_>, registry: &Registry, observer: &Observer) {
        let connections = registry.counts();
        let latencies = observer.latencies.of_data();
        let (counters, syncs, log_bytes, lag_bytes) = match engine {
            Engine::Embedded(node) => {
                let behind = node.followers().into_iter().map(|follower| follower.lag_bytes);
                let lag_bytes = node.cluster_status().lag_bytes.or_else(|| behind.max());
                (node.counters(), node.syncs(), node.log_bytes(), lag_bytes)
            }
            Engine::Redis(gateway) => (gateway.counters(), Counts::default(), 0, None),
        };
        let seen = Sample {
            at: Instant::now(),
            at_ms: wall::now_ms(),
            counters,
            answers: connections.answers.iter().sum(),
            connections: connections.open,
            log_bytes,
            lag_bytes,
            latency: None,
            sync: None,
        };
        let mut inner = self.lock();
        if inner.looks.is_multiple_of(DAY_EVERY) {
            inner.day.push(seen, latencies.clone(), syncs.clone());
        }
        inner.looks = inner.looks.wrapping_add(1);
        inner.hour.push(seen, latencies, syncs);
    }

    /// The samples that were taken after a moment, in ms since the Unix epoch.
    pub(crate) fn after(&self, range: Range, after_ms: u64) -> api::Samples {
        let inner = self.lock();
        let samples = match range {
            Range::Hour => &inner.hour.samples,
            Range::Day => &inner.day.samples,
        };
        let mut columns = api::Samples::default();
        for (before, sample) in samples.iter().zip(samples.iter().skip(1)) {
            if sample.at_ms > after_ms {
                push(&mut columns, before, sample);
            }
        }
        columns
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .expect("nothing under the lock of the history panics")
    }
}

fn push(columns: &mut api::Samples, before: &Sample, sample: &Sample) {
    let seconds = sample.at.duration_since(before.at).as_secs_f64();
    let (old, new) = (&before.counters, &sample.counters);
    // A connection that is just closing may be counted a moment later: no rate is below none.
    let rate = |old: u64, new: u64| (new.saturating_sub(old) as f64 / seconds * 10.0).round() / 10.0;
    // A failover of an engine changes the server that counts.
    let hits = new.hits.saturating_sub(old.hits);
    let reads = hits + new.misses.saturating_sub(old.misses);
    columns.at_ms.push(sample.at_ms);
    columns
        .gets
        .push(rate(old.hits + old.misses, new.hits + new.misses));
    columns
        .puts
        .push(rate(old.adds + old.updates, new.adds + new.updates));
    columns.deletes.push(rate(old.deletes, new.deletes));
    columns.answers.push(rate(before.answers, sample.answers));
    columns
        .hit_ratio
        .push((reads > 0).then(|| hits as f64 / reads as f64));
    columns.entries.push(new.entries);
    columns.bytes.push(new.bytes);
    columns.evictions.push(rate(old.evictions, new.evictions));
    columns.expiries.push(rate(old.expiries, new.expiries));
    columns.log_bytes.push(sample.log_bytes);
    columns.connections.push(sample.connections);
    columns.lag_bytes.push(sample.lag_bytes);
    let ms = |time: Duration| time.as_micros() as f64 / 1000.0;
    let latency = |at: usize| sample.latency.map(|quantiles| ms(quantiles[at]));
    columns.latency_p50_ms.push(latency(0));
    columns.latency_p99_ms.push(latency(1));
    columns.latency_p999_ms.push(latency(2));
    columns.sync_ms.push(sample.sync.map(ms));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(second: u64, hits: u64, adds: u64) -> Sample {
        Sample {
            at: *BEGUN.get_or_init(Instant::now) + Duration::from_secs(second),
            at_ms: second * 1000,
            counters: Counters {
                hits,
                misses: 0,
                adds,
                updates: 0,
                deletes: 0,
                evictions: 0,
                expiries: 0,
                entries: adds,
                bytes: 0,
            },
            answers: hits + adds,
            connections: 1,
            log_bytes: 0,
            lag_bytes: None,
            latency: (hits > 0).then_some([1, 2, 3].map(Duration::from_millis)),
            sync: None,
        }
    }

    static BEGUN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();

    #[test]
    fn rates_are_of_the_time_between_two_samples() {
        let history = History::default();
        assert_eq!(history.after(Range::Hour, 0), api::Samples::default());
        history
            .lock()
            .hour
            .samples
            .extend([sample(10, 0, 0), sample(15, 100, 10), sample(25, 100, 20)]);
        let columns = history.after(Range::Hour, 0);
        assert_eq!(columns.at_ms, [15_000, 25_000]);
        assert_eq!(columns.gets, [20.0, 0.0]);
        assert_eq!(columns.puts, [2.0, 1.0]);
        assert_eq!(columns.hit_ratio, [Some(1.0), None]);
        assert_eq!(columns.entries, [10, 20]);
        assert_eq!(columns.latency_p99_ms, [Some(2.0), Some(2.0)]);
        assert_eq!(history.after(Range::Hour, 15_000).at_ms, [25_000]);
        assert_eq!(history.after(Range::Hour, u64::MAX), api::Samples::default());
    }
    #[test]
    fn a_series_keeps_so_many_and_tells_percentiles_since_the_last() {
        let mut series = Series::default();
        for second in 0..2000 {
            series.push(sample(second, 1, 0), Counts::default(), Counts::default());
        }
        assert_eq!(series.samples.len(), SAMPLES_MAX + 1);
        assert_eq!(series.samples.back().unwrap().at_ms, 1_999_000);
        assert_eq!(series.samples.back().unwrap().latency, None);
        assert_eq!(Range::Day.interval(), Duration::from_secs(120));
    }
}
