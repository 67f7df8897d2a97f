//! TLS connections of a listener, handed on once their handshakes are done: one that stands still holds up nobody.

use super::Reread;
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Time that a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Pause after an accept that failed, as without descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// Pause between two lines that tell of refused connections.
const REMINDER: Duration = Duration::from_secs(60);

/// Connection whose handshake is done.
#[derive(Debug)]
pub struct Greeted<G> {
    /// Connection.
    pub stream: TlsStream<TcpStream>,
    /// Address of the client.
    pub peer: SocketAddr,
    /// Guard that its admission gave.
    pub guard: G,
}

/// Takes connections until the receiver is dropped. `admit` gives each a guard that it holds, or turns it away; `key` is the key of
/// the configuration that names the listener.
pub fn greet<G: Send + 'static>(
    listener: TcpListener,
    tls: Reread<Arc<ServerConfig>>,
    key: &'static str,
    admit: impl Fn(SocketAddr) -> Option<G> + Send + 'static,
) -> mpsc::Receiver<Greeted<G>> {
    let (done, greeted) = mpsc::channel(1);
    let refusals = Arc::new(Refusals { key, told: Mutex::new(None) });
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                () = done.closed() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let Some(guard) = admit(peer) else { continue };
                    let (acceptor, refusals) = (TlsAcceptor::from(tls.current()), refusals.clone());
                    let done = done.clone();
                    tokio::spawn(async move {
                        let _ = stream.set_nodelay(true);
                        match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                            // Nobody may be there any more to take it.
                            Ok(Ok(stream)) => drop(done.send(Greeted { stream, peer, guard }).await),
                            Ok(Err(error)) => refusals.tell(peer, &error.to_string()),
                            Err(_) => refusals.tell(peer, "no handshake in time"),
                        }
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "{key}: no connection is taken now");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    });
    greeted
}

/// Connections that came to nothing, told of once a minute.
#[derive(Debug)]
struct Refusals {
    key: &'static str,
    told: Mutex<Option<Instant>>,
}

impl Refusals {
    fn tell(&self, peer: SocketAddr, error: &str) {
        let now = crate::clock::instant();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| now.duration_since(told) >= REMINDER) {
            *told = Some(now);
            tracing::warn!(%peer, "{}: a connection over TLS is refused: {error}", self.key);
        }
    }
}
