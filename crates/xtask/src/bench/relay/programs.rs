//! The programs that are measured: rtpengine, and our relay with the NATS server that it announces itself on.

use super::Load;
use anyhow::{Context, Result, ensure};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use testkit::clock::poll;
use testkit::{Nats, Program, ports};

/// `[cluster] secret` of our relay.
pub const SECRET: &str = "a secret of the bench, and of nothing else";
/// The priority of this session, as the kernel shares the cores.
const GROUP: &str = "/proc/self/autogroup";
/// Ports that a relay gets beyond those of its calls.
const SPARE: u16 = 200;

/// A relay to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contender {
    /// rtpengine, in userspace, one thread.
    Rtpengine,
    /// `tandem-rtp-relay`.
    Tandem,
}

impl Contender {
    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Contender::Rtpengine => "rtpengine",
            Contender::Tandem => "tandem",
        }
    }

    /// How `tandem-load` speaks with it.
    pub fn protocol(self) -> &'static str {
        match self {
            Contender::Rtpengine => "ng",
            Contender::Tandem => "grpc",
        }
    }
}

/// Where a program runs: relays on the first core, the load on the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Core {
    /// The relay under load.
    Relay,
    /// The load generator.
    Load,
    /// Anywhere.
    Any,
}

/// Settings to start either relay.
pub struct Engine {
    binaries: PathBuf,
    nats: Nats,
    directory: TempDir,
    cores: usize,
    /// The right to go before others.
    nice: bool,
}

/// A running relay; it dies with this.
pub struct Running {
    program: Program,
    /// Its control.
    pub control: SocketAddr,
}

/// rtpengine is installed.
///
/// # Errors
/// The program is missing; names the package that has it.
pub fn rtpengine() -> Result<()> {
    let there = Command::new("rtpengine").arg("--version").output().is_ok_and(|out| out.status.success());
    ensure!(
        there,
        "rtpengine is what the relay is compared with, and it is not installed: apt-get install rtpengine-daemon"
    );
    Ok(())
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|out| out.status.success())
}

/// The first of `count` neighbouring ports for media; both relays pass over the few that others hold.
fn range(count: u16) -> Option<u16> {
    let last = 32_700u16.checked_sub(count)?;
    let taken = |port: &u16| std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, *port)).is_err();
    (10_000..last).step_by(500).find(|first| {
        let ports = *first..first + count;
        (ports.clone().filter(taken).count() + ports::claim(ports)) * 50 <= usize::from(count)
    })
}

