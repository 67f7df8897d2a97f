//! Metrics of calls, by line: a trunk, its component domain, and the direction as the trunk sees it.
//!
//! One rule: the lines are those of the configuration, and every series of them is there from the start, so that the first call of a
//! kind is an increase as any other. Start at [`Lines`].

use metrics::{Counter, Gauge, Histogram};
use runtime::Config;
use runtime::metrics::{TALKS, WAITS, counter, gauge, histogram};
use session::call::{CALLER, Call, Fact};
use signal::{Opening, Protocol, Reason, Time};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

fn moved(relay: &str) -> Counter {
    counter(
        "tandem_calls_moved_total",
        "Calls that went on at another relay, by what became of theirs",
        &[("relay", relay)],
    )
}

/// Calls whose relay was lost.
pub(crate) static MOVED_LOST: LazyLock<Counter> = LazyLock::new(|| moved("lost"));
/// Calls whose relay drains.
pub(crate) static MOVED_DRAINED: LazyLock<Counter> = LazyLock::new(|| moved("drained"));

/// Calls that a drain ended.
pub(crate) static ENDED_BY_DRAIN: LazyLock<Counter> = LazyLock::new(|| {
    counter(
        "tandem_calls_ended_by_drain_total",
        "Calls that still stood at the end of a drain and were ended on both sides",
        &[],
    )
});
/// Legs of calls that the store has lost.
pub(crate) static ORPHANED: LazyLock<Counter> = LazyLock::new(|| {
    counter(
        "tandem_legs_orphaned_total",
        "Legs that an edge still held of a call that no record knows, and that were ended: the store has lost calls",
        &[],
    )
});
/// Call detail records that were written.
pub(crate) static CDRS_WRITTEN: LazyLock<Counter> =
    LazyLock::new(|| counter("tandem_cdrs_written_total", "Call detail records that were written", &[]));
/// Attempts to write call detail records that failed.
pub(crate) static CDRS_FAILED: LazyLock<Counter> = LazyLock::new(|| {
    counter(
        "tandem_cdrs_failed_total",
        "Times that the call detail records of a call could not be written; they are tried again for an hour",
        &[],
    )
});
/// Records that could not be read.
pub(crate) static UNREADABLE: LazyLock<Counter> = LazyLock::new(|| {
    counter(
        "tandem_records_unreadable_total",
        "Times that a record was met which cannot be read: of a newer version, broken, or sealed with another secret",
        &[],
    )
});

/// Calls of one trunk in one direction.
pub(crate) struct Line {
    /// Trunk and domain.
    pub(crate) of: (String, String),
    pub(crate) direction: &'static str,
    pub(crate) placed: Counter,
    answered: Counter,
    transferred: Counter,
    diverted: Counter,
    active: Gauge,
    refused: Vec<Counter>,
    ended: Vec<Counter>,
    setup: Histogram,
    ring: Histogram,
    talk: Histogram,
}

impl Line {
    fn new(of: (String, String), direction: &'static str) -> Line {
        let labels = [("trunk", of.0.as_str()), ("domain", of.1.as_str()), ("direction", direction)];
        let by_reason = |name: &str, help: &str| -> Vec<Counter> {
            let of = |reason: &Reason| {
                let reason = format!("{reason:?}");
                let labels = [labels.as_slice(), &[("reason", reason.as_str())]].concat();
                counter(name, help, &labels)
            };
            Reason::ALL.iter().map(of).collect()
        };
        Line {
            of: of.clone(),
            direction,
            placed: counter("tandem_calls_placed_total", "Calls that were taken", &labels),
            answered: counter("tandem_calls_answered_total", "Calls that were answered", &labels),
            transferred: counter(
                "tandem_calls_transferred_total",
                "Legs that took the place of another",
                &labels,
            ),
            diverted: counter(
                "tandem_calls_diverted_total",
                "Diversions to another callee before the answer",
                &labels,
            ),
            active: gauge(
                "tandem_calls_active",
                "Calls that go on, in the whole installation; one orchestrator tells it, others tell 0",
                &labels,
            ),
            refused: by_reason("tandem_calls_refused_total", "Calls that were not taken"),
            ended: by_reason(
                "tandem_calls_ended_total",
                "Calls that ended, by the reason of the first leg to end",
            ),
            setup: histogram(
                "tandem_call_setup_seconds",
                "From the request of a call until its caller hears that it rings (RFC 6076 session request delay)",
                WAITS,
                &labels,
            ),
            ring: histogram(
                "tandem_call_ring_seconds",
                "From the ringing of a call to its answer",
                WAITS,
                &labels,
            ),
            talk: histogram(
                "tandem_call_talk_seconds",
                "From the answer of a call to its end",
                TALKS,
                &labels,
            ),
        }
    }

