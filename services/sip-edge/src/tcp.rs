//! TCP: connections that peers open and that we open, one task each, framed by `sip::message::stream`.

use crate::Input;
use crate::udp::taken;
use anyhow::{Context, Result};
use bytes::Bytes;
use sip::edge::Flow;
use sip::message::{Framed, Stream};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tracing::{debug, warn};

/// Connections held; further ones are closed at once.
const MAX: usize = 10_000;
/// Messages that wait for a slow peer; then it is dropped.
const QUEUE: usize = 256;
const CONNECT: Duration = Duration::from_secs(4);
const WRITE: Duration = Duration::from_secs(5);
/// A connection without a word for this long is closed.
const IDLE: Duration = Duration::from_secs(600);

/// All connections.
pub struct Connections {
    inputs: mpsc::Sender<Input>,
    open: HashMap<SocketAddr, mpsc::Sender<Bytes>>,
}

impl Connections {
    /// Binds and starts to accept.
    pub fn bind(
        listens: &[(bool, SocketAddr)],
        reuse: bool,
        inputs: mpsc::Sender<Input>,
    ) -> Result<Connections> {
        for (_, address) in listens.iter().filter(|(tcp, _)| *tcp) {
            let listener = listen(*address, reuse).with_context(|| taken("tcp", *address))?;
            tokio::spawn(accept(TcpListener::from_std(listener)?, inputs.clone()));
        }
        Ok(Connections { inputs, open: HashMap::new() })
    }

    /// A peer has opened a connection.
    pub fn opened(&mut self, peer: SocketAddr, sender: mpsc::Sender<Bytes>) {
        // A sender that is dropped closes its connection.
        if self.open.len() < MAX {
            self.open.insert(peer, sender);
        } else {
            warn!(%peer, "too many connections");
        }
    }

    /// A connection is gone.
    pub fn closed(&mut self, peer: SocketAddr) {
        if self.open.get(&peer).is_some_and(mpsc::Sender::is_closed) {
            self.open.remove(&peer);
        }
    }

    /// Sends on the connection to this peer, which is made when there is none.
    pub fn send(&mut self, peer: SocketAddr, octets: Bytes) {
        metrics::counter!("tandem_sip_messages_out_total").increment(1);
        if self.open.get(&peer).is_none_or(mpsc::Sender::is_closed) {
            let (sender, receiver) = mpsc::channel(QUEUE);
            tokio::spawn(connect(peer, receiver, self.inputs.clone()));
            self.open.insert(peer, sender);
        }
        if let Some(sender) = self.open.get(&peer)
            && sender.try_send(octets).is_err()
        {
            warn!(%peer, "a connection that takes nothing any more");
            self.open.remove(&peer);
        }
    }
}

fn listen(address: SocketAddr, reuse: bool) -> Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1_024)?;
    Ok(socket.into())
}

async fn accept(listener: TcpListener, inputs: mpsc::Sender<Input>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (sender, receiver) = mpsc::channel(QUEUE);
                if inputs.send(Input::Opened(peer, sender)).await.is_err() {
                    return;
                }
                tokio::spawn(serve(stream, peer, receiver, inputs.clone()));
            }
            Err(error) => {
                // Out of descriptors: wait for some to come back.
                warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connect(peer: SocketAddr, receiver: mpsc::Receiver<Bytes>, inputs: mpsc::Sender<Input>) {
    match tokio::time::timeout(CONNECT, TcpStream::connect(peer)).await {
        Ok(Ok(stream)) => serve(stream, peer, receiver, inputs).await,
        Ok(Err(error)) => {
            warn!(%peer, %error, "no connection");
            let _ = inputs.send(Input::Unreachable(peer)).await;
        }
        Err(_) => {
            warn!(%peer, "no connection in time");
            let _ = inputs.send(Input::Unreachable(peer)).await;
        }
    }
}

/// One connection, until either side closes it or it falls silent.
async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    mut receiver: mpsc::Receiver<Bytes>,
    inputs: mpsc::Sender<Input>,
) {
    let _ = stream.set_nodelay(true);
    let (mut reader, mut writer) = stream.into_split();
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
                            let message = Input::Message(Flow { tcp: true, peer }, octets);
                            if inputs.send(message).await.is_err() {
                                break 'open;
                            }
                        }
                        Framed::Ping => {
                            if !written(&mut writer, b"\r\n").await {
                                break 'open;
                            }
                        }
                        Framed::Wait => break,
                        Framed::Broken(why) => {
                            debug!(%peer, why, "a stream that cannot be read on");
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
    let _ = inputs.send(Input::Closed(peer)).await;
}

async fn written(writer: &mut (impl AsyncWriteExt + Unpin), octets: &[u8]) -> bool {
    matches!(tokio::time::timeout(WRITE, writer.write_all(octets)).await, Ok(Ok(())))
}
