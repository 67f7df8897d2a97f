//! Links of a service to the bus and the store: made at the start, however long that takes, and told of by their cause.
//!
//! One rule: a server that is away ends no process. The service is not ready, one line says the key, the address, the cause and the
//! remedy, and another one that it is over. Start at [`open_bus`] and [`open_store`].

use crate::config::load::Fault;
use crate::{Config, Drain, Live, admin, clock};
use anyhow::{Result, anyhow};
use bus::{Bus, NatsConfig};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use store::{RedisConfig, Store};

/// Pause after the first attempt that failed; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Pause between two lines that tell of the same outage.
const REMINDER: Duration = Duration::from_secs(60);

/// Pause between two lines that tell of different causes.
const ANOTHER_CAUSE: Duration = Duration::from_secs(5);

/// Opens the bus of the configuration; `None` if the service is told to go before it is there.
///
/// # Errors
/// There is no `[bus]`, or it has a fault that time does not mend: names the key and the remedy.
pub async fn open_bus(live: &Live, kind: &str, drain: &Drain) -> Result<Option<Bus>> {
    let attempt = || async move {
        let nats = nats(&live.latest(), kind).map_err(|error| (error, true))?;
        Bus::nats(&nats).await.map_err(|error| {
            let lasts = matches!(error.cause, bus::Cause::Url(_) | bus::Cause::File(_));
            (anyhow::Error::from(bus_fault(&error)), lasts)
        })
    };
    let opened = open("bus", drain, attempt).await?;
    if let Some(bus) = &opened {
        // Between the attempt and now there may have been news.
        let (bus, mut live) = (bus.clone(), live.clone());
        let renew = move |config: &Config| match login(config) {
            Ok(login) => bus.set_login(login),
            Err(error) => tracing::error!(%error, "the bus is logged in to as before"),
        };
        renew(&live.latest());
        tokio::spawn(async move {
            loop {
                renew(&*live.changed().await);
            }
        });
    }
    Ok(opened)
}

/// Opens the store of the configuration; `None` if the service is told to go before it is there.
///
/// # Errors
/// There is no `[store]`, or it has a fault that time does not mend: names the key and the remedy.
pub async fn open_store(live: &Live, drain: &Drain) -> Result<Option<Store>> {
    let attempt = || async move {
        let redis = redis(&live.latest()).map_err(|error| (error, true))?;
        Store::redis(&redis).await.map_err(|error| {
            let lasts = matches!(error.cause, store::Cause::Url(_) | store::Cause::File(_));
            (anyhow::Error::from(store_fault(&error)), lasts)
        })
    };
    let opened = open("store", drain, attempt).await?;
    if let Some(store) = &opened {
        let (store, mut live) = (store.clone(), live.clone());
        let renew = move |config: &Config| {
            if let Ok(redis) = redis(config) {
                store.set_logins(redis.login, redis.sentinel_login);
            }
        };
        renew(&live.latest());
        tokio::spawn(async move {
            loop {
                renew(&*live.changed().await);
            }
        });
    }
    Ok(opened)
}

/// Tries until it succeeds, fails for good, or the service is told to go.
async fn open<T, F: Future<Output = Result<T, (anyhow::Error, bool)>>>(
    part: &str,
    drain: &Drain,
    attempt: impl Fn() -> F,
) -> Result<Option<T>> {
    admin::ready(part, Some("not connected yet"));
    let (mut pause, outage) = (FIRST_PAUSE, Outage::default());
    loop {
        let outcome = tokio::select! {
            () = drain.draining() => return Ok(None),
            outcome = attempt() => outcome,
        };
        match outcome {
            Ok(link) => {
                outage.over(part);
                admin::ready(part, None);
                return Ok(Some(link));
            }
            Err((fault, true)) => return Err(fault),
            Err((fault, false)) => {
                admin::ready(part, Some(&fault.to_string()));
                outage.tell(&fault.to_string(), clock::instant());
            }
        }
        tokio::select! {
            () = drain.draining() => return Ok(None),
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
        }
    }
}

/// Outage of a link that is told once, again each minute while it lasts or soon when its cause changes, and when it is over.
#[derive(Debug, Default)]
pub struct Outage(Mutex<Option<(String, Instant)>>);

impl Outage {
    /// Makes one that has not begun.
    #[must_use]
    pub const fn new() -> Outage {
        Outage(Mutex::new(None))
    }

    /// Tells of it, unless the same was told lately.
    pub fn tell(&self, cause: &str, now: Instant) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = |(last, at): &(String, Instant)| {
            now.duration_since(*at) < if last == cause { REMINDER } else { ANOTHER_CAUSE }
        };
        if !told.as_ref().is_some_and(lately) {
            tracing::warn!("{cause}; it is tried again until it is there");
            *told = Some((cause.to_owned(), now));
        }
    }

    /// Tells that it is over, if there was one.
    pub fn over(&self, link: &str) {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            tracing::info!("the {link} is there again");
        }
    }
}

/// Returns how NATS is reached and logged in to.
///
/// # Errors
/// There is no `[bus]`, or a file of credentials cannot be read.
pub fn nats(config: &Config, kind: &str) -> Result<NatsConfig> {
    let bus = config.bus.as_ref().ok_or_else(|| {
        anyhow!(
            "[bus] url: absent; name a NATS server, or run `tandem serve` to have everything in one process"
        )
    })?;
    let (ca, identity) = files(&bus.ca_file, &bus.certificate_file, &bus.key_file);
    let secret = signal::Secret::new(&config.secret());
    Ok(NatsConfig {
        login: login(config)?,
        tls: bus::Tls { ca, identity },
        report: |trouble| admin::ready("bus", trouble),
        ..NatsConfig::new(&bus.url, &config.instance(kind), &secret, clock::now_ms)
    })
}

