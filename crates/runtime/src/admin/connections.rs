//! Connections of the admin port: so many, so many of one address, and none that stands still.

use crate::places::{Place, Places};
use crate::tls::{self, Greeted, Reread, greet};
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustls::ServerConfig;
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};
use tokio_rustls::server::TlsStream;

/// Most connections of all addresses, and of one: whoever fills them keeps nobody else out.
const MAX: usize = 256;
const MAX_OF_ONE: usize = 64;
/// Time from one answer to the end of the next: what a request, its handling and its answer may take. Longer than
/// [`super::guard::DEADLINE`].
const PATIENCE: Duration = Duration::from_secs(15);
/// Pause after an accept that failed, as without descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Listener that closes what is too much.
#[derive(Debug)]
pub(super) struct Limited {
    listener: TcpListener,
    places: Places,
}

impl Limited {
    pub(super) fn new(listener: TcpListener) -> Limited {
        Limited { listener, places: Places::new(MAX, MAX_OF_ONE) }
    }
}

/// The same over TLS: connections come once their handshakes are done.
#[derive(Debug)]
pub(super) struct Secured {
    greeted: mpsc::Receiver<Greeted<Place>>,
    address: SocketAddr,
}

impl Secured {
    pub(super) fn new(
        listener: TcpListener,
        tls: Reread<Arc<ServerConfig>>,
        key: &'static str,
    ) -> Result<Secured> {
        let (address, places) = (listener.local_addr()?, Places::new(MAX, MAX_OF_ONE));
        Ok(Secured { greeted: greet(listener, tls, key, move |peer| places.take(peer.ip())), address })
    }
}

impl Listener for Secured {
    type Io = Timed<TlsStream<TcpStream>>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Timed<TlsStream<TcpStream>>, SocketAddr) {
        match self.greeted.recv().await {
            Some(Greeted { stream, peer, guard }) => (Timed::new(stream, guard), peer),
            // Whoever greets does so for as long as this listener is there.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Client of a connection.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// Its address.
    pub(super) peer: SocketAddr,
    /// Names of the certificate that it showed.
    pub(super) names: Arc<[String]>,
}

impl Connected<IncomingStream<'_, Limited>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Limited>) -> Caller {
        Caller { peer: *stream.remote_addr(), names: Arc::default() }
    }
}

impl Connected<IncomingStream<'_, Secured>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Secured>) -> Caller {
        let shown = stream.io().stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        Caller { peer: *stream.remote_addr(), names: shown.map(tls::names).unwrap_or_default().into() }
    }
}

impl Listener for Limited {
    type Io = Timed<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Timed<TcpStream>, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    if let Some(place) = self.places.take(peer.ip()) {
                        return (Timed::new(stream, place), peer);
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "the admin port takes no connection now");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Connection that ends once nothing was answered for too long: neither a trickle of octets nor silence keeps it.
#[derive(Debug)]
pub(super) struct Timed<S> {
    stream: S,
    until: Pin<Box<Sleep>>,
    _place: Place,
}

impl<S> Timed<S> {
    fn new(stream: S, place: Place) -> Timed<S> {
        Timed { stream, until: Box::pin(sleep(PATIENCE)), _place: place }
    }

    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        self.until.as_mut().poll(context).is_ready()
    }

    /// Starts the time anew after what was written.
    fn written(&mut self, written: Poll<Result<usize>>, context: &mut Context<'_>) -> Poll<Result<usize>> {
        match written {
            Poll::Ready(Ok(length)) if length > 0 => self.until.as_mut().reset(Instant::now() + PATIENCE),
            Poll::Pending if self.is_late(context) => return Poll::Ready(Err(ErrorKind::TimedOut.into())),
            _ => {}
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let this = self.get_mut();
        if this.is_late(context) {
            return Poll::Ready(Err(Error::from(ErrorKind::TimedOut)));
        }
        Pin::new(&mut this.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, octets);
        this.written(written, context)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[std::io::IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, octets);
        this.written(written, context)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
