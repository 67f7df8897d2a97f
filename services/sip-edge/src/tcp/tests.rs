use super::*;
use crate::Input;
use crate::screen::{Arrivals, ways};
use sip::edge::Trunk;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

fn none() -> (Connections, Arrivals) {
    let (ways, arrivals) = ways();
    (Connections::new("one", ways, None), arrivals)
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
    assert_eq!(to, Flow::tcp(refuses));
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
        tcp.opened(Connection { id, flow: Flow::tcp(phone), sender });
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

/// Strangers have few places, in all and by source; trunks have all that are left, from one address too.
#[tokio::test]
async fn f4_strangers_take_no_place_of_a_trunk() {
    let (mut tcp, _input) = none();
    tcp.ways.set_trunks(&[trunk()]);
    let mut held = vec![];
    let mut open = |tcp: &mut Connections, peer| {
        let (sender, receiver) = mpsc::channel(1);
        let id = tcp.ids.next();
        tcp.opened(Connection { id, flow: Flow::tcp(peer), sender });
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
        let flow = Flow { connection: Some(ConnectionId(1)), ..Flow::tcp(peer) };
        let (reader, writer) = accepted.into_split();
        stream::serve(reader, writer, flow, receiver, ways).await;
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
