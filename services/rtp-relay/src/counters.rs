//! Metrics of the relay. Each handle is looked up by its name once: what is told each second costs no format and no search.

use crate::control::Member;
use crate::load::Load;
use metrics::{Counter, Gauge};
use relay::session::{Histograms, Scale};
use runtime::metrics::{Tally, counter, gauge, tally};

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

/// Histogram whose buckets the media threads count themselves.
struct Histogram {
    /// One of the scale's units in the unit of the metric.
    unit: f64,
    tally: Tally,
}

impl Counters {
    /// Looks up all handles.
    pub(crate) fn new() -> Counters {
        Counters {
            sessions: gauge("tandem_relay_sessions", "Sessions that the relay holds", &[]),
            forwarded: counter("tandem_relay_packets_forwarded_total", "Media packets forwarded", &[]),
            dropped: counter("tandem_relay_packets_dropped_total", "Media packets refused", &[]),
            packets: gauge("tandem_relay_packets_per_second", "Packets that the relay forwards now", &[]),
            busiest: gauge(
                "tandem_relay_busiest_thread",
                "Share of its core that the busiest media thread uses, 0 to 1",
                &[],
            ),
            transcoded: gauge(
                "tandem_relay_transcoded_streams",
                "Directions of calls that are transcoded",
                &[],
            ),
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
        let (name, help, unit) = match scale {
            Scale::Loss => {
                ("tandem_relay_loss_ratio", "Lost of what should have come, each second of a stream", 1e6)
            }
            Scale::Jitter => {
                ("tandem_relay_jitter_seconds", "Jitter (RFC 3550 A.8), each second of a stream", 1e6)
            }
            Scale::RoundTrip => (
                "tandem_relay_round_trip_seconds",
                "To the peer and back, as its RTCP tells, each second",
                1e6,
            ),
            Scale::Mos => ("tandem_relay_mos", "Mean opinion score of sound (ITU-T G.107), each second", 1e2),
        };
        let bounds: Vec<f64> = scale.bounds().iter().map(|bound| *bound as f64 / unit).collect();
        Histogram { unit, tally: tally(name, help, &bounds) }
    }

    fn update(&self, counts: &[u64], sum: u64) {
        self.tally.set(counts, sum as f64 / self.unit);
    }
}
