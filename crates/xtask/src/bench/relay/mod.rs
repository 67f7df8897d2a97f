//! `cargo xtask bench relay`: what a packet, a call and a handshake cost in the relay, beside rtpengine from Debian.
//!
//! One rule: both relays are started anew for every run, get the same load from `tandem-load` (tests/load), take turns, and the least
//! of each is compared: on a shared machine the least is what the program costs, the rest is what the neighbours do. Start at
//! [`Relay::run`]; what the goals are is in [`table`].

mod plot;
mod programs;
mod table;

use anyhow::{Context, Result, ensure};
use programs::{Contender, Core, Engine};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use table::{Runs, Table};
use testkit::clock::now_ms;

/// Cost of the relay: CPU a packet, delay, memory a call, set-up, handshakes; beside rtpengine
#[derive(clap::Args, Clone, Debug)]
pub struct Relay {
    /// Rounds; each starts both relays for every line of the table
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Seconds of speech in each run
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// A few calls for a second: that it works, not what it costs
    #[arg(long)]
    quick: bool,
    /// Only lines whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Figures as JSON
    #[arg(long)]
    json: bool,
    /// Draw the cost of a packet over the number of calls into this SVG file, in place of the table
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Directory of binaries to measure, in place of those of `cargo xtask release`
    #[arg(long)]
    binaries: Option<PathBuf>,
}

/// One load.
#[derive(Clone, Debug)]
pub struct Load {
    /// As `tandem-load` calls it.
    task: &'static str,
    /// Further switches.
    switches: Vec<String>,
    /// Media threads of ours; rtpengine has one.
    threads: usize,
    /// Calls, for the range of ports.
    calls: u32,
}

impl Load {
    fn play(calls: u32, form: &str, seconds: u32) -> Load {
        // At most 100,000 packets a second: more is not the relay's limit alone on two cores.
        let ptime = 20 * calls.div_ceil(1_000).max(1);
        let switches = format!("--calls {calls} --form {form} --seconds {seconds} --ptime {ptime}");
        Load::of("play", &switches, calls)
    }

    fn of(task: &'static str, switches: &str, calls: u32) -> Load {
        Load { task, switches: switches.split(' ').map(str::to_owned).collect(), threads: 1, calls }
    }
}

impl Relay {
    /// Measures and prints.
    ///
    /// # Errors
    /// One line: what is missing or went wrong.
    pub fn run(&self) -> Result<()> {
        programs::rtpengine()?;
        let binaries = match &self.binaries {
            Some(given) => given.canonicalize().with_context(|| format!("--binaries {}", given.display()))?,
            None => crate::release::build()?,
        };
        if std::fs::read_to_string("/proc/slabinfo").is_err() {
            eprintln!("==> bench: memory in the kernel is not shown: only root may read /proc/slabinfo");
        }
        let stage = Stage { engine: Engine::new(binaries)?, only: self.only.clone() };
        if let Some(file) = &self.plot {
            return plot::draw(&stage, self, file);
        }
        let mut table = Table::new(self.rounds);
        let began = now_ms();
        for round in 1..=self.rounds {
            for line in self.lines() {
                if !stage.wants(line.name) {
                    continue;
                }
                for who in line.who {
                    let figures = stage.run(*who, &line.load, &format!("round {round}, {}", line.name));
                    match figures {
                        Ok(figures) => table.add(line.name, *who, figures),
                        Err(error) if *who == Contender::Tandem && line.may_fail => {
                            table.miss(line.name, &error)
                        }
                        Err(error) => return Err(error.context(line.name)),
                    }
                }
            }
        }
        table.took_s = (now_ms() - began) / 1_000;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&table.json())?);
        } else {
            print!("{}", table.text());
        }
        Ok(())
    }

    fn lines(&self) -> Vec<Line> {
        const BOTH: &[Contender] = &[Contender::Rtpengine, Contender::Tandem];
        const OURS: &[Contender] = &[Contender::Tandem];
        let (few, many, seconds, set_up, handshakes) =
            if self.quick { (5, 10, 1, 20, 4) } else { (500, 1_000, self.seconds, 3_000, 1_024) };
        // A core that makes so many handshakes a second has so many under way: a nomination waits for 50 ms.
        let (window, abreast) = if self.quick { (4, 4) } else { (32, 128) };
        let shake = |key| {
            Load::of(
                "handshakes",
                &format!("--calls {handshakes} --in-flight {abreast} --key {key}"),
                handshakes,
            )
        };
        let set_up = Load::of(
            "set-up",
            &format!("--calls {set_up} --in-flight {window}"),
            // A port rests for 30 s after its call, so each call has ports of its own.
            set_up + 200,
        );
        let line = |name, who, load| Line { name, who, load, may_fail: false };
        vec![
            line(table::PLAIN, BOTH, Load::play(few, "plain", seconds)),
            line(table::PLAIN_MANY, BOTH, Load::play(many, "plain", seconds)),
            Line { may_fail: true, ..line(table::SDES, BOTH, Load::play(few, "sdes", seconds)) },
            line(table::DTLS, OURS, Load::play(few, "dtls", seconds)),
            line(table::SET_UP, BOTH, set_up),
            line(table::HANDSHAKES_EC, OURS, shake("ec")),
            line(table::HANDSHAKES_RSA, OURS, shake("rsa")),
        ]
    }
}

/// Plays every form of media at our relay, and lets it end by itself. Few packets: counts are weighed against each other, and beside
/// those of millions of packets the code of a call would look as if it hardly ran.
pub fn train(binaries: &Path) -> Result<()> {
    let stage = Stage { engine: Engine::new(binaries.to_owned())?, only: None };
    let forms = ["plain", "sdes", "dtls"].map(|form| Load::play(20, form, 1));
    let set_up = Load::of("set-up", "--calls 200 --in-flight 8", 400);
    for load in forms.into_iter().chain([set_up]) {
        stage.run(Contender::Tandem, &load, &load.switches.join(" "))?;
    }
    Ok(())
}

struct Line {
    name: &'static str,
    who: &'static [Contender],
    load: Load,
    /// Ours does not do it yet: a line without figure, not a failure.
    may_fail: bool,
}

/// Where everything runs.
pub struct Stage {
    engine: Engine,
    only: Option<String>,
}

impl Stage {
    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }

    /// Starts a relay, plays one load at it, and gives the figures.
    fn run(&self, who: Contender, load: &Load, what: &str) -> Result<Value> {
        eprintln!("==> bench: {what}: {}", who.name());
        let mut relay = self.engine.start(who, load)?;
        let mut command: Command = self.engine.on(Core::Load, "tandem-load");
        command.arg(load.task).args(["--control", &relay.control.to_string(), "--way", who.protocol()]);
        command.args(["--pid", &relay.pid()?.to_string(), "--secret", programs::SECRET]).args(&load.switches);
        if who == Contender::Tandem {
            command.args(["--bus", &self.engine.bus()]);
        }
        let out = command.output().context("tandem-load")?;
        let said = String::from_utf8_lossy(&out.stderr);
        ensure!(out.status.success(), "{}\n{}", said.trim(), relay.last_words());
        relay.stop();
        serde_json::from_slice(&out.stdout).with_context(|| format!("tandem-load said no figures: {said}"))
    }
}

/// The least of a figure.
pub fn least(runs: &Runs, key: &str) -> Option<f64> {
    runs.iter().filter_map(|run| run[key].as_f64()).reduce(f64::min)
}
