//! OPTIONS to a trunk (RFC 3261 §11): any answer shows that somebody is there.

use runtime::config::Transport;
use std::io::{Error, ErrorKind, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Timer T1, by which a request over UDP is repeated (§17.1.2.2), and the number of its repetitions here.
const T1: Duration = Duration::from_millis(500);
const REPEATS: u32 = 3;
/// Time for a connection, and for its answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// Asks a peer, from the port that the services listen at if it is free: peers know that one. Returns the status.
///
/// # Errors
/// Nobody answers, or not in SIP.
pub(super) async fn ask(transport: Transport, peer: SocketAddr, listens: &[SocketAddr]) -> Result<u16> {
    match transport {
        Transport::Udp => over_udp(peer, listens).await,
        _ => over_tcp(peer).await,
    }
}

async fn over_udp(peer: SocketAddr, listens: &[SocketAddr]) -> Result<u16> {
    let any = match peer.ip() {
        IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let ours = listens.iter().filter(|listen| listen.is_ipv4() == peer.is_ipv4()).copied();
    let mut socket = Err(Error::from(ErrorKind::AddrNotAvailable));
    for address in ours.chain([any]) {
        socket = UdpSocket::bind(address).await;
        if socket.is_ok() {
            break;
        }
    }
    let socket = socket?;
    socket.connect(peer).await?;
    let (request, call_id) = request("UDP", socket.local_addr()?, peer);
    let mut buffer = vec![0; 65_535];
    for repeat in 0..=REPEATS {
        socket.send(request.as_bytes()).await?;
        let answered = timeout(T1 * 2_u32.pow(repeat), async {
            loop {
                let length = socket.recv(&mut buffer).await?;
                if let Some(status) = status(&buffer[..length], &call_id) {
                    return Ok::<u16, Error>(status);
                }
            }
        });
        match answered.await {
            Ok(Ok(status)) => return Ok(status),
            // What ICMP tells of one message need not be so for the next.
            Ok(Err(error)) if repeat == REPEATS => return Err(error),
            Ok(Err(_)) => tokio::time::sleep(T1).await,
            Err(_) => {}
        }
    }
    Err(Error::from(ErrorKind::TimedOut))
}

async fn over_tcp(peer: SocketAddr) -> Result<u16> {
    let mut stream = timeout(PATIENCE, TcpStream::connect(peer)).await??;
    let (request, call_id) = request("TCP", stream.local_addr()?, peer);
    stream.write_all(request.as_bytes()).await?;
    let asking = async {
        let (mut heard, mut buffer) = (vec![], [0; 4_096]);
        loop {
            let length = stream.read(&mut buffer).await?;
            heard.extend_from_slice(&buffer[..length]);
            if let Some(status) = status(&heard, &call_id) {
                return Ok::<u16, Error>(status);
            }
            if length == 0 || heard.len() > 65_535 {
                return Err(Error::other("the connection ends without an answer"));
            }
        }
    };
    timeout(PATIENCE, asking).await?
}

/// Returns the request and its Call-ID.
fn request(transport: &str, ours: SocketAddr, peer: SocketAddr) -> (String, String) {
    let number = runtime::clock::now_ms();
    let call_id = format!("check-{}-{number}-{}", std::process::id(), peer.port());
    let text = format!(
        "OPTIONS sip:{peer} SIP/2.0\r\nVia: SIP/2.0/{transport} {ours};branch=z9hG4bK{call_id};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:check@{ours}>;tag={number}\r\nTo: <sip:{peer}>\r\nCall-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\n\
         Contact: <sip:check@{ours}>\r\nAccept: application/sdp\r\nContent-Length: 0\r\n\r\n"
    );
    (text, call_id)
}

/// Returns the status of a final response to our request.
fn status(octets: &[u8], call_id: &str) -> Option<u16> {
    let text = String::from_utf8_lossy(octets);
    let head = text.split("\r\n\r\n").next().filter(|_| text.contains("\r\n\r\n"))?;
    let status: u16 = head.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()?;
    (status >= 200 && head.contains(call_id)).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_that_to_the_request() {
        let (text, call_id) = request("UDP", ([127, 0, 0, 1], 5060).into(), ([192, 0, 2, 1], 5070).into());
        assert!(text.starts_with("OPTIONS sip:192.0.2.1:5070 SIP/2.0\r\n") && text.ends_with("\r\n\r\n"));
        let answer = |code: &str, id: &str| format!("SIP/2.0 {code} X\r\nCall-ID: {id}\r\n\r\n");
        assert_eq!(status(answer("404", &call_id).as_bytes(), &call_id), Some(404));
        assert_eq!(status(answer("100", &call_id).as_bytes(), &call_id), None);
        assert_eq!(status(answer("200", "another").as_bytes(), &call_id), None);
        assert_eq!(status(b"SIP/2.0 200", &call_id), None);
    }
}
