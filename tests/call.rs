//! A whole call on virtual time: wire, edge, decision, edge, wire. Both parties are SIP phones here, since SIP→SIP is the same
//! path; the record goes through its stored form before every decision, and a fresh edge takes over in the middle.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use media::{Policy, Profile};
use session::call::{Call, Effect, Route};
use session::user::Settings;
use signal::{Opening, Party, Reason, Secret, Time};
use sip::edge::{Config, Edge, Flow, Target, Trunk};
use sip::message::{Message, read};
use tandem_tests::gateway::{Gateway, Output, Plan};

const CALLER: &str = "192.0.2.9";
const CALLEE: &str = "198.51.100.9";
const NOW: Time = Time(1_000_000);

struct World {
    gateway: Gateway,
    wire: Vec<(Flow, Message)>,
    relay: Vec<Effect>,
}

fn flow(host: &str) -> Flow {
    Flow::udp(format!("{host}:5060").parse().unwrap())
}

fn edge(instance: &str) -> Edge {
    let trunk = |name: &str, host: &str| Trunk {
        name: name.into(),
        targets: vec![Target::new(host, vec![flow(host)])],
        sources: vec![(host.parse().unwrap(), 32)],
        networks: vec![],
        certified: false,
        roaming: false,
        credentials: None,
        inbound: None,
        rewrites: sip::edge::Rewrites::default(),
        trusted: false,
        use_6xx: false,
        session_expires: 1_800,
    };
    let config = Config {
        instance: instance.into(),
        advertise: "203.0.113.1:5060".into(),
        address: "203.0.113.1".parse().unwrap(),
        listeners: vec![],
        trunks: vec![trunk("pbx", CALLER), trunk("carrier", CALLEE)],
        max_legs: 10,
        limits: vec![],
    };
    Edge::new(config, Secret::new(b"cluster"))
}

fn route(_: &Opening, _: bool) -> Result<Route, signal::End> {
    Ok(Route {
        opening: Opening {
            from: Party::sip("sip:2041@gw.example"),
            to: Party::sip(format!("sip:2050@{CALLEE}")),
            link: "carrier".into(),
            hops: 69,
            diverted: None,
            referral: None,
        },
        profile: Profile::Plain,
        ipv6: false,
        engaged: false,
        early_media: false,
        ring_ms: 60_000,
        unheard: Reason::Timeout,
        unheard_ms: None,
        settings: Settings::default(),
    })
}

impl World {
    fn new() -> World {
        let config = xmpp::edge::Config {
            instance: "none".into(),
            components: vec![],
            max_legs: 0,
            limits: vec![],
            presume_ringing: None,
        };
        let nobody = xmpp::edge::Edge::new(config, Secret::new(b"cluster"));
        let plan = Plan {
            route: Box::new(route),
            profile: Box::new(|_| Profile::Plain),
            policy: Policy::default(),
            mailbox: Box::new(|_| None),
        };
        let gateway = Gateway::new(NOW, edge("one"), nobody, plan);
        World { gateway, wire: vec![], relay: vec![] }
    }

    /// A phone sends; everything that follows is done until nothing is left.
    fn send(&mut self, from: &str, message: &Message) {
        self.gateway.sip.receive(&message.write(), flow(from), NOW);
        while let Some(output) = self.gateway.poll().unwrap() {
            match output {
                Output::Sip(to, octets) => self.wire.push((to, read(&octets).unwrap())),
                Output::Decided(decision) => {
                    let orders = decision.effects.into_iter().filter(|e| !matches!(e, Effect::Say { .. }));
                    self.relay.extend(orders);
                }
                Output::Xmpp(stanza) => panic!("nobody speaks XMPP here: {stanza:?}"),
                Output::Refused(_, end) => panic!("refused: {end:?}"),
            }
        }
    }

    fn call(&self) -> Call {
        self.gateway.the_call().unwrap()
    }

