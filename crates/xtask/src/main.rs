//! `cargo xtask`: the one entry for people and CI.
//!
//! One rule: a failure is one line that names the cause and the remedy. Start at [`Task`].

mod bench;
mod demo;
mod deny;
mod faults;
mod release;
mod requirements;
mod setup;
mod steps;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The repository's commands", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing for building and testing, and say what and why
    Setup,
    /// Format, citations, dependencies and lints, as CI does
    Check,
    /// Everything: setup, check, build, and every test there is
    Test(Test),
    /// Two real calls between a SIP phone and a Jingle client through the gateway, with sound, in front of your eyes
    Demo(demo::Demo),
    /// Every test that is named after a fault, and a report of them
    Faults(faults::Faults),
    /// Build what is shipped, with a profile of calls and packets
    Release(release::Release),
    /// Measure the gateway beside Kamailio, and its relay beside rtpengine
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Write docs/tandem.toml and the chart's schema anew from `Config`
    Schema,
    /// Each requirement of docs/interworking.md with the tests that cite it
    Requirements(requirements::Requirements),
}

#[derive(clap::Args)]
struct Test {
    /// Only tests that need no other program and no waiting: the pure crates, the golden flows, the random walk
    #[arg(long)]
    fast: bool,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Setup => setup::setup(),
        Task::Demo(demo) => demo.run(),
        Task::Faults(faults) => faults.run(),
        Task::Release(release) => release.run(),
        Task::Bench(bench) => bench.run(),
        Task::Requirements(requirements) => requirements.run(),
        Task::Check => steps::check(),
        Task::Schema => steps::schema(),
        Task::Test(Test { fast: true }) => steps::test_fast(),
        Task::Test(_) => setup::setup().and_then(|()| steps::check()).and_then(|()| steps::test()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
