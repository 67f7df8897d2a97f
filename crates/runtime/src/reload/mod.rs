//! Loading the configuration again, on SIGHUP and when one of its files changes: by the loader and the checks of a start.
//!
//! One rule: a configuration with a fault changes nothing. One without takes effect as far as it can ([`Change`]), and what needs a
//! restart is told. Start at [`Live`] for services, [`Reloader`] for how it gets there.

mod live;
mod watched;

pub use live::{Check, Live};

use crate::Config;
use crate::config::change::{Change, is_read_at_start};
use crate::config::load::{Examined, examine_for};
use crate::config::{Fault, Service};
use crate::telemetry::LogFilter;
use crate::{clock, metrics, telemetry};
use ::metrics::{Counter, Gauge};
use live::Checks;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tracing::{error, info, warn};
pub(crate) use watched::Watched;

/// Interval at which files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Loads the configuration again when there is a reason to.
pub(crate) struct Reloader {
    /// Service whose configuration it is.
    service: Service,
    /// The configuration file; `None`: the environment says it all.
    path: Option<PathBuf>,
    /// Configuration in force.
    running: Config,
    /// True if the secret of the cluster was made here.
    generated: bool,
    news: watch::Sender<Arc<Config>>,
    checks: Checks,
    watched: Watched,
    log: LogFilter,
    meters: Meters,
}

struct Meters {
    applied: Counter,
    refused: Counter,
    loaded: Gauge,
}

impl Meters {
    fn begin() -> Meters {
        let count = |outcome| {
            let help = "Times that the configuration was loaded again, by what came of it";
            metrics::counter("tandem_config_reloads_total", help, &[("outcome", outcome)])
        };
        let help = "Time at which the configuration in force was loaded, seconds since the Unix epoch";
        let loaded = metrics::gauge("tandem_config_loaded_timestamp_seconds", help, &[]);
        let meters = Meters { applied: count("applied"), refused: count("refused"), loaded };
        meters.tell_loaded();
        meters
    }

    fn tell_loaded(&self) {
        self.loaded.set((clock::now_ms() / 1_000) as f64);
    }
}

impl Reloader {
    /// Takes the configuration of the start, and makes what services get of it.
    pub(crate) fn new(
        service: Service,
        path: Option<PathBuf>,
        config: Config,
        generated: bool,
        log: LogFilter,
    ) -> (Reloader, Live) {
        let (news, live) = Live::new(config.clone());
        let mut watched = Watched::default();
        watched.watch(files(path.as_ref(), &config));
        let (checks, meters) = (live.checks(), Meters::begin());
        let reloader =
            Reloader { service, path, running: config, generated, news, checks, watched, log, meters };
        (reloader, live)
    }

    /// Loads it again whenever the signal comes, or a file has changed.
    pub(crate) async fn run(mut self, mut hangup: Signal) {
        loop {
            tokio::select! {
                Some(()) = hangup.recv() => self.reload("SIGHUP").await,
                () = tokio::time::sleep(LOOK) => {
                    if self.watched.settled() {
                        self.reload("a file has changed").await;
                    }
                }
            }
        }
    }

    async fn reload(&mut self, why: &str) {
        let changed = self.watched.take();
        let mut examined = self.load().await;
        // What is written behind a look at a file must be seen by the next one.
        if let Some(config) = &examined.config
            && self.watched.watch(files(self.path.as_ref(), config))
        {
            examined = self.load().await;
        }
        let change = match self.change(examined).await {
            Ok(change) => change,
            Err(faults) => {
                self.meters.refused.increment(1);
                error!("{why}: the configuration has faults, and the one before stays in force: {faults}");
                return;
            }
        };
        let Change { config, effective, mut restart } = change;
        let read =
            config.files().into_iter().filter(|(key, file)| is_read_at_start(key) && changed.contains(file));
        restart.extend(read.map(|(key, _)| key));
        self.meters.applied.increment(1);
        self.meters.tell_loaded();
        match effective.is_empty() {
            // Certificates are read again by those who show them.
            true => info!("{why}: the configuration was loaded again; none of its values has changed"),
            false => {
                info!("{why}: the configuration was loaded again and is in force: {}", effective.join(", "))
            }
        }
        if !restart.is_empty() {
            warn!(
                "the configuration has changed where it cannot change at run time; needs a restart: {}",
                restart.join(", ")
            );
        }
        self.running = config;
        if let Err(fault) = self.log.set(&self.running) {
            error!("{fault}");
        }
        self.news.send_replace(Arc::new(self.running.clone()));
    }

    /// Reads as a start does, away from the threads that serve.
    async fn load(&self) -> Examined {
        let (service, path) = (self.service, self.path.clone());
        let examine = move || examine_for(service, path.as_deref(), std::env::vars());
        let examined = tokio::task::spawn_blocking(examine).await;
        examined.unwrap_or_else(|error| {
            let fault = Fault::new("configuration", error.to_string(), "see the lines before");
            Examined { faults: vec![fault], ..Examined::default() }
        })
    }

    /// Returns the change, or in one line why there is none.
    async fn change(&self, examined: Examined) -> Result<Change, String> {
        let Examined { config: Some(mut next), faults, places } = examined else {
            return Err(lines(&examined.faults));
        };
        if !faults.is_empty() {
            return Err(lines(&faults));
        }
        if self.generated && next.cluster.secret.is_none() {
            next.cluster.secret.clone_from(&self.running.cluster.secret);
        }
        let change =
            Change::between(&self.running, &next).ok_or("it cannot be compared with the one before")?;
        let (checks, config, service) = (self.checks.clone(), change.config.clone(), self.service);
        let looked = tokio::task::spawn_blocking(move || {
            // What waits for a restart may be what makes the rest right.
            [
                config.check_for(service),
                telemetry::check(&config).err().into_iter().collect(),
                checks.faults(&config),
            ]
            .concat()
        });
        let faults = looked.await.map_err(|error| error.to_string())?;
        if faults.is_empty() {
            return Ok(change);
        }
        let faults: Vec<Fault> = faults.into_iter().map(|fault| places.locate(fault)).collect();
        let waits = match change.restart.is_empty() {
            true => String::new(),
            false => format!(" (without what needs a restart: {})", change.restart.join(", ")),
        };
        Err(lines(&faults) + &waits)
    }
}

/// Returns the files that make a configuration.
fn files(path: Option<&PathBuf>, config: &Config) -> Vec<PathBuf> {
    path.cloned().into_iter().chain(config.files().into_iter().map(|(_, file)| file)).collect()
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(Fault::line).collect::<Vec<_>>().join(" | ")
}
