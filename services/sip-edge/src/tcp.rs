//! TCP: connections that peers open and that we open, one task each, framed by `sip::message::stream`.

use crate::screen::Ways;
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
use tokio::time::Instant;
use tracing::{debug, warn};

/// Most connections held; further ones are closed at once.
const MAX: usize = 10_000;
/// Most of them that are not of trunks, and most of those from one source: trunks have places and descriptors whatever strangers do.
const MAX_STRANGERS: usize = 2_000;
const MAX_OF_ONE: usize = 200;
/// Most messages that wait for a slow peer; then its connection is dropped.
const QUEUE: usize = 256;
const CONNECT: Duration = Duration::from_secs(4);
const WRITE: Duration = Duration::from_secs(5);
/// Time of a stranger to the end of a first message.
const FIRST: Duration = Duration::from_secs(15);
/// Time from the first octet of a message to its last.
const MESSAGE: Duration = Duration::from_secs(30);
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
    ways: Ways,
    ids: Ids,
    open: HashMap<ConnectionId, Connection>,
    /// Newest connection to each peer.
    by_peer: HashMap<SocketAddr, ConnectionId>,
    /// Connections of strangers, and their number by source.
    strangers: HashMap<ConnectionId, IpAddr>,
    sources: HashMap<IpAddr, usize>,
}

impl Connections {
    /// Binds and starts to accept.
    pub fn bind(listeners: &[Listener], reuse: bool, instance: &str, ways: Ways) -> Result<Connections> {
        let connections = Connections::new(instance, ways);
        for listener in listeners.iter().filter(|listener| listener.transport == Transport::Tcp) {
            let beside = has_ipv4_beside(listeners, *listener);
            let socket = listen(listener.address, reuse, beside).with_context(|| cannot_bind(*listener))?;
            let (ids, ways) = (connections.ids.clone(), connections.ways.clone());
            tokio::spawn(accept(TcpListener::from_std(socket)?, ids, ways));
        }
        Ok(connections)
    }

    fn new(instance: &str, ways: Ways) -> Connections {
        Connections {
            ways,
            ids: Ids::of(instance),
            open: HashMap::new(),
            by_peer: HashMap::new(),
            strangers: HashMap::new(),
            sources: HashMap::new(),
        }
    }

    /// Adds a connection that a peer has opened. Those of strangers are limited, in all and by source.
    pub fn opened(&mut self, connection: Connection) {
        let (id, peer) = (connection.id, connection.peer);
        let source = source(peer);
        let stranger = !self.ways.knows(peer.ip());
        let held = self.sources.get(&source).copied().unwrap_or(0);
        // A sender that is dropped closes its connection.
        if stranger && (self.strangers.len() >= MAX_STRANGERS || held >= MAX_OF_ONE) {
            debug!(%peer, "too many connections of strangers");
        } else if !self.insert(connection) {
            warn!(%peer, "too many connections");
        } else if stranger {
            self.strangers.insert(id, source);
            *self.sources.entry(source).or_default() += 1;
        }
    }

