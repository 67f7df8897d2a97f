//! One connection, a task: opened or accepted, its handshake if it is one of TLS, then framed by `sip::message::stream`.

use super::{Connection, Ids, QUEUE};
use crate::Input;
use crate::screen::Ways;
use crate::tls::Tls;
use anyhow::Result;
use bytes::Bytes;
use runtime::config::Transport;
use sip::edge::{ConnectionId, Flow, TrunkId};
use sip::message::{Framed, Stream};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, warn};

const CONNECT: Duration = Duration::from_secs(4);
/// Longest handshake of TLS, in either direction.
const HANDSHAKE: Duration = Duration::from_secs(5);
const WRITE: Duration = Duration::from_secs(5);
/// Time of a stranger to the end of a first message.
const FIRST: Duration = Duration::from_secs(15);
/// Time from the first octet of a message to its last.
const MESSAGE: Duration = Duration::from_secs(30);
/// Time that a connection has to take the answer to a message that ends its framing.
const LAST_ANSWER: Duration = Duration::from_millis(500);
/// Longest silence of a connection before it is closed.
const IDLE: Duration = Duration::from_secs(600);

/// Listener with what its connections need.
pub(super) struct Acceptor {
    pub(super) listener: TcpListener,
    /// Its index among those of its transport.
    pub(super) place: u8,
    pub(super) tls: Option<Tls>,
    pub(super) ids: Ids,
    pub(super) ways: Ways,
}

/// Takes connections until the edge is gone.
pub(super) async fn accept(acceptor: Acceptor) {
    let Acceptor { listener, place, tls, ids, ways } = acceptor;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let transport = if tls.is_some() { Transport::Tls } else { Transport::Tcp };
                let local = stream.local_addr().ok().map(|own| own.ip().to_canonical());
                let (sender, receiver) = mpsc::channel(QUEUE);
                let id = ids.next();
                let flow = Flow { listen: place, local, connection: Some(id), ..Flow::new(transport, peer) };
                if !ways.tell(Input::Opened(Connection { id, flow, sender })).await {
                    return;
                }
                let (tls, ways) = (tls.clone(), ways.clone());
                tokio::spawn(async move {
                    let _ = stream.set_nodelay(true);
                    match tls {
                        None => {
                            let (reader, writer) = stream.into_split();
                            serve(reader, writer, flow, receiver, ways).await;
                        }
                        Some(tls) => welcome(&tls, stream, flow, receiver, ways).await,
                    }
                });
            }
            Err(error) => {
                // Out of descriptors: wait for some to come back.
                warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Serves a connection of TLS that a peer has opened, once its handshake is over. A peer that has shown the certificate of a trunk is
/// that trunk.
async fn welcome(tls: &Tls, stream: TcpStream, flow: Flow, mut receiver: mpsc::Receiver<Bytes>, ways: Ways) {
    let id = flow.connection.unwrap_or(ConnectionId(0));
    if !ways.knows(flow.peer.ip()) && !tls.has_room_for_stranger() {
        debug!(peer = %flow.peer, "too many handshakes of strangers");
        ways.tell(Input::Closed(id)).await;
        return;
    }
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(HANDSHAKE, tls.accept(stream)) => accepted,
        // There was no room for it.
        None = receiver.recv() => return,
    };
    let why = match accepted {
        Ok(Ok((stream, trunk))) => {
            if let Some(trunk) = trunk
                && !ways.tell(Input::Proved(id, trunk)).await
            {
                return;
            }
            let (reader, writer) = tokio::io::split(stream);
            return serve(reader, writer, Flow { trunk, ..flow }, receiver, ways).await;
        }
        Ok(Err(error)) => format!("{error:#}"),
        Err(_) => "no handshake in time".to_owned(),
    };
    // A trunk's operator wants to know; strangers come by the thousand.
    if ways.knows(flow.peer.ip()) {
        warn!(peer = %flow.peer, why, "a trunk's handshake of TLS has failed");
    } else {
        debug!(peer = %flow.peer, why, "a handshake of TLS has failed");
    }
    drop(receiver);
    ways.tell(Input::Closed(id)).await;
}

/// Opens a connection and serves it. `tls`: the peer must prove the name of this trunk.
pub(super) async fn connect(
    id: ConnectionId,
    flow: Flow,
    receiver: mpsc::Receiver<Bytes>,
    ways: Ways,
    tls: Option<(Tls, TrunkId)>,
) {
    let served = Flow { connection: Some(id), ..flow };
    let error = match open(flow.peer, CONNECT).await {
        Ok(stream) => match tls {
            None => {
                let (reader, writer) = stream.into_split();
                return serve(reader, writer, served, receiver, ways).await;
            }
            Some((tls, trunk)) => match tokio::time::timeout(HANDSHAKE, tls.connect(stream, trunk)).await {
                Ok(Ok(stream)) => {
                    let (reader, writer) = tokio::io::split(stream);
                    return serve(reader, writer, served, receiver, ways).await;
                }
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => "no handshake of TLS in time".to_owned(),
            },
        },
        Err(error) => error,
    };
    warn!(peer = %flow, error, "no connection");
    // Its place is free before the edge hears of it.
    drop(receiver);
    ways.tell(Input::Unreachable(id, flow)).await;
}

async fn open(peer: SocketAddr, longest: Duration) -> Result<TcpStream, String> {
    match tokio::time::timeout(longest, TcpStream::connect(peer)).await {
        Ok(Ok(stream)) => {
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// Serves one connection until either side closes it, it falls silent, or a message takes too long to come.
pub(super) async fn serve(
    mut reader: impl AsyncReadExt + Unpin,
    mut writer: impl AsyncWriteExt + Unpin,
    flow: Flow,
    mut receiver: mpsc::Receiver<Bytes>,
    ways: Ways,
) {
    let (mut framing, mut buffer) = (Stream::default(), vec![0; 4 * 1024]);
    // The moment by which the message that has begun, or the next one, must be here.
    let mut due = Instant::now() + if ways.is_of_trunk(&flow) { IDLE } else { FIRST };
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
                            debug!(peer = %flow.peer, %error, "a stream that cannot be read on");
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
                    due = if complete || ways.is_of_trunk(&flow) { now + IDLE } else { due };
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
    // TLS says that nothing follows, so that its peer need not take the end for an attack (RFC 8446 §6.1).
    let _ = tokio::time::timeout(LAST_ANSWER, writer.shutdown()).await;
    ways.tell(Input::Closed(flow.connection.unwrap_or(ConnectionId(0)))).await;
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

/// Writes, and sees to it that it leaves: TLS keeps what it has encrypted until it is flushed.
async fn written(writer: &mut (impl AsyncWriteExt + Unpin), octets: &[u8]) -> bool {
    let write = async {
        writer.write_all(octets).await?;
        writer.flush().await
    };
    matches!(tokio::time::timeout(WRITE, write).await, Ok(Ok(())))
}
