//! The shell on real sockets: what a peer sees when nobody decides, and what an operator sees when a port is taken.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use bus::directory::{InstanceInfo, announce};
use bus::{Bus, Inbox, Message, Request};
use proto::wire::WireFormat;
use runtime::config::{SipConfig, TrunkConfig};
use runtime::{Config, Drain};
use signal::{
    Ask, EffectId, End, LegId, LegRef, LegState, Reason, RecordId, Say, Secret, Signal, Verdict, subjects,
};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn free() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn config(port: u16) -> Config {
    let listen = ["udp", "tcp"].map(|scheme| format!("{scheme}://127.0.0.1:{port}"));
    Config {
        sip: SipConfig { listen: listen.to_vec(), ..SipConfig::default() },
        trunk: vec![TrunkConfig {
            name: "pbx".into(),
            uri: "sip:127.0.0.1:9".into(),
            domain: "sip.example.net".into(),
            sources: vec!["127.0.0.1".into()],
            ..TrunkConfig::default()
        }],
        ..Config::default()
    }
}

fn request(method: &str, transport: &str, branch: &str) -> String {
    format!(
        "{method} sip:2700@gw.example SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.1;rport;branch=z9hG4bK{branch}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:2041@pbx.example>;tag=a{branch}\r\nTo: <sip:2700@gw.example>\r\nCall-ID: {branch}\r\n\
         CSeq: 1 {method}\r\nContact: <sip:2041@127.0.0.1>\r\nContent-Length: 0\r\n\r\n"
    )
}

struct Phone(tokio::net::UdpSocket);

impl Phone {
    async fn new(port: u16) -> Phone {
        Phone::at("127.0.0.1", port).await
    }
    async fn at(host: &str, port: u16) -> Phone {
        let socket = tokio::net::UdpSocket::bind((host, 0)).await.unwrap();
        socket.connect(("127.0.0.1", port)).await.unwrap();
        Phone(socket)
    }
    async fn send(&self, text: &str) {
        self.0.send(text.as_bytes()).await.unwrap();
    }
    async fn hear(&self) -> String {
        let mut buffer = [0; 4_096];
        let length =
            tokio::time::timeout(Duration::from_secs(8), self.0.recv(&mut buffer)).await.unwrap().unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }
}

fn start(config: Config, bus: &Bus) -> (Drain, tokio::task::JoinHandle<anyhow::Result<()>>) {
    let drain = Drain::default();
    (drain.clone(), tokio::spawn(tandem_sip_edge::run(config, bus.clone(), drain)))
}

async fn up(port: u16) {
    for _ in 0..200 {
        if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the edge does not listen");
}

#[tokio::test]
async fn options_are_answered_over_udp_and_tcp_and_keepalives_too() {
    let (port, bus) = (free(), Bus::in_process());
    let _others = others(&bus, "1");
    let (drain, running) = start(config(port), &bus);
    up(port).await;
    let phone = Phone::new(port).await;
    assert!(pinged(&phone, "200").await);

    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let text = request("OPTIONS", "TCP", "tcp");
    let (head, tail) = text.split_at(40);
    stream.write_all(format!("\r\n\r\n{head}").as_bytes()).await.unwrap();
    let mut pong = [0; 2];
    stream.read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"\r\n");
    stream.write_all(tail.as_bytes()).await.unwrap();
    let mut buffer = [0; 2_048];
    let length = stream.read(&mut buffer).await.unwrap();
    assert!(buffer[..length].starts_with(b"SIP/2.0 200 OK\r\n"));
    drain.drain();
    let ended = tokio::time::timeout(Duration::from_secs(5), running).await.unwrap().unwrap();
    assert!(ended.is_ok(), "an idle edge leaves when it drains: {ended:?}");
}

