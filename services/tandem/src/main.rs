//! `tandem`: everything in one process, and the operator's command line.

mod check;
mod exit;
mod operator;
mod records;
mod serve;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: runtime::Allocator = runtime::ALLOCATOR;

#[derive(Parser)]
#[command(name = "tandem", about = "A gateway between SIP and XMPP", version, after_help = exit::HELP)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// All four services in one process
    Serve(Configured),
    /// Find what would go wrong, before anybody calls: one line per fault
    Check {
        #[command(flatten)]
        configured: Configured,
        /// As JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Call detail records: who called whom, when, how long, why it ended
    Records(records::Arguments),
    #[command(flatten)]
    Operator(operator::Task),
}

#[derive(clap::Args)]
struct Configured {
    /// The configuration; every key can be overridden by the environment (TANDEM_SIP__LISTEN=…)
    #[arg(long, env = "TANDEM_CONFIG")]
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    match Arguments::parse().task {
        Task::Serve(configured) => serve::main(configured.config.as_deref()),
        Task::Check { configured, json } => check::main(configured.config.as_deref(), json),
        Task::Records(arguments) => records::main(&arguments),
        Task::Operator(task) => operator::main(task),
    }
}
