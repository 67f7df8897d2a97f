//! Steps that run cargo, with the time that each took.

use crate::{deny, requirements};
use anyhow::{Context, Result, ensure};
use std::process::Command;
use std::time::SystemTime;

/// Packages whose tests start no program, open no socket and wait for no clock.
const PURE: &[&str] = &["signal", "address", "media", "sip", "xmpp", "session", "relay", "sound"];
/// Workspace-wide tests of that kind.
const PURE_TESTS: &[&str] = &["call", "crossing", "flows", "sim"];

/// Formatting, citations, dependencies and lints.
pub fn check() -> Result<()> {
    requirements::check()?;
    deny::check()?;
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
    tests("tests", &["--workspace", "--no-fail-fast"])
}

/// Tests of what is pure; under two minutes once they are built.
pub fn test_fast() -> Result<()> {
    let packages: Vec<String> = PURE.iter().map(|name| format!("tandem-{name}")).collect();
    let packages: Vec<&str> = packages.iter().flat_map(|name| ["--package", name]).collect();
    tests("pure crates", &packages)?;
    let flows: Vec<&str> = PURE_TESTS.iter().flat_map(|name| ["--test", name]).collect();
    tests("flows and walk", &[&["--package", "tandem-tests"], flows.as_slice()].concat())
}

/// Runs these tests with nextest, or with cargo's own runner where that is missing.
fn tests(name: &str, which: &[&str]) -> Result<()> {
    let runner: &[&str] =
        if succeeds("cargo", &["nextest", "--version"]) { &["nextest", "run"] } else { &["test"] };
    step(name, &[runner, which].concat(), "mend the tests named above")
}

/// The gateway's binary, as a developer's build.
pub fn build_gateway() -> Result<()> {
    step("build", &["build", "--package", "tandem", "--bin", "tandem"], "mend what rustc names above")
}

/// Writes anew what is generated from `Config`: docs/tandem.toml and the schema of the chart's values.
pub fn schema() -> Result<()> {
    let arguments = ["test", "--quiet", "--package", "tandem-runtime", "--test", "reference"];
    let mut cargo = Command::new("cargo");
    run("schema", cargo.args(arguments).env("BLESS", "1"), "mend `Config` as the test above says")
}

fn step(name: &str, arguments: &[&str], remedy: &str) -> Result<()> {
    run(name, Command::new("cargo").args(arguments), remedy)
}

fn run(name: &str, cargo: &mut Command, remedy: &str) -> Result<()> {
    let arguments: Vec<_> = cargo.get_args().map(|word| word.to_string_lossy()).collect();
    eprintln!("==> {name}: cargo {}", arguments.join(" "));
    let began = now();
    let status = cargo.status().context("cannot start cargo: is Rust installed?")?;
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
