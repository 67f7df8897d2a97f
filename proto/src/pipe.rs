//! Transport of gRPC within one process: the same client and server over an in-memory pipe.

use hyper_util::rt::TokioIo;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint, Uri};

const BUFFER: usize = 256 * 1024;
const BACKLOG: usize = 16;

/// Client side; clones reach the same server.
#[derive(Clone, Debug)]
pub struct Dialer(mpsc::Sender<DuplexStream>);

/// Server side: a source of connections for `Server::serve_with_incoming`.
#[derive(Debug)]
pub struct Listener(mpsc::Receiver<DuplexStream>);

/// Makes the two sides of a pipe.
#[must_use]
pub fn pipe() -> (Dialer, Listener) {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    (Dialer(sender), Listener(receiver))
}

impl Dialer {
    /// Makes a channel that connects on first use and reconnects when the connection is lost.
    #[must_use]
    pub fn channel(&self) -> Channel {
        let sender = self.0.clone();
        Endpoint::from_static("http://pipe").connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
            let sender = sender.clone();
            async move {
                let (ours, theirs) = tokio::io::duplex(BUFFER);
                sender.send(theirs).await.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
                Ok::<_, io::Error>(TokioIo::new(ours))
            }
        }))
    }
}

impl Listener {
    /// Waits for the next connection; `None` when no dialer is left.
    pub async fn accept(&mut self) -> Option<Pipe> {
        self.0.recv().await.map(Pipe)
    }
}

/// Connection that carries gRPC: of a [`Dialer`], or any other.
#[derive(Debug)]
pub struct Pipe<S = DuplexStream>(pub S);

impl<S> Connected for Pipe<S> {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl<S: AsyncRead + Unpin> AsyncRead for Pipe<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Pipe<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
