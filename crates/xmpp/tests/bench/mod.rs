//! A scripted orchestrator and clients of text around a whole edge; every IQ is counted.

#![allow(dead_code, reason = "each test file uses its part")]

use minidom::Element;
use signal::media::{
    Candidate, CandidateKind, Codec, Content, Direction, Dtls, Fingerprint, Ice, Kind, Setup, Transport,
};
use signal::*;
use std::collections::BTreeMap;
use tandem_xmpp::edge::{Component, Config, Edge, Output, Refusal};
use tandem_xmpp::stanza::{COMPONENT, JINGLE, JMI};

pub const NUMBER: &str = "2041@sip.example.net";
pub const ROSA: &str = "rosa@example.net/phone";
pub const SID: &str = "5e71217f-6a70-4de3-805b-34589647969f";

pub struct Bench {
    pub edge: Edge,
    pub now: Time,
    pub sent: Vec<Element>,
    pub asks: Vec<(u64, Ask)>,
    pub said: Vec<Said>,
    pub refusals: Vec<Refusal>,
    pub requests: Vec<(u64, service::Request)>,
    /// IQs of the peers by sender and id: how often each was answered.
    pub questions: BTreeMap<(String, String), usize>,
    ids: u64,
    version: u64,
}

pub fn bench() -> Bench {
    let component =
        Component { domain: "sip.example.net".into(), video: false, users: Some("example.net".into()) };
    let config = Config {
        instance: "one".into(),
        components: vec![component],
        max_legs: 100,
        limits: vec![],
        presume_ringing: Some(3_000),
    };
    let mut edge = Edge::new(config, Secret::new(b"test"));
    edge.linked("sip.example.net", true, Time(1_795_385_000_000));
    Bench {
        edge,
        now: Time(1_795_385_000_000),
        sent: vec![],
        asks: vec![],
        said: vec![],
        refusals: vec![],
        requests: vec![],
        questions: BTreeMap::new(),
        ids: 0,
        version: 0,
    }
}

impl Drop for Bench {
    /// Every test checks that every IQ was answered once.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            for (question, answers) in &self.questions {
                assert_eq!(*answers, 1, "answers to {question:?}");
            }
        }
    }
}

impl Bench {
    pub fn drain(&mut self) {
        while let Some(output) = self.edge.poll() {
            match output {
                Output::Send(stanza) => {
                    // What leaves is XML that can be read again.
                    let again: Element = String::from(&stanza).parse().unwrap();
                    assert_eq!(again, stanza);
                    let to = stanza.attr("to").unwrap_or_default().to_owned();
                    assert!(stanza.attr("from").unwrap().contains("sip.example.net"));
                    if stanza.name() == "iq" && matches!(stanza.attr("type"), Some("result" | "error")) {
                        let id = stanza.attr("id").unwrap_or_default().to_owned();
                        *self.questions.get_mut(&(to, id)).expect("an answer to nothing") += 1;
                    }
                    self.sent.push(stanza);
                }
                Output::Ask(ticket, ask) => self.asks.push((ticket, ask)),
                Output::Said(said) => self.said.push(said),
                Output::Refused(refusal) => self.refusals.push(refusal),
                Output::Serve(ticket, request) => self.requests.push((ticket, request)),
            }
        }
    }
    pub fn hear(&mut self, text: &str) {
        let stanza: Element = text.parse().unwrap_or_else(|e| panic!("{e}: {text}"));
        self.receive(&stanza);
    }
    pub fn receive(&mut self, stanza: &Element) {
        if stanza.name() == "iq" && !matches!(stanza.attr("type"), Some("result" | "error")) {
            let key =
                (stanza.attr("from").unwrap().to_owned(), stanza.attr("id").unwrap_or_default().to_owned());
            self.questions.insert(key, 0);
        }
        self.edge.receive(stanza, self.now);
        self.drain();
    }
    pub fn after(&mut self, ms: u64) {
        self.now = self.now + ms;
        self.edge.tick(self.now);
        self.drain();
    }
    /// An IQ set with this `<jingle/>`.
    pub fn jingle(&mut self, from: &str, to: &str, jingle: &str) {
        self.ids += 1;
        let id = self.ids;
        self.hear(&format!(
            "<iq xmlns='{COMPONENT}' type='set' from='{from}' to='{to}' id='q{id}'>{jingle}</iq>"
        ));
    }
    pub fn jmi(&mut self, from: &str, to: &str, name: &str, id: &str, inner: &str) {
        self.hear(&format!(
            "<message xmlns='{COMPONENT}' type='chat' from='{from}' to='{to}'>\
             <{name} xmlns='{JMI}' id='{id}'>{inner}</{name}><store xmlns='urn:xmpp:hints'/></message>"
        ));
    }
    /// The peer acknowledges this IQ of ours, or (`condition`) does not.
    pub fn reply(&mut self, to: &Element, condition: Option<&str>) {
        let (from, ours, id) = (to.attr("to").unwrap(), to.attr("from").unwrap(), to.attr("id").unwrap());
        let name = to.name();
        let (kind, error) = match condition {
            None => ("result", String::new()),
            Some(c) => (
                "error",
                format!("<error type='cancel'><{c} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"),
            ),
        };
        self.hear(&format!(
            "<{name} xmlns='{COMPONENT}' type='{kind}' from='{from}' to='{ours}' id='{id}'>{error}</{name}>"
        ));
    }
    pub fn heard(&mut self) -> (u64, Heard) {
        assert!(!self.asks.is_empty(), "nothing was asked");
        match self.asks.remove(0) {
            (ticket, Ask::Heard(heard)) => (ticket, heard),
            other => panic!("not heard: {other:?}"),
        }
    }
    pub fn verdict(&mut self, ticket: u64, verdict: Verdict) {
        self.edge.verdict(ticket, verdict, self.now);
        self.drain();
    }
    /// Commits what was heard last.
    pub fn commit(&mut self) -> Heard {
        let (ticket, heard) = self.heard();
        let revision = heard.base + 1;
        self.verdict(ticket, Verdict::Committed { revision, trace: String::new() });
        heard
    }
    /// Says a signal; the edge's own copy is newer than what is given here.
    pub fn say(&mut self, leg: LegRef, signal: Signal) -> Said {
        self.order(
            LegState { leg, revision: 0, dialog: vec![1], edge: String::new(), trace: String::new() },
            signal,
            None,
        )
    }
    pub fn order(&mut self, state: LegState, signal: Signal, opening: Option<Opening>) -> Said {
        self.version += 1;
        let id = EffectId { record: state.leg.record, version: self.version, index: 0 };
        self.edge.order(Say { id, state, count: 0, signal, opening }, self.now);
        self.drain();
        assert_eq!(self.said.len(), 1);
        self.said.remove(0)
    }
    /// Takes the kinds of the stanzas sent since the last call.
    pub fn kinds(&mut self) -> Vec<String> {
        let kinds = self.sent.iter().map(kind).collect();
        self.sent.clear();
        kinds
    }
    pub fn last(&self, name: &str) -> Element {
        self.sent
            .iter()
            .rev()
            .find(|s| kind(s) == name)
            .unwrap_or_else(|| panic!("no {name} in {:?}", self.sent))
            .clone()
    }
}

