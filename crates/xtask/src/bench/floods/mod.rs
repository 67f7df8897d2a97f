//! `cargo xtask bench floods`: calls of a trunk while somebody floods the gateway, beside the same calls in peace.
//!
//! One rule: the flood comes from addresses of its own, and the calls from the trunk's, unless it is the trunk that floods; a call that failed
//! is a figure here, not the end of the run. Sources are all of loopback. Start at [`Floods`]; [`datagrams`] and [`dribble`] flood.

mod datagrams;
mod dribble;

use super::report::percentile;
use super::responder::Responder;
use super::sipp::Sipp;
use super::system::{Mode, System};
use anyhow::{Context, Result, ensure};
use datagrams::Datagrams;
use dribble::Dribble;
use serde_json::json;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use testkit::clock::Deadline;
use testkit::ports;
use testkit::prosody::SECRET;

/// Calls that are made before the flood begins.
const WARM_UP: u32 = 20;
/// Time that a call is held.
const HOLD: Duration = Duration::from_secs(1);
/// Time that a call may take which meets a flood, its repeats and its end.
const PATIENCE: Duration = Duration::from_secs(45);
/// Time that the flood has to itself before the calls begin.
const AHEAD: Duration = Duration::from_millis(500);

/// Calls of a trunk beside floods: how many succeed, times to set up, memory then and later
#[derive(clap::Args, Clone, Debug)]
pub struct Floods {
    /// Seconds of each flood
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Seconds after it until the memory is read again
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=600))]
    settle: u64,
    /// Calls a second beside it
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    rate: u32,
    /// Only floods whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Four services in place of one process
    #[arg(long)]
    four: bool,
    /// Figures as JSON
    #[arg(long)]
    json: bool,
    /// Directory of binaries to measure, in place of those of `cargo xtask release`
    #[arg(long)]
    binaries: Option<PathBuf>,
}

/// Kind of flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flood {
    /// None, for comparison.
    Nothing,
    /// Strangers' messages with one Via of 31 KB in 15,000 parameters, 2,000 a second.
    LongVia,
    /// Strangers' messages with Vias of 1,320 octets, 10,000 a second.
    Vias,
    /// Strangers' OPTIONS, as fast as they go.
    Options,
    /// Ten addresses with 1,000 TCP connections each, an octet a second on each; the calls come over TCP, too.
    Dribble,
    /// OPTIONS from the trunk's address, 20,000 a second.
    Trunk,
}

const ALL: [Flood; 6] =
    [Flood::Nothing, Flood::LongVia, Flood::Vias, Flood::Options, Flood::Dribble, Flood::Trunk];

impl Flood {
    fn name(self) -> &'static str {
        match self {
            Flood::Nothing => "no flood",
            Flood::LongVia => "strangers: Via of 31 KB, 2,000/s",
            Flood::Vias => "strangers: Vias of 1,320 octets, 10,000/s",
            Flood::Options => "strangers: OPTIONS, as fast as they go",
            Flood::Dribble => "strangers: 10 x 1,000 TCP connections, 1 octet/s",
            Flood::Trunk => "the trunk: OPTIONS, 20,000/s",
        }
    }

    /// Begins it.
    fn start(self, to: SocketAddr) -> Result<Option<Running>> {
        Ok(match self {
            Flood::Nothing => None,
            Flood::LongVia => Some(Running::Datagrams(Datagrams::long_via(to)?)),
            Flood::Vias => Some(Running::Datagrams(Datagrams::vias(to)?)),
            Flood::Options => Some(Running::Datagrams(Datagrams::options(to)?)),
            Flood::Dribble => Some(Running::Dribble(Dribble::start(to)?)),
            Flood::Trunk => Some(Running::Datagrams(Datagrams::trunk(to)?)),
        })
    }
}

enum Running {
    Datagrams(Datagrams),
    Dribble(Dribble),
}

impl Running {
    /// Ends it; gives how many messages, or octets, were sent.
    fn stop(self) -> u64 {
        match self {
            Running::Datagrams(flood) => flood.stop(),
            Running::Dribble(flood) => flood.stop(),
        }
    }
}

/// Figures of one flood.
struct Figures {
    flood: Flood,
    calls: u32,
    succeeded: u32,
    times: Vec<u64>,
    /// Messages, or octets, of the flood.
    sent: u64,
    /// Memory of the gateway before, at the end and later, MiB.
    memory: [f64; 3],
}

