//! TLS of a link to a server, and gRPC over it.

use super::{Reread, alpn, client_of, identity_of, roots};
use crate::config::{Fault, TlsFiles};
use crate::links::Outage;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// Time that a connection and its handshake may take.
const CONNECT: Duration = Duration::from_secs(5);

/// TLS of a link: whom it trusts, the name that the server must prove, and our identity for a server that asks for one. Clones share
/// the files, which are read again when they change.
#[derive(Clone, Debug)]
pub struct TlsLink {
    /// Key of the authorities.
    key: String,
    config: Reread<Arc<ClientConfig>>,
    name: ServerName<'static>,
}

impl TlsLink {
    /// Reads the files of a section. `name` is the DNS name or address that the server's certificate must have, `name_key` the key that
    /// gives it, `protocol` what is spoken (ALPN).
    ///
    /// # Errors
    /// A [`Fault`] with key, value and remedy.
    pub fn new(
        section: &'static str,
        files: &TlsFiles,
        (name_key, name): (&str, &str),
        protocol: Option<&'static [u8]>,
    ) -> Result<TlsLink, Fault> {
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| {
            let trouble = format!("\"{name}\" is neither a DNS name nor an address");
            Fault::new(name_key, trouble, "write the name that stands in the server's certificate")
        })?;
        let read = {
            let files = files.clone();
            move || {
                let roots = roots(&files.ca.key, files.ca.file.as_deref())?;
                let config = client_of(roots, identity_of(&files)?);
                config
                    .map(|config| Arc::new(alpn(config, protocol)))
                    .map_err(|error| Fault::new(&files.ca.key, error.to_string(), "name other authorities"))
            }
        };
        Ok(TlsLink { key: files.ca.key.clone(), config: Reread::new(section, files.paths(), read)?, name })
    }

    /// Greets the server at the other end of a connection, which must prove its name.
    ///
    /// # Errors
    /// The connection broke, it speaks no TLS, or its certificate is not taken.
    pub async fn greet(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsConnector::from(self.config.current()).connect(self.name.clone(), stream).await
    }

    /// Connects to a server and greets it.
    ///
    /// # Errors
    /// There is no connection in time; else as [`TlsLink::greet`].
    pub async fn connect(&self, server: impl ToSocketAddrs) -> io::Result<TlsStream<TcpStream>> {
        let connecting = async {
            let stream = TcpStream::connect(server).await?;
            stream.set_nodelay(true)?;
            self.greet(stream).await
        };
        timeout(CONNECT, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Makes a gRPC channel that connects on first use, to this server alone, and again when the connection is lost. A server whose
    /// certificate is not taken, or which speaks no TLS, is told of; one that is away is whoever asks it to tell of.
    #[must_use]
    pub fn channel(&self, endpoint: &Endpoint, server: &str) -> Channel {
        let (link, server, outage) = (self.clone(), server.to_owned(), Arc::new(Outage::new()));
        endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
            let (link, server, outage) = (link.clone(), server.clone(), outage.clone());
            async move {
                let connected = link.connect(&server).await;
                match &connected {
                    Ok(_) => outage.over(&format!("TLS with {server}")),
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                        outage.tell(&link.fault(&server, error).to_string(), crate::clock::instant());
                    }
                    Err(_) => {}
                }
                connected.map(TokioIo::new)
            }
        }))
    }

    /// Returns the fault that a failed greeting shows.
    #[must_use]
    pub fn fault(&self, server: &str, error: &io::Error) -> Fault {
        let name = self.name.to_str();
        Fault::new(
            &self.key,
            format!("no TLS with {server}: {error}"),
            format!("name the authority that signed its certificate, which must have the name {name}"),
        )
    }
}
