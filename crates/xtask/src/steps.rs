//! Steps that run cargo, with the time that each took.

use crate::requirements;
use anyhow::{Context, Result, ensure};
use std::process::Command;
use std::time::SystemTime;

/// Formatting, citations and lints.
pub fn check() -> Result<()> {
    requirements::check()?;
    step("formatting", &["fmt", "--all", "--check"], "run `cargo fmt --all`")?;
    step(
        "lints",
        &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
        "mend what clippy names above",
    )
}

/// Every test; the runner's own closing line is the last that is printed.
pub fn test() -> Result<()> {
    // The binaries too: tests start them.
    step("build", &["build", "--workspace", "--bins", "--tests"], "mend what rustc names above")?;
    if succeeds("cargo", &["nextest", "--version"]) {
        step("tests", &["nextest", "run", "--workspace", "--no-fail-fast"], "mend the tests named above")
    } else {
        step("tests", &["test", "--workspace", "--no-fail-fast"], "mend the tests named above")
    }
}

/// The gateway's binary, as a developer's build.
pub fn build_gateway() -> Result<()> {
    step("build", &["build", "--package", "tandem", "--bin", "tandem"], "mend what rustc names above")
}

fn step(name: &str, arguments: &[&str], remedy: &str) -> Result<()> {
    eprintln!("==> {name}: cargo {}", arguments.join(" "));
    let began = now();
    let status =
        Command::new("cargo").args(arguments).status().context("cannot start cargo: is Rust installed?")?;
    ensure!(status.success(), "{name} failed: {remedy}");
    eprintln!("==> {name}: done in {:.0} s", began.elapsed().map_or(0.0, |d| d.as_secs_f64()));
    Ok(())
}

/// True when the command runs and succeeds; its output is dropped.
pub fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|out| out.status.success())
}

#[allow(clippy::disallowed_methods, reason = "a tool for people may read the clock")]
fn now() -> SystemTime {
    SystemTime::now()
}
