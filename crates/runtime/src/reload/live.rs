//! Configuration of a running service: as it was at the start, and news of later ones.

use crate::Config;
use crate::config::load::Fault;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Look at a configuration that a service may have to refuse: at what it names, which the loader does not open.
pub type Check = fn(&Config) -> Result<(), Fault>;

/// Configuration at the start, and those that come to be in force after it; clones hear of each.
#[derive(Clone, Debug)]
pub struct Live {
    config: Arc<Config>,
    news: watch::Receiver<Arc<Config>>,
    checks: Checks,
}

/// Checks of all services of the process.
#[derive(Clone, Debug, Default)]
pub(super) struct Checks(Arc<Mutex<Vec<Check>>>);

impl Checks {
    /// Returns the faults that the services find.
    pub(super) fn faults(&self, config: &Config) -> Vec<Fault> {
        let checks = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        checks.iter().filter_map(|check| check(config).err()).collect()
    }
}

impl Live {
    /// Makes the configuration of a service with the sender of its news.
    #[must_use]
    pub fn new(config: Config) -> (watch::Sender<Arc<Config>>, Live) {
        let config = Arc::new(config);
        let (sender, news) = watch::channel(config.clone());
        (sender, Live { config, news, checks: Checks::default() })
    }

    /// Returns the same for a service of another name.
    #[must_use]
    pub fn named(&self, instance: Option<String>) -> Live {
        Live { config: Arc::new(Config { instance, ..Config::clone(&self.config) }), ..self.clone() }
    }

    /// Waits for the next configuration; for ever where none comes any more. Cancel safe.
    pub async fn changed(&mut self) -> Arc<Config> {
        if self.news.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.news.borrow_and_update().clone()
    }

    /// Returns the configuration that is in force.
    #[must_use]
    pub fn latest(&self) -> Arc<Config> {
        self.news.borrow().clone()
    }

    /// Has each further configuration checked before it comes to be in force.
    pub fn check_by(&self, check: Check) {
        self.checks.0.lock().unwrap_or_else(PoisonError::into_inner).push(check);
    }

    pub(super) fn checks(&self) -> Checks {
        self.checks.clone()
    }
}

/// The configuration at the start.
impl Deref for Live {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.config
    }
}

/// A configuration that never changes.
impl From<Config> for Live {
    fn from(config: Config) -> Live {
        Live::new(config).1
    }
}
