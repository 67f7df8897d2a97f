//! The figures, for people and for programs.

use super::process::load;
use anyhow::Result;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write;

/// One run.
pub struct Figures {
    mode: String,
    direction: &'static str,
    /// CPU ms a call of each service of the gateway.
    gateway: BTreeMap<String, f64>,
    /// The same of what stands around it.
    around: BTreeMap<String, f64>,
    times: Vec<u64>,
    /// From the first call's beginning to the last one's end, ms.
    took: u64,
}

impl Figures {
    /// Takes what was measured.
    pub fn new(
        mode: &str,
        direction: &'static str,
        gateway: BTreeMap<String, f64>,
        around: BTreeMap<String, f64>,
        mut times: Vec<u64>,
        took: u64,
    ) -> Figures {
        times.sort_unstable();
        Figures { mode: mode.to_owned(), direction, gateway, around, times, took }
    }

    fn cpu(&self) -> f64 {
        self.gateway.values().sum()
    }
}

/// The least of sorted times that this share of them does not exceed.
pub fn percentile(sorted: &[u64], share: f64) -> u64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// Everything measured.
pub struct Report {
    rounds: u32,
    calls: u32,
    rate: u32,
    hold_ms: u64,
    held: u32,
    load: (String, String),
    /// CPU ms a call, and times to set up; the least round.
    kamailio: Option<(f64, Vec<u64>)>,
    /// Mode, MiB of the gateway without calls, KiB more for each held call by process.
    pub memory: Vec<(String, f64, BTreeMap<String, f64>)>,
    /// Mode, CPU ms a second without calls.
    pub idle: Vec<(String, f64)>,
    /// The least round of each run.
    figures: Vec<Figures>,
}

impl Report {
    /// Nothing measured yet.
    pub fn new(rounds: u32, calls: u32, rate: u32, hold_ms: u64, held: u32) -> Report {
        Report {
            rounds,
            calls,
            rate,
            hold_ms,
            held,
            load: (load(), String::new()),
            kamailio: None,
            memory: vec![],
            idle: vec![],
            figures: vec![],
        }
    }

    /// Takes a round of the reference.
    pub fn reference(&mut self, cpu: f64, mut times: Vec<u64>) {
        times.sort_unstable();
        if self.kamailio.as_ref().is_none_or(|(least, _)| cpu < *least) {
            self.kamailio = Some((cpu, times));
        }
    }

    /// Takes a round of a run.
    pub fn run(&mut self, round: Figures) {
        let same = |known: &&mut Figures| known.mode == round.mode && known.direction == round.direction;
        match self.figures.iter_mut().find(same) {
            Some(least) if least.cpu() <= round.cpu() => {}
            Some(least) => *least = round,
            None => self.figures.push(round),
        }
    }

    /// Returns true if the memory of this mode was measured in an earlier round.
    pub fn has_memory(&self, mode: &str) -> bool {
        self.memory.iter().any(|(known, ..)| known == mode)
    }

    /// Notes how busy the machine was in the end.
    pub fn end(&mut self) {
        self.load.1 = load();
    }

