//! Dependencies against deny.toml: licences, sources, bans, and known advisories where their database can be fetched.

use anyhow::{Context, Result, ensure};
use std::ffi::OsString;
use std::process::Command;

/// Seconds after which a database that does not come is given up.
const FETCH: &str = "60";

/// Checks the dependencies. No network is no fault: it is said that advisories were not checked.
///
/// # Errors
/// One line: cargo-deny is missing, or what it found.
pub fn check() -> Result<()> {
    let ours = testkit::root().join(".tools/deny/bin/cargo-deny");
    let program: OsString = if ours.exists() { ours.into() } else { "cargo-deny".into() };
    let deny = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.current_dir(testkit::root()).arg("--locked").args(arguments);
        command.status().context("cannot start cargo-deny: run `cargo xtask setup`")
    };
    eprintln!("==> dependencies: cargo deny check");
    let sound = deny(&["check", "licenses", "bans", "sources"])?.success();
    ensure!(sound, "dependencies: mend what cargo-deny names above, or say in deny.toml why it may stay");
    let fetched = Command::new("timeout").arg(FETCH).arg(&program).args(["fetch", "db"]).output();
    if !fetched.is_ok_and(|fetch| fetch.status.success()) {
        eprintln!(
            "==> dependencies: advisories were NOT checked: their database cannot be fetched from here"
        );
        return Ok(());
    }
    let sound = deny(&["check", "advisories"])?.success();
    ensure!(
        sound,
        "advisories: take the version that cargo-deny names above, or ignore it with a reason in deny.toml"
    );
    Ok(())
}
