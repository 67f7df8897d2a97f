//! The table: what was measured, what the goal is, and whether it is reached.

use super::least;
use super::programs::Contender;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Names of the lines, which are also what `--only` looks for.
pub const PLAIN: &str = "plain, 500 calls";
pub const PLAIN_MANY: &str = "plain, 1,000 calls";
pub const SDES: &str = "SRTP (SDES) one side, 500 calls";
pub const DTLS: &str = "DTLS-SRTP to RTP, 500 calls";
pub const SET_UP: &str = "set up + tear down";
pub const HANDSHAKES_EC: &str = "DTLS handshakes, EC P-256";
pub const HANDSHAKES_RSA: &str = "DTLS handshakes, RSA 2048";

/// The figures of the runs of one line.
pub type Runs = Vec<Value>;

/// Everything that was measured.
pub struct Table {
    rounds: u32,
    runs: BTreeMap<(&'static str, Contender), Runs>,
    missing: BTreeMap<&'static str, String>,
    /// How long it took, s.
    pub took_s: u64,
}

/// One goal.
struct Goal {
    name: String,
    ours: Option<f64>,
    theirs: Option<f64>,
    /// Value to compare with the goal: a ratio, or the figure itself.
    value: Option<f64>,
    unit: &'static str,
    must: f64,
    aim: f64,
    /// More is better.
    more: bool,
    /// Ours alone has figures.
    absolute: bool,
}

impl Goal {
    fn verdict(&self) -> &'static str {
        let reached = |goal: f64| self.value.is_some_and(|v| if self.more { v >= goal } else { v <= goal });
        match self.value {
            None => "not measured",
            _ if reached(self.aim) => "aim",
            _ if reached(self.must) => "must",
            Some(_) => "MISSED",
        }
    }
}

impl Table {
    pub fn new(rounds: u32) -> Table {
        Table { rounds, runs: BTreeMap::new(), missing: BTreeMap::new(), took_s: 0 }
    }

    pub fn add(&mut self, line: &'static str, who: Contender, figures: Value) {
        self.runs.entry((line, who)).or_default().push(figures);
    }

    /// Ours cannot do it.
    pub fn miss(&mut self, line: &'static str, error: &anyhow::Error) {
        self.missing.insert(line, format!("{error:#}"));
    }

    fn least(&self, line: &'static str, who: Contender, key: &str) -> Option<f64> {
        least(self.runs.get(&(line, who))?, key)
    }

    /// Memory of a call, resident and kernel, KiB.
    fn memory(&self, line: &'static str, who: Contender) -> Option<f64> {
        let runs = self.runs.get(&(line, who))?;
        let sum =
            |run: &Value| Some(run["resident_kib_per_call"].as_f64()? + run["kernel_kib_per_call"].as_f64()?);
        runs.iter().filter_map(sum).reduce(f64::min)
    }

