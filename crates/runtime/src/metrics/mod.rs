//! Metrics of the process, in the text format of Prometheus.
//!
//! One rule: a metric is there from the start of its service, at zero and with its description, and its handle is made once: what
//! happens then is an atomic addition. What anybody counts by the macros of the `metrics` crate is told too, described or not.
//! Start at [`counter`], [`gauge`], [`histogram`] and [`render`].

mod buckets;
mod process;
mod text;

use buckets::Buckets;
pub use buckets::Tally;
use metrics::atomics::AtomicU64;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};

/// Most series of one metric: labels come from the configuration, and one that did not would fill the memory.
const MAX_SERIES: usize = 20_000;
/// Most characters of the value of a label.
const MAX_LABEL: usize = 128;
/// Bounds of a histogram that nobody gave bounds to, seconds.
pub const SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Bounds of what a call's parties wait for: seconds from a tone to the end of patience.
pub const WAITS: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0, 60.0, 120.0, 180.0];
/// Bounds of the length of a talk, seconds.
pub const TALKS: &[f64] =
    &[1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0];

static METRICS: RwLock<BTreeMap<String, Family>> = RwLock::new(BTreeMap::new());

/// Name of a label and its value.
pub type Label<'a> = (&'a str, &'a str);

/// All series of one name.
struct Family {
    help: String,
    kind: Kind,
    bounds: Vec<f64>,
    /// Series by their labels as they are written.
    series: BTreeMap<String, Cell>,
}