/// A gateway that can serve nobody says so to a trunk that pings it, and the trunk turns to another one.
#[tokio::test]
async fn c4_a_gateway_that_can_serve_nobody_answers_pings_with_503() {
    let (port, bus) = (free(), Bus::in_process());
    let (_drain, _running) = start(config(port), &bus);
    up(port).await;
    let phone = Phone::new(port).await;
    assert!(pinged(&phone, "503").await, "there is nobody else");
    let no_link = others(&bus, "0");
    assert!(!pinged(&phone, "200").await, "the XMPP edge has no link");
    drop(no_link);
    let _others = others(&bus, "1");
    assert!(pinged(&phone, "200").await);
}

/// Announces the other services; the XMPP edge has so many links.
fn others(bus: &Bus, links: &str) -> [bus::directory::Announcer; 2] {
    ["orchestrator", "xmpp-edge"].map(|kind| {
        let facts = [(bus::directory::LINKS.to_owned(), links.to_owned())].into();
        announce(
            bus,
            InstanceInfo { kind: kind.into(), instance: kind.into(), facts, ..InstanceInfo::default() },
        )
    })
}

/// Returns true once pings are answered so, within eight seconds.
async fn pinged(phone: &Phone, code: &str) -> bool {
    for number in 0..40 {
        phone.send(&request("OPTIONS", "UDP", &format!("{code}-{number}"))).await;
        if phone.hear().await.starts_with(&format!("SIP/2.0 {code} ")) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    false
}

/// Interworking §10.7: who cannot be read any further is told why, and only then left.
#[tokio::test]
async fn g12_a_length_that_frames_nothing_is_answered_and_then_the_stream_closes() {
    let port = free();
    let (_drain, _running) = start(config(port), &Bus::in_process());
    up(port).await;
    for (length, code) in [
        ("Content-Length: -1", "400"),
        ("Content-Length: x", "400"),
        ("Content-Length: 3\r\nl: 4", "400"),
        ("X: no length", "400"),
        ("Content-Length: 70000", "513"),
    ] {
        let text =
            request("OPTIONS", "TCP", "seven").replace("Content-Length: 0", length) + &"x".repeat(20_000);
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let ended = stream.read_to_string(&mut answer);
        tokio::time::timeout(Duration::from_secs(4), ended).await.expect("it stays open").unwrap();
        assert!(answer.starts_with(&format!("SIP/2.0 {code} ")), "{length}: {answer}");
        assert!(answer.contains("Call-ID: seven\r\n"), "{length}: {answer}");
    }
}

/// RFC 3261 §18.2.2: the phone's connection is gone before it is answered.
#[tokio::test]
async fn c2_a_response_whose_connection_is_gone_goes_to_sent_by() {
    let (port, bus) = (free(), Bus::in_process());
    let mut asks = bus.serve(subjects::ASK, "orchestrators").await.unwrap();
    let (_drain, _running) = start(config(port), &bus);
    up(port).await;
    let phone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sent_by = format!("TCP {}", phone.local_addr().unwrap());
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let invite = request("INVITE", "TCP", "eight").replace("TCP 127.0.0.1;rport", &sent_by);
    stream.write_all(invite.as_bytes()).await.unwrap();
    let ask = tokio::time::timeout(Duration::from_secs(5), asks.next()).await.unwrap().unwrap();
    drop(stream);
    tokio::time::sleep(Duration::from_millis(300)).await;
    ask.reply(Verdict::Refused(End::from(Reason::NotFound)).encode()).await.unwrap();
    let (mut stream, _) =
        tokio::time::timeout(Duration::from_secs(5), phone.accept()).await.expect("nobody connects").unwrap();
    let mut buffer = [0; 2_048];
    let length = stream.read(&mut buffer).await.unwrap();
    assert!(buffer[..length].starts_with(b"SIP/2.0 404 "), "{}", String::from_utf8_lossy(&buffer[..length]));
}

#[tokio::test]
async fn without_an_orchestrator_a_call_is_refused_with_a_time_to_come_again() {
    let port = free();
    let (_drain, _running) = start(config(port), &Bus::in_process());
    up(port).await;
    let phone = Phone::new(port).await;
    phone.send(&request("INVITE", "UDP", "three")).await;
    let mut answers = vec![phone.hear().await];
    if answers[0].starts_with("SIP/2.0 100") {
        answers.push(phone.hear().await);
    }
    let last = answers.last().unwrap();
    assert!(last.starts_with("SIP/2.0 503 ") && last.contains("Retry-After: "), "{last}");
}

/// A hang-up while nobody decides, in a call that this edge never saw: it is asked until somebody does.
#[tokio::test]
async fn a_hang_up_waits_for_an_orchestrator() {
    let (port, bus) = (free(), Bus::in_process());
    let config = config(port);
    let leg = LegRef { record: RecordId::call([7; 10]), leg: LegId(0) };
    let tag = Secret::new(&config.secret()).token(leg, 0).tag();
    let (_drain, _running) = start(config, &bus);
    up(port).await;
    let phone = Phone::new(port).await;
    let ours = format!("To: <sip:2700@gw.example>;tag={tag}");
    phone.send(&request("BYE", "UDP", "five").replace("To: <sip:2700@gw.example>", &ours)).await;
    let early = tokio::time::timeout(Duration::from_millis(700), phone.hear()).await;
    assert!(early.is_err(), "it is refused too early: {early:?}");
    let mut asks = bus.serve(subjects::ASK, "orchestrators").await.unwrap();
    let ask = tokio::time::timeout(Duration::from_secs(5), asks.next()).await.unwrap().unwrap();
    assert!(matches!(<Ask>::decode(&ask.message.payload), Ok(Ask::Recall(asked)) if asked == leg));
    ask.reply(Verdict::Gone.encode()).await.unwrap();
    let last = phone.hear().await;
    assert!(last.starts_with("SIP/2.0 481 "), "{last}");
}

#[tokio::test]
async fn an_orchestrator_s_refusal_is_the_peer_s_answer() {
    let (port, bus) = (free(), Bus::in_process());
    let mut asks = bus.serve(subjects::ASK, "orchestrators").await.unwrap();
    let (_drain, _running) = start(config(port), &bus);
    up(port).await;
    let phone = Phone::new(port).await;
    phone.send(&request("INVITE", "UDP", "four")).await;
    let ask = tokio::time::timeout(Duration::from_secs(5), asks.next()).await.unwrap().unwrap();
    let Ok(Ask::Heard(heard)) = <Ask>::decode(&ask.message.payload) else { panic!("an INVITE is heard") };
    assert!(matches!(heard.signals[..], [Signal::Offer(_)]));
    let opening = heard.opening.unwrap();
    assert_eq!((&*opening.link, &*opening.from.address), ("pbx", "sip:2041@pbx.example"));
    ask.reply(Verdict::Refused(End::from(Reason::NotFound)).encode()).await.unwrap();
    let mut last = phone.hear().await;
    if last.starts_with("SIP/2.0 100") {
        last = phone.hear().await;
    }
    assert!(last.starts_with("SIP/2.0 404 "), "{last}");
}

/// A call that the phone made and an orchestrator had answered: our To with its tag.
async fn established(phone: &Phone, bus: &Bus, asks: &mut Inbox<Request>) -> String {
    let sdp =
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
    let length = format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len());
    phone.send(&request("INVITE", "UDP", "six").replace("Content-Length: 0\r\n\r\n", &length)).await;
    let ask = tokio::time::timeout(Duration::from_secs(5), asks.next()).await.unwrap().unwrap();
    let Ok(Ask::Heard(heard)) = <Ask>::decode(&ask.message.payload) else { panic!("an INVITE is heard") };
    let committed = Verdict::Committed { revision: 1, trace: String::new() };
    ask.reply(committed.encode()).await.unwrap();
    let [Signal::Offer(media)] = &heard.signals[..] else { panic!("{:?}", heard.signals) };
    let state = LegState {
        leg: heard.leg,
        revision: 1,
        dialog: heard.dialog.clone(),
        edge: heard.edge.clone(),
        trace: String::new(),
    };
    let id = EffectId { record: heard.leg.record, version: 1, index: 0 };
    let order = Say { id, state, count: 0, signal: Signal::Answer(media.clone()), opening: None };
    let order = Message { trace: String::new(), payload: order.encode() };
    bus.request(&subjects::edge(&heard.edge), order, Duration::from_secs(2)).await.unwrap();
    let mut last = phone.hear().await;
    while !last.starts_with("SIP/2.0 200") {
        last = phone.hear().await;
    }
    let to = last.lines().find(|line| line.starts_with("To: ")).unwrap().to_owned();
    let ack = request("ACK", "UDP", "six").replace("z9hG4bKsix", "z9hG4bKack");
    phone.send(&ack.replace("To: <sip:2700@gw.example>", &to)).await;
    to
}

