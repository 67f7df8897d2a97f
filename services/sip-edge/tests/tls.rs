//! SIP over TLS: names decide who a peer is, in both directions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use bus::{Bus, Inbox, Message, Request};
use proto::wire::WireFormat;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256, SanType,
};
use runtime::config::{SipConfig, TrunkConfig};
use runtime::{Config, Drain, Live};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use signal::media::{Codec, Content, Direction, Kind, Transport};
use signal::{
    Ask, EffectId, End, Heard, LegId, LegRef, LegState, Media, Opening, Party, Reason, Say, Secret, Signal,
    Verdict, subjects,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};

const INSTANCE: &str = "tls";
const SOON: Duration = Duration::from_secs(3);

/// Certificates of a test, in a folder that goes with it.
struct Authority {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

impl Authority {
    fn new() -> Authority {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("tandem-tls-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, key()).unwrap();
        std::fs::write(folder.join("ca.crt"), issuer.pem()).unwrap();
        Authority { folder, issuer }
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    /// Writes a certificate and its key: `file.crt`, `file.key`.
    fn issue(&self, file: &str, names: &[SanType], expired: bool) {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.subject_alt_names = names.to_vec();
        if expired {
            (params.not_before, params.not_after) =
                (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2021, 1, 1));
        }
        let key = key();
        let certificate = params.signed_by(&key, &*self.issuer).unwrap();
        std::fs::write(self.folder.join(format!("{file}.key")), key.serialize_pem()).unwrap();
        std::fs::write(self.folder.join(format!("{file}.crt")), certificate.pem()).unwrap();
    }

    fn chain(&self, file: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::pem_file_iter(self.file(&format!("{file}.crt"))).unwrap();
        let key = PrivateKeyDer::from_pem_file(self.file(&format!("{file}.key"))).unwrap();
        (chain.map(Result::unwrap).collect(), key)
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        roots
    }

    /// A client, with a certificate or without.
    fn client(&self, file: Option<&str>) -> TlsConnector {
        let builder = ClientConfig::builder_with_provider(runtime::tls::provider());
        let builder =
            builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(self.roots());
        let config = match file.map(|file| self.chain(file)) {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        TlsConnector::from(Arc::new(config))
    }

    /// A server, which may demand a certificate of its clients.
    fn server(&self, file: &str, demands: bool) -> TlsAcceptor {
        let (chain, key) = self.chain(file);
        let builder = ServerConfig::builder_with_provider(runtime::tls::provider());
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = if demands {
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
                Arc::new(self.roots()),
                runtime::tls::provider(),
            );
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()))
    }
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn uri(uri: &str) -> SanType {
    SanType::URI(uri.try_into().unwrap())
}

fn free() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

struct Edge {
    bus: Bus,
    asks: Inbox<Request>,
    drain: Drain,
    news: watch::Sender<Arc<Config>>,
    port: u16,
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.drain.drain();
    }
}

impl Edge {
    async fn start(ca: &Authority, trunk: TrunkConfig) -> Edge {
        let (bus, drain, port) = (Bus::in_process(), Drain::default(), free());
        let config = Config {
            instance: Some(INSTANCE.into()),
            sip: SipConfig {
                listen: vec![format!("tls://127.0.0.1:{port}")],
                tls_certificate_file: Some(ca.file("own.crt")),
                tls_key_file: Some(ca.file("own.key")),
                tls_ca_file: Some(ca.file("ca.crt")),
                ..SipConfig::default()
            },
            trunk: vec![TrunkConfig { name: "pbx".into(), domain: "sip.example.net".into(), ..trunk }],
            ..Config::default()
        };
        assert_eq!(config.sip.listeners().unwrap().len(), 1);
        let asks = bus.serve(subjects::ASK, "orchestrators").await.unwrap();
        let (news, live) = Live::new(config);
        tokio::spawn(tandem_sip_edge::run(live, bus.clone(), drain.clone()));
        for _ in 0..300 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Edge { bus, asks, drain, news, port }
    }

