//! `cargo xtask bench`: what the gateway costs, measured beside a program that everybody knows.
//!
//! One rule: figures are printed and kept nowhere; a run in which a call failed gives none. How they are taken:
//! docs/benchmarks.md. Start at [`calls`], [`floods`] and [`relay`].

mod calls;
mod floods;
mod process;
mod relay;
mod report;
mod responder;
mod sipp;
mod stanza;
mod system;

use anyhow::{Context, Result};
use std::path::Path;

/// Measurements.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Bench {
    /// Cost of a call: CPU time of each service, time to set up, memory of a held call
    Calls(calls::Calls),
    /// Calls beside floods: how many succeed, times to set up, memory
    Floods(floods::Floods),
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
            Bench::Floods(floods) => floods.run(),
            Bench::Relay(relay) => relay.run(),
        }
    }
}

/// Plays calls and packets of every form at binaries that count what they run, and lets them end by themselves.
///
/// # Errors
/// A call failed, or a program is missing.
pub fn train(binaries: &Path) -> Result<()> {
    calls::train(binaries).context("calls")?;
    relay::train(binaries).context("packets")
}
