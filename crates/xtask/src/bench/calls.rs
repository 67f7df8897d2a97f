//! `cargo xtask bench calls`: what a call costs, both ways, in one process and as four services, beside Kamailio.

use super::process::cost;
use super::report::{Figures, Report};
use super::responder::{DOMAIN, Responder};
use super::sipp::Sipp;
use super::system::{Mode, System};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use testkit::clock::{Deadline, now_ms};
use testkit::prosody::{COMPONENT, SECRET};
use testkit::{Kamailio, http, ports};

/// Calls that are made before anything is measured.
const WARM_UP: u32 = 20;
/// How long after the last call its traces may be cleared away, before the CPU time is read.
const SETTLE: Duration = Duration::from_secs(1);

/// Cost of a call: CPU time of each service, time to set up, memory of a held call
#[derive(clap::Args, Clone, Debug)]
pub struct Calls {
    /// Rounds; each starts every system anew, and the least of the rounds is what is told
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Calls of each run
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(50..=100_000))]
    calls: u32,
    /// Calls a second
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    rate: u32,
    /// How long a call is held, ms
    #[arg(long, default_value_t = 1_000)]
    hold: u64,
    /// Calls held at once when memory is measured
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(10..=1_000))]
    held: u32,
    /// Phone services to measure beside plain calls; may be given several times
    #[arg(long, value_enum)]
    service: Vec<Service>,
    /// Only one of the two ways to run
    #[arg(long, value_enum)]
    mode: Option<Only>,
    /// Figures as JSON
    #[arg(long)]
    json: bool,
    /// Directory of binaries to measure, in place of those of `cargo xtask release`
    #[arg(long)]
    binaries: Option<PathBuf>,
    /// Directory of other binaries, measured in the same run, each mode before that of these
    #[arg(long)]
    before: Option<PathBuf>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Only {
    One,
    Four,
}

/// Phone service of a call from SIP to Jingle.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    /// The callee forwards all calls to a phone
    Forward,
    /// The callee answers, and transfers the caller to a phone
    Transfer,
}

impl Calls {
    /// Measures and prints.
    ///
    /// # Errors
    /// A program is missing, or a single call failed.
    pub fn run(&self) -> Result<()> {
        let given = |option: &str, path: &Path| {
            path.canonicalize().with_context(|| format!("{option} {}", path.display()))
        };
        let binaries = match &self.binaries {
            Some(path) => given("--binaries", path)?,
            None => crate::release::build()?,
        };
        let before = self.before.as_deref().map(|path| given("--before", path)).transpose()?;
        let modes: &[Mode] = match self.mode {
            None => &[Mode::One, Mode::Four],
            Some(Only::One) => &[Mode::One],
            Some(Only::Four) => &[Mode::Four],
        };
        let mut report = Report::new(self.rounds, self.calls, self.rate, self.hold, self.held);
        // One after the other in every round: the machine may become slower or faster meanwhile.
        for _ in 0..self.rounds {
            let (cpu, times) = self.kamailio().context("the reference, Kamailio")?;
            report.reference(cpu, times);
            for mode in modes {
                if let Some(before) = &before {
                    let name = format!("{}, before", mode.name());
                    self.measure(*mode, &name, before, &mut report).with_context(|| name.clone())?;
                }
                self.measure(*mode, mode.name(), &binaries, &mut report).with_context(|| mode.name())?;
            }
        }
        report.end();
        if self.json {
            println!("{}", report.json()?);
        } else {
            print!("{}", report.text());
        }
        Ok(())
    }

    fn hold(&self) -> Duration {
        Duration::from_millis(self.hold)
    }

    /// How long a run of so many calls may take.
    fn patience(&self, calls: u32, hold: Duration) -> Duration {
        Duration::from_secs(u64::from(calls / self.rate) * 3) + hold + Duration::from_secs(40)
    }

    fn measure(&self, mode: Mode, name: &str, binaries: &Path, report: &mut Report) -> Result<()> {
        let callee = ports::block(2);
        let trunk = SocketAddr::from((Ipv4Addr::LOCALHOST, callee));
        let mut system = System::start(mode, binaries, trunk)?;
        let responder = Responder::connect(system.prosody.component_port, SECRET, self.hold())?;
        let outcome = self.runs(name, &mut system, &responder, callee, report);
        outcome.map_err(|error| system.blame(&error))
    }

