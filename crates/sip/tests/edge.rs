//! Calls through the sans-IO edge, both ways, with a scripted orchestrator and a phone of text.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use bytes::Bytes;
use signal::media::{Codec, Content, Direction, Kind, Transport};
use signal::*;
use tandem_sip::edge::{Config, Edge, Flow, Output, Trunk};
use tandem_sip::message::{Message, read};

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n";

struct Bench {
    edge: Edge,
    now: Time,
    flow: Flow,
    sent: Vec<Message>,
    asks: Vec<(u64, Ask)>,
    said: Vec<Said>,
}

fn bench(name: &str) -> Bench {
    let flow = Flow { tcp: false, peer: "192.0.2.9:5060".parse().unwrap() };
    let trunk = Trunk {
        name: "pbx".into(),
        host: "192.0.2.9".into(),
        flow,
        sources: vec![("192.0.2.0".parse().unwrap(), 24)],
    };
    let config = Config {
        instance: name.into(),
        advertise: "192.0.2.1:5060".into(),
        address: "192.0.2.1".parse().unwrap(),
        trunks: vec![trunk],
        max_legs: 100,
    };
    let edge = Edge::new(config, Secret::new(b"test"));
    Bench { edge, now: Time(1_000_000), flow, sent: vec![], asks: vec![], said: vec![] }
}

impl Bench {
    fn drain(&mut self) {
        while let Some(output) = self.edge.poll() {
            match output {
                Output::Send(_, octets) => self.sent.push(read(&octets).unwrap()),
                Output::Ask(ticket, ask) => self.asks.push((ticket, ask)),
                Output::Said(said) => self.said.push(said),
            }
        }
    }
    fn hear(&mut self, text: String) {
        self.edge.receive(&Bytes::from(text), self.flow, self.now);
        self.drain();
    }
    fn heard(&mut self) -> (u64, Heard) {
        match self.asks.remove(0) {
            (ticket, Ask::Heard(heard)) => (ticket, heard),
            other => panic!("not heard: {other:?}"),
        }
    }
    fn verdict(&mut self, ticket: u64, verdict: Verdict) {
        self.edge.verdict(ticket, verdict, self.now);
        self.drain();
    }
    fn commit(&mut self, revision: u32) -> Heard {
        let (ticket, heard) = self.heard();
        self.verdict(ticket, Verdict::Committed { revision, trace: String::new() });
        heard
    }
    fn say(&mut self, state: LegState, index: u64, signal: Signal, opening: Option<Opening>) -> Said {
        let mut id: EffectId = effect(state.leg);
        id.version = index;
        self.edge.say(Say { id, state, count: 0, signal, opening }, self.now);
        self.drain();
        self.said.remove(0)
    }
    fn codes(&mut self) -> Vec<String> {
        let names = self.sent.iter().map(|m| m.code().map_or_else(|| m.method().unwrap(), |c| c.to_string()));
        let names = names.collect();
        self.sent.clear();
        names
    }
}

fn effect(leg: LegRef) -> EffectId {
    EffectId { call: leg.call, version: 1, index: 0 }
}

fn state(leg: LegRef, revision: u32, dialog: Vec<u8>) -> LegState {
    LegState { leg, revision, dialog, edge: String::new(), trace: String::new() }
}