    async fn say(&self, state: LegState, version: u64, signal: Signal) -> signal::Said {
        let opening = Opening {
            from: Party::sip("sip:rosa@im.example"),
            to: Party::sip("sip:2041@pbx.example"),
            link: "pbx".into(),
            hops: 69,
            diverted: None,
            referral: None,
        };
        let id = EffectId { record: state.leg.record, version, index: 0 };
        let opening = (version == 1).then_some(opening);
        let order = Say { id, state, count: 0, signal, opening };
        for _ in 0..200 {
            let order = Message { trace: String::new(), payload: order.encode() };
            if let Ok(said) = self.bus.request(&subjects::edge(INSTANCE), order, Duration::from_secs(2)).await
            {
                return signal::Said::decode(&said).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no edge takes the order");
    }

    /// Orders a call to the trunk.
    async fn call(&self, sid: &str) -> LegRef {
        let leg = LegRef { record: Secret::new(b"x").call_of_jingle("rosa@x/1", sid), leg: LegId(1) };
        self.say(state(leg, 0, vec![]), 1, Signal::Offer(media())).await;
        leg
    }

    async fn heard(&mut self) -> Heard {
        let request = tokio::time::timeout(SOON, self.asks.next()).await.expect("nothing is heard").unwrap();
        let Ok(Ask::Heard(heard)) = <Ask>::decode(&request.message.payload) else { panic!("not heard") };
        let verdict = Verdict::Committed { revision: heard.base + 1, trace: String::new() };
        request.reply(verdict.encode()).await.unwrap();
        heard
    }

    async fn ends(&mut self) -> Reason {
        match &self.heard().await.signals[..] {
            [Signal::End(End { reason, .. })] => *reason,
            other => panic!("{other:?}"),
        }
    }
}

fn state(leg: LegRef, revision: u32, dialog: Vec<u8>) -> LegState {
    LegState { leg, revision, dialog, edge: String::new(), trace: String::new() }
}

fn media() -> Media {
    let transport = Transport { address: Some("127.0.0.1:30000".parse().unwrap()), ..Transport::default() };
    let content = Content {
        name: "0".into(),
        kind: Kind::Audio,
        direction: Direction::Both,
        rejected: false,
        codecs: vec![Codec::new(0, "PCMU", 8000, 1)],
        transport,
    };
    Media { contents: vec![content], bundle: vec![] }
}

/// Reads until a message is whole; the bodies here are short.
async fn hear(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4_096];
    loop {
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            body.len() >= length.map_or(0, |length| length.parse().unwrap())
        });
        if whole {
            return text;
        }
        let read = tokio::time::timeout(SOON, stream.read(&mut buffer)).await.expect("silence").unwrap();
        assert!(read > 0, "it closes after {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
}

fn request(method: &str, branch: &str) -> String {
    format!(
        "{method} sip:2700@gw.example SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1;rport;branch=z9hG4bK{branch}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:2041@pbx.example>;tag=a{branch}\r\nTo: <sip:2700@gw.example>\r\n\
         Call-ID: {branch}\r\nCSeq: 1 {method}\r\nContact: <sip:2041@127.0.0.1;transport=tls>\r\nContent-Length: 0\r\n\r\n"
    )
}

fn answer(request: &str, code: &str, sdp: &str, port: u16) -> String {
    let kept = ["Via: ", "From: ", "Call-ID: ", "CSeq: "];
    let lines: Vec<&str> =
        request.lines().filter(|line| kept.iter().any(|name| line.starts_with(name))).collect();
    let to = request.lines().find(|line| line.starts_with("To: ")).unwrap();
    let to = if to.contains(";tag=") { to.to_owned() } else { format!("{to};tag=b") };
    let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "SIP/2.0 {code}\r\n{}\r\n{to}\r\nContact: <sip:2041@127.0.0.1:{port};transport=tls>\r\n{kind}Content-Length: {}\r\n\r\n{sdp}",
        lines.join("\r\n"),
        sdp.len()
    )
}

const SDP: &str =
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

/// A whole call to a trunk that demands our certificate and proves its own name: INVITE, 200, ACK, and our BYE, on one connection.
#[tokio::test]
async fn a_call_by_tls_with_certificates_on_both_sides() {
    let ca = Authority::new();
    ca.issue("own", &[dns("gw.example.net")], false);
    ca.issue("pbx", &[uri("sip:pbx.example"), dns("host7.example")], false);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = ca.server("pbx", true);
    let config = TrunkConfig {
        uri: format!("sips:127.0.0.1:{port}"),
        tls_name: Some("Pbx.Example".into()),
        ..TrunkConfig::default()
    };
    let mut edge = Edge::start(&ca, config).await;
    let accepting = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        acceptor.accept(stream).await.unwrap()
    });
    let leg = edge.call("one").await;
    let mut pbx = tokio::time::timeout(SOON, accepting).await.expect("nobody connects").unwrap();
    let shown = pbx.get_ref().1.peer_certificates().unwrap()[0].clone();
    assert_eq!(runtime::tls::domains(&shown), ["gw.example.net"]);
    let invite = hear(&mut pbx).await;
    assert!(invite.contains(&format!("Via: SIP/2.0/TLS 127.0.0.1:{};", edge.port)), "{invite}");
    assert!(
        invite.contains(&format!("Contact: <sip:rosa@127.0.0.1:{};transport=tls>", edge.port)),
        "{invite}"
    );
    pbx.write_all(answer(&invite, "200 OK", SDP, port).as_bytes()).await.unwrap();
    let heard = edge.heard().await;
    assert!(matches!(&heard.signals[..], [Signal::Answer(_)]), "{:?}", heard.signals);
    let ack = hear(&mut pbx).await;
    assert!(ack.starts_with("ACK "), "{ack}");
    edge.say(state(leg, heard.base + 1, heard.dialog), 9, Signal::End(Reason::Normal.into())).await;
    assert!(hear(&mut pbx).await.starts_with("BYE "));
}