    fn runs(
        &self,
        name: &str,
        system: &mut System,
        responder: &Responder,
        callee: u16,
        report: &mut Report,
    ) -> Result<()> {
        say("warming up", name);
        self.to_jingle(system, responder, WARM_UP, Duration::from_millis(100))?;
        self.to_sip(responder, callee, WARM_UP)?;
        std::thread::sleep(SETTLE);

        if !report.has_memory(name) {
            self.memory_and_idle(name, system, responder, report)?;
        }

        say("calls from SIP", name);
        let (before, began) = (system.costs(), now_ms());
        let times = self.to_jingle(system, responder, self.calls, self.hold())?;
        let took = now_ms() - began;
        std::thread::sleep(SETTLE);
        let (gateway, around) = system.costs().per_call(&before, self.calls);
        report.run(Figures::new(name, "SIP to Jingle", gateway, around, times, took));

        say("calls from Jingle", name);
        let (before, began) = (system.costs(), now_ms());
        let times = self.to_sip(responder, callee, self.calls)?;
        let took = now_ms() - began;
        std::thread::sleep(SETTLE);
        let (gateway, around) = system.costs().per_call(&before, self.calls);
        report.run(Figures::new(name, "Jingle to SIP", gateway, around, times, took));

        for service in &self.service {
            let (say_so, direction) = match service {
                Service::Forward => ("calls that are forwarded", "SIP to Jingle, forwarded"),
                Service::Transfer => ("calls that are transferred", "SIP to Jingle, transferred"),
            };
            say(say_so, name);
            self.served(*service, system, responder, callee, WARM_UP)?;
            std::thread::sleep(SETTLE);
            let (before, began) = (system.costs(), now_ms());
            let times = self.served(*service, system, responder, callee, self.calls)?;
            let took = now_ms() - began;
            std::thread::sleep(SETTLE);
            let (gateway, around) = system.costs().per_call(&before, self.calls);
            report.run(Figures::new(name, direction, gateway, around, times, took));
        }
        Ok(())
    }

    /// Makes calls from SIP that a phone service leads to a phone.
    fn served(
        &self,
        service: Service,
        system: &System,
        responder: &Responder,
        callee: u16,
        calls: u32,
    ) -> Result<Vec<u64>> {
        let settings = |target: &[&str]| -> Result<()> {
            let forward = json!({ "forward": { "always": target.first() } });
            let (status, body) = http::put(system.admin, &format!("/users/rosa@{DOMAIN}"), &forward)?;
            ensure!(matches!(status, 200..=299), "PUT /users: {status} {body}");
            Ok(())
        };
        let answering = Sipp::callee(callee, calls)?;
        std::thread::sleep(Duration::from_millis(300));
        match service {
            Service::Forward => settings(&["2042"])?,
            Service::Transfer => responder.transfer_to(Some(format!("2042@{COMPONENT}"))),
        }
        let patience = self.patience(calls, self.hold());
        let times = Sipp::caller(system.sip, calls, self.rate, self.hold())?.finish(patience)?;
        answering.finish(Duration::from_secs(20))?;
        match service {
            Service::Forward => settings(&[])?,
            Service::Transfer => {
                self.over(responder, calls)?;
                responder.transfer_to(None);
            }
        }
        Ok(times)
    }

    fn memory_and_idle(
        &self,
        name: &str,
        system: &mut System,
        responder: &Responder,
        report: &mut Report,
    ) -> Result<()> {
        say("memory of held calls", name);
        let before = system.costs();
        let hold = Duration::from_secs(u64::from(self.held / self.rate) + 4);
        let sipp = Sipp::caller(system.sip, self.held, self.rate, hold)?;
        let seen = responder.wait(self.patience(self.held, hold), |seen| {
            seen.up == self.held as usize || !seen.failed.is_empty()
        })?;
        ensure!(seen.failed.is_empty(), "a call failed: {:?}", seen.failed.first());
        let held = system.costs();
        sipp.finish(self.patience(self.held, hold))?;
        self.over(responder, self.held)?;
        let grown = held.memory_per_call(&before, self.held);
        report.memory.push((name.to_owned(), before.memory() / 1024.0, grown));

        say("idle", name);
        std::thread::sleep(SETTLE);
        let (before, began) = (system.costs(), now_ms());
        std::thread::sleep(Duration::from_secs(5));
        let (gateway, _) = system.costs().per_call(&before, 1);
        let idle = gateway.values().sum::<f64>() * 1000.0 / (now_ms() - began) as f64;
        report.idle.push((name.to_owned(), idle));
        Ok(())
    }

