//! The load that `cargo xtask bench relay` plays at a media relay: ours over its control API, or rtpengine over `ng`.
//!
//! One rule: both relays get the same calls, the same packets and the same questions; statistics are one line of JSON, and a run in
//! which a call could not be set up gives none. Start at [`Arguments`]; [`control`] sets calls up, [`play`] speaks in them.

mod control;
mod handshakes;
mod keeper;
mod packet;
mod play;
mod process;
mod udp;
mod web;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use control::{Control, Way};
use std::net::SocketAddr;
use std::process::ExitCode;

/// How media is spoken at the second leg; the first is always plain RTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// RTP/AVP.
    Plain,
    /// RTP/SAVP with keys in the description (RFC 4568).
    Sdes,
    /// ICE and DTLS-SRTP.
    Dtls,
}

/// Key of a peer's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Key {
    /// EC P-256.
    Ec,
    /// RSA of 2048 bits.
    Rsa,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Task {
    /// Calls that speak for some seconds: CPU time a packet, loss, order, authenticity, latency, memory a call.
    Play,
    /// Calls that are set up and taken down: CPU time and time of each.
    SetUp,
    /// ICE and DTLS until media may flow: CPU time of each.
    Handshakes,
}

#[derive(Parser)]
#[command(name = "tandem-load", about = "Load for a media relay; what `cargo xtask bench relay` runs")]
struct Arguments {
    /// Kind of load
    #[arg(value_enum)]
    task: Task,
    /// Control of the relay
    #[arg(long)]
    control: SocketAddr,
    /// How it is spoken with
    #[arg(long, value_enum)]
    way: Way,
    /// [cluster] secret, for our own control API
    #[arg(long, default_value = "")]
    secret: String,
    /// Name of our relay's instance
    #[arg(long, default_value = "rtp-relay")]
    instance: String,
    /// NATS of our relay, whose states are kept for it
    #[arg(long)]
    bus: Option<String>,
    /// Process of the relay
    #[arg(long)]
    pid: u32,
    /// Calls
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    calls: u32,
    /// Seconds of speech
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Packet time, ms
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(5..=500))]
    ptime: u64,
    /// How the second leg speaks
    #[arg(long, value_enum, default_value = "plain")]
    form: Form,
    /// Certificate of the peers
    #[arg(long, value_enum, default_value = "ec")]
    key: Key,
    /// Calls that are being set up at a time
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=256))]
    in_flight: u32,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(statistics) => {
            println!("{statistics}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tandem-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<serde_json::Value> {
    let Arguments { way, control, secret, pid, calls, in_flight, form, .. } = arguments;
    if !process::lives(*pid) {
        bail!("--pid {pid}: no such process");
    }
    if let Some(bus) = &arguments.bus {
        keeper::start(bus, secret)?;
    }
    let control = Control::connect(*way, *control, secret, &arguments.instance);
    let mut control = control.context("the control of the relay")?;
    match arguments.task {
        Task::Play => {
            let plan = play::Plan {
                pid: *pid,
                calls: *calls as usize,
                seconds: arguments.seconds,
                ptime_ms: arguments.ptime,
                form: *form,
                key: arguments.key,
            };
            play::run(&mut control, &plan)
        }
        Task::SetUp => control::set_up(&mut control, *pid, *calls as usize, *in_flight as usize),
        Task::Handshakes => {
            handshakes::run(&mut control, *pid, *calls as usize, *in_flight as usize, arguments.key)
        }
    }
}

/// The clock of the load: a measuring tool may read it.
#[allow(clippy::disallowed_methods, reason = "a measuring tool reads the clock")]
pub fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// Milliseconds since the Unix epoch.
#[allow(clippy::disallowed_methods, reason = "a measuring tool reads the clock")]
pub fn now_ms() -> u64 {
    let passed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
}