    /// Counts a call that was not taken.
    pub(crate) fn refused(&self, reason: Reason) {
        count(&self.refused, reason);
    }
}

fn count(counters: &[Counter], reason: Reason) {
    if let Some(counter) = counters.get(reason as usize) {
        counter.increment(1);
    }
}

/// Lines by the link of the leg that opens a call: the name of a trunk, or a component domain.
pub struct Lines {
    known: RwLock<Known>,
    /// Calls of no trunk.
    other: Arc<Line>,
}

/// Lines of the configurations that were in force.
#[derive(Default)]
struct Known {
    trunks: HashMap<String, Arc<Line>>,
    domains: HashMap<String, Arc<Line>>,
}

impl Lines {
    /// Makes the metrics of all lines of a configuration.
    #[must_use]
    pub fn new(config: &Config) -> Lines {
        for counter in [&MOVED_LOST, &MOVED_DRAINED, &ENDED_BY_DRAIN, &UNREADABLE] {
            LazyLock::force(counter);
        }
        let other = Arc::new(Line::new(Default::default(), ""));
        let lines = Lines { known: RwLock::default(), other };
        lines.extend(config);
        lines
    }

    /// Makes the metrics of the lines of another configuration; those of lines that are gone stay.
    pub(crate) fn extend(&self, config: &Config) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let Known { trunks, domains } = &mut *known;
        for trunk in &config.trunk {
            let domain = trunk.domain.to_lowercase();
            for (lines, key, direction) in
                [(&mut *trunks, &trunk.name, "inbound"), (&mut *domains, &domain, "outbound")]
            {
                let of = (trunk.name.clone(), domain.clone());
                if lines.get(key).is_none_or(|line| line.of != of) {
                    let former = lines.insert(key.clone(), Arc::new(Line::new(of, direction)));
                    // Nobody counts its calls any more.
                    former.iter().for_each(|line| line.active.set(0.0));
                }
            }
        }
    }

    /// Returns the line of a call by the opening of its caller's leg.
    pub(crate) fn of(&self, opening: &Opening) -> Arc<Line> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let line = match opening.from.protocol {
            Protocol::Sip => known.trunks.get(&opening.link),
            Protocol::Xmpp => known.domains.get(&opening.link.to_lowercase()),
        };
        line.unwrap_or(&self.other).clone()
    }

    /// Returns the line of a call, or of one that nobody opened.
    pub(crate) fn of_call(&self, call: &Call) -> Arc<Line> {
        call.leg(CALLER).map_or_else(|| self.other.clone(), |leg| self.of(&leg.opening))
    }

    /// Notes that the caller was told of ringing, or of the answer without it, as the `count`th signal.
    pub(crate) fn told(&self, call: &Call, count: u32, rings: bool, now: Time) {
        // The ringing of a target in an established call is none of its caller's.
        if rings && call.answered.is_some() {
            return;
        }
        if count == 0 {
            self.of_call(call).setup.record(seconds(now.since(call.placed)));
        }
    }

    /// Counts a fact; performed again it counts twice, as rarely as an orchestrator dies.
    pub(crate) fn count(&self, call: &Call, fact: &Fact) {
        let line = self.of_call(call);
        match fact {
            Fact::Placed { .. } => {}
            Fact::Transferred { .. } => line.transferred.increment(1),
            Fact::Diverted { .. } => line.diverted.increment(1),
            Fact::Answered => {
                line.answered.increment(1);
                if let (Some(rang), Some(answered)) = (call.rang, call.answered) {
                    line.ring.record(seconds(answered.since(rang)));
                }
            }
            Fact::Ended { end, talked_ms } => {
                count(&line.ended, end.reason);
                talked_ms.iter().for_each(|ms| line.talk.record(seconds(*ms)));
            }
        }
    }

    /// Tells the number of calls that go on, by line; none for a line that is not among them.
    pub(crate) fn tell_active(&self, calls: &[Opening]) {
        let mut numbers: HashMap<*const Line, u32> = HashMap::new();
        for opening in calls {
            *numbers.entry(Arc::as_ptr(&self.of(opening))).or_default() += 1;
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        for line in known.trunks.values().chain(known.domains.values()).chain([&self.other]) {
            line.active.set(f64::from(numbers.get(&Arc::as_ptr(line)).copied().unwrap_or(0)));
        }
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1e3
}