    fn to_jingle(
        &self,
        system: &System,
        responder: &Responder,
        calls: u32,
        hold: Duration,
    ) -> Result<Vec<u64>> {
        let times = Sipp::caller(system.sip, calls, self.rate, hold)?.finish(self.patience(calls, hold))?;
        self.over(responder, calls)?;
        Ok(times)
    }

    fn to_sip(&self, responder: &Responder, callee: u16, calls: u32) -> Result<Vec<u64>> {
        let sipp = Sipp::callee(callee, calls)?;
        std::thread::sleep(Duration::from_millis(300));
        let began = now_ms();
        for number in 0..calls {
            // Each at its own time, so that a late one delays none.
            let due = began + u64::from(number) * 1_000 / u64::from(self.rate);
            std::thread::sleep(Duration::from_millis(due.saturating_sub(now_ms())));
            responder.call("rosa", &format!("2041@{COMPONENT}"))?;
        }
        let times = self.over(responder, calls)?;
        sipp.finish(Duration::from_secs(20))?;
        Ok(times)
    }

    /// Waits until the Jingle side has seen all calls end well.
    fn over(&self, responder: &Responder, calls: u32) -> Result<Vec<u64>> {
        let seen = responder.wait(self.patience(calls, self.hold()), |seen| {
            seen.ended + seen.failed.len() >= calls as usize && seen.up == 0
        })?;
        ensure!(
            seen.failed.is_empty(),
            "{} calls failed, first: {:?}",
            seen.failed.len(),
            seen.failed.first()
        );
        responder.begin_anew();
        Ok(seen.setups)
    }

    /// CPU time of a call through Kamailio, ms, and the times to set up.
    fn kamailio(&self) -> Result<(f64, Vec<u64>)> {
        eprintln!("==> bench: Kamailio as a stateful proxy, for comparison");
        let callee = ports::block(2);
        let kamailio = Kamailio::proxy(SocketAddr::from((Ipv4Addr::LOCALHOST, callee)))?;
        let mut answer = (0.0, vec![]);
        for calls in [WARM_UP, self.calls] {
            let before = cost(kamailio.pid()).cpu_ms;
            let answering = Sipp::callee(callee, calls)?;
            std::thread::sleep(Duration::from_millis(300));
            let patience = Deadline::after(self.patience(calls, self.hold()));
            let times =
                Sipp::caller(kamailio.address, calls, self.rate, self.hold())?.finish(patience.left())?;
            answering.finish(patience.left())?;
            answer = ((cost(kamailio.pid()).cpu_ms - before) / f64::from(calls), times);
        }
        Ok(answer)
    }
}

/// Makes calls both ways, in both modes, and lets the programs end by themselves.
pub fn train(binaries: &Path) -> Result<()> {
    let calls = Calls {
        rounds: 1,
        calls: 300,
        rate: 40,
        hold: 500,
        held: 10,
        service: vec![],
        mode: None,
        json: false,
        binaries: None,
        before: None,
    };
    for mode in [Mode::Four, Mode::One] {
        let callee = ports::block(2);
        let system = System::start(mode, binaries, SocketAddr::from((Ipv4Addr::LOCALHOST, callee)))?;
        let responder = Responder::connect(system.prosody.component_port, SECRET, calls.hold())?;
        let played = calls
            .to_jingle(&system, &responder, calls.calls, calls.hold())
            .and_then(|_| calls.to_sip(&responder, callee, calls.calls));
        played.map_err(|error| system.blame(&error))?;
        system.stop();
    }
    Ok(())
}

fn say(what: &str, name: &str) {
    eprintln!("==> bench: {name}, {what}");
}
