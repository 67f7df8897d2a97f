//! UDP: one socket per listen address, a reading task each.

use crate::local::Locals;
use crate::screen::Ways;
use crate::{Input, counters, icmp};
use anyhow::{Context, Result};
use runtime::config::{Listener, Transport};
use sip::edge::Flow;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::Instant;
use tracing::{debug, warn};

/// Size of the largest datagram, octets.
const DATAGRAM: usize = 65_535;
/// Most datagrams read in one turn.
const TURN: usize = 64;
/// Most peers whose way is remembered, and how long.
const PEERS: usize = 1_024;
const REMEMBERED: Duration = Duration::from_secs(60);
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
    pub(crate) fn bind(listeners: &[Listener], reuse: bool, ways: &Ways, locals: &Locals) -> Result<Sockets> {
        let mut sockets = vec![];
        for listener in listeners.iter().filter(|listener| listener.transport == Transport::Udp) {
            let beside = has_ipv4_beside(listeners, listener);
            let socket = open(listener.address, reuse, beside).with_context(|| cannot_bind(listener))?;
            let socket = Arc::new(UdpSocket::from_std(socket)?);
            let place = u8::try_from(sockets.len()).unwrap_or(0);
            let ways_out = WaysOut::new(place, locals.clone());
            tokio::spawn(read(socket.clone(), ways.clone(), ways_out));
            sockets.push(Bound { local: socket.local_addr()?, socket });
        }
        Ok(Sockets(sockets))
    }

    /// Sends a datagram, by the socket of the flow if it reaches the peer, else by the first that does. A datagram that the kernel
    /// does not take now is lost like any other, and repeated by its transaction. Returns the peers that cannot be reached: this one,
    /// or others that the kernel has news of.
    #[must_use]
    pub fn send(&self, flow: Flow, octets: &[u8]) -> Vec<SocketAddr> {
        counters::MESSAGES_OUT.increment(1);
        let (peer, mut lost) = (flow.peer, vec![]);
        let own = self.0.get(usize::from(flow.listen)).into_iter();
        match own.chain(&self.0).find_map(|bound| Some((bound, peer_address(bound.local, peer)?))) {
            Some((bound, to)) => {
                let mut sent = bound.socket.try_send_to(octets, to);
                if sent.as_ref().is_err_and(|error| error.kind() != ErrorKind::WouldBlock) {
                    // It may be the error of an earlier datagram to somebody else.
                    lost = icmp::take(&bound.socket);
                    sent = bound.socket.try_send_to(octets, to);
                }
                if let Err(error) = sent {
                    debug!(%peer, %error, "a datagram was not sent");
                    if error.kind() != ErrorKind::WouldBlock && !lost.contains(&peer) {
                        lost.push(peer);
                    }
                }
            }
            None => {
                warn!(%peer, "no UDP address in [sip] listen reaches this peer");
                lost.push(peer);
            }
        }
        lost
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
pub(crate) fn has_ipv4_beside(listeners: &[Listener], this: &Listener) -> bool {
    listeners.iter().any(|other| {
        let same = other.transport == this.transport && other.address.port() == this.address.port();
        same && other.address.is_ipv4()
    })
}

pub(crate) fn cannot_bind(listener: &Listener) -> String {
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
    // Without that a peer that is gone is a timeout; no reason not to start.
    if let Err(error) = icmp::keep(&socket, address.is_ipv6()) {
        warn!(%error, "ICMP errors are not told");
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Our addresses towards the peers of one socket, remembered for a while.
struct WaysOut {
    place: u8,
    locals: Locals,
    known: HashMap<IpAddr, Option<IpAddr>>,
    since: Instant,
}

impl WaysOut {
    fn new(place: u8, locals: Locals) -> WaysOut {
        WaysOut { place, locals, known: HashMap::new(), since: Instant::now() }
    }

    fn towards(&mut self, peer: SocketAddr) -> Option<IpAddr> {
        if self.known.len() >= PEERS || self.since.elapsed() > REMEMBERED {
            self.known.clear();
            self.since = Instant::now();
        }
        let (place, locals) = (self.place, &self.locals);
        *self.known.entry(peer.ip()).or_insert_with(|| locals.towards_udp(place, peer))
    }
}

async fn read(socket: Arc<UdpSocket>, ways: Ways, mut ways_out: WaysOut) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let Ok(ready) = socket.ready(Interest::READABLE | Interest::ERROR).await else { return };
        if ready.is_error() {
            let mut lost = vec![];
            // The error stands until it is looked for in vain.
            let _ = socket.try_io(Interest::ERROR, || {
                lost = icmp::take(&socket);
                Err::<(), _>(ErrorKind::WouldBlock.into())
            });
            // Nothing of ours waits for strangers.
            for peer in lost.into_iter().filter(|peer| ways.knows(peer.ip())) {
                if !ways.tell(Input::Lost(Flow::udp(peer))).await {
                    return;
                }
            }
        }
        for _ in 0..TURN {
            match socket.try_recv_from(&mut buffer) {
                Ok((length, peer)) => {
                    let flow = Flow { listen: ways_out.place, ..Flow::udp(peer) };
                    if !ways.datagram(flow, &buffer[..length], || ways_out.towards(flow.peer)) {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // An ICMP error of an earlier datagram may be told here too; the socket itself is sound.
                Err(error) => debug!(%error, "reading UDP"),
            }
        }
        tokio::task::yield_now().await;
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
        let locals = Locals::new(&runtime::config::SipConfig::default(), &listeners);
        Some((Sockets::bind(&listeners, false, &ways, &locals).ok()?, arrivals))
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
        assert!(udp.send(flow, b"answer").is_empty());
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
            assert!(udp.send(flow, b"answer").is_empty());
            let mut buffer = [0; 16];
            assert_eq!(phone.recv_from(&mut buffer).await?.1, asked);
        }
        Ok(())
    }

    fn of_loopback() -> sip::edge::Trunk {
        sip::edge::Trunk {
            name: "pbx".into(),
            targets: vec![],
            sources: vec![(IpAddr::from([127, 0, 0, 1]), 32)],
            networks: vec![],
            certified: false,
            roaming: false,
            credentials: None,
            inbound: None,
            rewrites: sip::edge::Rewrites::default(),
            trusted: false,
            use_6xx: false,
            session_expires: 0,
        }
    }

    /// A port that nobody listens at is told of the peer that it concerns, once its ICMP message comes; what was sent to others arrives.
    #[tokio::test]
    async fn b5_a_closed_port_is_told() -> Result<()> {
        let (ways, mut arrivals) = ways();
        let listeners = [Listener::parse("udp://127.0.0.1:0")?];
        let locals = Locals::new(&runtime::config::SipConfig::default(), &listeners);
        ways.set_trunks(&[of_loopback()]);
        let udp = Sockets::bind(&listeners, false, &ways, &locals)?;
        let gone = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        let phone = UdpSocket::bind("127.0.0.1:0").await?;
        let there = Flow::udp(phone.local_addr()?);
        udp.0[0].socket.writable().await?;
        let mut lost = udp.send(Flow::udp(gone), b"INVITE");
        // The next datagram meets the error of the first one.
        lost.extend(udp.send(there, b"BYE"));
        let mut buffer = [0; 16];
        let heard = tokio::time::timeout(Duration::from_secs(2), phone.recv(&mut buffer)).await;
        assert_eq!(heard??, 3);
        if lost.is_empty() {
            let told = tokio::time::timeout(Duration::from_secs(2), arrivals.next()).await?;
            let Input::Lost(flow) = told else { anyhow::bail!("{told:?}") };
            lost.push(flow.peer);
        }
        assert_eq!(lost, [gone]);
        // And without anything else being sent.
        drop(udp.send(Flow::udp(gone), b"INVITE"));
        let told = tokio::time::timeout(Duration::from_secs(2), arrivals.next()).await?;
        assert!(matches!(told, Input::Lost(flow) if flow.peer == gone), "{told:?}");
        Ok(())
    }
}
