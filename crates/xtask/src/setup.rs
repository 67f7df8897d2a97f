//! Installing what the build and the tests need from Debian, and only that.

use crate::steps::succeeds;
use anyhow::{Context, Result, bail, ensure};
use std::process::Command;

/// Debian package, a command that tells whether it is there, and why it is wanted.
const WANTED: &[(&str, &[&str], &str)] = &[
    ("gcc", &["cc", "--version"], "to link"),
    ("pkg-config", &["pkg-config", "--version"], "to find OpenSSL"),
    ("libssl-dev", &["pkg-config", "--exists", "openssl"], "DTLS in the relay"),
    ("cmake", &["cmake", "--version"], "to build the cryptographic library"),
    ("redis-server", &["redis-server", "--version"], "the store's contract tests run on a real Redis"),
    ("nats-server", &["nats-server", "--version"], "the bus's contract tests run on a real NATS"),
];

/// Installs what is missing.
///
/// # Errors
/// One line: what is missing, why it could not be installed, and what to do.
pub fn setup() -> Result<()> {
    let missing: Vec<_> = WANTED.iter().filter(|(_, probe, _)| !present(probe)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for (package, _, why) in &missing {
        eprintln!("==> setup: {package} is missing ({why})");
    }
    let names: Vec<&str> = missing.iter().map(|(package, _, _)| *package).collect();
    let remedy = format!("install by hand: apt-get install {}", names.join(" "));
    ensure!(succeeds("apt-get", &["--version"]), "no apt-get on this machine; {remedy}");
    let root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.trim_ascii() == b"0");
    let prefix: &[&str] = if root {
        &[]
    } else if succeeds("sudo", &["-n", "true"]) {
        &["sudo", "-n"]
    } else {
        bail!("no right to install packages; {remedy}");
    };
    apt(prefix, &["update", "-qq"]).with_context(|| format!("cannot fetch the package lists; {remedy}"))?;
    let install: Vec<&str> =
        ["install", "-y", "-qq", "--no-install-recommends"].into_iter().chain(names).collect();
    apt(prefix, &install).with_context(|| format!("installing failed; {remedy}"))
}

fn present(probe: &[&str]) -> bool {
    let Some((program, arguments)) = probe.split_first() else { return true };
    // Debian puts servers into sbin, which is not on everybody's path.
    succeeds(program, arguments) || succeeds(&format!("/usr/sbin/{program}"), arguments)
}

fn apt(prefix: &[&str], arguments: &[&str]) -> Result<()> {
    let words: Vec<&str> = prefix
        .iter()
        .copied()
        .chain(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"])
        .chain(arguments.iter().copied())
        .collect();
    let Some((program, rest)) = words.split_first() else { return Ok(()) };
    let status = Command::new(program).args(rest).stdin(std::process::Stdio::null()).status()?;
    ensure!(status.success(), "apt-get {} ended with {status}", arguments.first().unwrap_or(&""));
    Ok(())
}
