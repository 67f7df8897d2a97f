//! TLS of the edge: our certificate, whom to trust, and which trunk a peer is by its certificate (RFC 5922).
//!
//! One rule: a name decides, never an address. A server must prove the trunk's name before anything is sent to it; a client that shows
//! a certificate of a trunk is that trunk. Changed files are read again; those that cannot be used leave the old ones in use.

use crate::screen::Budget;
use anyhow::{Context, Result};
use runtime::Config;
use runtime::config::{Fault, SipConfig, Transport};
use runtime::tls::{Watched, client, domains, identity, roots, server};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::ServerName;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream as ToServer, server::TlsStream as ToClient};
use tracing::{error, info};

/// Interval at which files are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Most handshakes of strangers in a second: they cost as much as hundreds of messages, and the edge has other work.
const STRANGERS: u32 = 100;
/// Keys of the configuration.
const CERTIFICATE: &str = "[sip] tls_certificate_file";
const KEY: &str = "[sip] tls_key_file";
const AUTHORITIES: &str = "[sip] tls_ca_file";

/// TLS as it is configured now.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    config: SipConfig,
    trunks: Vec<Names>,
    current: RwLock<Current>,
    /// Budget for handshakes of strangers.
    strangers: Mutex<Budget>,
}

/// Names of a trunk, in lower case.
struct Names {
    /// Our calls go to it by TLS.
    called: bool,
    /// Name or address that is asked for (SNI).
    host: String,
    /// Name that its certificate must have as a server.
    server: String,
    /// Name that its certificate has as a client.
    client: Option<String>,
}

/// Contents of the files, ready for use.
#[derive(Clone)]
struct Current {
    server: Option<Arc<ServerConfig>>,
    /// By trunk: each has a name of its own.
    clients: Vec<Arc<ClientConfig>>,
}

impl Tls {
    /// Reads the files, if a listener or a trunk speaks TLS.
    ///
    /// # Errors
    /// A [`Fault`] with key, file and remedy.
    pub fn new(config: &Config) -> Result<Option<Tls>> {
        let listeners = config.sip.listeners()?;
        let listens = listeners.iter().any(|listener| listener.transport == Transport::Tls);
        let mut trunks = vec![];
        for trunk in &config.trunk {
            let hop = trunk.next_hop()?;
            let called = hop.transport() == Transport::Tls;
            let server = trunk.tls_name.as_deref().unwrap_or(&hop.host).to_ascii_lowercase();
            let client = trunk.tls_client_name.as_deref().map(str::to_ascii_lowercase);
            trunks.push(Names { called, host: hop.host, server, client });
        }
        if !listens && !trunks.iter().any(|trunk| trunk.called) {
            return Ok(None);
        }
        let current = read(&config.sip, &trunks)?;
        let (current, strangers) = (RwLock::new(current), Mutex::new(Budget::new(STRANGERS, Instant::now())));
        Ok(Some(Tls(Arc::new(Shared { config: config.sip.clone(), trunks, current, strangers }))))
    }

    /// Returns true if a stranger may have a handshake now, and counts it.
    pub(crate) fn has_room_for_stranger(&self) -> bool {
        let mut strangers = self.0.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let room = strangers.wait(now).is_zero();
        if room {
            strangers.take(now);
        }
        room
    }

    /// Reads changed files again, for ever.
    pub(crate) async fn keep_reading(self) {
        let config = &self.0.config;
        let files = [&config.tls_certificate_file, &config.tls_key_file, &config.tls_ca_file];
        let mut watched = Watched::new(files.into_iter().flatten().map(String::as_str));
        loop {
            tokio::time::sleep(LOOK).await;
            if !watched.changed() {
                continue;
            }
            match read(config, &self.0.trunks) {
                Ok(current) => {
                    *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = current;
                    info!("the certificates of [sip] have changed and are in use");
                }
                Err(fault) => {
                    error!(%fault, "the changed certificates of [sip] cannot be used; the old ones stay")
                }
            }
        }
    }

    fn current(&self) -> Current {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Greets a client. Returns the trunk that its certificate names.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Result<(ToClient<TcpStream>, Option<u16>)> {
        let server = self.current().server.context("no certificate of ours")?;
        let stream = TlsAcceptor::from(server).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let names = shown.map(domains).unwrap_or_default();
        let is = |trunk: &Names| trunk.client.as_ref().is_some_and(|name| names.contains(name));
        let trunk = self.0.trunks.iter().position(is).and_then(|place| u16::try_from(place).ok());
        Ok((stream, trunk))
    }

    /// Greets the server of a trunk, which must prove the trunk's name.
    pub(crate) async fn connect(&self, stream: TcpStream, trunk: u16) -> Result<ToServer<TcpStream>> {
        let place = usize::from(trunk);
        let current = self.current();
        let (client, names) =
            current.clients.get(place).cloned().zip(self.0.trunks.get(place)).context("no such trunk")?;
        let name = ServerName::try_from(names.host.clone()).context("its host is no name")?;
        let connected = TlsConnector::from(client).connect(name, stream).await;
        connected.with_context(|| format!("its certificate must have the name {}", names.server))
    }
}

/// Reads the files of a configuration.
fn read(config: &SipConfig, trunks: &[Names]) -> Result<Current> {
    let own = match (&config.tls_certificate_file, &config.tls_key_file) {
        (Some(certificate), Some(key)) => Some(identity((CERTIFICATE, certificate), (KEY, key))?),
        _ => None,
    };
    let asks = trunks.iter().any(|trunk| trunk.client.is_some());
    let authorities = match asks || trunks.iter().any(|trunk| trunk.called) {
        true => roots(AUTHORITIES, config.tls_ca_file.as_deref())?,
        false => RootCertStore::empty(),
    };
    let unusable =
        |error: rustls::Error| Fault::new(AUTHORITIES, error.to_string(), "name other authorities");
    let server = match &own {
        Some(own) => {
            let clients: Option<RootCertStore> = asks.then(|| authorities.clone());
            Some(server(own.clone(), clients).map_err(unusable)?)
        }
        None => None,
    };
    let authorities = Arc::new(authorities);
    let client = |trunk: &Names| client(authorities.clone(), vec![trunk.server.clone()], own.clone());
    let clients = trunks.iter().map(client).collect::<Result<Vec<_>, _>>().map_err(unusable)?;
    Ok(Current { server, clients })
}
