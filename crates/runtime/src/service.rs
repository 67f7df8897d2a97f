//! The life of a service process: configuration, telemetry, admin port, then its own work, then a drain.

use crate::config::Service;
use crate::config::load::{Fault, examine_for};
use crate::reload::Reloader;
use crate::{Config, Drain, Live, admin, descriptors, metrics, telemetry};
use anyhow::{Context, Result};
use clap::{CommandFactory, FromArgMatches, Parser};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration; every key can be overridden by the environment (TANDEM_SIP__LISTEN=…)
    #[arg(long, env = "TANDEM_CONFIG")]
    config: Option<PathBuf>,
}

/// Runs the service of this process: reads `--config`, then gives `work` configuration and drain.
/// SIGTERM or SIGINT drains; a second one, or `[call] drain_s`, stops. SIGHUP loads the configuration again.
pub fn main<W: Future<Output = Result<()>> + Send + 'static>(
    kind: &'static str,
    work: impl FnOnce(Live, Drain) -> W,
) -> ExitCode {
    let arguments = arguments(kind);
    match read(Service::of(kind), arguments.config.as_deref()) {
        Ok(config) => run(kind, arguments.config.as_deref(), config, work),
        Err(faults) => {
            faults.iter().for_each(|fault| eprintln!("tandem-{kind}: {}", fault.line()));
            ExitCode::FAILURE
        }
    }
}

/// Reads the command line under the name of the service's own binary; ends the process on `--help` and on misuse.
fn arguments(kind: &str) -> Arguments {
    let command = Arguments::command().display_name(format!("tandem-{kind}"));
    Arguments::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

/// The configuration of a service, if nothing is wrong with it.
///
/// # Errors
/// Every [`Fault`].
pub fn read(service: Service, path: Option<&Path>) -> Result<Config, Vec<Fault>> {
    let examined = examine_for(service, path, std::env::vars());
    match examined.config {
        Some(config) if examined.faults.is_empty() => Ok(config),
        _ => Err(examined.faults),
    }
}

/// Runs `work` with telemetry, admin port, signals and reloads around it. `path` is the file that the configuration was read from. The
/// exit code tells whether it ended well.
pub fn run<W: Future<Output = Result<()>> + Send + 'static>(
    kind: &'static str,
    path: Option<&Path>,
    mut config: Config,
    work: impl FnOnce(Live, Drain) -> W,
) -> ExitCode {
    let given = config.cluster.secret.is_some();
    if let Err(error) = config.generate_secret() {
        eprintln!(
            "tandem-{kind}: [cluster] secret: absent, and the kernel gives no random one: {error}; write a secret"
        );
        return ExitCode::FAILURE;
    }
    descriptors::raise();
    let runtime = match runtime(config.threads.unwrap_or(1)) {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("tandem-{kind}: no runtime: {error}; are threads limited?");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(around(kind, path.map(Path::to_owned), (config, given), work));
    runtime.shutdown_timeout(Duration::from_secs(1));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tandem-{kind}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs tasks on the calling thread alone, or on so many: one hands no message from core to core (decision 80).
fn runtime(threads: usize) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = match threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    builder.enable_all().build()
}

async fn around<W: Future<Output = Result<()>> + Send + 'static>(
    kind: &'static str,
    path: Option<PathBuf>,
    (config, has_secret): (Config, bool),
    work: impl FnOnce(Live, Drain) -> W,
) -> Result<()> {
    let instance = config.instance(kind);
    let telemetry = telemetry::start(&config, kind)?;
    std::panic::set_hook(Box::new(panicked));
    metrics::collect();
    build_info(kind);
    let drain = Drain::default();
    let hangup = signal(SignalKind::hangup()).context("SIGHUP")?;
    let (reloader, live) = Reloader::new(Service::of(kind), path, config, !has_secret, telemetry.log());
    let serving = tokio::spawn(admin::bind(live.clone(), drain.clone()).await?);
    let signals = tokio::spawn(signals(drain.clone(), live.clone()));
    let reloading = tokio::spawn(reloader.run(hangup));
    tracing::info!(instance, version = env!("CARGO_PKG_VERSION"), "tandem-{kind} starts");
    // A task of its own: to wake the outermost future, a runtime of one thread looks at its sockets and timers each time.
    let outcome = tokio::spawn(work(live, drain.clone())).await.unwrap_or_else(|error| Err(error.into()));
    drain.stop();
    signals.abort();
    reloading.abort();
    let _ = tokio::time::timeout(Duration::from_secs(1), serving).await;
    tracing::info!(instance, "tandem-{kind} ends");
    // Its flush blocks: not on a thread of the runtime.
    let _ = tokio::task::spawn_blocking(move || drop(telemetry)).await;
    outcome
}

/// Tells what runs, as a metric.
fn build_info(kind: &str) {
    let labels = [("service", kind), ("version", env!("CARGO_PKG_VERSION"))];
    metrics::gauge("tandem_build_info", "1 for the service and version that runs", &labels).set(1.0);
}

/// A panic is a line of the log like any other fault.
fn panicked(panic: &std::panic::PanicHookInfo<'_>) {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let said = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(place, "panic: {said}");
}

async fn signals(drain: Drain, live: Live) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    next().await;
    tracing::info!("draining: no new calls; a second signal ends at once");
    drain.drain();
    let _ = tokio::time::timeout(Duration::from_secs(live.latest().call.drain_s), next()).await;
    drain.stop();
    Ok(())
}