impl Engine {
    /// Nothing is measured yet.
    ///
    /// # Errors
    /// A program is missing.
    pub fn new(binaries: PathBuf) -> Result<Engine> {
        for name in ["tandem-rtp-relay", "tandem-load"] {
            let binary = binaries.join(name);
            ensure!(binary.exists(), "{} is missing: cargo build --release -p {name}", binary.display());
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let pinned = cores > 1 && succeeds("taskset", &["-c", "0", "true"]);
        if !pinned {
            eprintln!(
                "==> bench: relay and load share their cores (one core only, or no taskset): ratios hold, delays do not"
            );
        }
        // Where the kernel shares a core by sessions, a nice value counts within the session only; the session has its own.
        let grouped = std::fs::read_to_string("/proc/sys/kernel/sched_autogroup_enabled")
            .is_ok_and(|v| v.trim() == "1");
        let first = !grouped || std::fs::write(GROUP, "-15").is_ok();
        let nice = first && succeeds("nice", &["-n", "-15", "sh", "-c", "test $(nice) = -15"]);
        if !nice {
            eprintln!(
                "==> bench: without the right to raise priority, other programs of this machine show in the delays"
            );
        }
        let nats = Nats::start().context("our relay announces itself on NATS")?;
        let directory = TempDir::with_prefix("tandem-bench-")?;
        Ok(Engine { binaries, nats, directory, cores: if pinned { cores } else { 1 }, nice })
    }

    /// One of our binaries, or a program of the system, to be run on a core.
    pub fn on(&self, core: Core, name: &str) -> Command {
        let own = self.binaries.join(name);
        let program = if own.exists() { own } else { PathBuf::from(name) };
        let mut words: Vec<String> = vec![];
        if self.nice {
            words.extend(["nice", "-n", "-15"].map(str::to_owned));
        }
        match core {
            _ if self.cores < 2 => {}
            Core::Relay => words.extend(["taskset", "-c", "0"].map(str::to_owned)),
            Core::Load => {
                words.extend(["taskset".to_owned(), "-c".into(), format!("1-{}", self.cores - 1)]);
            }
            Core::Any => {}
        }
        let mut words = words.into_iter();
        match words.next() {
            Some(first) => {
                let mut command = Command::new(first);
                command.args(words).arg(program);
                command
            }
            None => Command::new(program),
        }
    }

    /// Starts one, ready for the load.
    ///
    /// # Errors
    /// The relay does not come up.
    pub fn start(&self, who: Contender, load: &Load) -> Result<Running> {
        let calls = u16::try_from(load.calls).unwrap_or(4_000).min(4_000);
        let count = 4 * calls + SPARE;
        let first = range(count).with_context(|| {
            format!("of no {count} ports side by side on loopback nearly all are free: end what holds them")
        })?;
        let control = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::one()));
        let core = if load.threads > 1 { Core::Any } else { Core::Relay };
        match who {
            Contender::Rtpengine => self.theirs(core, control, (first, first + count - 1)),
            Contender::Tandem => self.ours(core, control, (first, first + count - 1), load.threads),
        }
    }

    fn theirs(&self, core: Core, control: SocketAddr, (first, last): (u16, u16)) -> Result<Running> {
        let empty = self.directory.path().join("rtpengine.conf");
        std::fs::write(&empty, "[x]\n")?;
        let mut command = self.on(core, "rtpengine");
        command.arg(format!("--config-file={}", empty.display())).arg(format!("--listen-ng={control}"));
        command.arg(format!("--port-min={first}")).arg(format!("--port-max={last}"));
        command.args(["--config-section=x", "--table=-1", "--interface=127.0.0.1", "--num-threads=1"]);
        command.args(["--log-level=3", "--log-stderr", "--foreground", "--tos=184", "--delete-delay=0"]);
        command.args(["--timeout=3600", "--silent-timeout=3600", "--offer-timeout=3600"]);
        let mut program = Program::start("rtpengine", command)?;
        let up = poll(Duration::from_secs(10), || {
            let up = !ports::is_free(control.port());
            (up || !program.running()).then_some(up)
        });
        if up != Some(true) {
            return Err(program.failure("does not come up"));
        }
        Ok(Running { program, control })
    }

    /// NATS server that our relay announces itself on.
    pub fn bus(&self) -> String {
        self.nats.url()
    }

    fn ours(
        &self,
        core: Core,
        control: SocketAddr,
        (first, last): (u16, u16),
        threads: usize,
    ) -> Result<Running> {
        let file = self.directory.path().join("tandem.toml");
        // A relay stores nothing; the configuration is one for all services and must be whole.
        let config = format!(
            "[bus]\nurl = \"{}\"\n[store]\nurl = \"redis://127.0.0.1:9\"\n[cluster]\nsecret = \"{SECRET}\"\n[telemetry]\nlog = \"warn\"\n[relay]\nlisten = \"127.0.0.1\"\nports = \"{first}-{last}\"\ncontrol = \"{control}\"\nthreads = {threads}\nmax_load = 100\n",
            self.nats.url()
        );
        std::fs::write(&file, config)?;
        let mut command = self.on(core, "tandem-rtp-relay");
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::one()));
        // The name that `tandem-load` shows its pass for.
        command.env("TANDEM_INSTANCE", "rtp-relay");
        command.env("TANDEM_ADMIN__LISTEN", admin.to_string()).arg("--config").arg(file);
        let mut program = Program::start("tandem-rtp-relay", command)?;
        let up = poll(Duration::from_secs(20), || {
            let ready = std::net::TcpStream::connect(control).is_ok();
            (ready || !program.running()).then_some(ready)
        });
        if up != Some(true) {
            return Err(program.failure("does not come up"));
        }
        Ok(Running { program, control })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.nice {
            // What comes after this in the session is as important as before.
            let _ = std::fs::write(GROUP, "0");
        }
    }
}

impl Running {
    /// Its process: taskset and nice become what they start.
    ///
    /// # Errors
    /// The relay has ended.
    pub fn pid(&self) -> Result<u32> {
        let pid = self.program.pid();
        ensure!(std::path::Path::new(&format!("/proc/{pid}")).exists(), "{}", self.program.failure("ended"));
        Ok(pid)
    }

    /// Ends it as an operator does.
    pub fn stop(&mut self) {
        self.program.stop(Duration::from_secs(20));
    }

    /// The end of its output.
    pub fn last_words(&self) -> String {
        self.program.log().tail(12)
    }
}