/// Returns the credentials for NATS.
fn login(config: &Config) -> Result<bus::Login, Fault> {
    let read = |key: &str, path: &str| {
        std::fs::read_to_string(path).map_err(|error| {
            Fault::new(key, format!("{path} cannot be read: {error}"), "name a readable file")
        })
    };
    let Some(bus) = &config.bus else { return Ok(bus::Login::Nobody) };
    Ok(match (&bus.username, &bus.token, &bus.nkey_file, &bus.credentials_file) {
        (Some(user), ..) => bus::Login::Password(user.clone(), bus.password.clone().unwrap_or_default()),
        (_, Some(token), ..) => bus::Login::Token(token.clone()),
        (_, _, Some(path), _) => bus::Login::Nkey(read("[bus] nkey_file", path)?),
        (.., Some(path)) => bus::Login::Credentials(read("[bus] credentials_file", path)?),
        _ => bus::Login::Nobody,
    })
}

/// Returns how Redis is reached and logged in to.
///
/// # Errors
/// There is no `[store]`.
pub fn redis(config: &Config) -> Result<RedisConfig> {
    let store = config.store.as_ref().ok_or_else(|| anyhow!("[store] url: absent; name a Redis"))?;
    let (ca, identity) = files(&store.ca_file, &store.certificate_file, &store.key_file);
    let login = |user: &Option<String>, password: &Option<String>| store::Login {
        user: user.clone(),
        password: password.clone(),
    };
    Ok(RedisConfig {
        login: login(&store.username, &store.password),
        sentinel_login: login(&store.sentinel_username, &store.sentinel_password),
        tls: store::Tls { ca, identity },
        ..RedisConfig::new(&store.url, Duration::from_millis(store.timeout_ms))
    })
}

type Files = (Option<PathBuf>, Option<(PathBuf, PathBuf)>);

fn files(ca: &Option<String>, certificate: &Option<String>, key: &Option<String>) -> Files {
    let identity = certificate.as_ref().zip(key.as_ref());
    (ca.as_ref().map(PathBuf::from), identity.map(|(certificate, key)| (certificate.into(), key.into())))
}

/// Remedy for a certificate that one side does not trust.
const CERTIFICATES: &str = "name in ca_file the authority that signed the server's certificate, call the host as it stands in there, and \
                            give certificate_file and key_file where the server wants ours";

/// Returns the fault of the configuration, or of its surroundings, that a failure to connect to NATS shows.
#[must_use]
pub fn bus_fault(error: &bus::ConnectError) -> Fault {
    use bus::Cause;
    let (key, remedy) = match &error.cause {
        Cause::Url(_) => ("[bus] url", "write nats://host:4222, servers with commas between them"),
        Cause::File(_) => ("[bus]", "name a readable file, or leave its key out"),
        Cause::Host(_) => ("[bus] url", "name a host that is known"),
        Cause::Refused => ("[bus] url", "is NATS running there?"),
        Cause::Timeout => ("[bus] url", "is NATS running there, and is the way to it open?"),
        Cause::Login(_) => (
            "[bus] username",
            "write what the server knows: username and password, token, nkey_file or credentials_file",
        ),
        Cause::Certificate(_) => ("[bus] ca_file", CERTIFICATES),
        Cause::Other(_) => ("[bus] url", "see the log of the server"),
    };
    Fault::new(key, error.to_string(), remedy)
}

/// Returns the fault of the configuration, or of its surroundings, that a failure to connect to Redis shows.
#[must_use]
pub fn store_fault(error: &store::ConnectError) -> Fault {
    use store::Cause;
    let (key, remedy) = match &error.cause {
        Cause::Url(_) => (
            "[store] url",
            "write redis://host:6379, redis+sentinel://host:26379,host:26379/master or redis+cluster://host:6379,host:6379",
        ),
        Cause::File(_) => ("[store]", "name a readable file, or leave its key out"),
        Cause::Host(_) => ("[store] url", "name a host that is known"),
        Cause::Refused => ("[store] url", "is Redis running there?"),
        Cause::Timeout => ("[store] url", "is Redis running there, and is the way to it open?"),
        Cause::Login(_) => ("[store] password", "write username and password as the server knows them"),
        Cause::Permission(_) => ("[store] username", "give this user ~tandem:* and +@all -@dangerous +role"),
        Cause::Certificate(_) => ("[store] ca_file", CERTIFICATES),
        Cause::Database(_) => ("[store] url", "name a database that the server has; a cluster has 0 alone"),
        Cause::Master(_) => {
            ("[store] url", "write the name that the Sentinels know: `sentinel masters` shows it")
        }
        Cause::Other(_) => ("[store] url", "see the log of the server"),
    };
    Fault::new(key, error.to_string(), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::lines;

    #[test]
    fn a10_an_outage_is_told_once_and_when_it_is_over() {
        let (outage, start) = (Outage::new(), clock::instant());
        let text = lines(|| {
            outage.over("store");
            for quarter in 0..4 * 61 {
                outage.tell("[store] url: refused", start + Duration::from_millis(250 * quarter));
            }
            outage.tell("[store] url: no answer", start + Duration::from_secs(70));
            outage.over("store");
            outage.over("store");
        });
        assert_eq!(text.matches("WARN").count(), 3, "{text}");
        assert_eq!(text.matches("the store is there again").count(), 1, "{text}");
    }
}
