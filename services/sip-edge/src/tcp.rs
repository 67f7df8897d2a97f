//! TCP: connections that peers open and that we open, one task each, framed by `sip::message::stream`.

use crate::udp::{cannot_bind, has_ipv4_beside};
use crate::{Input, counters};
use anyhow::{Context, Result};
use bytes::Bytes;
use runtime::config::{Listener, Transport};
use signal::EventId;
use sip::edge::{ConnectionId, Flow};
use sip::message::{Framed, Stream};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tracing::{debug, warn};

/// Most connections held; further ones are closed at once.
const MAX: usize = 10_000;
/// Most of them from one source: phones behind one NAT are many, a flood is more.
const MAX_OF_ONE: usize = 1_000;
/// Most messages that wait for a slow peer; then its connection is dropped.
const QUEUE: usize = 256;
const CONNECT: Duration = Duration::from_secs(4);
const WRITE: Duration = Duration::from_secs(5);
/// Time that a connection has to take the answer to a message that ends its framing.
const LAST_ANSWER: Duration = Duration::from_millis(500);
/// Longest silence of a connection before it is closed.
const IDLE: Duration = Duration::from_secs(600);

/// Connection to a peer.
#[derive(Debug)]
pub struct Connection {
    id: ConnectionId,
    peer: SocketAddr,
    /// Takes what is to be sent; once it is dropped, the connection closes.
    sender: mpsc::Sender<Bytes>,
}

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
    inputs: mpsc::Sender<Input>,
    ids: Ids,
    open: HashMap<ConnectionId, Connection>,
    /// Newest connection to each peer.
    by_peer: HashMap<SocketAddr, ConnectionId>,
    /// Number of connections by source.
    sources: HashMap<IpAddr, usize>,
}

impl Connections {
    /// Binds and starts to accept.
    pub fn bind(
        listeners: &[Listener],
        reuse: bool,
        instance: &str,
        inputs: mpsc::Sender<Input>,
    ) -> Result<Connections> {
        let connections = Connections::new(instance, inputs);
        for listener in listeners.iter().filter(|listener| listener.transport == Transport::Tcp) {
            let beside = has_ipv4_beside(listeners, *listener);
            let socket = listen(listener.address, reuse, beside).with_context(|| cannot_bind(*listener))?;
            let (ids, inputs) = (connections.ids.clone(), connections.inputs.clone());
            tokio::spawn(accept(TcpListener::from_std(socket)?, ids, inputs));
        }
        Ok(connections)
    }

    fn new(instance: &str, inputs: mpsc::Sender<Input>) -> Connections {
        Connections {
            inputs,
            ids: Ids::of(instance),
            open: HashMap::new(),
            by_peer: HashMap::new(),
            sources: HashMap::new(),
        }
    }

    /// Adds a connection that a peer has opened.
    pub fn opened(&mut self, connection: Connection) {
        let peer = connection.peer;
        // A sender that is dropped closes its connection.
        if self.sources.get(&source(peer)).is_some_and(|held| *held >= MAX_OF_ONE) {
            debug!(%peer, "too many connections of one source");
        } else if !self.insert(connection) {
            warn!(%peer, "too many connections");
        }
    }

    /// Removes a connection that is gone, or was never made.
    pub fn closed(&mut self, id: ConnectionId) {
        let Some(Connection { peer, .. }) = self.open.remove(&id) else { return };
        if self.by_peer.get(&peer) == Some(&id) {
            self.by_peer.remove(&peer);
        }
        let source = source(peer);
        if let Some(held) = self.sources.get_mut(&source) {
            *held -= 1;
            if *held == 0 {
                self.sources.remove(&source);
            }
        }
    }

    /// Sends on the connection of a flow, else on one to its peer. Without one, a request makes it; a response goes to the sent-by of
    /// its Via, since the port is that of a client. Returns false if there is no room for it.
    pub fn send(&mut self, flow: Flow, octets: Bytes) -> bool {
        counters::MESSAGES_OUT.increment(1);
        let named = flow.connection.filter(|id| self.is_open(*id));
        let known = named.or_else(|| self.open_to(flow.peer));
        let (peer, known) = match known {
            None if octets.starts_with(b"SIP/2.0 ") => {
                let Some(peer) = self.sent_by(flow.peer, &octets) else {
                    debug!(peer = %flow.peer, "the connection that a response belongs to is gone");
                    return true;
                };
                (peer, self.open_to(peer))
            }
            known => (flow.peer, known),
        };
        let id = match known {
            Some(id) => id,
            None => {
                let (sender, receiver) = mpsc::channel(QUEUE);
                let id = self.ids.next();
                if !self.insert(Connection { id, peer, sender }) {
                    warn!(%peer, "too many connections");
                    return false;
                }
                tokio::spawn(connect(id, peer, receiver, self.inputs.clone()));
                id
            }
        };
        if self.open.get(&id).is_some_and(|connection| connection.sender.try_send(octets).is_err()) {
            warn!(%peer, "a connection that takes nothing any more");
            self.closed(id);
        }
        true
    }