/// An established call keeps a draining edge for as long as no other could serve it.
#[tokio::test]
async fn a_draining_edge_leaves_its_calls_to_another() {
    let (port, bus) = (free(), Bus::in_process());
    let mut asks = bus.serve(subjects::ASK, "orchestrators").await.unwrap();
    let (drain, running) = start(config(port), &bus);
    up(port).await;
    let phone = Phone::new(port).await;
    established(&phone, &bus, &mut asks).await;
    drain.drain();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert!(!running.is_finished(), "nobody else would serve the call");
    let card =
        InstanceInfo { kind: "sip-edge".into(), instance: "another".into(), ..InstanceInfo::default() };
    let _another = announce(&bus, card);
    tokio::time::timeout(Duration::from_secs(5), running).await.expect("it stays").unwrap().unwrap();
}

/// A stranger who has seen our tag cannot hang up for the phone, neither from another address nor with another Call-ID.
#[tokio::test]
async fn f1_a_stranger_who_knows_our_tag_ends_no_call() {
    let (port, bus) = (free(), Bus::in_process());
    let mut asks = bus.serve(subjects::ASK, "orchestrators").await.unwrap();
    let (_drain, _running) = start(config(port), &bus);
    up(port).await;
    let phone = Phone::new(port).await;
    let to = established(&phone, &bus, &mut asks).await;
    let bye =
        request("BYE", "UDP", "six").replace("To: <sip:2700@gw.example>", &to).replace(": 1 BYE", ": 2 BYE");
    let stranger = Phone::at("127.0.0.2", port).await;
    for (from, text) in [
        (&stranger, bye.clone()),
        (&stranger, bye.replace("Call-ID: six", "Call-ID: seven").replace("tag=asix", "tag=q")),
        (&phone, bye.replace("Call-ID: six", "Call-ID: seven")),
    ] {
        from.send(&text).await;
        let answer = from.hear().await;
        assert!(answer.starts_with("SIP/2.0 481 "), "{answer}");
    }
    phone.send(&bye).await;
    let ask = tokio::time::timeout(Duration::from_secs(5), asks.next()).await.unwrap().unwrap();
    let Ok(Ask::Heard(heard)) = <Ask>::decode(&ask.message.payload) else { panic!("a BYE is heard") };
    assert!(matches!(&heard.signals[..], [Signal::End(end)] if end.reason == Reason::Normal));
    ask.reply(Verdict::Committed { revision: heard.base + 1, trace: String::new() }.encode()).await.unwrap();
    assert!(phone.hear().await.starts_with("SIP/2.0 200 "));
}

#[tokio::test]
async fn a_taken_port_is_one_line_with_key_value_and_remedy() {
    let held = UdpSocket::bind("127.0.0.1:0").unwrap();
    let SocketAddr::V4(address) = held.local_addr().unwrap() else { panic!() };
    let (_, running) = start(config(address.port()), &Bus::in_process());
    let error = format!("{:#}", running.await.unwrap().unwrap_err());
    assert!(error.starts_with(&format!("[sip] listen: udp://{address} cannot be bound; free it")), "{error}");
    assert!(!error.contains('\n'));
}
