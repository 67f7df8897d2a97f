//! Steps that run cargo, with the time that each took.

use crate::{deny, requirements};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::process::Command;
use std::time::SystemTime;

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
    tests("tests", &["--workspace".into(), "--no-fail-fast".into()])
}

/// Tests of what is pure; under two minutes once they are built.
pub fn test_fast() -> Result<()> {
    let out = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .context("cannot start cargo: is Rust installed?")?;
    let metadata: Value = serde_json::from_slice(&out.stdout).context("cargo metadata gives no JSON")?;
    let named = |list: &str, flag: &str, prefix: &str| -> Vec<String> {
        let names = metadata["metadata"]["tandem"][list].as_array().into_iter().flatten();
        names.filter_map(Value::as_str).flat_map(|name| [flag.into(), format!("{prefix}{name}")]).collect()
    };
    tests("pure crates", &named("pure", "--package", "tandem-"))?;
    let flows = named("pure-tests", "--test", "");
    tests("flows and walk", &[vec!["--package".into(), "tandem-tests".into()], flows].concat())
}

/// Runs these tests with nextest, or with cargo's own runner where that is missing.
fn tests(name: &str, which: &[String]) -> Result<()> {
    let runner: &[&str] =
        if succeeds("cargo", &["nextest", "--version"]) { &["nextest", "run"] } else { &["test"] };
    run(name, Command::new("cargo").args(runner).args(which), "mend the tests named above")
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

/// Runs cargo, and says what was run and how long it took.
///
/// # Errors
/// Cargo fails; the error tells the remedy.
pub fn run(name: &str, cargo: &mut Command, remedy: &str) -> Result<()> {
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