    /// Returns the newest connection to a peer.
    fn open_to(&self, peer: SocketAddr) -> Option<ConnectionId> {
        self.by_peer.get(&peer).copied().filter(|id| self.is_open(*id))
    }

    /// Returns where a response goes whose connection is gone: to the source of its request, at the port of the sent-by (RFC 3261
    /// §18.2.2). `None` if there is no top Via, or the source has its share of connections.
    fn sent_by(&self, client: SocketAddr, response: &Bytes) -> Option<SocketAddr> {
        let room = self.sources.get(&source(client)).is_none_or(|held| *held < MAX_OF_ONE);
        let via = sip::message::read(response).ok()?.via().filter(|_| room)?;
        Some(SocketAddr::new(client.ip(), via.port.unwrap_or(Transport::Tcp.default_port())))
    }

    fn is_open(&self, id: ConnectionId) -> bool {
        self.open.get(&id).is_some_and(|connection| !connection.sender.is_closed())
    }

    /// Adds a connection. Returns false if there is no room.
    fn insert(&mut self, connection: Connection) -> bool {
        if self.open.len() >= MAX {
            return false;
        }
        *self.sources.entry(source(connection.peer)).or_default() += 1;
        self.by_peer.insert(connection.peer, connection.id);
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

async fn accept(listener: TcpListener, ids: Ids, inputs: mpsc::Sender<Input>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // IPv4 peers of an IPv6 socket are known by their own address.
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                let (sender, receiver) = mpsc::channel(QUEUE);
                let id = ids.next();
                if inputs.send(Input::Opened(Connection { id, peer, sender })).await.is_err() {
                    return;
                }
                tokio::spawn(serve(stream, id, peer, receiver, inputs.clone()));
            }
            Err(error) => {
                // Out of descriptors: wait for some to come back.
                warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connect(
    id: ConnectionId,
    peer: SocketAddr,
    receiver: mpsc::Receiver<Bytes>,
    inputs: mpsc::Sender<Input>,
) {
    let error = match tokio::time::timeout(CONNECT, TcpStream::connect(peer)).await {
        Ok(Ok(stream)) => return serve(stream, id, peer, receiver, inputs).await,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    warn!(%peer, error, "no connection");
    // Its place is free before the edge hears of it.
    drop(receiver);
    let _ = inputs.send(Input::Unreachable(id, peer)).await;
}

/// Serves one connection until either side closes it or it falls silent.
async fn serve(
    stream: TcpStream,
    id: ConnectionId,
    peer: SocketAddr,
    mut receiver: mpsc::Receiver<Bytes>,
    inputs: mpsc::Sender<Input>,
) {
    let _ = stream.set_nodelay(true);
    let (mut reader, mut writer) = stream.into_split();
    let flow = Flow { connection: Some(id), ..Flow::tcp(peer) };
    let (mut framing, mut buffer) = (Stream::default(), vec![0; 16 * 1024]);
    'open: loop {
        tokio::select! {
            read = tokio::time::timeout(IDLE, reader.read(&mut buffer)) => {
                let Ok(Ok(length @ 1..)) = read else { break };
                framing.push(&buffer[..length]);
                loop {
                    match framing.take() {
                        Framed::Message(octets) => {
                            // A full edge makes the peer wait: that is TCP's own back-pressure.
                            if inputs.send(Input::Message(flow, octets)).await.is_err() {
                                break 'open;
                            }
                        }
                        Framed::Ping => {
                            if !written(&mut writer, b"\r\n").await {
                                break 'open;
                            }
                        }
                        Framed::Wait => break,
                        Framed::Broken(error, octets) => {
                            debug!(%peer, %error, "a stream that cannot be read on");
                            if inputs.send(Input::Broken(flow, error, octets)).await.is_ok() {
                                send_last(&mut reader, &mut writer, &mut receiver).await;
                            }
                            break 'open;
                        }
                    }
                }
            }
            octets = receiver.recv() => {
                let Some(octets) = octets else { break };
                if !written(&mut writer, &octets).await {
                    break;
                }
            }
        }
    }
    drop(receiver);
    let _ = inputs.send(Input::Closed(id)).await;
}

/// Sends what is left to be sent, above all the answer to the last message; what still comes is dropped, since a socket that is
/// closed with octets unread resets the connection, and the answer with it.
async fn send_last(
    reader: &mut (impl AsyncReadExt + Unpin),
    writer: &mut (impl AsyncWriteExt + Unpin),
    receiver: &mut mpsc::Receiver<Bytes>,
) {
    let (mut dropped, mut speaks) = (vec![0; 4 * 1024], true);
    let last = async {
        loop {
            tokio::select! {
                octets = receiver.recv() => match octets {
                    Some(octets) if written(writer, &octets).await => {}
                    _ => return,
                },
                read = reader.read(&mut dropped), if speaks => speaks = matches!(read, Ok(1..)),
            }
        }
    };
    let _ = tokio::time::timeout(LAST_ANSWER, last).await;
}

async fn written(writer: &mut (impl AsyncWriteExt + Unpin), octets: &[u8]) -> bool {
    matches!(tokio::time::timeout(WRITE, writer.write_all(octets)).await, Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> (Connections, mpsc::Receiver<Input>) {
        let (inputs, input) = mpsc::channel(8);
        (Connections::new("one", inputs), input)
    }

    fn peer(host: [u8; 4], port: u16) -> SocketAddr {
        (host, port).into()
    }

    /// A peer that refuses connections must not use up the places of the others.
    #[tokio::test]
    async fn a_connection_that_failed_is_forgotten() {
        let (mut tcp, mut input) = none();
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
        let refuses = port.unwrap_or_else(|_| peer([127, 0, 0, 1], 1));
        assert!(tcp.send(Flow::tcp(refuses), Bytes::from_static(b"INVITE sip:a@b SIP/2.0\r\n\r\n")));
        assert_eq!(tcp.open.len(), 1);
        let Some(Input::Unreachable(id, to)) = input.recv().await else { panic!("it is refused") };
        assert_eq!(to, refuses);
        tcp.closed(id);
        assert_eq!((tcp.open.len(), tcp.by_peer.len(), tcp.sources.len()), (0, 0, 0));
    }

    #[tokio::test]
    async fn a_response_makes_no_connection() {
        let (mut tcp, _input) = none();
        let flow = Flow { connection: Some(ConnectionId(7)), ..Flow::tcp(peer([192, 0, 2, 9], 40_000)) };
        assert!(tcp.send(flow, Bytes::from_static(b"SIP/2.0 403 Forbidden\r\n\r\n")));
        assert!(tcp.open.is_empty());
    }

    /// A peer may have two connections from one port, to two listeners of ours: each request is answered on its own.
    #[tokio::test]
    async fn a_flow_leaves_by_its_connection() {
        let (mut tcp, _input) = none();
        let phone = peer([192, 0, 2, 9], 40_000);
        let mut open = || {
            let (sender, receiver) = mpsc::channel(1);
            let id = tcp.ids.next();
            tcp.opened(Connection { id, peer: phone, sender });
            (id, receiver)
        };
        let ((first, mut one), (second, mut two)) = (open(), open());
        let answer = Bytes::from_static(b"SIP/2.0 200 OK\r\n\r\n");
        tcp.send(Flow { connection: Some(first), ..Flow::tcp(phone) }, answer.clone());
        assert!(one.try_recv().is_ok() && two.try_recv().is_err());
        tcp.closed(first);
        // The other one reaches the same peer; nothing names it.
        tcp.send(Flow { connection: Some(first), ..Flow::tcp(phone) }, answer.clone());
        assert!(two.try_recv().is_ok());
        tcp.closed(second);
        assert!(tcp.open.is_empty() && tcp.by_peer.is_empty());
        assert!(tcp.send(Flow::tcp(phone), answer), "and no connection is made for an answer");
        assert!(tcp.open.is_empty());
        assert_ne!(Ids::of("one").next(), Ids::of("two").next());
    }

    #[tokio::test]
    async fn places_are_limited_by_source_and_in_all() {
        let (mut tcp, _input) = none();
        let mut held = vec![];
        let mut open = |tcp: &mut Connections, peer| {
            let (sender, receiver) = mpsc::channel(1);
            let id = tcp.ids.next();
            tcp.opened(Connection { id, peer, sender });
            held.push(receiver);
        };
        for port in 0..=1_100 {
            open(&mut tcp, peer([192, 0, 2, 1], port));
        }
        assert_eq!(tcp.open.len(), MAX_OF_ONE);
        for host in 2..=20 {
            for port in 0..=1_000 {
                open(&mut tcp, peer([192, 0, 2, host], port));
            }
        }
        assert_eq!(tcp.open.len(), MAX);
        let request = Bytes::from_static(b"BYE sip:a@b SIP/2.0\r\n\r\n");
        let flow = Flow::tcp(peer([192, 0, 2, 200], 5060));
        assert!(!tcp.send(flow, request.clone()), "no place for ours either");
        held.clear();
        let ids: Vec<ConnectionId> = tcp.open.keys().copied().collect();
        ids.into_iter().for_each(|id| tcp.closed(id));
        assert_eq!((tcp.open.len(), tcp.by_peer.len(), tcp.sources.len()), (0, 0, 0));
        assert_eq!(source("[2001:db8::1]:1".parse().unwrap_or(peer([0; 4], 0))).to_string(), "2001:db8::");
    }
}