/// RFC 5922 §7.2: nothing is sent to a server of another name, of an old certificate, or that nobody vouches for.
#[tokio::test]
async fn a_server_of_another_name_is_told_nothing() {
    let (ca, other) = (Authority::new(), Authority::new());
    ca.issue("own", &[dns("gw.example.net")], false);
    ca.issue("wrong", &[dns("other.example")], false);
    ca.issue("wildcard", &[dns("*.example")], false);
    // A DNS name means nothing beside the URI of another domain.
    ca.issue("of-another", &[uri("sip:other.example"), dns("pbx.example")], false);
    ca.issue("of-a-person", &[uri("sip:rosa@pbx.example")], false);
    ca.issue("expired", &[dns("pbx.example")], true);
    other.issue("unknown", &[dns("pbx.example")], false);
    ca.issue("right", &[dns("PBX.example")], false);
    for (of, file) in [
        (&ca, "wrong"),
        (&ca, "wildcard"),
        (&ca, "of-another"),
        (&ca, "of-a-person"),
        (&ca, "expired"),
        (&other, "unknown"),
        (&ca, "right"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = of.server(file, false);
        let config = TrunkConfig {
            uri: format!("sip:127.0.0.1:{port};transport=tls"),
            tls_name: Some("pbx.example".into()),
            ..TrunkConfig::default()
        };
        let mut edge = Edge::start(&ca, config).await;
        let accepting = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(stream).await.ok()?;
            let mut buffer = [0; 4_096];
            let read = stream.read(&mut buffer).await.unwrap_or(0);
            Some(String::from_utf8_lossy(&buffer[..read]).into_owned())
        });
        edge.call(file).await;
        let said =
            tokio::time::timeout(SOON, accepting).await.expect("it hangs").unwrap().unwrap_or_default();
        if file == "right" {
            assert!(said.starts_with("INVITE "), "{said}");
        } else {
            assert_eq!(said, "", "{file}");
            assert_eq!(edge.ends().await, Reason::Connectivity, "{file}");
        }
    }
}