impl Family {
    fn new(name: &str, kind: Kind, bounds: &[f64]) -> Family {
        let bounds = if bounds.is_empty() { SECONDS } else { bounds };
        Family { help: name.replace('_', " "), kind, bounds: bounds.to_vec(), series: BTreeMap::new() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Clone)]
enum Cell {
    /// A whole number for a counter, the bits of a float for a gauge.
    Number(Arc<AtomicU64>),
    Buckets(Arc<Buckets>),
}

/// Returns the handle of a counter, which is there from now on.
pub fn counter(name: &str, help: &str, labels: &[Label<'_>]) -> Counter {
    match series(name, Kind::Counter, Some(help), &[], labels) {
        Some(Cell::Number(number)) => Counter::from_arc(number),
        _ => Counter::noop(),
    }
}

/// Returns the handle of a gauge, which is there from now on.
pub fn gauge(name: &str, help: &str, labels: &[Label<'_>]) -> Gauge {
    match series(name, Kind::Gauge, Some(help), &[], labels) {
        Some(Cell::Number(number)) => Gauge::from_arc(number),
        _ => Gauge::noop(),
    }
}

/// Returns the handle of a histogram with these upper bounds, which is there from now on.
pub fn histogram(name: &str, help: &str, bounds: &[f64], labels: &[Label<'_>]) -> Histogram {
    match series(name, Kind::Histogram, Some(help), bounds, labels) {
        Some(Cell::Buckets(buckets)) => Histogram::from_arc(buckets),
        _ => Histogram::noop(),
    }
}

/// Returns the handle of a histogram whose owner counts into its buckets itself, as media threads do.
#[must_use]
pub fn tally(name: &str, help: &str, bounds: &[f64]) -> Tally {
    match series(name, Kind::Histogram, Some(help), bounds, &[]) {
        Some(Cell::Buckets(buckets)) => Tally::of(buckets),
        _ => Tally::of(Arc::new(Buckets::new(bounds))),
    }
}

/// Returns the series of a name with these labels; `None`: the name is of another kind, or has too many.
fn series(name: &str, kind: Kind, help: Option<&str>, bounds: &[f64], labels: &[Label<'_>]) -> Option<Cell> {
    let mut all = METRICS.write().unwrap_or_else(PoisonError::into_inner);
    let family = all.entry(name.to_owned()).or_insert_with(|| Family::new(name, kind, bounds));
    let labels = text::labels(labels);
    let full = family.series.len() >= MAX_SERIES && !family.series.contains_key(&labels);
    if family.kind != kind || full {
        tracing::warn!(name, full, "a metric has too many series, or two kinds: one is not told");
        return None;
    }
    if let Some(help) = help {
        help.clone_into(&mut family.help);
    }
    let bounds = &family.bounds;
    let cell = family.series.entry(labels).or_insert_with(|| match kind {
        Kind::Histogram => Cell::Buckets(Arc::new(Buckets::new(bounds))),
        Kind::Counter | Kind::Gauge => Cell::Number(Arc::new(AtomicU64::new(0))),
    });
    Some(cell.clone())
}

/// Takes what is counted by the macros of the `metrics` crate, too. Once a process; again is fine.
pub fn collect() {
    let _ = metrics::set_global_recorder(Macros);
}

/// Returns all metrics of the process as they stand.
#[must_use]
pub fn render() -> String {
    let mut text = String::new();
    let all = METRICS.read().unwrap_or_else(PoisonError::into_inner);
    for (name, family) in all.iter() {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        text::head(&mut text, name, &family.help, kind);
        for (labels, cell) in &family.series {
            match cell {
                Cell::Number(number) if family.kind == Kind::Counter => {
                    text::sample(&mut text, name, labels, number.load(Ordering::Acquire));
                }
                Cell::Number(number) => {
                    text::sample(&mut text, name, labels, f64::from_bits(number.load(Ordering::Acquire)));
                }
                Cell::Buckets(buckets) => buckets.write(&mut text, name, labels),
            }
        }
    }
    drop(all);
    process::write(&mut text);
    text
}

/// Returns a metric whose values are looked up now: 1 for each part that is so, 0 for others.
pub(crate) fn flags<'a>(name: &str, help: &str, parts: impl Iterator<Item = (&'a str, bool)>) -> String {
    let mut text = String::new();
    text::head(&mut text, name, help, "gauge");
    for (part, is_so) in parts {
        text::sample(&mut text, name, &text::labels(&[("part", part)]), u8::from(is_so));
    }
    text
}

/// Recorder of the `metrics` crate's macros.
struct Macros;

/// Takes the name and labels of a key.
fn with_labels<T>(key: &Key, take: impl FnOnce(&str, &[Label<'_>]) -> T) -> T {
    let labels: Vec<Label<'_>> = key.labels().map(|label| (label.key(), label.value())).collect();
    take(key.name(), &labels)
}

fn describe(name: &KeyName, kind: Kind, help: &SharedString) {
    let mut all = METRICS.write().unwrap_or_else(PoisonError::into_inner);
    let family = all.entry(name.as_str().to_owned()).or_insert_with(|| Family::new(name.as_str(), kind, &[]));
    family.help = help.to_string();
}

impl Recorder for Macros {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        describe(&name, Kind::Counter, &help);
    }
    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        describe(&name, Kind::Gauge, &help);
    }
    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        describe(&name, Kind::Histogram, &help);
    }
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let cell = with_labels(key, |name, labels| series(name, Kind::Counter, None, &[], labels));
        if let Some(Cell::Number(number)) = cell { Counter::from_arc(number) } else { Counter::noop() }
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let cell = with_labels(key, |name, labels| series(name, Kind::Gauge, None, &[], labels));
        if let Some(Cell::Number(number)) = cell { Gauge::from_arc(number) } else { Gauge::noop() }
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let cell = with_labels(key, |name, labels| series(name, Kind::Histogram, None, &[], labels));
        if let Some(Cell::Buckets(buckets)) = cell { Histogram::from_arc(buckets) } else { Histogram::noop() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(of: &str) -> Vec<String> {
        render().lines().filter(|line| line.contains(of)).map(str::to_owned).collect()
    }

    #[test]
    fn a19_a_counter_is_there_at_zero_with_its_description() {
        let calls = counter("t_calls_total", "Calls \\ taken\nby all", &[("trunk", "a\"b")]);
        assert_eq!(
            lines("t_calls"),
            [
                "# HELP t_calls_total Calls \\\\ taken\\nby all",
                "# TYPE t_calls_total counter",
                "t_calls_total{trunk=\"a\\\"b\"} 0",
            ]
        );
        calls.increment(3);
        // The same name and labels are the same series.
        counter("t_calls_total", "Calls", &[("trunk", "a\"b")]).increment(1);
        assert_eq!(lines("t_calls_total{"), ["t_calls_total{trunk=\"a\\\"b\"} 4"]);
    }

    #[test]
    fn a19_histograms_are_true_ones() {
        let waits = histogram("t_wait_seconds", "Waits", &[0.5, 1.0], &[("trunk", "a")]);
        assert!(lines("t_wait").contains(&"t_wait_seconds_bucket{trunk=\"a\",le=\"+Inf\"} 0".to_owned()));
        for seconds in [0.25, 0.5, 0.75, 5.0] {
            waits.record(seconds);
        }
        assert_eq!(
            lines("t_wait"),
            [
                "# HELP t_wait_seconds Waits",
                "# TYPE t_wait_seconds histogram",
                "t_wait_seconds_bucket{trunk=\"a\",le=\"0.5\"} 2",
                "t_wait_seconds_bucket{trunk=\"a\",le=\"1\"} 3",
                "t_wait_seconds_bucket{trunk=\"a\",le=\"+Inf\"} 4",
                "t_wait_seconds_sum{trunk=\"a\"} 6.5",
                "t_wait_seconds_count{trunk=\"a\"} 4",
            ]
        );
        let tally = tally("t_loss_ratio", "Loss", &[0.1]);
        tally.set(&[7, 2], 0.9);
        assert_eq!(
            lines("t_loss")[2..],
            [
                "t_loss_ratio_bucket{le=\"0.1\"} 7",
                "t_loss_ratio_bucket{le=\"+Inf\"} 9",
                "t_loss_ratio_sum 0.9",
                "t_loss_ratio_count 9",
            ]
        );
    }

    #[test]
    fn what_the_macros_count_is_told_too() {
        collect();
        metrics::counter!("t_macro_total", "why" => "x").increment(2);
        metrics::gauge!("t_macro_level").set(1.5);
        assert_eq!(
            lines("t_macro_total"),
            [
                "# HELP t_macro_total t macro total",
                "# TYPE t_macro_total counter",
                "t_macro_total{why=\"x\"} 2",
            ]
        );
        assert_eq!(lines("t_macro_level")[2], "t_macro_level 1.5");
        // A name has one kind.
        gauge("t_macro_total", "no gauge", &[]).set(9.0);
        assert_eq!(lines("t_macro_total")[2], "t_macro_total{why=\"x\"} 2");
        assert_eq!(lines("t_macro_total").len(), 3);
    }

    #[test]
    fn a19_labels_do_not_fill_the_memory() {
        let long = "x".repeat(100_000);
        counter("t_long_total", "Long", &[("name", &long)]).increment(1);
        assert!(lines("t_long_total{")[0].len() < 200);
        for n in 0..MAX_SERIES + 10 {
            counter("t_many_total", "Many", &[("n", &n.to_string())]).increment(1);
        }
        assert_eq!(lines("t_many_total{").len(), MAX_SERIES);
    }

    #[test]
    fn a19_the_process_tells_its_load() {
        let text = render();
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap();
            line.parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e6 && value("process_virtual_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 3.0 && value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_cpu_seconds_total") >= 0.0);
        let age = crate::clock::now_ms() as f64 / 1e3 - value("process_start_time_seconds");
        assert!((-2.0..3_600.0).contains(&age), "{age}");
    }
}
