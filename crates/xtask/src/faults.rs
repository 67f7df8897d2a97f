//! `cargo xtask faults`: the tests that are named after faults, and a report of them by fault.
//!
//! One rule: the report says what ran; a fault without a test stands in it as one.

use crate::requirements::faults::{PAGE, id, of_name};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use testkit::{Program, root};

/// Names that begin with the id of a fault, for nextest.
const NAMED: &str = "test(/(^|::)[a-g][0-9]{1,2}b?_/)";

/// Every test that is named after a fault, those that need minutes too
#[derive(clap::Args, Clone, Debug)]
pub struct Faults {
    /// File for the report
    #[arg(long, default_value = "target/faults.md")]
    report: PathBuf,
    /// Minutes after which the run has failed
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=240))]
    minutes: u64,
}

/// Outcome of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    /// `PASS`, `FAIL`, `TIMEOUT`, …
    word: String,
    /// Seconds, as nextest writes them.
    seconds: String,
    /// Binary and test.
    name: String,
}

impl Faults {
    /// Runs them, and writes the report.
    ///
    /// # Errors
    /// A test fails, nextest is missing, or it takes too long.
    pub fn run(&self) -> Result<()> {
        let page = std::fs::read_to_string(root().join(PAGE)).with_context(|| PAGE)?;
        let mut cargo = Command::new("cargo");
        cargo.current_dir(root()).args([
            "nextest",
            "run",
            "--workspace",
            "--no-fail-fast",
            "--run-ignored",
            "all",
        ]);
        cargo.args([
            "--status-level",
            "all",
            "--final-status-level",
            "none",
            "--color",
            "never",
            "-E",
            NAMED,
        ]);
        eprintln!("==> faults: cargo nextest run --workspace -E '{NAMED}'");
        let mut program = Program::start("nextest", cargo)?;
        let status = program.finish(Duration::from_secs(self.minutes * 60))?;
        let outcomes: Vec<Outcome> =
            program.log().since(0).iter().filter_map(|line| outcome(&line.text)).collect();
        if outcomes.is_empty() {
            bail!(program.failure("ran no test"));
        }
        let file = root().join(&self.report);
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        std::fs::write(&file, report(&page, &outcomes)).with_context(|| file.display().to_string())?;
        eprintln!("==> faults: {} tests; the report is {}", outcomes.len(), file.display());
        ensure!(status.success(), "a test of a fault failed; see {}", file.display());
        Ok(())
    }
}

/// Reads a line such as `PASS [   0.012s] ( 1/20) tandem-sip::spelling c1_a_name`.
fn outcome(line: &str) -> Option<Outcome> {
    let (word, rest) = line.trim_start().split_once(" [")?;
    let known = word.trim().bytes().all(|octet| octet.is_ascii_uppercase() || b" -".contains(&octet));
    let (seconds, rest) = rest.split_once(']').filter(|_| known)?;
    let rest = match rest.trim_start().strip_prefix('(') {
        Some(rest) => rest.split_once(')')?.1,
        None => rest,
    };
    let seconds = seconds.trim().strip_suffix('s')?.trim_start_matches('>').to_owned();
    // A slow test is told again when it has ended.
    (word.trim() != "SLOW").then(|| Outcome {
        word: word.trim().to_owned(),
        seconds,
        name: rest.trim().to_owned(),
    })
}

/// Writes the page of faults with the outcomes of their tests.
fn report(page: &str, outcomes: &[Outcome]) -> String {
    let mut by_fault: BTreeMap<String, Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes {
        let test = outcome.name.rsplit([' ', ':']).next().unwrap_or(&outcome.name);
        by_fault.entry(of_name(test).unwrap_or_default()).or_default().push(outcome);
    }
    let mut out = String::from("# Faults: what their tests showed\n");
    for line in page.lines() {
        if line.starts_with("## ") {
            let _ = writeln!(out, "\n{line}\n");
        }
        let Some(id) = id(line) else { continue };
        let _ = writeln!(out, "{}", line.trim_end_matches(" *No test.*"));
        match by_fault.get(id) {
            Some(outcomes) => {
                for Outcome { word, seconds, name } in outcomes {
                    let _ = writeln!(out, "  - {word} `{name}` ({seconds} s)");
                }
            }
            None => out.push_str("  - no test\n"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_runner_become_outcomes_by_fault() {
        let lines = [
            "        PASS [   0.012s] ( 1/20) tandem-sip::spelling c1_a_name",
            "        SLOW [> 60.000s] (─────) tandem-sip::spelling c1_b",
            "        FAIL [   1.500s] tandem-relay session::tests::g3_a_peer",
            "     Summary [   2.1s] 2 tests run",
            "    Starting 2 tests across 4 binaries",
        ];
        let outcomes: Vec<Outcome> = lines.into_iter().filter_map(outcome).collect();
        assert_eq!(outcomes.len(), 2, "{outcomes:?}");
        let page = "# x\n\n## C. Messages\n\n- **C1** Names. *No test.*\n- **C2** Others.\n\n## G. Peers\n\n- **G3** Sound.\n  - `a.rs` g3_a_peer\n";
        let report = report(page, &outcomes);
        assert!(report.contains("- **C1** Names.\n  - PASS `tandem-sip::spelling c1_a_name` (0.012 s)\n- **C2** Others.\n  - no test\n"), "{report}");
        assert!(
            report.contains("- **G3** Sound.\n  - FAIL `tandem-relay session::tests::g3_a_peer` (1.500 s)"),
            "{report}"
        );
    }
}