fn media() -> Media {
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

fn request(method: &str, cseq: u32, to: &str, body: &str) -> String {
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

fn answer(request: &Message, code: u16, body: &str) -> String {
    let mut response = Message::response(request, code, "x", "b").with("Contact", "<sip:2041@192.0.2.9>");
    if !body.is_empty() {
        response = response.with_body("application/sdp", body.to_owned());
    }
    String::from_utf8(response.write().to_vec()).unwrap()
}

const TO: &str = "<sip:2700@192.0.2.1>";

fn answered(b: &mut Bench) -> (Heard, Said, String) {
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
    let rung = b.say(state(heard.leg, 1, heard.dialog.clone()), 2, Signal::Ringing, None);
    let said = b.say(state(heard.leg, 2, rung.dialog.unwrap()), 3, Signal::Answer(media()), None);
    let to = b.sent.last().unwrap().text("To").unwrap().to_owned();
    assert!(!b.sent.last().unwrap().body.is_empty());
    assert_eq!(b.codes(), ["180", "200"]);
    (heard, said, to)
}

#[test]
fn a_phone_calls_is_answered_and_hangs_up() {
    let mut b = bench("one");
    let (_, _, to) = answered(&mut b);
    // R-CALL-18: the 2xx is repeated until its ACK.
    b.now = b.now + 500;
    b.edge.tick(b.now);
    b.drain();
    assert_eq!(b.codes(), ["200"]);
    b.hear(request("ACK", 1, &to, ""));
    b.now = b.now + 10_000;
    b.edge.tick(b.now);
    b.drain();
    assert!(b.codes().is_empty());
    b.hear(request("BYE", 2, &to, ""));
    assert!(b.codes().is_empty(), "200 promises, so it waits for the commit");
    let heard = b.commit(4);
    assert!(matches!(heard.signals.as_slice(), [Signal::End(e)] if e.reason == Reason::Normal));
    assert_eq!(b.codes(), ["200"]);
    b.now = b.now + 40_000;
    b.edge.tick(b.now);
    assert_eq!(b.edge.legs(), 0, "nothing is kept of an ended call");
}

#[test]
fn a_phone_gives_up() {
    let mut b = bench("one");
    b.hear(request("INVITE", 1, TO, SDP));
    b.commit(1);
    b.codes();
    b.hear(request("CANCEL", 1, TO, ""));
    assert_eq!(b.codes(), ["200"]);
    let heard = b.commit(2);
    assert!(matches!(heard.signals.as_slice(), [Signal::End(e)] if e.reason == Reason::Cancelled));
    assert_eq!(b.codes(), ["487"]);
}

#[test]
fn nobody_at_home_is_503_and_a_stranger_403() {
    let mut b = bench("one");
    b.hear(request("INVITE", 1, TO, SDP));
    let (ticket, _) = b.heard();
    b.codes();
    b.verdict(ticket, Verdict::Unavailable);
    assert!(b.sent[0].text("Retry-After").is_some());
    assert_eq!(b.codes(), ["503"]);
    b.flow.peer = "198.51.100.1:5060".parse().unwrap();
    b.hear(request("INVITE", 7, TO, SDP).replace("c1", "c2"));
    assert_eq!(b.codes(), ["403"]);
    assert!(b.asks.is_empty());
}

#[test]
fn another_edge_serves_the_dialog_of_a_dead_one() {
    let mut b = bench("one");
    let (heard, said, to) = answered(&mut b);
    let dialog = said.dialog.unwrap();
    // The phone's BYE comes to an edge that never saw the call.
    let mut other = bench("two");
    other.hear(request("BYE", 2, &to, ""));
    let (ticket, ask) = other.asks.remove(0);
    assert_eq!(ask, Ask::Recall(heard.leg));
    other.verdict(ticket, Verdict::Leg(state(heard.leg, 3, dialog.clone())));
    other.commit(4);
    assert_eq!(other.codes(), ["200"]);
    // Our own BYE from a third; said again by a fourth it is the same octets (R-SIP-14).
    let bye = |name| {
        let mut edge = bench(name);
        let order = state(heard.leg, 3, dialog.clone());
        edge.say(order, 9, Signal::End(Reason::Normal.into()), None);
        assert_eq!(edge.sent[0].method().as_deref(), Some("BYE"));
        edge.sent[0].write()
    };
    assert_eq!(bye("three"), bye("four"));
}

fn called(b: &mut Bench) -> (LegRef, Said) {
    let leg = LegRef { call: Secret::new(b"test").call_of_jingle("rosa@x/1", "s"), leg: LegId(1) };
    let opening = Opening {
        from: Party::sip("sip:rosa@im.example"),
        to: Party::sip("sip:2041@pbx.example"),
        link: "pbx".into(),
        hops: 70,
    };
    let said = b.say(state(leg, 0, vec![]), 1, Signal::Offer(media()), Some(opening));
    (leg, said)
}

#[test]
fn a_phone_is_called_rings_answers_and_we_hang_up() {
    let mut b = bench("one");
    let (leg, said) = called(&mut b);
    assert!(said.failed.is_none());
    let invite = b.sent.remove(0);
    assert!(invite.write().starts_with(b"INVITE sip:2041@192.0.2.9 SIP/2.0"));
    b.hear(answer(&invite, 180, ""));
    assert_eq!(b.commit(2).signals, [Signal::Ringing]);
    b.hear(answer(&invite, 200, SDP));
    let heard = b.commit(3);
    assert!(matches!(heard.signals.as_slice(), [Signal::Answer(_)]));
    assert_eq!(b.codes(), ["ACK"]);
    b.hear(answer(&invite, 200, SDP));
    assert_eq!(b.codes(), ["ACK"], "R-CALL-18: each 2xx is acknowledged");
    b.say(state(leg, 3, heard.dialog), 5, Signal::End(Reason::Normal.into()), None);
    assert_eq!(b.codes(), ["BYE"]);
}

#[test]
fn cancel_waits_for_a_provisional_response() {
    let mut b = bench("one");
    let (leg, said) = called(&mut b);
    let invite = b.sent.remove(0);
    b.say(state(leg, 1, said.dialog.unwrap()), 2, Signal::End(Reason::Cancelled.into()), None);
    assert!(b.codes().is_empty());
    b.hear(answer(&invite, 180, ""));
    assert_eq!(b.sent[0].via().unwrap().branch(), invite.via().unwrap().branch());
    assert_eq!(b.codes(), ["CANCEL"]);
    b.hear(answer(&invite, 487, ""));
    assert_eq!(b.codes(), ["ACK"]);
}

#[test]
fn busy_and_silence_end_the_call() {
    let mut b = bench("one");
    called(&mut b);
    let invite = b.sent.remove(0);
    b.hear(answer(&invite, 486, ""));
    assert!(matches!(b.commit(2).signals.as_slice(), [Signal::End(e)] if e.reason == Reason::Busy));
    let mut b = bench("two");
    called(&mut b);
    b.now = b.now + 33_000;
    b.edge.tick(b.now);
    b.drain();
    assert!(matches!(b.commit(2).signals.as_slice(), [Signal::End(e)] if e.reason == Reason::Timeout));
}

#[test]
fn a_phone_holds() {
    let mut b = bench("one");
    let (_, _, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    b.hear(request("INVITE", 2, &to, &SDP.replace("a=rtpmap", "a=sendonly\r\na=rtpmap")));
    let heard = b.commit(4);
    assert!(matches!(heard.signals.as_slice(), [Signal::Update(m)] if m.holds()));
    b.codes();
    b.say(state(heard.leg, 4, heard.dialog), 7, Signal::Updated(media()), None);
    assert_eq!(b.codes(), ["200"]);
}

/// Nothing is kept for ever: neither a cancelled INVITE whose final response never comes nor an idle call.
#[test]
fn silent_legs_leave_the_cache() {
    let mut b = bench("one");
    let (leg, said) = called(&mut b);
    let invite = b.sent.remove(0);
    b.say(state(leg, 1, said.dialog.unwrap()), 2, Signal::End(Reason::Cancelled.into()), None);
    b.hear(answer(&invite, 180, ""));
    b.sent.clear();
    let (_, _, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    assert_eq!(b.edge.legs(), 2);
    b.now = b.now + 40_000;
    b.edge.tick(b.now);
    assert_eq!(b.edge.legs(), 1);
    while let Some(at) = b.edge.deadline() {
        b.now = at;
        b.edge.tick(at);
        b.drain();
    }
    assert_eq!(b.edge.legs(), 0);
}