async fn connected(
    ca: &Authority,
    edge: &Edge,
    file: Option<&str>,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let stream = TcpStream::connect(("127.0.0.1", edge.port)).await?;
    ca.client(file).connect(ServerName::try_from("gw.example.net").unwrap(), stream).await
}

/// The certificate of a client is its trunk's credential, whatever its address; without it, the address is none either.
#[tokio::test]
async fn a_trunk_is_known_by_its_certificate() {
    let (ca, other) = (Authority::new(), Authority::new());
    ca.issue("own", &[dns("gw.example.net")], false);
    ca.issue("pbx", &[dns("SBC.carrier.example")], false);
    ca.issue("wrong", &[dns("sbc.other.example")], false);
    ca.issue("expired", &[dns("sbc.carrier.example")], true);
    other.issue("unknown", &[dns("sbc.carrier.example")], false);
    let config = TrunkConfig {
        uri: "sips:127.0.0.1:9".into(),
        sources: vec!["127.0.0.1".into()],
        tls_client_name: Some("sbc.carrier.example".into()),
        ..TrunkConfig::default()
    };
    let mut edge = Edge::start(&ca, config).await;
    for file in [None, Some("wrong")] {
        let mut stream = connected(&ca, &edge, file).await.unwrap();
        stream.write_all(request("INVITE", "no").as_bytes()).await.unwrap();
        let answer = hear(&mut stream).await;
        assert!(answer.starts_with("SIP/2.0 403 "), "{file:?}: {answer}");
    }
    for (of, file) in [(&ca, "expired"), (&other, "unknown")] {
        let (chain, key) = of.chain(file);
        let builder = ClientConfig::builder_with_provider(runtime::tls::provider());
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let config = builder.with_root_certificates(ca.roots()).with_client_auth_cert(chain, key).unwrap();
        let stream = TcpStream::connect(("127.0.0.1", edge.port)).await.unwrap();
        let name = ServerName::try_from("gw.example.net").unwrap();
        // TLS 1.3: the client learns of the refusal with its first read.
        let refused = match TlsConnector::from(Arc::new(config)).connect(name, stream).await {
            Err(_) => true,
            Ok(mut stream) => {
                let _ = stream.write_all(request("INVITE", "no").as_bytes()).await;
                !matches!(tokio::time::timeout(SOON, stream.read(&mut [0; 64])).await, Ok(Ok(1..)))
            }
        };
        assert!(refused, "{file}");
    }
    let mut stream = connected(&ca, &edge, Some("pbx")).await.unwrap();
    stream.write_all(request("INVITE", "yes").as_bytes()).await.unwrap();
    let heard = edge.heard().await;
    assert_eq!(heard.opening.unwrap().link, "pbx");
    assert!(hear(&mut stream).await.starts_with("SIP/2.0 100 "));
}