impl Floods {
    /// Measures and prints.
    ///
    /// # Errors
    /// A program is missing, or no call succeeds in peace.
    pub fn run(&self) -> Result<()> {
        let binaries = match &self.binaries {
            Some(path) => path.canonicalize().with_context(|| format!("--binaries {}", path.display()))?,
            None => crate::release::build()?,
        };
        let chosen: Vec<Flood> = ALL.into_iter().filter(|flood| flood.name().contains(&self.only)).collect();
        ensure!(!chosen.is_empty(), "--only {}: no flood of this name", self.only);
        let figures: Vec<Figures> = chosen
            .into_iter()
            .map(|flood| self.measure(flood, &binaries).with_context(|| flood.name()))
            .collect::<Result<_>>()?;
        if self.json {
            println!("{:#}", self.to_json(&figures));
        } else {
            print!("{}", self.text(&figures));
        }
        Ok(())
    }

    fn measure(&self, flood: Flood, binaries: &Path) -> Result<Figures> {
        eprintln!("==> bench: {}", flood.name());
        let mode = if self.four { Mode::Four } else { Mode::One };
        let trunk = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::block(2)));
        let mut system = System::start(mode, binaries, trunk)?;
        let responder = Responder::connect(system.prosody.component_port, SECRET, HOLD)?;
        let outcome = self.beside(flood, &mut system, &responder);
        let figures = outcome.map_err(|error| system.blame(&error))?;
        system.stop();
        Ok(figures)
    }

    fn beside(&self, flood: Flood, system: &mut System, responder: &Responder) -> Result<Figures> {
        let tcp = flood == Flood::Dribble;
        let warm = Sipp::caller_over(tcp, system.sip, WARM_UP, self.rate, HOLD)?;
        warm.finish(Duration::from_secs(u64::from(WARM_UP / self.rate)) + PATIENCE)?;
        responder.wait(PATIENCE, |seen| seen.up == 0)?;
        responder.begin_anew();
        let before = system.costs().memory();

        let deadline = Deadline::after(Duration::from_secs(self.seconds));
        let running = flood.start(system.sip)?;
        std::thread::sleep(AHEAD);
        let seconds = u32::try_from(self.seconds).unwrap_or(u32::MAX);
        let calls = self.rate.saturating_mul(seconds.saturating_sub(1).max(1));
        let sipp = Sipp::caller_over(tcp, system.sip, calls, self.rate, HOLD)?;
        std::thread::sleep(deadline.left());
        let at_end = system.costs().memory();
        let sent = running.map_or(0, Running::stop);
        let after = Deadline::after(Duration::from_secs(self.settle));
        let mut times = sipp.times(PATIENCE)?;
        times.sort_unstable();
        std::thread::sleep(after.left());
        let later = system.costs().memory();
        // Some may never end: how many did is the figure.
        let ended = responder.wait(Duration::from_secs(1), |seen| seen.up == 0);
        let ended = ended.map_or_else(|_| responder.seen().ended, |seen| seen.ended);
        let succeeded = u32::try_from(ended.min(times.len())).unwrap_or(u32::MAX);
        ensure!(
            flood != Flood::Nothing || succeeded == calls,
            "{succeeded} of {calls} calls succeed in peace"
        );
        let memory = [before, at_end, later].map(|kib| kib / 1_024.0);
        Ok(Figures { flood, calls, succeeded, times, sent, memory })
    }

    /// Writes a table for people, in the form of docs/security.md.
    fn text(&self, figures: &[Figures]) -> String {
        let mut out = String::new();
        let _ = self.write(&mut out, figures);
        out
    }

    fn write(&self, out: &mut String, figures: &[Figures]) -> std::fmt::Result {
        let Floods { seconds, settle, rate, .. } = self;
        writeln!(
            out,
            "{seconds} s of each flood beside {rate} calls a second. Load now: {}.\n",
            super::process::load()
        )?;
        writeln!(
            out,
            "| flood | sent a second | calls that succeeded | set-up p50 / p99 ms | MiB before / at the end / {settle} s after |"
        )?;
        writeln!(out, "|---|---|---|---|---|")?;
        for Figures { flood, calls, succeeded, times, sent, memory: [before, end, later] } in figures {
            writeln!(
                out,
                "| {} | {} | {succeeded} of {calls} | {} / {} | {before:.0} / {end:.0} / {later:.0} |",
                flood.name(),
                sent / seconds,
                percentile(times, 0.5),
                percentile(times, 0.99),
            )?;
        }
        Ok(())
    }

    fn to_json(&self, figures: &[Figures]) -> serde_json::Value {
        let lines: Vec<serde_json::Value> = figures
            .iter()
            .map(|of| {
                json!({
                    "flood": of.flood.name(), "calls": of.calls, "succeeded": of.succeeded, "sent": of.sent,
                    "p50_ms": percentile(&of.times, 0.5), "p99_ms": percentile(&of.times, 0.99),
                    "mib_before": of.memory[0], "mib_at_end": of.memory[1], "mib_later": of.memory[2],
                })
            })
            .collect();
        json!({ "seconds": self.seconds, "settle": self.settle, "rate": self.rate, "floods": lines })
    }
}
