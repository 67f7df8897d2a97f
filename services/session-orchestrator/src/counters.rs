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
use std::sync::LazyLock;

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
    pub(crate) trunk: String,
    pub(crate) domain: String,
    pub(crate) direction: &'static str,
    pub(crate) placed: Counter,
    answered: Counter,
    transferred: Counter,
    active: Gauge,
    refused: Vec<Counter>,
    ended: Vec<Counter>,
    setup: Histogram,
    ring: Histogram,
    talk: Histogram,
}

impl Line {
    fn new(trunk: &str, domain: &str, direction: &'static str) -> Line {
        let labels = [("trunk", trunk), ("domain", domain), ("direction", direction)];
        let by_reason = |name: &str, help: &str| -> Vec<Counter> {
            let of = |reason: &Reason| {
                let reason = format!("{reason:?}");
                let labels = [labels.as_slice(), &[("reason", reason.as_str())]].concat();
                counter(name, help, &labels)
            };
            Reason::ALL.iter().map(of).collect()
        };
        Line {
            trunk: trunk.to_owned(),
            domain: domain.to_owned(),
            direction,
            placed: counter("tandem_calls_placed_total", "Calls that were taken", &labels),
            answered: counter("tandem_calls_answered_total", "Calls that were answered", &labels),
            transferred: counter(
                "tandem_calls_transferred_total",
                "Legs that took the place of another",
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
    trunks: HashMap<String, Line>,
    domains: HashMap<String, Line>,
    /// Calls of no trunk.
    other: Line,
}

impl Lines {
    /// Makes the metrics of all lines of a configuration.
    #[must_use]
    pub fn new(config: &Config) -> Lines {
        let (mut trunks, mut domains) = (HashMap::new(), HashMap::new());
        for trunk in &config.trunk {
            let domain = trunk.domain.to_lowercase();
            trunks.insert(trunk.name.clone(), Line::new(&trunk.name, &domain, "inbound"));
            domains.insert(domain.clone(), Line::new(&trunk.name, &domain, "outbound"));
        }
        for counter in [&MOVED_LOST, &MOVED_DRAINED, &ENDED_BY_DRAIN, &UNREADABLE] {
            LazyLock::force(counter);
        }
        Lines { trunks, domains, other: Line::new("", "", "") }
    }

    /// Returns the line of a call by the opening of its caller's leg.
    pub(crate) fn of(&self, opening: &Opening) -> &Line {
        let line = match opening.from.protocol {
            Protocol::Sip => self.trunks.get(&opening.link),
            Protocol::Xmpp => self.domains.get(&opening.link.to_lowercase()),
        };
        line.unwrap_or(&self.other)
    }

    /// Returns the line of a call, or of one that nobody opened.
    pub(crate) fn of_call(&self, call: &Call) -> &Line {
        call.leg(CALLER).map_or(&self.other, |leg| self.of(&leg.opening))
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
        let all = self.trunks.values().chain(self.domains.values()).chain([&self.other]);
        let mut numbers: HashMap<*const Line, u32> =
            all.clone().map(|line| (std::ptr::from_ref(line), 0)).collect();
        for opening in calls {
            *numbers.entry(std::ptr::from_ref(self.of(opening))).or_default() += 1;
        }
        for line in all {
            line.active.set(f64::from(numbers.get(&std::ptr::from_ref(line)).copied().unwrap_or(0)));
        }
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1e3
}
