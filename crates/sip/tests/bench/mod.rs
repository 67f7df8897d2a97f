//! A scripted orchestrator and a phone of text around one edge.
#![allow(dead_code, reason = "each test file takes what it needs")]

use bytes::Bytes;
use signal::media::{Codec, Content, Direction, Kind, Transport};
use signal::*;
use tandem_sip::edge::{Config, Edge, Flow, Output, Refusal, Target, Trunk};
use tandem_sip::message::{Message, read};

pub const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n";

pub struct Bench {
    pub edge: Edge,
    pub now: Time,
    pub flow: Flow,
    pub sent: Vec<Message>,
    /// Where each message went, ever.
    pub ways: Vec<Flow>,
    pub asks: Vec<(u64, Ask)>,
    pub said: Vec<Said>,
    pub hands: Vec<(u64, String, Handover)>,
    pub refusals: Vec<Refusal>,
    /// Words of voicemail servers.
    pub notices: Vec<(u64, signal::mailbox::Notice)>,
    /// Trunks and sources of refused requests.
    pub refused: Vec<(String, String)>,
    /// Trunks and next hops that are not theirs.
    pub foreign: Vec<(String, String)>,
}

pub fn trunk(flow: Flow) -> Trunk {
    Trunk {
        name: "pbx".into(),
        targets: vec![Target::new("192.0.2.9", vec![flow])],
        sources: vec![("192.0.2.0".parse().unwrap(), 24)],
        networks: vec![],
        certified: false,
        roaming: false,
        credentials: None,
        inbound: None,
        rewrites: tandem_sip::edge::Rewrites::default(),
        trusted: true,
        use_6xx: false,
        session_expires: 0,
    }
}

pub fn bench(name: &str) -> Bench {
    let flow = Flow::udp("192.0.2.9:5060".parse().unwrap());
    let config = Config {
        instance: name.into(),
        advertise: "192.0.2.1:5060".into(),
        address: "192.0.2.1".parse().unwrap(),
        listeners: vec![],
        trunks: vec![trunk(flow)],
        max_legs: 100,
        limits: vec![],
    };
    let edge = Edge::new(config, Secret::new(b"test"));
    Bench {
        edge,
        now: Time(1_000_000),
        flow,
        sent: vec![],
        ways: vec![],
        asks: vec![],
        said: vec![],
        hands: vec![],
        refusals: vec![],
        notices: vec![],
        refused: vec![],
        foreign: vec![],
    }
}

impl Bench {
    pub fn drain(&mut self) {
        while let Some(output) = self.edge.poll() {
            match output {
                Output::Send(flow, octets) => {
                    self.ways.push(flow);
                    self.sent.push(read(&octets).unwrap());
                }
                Output::Ask(ticket, ask) => self.asks.push((ticket, ask)),
                Output::Said(said) => self.said.push(said),
                Output::Forward(ticket, edge, handover) => self.hands.push((ticket, edge, handover)),
                Output::Refused(refusal) => self.refusals.push(refusal),
                Output::Mailbox(ticket, notice) => self.notices.push((ticket, notice)),
                Output::RefusedSource(trunk, source) => self.refused.push((trunk, source.to_string())),
                Output::ForeignHop(trunk, host) => self.foreign.push((trunk, host)),
            }
        }
    }
    pub fn hear(&mut self, text: String) {
        self.edge.receive(&Bytes::from(text), self.flow, self.now);
        self.drain();
    }
    pub fn heard(&mut self) -> (u64, Heard) {
        match self.asks.remove(0) {
            (ticket, Ask::Heard(heard)) => (ticket, heard),
            other => panic!("not heard: {other:?}"),
        }
    }
    pub fn wait(&mut self, ms: u64) {
        let until = self.now + ms;
        while let Some(at) = self.edge.deadline().filter(|at| *at <= until) {
            self.now = at.max(self.now);
            self.edge.tick(self.now);
            self.drain();
        }
        self.now = until;
    }
    pub fn verdict(&mut self, ticket: u64, verdict: Verdict) {
        self.edge.verdict(ticket, verdict, self.now);
        self.drain();
    }
    pub fn commit(&mut self, revision: u32) -> Heard {
        let (ticket, heard) = self.heard();
        self.verdict(ticket, Verdict::Committed { revision, trace: String::new() });
        heard
    }
    pub fn say(&mut self, state: LegState, index: u64, signal: Signal, opening: Option<Opening>) -> Said {
        let mut id: EffectId = effect(state.leg);
        id.version = index;
        self.edge.order(Say { id, state, count: 0, signal, opening }, self.now);
        self.drain();
        self.said.remove(0)
    }
    /// Where the last message went.
    pub fn way(&self) -> String {
        self.ways.last().map(ToString::to_string).unwrap_or_default()
    }
    pub fn codes(&mut self) -> Vec<String> {
        let names = self.sent.iter().map(|m| m.code().map_or_else(|| m.method().unwrap(), |c| c.to_string()));
        let names = names.collect();
        self.sent.clear();
        names
    }
}

pub fn effect(leg: LegRef) -> EffectId {
    EffectId { record: leg.record, version: 1, index: 0 }
}

pub fn state(leg: LegRef, revision: u32, dialog: Vec<u8>) -> LegState {
    LegState { leg, revision, dialog, edge: String::new(), trace: String::new() }
}

