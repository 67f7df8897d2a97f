//! UDP: one socket per listen address, a reading task each.

use crate::counters;
use crate::screen::Ways;
use anyhow::{Context, Result};
use runtime::config::{Listener, Transport};
use sip::edge::Flow;
use socket2::{Domain, Protocol, Socket, Type};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::UdpSocket;
use tracing::{debug, warn};

/// Size of the largest datagram, octets.
const DATAGRAM: usize = 65_535;
/// Kernel buffers, octets: a burst of a thousand INVITEs fits.
const BUFFER: usize = 4 * 1024 * 1024;

/// The sockets.
pub struct Sockets(Vec<Bound>);

/// Socket and its own address.
struct Bound {
    socket: Arc<UdpSocket>,
    local: SocketAddr,
}

impl Sockets {
    /// Binds and starts to read.
    pub fn bind(listeners: &[Listener], reuse: bool, ways: &Ways) -> Result<Sockets> {
        let mut sockets = vec![];
        for listener in listeners.iter().filter(|listener| listener.transport == Transport::Udp) {
            let beside = has_ipv4_beside(listeners, *listener);
            let socket = open(listener.address, reuse, beside).with_context(|| cannot_bind(*listener))?;
            let socket = Arc::new(UdpSocket::from_std(socket)?);
            let place = u8::try_from(sockets.len()).unwrap_or(0);
            tokio::spawn(read(socket.clone(), place, ways.clone()));
            sockets.push(Bound { local: socket.local_addr()?, socket });
        }
        Ok(Sockets(sockets))
    }

    /// Sends a datagram, by the socket of the flow if it reaches the peer, else by the first that does. A datagram that the kernel
    /// does not take now is lost like any other, and repeated by its transaction.
    pub fn send(&self, flow: Flow, octets: &[u8]) {
        counters::MESSAGES_OUT.increment(1);
        let peer = flow.peer;
        let own = self.0.get(usize::from(flow.listen)).into_iter();
        match own.chain(&self.0).find_map(|bound| Some((bound, peer_address(bound.local, peer)?))) {
            Some((bound, to)) => {
                if let Err(error) = bound.socket.try_send_to(octets, to) {
                    debug!(%peer, %error, "a datagram was not sent");
                }
            }
            None => warn!(%peer, "no UDP address in [sip] listen reaches this peer"),
        }
    }
}

/// Returns the peer's address in the form of a socket with this address: the IPv6 wildcard reaches IPv4 peers too, in their mapped form.
fn peer_address(local: SocketAddr, peer: SocketAddr) -> Option<SocketAddr> {
    match (local, peer) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) | (SocketAddr::V6(_), SocketAddr::V6(_)) => Some(peer),
        (SocketAddr::V6(local), SocketAddr::V4(peer)) if local.ip().is_unspecified() => {
            Some(SocketAddr::new(peer.ip().to_ipv6_mapped().into(), peer.port()))
        }
        _ => None,
    }
}

/// Returns true if a listener of the same transport and port serves IPv4 by itself.
pub(crate) fn has_ipv4_beside(listeners: &[Listener], this: Listener) -> bool {
    listeners.iter().any(|other| {
        let same = other.transport == this.transport && other.address.port() == this.address.port();
        same && other.address.is_ipv4()
    })
}

pub(crate) fn cannot_bind(listener: Listener) -> String {
    format!("[sip] listen: {listener} cannot be bound; free it or name another address")
}

fn open(address: SocketAddr, reuse: bool, beside: bool) -> Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // The wildcard takes IPv4 peers too, unless they have a socket of their own.
        socket.set_only_v6(beside || !address.ip().is_unspecified())?;
    }
    socket.set_reuse_port(reuse)?;
    // Smaller buffers than asked for are fine.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

async fn read(socket: Arc<UdpSocket>, place: u8, ways: Ways) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, peer)) => {
                if !ways.datagram(Flow { listen: place, ..Flow::udp(peer) }, &buffer[..length]) {
                    return;
                }
            }
            // An ICMP error of an earlier datagram is reported here; the socket itself is sound.
            Err(error) => debug!(%error, "reading UDP"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Input;
    use crate::screen::{Arrivals, ways};

    async fn sockets(listeners: &[&str]) -> Option<(Sockets, Arrivals)> {
        let (ways, arrivals) = ways();
        let listeners: Vec<_> = listeners.iter().filter_map(|text| Listener::parse(text).ok()).collect();
        Some((Sockets::bind(&listeners, false, &ways).ok()?, arrivals))
    }

    /// An IPv4 phone at the IPv6 wildcard is known by its own address and gets its answer.
    #[tokio::test]
    async fn the_ipv6_wildcard_serves_ipv4_peers() -> Result<()> {
        // A host without IPv6 has nothing to show here.
        let Some((udp, mut arrivals)) = sockets(&["udp://[::]:0"]).await else { return Ok(()) };
        let to = udp.0[0].local.port();
        let phone = UdpSocket::bind("127.0.0.1:0").await?;
        phone.send_to(b"hello", ("127.0.0.1", to)).await?;
        let Input::Message(flow, _) = arrivals.next().await else { anyhow::bail!("nothing came") };
        assert_eq!(flow.peer, phone.local_addr()?);
        udp.send(flow, b"answer");
        let mut buffer = [0; 16];
        assert_eq!(phone.recv(&mut buffer).await?, 6);
        Ok(())
    }

    /// A phone that asked one address of ours takes no answer from another.
    #[tokio::test]
    async fn answers_leave_by_the_socket_that_was_asked() -> Result<()> {
        let (udp, mut arrivals) =
            sockets(&["udp://127.0.0.1:0", "udp://127.0.0.1:0"]).await.context("no sockets")?;
        let phone = UdpSocket::bind("127.0.0.1:0").await?;
        for socket in &udp.0 {
            let asked = socket.local;
            phone.send_to(b"hello", asked).await?;
            let Input::Message(flow, _) = arrivals.next().await else { anyhow::bail!("nothing came") };
            assert_eq!(Flow::parse(&flow.to_string()), Some(flow));
            udp.send(flow, b"answer");
            let mut buffer = [0; 16];
            assert_eq!(phone.recv_from(&mut buffer).await?.1, asked);
        }
        Ok(())
    }
}
