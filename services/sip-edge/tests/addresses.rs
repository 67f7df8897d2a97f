//! Addresses of trunks, tried with real sockets and a name server of the test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

#[allow(dead_code, reason = "tests of the resolver need the rest")]
mod nameserver;

use bus::{Bus, Inbox, Message, Request};
use nameserver::NameServer;
use proto::wire::WireFormat;
use runtime::config::{SipConfig, TrunkConfig};
use runtime::{Config, Drain};
use signal::media::{Codec, Content, Direction, Kind, Transport};
use signal::{
    Ask, EffectId, Heard, LegId, LegRef, LegState, Media, Opening, Party, Reason, Say, Secret, Signal,
    Verdict, subjects,
};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::UdpSocket;
use tokio::time::Instant;

const INSTANCE: &str = "addresses";

fn free() -> u16 {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn trunk(name: &str, uri: String) -> TrunkConfig {
    TrunkConfig { name: name.into(), uri, domain: format!("{name}.example.net"), ..TrunkConfig::default() }
}

struct Edge {
    bus: Bus,
    asks: Inbox<Request>,
    drain: Drain,
    port: u16,
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.drain.drain();
    }
}

impl Edge {
    async fn start(server: &NameServer, trunks: Vec<TrunkConfig>) -> Edge {
        let (bus, drain, port) = (Bus::in_process(), Drain::default(), free());
        let config = Config {
            instance: Some(INSTANCE.into()),
            sip: SipConfig {
                listen: vec![format!("udp://127.0.0.1:{port}"), format!("tcp://127.0.0.1:{}", free())],
                nameservers: Some(vec![server.address]),
                ..SipConfig::default()
            },
            trunk: trunks,
            ..Config::default()
        };
        let asks = bus.serve(subjects::ASK, "orchestrators").await.unwrap();
        tokio::spawn(tandem_sip_edge::run(config, bus.clone(), drain.clone()));
        Edge { bus, asks, drain, port }
    }

