//! Connections, TCP and TLS: those that peers open and those that we open, by id and by peer. What one does is in `tcp/stream.rs`.

mod stream;
#[cfg(test)]
mod tests;

use crate::counters;
use crate::screen::Ways;
use crate::tls::Tls;
use crate::udp::{cannot_bind, has_ipv4_beside};
use anyhow::{Context, Result};
use bytes::Bytes;
use runtime::config::{Listener, Transport};
use signal::EventId;
use sip::edge::{ConnectionId, Flow, TrunkId};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use stream::{Acceptor, accept, connect};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tracing::{debug, warn};

/// Most connections held; further ones are closed at once.
const MAX: usize = 10_000;
/// Most of them that are not of trunks, and most of those from one source: trunks have places and descriptors whatever strangers do.
const MAX_STRANGERS: usize = 2_000;
const MAX_OF_ONE: usize = 200;
/// Most messages that wait for a slow peer; then its connection is dropped.
const QUEUE: usize = 256;

/// Connection to a peer.
#[derive(Debug)]
pub struct Connection {
    id: ConnectionId,
    /// Transport and peer, and the trunk whose name the peer has proved or will have to prove.
    flow: Flow,
    /// Takes what is to be sent; once it is dropped, the connection closes.
    sender: mpsc::Sender<Bytes>,
}

/// Peer of connections, by which those are found again.
type Peer = (Transport, SocketAddr);

/// Ids of connections: one after another, from a start that no other instance has.
#[derive(Clone, Debug)]
struct Ids(Arc<AtomicU64>);

impl Ids {
    fn of(instance: &str) -> Ids {
        let start = EventId::of(&[instance, &runtime::clock::now_ms().to_string()]).0;
        Ids(Arc::new(AtomicU64::new(start & !u64::from(u32::MAX))))
    }

