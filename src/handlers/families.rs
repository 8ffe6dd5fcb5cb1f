//! Families of metrics, and metrics, as the crate `prometheus` has them.

use crate::histogram::Counts;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

/// Bounds of the buckets that are reported, as powers of two of a microsecond: 16 us, and up to 16.8 s.
const BOUNDS: std::ops::RangeInclusive<u32> = 4..=24;

/// What is reported, in order.
#[derive(Default)]
pub(super) struct Families(pub(super) Vec<MetricFamily>);

impl Families {
    pub(super) fn push(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        // A family without a metric is an error to the encoder, and says nothing.
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(format!("pykv_{name}"));
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.push(name, help, MetricType::GAUGE, vec![gauge(&[], value)]);
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.push(name, help, MetricType::COUNTER, vec![counter(&[], value)]);
    }
}

pub(super) fn labelled(labels: &[(&str, &str)]) -> Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}

pub(super) fn gauge(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = labelled(labels);
    metric.set_gauge(gauge);
    metric
}

pub(super) fn counter(labels: &[(&str, &str)], value: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value as f64);
    let mut metric = labelled(labels);
    metric.set_counter(counter);
    metric
}

pub(super) fn histogram(labels: &[(&str, &str)], counts: &Counts) -> Metric {
    let buckets = BOUNDS.map(|power| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound((1_u64 << power) as f64 / 1e6);
        bucket.set_cumulative_count(counts.below(power));
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(counts.count());
    histogram.set_sample_sum(counts.sum().as_secs_f64());
    let mut metric = labelled(labels);
    metric.set_histogram(histogram);
    metric
}
