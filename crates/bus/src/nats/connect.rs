//! Connection to NATS: servers, login and TLS of the configuration, and the cause when there is none.
//!
//! One rule: a failure has a [`Cause`], and neither it nor any log line holds a password.

use super::link::Link;
use crate::QUEUE;
use async_nats::rustls;
use async_nats::{Auth, Client, ConnectError as NatsError, ConnectErrorKind, ConnectOptions, ServerAddr};
use signal::Secret;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::time::timeout;

/// Time for one server of the list to take us.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for all of them.
const CONNECT_ALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Address of NATS, proof of who we are, and name of this client.
#[derive(Clone)]
pub struct NatsConfig {
    /// URLs, `nats://a:4222,tls://user:password@b:4222`: the client connects to the next one when a connection is lost.
    pub url: String,
    /// Credentials; those in the URL count if this is [`Login::Nobody`].
    pub login: Login,
    /// Certificates of TLS.
    pub tls: Tls,
    /// Name of the connection in the server's monitoring.
    pub name: String,
    /// Secret of the cluster: messages are authenticated with a key that follows from it.
    pub secret: Secret,
    /// Clock, ms since the Unix epoch.
    pub now: fn() -> u64,
    /// Told of every loss of the connection, with the cause, and with `None` when it is back.
    pub report: fn(Option<&str>),
}

impl NatsConfig {
    /// Returns a configuration without credentials and certificates, that reports to nobody.
    #[must_use]
    pub fn new(url: &str, name: &str, secret: &Secret, now: fn() -> u64) -> NatsConfig {
        NatsConfig {
            url: url.to_owned(),
            login: Login::Nobody,
            tls: Tls::default(),
            name: name.to_owned(),
            secret: secret.clone(),
            now,
            report: |_| {},
        }
    }
}

impl fmt::Debug for NatsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsConfig").field("servers", &without_login(&self.url)).finish_non_exhaustive()
    }
}

/// Credentials of a client.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Login {
    /// None.
    #[default]
    Nobody,
    /// User and password.
    Password(String, String),
    /// Token.
    Token(String),
    /// Seed of an nkey.
    Nkey(String),
    /// Text of a credentials file: JWT and seed of a user.
    Credentials(String),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Login {
    fn name(&self) -> &'static str {
        match self {
            Login::Nobody => "no credentials",
            Login::Password(..) => "user and password",
            Login::Token(_) => "token",
            Login::Nkey(_) => "nkey",
            Login::Credentials(_) => "credentials file",
        }
    }
}

/// Credentials of the next connection: a user's password and a token can be replaced. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Logins(Arc<RwLock<Login>>);

impl Logins {
    /// Replaces the credentials by others of a kind that can be replaced.
    pub(super) fn set(&self, login: Login) {
        if matches!(login, Login::Password(..) | Login::Token(_)) {
            *self.0.write().unwrap_or_else(PoisonError::into_inner) = login;
        }
    }

    /// Returns what the server is shown.
    fn auth(&self) -> Auth {
        let mut auth = Auth::new();
        match self.0.read().unwrap_or_else(PoisonError::into_inner).clone() {
            Login::Password(user, password) => (auth.username, auth.password) = (Some(user), Some(password)),
            Login::Token(token) => auth.token = Some(token),
            Login::Nobody | Login::Nkey(_) | Login::Credentials(_) => {}
        }
        auth
    }
}

/// Files of certificates, in PEM; they are read again for each connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates of the authorities that are trusted; `None` = those of the system.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Failure to connect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{servers}: {cause}")]
pub struct ConnectError {
    /// Servers of the configuration, without credentials.
    pub servers: String,
    /// Cause at the server that was tried last.
    pub cause: Cause,
}