    fn next(&self) -> ConnectionId {
        ConnectionId(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// All connections.
pub struct Connections {
    ways: Ways,
    tls: Option<Tls>,
    ids: Ids,
    open: HashMap<ConnectionId, Connection>,
    /// Newest connection to each peer.
    by_peer: HashMap<Peer, ConnectionId>,
    /// Connections of strangers, and their number by source.
    strangers: HashMap<ConnectionId, IpAddr>,
    sources: HashMap<IpAddr, usize>,
}

impl Connections {
    /// Binds and starts to accept.
    pub fn bind(
        listeners: &[Listener],
        reuse: bool,
        instance: &str,
        ways: Ways,
        tls: Option<Tls>,
    ) -> Result<Connections> {
        let connections = Connections::new(instance, ways, tls);
        for transport in [Transport::Tcp, Transport::Tls] {
            let alike = listeners.iter().filter(|listener| listener.transport == transport);
            for (place, listener) in alike.enumerate() {
                let beside = has_ipv4_beside(listeners, listener);
                let socket =
                    listen(listener.address, reuse, beside).with_context(|| cannot_bind(listener))?;
                let acceptor = Acceptor {
                    listener: TcpListener::from_std(socket)?,
                    place: u8::try_from(place).unwrap_or(0),
                    tls: connections.tls.clone().filter(|_| transport == Transport::Tls),
                    ids: connections.ids.clone(),
                    ways: connections.ways.clone(),
                };
                tokio::spawn(accept(acceptor));
            }
        }
        Ok(connections)
    }

    fn new(instance: &str, ways: Ways, tls: Option<Tls>) -> Connections {
        Connections {
            ways,
            tls,
            ids: Ids::of(instance),
            open: HashMap::new(),
            by_peer: HashMap::new(),
            strangers: HashMap::new(),
            sources: HashMap::new(),
        }
    }

    /// Adds a connection that a peer has opened. Those of strangers are limited, in all and by source.
    pub fn opened(&mut self, connection: Connection) {
        let (id, flow) = (connection.id, connection.flow);
        let source = source(flow.peer);
        let stranger = !self.ways.is_of_trunk(&flow);
        let held = self.sources.get(&source).copied().unwrap_or(0);
        // A sender that is dropped closes its connection.
        if stranger && (self.strangers.len() >= MAX_STRANGERS || held >= MAX_OF_ONE) {
            debug!(peer = %flow.peer, "too many connections of strangers");
        } else if !self.insert(connection) {
            warn!(peer = %flow.peer, "too many connections");
        } else if stranger {
            self.strangers.insert(id, source);
            *self.sources.entry(source).or_default() += 1;
        }
    }

    /// Notes the trunk whose name the peer of a connection has proved by its certificate: it is no stranger any more.
    pub fn proved(&mut self, id: ConnectionId, trunk: TrunkId) {
        if let Some(connection) = self.open.get_mut(&id) {
            connection.flow.trunk = Some(trunk);
            self.forget_stranger(id);
        }
    }

    /// Removes a connection that is gone, or was never made.
    pub fn closed(&mut self, id: ConnectionId) {
        let Some(Connection { flow, .. }) = self.open.remove(&id) else { return };
        let peer = (flow.transport, flow.peer);
        if self.by_peer.get(&peer) == Some(&id) {
            self.by_peer.remove(&peer);
        }
        self.forget_stranger(id);
    }

    fn forget_stranger(&mut self, id: ConnectionId) {
        let source = self.strangers.remove(&id);
        if let Some((source, held)) = source.and_then(|source| Some((source, self.sources.get_mut(&source)?)))
        {
            *held -= 1;
            if *held == 0 {
                self.sources.remove(&source);
            }
        }
    }

    /// Sends on the connection of a flow, else on one to its peer. Without one, a request makes it; a response goes to the sent-by of
    /// its Via, since the port is that of a client. Returns false if there is no room for it, or nobody whose name could be checked.
    pub fn send(&mut self, flow: Flow, octets: Bytes) -> bool {
        counters::MESSAGES_OUT.increment(1);
        let named = flow.connection.filter(|id| self.is_open(*id));
        let known = named.or_else(|| self.open_to(&flow));
        let (flow, known) = match known {
            None if octets.starts_with(b"SIP/2.0 ") => {
                let Some(to) = self.sent_by(flow, &octets) else {
                    debug!(peer = %flow.peer, "the connection that a response belongs to is gone");
                    return true;
                };
                (to, self.open_to(&to))
            }
            known => (flow, known),
        };
        let id = match known {
            Some(id) => id,
            None => match self.connect(flow) {
                Some(id) => id,
                None => return false,
            },
        };
        if self.open.get(&id).is_some_and(|connection| connection.sender.try_send(octets).is_err()) {
            warn!(peer = %flow.peer, "a connection that takes nothing any more");
            self.closed(id);
        }
        true
    }

    /// Makes a connection to a peer, by TLS only to one whose name is known.
    fn connect(&mut self, flow: Flow) -> Option<ConnectionId> {
        let tls = match flow.transport {
            Transport::Tls => Some((self.tls.clone()?, flow.trunk?)),
            _ => None,
        };
        let (sender, receiver) = mpsc::channel(QUEUE);
        let id = self.ids.next();
        let flow = Flow { connection: None, ..flow };
        if !self.insert(Connection { id, flow, sender }) {
            warn!(peer = %flow.peer, "too many connections");
            return None;
        }
        tokio::spawn(connect(id, flow, receiver, self.ways.clone(), tls));
        Some(id)
    }

    /// Returns the newest connection to a peer; by TLS only one whose peer has proved the name that the flow wants, if it wants one.
    fn open_to(&self, flow: &Flow) -> Option<ConnectionId> {
        let id = self.by_peer.get(&(flow.transport, flow.peer)).copied().filter(|id| self.is_open(*id))?;
        let proved = self.open.get(&id).and_then(|connection| connection.flow.trunk);
        (flow.trunk.is_none() || flow.trunk == proved).then_some(id)
    }

    /// Returns where a response goes whose connection is gone: to the source of its request, at the port of the sent-by (RFC 3261
    /// §18.2.2). `None` if there is no top Via, or the source has its share of connections.
    fn sent_by(&self, client: Flow, response: &Bytes) -> Option<Flow> {
        let room = self.sources.get(&source(client.peer)).is_none_or(|held| *held < MAX_OF_ONE);
        let via = sip::message::read(response).ok()?.via().filter(|_| room)?;
        let named = client.transport != Transport::Tls || client.trunk.is_some();
        let port = via.port.unwrap_or(client.transport.default_port());
        let peer = SocketAddr::new(client.peer.ip(), port);
        named.then_some(Flow { peer, connection: None, ..client })
    }

    fn is_open(&self, id: ConnectionId) -> bool {
        self.open.get(&id).is_some_and(|connection| !connection.sender.is_closed())
    }

    /// Adds a connection. Returns false if there is no room.
    fn insert(&mut self, connection: Connection) -> bool {
        if self.open.len() >= MAX {
            return false;
        }
        self.by_peer.insert((connection.flow.transport, connection.flow.peer), connection.id);
        self.open.insert(connection.id, connection);
        true
    }
}

/// Returns the source that a peer counts as: an IPv4 address, or the /64 that an IPv6 host has to itself.
fn source(peer: SocketAddr) -> IpAddr {
    match peer.ip().to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        ip @ IpAddr::V4(_) => ip,
    }
}

fn listen(address: SocketAddr, reuse: bool, beside: bool) -> Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(beside || !address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1_024)?;
    Ok(socket.into())
}