/// The Jingle action, the JMI element, or `result`, or the condition of an error.
pub fn kind(stanza: &Element) -> String {
    let payload = stanza.children().next();
    match (stanza.attr("type"), payload) {
        (Some("result"), _) => "result".into(),
        (Some("error"), _) => {
            let (condition, jingle) = tandem_xmpp::stanza::condition(stanza);
            jingle.or(condition).unwrap_or_default()
        }
        (_, Some(jingle)) if jingle.is("jingle", JINGLE) => {
            let info = jingle.children().next().filter(|_| jingle.attr("action") == Some("session-info"));
            info.map_or_else(|| jingle.attr("action").unwrap().to_owned(), |i| i.name().to_owned())
        }
        (_, Some(jmi)) if jmi.ns() == JMI => jmi.name().to_owned(),
        (kind, _) => format!("{} {}", stanza.name(), kind.unwrap_or("")),
    }
}

/// The Jingle reason in what was sent.
pub fn reason(stanza: &Element) -> String {
    let payload = stanza.children().next().unwrap();
    let reason = payload.children().find(|c| c.name() == "reason").unwrap();
    reason.children().next().unwrap().name().to_owned()
}

pub fn fixture(name: &str, sid: &str) -> String {
    let path = format!("{}/tests/fixtures/{name}.xml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap().trim().replace("\"SID\"", &format!("\"{sid}\""))
}

pub fn action(action: &str, sid: &str, inner: &str) -> String {
    format!("<jingle xmlns='{JINGLE}' action='{action}' sid='{sid}'>{inner}</jingle>")
}

/// Media as the call layer says them to an XMPP leg: the relay's ends.
pub fn media() -> Media {
    let address = "192.0.2.1:30000".parse().unwrap();
    let candidate = Candidate {
        foundation: "1".into(),
        component: 1,
        priority: 2_130_706_431,
        address,
        kind: CandidateKind::Host,
        related: None,
        generation: 0,
    };
    let ice = Ice {
        ufrag: "abcd".into(),
        pwd: "0123456789012345678901".into(),
        candidates: vec![candidate],
        ..Ice::default()
    };
    let fingerprint = Fingerprint { hash: "sha-256".into(), digest: vec![7; 32] };
    let content = Content {
        name: "0".into(),
        kind: Kind::Audio,
        direction: Direction::Both,
        rejected: false,
        codecs: vec![Codec::new(111, "opus", 48_000, 2), Codec::new(8, "PCMA", 8_000, 1)],
        transport: Transport {
            address: Some(address),
            mux: true,
            ice: Some(ice),
            dtls: Some(Dtls { fingerprints: vec![fingerprint], setup: Setup::ActPass }),
            ..Transport::default()
        },
    };
    Media { contents: vec![content], bundle: vec!["0".into()] }
}