    fn goals(&self) -> Vec<Goal> {
        let cpu = "cpu_us_per_packet";
        let ratio = |line: &'static str, key: &str, must, aim| {
            let (ours, theirs) =
                (self.least(line, Contender::Tandem, key), self.least(line, Contender::Rtpengine, key));
            let value = ours.zip(theirs).map(|(ours, theirs)| ours / theirs);
            let (more, absolute) = (false, false);
            Goal { name: line.into(), ours, theirs, value, unit: "us/packet", must, aim, more, absolute }
        };
        let over = |line: &'static str| {
            let (own, plain) =
                (self.least(line, Contender::Tandem, cpu), self.least(PLAIN, Contender::Tandem, cpu));
            own.zip(plain).map(|(own, plain)| 100.0 * (own / plain - 1.0))
        };
        let own = |name: String, value: Option<f64>, unit, must, aim, more| Goal {
            name,
            ours: value,
            theirs: None,
            value,
            unit,
            must,
            aim,
            more,
            absolute: true,
        };
        let shakes = |line: &'static str| {
            let least = self.least(line, Contender::Tandem, "cpu_us").map(|us| 1e6 / us);
            own(line.into(), least, "a core-second", 2_500.0, 6_000.0, true)
        };
        let set_up = |who| self.least(SET_UP, who, "cpu_us").map(|us| 1e6 / us);
        let (ours, theirs) = (set_up(Contender::Tandem), set_up(Contender::Rtpengine));
        vec![
            ratio(PLAIN, cpu, 0.65, 0.50),
            ratio(PLAIN_MANY, cpu, 0.70, 0.55),
            own(
                format!("{PLAIN_MANY}: p99"),
                self.least(PLAIN_MANY, Contender::Tandem, "p99_us").map(|us| us / 1_000.0),
                "ms",
                2.0,
                2.0,
                false,
            ),
            ratio(SDES, cpu, 0.62, 0.50),
            Goal {
                theirs: self.least(SDES, Contender::Rtpengine, cpu),
                value: self
                    .least(DTLS, Contender::Tandem, cpu)
                    .zip(self.least(SDES, Contender::Rtpengine, cpu))
                    .map(|(o, t)| o / t),
                ..ratio(DTLS, cpu, 0.62, 0.50)
            },
            own("SRTP (SDES) over our own plain".into(), over(SDES), "%", 12.0, 6.0, false),
            own("DTLS-SRTP over our own plain".into(), over(DTLS), "%", 12.0, 6.0, false),
            Goal {
                theirs: self.memory(PLAIN, Contender::Rtpengine),
                ..own(
                    "memory a call, plain".into(),
                    self.memory(PLAIN, Contender::Tandem),
                    "KiB",
                    18.0,
                    8.0,
                    false,
                )
            },
            own(
                "memory a call, DTLS-SRTP".into(),
                self.memory(DTLS, Contender::Tandem),
                "KiB",
                24.0,
                18.0,
                false,
            ),
            Goal {
                name: SET_UP.into(),
                ours,
                theirs,
                value: ours.zip(theirs).map(|(ours, theirs)| ours / theirs),
                unit: "a core-second",
                must: 1.0,
                aim: 2.0,
                more: true,
                absolute: false,
            },
            shakes(HANDSHAKES_EC),
            shakes(HANDSHAKES_RSA),
        ]
    }

    /// Packets lost in the relay, out of order, wrong or forged, by line: none may be; all runs of ours together.
    fn faults(&self) -> Vec<(&'static str, Contender, [u64; 4])> {
        let sum = |runs: &Runs, key: &str| runs.iter().filter_map(|run| run[key].as_u64()).sum();
        let keys = ["lost", "reordered", "wrong", "forged"];
        self.runs
            .iter()
            .filter(|(_, runs)| runs.iter().any(|run| run["received"].is_u64()))
            .map(|((line, who), runs)| (*line, *who, keys.map(|key| sum(runs, key))))
            .collect()
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "The least of {} round(s), taken in turns, in {} s. Load of the machine now: {}.\n",
            self.rounds,
            self.took_s,
            super::super::process::load()
        )?;
        writeln!(
            out,
            "{:<36}{:>11}{:>11}  {:<14}{:>9}{:>9}{:>9}  verdict",
            "", "tandem", "rtpengine", "", "compared", "must", "aim"
        )?;
        let number = |value: Option<f64>| match value {
            None => "–".to_owned(),
            Some(v) if v >= 1_000.0 => format!("{v:.0}"),
            Some(v) => format!("{v:.2}"),
        };
        for goal in self.goals() {
            let sign = if goal.more { "≥" } else { "≤" };
            let compared =
                if goal.absolute { number(goal.value) } else { format!("{}x", number(goal.value)) };
            writeln!(
                out,
                "{:<36}{:>11}{:>11}  {:<14}{:>9}{:>9}{:>9}  {}",
                goal.name,
                number(goal.ours),
                number(goal.theirs),
                goal.unit,
                compared,
                format!("{sign}{}", goal.must),
                format!("{sign}{}", goal.aim),
                goal.verdict()
            )?;
        }
        writeln!(
            out,
            "\nDelay p50 / p99 us of the best round; packets lost, reordered, wrong, forged in all rounds:"
        )?;
        for (line, who, faults) in self.faults() {
            let delay = |key| self.least(line, who, key).unwrap_or(0.0);
            let faults = faults.map(|n| n.to_string()).join(" ");
            writeln!(
                out,
                "  {line:<34} {:<10} {:>6.0} / {:>6.0}   {faults}",
                who.name(),
                delay("p50_us"),
                delay("p99_us")
            )?;
        }
        for (line, why) in &self.missing {
            let why = why.lines().next().unwrap_or_default();
            writeln!(out, "\n{line}: not measured with ours: {why}")?;
        }
        Ok(())
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let goals: Vec<Value> = self
            .goals()
            .iter()
            .map(|goal| {
                json!({
                    "name": goal.name, "tandem": goal.ours, "rtpengine": goal.theirs, "unit": goal.unit,
                    "compared": goal.value, "must": goal.must, "aim": goal.aim, "verdict": goal.verdict(),
                })
            })
            .collect();
        let runs: Vec<Value> = self
            .runs
            .iter()
            .map(|((line, who), runs)| json!({ "line": line, "relay": who.name(), "runs": runs }))
            .collect();
        json!({ "rounds": self.rounds, "took_s": self.took_s, "goals": goals, "runs": runs, "missing": self.missing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(us: f64, p99: u64) -> Value {
        json!({ "cpu_us_per_packet": us, "p99_us": p99, "received": 5, "lost": 1, "resident_kib_per_call": 2.0, "kernel_kib_per_call": 5.0 })
    }

    #[test]
    fn the_least_of_each_is_compared_and_judged() {
        let mut table = Table::new(2);
        for us in [9.0, 6.0] {
            table.add(PLAIN, Contender::Tandem, run(us, 100));
            table.add(PLAIN, Contender::Rtpengine, run(us * 1.8, 100));
        }
        table.add(DTLS, Contender::Tandem, run(7.2, 100));
        let goals = table.json()["goals"].clone();
        let goal = |name: &str| goals.as_array().unwrap().iter().find(|g| g["name"] == name).unwrap().clone();
        assert_eq!(goal(PLAIN)["tandem"], 6.0);
        assert_eq!(goal(PLAIN)["verdict"], "must");
        assert_eq!(goal("DTLS-SRTP over our own plain")["verdict"], "MISSED");
        assert_eq!(goal("memory a call, plain")["tandem"], 7.0);
        assert_eq!(goal("memory a call, plain")["verdict"], "aim");
        assert_eq!(goal(SDES)["verdict"], "not measured");
        let text = table.text();
        assert!(text.contains("0.56x") && text.contains("2 0 0 0"), "{text}");
    }
}
