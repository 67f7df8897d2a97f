//! Component port of an XMPP server: reached in the clear, or over TLS from the first octet.

use anyhow::{Context, Result, anyhow};
use runtime::config::{ComponentConfig, Fault};
use runtime::tls::TlsLink;
use std::io::ErrorKind;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

const CONNECT: Duration = Duration::from_secs(5);

/// Connection to a component port.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Connection for S {}

/// Component port of a server. Clones share the files of its TLS.
#[derive(Clone, Debug)]
pub struct Server {
    address: String,
    tls: Option<TlsLink>,
}

impl Server {
    /// Reads the files of a component's TLS, if it is over TLS.
    ///
    /// # Errors
    /// A [`Fault`] with key, value and remedy.
    pub fn new(component: &ComponentConfig) -> Result<Server, Fault> {
        let link = || TlsLink::new("[[xmpp.component]]", &component.tls_files(), component.tls_name(), None);
        let tls = component.is_secure().then(link).transpose()?;
        Ok(Server { address: component.address().to_owned(), tls })
    }

    /// Connects; a server over TLS has proven its name then.
    ///
    /// # Errors
    /// Why there is no connection, in words for the operator.
    pub(crate) async fn connect(&self) -> Result<Box<dyn Connection>> {
        let late = "no connection in time; is [[xmpp.component]] server right?";
        let away = "no connection; does the XMPP server listen for components there?";
        let connecting = async {
            match &self.tls {
                None => {
                    let stream = TcpStream::connect(&self.address).await.context(away)?;
                    stream.set_nodelay(true)?;
                    Ok(Box::new(stream) as Box<dyn Connection>)
                }
                Some(link) => match link.connect(&self.address).await {
                    Ok(stream) => Ok(Box::new(stream) as Box<dyn Connection>),
                    Err(error) if error.kind() == ErrorKind::InvalidData => {
                        Err(anyhow!(link.fault(&self.address, &error)))
                    }
                    Err(error) => Err(error).context(away),
                },
            }
        };
        timeout(CONNECT, connecting).await.context(late)?
    }
}