pub fn media() -> Media {
    let transport = Transport { address: Some("192.0.2.1:30000".parse().unwrap()), ..Transport::default() };
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

pub fn request(method: &str, cseq: u32, to: &str, body: &str) -> String {
    let name = if method == "ACK" || method == "CANCEL" { "INVITE" } else { method };
    let branch = if method == "ACK" { "ack".into() } else { format!("{name}{cseq}") };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "{method} sip:2700@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK{branch}\r\nMax-Forwards: 70\r\n\
         From: <sip:2041@pbx.example>;tag=a\r\nTo: {to}\r\nCall-ID: c1\r\nCSeq: {cseq} {method}\r\n\
         Contact: <sip:2041@192.0.2.9>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub fn answer(request: &Message, code: u16, body: &str) -> String {
    let mut response = Message::response(request, code, "x", "b").with("Contact", "<sip:2041@192.0.2.9>");
    if !body.is_empty() {
        response = response.with_body("application/sdp", body.to_owned());
    }
    String::from_utf8_lossy(&response.write()).into_owned()
}

pub const TO: &str = "<sip:2700@192.0.2.1>";

pub fn answered(b: &mut Bench) -> (Heard, Said, String) {
    b.hear(request("INVITE", 1, TO, SDP));
    assert_eq!(b.codes(), ["100"]);
    let heard = b.commit(1);
    assert!(matches!(heard.signals.as_slice(), [Signal::Offer(m)] if m.is_described()));
    let opening = heard.opening.as_ref().unwrap();
    assert_eq!(
        (opening.from.address.as_str(), opening.to.address.as_str()),
        ("sip:2041@pbx.example", "sip:2700@192.0.2.1")
    );
    assert_eq!(opening.link, "pbx");
    let last_provisional = b.say(state(heard.leg, 1, heard.dialog.clone()), 2, Signal::Ringing, None);
    let said = b.say(state(heard.leg, 2, last_provisional.dialog.unwrap()), 3, Signal::Answer(media()), None);
    let to = b.sent.last().unwrap().text("To").unwrap().to_owned();
    assert!(!b.sent.last().unwrap().body.is_empty());
    assert_eq!(b.codes(), ["180", "200"]);
    (heard, said, to)
}

pub fn called(b: &mut Bench) -> (LegRef, Said) {
    let leg = LegRef { record: Secret::new(b"test").call_of_jingle("rosa@x/1", "s"), leg: LegId(1) };
    let opening = Opening {
        from: Party::sip("sip:rosa@im.example"),
        to: Party::sip("sip:2041@pbx.example"),
        link: "pbx".into(),
        hops: 69,
        diverted: None,
        referral: None,
    };
    let said = b.say(state(leg, 0, vec![]), 1, Signal::Offer(media()), Some(opening));
    (leg, said)
}

/// A leg as the record keeps it: what the edge hears and says is stored, and the leg is woken when it wants to be.
pub struct Recorded {
    pub leg: LegRef,
    pub revision: u32,
    pub dialog: Vec<u8>,
    pub wake: Option<Time>,
    orders: u64,
}

impl Recorded {
    /// The leg of an edge that has just asked for its opening.
    pub fn opened(b: &mut Bench) -> (Recorded, Heard) {
        let Ask::Heard(heard) = &b.asks[0].1 else { panic!("nothing is opened") };
        let mut recorded = Recorded { leg: heard.leg, revision: 0, dialog: vec![], wake: None, orders: 100 };
        let heard = recorded.commit(b);
        (recorded, heard)
    }
    /// The leg of a call that the edge has just been told to make.
    pub fn called(b: &mut Bench) -> Recorded {
        let (leg, said) = called(b);
        Recorded { leg, revision: said.base + 1, dialog: said.dialog.unwrap(), wake: said.wake, orders: 100 }
    }
    pub fn state(&self) -> LegState {
        state(self.leg, self.revision, self.dialog.clone())
    }
    pub fn commit(&mut self, b: &mut Bench) -> Heard {
        let (ticket, heard) = b.heard();
        self.revision = heard.base + 1;
        (self.dialog, self.wake) = (heard.dialog.clone(), heard.wake);
        b.verdict(ticket, Verdict::Committed { revision: self.revision, trace: String::new() });
        heard
    }
    /// Answers the recall of an edge that does not hold the leg.
    pub fn recall(&self, b: &mut Bench) {
        let (ticket, Ask::Recall(leg)) = b.asks.remove(0) else { panic!("nothing is recalled") };
        assert_eq!(leg, self.leg);
        b.verdict(ticket, Verdict::Leg(self.state()));
    }
    pub fn say(&mut self, b: &mut Bench, signal: Signal) {
        self.orders += 1;
        let said = b.say(self.state(), self.orders, signal, None);
        if let Some(dialog) = said.dialog {
            (self.revision, self.dialog, self.wake) = (said.base + 1, dialog, said.wake);
        }
    }
    /// Lets the time pass at which the leg wants to be woken, and wakes it. Returns that time.
    pub fn wake(&mut self, b: &mut Bench) -> Time {
        let at = self.wake.unwrap();
        b.wait(at.since(b.now));
        self.orders += 1;
        let mut id = effect(self.leg);
        id.version = self.orders;
        b.edge.order(Wake { id, state: self.state() }, b.now);
        b.drain();
        b.said.remove(0);
        at
    }
}

/// Returns a message with further headers.
pub fn with(message: String, headers: &str) -> String {
    message.replacen("\r\nCall-ID", &format!("\r\n{headers}\r\nCall-ID"), 1)
}