pub fn leg() -> LegRef {
    LegRef { record: RecordId::call([7; 10]), leg: LegId(1) }
}

pub fn opening(to: &str) -> Opening {
    Opening {
        from: Party { display: Some("Front <desk>\u{7}".into()), ..Party::xmpp(NUMBER) },
        to: Party::xmpp(to),
        link: "sip.example.net".into(),
        hops: 70,
        diverted: None,
        referral: None,
    }
}

pub fn fresh(leg: LegRef) -> LegState {
    LegState { leg, revision: 0, dialog: vec![], edge: String::new(), trace: String::new() }
}

/// A call to Rosa's bare JID, up to the propose; its id, which is the sid.
pub fn proposed(b: &mut Bench) -> String {
    let said = b.order(fresh(leg()), Signal::Offer(media()), Some(opening("rosa@example.net")));
    assert!(said.failed.is_none() && said.dialog.is_some());
    let propose = b.last("propose");
    assert_eq!(propose.attr("to"), Some("rosa@example.net"));
    assert_eq!(propose.attr("type"), Some("chat"));
    assert!(propose.attr("from").unwrap().starts_with("2041@sip.example.net/"));
    assert!(propose.children().any(|c| c.name() == "store"));
    assert_eq!(propose.children().find(|c| c.name() == "nick").unwrap().text(), "Front <desk>");
    let element = propose.children().next().unwrap();
    let kinds: Vec<_> = element.children().map(|d| d.attr("media").unwrap()).collect();
    assert_eq!(kinds, ["audio"]);
    assert_eq!(b.kinds(), ["propose"]);
    element.attr("id").unwrap().to_owned()
}

/// Up to the session-initiate at the phone that proceeded.
pub fn proceeded(b: &mut Bench) -> (String, String) {
    let sid = proposed(b);
    b.jmi(ROSA, NUMBER, "proceed", &sid, "");
    assert!(b.commit().signals.is_empty());
    let initiate = b.last("session-initiate");
    assert_eq!(initiate.attr("to"), Some(ROSA));
    let jingle = initiate.children().next().unwrap();
    assert_eq!((jingle.attr("sid"), jingle.attr("initiator")), (Some(sid.as_str()), initiate.attr("from")));
    assert_eq!(b.kinds(), ["session-initiate"]);
    b.reply(&initiate, None);
    (sid, initiate.attr("from").unwrap().to_owned())
}

/// Up to the session-accept of a real client.
pub fn answered(b: &mut Bench) -> (String, String) {
    let (sid, us) = proceeded(b);
    b.jingle(ROSA, &us, &fixture("chromium-accept", &sid).replace("\"audio\" senders", "\"0\" senders"));
    let heard = b.commit();
    assert!(
        matches!(heard.signals.as_slice(), [Signal::Answer(m)] if m.is_described()),
        "{:?}",
        heard.signals
    );
    assert_eq!(b.kinds(), ["result"]);
    (sid, us)
}

/// A propose of Rosa's, committed.
pub fn rosa_proposes(b: &mut Bench) -> LegRef {
    let audio = "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/>";
    b.jmi(ROSA, NUMBER, "propose", SID, audio);
    let heard = b.commit();
    assert!(
        matches!(heard.signals.as_slice(), [Signal::Offer(m)] if m.kinds().len() == 1 && !m.is_described())
    );
    let opening = heard.opening.unwrap();
    assert_eq!(
        (opening.from.address.as_str(), opening.to.address.as_str(), opening.link.as_str()),
        (ROSA, NUMBER, "sip.example.net")
    );
    assert_eq!((heard.base, heard.leg.leg), (0, LegId(0)));
    heard.leg
}

/// Up to our session-accept.
pub fn rosa_is_answered(b: &mut Bench) -> (LegRef, String) {
    let leg = rosa_proposes(b);
    b.say(leg, Signal::Ringing);
    b.say(leg, Signal::Answer(media()));
    assert_eq!(b.last("ringing").attr("to"), Some(ROSA));
    let us = b.last("proceed").attr("from").unwrap().to_owned();
    assert_eq!(b.kinds(), ["ringing", "proceed"]);
    b.jingle(ROSA, &us, &fixture("chromium-initiate", SID));
    let heard = b.commit();
    assert!(matches!(heard.signals.as_slice(), [Signal::Update(m)] if m.is_described()));
    assert_eq!(b.kinds(), ["result"]);
    b.say(leg, Signal::Updated(media()));
    let accept = b.last("session-accept");
    let jingle = accept.children().next().unwrap();
    assert_eq!((jingle.attr("responder"), jingle.attr("sid")), (Some(us.as_str()), Some(SID)));
    assert_eq!(b.kinds(), ["session-accept"]);
    b.reply(&accept, None);
    (leg, us)
}