    /// CPU ms a call of the reference, never 0, and its times to set up.
    fn kamailio(&self) -> (f64, &[u64]) {
        self.kamailio.as_ref().map_or((1e-9, &[]), |(cpu, times)| (cpu.max(1e-9), times))
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
            "{} rounds of {} calls of {} ms, {} a second, no sound; the least of the rounds; no call failed. Load of the machine {} before, {} after.\n",
            self.rounds, self.calls, self.hold_ms, self.rate, self.load.0, self.load.1
        )?;
        writeln!(
            out,
            "{:<39}{:>13}{:>16}{:>18}{:>14}",
            "", "CPU ms/call", "calls/core·s", "set-up p50/p99", "to Kamailio"
        )?;
        let (cpu, times) = self.kamailio();
        let line = |out: &mut String, name: &str, cpu: f64, times: &[u64], ratio: f64| {
            writeln!(
                out,
                "{name:<39}{cpu:>13.2}{:>16.0}{:>18}{ratio:>13.1}x",
                1000.0 / cpu.max(1e-9),
                format!("{} / {} ms", percentile(times, 0.5), percentile(times, 0.99)),
            )
        };
        line(out, "Kamailio, stateful proxy", cpu, times, 1.0)?;
        for run in &self.figures {
            let name = format!("{}, {}", run.mode, run.direction);
            line(out, &name, run.cpu(), &run.times, run.cpu() / cpu)?;
        }
        writeln!(out, "\nCPU ms a call by process; what stands around the gateway is not in its sum:")?;
        for run in &self.figures {
            let parts = |parts: &BTreeMap<String, f64>| {
                parts.iter().map(|(name, ms)| format!("{name} {ms:.2}")).collect::<Vec<_>>().join("  ")
            };
            writeln!(
                out,
                "  {}, {}: {}  |  {}",
                run.mode,
                run.direction,
                parts(&run.gateway),
                parts(&run.around)
            )?;
        }
        writeln!(out)?;
        for (mode, base, grown) in &self.memory {
            writeln!(
                out,
                "{mode}: {base:.1} MiB without calls, {:.1} KiB more for each of {} held calls: {}",
                grown.values().sum::<f64>(),
                self.held,
                grown.iter().map(|(name, kib)| format!("{name} {kib:.1}")).collect::<Vec<_>>().join("  ")
            )?;
        }
        for (mode, idle) in &self.idle {
            writeln!(out, "{mode}: {idle:.1} ms of CPU a second without calls (part of the figures above)")?;
        }
        Ok(())
    }

    /// For programs.
    ///
    /// # Errors
    /// None that can happen.
    pub fn json(&self) -> Result<String> {
        let set_up = |times: &[u64]| json!({ "p50": percentile(times, 0.5), "p99": percentile(times, 0.99), "n": times.len() });
        let (kamailio, kamailio_times) = self.kamailio();
        let runs: Vec<_> = self
            .figures
            .iter()
            .map(|run| {
                json!({
                    "mode": run.mode,
                    "direction": run.direction,
                    "cpu_ms_per_call": run.cpu(),
                    "cpu_ms_per_call_by_service": run.gateway,
                    "cpu_ms_per_call_around": run.around,
                    "set_up_ms": set_up(&run.times),
                    "took_ms": run.took,
                    "to_kamailio": run.cpu() / kamailio,
                })
            })
            .collect();
        let report = json!({
            "rounds": self.rounds,
            "calls": self.calls,
            "calls_per_second": self.rate,
            "hold_ms": self.hold_ms,
            "load_before": self.load.0,
            "load_after": self.load.1,
            "kamailio": { "cpu_ms_per_call": kamailio, "set_up_ms": set_up(kamailio_times) },
            "runs": runs,
            "memory": self.memory.iter().map(|(mode, base, grown)| json!({
                "mode": mode, "mib_without_calls": base, "kib_per_held_call": grown.values().sum::<f64>(),
                "kib_per_held_call_by_service": grown, "held": self.held,
            })).collect::<Vec<_>>(),
            "idle_cpu_ms_per_second": self.idle.iter().map(|(mode, idle)| json!({ "mode": mode, "ms": idle })).collect::<Vec<_>>(),
        });
        Ok(serde_json::to_string_pretty(&report)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let times: Vec<u64> = (1..=200).collect();
        assert_eq!((percentile(&times, 0.5), percentile(&times, 0.99)), (100, 198));
        assert_eq!((percentile(&[7], 0.99), percentile(&[], 0.5)), (7, 0));
    }

    #[test]
    fn both_forms_tell_the_ratio() {
        let mut report = Report::new(2, 100, 10, 1_000, 50);
        report.reference(0.6, vec![3]);
        report.reference(0.5, vec![1, 2]);
        report.reference(0.7, vec![4]);
        for (ms, time) in [(2.5, 8), (2.0, 9), (3.0, 7)] {
            let gateway = BTreeMap::from([("tandem".to_owned(), ms)]);
            let times = vec![time, 5];
            report.run(Figures::new("one process", "SIP to Jingle", gateway, BTreeMap::new(), times, 1));
        }
        assert!(report.text().contains("4.0x") && report.text().contains("5 / 9 ms"), "{}", report.text());
        let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert_eq!(json["runs"][0]["to_kamailio"], 4.0);
    }
}