/// With each configuration that comes to be in force, certificates are read again; one that cannot be used leaves the old one.
#[tokio::test]
async fn changed_certificates_are_read_again() {
    let ca = Authority::new();
    ca.issue("own", &[dns("gw.example.net")], false);
    let edge =
        Edge::start(&ca, TrunkConfig { uri: "sip:127.0.0.1:9".into(), ..TrunkConfig::default() }).await;
    let shown = async || {
        let stream = connected(&ca, &edge, None).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let first = shown().await;
    let again = || edge.news.send_modify(|_| {});
    std::fs::write(ca.file("own.crt"), "no certificate").unwrap();
    again();
    let until = tokio::time::Instant::now() + Duration::from_secs(1);
    while tokio::time::Instant::now() < until {
        assert_eq!(shown().await, first, "what cannot be used is not used");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    ca.issue("own", &[dns("gw.example.net"), dns("second.example.net")], false);
    again();
    let until = tokio::time::Instant::now() + Duration::from_secs(15);
    while shown().await == first {
        assert!(tokio::time::Instant::now() < until, "the old one is still shown");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A stranger who connects and says nothing is gone after the time of a handshake.
#[tokio::test]
async fn a_handshake_has_a_deadline() {
    let ca = Authority::new();
    ca.issue("own", &[dns("gw.example.net")], false);
    let edge =
        Edge::start(&ca, TrunkConfig { uri: "sip:127.0.0.1:9".into(), ..TrunkConfig::default() }).await;
    let mut stream = TcpStream::connect(("127.0.0.1", edge.port)).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(8), stream.read(&mut [0; 64])).await;
    assert!(matches!(closed, Ok(Ok(0) | Err(_))), "it stays open");
}

/// Strangers have a hundred handshakes a second; a trunk's address has its own while they use those up.
#[tokio::test]
async fn strangers_have_few_handshakes() {
    let ca = Authority::new();
    ca.issue("own", &[dns("gw.example.net")], false);
    let config = TrunkConfig {
        uri: "sips:127.0.0.1:9".into(),
        sources: vec!["127.0.0.1".into()],
        ..TrunkConfig::default()
    };
    let edge = Edge::start(&ca, config).await;
    let (mut strangers, began) = (vec![], tokio::time::Instant::now());
    for _ in 0..300 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        strangers.push(socket.connect(([127, 0, 0, 1], edge.port).into()).await.unwrap());
    }
    connected(&ca, &edge, None).await.unwrap();
    // A hundred at once, and one more for every ten milliseconds.
    let most = 100 + began.elapsed().as_millis().div_ceil(10);
    let mut closed = 0;
    for stranger in &mut strangers {
        let read = tokio::time::timeout(Duration::from_millis(5), stranger.read(&mut [0; 8])).await;
        closed += u128::from(matches!(read, Ok(Ok(0) | Err(_))));
    }
    let had = 300 - closed;
    assert!((100..=most).contains(&had), "{had} of {most}");
}

/// A file that cannot be used is told with its key and a remedy, and no line of it is shown.
#[test]
fn a_fault_names_the_key_and_the_file() {
    let ca = Authority::new();
    ca.issue("own", &[dns("gw.example.net")], false);
    ca.issue("other", &[dns("gw.example.net")], false);
    std::fs::write(ca.file("empty.crt"), "").unwrap();
    let fault = |certificate: &str, key: &str, authorities: &str| {
        let config = Config {
            sip: SipConfig {
                listen: vec!["tls://127.0.0.1:5061".into()],
                tls_certificate_file: Some(ca.file(certificate)),
                tls_key_file: Some(ca.file(key)),
                tls_ca_file: Some(ca.file(authorities)),
                ..SipConfig::default()
            },
            trunk: vec![TrunkConfig { uri: "sips:pbx.example".into(), ..TrunkConfig::default() }],
            ..Config::default()
        };
        tandem_sip_edge::Tls::new(&config).err().map(|error| format!("{error:#}")).unwrap_or_default()
    };
    assert_eq!(fault("own.crt", "own.key", "ca.crt"), "");
    for (certificate, key, authorities, start, part) in [
        ("gone.crt", "own.key", "ca.crt", "[sip] tls_certificate_file: ", "gone.crt cannot be read: "),
        ("empty.crt", "own.key", "ca.crt", "[sip] tls_certificate_file: ", "holds no certificate; write"),
        ("own.crt", "gone.key", "ca.crt", "[sip] tls_key_file: ", "gone.key cannot be read: "),
        ("own.crt", "own.crt", "ca.crt", "[sip] tls_key_file: ", "holds no private key; write"),
        ("own.crt", "other.key", "ca.crt", "[sip] tls_key_file: ", "is not the key of the certificate in"),
        ("own.crt", "own.key", "gone.crt", "[sip] tls_ca_file: ", "cannot be read: "),
    ] {
        let fault = fault(certificate, key, authorities);
        assert!(fault.starts_with(start) && fault.contains(part), "{certificate} {key}: {fault}");
        assert!(!fault.contains("-----BEGIN") || part.contains("write"), "{fault}");
    }
}
