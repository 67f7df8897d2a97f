//! Metrics of the relay. Each handle is looked up by its name once: what is told each second costs no format and no search.

use crate::control::Member;
use crate::load::Load;
use metrics::{Counter, Gauge, counter, gauge};
use relay::session::{Histograms, Scale};

/// Handles of all metrics.
pub(crate) struct Counters {
    sessions: Gauge,
    forwarded: Counter,
    dropped: Counter,
    packets: Gauge,
    busiest: Gauge,
    transcoded: Gauge,
    histograms: [Histogram; 4],
}

/// Histogram in Prometheus' own form, since the media threads count into buckets themselves.
struct Histogram {
    /// One of the scale's units in the unit of the metric.
    unit: f64,
    buckets: Vec<Counter>,
    count: Counter,
    sum: Gauge,
}

impl Counters {
    /// Looks up all handles.
    pub(crate) fn new() -> Counters {
        Counters {
            sessions: gauge!("tandem_relay_sessions"),
            forwarded: counter!("tandem_relay_packets_forwarded_total"),
            dropped: counter!("tandem_relay_packets_dropped_total"),
            packets: gauge!("tandem_relay_packets_per_second"),
            busiest: gauge!("tandem_relay_busiest_thread"),
            transcoded: gauge!("tandem_relay_transcoded_streams"),
            histograms: Scale::ALL.map(Histogram::new),
        }
    }

    /// Tells how the relay stands.
    pub(crate) fn update(&self, load: &Load, transcoded: u64, members: &[Member]) {
        self.sessions.set(load.sum.sessions as f64);
        self.forwarded.absolute(load.sum.forwarded);
        self.dropped.absolute(load.sum.dropped);
        self.packets.set(load.packets as f64);
        self.busiest.set(f64::from(load.sum.busy) / 1_000.0);
        self.transcoded.set(transcoded as f64);
        let mut all = Histograms::default();
        members.iter().for_each(|member| member.handle.gauges.histograms.add_to(&mut all));
        for ((histogram, counts), sum) in self.histograms.iter().zip(all.counts).zip(all.sums) {
            histogram.update(&counts, sum);
        }
    }
}

impl Histogram {
    fn new(scale: Scale) -> Histogram {
        let (name, unit) = match scale {
            Scale::Loss => ("tandem_relay_loss_ratio", 1e6),
            Scale::Jitter => ("tandem_relay_jitter_seconds", 1e6),
            Scale::RoundTrip => ("tandem_relay_round_trip_seconds", 1e6),
            Scale::Mos => ("tandem_relay_mos", 1e2),
        };
        let bounds = scale.bounds().map(|bound| (bound as f64 / unit).to_string());
        let bounds = bounds.into_iter().chain(["+Inf".to_owned()]);
        Histogram {
            unit,
            buckets: bounds.map(|bound| counter!(format!("{name}_bucket"), "le" => bound)).collect(),
            count: counter!(format!("{name}_count")),
            sum: gauge!(format!("{name}_sum")),
        }
    }

    fn update(&self, counts: &[u64], sum: u64) {
        let mut below = 0;
        for (count, bucket) in counts.iter().zip(&self.buckets) {
            below += count;
            bucket.absolute(below);
        }
        self.count.absolute(below);
        self.sum.set(sum as f64 / self.unit);
    }
}