    /// Removes a connection that is gone, or was never made.
    pub fn closed(&mut self, id: ConnectionId) {
        let Some(Connection { peer, .. }) = self.open.remove(&id) else { return };
        if self.by_peer.get(&peer) == Some(&id) {
            self.by_peer.remove(&peer);
        }
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
                tokio::spawn(connect(id, peer, receiver, self.ways.clone()));
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

async fn accept(listener: TcpListener, ids: Ids, ways: Ways) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // IPv4 peers of an IPv6 socket are known by their own address.
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                let (sender, receiver) = mpsc::channel(QUEUE);
                let id = ids.next();
                if !ways.tell(Input::Opened(Connection { id, peer, sender })).await {
                    return;
                }
                tokio::spawn(serve(stream, id, peer, receiver, ways.clone()));
            }
            Err(error) => {
                // Out of descriptors: wait for some to come back.
                warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connect(id: ConnectionId, peer: SocketAddr, receiver: mpsc::Receiver<Bytes>, ways: Ways) {
    let error = match tokio::time::timeout(CONNECT, TcpStream::connect(peer)).await {
        Ok(Ok(stream)) => return serve(stream, id, peer, receiver, ways).await,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    warn!(%peer, error, "no connection");
    // Its place is free before the edge hears of it.
    drop(receiver);
    ways.tell(Input::Unreachable(id, peer)).await;
}

/// Serves one connection until either side closes it, it falls silent, or a message takes too long to come.
async fn serve(
    stream: TcpStream,
    id: ConnectionId,
    peer: SocketAddr,
    mut receiver: mpsc::Receiver<Bytes>,
    ways: Ways,
) {
    let _ = stream.set_nodelay(true);
    let (mut reader, mut writer) = stream.into_split();
    let flow = Flow { connection: Some(id), ..Flow::tcp(peer) };
    let (mut framing, mut buffer) = (Stream::default(), vec![0; 4 * 1024]);
    // The moment by which the message that has begun, or the next one, must be here.
    let mut due = Instant::now() + if ways.knows(peer.ip()) { IDLE } else { FIRST };
    'open: loop {
        tokio::select! {
            read = tokio::time::timeout_at(due, reader.read(&mut buffer)) => {
                let Ok(Ok(length @ 1..)) = read else { break };
                let begins = framing.is_empty();
                framing.push(&buffer[..length]);
                let (mut complete, mut pings) = (false, false);
                loop {
                    match framing.take() {
                        Framed::Message(octets) => {
                            complete = true;
                            // A full edge makes the peer wait: that is TCP's own back-pressure.
                            if !ways.message(flow, octets).await {
                                break 'open;
                            }
                        }
                        Framed::Ping => pings = true,
                        Framed::Wait => break,
                        Framed::Broken(error, octets) => {
                            debug!(%peer, %error, "a stream that cannot be read on");
                            if ways.broken(flow, error, octets).await {
                                send_last(&mut reader, &mut writer, &mut receiver).await;
                            }
                            break 'open;
                        }
                    }
                }
                // One pong for all pings of a read: more would answer a flood with another.
                if pings && !written(&mut writer, b"\r\n").await {
                    break;
                }
                let now = Instant::now();
                if framing.is_empty() {
                    // Pings alone keep a trunk's connection open, and that of a stranger who has said something.
                    due = if complete || ways.knows(peer.ip()) { now + IDLE } else { due };
                } else if begins || complete {
                    due = due.min(now + MESSAGE);
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
    ways.tell(Input::Closed(id)).await;
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
    use crate::screen::{Arrivals, ways};
    use sip::edge::Trunk;

    fn none() -> (Connections, Arrivals) {
        let (ways, arrivals) = ways();
        (Connections::new("one", ways), arrivals)
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
        let Input::Unreachable(id, to) = input.next().await else { panic!("it is refused") };
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

    fn trunk() -> Trunk {
        Trunk {
            name: "pbx".into(),
            targets: vec![],
            sources: vec![(IpAddr::from([198, 51, 100, 0]), 24)],
            roaming: false,
            credentials: None,
            inbound: None,
        }
    }

    /// Strangers have few places, in all and by source; trunks have all that are left, from one address too.
    #[tokio::test]
    async fn f4_strangers_take_no_place_of_a_trunk() {
        let (mut tcp, _input) = none();
        tcp.ways.set_trunks(&[trunk()]);
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
        assert_eq!(tcp.open.len(), MAX_STRANGERS);
        let request = Bytes::from_static(b"BYE sip:a@b SIP/2.0\r\n\r\n");
        assert!(tcp.send(Flow::tcp(peer([192, 0, 2, 200], 5060)), request.clone()), "a place for ours");
        for port in 0..=8_100 {
            open(&mut tcp, peer([198, 51, 100, 7], port));
        }
        assert_eq!(tcp.open.len(), MAX);
        let flow = Flow { connection: Some(ConnectionId(7)), ..Flow::tcp(peer([192, 0, 2, 201], 5060)) };
        assert!(!tcp.send(flow, request), "no place is left");
        held.clear();
        let ids: Vec<ConnectionId> = tcp.open.keys().copied().collect();
        ids.into_iter().for_each(|id| tcp.closed(id));
        assert_eq!((tcp.open.len(), tcp.by_peer.len(), tcp.strangers.len(), tcp.sources.len()), (0, 0, 0, 0));
        assert_eq!(source("[2001:db8::1]:1".parse().unwrap_or(peer([0; 4], 0))).to_string(), "2001:db8::");
    }

    /// Opens a connection to a listener of ours and returns both the peer's end and the arrivals.
    async fn connected(trunks: &[Trunk]) -> anyhow::Result<(TcpStream, Arrivals)> {
        let (ways, arrivals) = ways();
        ways.set_trunks(trunks);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (stream, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (accepted, peer) = accepted?;
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            serve(accepted, ConnectionId(1), peer, receiver, ways).await;
            drop(sender);
        });
        Ok((stream?, arrivals))
    }

    /// Returns how long a peer keeps its connection that says these octets, each after a pause, and then nothing.
    async fn kept(trunks: &[Trunk], said: &[&[u8]], pause: Duration) -> anyhow::Result<Duration> {
        let (mut stream, mut arrivals) = connected(trunks).await?;
        tokio::spawn(async move {
            loop {
                arrivals.next().await;
            }
        });
        let began = Instant::now();
        let mut buffer = [0; 256];
        for octets in said {
            stream.write_all(octets).await?;
            let until = Instant::now() + pause;
            while let Ok(read) = tokio::time::timeout_at(until, stream.read(&mut buffer)).await {
                if read.unwrap_or(0) == 0 {
                    return Ok(began.elapsed());
                }
            }
        }
        while stream.read(&mut buffer).await.unwrap_or(0) > 0 {}
        Ok(began.elapsed())
    }

    /// A stranger has 15 s for a first message, whatever it pings or dribbles; anybody has 30 s for one that has begun.
    #[tokio::test(start_paused = true)]
    async fn f4_a_slow_message_ends_its_connection() -> anyhow::Result<()> {
        let of_loopback = Trunk { sources: vec![(IpAddr::from([127, 0, 0, 1]), 32)], ..trunk() };
        let options = b"OPTIONS sip:a@b SIP/2.0\r\nContent-Length: 0\r\n\r\n";
        let dribble = vec![&b"O"[..]; 60];
        let pings = vec![&b"\r\n\r\n"[..]; 30];
        let second = Duration::from_secs(1);
        for (trunks, said, least, most) in [
            (vec![], vec![], 15, 16),
            (vec![], dribble.clone(), 15, 16),
            (vec![], pings.clone(), 15, 16),
            (vec![], vec![&options[..]], 600, 602),
            (vec![of_loopback.clone()], dribble, 30, 32),
            (vec![of_loopback.clone()], pings, 628, 632),
            (vec![of_loopback], vec![], 600, 602),
        ] {
            let kept = kept(&trunks, &said, second).await?.as_secs();
            assert!((least..=most).contains(&kept), "{kept} s for {} of {trunks:?}", said.len());
        }
        Ok(())
    }

    #[tokio::test]
    async fn f15_a_read_full_of_pings_has_one_pong() -> anyhow::Result<()> {
        let (mut stream, _arrivals) = connected(&[]).await?;
        stream.write_all(&b"\r\n\r\n".repeat(500)).await?;
        stream.write_all(b"-").await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let mut buffer = [0; 4_096];
        let length = tokio::time::timeout(Duration::from_secs(2), stream.read(&mut buffer)).await??;
        assert!((2..=8).contains(&length), "{length} octets of pongs");
        Ok(())
    }
}
