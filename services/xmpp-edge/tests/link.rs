//! The link against a real Prosody: made, kept, made again, held by one edge of several, and not ended by strangers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use bus::{Bus, Message};
use proto::pipe::pipe;
use proto::wire::WireFormat;
use runtime::config::{ComponentConfig, XmppConfig};
use runtime::{Config, Drain};
use sha1::{Digest, Sha1};
use signal::{
    Ask, EffectId, Heard, LegId, LegRef, LegState, Order, Protocol, RecordId, Say, Signal, Verdict, subjects,
};
use std::time::Duration;
use store::Store;
use testkit::prosody::{COMPONENT, ComponentTls, Options, SECRET};
use testkit::{Authority, Prosody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Somebody else's component, by hand: what it sends is exactly what is written here.
struct Stranger(TcpStream, String);

const STRANGER: &str = "stranger.example.net";

impl Stranger {
    async fn link(server: &Prosody) -> Stranger {
        let stream = TcpStream::connect(("127.0.0.1", server.component_port)).await.unwrap();
        let mut stranger = Stranger(stream, String::new());
        stranger
            .send(&format!(
                "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='{STRANGER}'>"
            ))
            .await;
        let header = stranger.until("<stream:stream", ">").await;
        let id = header.split(" id='").nth(1).unwrap().split('\'').next().unwrap();
        let proof: String =
            Sha1::digest(format!("{id}{SECRET}")).iter().map(|b| format!("{b:02x}")).collect();
        stranger.send(&format!("<handshake>{proof}</handshake>")).await;
        stranger.until("<handshake", ">").await;
        stranger
    }

    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads on until both texts have come, in this order; gives everything up to there, nothing after 2 s.
    async fn until(&mut self, first: &str, then: &str) -> String {
        let reading = async {
            let mut buffer = [0; 4_096];
            loop {
                if let Some(start) = self.1.find(first)
                    && let Some(end) = self.1[start..].find(then)
                {
                    let end = start + end + then.len();
                    let text = self.1[..end].to_owned();
                    self.1.drain(..end);
                    return text;
                }
                let length = self.0.read(&mut buffer).await.unwrap();
                assert!(length > 0, "closed after {}", self.1);
                self.1.push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        };
        tokio::time::timeout(Duration::from_secs(2), reading).await.unwrap_or_default()
    }

    async fn proposes(&mut self, id: &str) {
        let audio = "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/>";
        let propose = format!("<propose xmlns='urn:xmpp:jingle-message:0' id='{id}'>{audio}</propose>");
        self.send(&format!(
            "<message type='chat' from='{STRANGER}/x' to='2041@{COMPONENT}'>{propose}</message>"
        ))
        .await;
    }

    /// Ringing comes 4.5 s after the call, from whoever serves it.
    async fn rings(&mut self, id: &str) -> bool {
        for _ in 0..4 {
            let answer = self.until(&format!("id='{id}'"), "</message>").await;
            assert!(!answer.contains("<reject"), "{answer}");
            if answer.contains("<ringing") {
                return true;
            }
        }
        false
    }

    /// Asks our component for its features until somebody answers for it.
    async fn served(&mut self, id: &str) -> String {
        for attempt in 0..60 {
            let id = format!("{id}-{attempt}");
            self.send(&format!(
                "<iq type='get' id='{id}' from='{STRANGER}' to='2041@{COMPONENT}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
            ))
            .await;
            let answer = self.until(&id, "</iq>").await;
            // What was on its way to an edge that died is lost, like anything that was not committed.
            if answer.contains("type='result'") {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("nobody serves {COMPONENT}");
    }
}

fn config(port: u16, instance: &str, secret: &str) -> Config {
    Config {
        instance: Some(instance.into()),
        xmpp: XmppConfig {
            component: vec![ComponentConfig {
                domain: COMPONENT.into(),
                server: format!("127.0.0.1:{port}"),
                secret: Some(secret.into()),
                secret_file: None,
                users: Some("example.net".into()),
                ..ComponentConfig::default()
            }],
        },
        ..Config::default()
    }
}

/// An orchestrator, which decides on leases.
async fn decider(bus: &Bus) -> JoinHandle<anyhow::Result<()>> {
    let (dialer, _) = pipe();
    let dial = orchestrator::Dial::Pipe(dialer);
    let (bus, drain) = (bus.clone(), Drain::default());
    tokio::spawn(
        async move { orchestrator::run(Config::default(), bus, Store::in_memory(), dial, drain).await },
    )
}

/// In an orchestrator's place: commits whatever it is asked, has each call ring in the end, and grants a lease to one holder at a time.
/// Tells which legs are recalled, none of which it knows.
async fn agrees(bus: &Bus) -> mpsc::UnboundedReceiver<LegRef> {
    let (recalls, recalled) = mpsc::unbounded_channel();
    let mut asks = bus.serve(subjects::ASK, "orchestrators").await.unwrap();
    let mut claims = bus.serve(subjects::CLAIM, "orchestrators").await.unwrap();
    let orders = bus.clone();
    tokio::spawn(async move {
        while let Some(request) = asks.next().await {
            let verdict = match <Ask>::decode(&request.message.payload).unwrap() {
                Ask::Heard(heard) => {
                    let revision = heard.base + 1;
                    if heard.opening.is_some() {
                        tokio::spawn(ring(orders.clone(), heard, revision));
                    }
                    Verdict::Committed { revision, trace: String::new() }
                }
                Ask::Recall(leg) => {
                    let _ = recalls.send(leg);
                    Verdict::Gone
                }
            };
            request.reply(verdict.encode()).await.unwrap();
        }
    });
    tokio::spawn(async move {
        let (mut holder, mut since) = (String::new(), runtime::clock::instant());
        while let Some(request) = claims.next().await {
            let claim: serde_json::Value = serde_json::from_slice(&request.message.payload).unwrap();
            let by = claim["holder"].as_str().unwrap();
            let free = holder.is_empty() || holder == by || since.elapsed() > Duration::from_secs(2);
            if free {
                let released = claim["release"].as_bool().unwrap_or_default();
                holder = if released { String::new() } else { by.to_owned() };
                since = runtime::clock::instant();
            }
            request.reply(serde_json::json!({ "granted": free }).to_string()).await.unwrap();
        }
    });
    recalled
}

/// Orders whoever holds the link to tell the caller that it rings, after 4.5 s.
async fn ring(bus: Bus, heard: Heard, revision: u32) {
    tokio::time::sleep(Duration::from_millis(4_500)).await;
    let state = LegState {
        leg: heard.leg,
        revision,
        dialog: heard.dialog,
        edge: String::new(),
        trace: String::new(),
    };
    let id = EffectId { record: heard.leg.record, version: 2, index: 0 };
    let say = Say { id, state, count: 0, signal: Signal::Ringing, opening: None };
    let message = Message { trace: String::new(), payload: Order::from(say).encode() };
    bus.request(&subjects::say(Protocol::Xmpp, COMPONENT), message, Duration::from_secs(2)).await.unwrap();
}

fn edge(server: &Prosody, bus: &Bus, instance: &str) -> JoinHandle<anyhow::Result<()>> {
    draining(server, bus, instance, SECRET, &Drain::default())
}

fn draining(
    server: &Prosody,
    bus: &Bus,
    instance: &str,
    secret: &str,
    drain: &Drain,
) -> JoinHandle<anyhow::Result<()>> {
    let (config, bus, drain) = (config(server.component_port, instance, secret), bus.clone(), drain.clone());
    tokio::spawn(async move { tandem_xmpp_edge::run(config, bus, drain).await })
}

fn prosody() -> Prosody {
    let components = vec![COMPONENT.to_owned(), STRANGER.to_owned()];
    Prosody::with(&Options { users: vec![], components, ..Options::default() }).unwrap()
}

/// Over TLS server and component show each other certificates, and nothing else is a link.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_over_tls_proves_who_is_who() {
    let (ours, theirs) = (Authority::new().unwrap(), Authority::new().unwrap());
    let port = testkit::ports::one();
    let component_tls = ComponentTls {
        port,
        own: ours.sign("server", &["example.net"]).unwrap(),
        clients: Some(ours.certificate()),
    };
    let components = vec![COMPONENT.to_owned(), STRANGER.to_owned()];
    let options = Options { components, component_tls: Some(component_tls), ..Options::default() };
    let (server, bus) = (Prosody::with(&options).unwrap(), Bus::in_process());
    let own = ours.sign("gateway", &["gateway"]).unwrap();
    let text = |path: &std::path::Path| Some(path.to_str().unwrap().to_owned());
    let mut config = config(port, "one", SECRET);
    let component = &mut config.xmpp.component[0];
    component.server = format!("tls://127.0.0.1:{port}");
    component.tls_name = Some("example.net".into());
    component.ca_file = text(&ours.certificate());
    (component.certificate_file, component.key_file) = (text(&own.certificate), text(&own.key));
    let component = component.clone();
    assert_eq!(config.check(), []);

    let _decider = decider(&bus).await;
    let running = tokio::spawn({
        let bus = bus.clone();
        async move { tandem_xmpp_edge::run(config, bus, Drain::default()).await }
    });
    let mut stranger = Stranger::link(&server).await;
    stranger.served("secure").await;
    // Some hundred records of TLS each way.
    let large = format!("<body>{}</body>", "x".repeat(200 * 1024));
    stranger
        .send(&format!("<iq type='set' id='l' from='{STRANGER}' to='2041@{COMPONENT}'>{large}</iq>"))
        .await;
    let answer = stranger.until("id='l'", "</iq>").await;
    assert!(answer.contains("type='error'"), "{answer}");
    running.abort();

    let refused = async |change: &dyn Fn(&mut ComponentConfig)| {
        let mut component = component.clone();
        change(&mut component);
        format!("{:#}", tandem_xmpp_edge::log_in(&component).await.unwrap_err())
    };
    let other = refused(&|component| component.ca_file = text(&theirs.certificate())).await;
    let key = format!("[[xmpp.component]] ca_file: no TLS with 127.0.0.1:{port}: invalid peer certificate");
    assert!(other.starts_with(&key) && other.contains("the name example.net"), "{other}");
    let nameless = refused(&|component| component.tls_name = None).await;
    assert!(nameless.starts_with(&key) && nameless.contains("the name 127.0.0.1"), "{nameless}");
    let unknown = refused(&|component| {
        (component.certificate_file, component.key_file) = (None, None);
    });
    assert!(!unknown.await.contains("ca_file"), "our certificate is asked for, not the server's looked at");
    let clear = |component: &mut ComponentConfig| component.server = format!("127.0.0.1:{port}");
    refused(&clear).await;
    let plain = server.component_port;
    refused(&|component| component.server = format!("tls://127.0.0.1:{plain}")).await;
    tandem_xmpp_edge::log_in(&component).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_serves_and_survives_whatever_a_stranger_sends() {
    let (server, bus) = (prosody(), Bus::in_process());
    let _decider = decider(&bus).await;
    let _edge = edge(&server, &bus, "one");
    let mut stranger = Stranger::link(&server).await;
    let features = stranger.served("disco").await;
    for feature in ["urn:xmpp:jingle:1", "urn:xmpp:jingle-message:0", "urn:ietf:rfc:3264", "urn:xmpp:ping"] {
        assert!(features.contains(feature), "{feature} in {features}");
    }
    let hostile = [
        "<presence type='bogus'/>",
        "<presence><show>brb</show><priority>999</priority></presence>",
        "<message type='bogus'><body>x</body></message>",
        "<message><propose xmlns='urn:xmpp:jingle-message:0'/></message>",
        "<message type='error'/>",
        "<iq type='bogus' id='b1'/>",
        "<iq type='set' id='b2'/>",
        "<iq type='result' id='b3'/>",
    ];
    for stanza in hostile {
        let place = stanza.find([' ', '>', '/']).unwrap();
        let addressed =
            format!("{} from='{STRANGER}' to='2041@{COMPONENT}'{}", &stanza[..place], &stanza[place..]);
        stranger.send(&addressed).await;
    }
    for (id, payload) in [
        ("j1", "<jingle xmlns='urn:xmpp:jingle:1'/>"),
        ("j2", "<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='s'/>"),
        ("j3", "<jingle xmlns='urn:xmpp:jingle:1' action='session-accept' sid='nobody-knows'/>"),
        ("j4", "<query xmlns='nobody:knows'/>"),
    ] {
        let iq = format!("<iq type='set' id='{id}' from='{STRANGER}' to='2041@{COMPONENT}'>{payload}</iq>");
        stranger.send(&iq).await;
        let answer = stranger.until(&format!("id='{id}'"), "</iq>").await;
        assert!(answer.contains("type='error'"), "{answer}");
    }
    let deep = format!("{}{}", "<a>".repeat(2_000), "</a>".repeat(2_000));
    stranger.send(&format!("<iq type='set' id='deep' from='{STRANGER}' to='{COMPONENT}'>{deep}</iq>")).await;
    let answer = stranger.until("id='deep'", "</iq>").await;
    assert!(answer.contains("type='error'"), "{answer}");
    stranger.served("still").await;
}

/// Stanzas that a client may send and a server passes on in its own words: other namespaces, references for characters.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_survives_odd_namespaces_and_large_stanzas() {
    let (server, bus) = (prosody(), Bus::in_process());
    let _decider = decider(&bus).await;
    let _edge = edge(&server, &bus, "one");
    let mut stranger = Stranger::link(&server).await;
    stranger.served("before").await;
    let large = format!("<body>{}</body>", "\"".repeat(400 * 1024));
    let xml = "http://www.w3.org/XML/1998/namespace";
    let jingle = format!(
        "<jingle xmlns='urn:xmpp:jingle:1' xmlns:xml='{xml}' action='session-info' sid='nobody-knows'><a xml:lang='en'/></jingle>"
    );
    for (id, payload) in
        [("n1", "<xml:a/>"), ("n3", "<a xmlns='urn:x' xml:lang='en'/>"), ("n4", &jingle), ("n5", &large)]
    {
        let iq = format!("<iq type='set' id='{id}' from='{STRANGER}' to='2041@{COMPONENT}'>{payload}</iq>");
        stranger.send(&iq).await;
        let answer = stranger.until(&format!("id='{id}'"), "</iq>").await;
        assert!(answer.contains("type='error'"), "{id}: {answer}");
        // By the same link: the next question is answered at once.
        let ping = format!(
            "<iq type='get' id='p{id}' from='{STRANGER}' to='{COMPONENT}'><ping xmlns='urn:xmpp:ping'/></iq>"
        );
        stranger.send(&ping).await;
        let answer = stranger.until(&format!("id='p{id}'"), ">").await;
        assert!(answer.contains("type='result'"), "after {id}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_restarted_gets_its_link_back() {
    let (mut server, bus) = (prosody(), Bus::in_process());
    let _decider = decider(&bus).await;
    let _edge = edge(&server, &bus, "one");
    Stranger::link(&server).await.served("before").await;
    let server = tokio::task::spawn_blocking(move || {
        server.restart().unwrap();
        server
    })
    .await
    .unwrap();
    Stranger::link(&server).await.served("after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_edges_one_holds_the_link_and_the_other_takes_over() {
    let (server, bus) = (prosody(), Bus::in_process());
    let _decider = decider(&bus).await;
    let one = edge(&server, &bus, "one");
    let mut stranger = Stranger::link(&server).await;
    stranger.served("one").await;
    let _two = edge(&server, &bus, "two");
    tokio::time::sleep(Duration::from_secs(2)).await;
    stranger.served("still").await;
    // Gone without a word: its lease has to run out.
    one.abort();
    let began = runtime::clock::instant();
    stranger.served("two").await;
    assert!(began.elapsed() < Duration::from_secs(6), "taken over after {:?}", began.elapsed());
}

/// The calls of an edge that drains are served by any other; new ones are refused by none.
#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_drains_hands_its_link_over() {
    let (server, bus) = (prosody(), Bus::in_process());
    agrees(&bus).await;
    let drain = Drain::default();
    let mut one = draining(&server, &bus, "one", SECRET, &drain);
    let mut stranger = Stranger::link(&server).await;
    stranger.served("one").await;
    stranger.proposes("first").await;
    assert!(stranger.rings("first").await);
    let two = edge(&server, &bus, "two");
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let began = runtime::clock::instant();
    drain.drain();
    tokio::time::timeout(Duration::from_secs(5), &mut one).await.unwrap().unwrap().unwrap();
    stranger.served("two").await;
    assert!(began.elapsed() < Duration::from_secs(6), "handed over after {:?}", began.elapsed());
    stranger.proposes("second").await;
    assert!(stranger.rings("second").await);
    two.abort();
}

/// Digits that are typed to a number find the call that stands between the two, though this edge has never served it.
#[tokio::test(flavor = "multi_thread")]
async fn e3_an_edge_that_takes_over_knows_whose_calls_stand() {
    let (server, bus) = (prosody(), Bus::in_process());
    let mut recalled = agrees(&bus).await;
    let record = RecordId::call([7; 10]);
    let mut questions = bus.serve(subjects::LEGS, "orchestrators").await.unwrap();
    tokio::spawn(async move {
        while let Some(request) = questions.next().await {
            let question: serde_json::Value = serde_json::from_slice(&request.message.payload).unwrap();
            assert_eq!(question["domain"], COMPONENT);
            let us = format!("2041@{COMPONENT}/resource");
            let legs = serde_json::json!([[record.to_string(), 1, us, format!("{STRANGER}/elsewhere")]]);
            request.reply(legs.to_string()).await.unwrap();
        }
    });
    let _edge = edge(&server, &bus, "one");
    let mut stranger = Stranger::link(&server).await;
    stranger.served("one").await;
    let text = |digits: &str| {
        format!(
            "<message type='chat' id='{digits}' from='{STRANGER}/x' to='2041@{COMPONENT}'><body>{digits}</body></message>"
        )
    };
    let mut leg = None;
    for _ in 0..20 {
        // The link may be up before the answer has come.
        stranger.send(&text("12#")).await;
        leg = tokio::time::timeout(Duration::from_millis(300), recalled.recv()).await.ok().flatten();
        if leg.is_some() {
            break;
        }
    }
    assert_eq!(leg, Some(LegRef { record, leg: LegId(1) }));
    // What is no digits is a text.
    stranger.send(&text("hello")).await;
    assert!(stranger.until("id='hello'", "</message>").await.contains("service-unavailable"));
}

/// Alone it refuses new calls, and goes on serving the old ones.
#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_drains_alone_keeps_its_link() {
    let (server, bus) = (prosody(), Bus::in_process());
    agrees(&bus).await;
    let drain = Drain::default();
    let one = draining(&server, &bus, "one", SECRET, &drain);
    let mut stranger = Stranger::link(&server).await;
    stranger.served("one").await;
    stranger.proposes("first").await;
    drain.drain();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    stranger.proposes("second").await;
    let answer = stranger.until("id='second'", "</message>").await;
    assert!(answer.contains("<reject"), "{answer}");
    assert!(stranger.rings("first").await && !one.is_finished());
}

/// An edge that cannot reach the server leaves the lease to another.
#[tokio::test(flavor = "multi_thread")]
async fn an_edge_without_a_way_to_the_server_lets_another_try() {
    let (server, bus) = (prosody(), Bus::in_process());
    let _decider = decider(&bus).await;
    let _one = draining(&server, &bus, "one", "another-secret", &Drain::default());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let _two = edge(&server, &bus, "two");
    let mut stranger = Stranger::link(&server).await;
    let began = runtime::clock::instant();
    stranger.served("two").await;
    assert!(began.elapsed() < Duration::from_secs(20), "taken over after {:?}", began.elapsed());
}

/// A server takes its time to notice that the link of a killed edge is dead; then ours must be there at once (R-XMPP-3).
#[tokio::test]
async fn a_conflict_is_waited_out_without_longer_and_longer_pauses() {
    let bus = Bus::in_process();
    agrees(&bus).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = config(listener.local_addr().unwrap().port(), "one", SECRET);
    let _edge = tokio::spawn(async move { tandem_xmpp_edge::run(config, bus, Drain::default()).await });
    let attempts = async {
        for attempt in 1.. {
            let (mut link, _) = listener.accept().await.unwrap();
            let answer = "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' id='1'>\
                          <stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>";
            assert!(link.read(&mut [0; 1_024]).await.unwrap() > 0);
            link.write_all(answer.as_bytes()).await.unwrap();
            while link.read(&mut [0; 1_024]).await.is_ok_and(|length| length > 0) {}
            if attempt == 12 {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(8), attempts).await.unwrap();
}

/// R-XMPP-1
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_not_linked_and_goes_on_trying() {
    let (server, bus) = (prosody(), Bus::in_process());
    let _decider = decider(&bus).await;
    let running = {
        let (config, bus) = (config(server.component_port, "one", "another-secret"), bus.clone());
        tokio::spawn(async move { tandem_xmpp_edge::run(config, bus, Drain::default()).await })
    };
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!running.is_finished());
    let missing = runtime::admin::missing();
    assert!(missing.keys().any(|part| part.contains(COMPONENT)), "{missing:?}");
}
