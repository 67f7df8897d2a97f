//! `cargo xtask bench`: what the gateway costs, measured beside a program that everybody knows.
//!
//! One rule: figures are printed and kept nowhere; a run in which a call failed gives none. How they are taken:
//! docs/benchmarks.md. Start at [`calls`] and [`relay`].

mod calls;
mod process;
mod relay;
mod report;
mod responder;
mod sipp;
mod stanza;
mod system;

use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::process::Command;

/// Measurements.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Bench {
    /// Cost of a call: CPU time of each service, time to set up, memory of a held call
    Calls(calls::Calls),
    /// Cost of the relay: CPU a packet, delay, memory a call, set-up, handshakes; beside rtpengine
    Relay(relay::Relay),
}

impl Bench {
    /// Measures and prints.
    ///
    /// # Errors
    /// One line: what is missing or went wrong.
    pub fn run(&self) -> Result<()> {
        match self {
            Bench::Calls(calls) => calls.run(),
            Bench::Relay(relay) => relay.run(),
        }
    }
}

/// Builds the gateway for release and gives the directory of its binaries.
fn build() -> Result<PathBuf> {
    build_of(&["tandem", "tandem-sip-edge", "tandem-xmpp-edge", "tandem-orchestrator", "tandem-rtp-relay"])
}

/// Builds these packages for release and gives the directory of their binaries.
fn build_of(packages: &[&str]) -> Result<PathBuf> {
    eprintln!("==> bench: release build");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--quiet"]);
    packages.iter().for_each(|package| {
        cargo.args(["--package", package]);
    });
    let status = cargo.current_dir(testkit::root()).status().context("cannot start cargo")?;
    ensure!(status.success(), "the release build failed: mend what rustc names above");
    // This program lies in <target>/debug.
    let here = std::env::current_exe()?;
    let target = here.ancestors().nth(2).context("this program lies in no build directory")?;
    Ok(target.join("release"))
}