    /// The last message of this kind that went to this phone.
    fn last(&self, to: &str, what: &str) -> Message {
        let is = |m: &Message| m.code().map_or_else(|| m.method().unwrap(), |c| c.to_string()) == what;
        let seen: Vec<String> = self.wire.iter().map(|(f, m)| format!("{} {:?}", f.peer, m.start)).collect();
        self.wire
            .iter()
            .rev()
            .find(|(f, m)| *f == flow(to) && is(m))
            .unwrap_or_else(|| panic!("no {what} to {to} in {seen:#?}"))
            .1
            .clone()
    }
}

fn sdp(host: &str, port: u16, codecs: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP {codecs}\r\n"
    )
}

fn invite() -> Message {
    Message::request("INVITE", "sip:2050@203.0.113.1")
        .with("Via", format!("SIP/2.0/UDP {CALLER}:5060;branch=z9hG4bKone;rport"))
        .with("Max-Forwards", "70")
        .with("From", "<sip:2041@pbx.example>;tag=a1")
        .with("To", "<sip:2050@203.0.113.1>")
        .with("Call-ID", "c1")
        .with("CSeq", "1 INVITE")
        .with("Contact", format!("<sip:2041@{CALLER}>"))
        .with_body("application/sdp", sdp(CALLER, 4000, "0 8"))
}

fn answered() -> World {
    let mut world = World::new();
    world.send(CALLER, &invite());
    let offered = world.last(CALLEE, "INVITE");
    let text = String::from_utf8_lossy(&offered.body).into_owned();
    assert!(
        text.contains("m=audio 30002 RTP/AVP 0 8") && !text.contains(CALLER),
        "anchored, nothing of the caller's: {text}"
    );
    let contact = format!("<sip:2050@{CALLEE}>");
    world.send(CALLEE, &Message::response(&offered, 180, "Ringing", "b1").with("Contact", contact.clone()));
    world.last(CALLER, "180");
    let ok = Message::response(&offered, 200, "OK", "b1")
        .with("Contact", contact)
        .with_body("application/sdp", sdp(CALLEE, 5000, "8"));
    world.send(CALLEE, &ok);
    world.last(CALLEE, "ACK");
    world
}

#[test]
fn a_call_is_placed_rings_is_answered_with_the_codec_in_use_and_ended_by_the_callee() {
    let mut world = answered();
    let told = world.last(CALLER, "200");
    let text = String::from_utf8_lossy(&told.body).into_owned();
    assert!(text.contains("m=audio 30000 RTP/AVP 8\r\n"), "{text}");
    let remotes: Vec<String> = world
        .relay
        .iter()
        .filter_map(
            |e| if let Effect::Connect(c) = e { c.remote.address.map(|a| a.to_string()) } else { None },
        )
        .collect();
    assert_eq!(remotes, [format!("{CALLEE}:5000"), format!("{CALLER}:4000")]);

    let offered = world.last(CALLEE, "INVITE");
    let bye = Message::request("BYE", "sip:gw@203.0.113.1")
        .with("Via", format!("SIP/2.0/UDP {CALLEE}:5060;branch=z9hG4bKbye"))
        .with("Max-Forwards", "70")
        .with("From", format!("{};tag=b1", offered.text("To").unwrap()))
        .with("To", offered.text("From").unwrap().to_owned())
        .with("Call-ID", offered.call_id().unwrap().to_owned())
        .with("CSeq", "1 BYE");
    // The edge that knew the call is gone; another has nothing but the record.
    world.gateway.sip = edge("two");
    world.send(CALLEE, &bye);
    world.last(CALLEE, "200");
    world.last(CALLER, "BYE");
    assert!(world.call().ended.is_some());
    assert_eq!(world.relay.iter().filter(|e| matches!(e, Effect::Release(_))).count(), 1);
}

#[test]
fn busy_is_heard_as_busy() {
    let mut world = World::new();
    world.send(CALLER, &invite());
    let offered = world.last(CALLEE, "INVITE");
    world.send(CALLEE, &Message::response(&offered, 486, "Busy Here", "b1"));
    world.last(CALLEE, "ACK");
    let told = world.last(CALLER, "486");
    assert_eq!(told.text("Reason"), Some("Q.850;cause=17"));
    assert!(world.call().ended.is_some());
}
