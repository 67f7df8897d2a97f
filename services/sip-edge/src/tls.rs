//! TLS of the edge: our certificate, whom to trust, and which trunk a peer is by its certificate (RFC 5922).
//!
//! One rule: a name decides, never an address. A server must prove the trunk's name before anything is sent to it; a client that shows
//! a certificate of a trunk is that trunk. Files are read again with each reload; what cannot be used is in no configuration.

use crate::screen::Budget;
use anyhow::{Context, Result};
use runtime::Config;
use runtime::config::{Fault, Transport, TrunkConfig};
use runtime::tls::{client, domains, identity, roots, server};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::ServerName;
use sip::edge::TrunkId;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream as ToServer, server::TlsStream as ToClient};

/// Most handshakes of strangers in a second: they cost as much as hundreds of messages, and the edge has other work.
const STRANGERS: u32 = 100;
/// Keys of the configuration.
const CERTIFICATE: &str = "[sip] tls_certificate_file";
const KEY: &str = "[sip] tls_key_file";
const AUTHORITIES: &str = "[sip] tls_ca_file";

/// TLS as it is configured now; clones share it.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    current: RwLock<Arc<Current>>,
    /// Budget for handshakes of strangers.
    strangers: Mutex<Budget>,
}

/// Names of a trunk, in lower case.
#[derive(Clone)]
struct Names {
    trunk: TrunkId,
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
#[derive(Default)]
struct Current {
    server: Option<Arc<ServerConfig>>,
    /// Trunks, each with what a connection to it needs; those that are gone stand last.
    trunks: Vec<(Names, Arc<ClientConfig>)>,
}

impl Tls {
    /// Reads the files, if a listener or a trunk speaks TLS.
    ///
    /// # Errors
    /// A [`Fault`] with key, file and remedy.
    pub fn new(config: &Config) -> Result<Tls, Fault> {
        let current = RwLock::new(Arc::new(read(config, vec![])?));
        Ok(Tls(Arc::new(Shared { current, strangers: Mutex::new(Budget::new(STRANGERS, Instant::now())) })))
    }

    /// Looks at what would be read.
    ///
    /// # Errors
    /// As [`Tls::new`].
    pub(crate) fn check(config: &Config) -> Result<(), Fault> {
        read(config, vec![]).map(drop)
    }

    /// Reads the files again, and takes the trunks of a configuration. Calls may go on by trunks that are gone.
    ///
    /// # Errors
    /// As [`Tls::new`]; what was in use stays then.
    pub(crate) fn replace(&self, config: &Config) -> Result<(), Fault> {
        let known = self.current().trunks.iter().map(|(names, _)| names.clone()).collect();
        let current = Arc::new(read(config, known)?);
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        Ok(())
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

    fn current(&self) -> Arc<Current> {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Greets a client. Returns the trunk that its certificate names.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Result<(ToClient<TcpStream>, Option<TrunkId>)> {
        let current = self.current();
        let server = current.server.clone().context("no certificate of ours")?;
        let stream = TlsAcceptor::from(server).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let names = shown.map(domains).unwrap_or_default();
        let is = |trunk: &Names| trunk.client.as_ref().is_some_and(|name| names.contains(name));
        let trunk = current.trunks.iter().find(|(trunk, _)| is(trunk)).map(|(trunk, _)| trunk.trunk);
        Ok((stream, trunk))
    }

    /// Greets the server of a trunk, which must prove the trunk's name.
    pub(crate) async fn connect(&self, stream: TcpStream, trunk: TrunkId) -> Result<ToServer<TcpStream>> {
        let current = self.current();
        let found = current.trunks.iter().find(|(names, _)| names.trunk == trunk);
        let (names, client) = found.context("no such trunk")?;
        let name = ServerName::try_from(names.host.clone()).context("its host is no name")?;
        let connected = TlsConnector::from(client.clone()).connect(name, stream).await;
        connected.with_context(|| format!("its certificate must have the name {}", names.server))
    }
}

/// Returns the names of the trunks of a configuration.
fn names(config: &Config) -> Result<Vec<Names>, Fault> {
    let names = |trunk: &TrunkConfig| {
        let hop = trunk.next_hop()?;
        let called = hop.transport() == Transport::Tls;
        let server = trunk.tls_name.as_deref().unwrap_or(&hop.host).to_ascii_lowercase();
        let client = trunk.tls_client_name.as_deref().map(str::to_ascii_lowercase);
        Ok(Names { trunk: TrunkId::of(&trunk.name), called, host: hop.host, server, client })
    };
    config.trunk.iter().map(names).collect()
}

/// Reads the files of a configuration, if a listener or a trunk speaks TLS. `known`: trunks that it may not have any more.
fn read(config: &Config, known: Vec<Names>) -> Result<Current, Fault> {
    let listens = config.sip.listeners()?.iter().any(|listener| listener.transport == Transport::Tls);
    let mut trunks = names(config)?;
    trunks.extend(known);
    let mut seen = HashSet::new();
    trunks.retain(|names| seen.insert(names.trunk));
    let called = trunks.iter().any(|trunk| trunk.called);
    if !listens && !called {
        return Ok(Current::default());
    }
    let config = &config.sip;
    let own = match (&config.tls_certificate_file, &config.tls_key_file) {
        (Some(certificate), Some(key)) => Some(identity((CERTIFICATE, certificate), (KEY, key))?),
        _ => None,
    };
    let asks = trunks.iter().any(|trunk| trunk.client.is_some());
    let authorities = match asks || called {
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
    let client = |names: Names| {
        let client = client(authorities.clone(), vec![names.server.clone()], own.clone())?;
        Ok((names, client))
    };
    let trunks = trunks.into_iter().map(client).collect::<Result<Vec<_>, _>>().map_err(unusable)?;
    Ok(Current { server, trunks })
}
