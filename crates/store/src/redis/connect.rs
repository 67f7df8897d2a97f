//! Connection to Redis: one server, the master that Sentinels name, or a cluster; login and TLS of the configuration, and the cause when
//! there is none.
//!
//! One rule: a failure has a [`Cause`], and neither it nor any log line holds a password.

use super::connection::Connection;
use redis::cluster::ClusterClientBuilder;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, RedisResult, ServerErrorKind, TlsCertificates, TlsMode,
};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::timeout;

/// Most times that commands of a cluster are sent again, as when a slot moves.
const CLUSTER_RETRIES: u32 = 3;

/// Address of Redis, proof of who we are, and timeout.
#[derive(Clone)]
pub struct RedisConfig {
    /// URL: `redis://[user:password@]host:port[/database]`, `redis+sentinel://host:port,host:port/master[/database]`, or
    /// `redis+cluster://host:port,host:port`; with `rediss` for `redis`: over TLS.
    pub url: String,
    /// ACL user and password; those in the URL count where these are `None`.
    pub login: Login,
    /// The same for the Sentinels.
    pub sentinel_login: Login,
    /// Certificates of TLS.
    pub tls: Tls,
    /// Time after which an operation fails; 2 s is usual.
    pub timeout: Duration,
}

/// ACL user and password; a user alone is none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// ACL user; `None` = the default one.
    pub user: Option<String>,
    /// Password.
    pub password: Option<String>,
}

/// Files of certificates, in PEM; they are read again for each connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates of the authorities that are trusted; `None` = those of the system.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl RedisConfig {
    /// Returns a configuration without further credentials and certificates.
    #[must_use]
    pub fn new(url: &str, timeout: Duration) -> RedisConfig {
        RedisConfig {
            url: url.to_owned(),
            login: Login::default(),
            sentinel_login: Login::default(),
            tls: Tls::default(),
            timeout,
        }
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig").field("servers", &without_login(&self.url)).finish_non_exhaustive()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Failure to connect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{servers}: {cause}")]
pub struct ConnectError {
    /// Servers of the configuration, without credentials.
    pub servers: String,
    /// Cause.
    pub cause: Cause,
}

/// Cause for which there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The URL cannot be read.
    #[error("the URL cannot be read: {0}")]
    Url(String),
    /// A file of certificates cannot be used.
    #[error("{0}")]
    File(String),
    /// No such host.
    #[error("the host is not known: {0}")]
    Host(String),
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The server does not take this user or password.
    #[error("the server refuses {0}")]
    Login(String),
    /// The ACL user may not use the commands or keys that are needed.
    #[error("the ACL user may not do what is needed: {0}")]
    Permission(String),
    /// One side does not trust the certificate of the other.
    #[error("TLS: {0}")]
    Certificate(String),
    /// The server has no such database.
    #[error("the database cannot be used: {0}")]
    Database(String),
    /// No Sentinel knows the master.
    #[error("no Sentinel knows a master that lives under the name \"{0}\"")]
    Master(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// Kind of Redis, as the scheme of the URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Server,
    /// Name of the master.
    Sentinel(String),
    Cluster,
}

/// A URL as read.
#[derive(Debug)]
struct Target {
    form: Form,
    tls: bool,
    hosts: Vec<ConnectionInfo>,
    login: Login,
    database: i64,
}

/// Connects and authenticates.
pub(super) async fn connect(config: &RedisConfig) -> Result<Connection, ConnectError> {
    let failed = |cause| ConnectError { servers: without_login(&config.url), cause };
    let target = read(&config.url).map_err(failed)?;
    let certificates = certificates(&config.tls, target.tls).map_err(failed)?;
    let name = match &target.form {
        Form::Sentinel(master) => master.clone(),
        _ => String::new(),
    };
    let login = config.login.or(&target.login);
    let shown = login.shown();
    // Sentinels are asked one after another, and a cluster's nodes are met all.
    let limit = if target.form == Form::Server { config.timeout } else { 4 * config.timeout };
    let opening = async {
        let mut connection = open(target, config, login, certificates).await?;
        // A server that wants a password says so only when it is asked for something.
        redis::cmd("PING").exec_async(&mut connection).await?;
        RedisResult::Ok(connection)
    };
    match timeout(limit, opening).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(failed(cause(&error, &shown, &name))),
        Err(_) => Err(failed(Cause::Timeout)),
    }
}