/// Cause for which there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The URL cannot be read.
    #[error("the URL cannot be read: {0}")]
    Url(String),
    /// A file of certificates or credentials cannot be used.
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
    /// The server does not take these credentials.
    #[error("the server refuses us with {0}")]
    Login(&'static str),
    /// One side does not trust the certificate of the other.
    #[error("TLS: {0}")]
    Certificate(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// Connects, authenticates, and tells `link` of what becomes of the connection. Returns the credentials of later connections, too.
pub(super) async fn connect(config: &NatsConfig, link: Arc<Link>) -> Result<(Client, Logins), ConnectError> {
    let failed = |cause| ConnectError { servers: without_login(&config.url), cause };
    let (servers, in_url) = servers(&config.url).map_err(failed)?;
    let login = if config.login == Login::Nobody { in_url } else { config.login.clone() };
    let named = login.name();
    let (options, logins) = with_login(login).map_err(failed)?;
    let options = with_tls(with_events(options, config, link), &config.tls).map_err(failed)?;
    match timeout(CONNECT_ALL_TIMEOUT, options.connect(servers)).await {
        Ok(Ok(client)) => Ok((client, logins)),
        Ok(Err(error)) => Err(failed(cause(&error, named))),
        Err(_) => Err(failed(Cause::Timeout)),
    }
}

fn with_events(options: ConnectOptions, config: &NatsConfig, link: Arc<Link>) -> ConnectOptions {
    options
        .name(&config.name)
        .subscription_capacity(QUEUE)
        .event_callback(move |event| {
            link.hear(&event);
            std::future::ready(())
        })
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(Duration::from_secs(5))
        .reconnect_delay_callback(|attempt| Duration::from_millis((attempt as u64 * 50).min(500)))
}

fn with_login(login: Login) -> Result<(ConnectOptions, Logins), Cause> {
    let logins = Logins(Arc::new(RwLock::new(login.clone())));
    let options = match login {
        Login::Nobody => ConnectOptions::new(),
        Login::Password(..) | Login::Token(_) => {
            let logins = logins.clone();
            ConnectOptions::with_auth_callback(move |_| std::future::ready(Ok(logins.auth())))
        }
        // A seed may stand in a file with comments around it.
        Login::Nkey(text) => {
            let seed = text.lines().map(str::trim).find(|line| line.starts_with('S'));
            let seed = seed.ok_or_else(|| Cause::File("the nkey file holds no seed".into()))?;
            ConnectOptions::with_nkey(seed.to_owned())
        }
        Login::Credentials(text) => ConnectOptions::with_credentials(&text)
            .map_err(|_| Cause::File("the credentials file holds no JWT with its seed".into()))?,
    };
    Ok((options, logins))
}

fn with_tls(mut options: ConnectOptions, tls: &Tls) -> Result<ConnectOptions, Cause> {
    let readable = |path: &PathBuf| match std::fs::File::open(path) {
        Ok(_) => Ok(path.clone()),
        Err(error) => Err(Cause::File(format!("{} cannot be read: {error}", path.display()))),
    };
    if let Some(ca) = &tls.ca {
        options = options.add_root_certificates(readable(ca)?).require_tls(true);
    }
    if let Some((certificate, key)) = &tls.identity {
        options = options.add_client_certificate(readable(certificate)?, readable(key)?).require_tls(true);
    }
    Ok(options)
}

/// Reads the list of servers, and the credentials that stand in it; several servers share them.
fn servers(url: &str) -> Result<(Vec<ServerAddr>, Login), Cause> {
    let (mut servers, mut login) = (vec![], Login::Nobody);
    for text in url.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        // The library's own words may repeat what stands there.
        let malformed = |_| Cause::Url(without_login(text));
        let server: ServerAddr = text.parse().map_err(malformed)?;
        let found = match (decoded(server.username().unwrap_or_default()), server.password().map(decoded)) {
            (Some(user), None) if user.is_empty() => Login::Nobody,
            (Some(token), None) => Login::Token(token),
            (Some(user), Some(Some(password))) => Login::Password(user, password),
            _ => return Err(Cause::Url("a % in user or password is not followed by two digits".into())),
        };
        if found != Login::Nobody {
            if login != Login::Nobody && login != found {
                return Err(Cause::Url("its servers have different users or passwords".into()));
            }
            login = found;
        }
        servers.push(without_login(text).parse::<ServerAddr>().map_err(malformed)?);
    }
    if servers.is_empty() {
        return Err(Cause::Url("it names no server".into()));
    }
    Ok((servers, login))
}

/// Returns URLs without what stands before an `@`.
pub(super) fn without_login(url: &str) -> String {
    let each = url.split(',').map(str::trim).map(|url| {
        let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        // A comma within a password parts it from its host: what is no port is not shown.
        let host = match host.split_once(':') {
            Some((name, port))
                if !host.starts_with('[') && !port.starts_with(|c: char| c.is_ascii_digit()) =>
            {
                name
            }
            _ => host,
        };
        if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") }
    });
    each.collect::<Vec<_>>().join(",")
}

/// Decodes a part of a URL (RFC 3986 §2.1).
fn decoded(text: &str) -> Option<String> {
    let (mut octets, mut rest) = (vec![], text.as_bytes());
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        if *first == b'%' {
            let (digits, more) = rest.split_at_checked(2)?;
            octets.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = more;
        } else {
            octets.push(*first);
        }
    }
    String::from_utf8(octets).ok()
}

fn cause(error: &NatsError, login: &'static str) -> Cause {
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => Cause::Login(login),
        ConnectErrorKind::TimedOut => Cause::Timeout,
        ConnectErrorKind::Dns => {
            Cause::Host(error.source().map_or_else(|| error.to_string(), ToString::to_string))
        }
        _ => deep_cause(error),
    }
}

/// Looks for the cause among the sources of an error.
fn deep_cause(error: &NatsError) -> Cause {
    let mut source: Option<&(dyn Error + 'static)> = error.source();
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            match io.kind() {
                io::ErrorKind::ConnectionRefused => return Cause::Refused,
                io::ErrorKind::TimedOut => return Cause::Timeout,
                _ => {}
            }
            if let Some(tls) = io.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
                return Cause::Certificate(tls.to_string());
            }
        }
        source = inner.source();
    }
    match error.kind() {
        ConnectErrorKind::Tls => Cause::Certificate(error.to_string()),
        _ => Cause::Other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a2_credentials_are_read_from_the_url_and_shown_to_nobody() {
        let login = |url: &str| servers(url).map(|(_, login)| login);
        assert_eq!(login("nats://a:4222, tls://b:4222"), Ok(Login::Nobody));
        assert_eq!(login("nats://rosa:s%40f%2Ce@a:4222"), Ok(Login::Password("rosa".into(), "s@f,e".into())));
        assert_eq!(login("nats://t0ken@a,nats://b"), Ok(Login::Token("t0ken".into())));
        assert!(matches!(login("nats://a:b@c,nats://a:d@e"), Err(Cause::Url(_))));
        assert!(matches!(login("http://a"), Err(Cause::Url(text)) if text == "http://a"));
        assert!(matches!(login(" "), Err(Cause::Url(_))));
        assert_eq!(without_login("nats://u:p@a:1,tls://b:2"), "nats://a:1,tls://b:2");
        assert!(!without_login("nats://u:pass,word@a:1").contains("pass"));
        let config = NatsConfig {
            login: Login::Password("rosa".into(), "secret".into()),
            ..NatsConfig::new("nats://u:secret@a", "n", &Secret::new(b"secret"), || 0)
        };
        assert_eq!(format!("{config:?} {:?}", config.login).matches("secret").count(), 0);
    }
}
