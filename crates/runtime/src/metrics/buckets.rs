//! Histograms: counts between fixed bounds, so that what they hold does not grow.

use super::text;
use metrics::HistogramFn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts between bounds; the last one has no bound.
#[derive(Debug)]
pub(super) struct Buckets {
    bounds: Vec<f64>,
    counts: Vec<AtomicU64>,
    /// Bits of a float.
    sum: AtomicU64,
}

/// Histogram whose owner counts.
#[derive(Clone, Debug)]
pub struct Tally(Arc<Buckets>);

impl Tally {
    pub(super) fn of(buckets: Arc<Buckets>) -> Tally {
        Tally(buckets)
    }

    /// Tells the number of values between the bounds, and their sum, since the start.
    pub fn set(&self, counts: &[u64], sum: f64) {
        for (count, told) in self.0.counts.iter().zip(counts) {
            count.store(*told, Ordering::Release);
        }
        self.0.sum.store(sum.to_bits(), Ordering::Release);
    }
}

impl Buckets {
    pub(super) fn new(bounds: &[f64]) -> Buckets {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Buckets { bounds: bounds.to_vec(), counts, sum: AtomicU64::new(0) }
    }

    /// Writes all lines of the series: each bucket holds the ones below it.
    pub(super) fn write(&self, out: &mut String, name: &str, labels: &str) {
        let mut below = 0;
        let (bucket, comma) = (format!("{name}_bucket"), if labels.is_empty() { "" } else { "," });
        let bounds = self.bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(&self.counts) {
            below += count.load(Ordering::Acquire);
            text::sample(out, &bucket, &format!("{labels}{comma}le=\"{bound}\""), below);
        }
        text::sample(out, &format!("{name}_sum"), labels, f64::from_bits(self.sum.load(Ordering::Acquire)));
        text::sample(out, &format!("{name}_count"), labels, below);
    }
}

impl HistogramFn for Buckets {
    fn record(&self, value: f64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        self.counts[place].fetch_add(1, Ordering::AcqRel);
        let add = |sum: u64| Some((f64::from_bits(sum) + value).to_bits());
        // Never refused: `add` has a value for each.
        let _ = self.sum.fetch_update(Ordering::AcqRel, Ordering::Relaxed, add);
    }
}