async fn open(
    target: Target,
    config: &RedisConfig,
    login: Login,
    certificates: TlsCertificates,
) -> RedisResult<Connection> {
    let limits = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(config.timeout))
        .set_response_timeout(Some(config.timeout));
    let settings = login.settings(target.database);
    let hosts = target.hosts.into_iter().map(|host| host.set_redis_settings(settings.clone()));
    match target.form {
        Form::Server => {
            let first: Vec<ConnectionInfo> = hosts.take(1).collect();
            let host = first.into_iter().next().ok_or((ErrorKind::InvalidClientConfig, "no host"))?;
            let client =
                if target.tls { Client::build_with_tls(host, certificates)? } else { Client::open(host)? };
            Ok(Connection::Server(client.get_multiplexed_async_connection_with_config(&limits).await?))
        }
        Form::Sentinel(master) => {
            let hosts = hosts.map(|host| host.addr().clone());
            let mut builder = SentinelClientBuilder::new(hosts, master, SentinelServerType::Master)?
                .set_client_to_redis_db(target.database);
            if let Some(user) = &login.user {
                builder = builder.set_client_to_redis_username(user);
            }
            if let Some(password) = &login.password {
                builder = builder.set_client_to_redis_password(password);
            }
            if let Some(user) = &config.sentinel_login.user {
                builder = builder.set_client_to_sentinel_username(user);
            }
            if let Some(password) = &config.sentinel_login.password {
                builder = builder.set_client_to_sentinel_password(password);
            }
            if target.tls {
                builder = builder
                    .set_client_to_redis_tls_mode(TlsMode::Secure)
                    .set_client_to_redis_certificates(certificates.clone())
                    .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                    .set_client_to_sentinel_certificates(certificates);
            }
            let mut client = builder.build()?;
            Ok(Connection::Server(client.get_async_connection_with_config(&limits).await?))
        }
        Form::Cluster => {
            let mut builder = ClusterClientBuilder::new(hosts)
                .connection_timeout(config.timeout)
                .response_timeout(config.timeout)
                .overall_response_timeout(Some(2 * config.timeout))
                .retries(CLUSTER_RETRIES);
            if target.tls {
                builder = builder.certs(certificates);
            }
            Ok(Connection::Cluster(builder.build()?.get_async_connection().await?))
        }
    }
}

impl Login {
    /// Returns these credentials, or others where there are none.
    fn or(&self, other: &Login) -> Login {
        if self.user.is_none() && self.password.is_none() { other.clone() } else { self.clone() }
    }

    fn settings(&self, database: i64) -> RedisConnectionInfo {
        let mut settings = RedisConnectionInfo::default().set_db(database);
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        settings
    }

    /// Description of who was refused.
    fn shown(&self) -> String {
        match (&self.user, &self.password) {
            (_, None) => "us without a password".to_owned(),
            (Some(user), Some(_)) => format!("the user \"{user}\" or the password"),
            (None, Some(_)) => "the password".to_owned(),
        }
    }
}

fn read(url: &str) -> Result<Target, Cause> {
    let malformed = |why: &str| Cause::Url(why.to_owned());
    let (scheme, rest) = url.trim().split_once("://").ok_or_else(|| malformed("it has no scheme"))?;
    let (kind, form) = scheme.split_once('+').unwrap_or((scheme, ""));
    let tls = match kind {
        "redis" => false,
        "rediss" => true,
        _ => return Err(malformed("its scheme is neither redis nor rediss")),
    };
    let (login, rest) = rest.rsplit_once('@').map_or(("", rest), |(login, rest)| (login, rest));
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut path = path.split('/').filter(|part| !part.is_empty());
    let (form, port) = match form {
        "" => (Form::Server, 6_379),
        "cluster" => (Form::Cluster, 6_379),
        "sentinel" => {
            let master = path.next().ok_or_else(|| malformed("it names no master after the Sentinels"))?;
            (Form::Sentinel(master.to_owned()), 26_379)
        }
        _ => return Err(malformed("what follows redis+ is neither sentinel nor cluster")),
    };
    let database = path.next().map_or(Ok(0), str::parse).ok().filter(|number| (0..=15_999).contains(number));
    let database: i64 = database.ok_or_else(|| malformed("its database is no number"))?;
    if path.next().is_some() {
        return Err(malformed("there is something behind its database"));
    }
    if form == Form::Cluster && database != 0 {
        return Err(malformed("a cluster has database 0 alone"));
    }
    let hosts: Vec<&str> = hosts.split(',').map(str::trim).filter(|host| !host.is_empty()).collect();
    if form == Form::Server && hosts.len() > 1 {
        return Err(malformed("several hosts are redis+sentinel:// or redis+cluster://"));
    }
    let info = |host: &&str| {
        let at = if login.is_empty() { String::new() } else { format!("{login}@") };
        let port = if has_port(host) { String::new() } else { format!(":{port}") };
        // The library's own words may repeat what stands there.
        format!("{kind}://{at}{host}{port}")
            .into_connection_info()
            .map_err(|_| malformed("host, port or login"))
    };
    let hosts = hosts.iter().map(info).collect::<Result<Vec<_>, _>>()?;
    let first = hosts.first().ok_or_else(|| malformed("it names no host"))?.redis_settings();
    let owned = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    let login = Login { user: owned(first.username()), password: owned(first.password()) };
    Ok(Target { form, tls, hosts, login, database })
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(name, _)| !name.contains(':') || name.ends_with(']'))
}

