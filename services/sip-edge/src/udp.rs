//! UDP: one socket per listen address, a reading task each.

use crate::Input;
use anyhow::{Context, Result};
use bytes::Bytes;
use sip::edge::Flow;
use socket2::{Domain, Protocol, Socket, Type};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tracing::{debug, warn};

/// Largest datagram.
const DATAGRAM: usize = 65_535;
/// Kernel buffers, octets: a burst of a thousand INVITEs fits.
const BUFFER: usize = 4 * 1024 * 1024;

/// The sockets.
pub struct Sockets(Vec<Arc<UdpSocket>>);

impl Sockets {
    /// Binds and starts to read.
    pub fn bind(
        listens: &[(bool, SocketAddr)],
        reuse: bool,
        inputs: &mpsc::Sender<Input>,
    ) -> Result<Sockets> {
        let mut sockets = vec![];
        for (_, address) in listens.iter().filter(|(tcp, _)| !tcp) {
            let socket = open(*address, reuse).with_context(|| taken("udp", *address))?;
            let socket = Arc::new(UdpSocket::from_std(socket)?);
            tokio::spawn(read(socket.clone(), inputs.clone()));
            sockets.push(socket);
        }
        Ok(Sockets(sockets))
    }

    /// Sends a datagram; one that the kernel does not take now is lost like any other, and repeated by its transaction.
    pub fn send(&self, peer: SocketAddr, octets: &[u8]) {
        metrics::counter!("tandem_sip_messages_out_total").increment(1);
        let family = |socket: &&Arc<UdpSocket>| {
            socket.local_addr().is_ok_and(|address| address.is_ipv4() == peer.is_ipv4())
        };
        match self.0.iter().find(family).map(|socket| socket.try_send_to(octets, peer)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => debug!(%peer, %error, "a datagram was not sent"),
            None => warn!(%peer, "no UDP address in [sip] listen reaches this peer"),
        }
    }
}

pub(crate) fn taken(scheme: &str, address: SocketAddr) -> String {
    format!("[sip] listen: {scheme}://{address} cannot be bound; free it or name another address")
}

fn open(address: SocketAddr, reuse: bool) -> Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(reuse)?;
    // Smaller buffers than asked for are fine.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

async fn read(socket: Arc<UdpSocket>, inputs: mpsc::Sender<Input>) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, peer)) => {
                let octets = Bytes::copy_from_slice(&buffer[..length]);
                match inputs.try_send(Input::Message(Flow { tcp: false, peer }, octets)) {
                    Ok(()) => {}
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        metrics::counter!("tandem_sip_messages_dropped_total").increment(1);
                    }
                    Err(mpsc::error::TrySendError::Closed(_)) => return,
                }
            }
            // An ICMP error of an earlier datagram shows here; the socket itself is sound.
            Err(error) => debug!(%error, "reading UDP"),
        }
    }
}