    /// Orders a call through a trunk; returns whether an edge took the order.
    async fn call(&self, trunk: &str, sid: &str) -> bool {
        let leg = LegRef { record: Secret::new(b"x").call_of_jingle("rosa@x/1", sid), leg: LegId(1) };
        let opening = Opening {
            from: Party::sip("sip:rosa@im.example"),
            to: Party::sip("sip:2041@pbx.example"),
            link: trunk.into(),
            hops: 69,
            diverted: None,
            referral: None,
        };
        let media = Media {
            contents: vec![Content {
                name: "0".into(),
                kind: Kind::Audio,
                direction: Direction::Both,
                rejected: false,
                codecs: vec![Codec::new(0, "PCMU", 8000, 1)],
                transport: Transport {
                    address: Some("127.0.0.1:30000".parse().unwrap()),
                    ..Transport::default()
                },
            }],
            bundle: vec![],
        };
        let state = LegState { leg, revision: 0, dialog: vec![], edge: String::new(), trace: String::new() };
        let id = EffectId { record: leg.record, version: 1, index: 0 };
        let order = Say { id, state, count: 0, signal: Signal::Offer(media), opening: Some(opening) };
        for _ in 0..200 {
            let order = Message { trace: String::new(), payload: order.encode() };
            if self.bus.request(&subjects::edge(INSTANCE), order, Duration::from_secs(2)).await.is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    /// Commits what the edge hears next, within a time.
    async fn heard(&mut self, within: Duration) -> Heard {
        let request =
            tokio::time::timeout(within, self.asks.next()).await.expect("nothing is heard").unwrap();
        let Ok(Ask::Heard(heard)) = <Ask>::decode(&request.message.payload) else { panic!("not heard") };
        let verdict = Verdict::Committed { revision: heard.base + 1, trace: String::new() };
        request.reply(verdict.encode()).await.unwrap();
        heard
    }
}

async fn phone() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

async fn hear(phone: &UdpSocket, within: Duration) -> String {
    let mut buffer = [0; 8_192];
    let (length, _) =
        tokio::time::timeout(within, phone.recv_from(&mut buffer)).await.expect("silence").unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

const SOON: Duration = Duration::from_secs(1);

/// Nothing listens at the first port: the second host has the call within a second, and where there is no second the call ends as
/// fast, before anybody was told of ringing.
#[tokio::test]
async fn b5_g8_a_closed_port_ends_the_attempt_at_once() {
    let server = NameServer::start().await;
    let (phone, at) = phone().await;
    server.srv("_sip._udp.pbx.test.example", (10, 0), free(), "a.test.example");
    server.srv("_sip._udp.pbx.test.example", (20, 0), at.port(), "a.test.example");
    server.address("a.test.example", "127.0.0.1");
    let lonely = trunk("lonely", format!("sip:127.0.0.1:{}", free()));
    let mut edge = Edge::start(&server, vec![trunk("pbx", "sip:pbx.test.example".into()), lonely]).await;
    assert!(edge.call("pbx", "one").await);
    let began = Instant::now();
    assert_eq!(edge.heard(SOON).await.signals, []);
    let invite = hear(&phone, SOON).await;
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert!(invite.starts_with("INVITE sip:2041@pbx.test.example SIP/2.0\r\n"), "{invite}");
    assert!(invite.contains(&format!("Via: SIP/2.0/UDP 127.0.0.1:{};", edge.port)), "{invite}");

    assert!(edge.call("lonely", "two").await);
    let heard = edge.heard(SOON).await;
    let [Signal::End(end)] = &heard.signals[..] else { panic!("{:?}", heard.signals) };
    assert_eq!(end.reason, Reason::Connectivity);
}

/// The first server refuses the connection: the second has the call at once.
#[tokio::test]
async fn b3_a_refused_connection_moves_on() {
    let server = NameServer::start().await;
    let pbx = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = pbx.local_addr().unwrap().port();
    server.naptr("pbx.test.example", (10, 0), "SIP+D2T", "_sip._tcp.sbc.test.example");
    server.srv("_sip._tcp.sbc.test.example", (10, 0), free(), "a.test.example");
    server.srv("_sip._tcp.sbc.test.example", (20, 0), port, "a.test.example");
    server.address("a.test.example", "127.0.0.1");
    let mut edge = Edge::start(&server, vec![trunk("pbx", "sip:pbx.test.example".into())]).await;
    assert!(edge.call("pbx", "one").await);
    let began = Instant::now();
    assert_eq!(edge.heard(SOON).await.signals, []);
    let (mut stream, _) = tokio::time::timeout(SOON, pbx.accept()).await.expect("nobody connects").unwrap();
    let mut buffer = [0; 4_096];
    let length = tokio::time::timeout(SOON, stream.read(&mut buffer)).await.expect("silence").unwrap();
    assert!(buffer[..length].starts_with(b"INVITE ") && began.elapsed() < SOON, "{:?}", began.elapsed());
}

/// The host has addresses in both families, and the edge listens in one.
#[tokio::test]
async fn b3_an_address_that_no_listener_reaches_is_not_tried() {
    let server = NameServer::start().await;
    let (phone, at) = phone().await;
    server.address("both.test.example", "2001:db8::1");
    server.address("both.test.example", "127.0.0.1");
    let uri = format!("sip:both.test.example:{}", at.port());
    let edge = Edge::start(&server, vec![trunk("both", uri)]).await;
    assert!(edge.call("both", "one").await);
    assert!(hear(&phone, SOON).await.starts_with("INVITE "));
}

fn invite(branch: &str) -> String {
    format!(
        "INVITE sip:2700@gw.example SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;rport;branch=z9hG4bK{branch}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:2041@pbx.example>;tag=a{branch}\r\nTo: <sip:2700@gw.example>\r\n\
         Call-ID: {branch}\r\nCSeq: 1 INVITE\r\nContact: <sip:2041@127.0.0.1>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// One name is dead: its trunk calls in all the same, the other trunk is served at once, and the dead one as soon as it is known.
#[tokio::test]
async fn b2_a_dead_name_delays_nobody() {
    let server = NameServer::start().await;
    let (phone, at) = phone().await;
    server.address("pbx.test.example", "127.0.0.1");
    let dead =
        TrunkConfig { sources: vec!["127.0.0.1".into()], ..trunk("dead", "sip:pbx.silent.example".into()) };
    let late = trunk("late", format!("sip:late.test.example:{}", at.port()));
    let alive = trunk("alive", format!("sip:pbx.test.example:{}", at.port()));
    let mut edge = Edge::start(&server, vec![dead, late, alive]).await;
    assert!(edge.call("alive", "one").await);
    assert!(hear(&phone, SOON).await.starts_with("INVITE "));

    let (caller, _) = self::phone().await;
    caller.send_to(invite("in").as_bytes(), ("127.0.0.1", edge.port)).await.unwrap();
    let heard = edge.heard(SOON).await;
    assert_eq!(heard.opening.unwrap().link, "dead");

    // A call to a name that nobody knows yet ends at once.
    edge.call("late", "two").await;
    server.address("late.test.example", "127.0.0.1");
    let until = Instant::now() + Duration::from_secs(15);
    for sid in 0.. {
        edge.call("late", &format!("late-{sid}")).await;
        let mut buffer = [0; 8_192];
        let heard = tokio::time::timeout(Duration::from_millis(500), phone.recv_from(&mut buffer)).await;
        let of_late =
            |length: usize| String::from_utf8_lossy(&buffer[..length]).contains("@late.test.example");
        if heard.is_ok_and(|received| of_late(received.unwrap().0)) {
            return;
        }
        assert!(Instant::now() < until, "the name is not looked up again");
    }
}