/// Returns a URL without what stands before its `@`.
pub(super) fn without_login(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("redis", url));
    format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, rest)| rest))
}

fn certificates(tls: &Tls, used: bool) -> Result<TlsCertificates, Cause> {
    let read = |path: &PathBuf| {
        std::fs::read(path)
            .map_err(|error| Cause::File(format!("{} cannot be read: {error}", path.display())))
    };
    if !used && *tls != Tls::default() {
        return Err(Cause::Url("certificates are given, and its scheme is not rediss".into()));
    }
    let client_tls = match &tls.identity {
        None => None,
        Some((certificate, key)) => {
            Some(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? })
        }
    };
    Ok(TlsCertificates { client_tls, root_cert: tls.ca.as_ref().map(read).transpose()? })
}

/// Returns the cause of an error of the library, for who was refused and the master that was looked for.
fn cause(error: &RedisError, login: &str, master: &str) -> Cause {
    let text = error.to_string();
    let holds = |words: &[&str]| words.iter().any(|word| text.contains(word));
    match error.kind() {
        ErrorKind::AuthenticationFailed => Cause::Login(login.to_owned()),
        ErrorKind::MasterNameNotFoundBySentinel => Cause::Master(master.to_owned()),
        ErrorKind::Server(ServerErrorKind::NoPerm) => Cause::Permission(text),
        _ if matches!(error.code(), Some("NOAUTH" | "WRONGPASS")) => Cause::Login(login.to_owned()),
        _ if error.is_connection_refusal() => Cause::Refused,
        _ if error.is_timeout() => Cause::Timeout,
        // What several nodes said comes as one text.
        _ if holds(&["NOAUTH", "WRONGPASS", "uthentication failed", "Authentication required"]) => {
            Cause::Login(login.to_owned())
        }
        _ if holds(&["certificate", "Certificate", "fatal alert", "HandshakeFailure"]) => {
            Cause::Certificate(text)
        }
        _ if holds(&["switch database"]) => Cause::Database(text),
        _ if holds(&["failed to lookup address", "Name or service not known"]) => Cause::Host(text),
        _ if holds(&["Connection refused"]) => Cause::Refused,
        _ => Cause::Other(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a3_every_form_of_url_is_read_and_no_password_is_shown() {
        let target = read("rediss://rosa:p%40ss@redis.example:6380/3").unwrap();
        assert_eq!((target.form, target.tls, target.database), (Form::Server, true, 3));
        assert_eq!(
            (target.login.user.as_deref(), target.login.password.as_deref()),
            (Some("rosa"), Some("p@ss"))
        );
        let target = read("redis+sentinel://:pw@a,b:26380/mymaster/2").unwrap();
        assert_eq!((target.form, target.database), (Form::Sentinel("mymaster".into()), 2));
        assert_eq!((target.login.user, target.login.password.as_deref()), (None, Some("pw")));
        let addresses: Vec<String> = target.hosts.iter().map(|host| host.addr().to_string()).collect();
        assert_eq!(addresses, ["a:26379", "b:26380"]);
        let target = read("redis+cluster://a:7000,[::1]:7001").unwrap();
        assert_eq!((target.form, target.hosts.len()), (Form::Cluster, 2));
        for (url, why) in [
            ("a:6379", "no scheme"),
            ("http://a", "scheme"),
            ("redis://a,b", "several hosts"),
            ("redis+sentinel://a", "no master"),
            ("redis+ring://a", "neither sentinel nor cluster"),
            ("redis+cluster://a/1", "database 0"),
            ("redis://a/x", "no number"),
            ("redis://", "no host"),
        ] {
            let Err(Cause::Url(text)) = read(url) else { panic!("{url}") };
            assert!(text.contains(why), "{url}: {text}");
        }
        let mut config = RedisConfig::new("redis://rosa:secret@a,b", Duration::from_secs(1));
        config.login.password = Some("secret".into());
        assert!(!format!("{config:?} {:?}", config.login).contains("secret"));
        let ca = Tls { ca: Some("/ca.pem".into()), identity: None };
        assert!(matches!(certificates(&ca, false), Err(Cause::Url(_))));
        assert!(matches!(certificates(&ca, true), Err(Cause::File(text)) if text.contains("/ca.pem")));
    }
}
