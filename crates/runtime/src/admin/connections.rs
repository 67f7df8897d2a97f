//! Connections of the admin port: so many, so many of one address, and none that stands still.

use axum::serve::Listener;
use std::collections::HashMap;
use std::io::{Error, ErrorKind, Result};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep};

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

/// Number of connections of each address.
type Places = Arc<Mutex<HashMap<IpAddr, usize>>>;

impl Limited {
    pub(super) fn new(listener: TcpListener) -> Limited {
        Limited { listener, places: Places::default() }
    }
}

impl Listener for Limited {
    type Io = Timed;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Timed, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    if let Some(place) = Place::take(&self.places, peer.ip()) {
                        return (Timed { stream, until: Box::pin(sleep(PATIENCE)), _place: place }, peer);
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

/// Place of a connection among those of its address.
#[derive(Debug)]
struct Place(Places, IpAddr);

impl Place {
    fn take(places: &Places, address: IpAddr) -> Option<Place> {
        let mut taken = places.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = taken.values().sum();
        let of_one = taken.get(&address).copied().unwrap_or(0);
        if all >= MAX || of_one >= MAX_OF_ONE {
            return None;
        }
        taken.insert(address, of_one + 1);
        Some(Place(places.clone(), address))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = taken.get_mut(&self.1) {
            *number = number.saturating_sub(1);
            if *number == 0 {
                taken.remove(&self.1);
            }
        }
    }
}

/// Connection that ends once nothing was answered for too long: neither a trickle of octets nor silence keeps it.
#[derive(Debug)]
pub(super) struct Timed {
    stream: TcpStream,
    until: Pin<Box<Sleep>>,
    _place: Place,
}

impl Timed {
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

impl AsyncRead for Timed {
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

impl AsyncWrite for Timed {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f7_one_address_takes_no_place_of_another() {
        let places = Places::default();
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut taken: Vec<Place> = (0..MAX_OF_ONE).map(|_| Place::take(&places, one).unwrap()).collect();
        assert!(Place::take(&places, one).is_none());
        assert!(Place::take(&places, other).is_some());
        taken.pop();
        assert!(Place::take(&places, one).is_some());
        drop(taken);
        assert!(places.lock().unwrap().is_empty());
    }
}
