//! Whole calls between a SIP phone and a Jingle client on virtual time: wire, edge, decision, edge, wire; both ways. The
//! client's descriptions are those of real ones; the record goes through its stored form before every decision.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use media::{Policy, Profile};
use minidom::Element;
use session::call::{Call, Effect, Route};
use signal::{LegId, Opening, Party, Protocol, Reason, Secret, Time};
use sip::edge::{Config, Edge, Flow, Trunk};
use sip::message::{Message, read};
use tandem_tests::gateway::{Gateway, Output};

const PHONE: &str = "192.0.2.9";
const NUMBER: &str = "2041@sip.example.net";
const ROSA: &str = "rosa@example.net/phone";
const SID: &str = "5e71217f-6a70-4de3-805b-34589647969f";

struct World {
    gateway: Gateway,
    wire: Vec<Message>,
    stanzas: Vec<Element>,
    relay: Vec<Effect>,
    ids: u32,
}

fn flow() -> Flow {
    Flow::udp(format!("{PHONE}:5060").parse().unwrap())
}

fn sip_edge() -> Edge {
    let trunk = Trunk {
        name: "pbx".into(),
        host: PHONE.into(),
        flow: flow(),
        sources: vec![(PHONE.parse().unwrap(), 32)],
        roaming: false,
        credentials: None,
    };
    let config = Config {
        instance: "sip-one".into(),
        advertise: "203.0.113.1:5060".into(),
        address: "203.0.113.1".parse().unwrap(),
        trunks: vec![trunk],
        max_legs: 10,
    };
    Edge::new(config, Secret::new(b"cluster"))
}

fn xmpp_edge(now: Time) -> xmpp::edge::Edge {
    let component = xmpp::edge::Component { domain: "sip.example.net".into(), video: false };
    let config = xmpp::edge::Config {
        instance: "xmpp-one".into(),
        components: vec![component],
        max_legs: 10,
        presume_ringing: Some(3_000),
    };
    let mut edge = xmpp::edge::Edge::new(config, Secret::new(b"cluster"));
    edge.linked("sip.example.net", true, now);
    edge
}

fn route(opening: &Opening) -> Result<Route, signal::End> {
    let (opening, caller, callee) = match opening.from.protocol {
        Protocol::Sip => (
            Opening {
                from: Party::xmpp(NUMBER),
                to: Party::xmpp("rosa@example.net"),
                link: "sip.example.net".into(),
                hops: 69,
            },
            Profile::Plain,
            Profile::Webrtc,
        ),
        Protocol::Xmpp => (
            Opening {
                from: Party::sip("sip:rosa@im.example.net"),
                to: Party::sip(format!("sip:2041@{PHONE}")),
                link: "pbx".into(),
                hops: 69,
            },
            Profile::Webrtc,
            Profile::Plain,
        ),
    };
    let (policy, unheard) = (Policy::default(), Reason::Offline);
    Ok(Route { opening, caller, callee, policy, ring_ms: 60_000, unheard })
}

impl World {
    fn new() -> World {
        let now = Time(1_795_385_000_000);
        let gateway = Gateway::new(now, sip_edge(), xmpp_edge(now), Box::new(route));
        World { gateway, wire: vec![], stanzas: vec![], relay: vec![], ids: 0 }
    }

    fn phone(&mut self, message: &Message) {
        self.gateway.sip.receive(&message.write(), flow(), self.gateway.now);
        self.settle();
    }

    fn client(&mut self, text: &str) {
        let stanza: Element = text.parse().unwrap_or_else(|e| panic!("{e}: {text}"));
        self.gateway.xmpp.receive(&stanza, self.gateway.now);
        self.settle();
    }

    fn jmi(&mut self, name: &str, id: &str, inner: &str) {
        self.client(&format!(
            "<message xmlns='jabber:component:accept' type='chat' from='{ROSA}' to='{NUMBER}'>\
             <{name} xmlns='urn:xmpp:jingle-message:0' id='{id}'>{inner}</{name}></message>"
        ));
    }

    fn jingle(&mut self, to: &str, jingle: &str) {
        self.ids += 1;
        let id = self.ids;
        self.client(&format!(
            "<iq xmlns='jabber:component:accept' type='set' from='{ROSA}' to='{to}' id='q{id}'>{jingle}</iq>"
        ));
        // Whatever it means: it was acknowledged.
        let answered = self
            .stanzas
            .iter()
            .filter(|s| s.attr("id") == Some(&format!("q{id}")) && s.attr("type") == Some("result"));
        assert_eq!(answered.count(), 1, "{jingle}");
    }

    /// The client acknowledges.
    fn result(&mut self, to: &Element) {
        let (us, id) = (to.attr("from").unwrap(), to.attr("id").unwrap());
        self.client(&format!(
            "<iq xmlns='jabber:component:accept' type='result' from='{ROSA}' to='{us}' id='{id}'/>"
        ));
    }

    /// Everything that follows is done until nothing is left.
    fn settle(&mut self) {
        while let Some(output) = self.gateway.poll().unwrap() {
            match output {
                Output::Sip(_, octets) => self.wire.push(read(&octets).unwrap()),
                Output::Xmpp(stanza) => self.stanzas.push(stanza),
                Output::Decided(decision) => {
                    let orders = decision.effects.into_iter().filter(|e| !matches!(e, Effect::Say { .. }));
                    self.relay.extend(orders);
                }
                Output::Refused(_, end) => panic!("refused: {end:?}"),
            }
        }
    }

    fn call(&self) -> Call {
        self.gateway.the_call().unwrap()
    }

    /// The last message of this kind that went to the phone.
    fn sip(&self, what: &str) -> Message {
        let name = |m: &Message| m.code().map_or_else(|| m.method().unwrap(), |c| c.to_string());
        let seen: Vec<String> = self.wire.iter().map(name).collect();
        self.wire
            .iter()
            .rev()
            .find(|m| name(m) == what)
            .unwrap_or_else(|| panic!("no {what} in {seen:?}"))
            .clone()
    }

    /// The last stanza to the client that holds this action or JMI element.
    fn stanza(&self, what: &str) -> Element {
        let is = |s: &&Element| {
            s.children().next().is_some_and(|c| {
                c.attr("action") == Some(what)
                    || c.name() == what
                    || c.children().any(|i| i.name() == what && c.name() == "jingle")
            })
        };
        self.stanzas
            .iter()
            .rev()
            .find(is)
            .unwrap_or_else(|| panic!("no {what} in {:?}", self.stanzas))
            .clone()
    }

    fn released(&self) -> usize {
        self.relay.iter().filter(|e| format!("{e:?}").starts_with("Release")).count()
    }
}

fn fixture(name: &str, sid: &str) -> String {
    let path = format!("{}/../crates/xmpp/tests/fixtures/{name}.xml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap().trim().replace("\"SID\"", &format!("\"{sid}\""))
}

fn action(action: &str, sid: &str, inner: &str) -> String {
    format!("<jingle xmlns='urn:xmpp:jingle:1' action='{action}' sid='{sid}'>{inner}</jingle>")
}

fn sdp(direction: &str, version: u32) -> String {
    format!(
        "v=0\r\no=- 1 {version} IN IP4 {PHONE}\r\ns=-\r\nc=IN IP4 {PHONE}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 111 8 101\r\n\
         a=rtpmap:111 opus/48000/2\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na={direction}\r\n"
    )
}

fn request(method: &str, cseq: u32, to: &str, body: &str) -> Message {
    let branch = if method == "ACK" { format!("ack{cseq}") } else { format!("{cseq}") };
    let request = Message::request(method, "sip:rosa@203.0.113.1")
        .with("Via", format!("SIP/2.0/UDP {PHONE}:5060;branch=z9hG4bK{branch};rport"))
        .with("Max-Forwards", "70")
        .with("From", "<sip:2041@pbx.example>;tag=a1")
        .with("To", to.to_owned())
        .with("Call-ID", "c1")
        .with("CSeq", format!("{cseq} {method}"))
        .with("Contact", format!("<sip:2041@{PHONE}>"));
    if body.is_empty() { request } else { request.with_body("application/sdp", body.to_owned()) }
}

const TO: &str = "<sip:rosa@203.0.113.1>";

/// The phone calls Rosa, whose client is Chromium's; the To header of the dialog, the sid and our JID.
fn rosa_answers() -> (World, String, String, String) {
    let mut world = World::new();
    world.phone(&request("INVITE", 1, TO, &sdp("sendrecv", 1)));
    let propose = world.stanza("propose");
    let sid = propose.children().next().unwrap().attr("id").unwrap().to_owned();
    world.jmi("ringing", &sid, "");
    world.sip("180");
    world.jmi("proceed", &sid, "");
    let initiate = world.stanza("session-initiate");
    let text = String::from(&initiate);
    assert!(text.contains("actpass") && text.contains("opus") && text.contains("rtcp-mux"), "{text}");
    assert!(!text.contains(PHONE), "nothing of the caller's: {text}");
    let us = initiate.attr("from").unwrap().to_owned();
    world.result(&initiate);
    assert!(!world.wire.iter().any(|m| m.code() == Some(200)), "R-CALL-9");
    world.jingle(&us, &fixture("chromium-accept", &sid).replace("name=\"audio\"", "name=\"0\""));
    let ok = world.sip("200");
    let body = String::from_utf8_lossy(&ok.body).into_owned();
    assert!(body.contains("m=audio 30000 RTP/AVP"), "{body}");
    let to = ok.text("To").unwrap().to_owned();
    world.phone(&request("ACK", 1, &to, ""));
    (world, to, sid, us)
}

#[test]
fn a_phone_calls_rosa_and_hangs_up() {
    let (mut world, to, sid, us) = rosa_answers();
    world.phone(&request("BYE", 2, &to, ""));
    assert!(String::from(&world.stanza("session-terminate")).contains("<success"));
    world.stanza("finish");
    assert_eq!(world.sip("200").cseq().unwrap().method, "BYE");
    assert!(world.call().ended.is_some());
    assert_eq!(world.released(), 1);
    let before = world.stanzas.len();
    world.client(&format!(
        "<iq xmlns='jabber:component:accept' type='set' from='{ROSA}' to='{us}' id='late'>{}</iq>",
        action("session-terminate", &sid, "")
    ));
    assert!(String::from(&world.stanzas[before]).contains("unknown-session"));
}

#[test]
fn rosa_hangs_up_and_another_edge_hears_it() {
    let (mut world, _, sid, us) = rosa_answers();
    // The edge that knew the call is gone; another has nothing but the record.
    world.gateway.xmpp = xmpp_edge(world.gateway.now);
    world.jingle(&us, &action("session-terminate", &sid, "<reason><success/></reason>"));
    assert_eq!(world.sip("BYE").text("Reason"), Some("Q.850;cause=16"));
    assert_eq!(world.released(), 1);
}

/// R-CALL-19: the phone holds, Rosa's client is told; then Rosa holds too; both come back.
#[test]
fn hold_crosses_both_ways() {
    let (mut world, to, sid, us) = rosa_answers();
    world.phone(&request("INVITE", 2, &to, &sdp("sendonly", 2)));
    let hold = world.stanza("hold");
    world.result(&hold);
    let ok = world.sip("200");
    assert_eq!(ok.cseq().unwrap().number, 2);
    assert!(
        String::from_utf8_lossy(&ok.body).contains("a=recvonly"),
        "{}",
        String::from_utf8_lossy(&ok.body)
    );
    world.phone(&request("ACK", 2, &to, ""));
    world.phone(&request("INVITE", 3, &to, &sdp("sendrecv", 3)));
    let unhold = world.stanza("unhold");
    world.result(&unhold);
    assert!(String::from_utf8_lossy(&world.sip("200").body).contains("a=sendrecv"));
    world.phone(&request("ACK", 3, &to, ""));

    world.jingle(&us, &action("session-info", &sid, "<hold xmlns='urn:xmpp:jingle:apps:rtp:info:1'/>"));
    let invite = world.sip("INVITE");
    assert!(String::from_utf8_lossy(&invite.body).contains("a=sendonly"));
    let ok = Message::response(&invite, 200, "OK", "x")
        .with("Contact", format!("<sip:2041@{PHONE}>"))
        .with_body("application/sdp", sdp("recvonly", 4));
    world.phone(&ok);
    world.sip("ACK");
    assert!(world.call().legs.iter().all(|l| l.signaling == session::call::Signaling::Stable));
    world.jingle(&us, &action("session-info", &sid, "<active xmlns='urn:xmpp:jingle:apps:rtp:info:1'/>"));
    let invite = world.sip("INVITE");
    assert!(String::from_utf8_lossy(&invite.body).contains("a=sendrecv"));
    assert_eq!(world.call().ended, None);
}

#[test]
fn a_phone_gives_up_and_rosas_client_stops_ringing() {
    let mut world = World::new();
    world.phone(&request("INVITE", 1, TO, &sdp("sendrecv", 1)));
    world.stanza("propose");
    let mut cancel = request("CANCEL", 1, TO, "");
    cancel.headers.retain(|h| h.name.as_str() != "Contact");
    world.phone(&cancel);
    world.sip("487");
    let retract = world.stanza("retract");
    assert_eq!(retract.attr("to"), Some("rosa@example.net"));
    assert!(String::from(&retract).contains("<cancel"));
    assert_eq!(world.released(), 1);
}

#[test]
fn rosa_is_busy_away_or_says_no() {
    for (inner, code, cause) in [
        ("<busy/>", "486", "Q.850;cause=17"),
        ("<decline/>", "480", "Q.850;cause=21"),
        ("<general-error/>", "500", "Q.850;cause=41"),
    ] {
        let mut world = World::new();
        world.phone(&request("INVITE", 1, TO, &sdp("sendrecv", 1)));
        let sid = world.stanza("propose").children().next().unwrap().attr("id").unwrap().to_owned();
        world.jmi("reject", &sid, &format!("<reason xmlns='urn:xmpp:jingle:1'>{inner}</reason>"));
        assert_eq!(world.sip(code).text("Reason"), Some(cause));
    }
    let mut world = World::new();
    world.phone(&request("INVITE", 1, TO, &sdp("sendrecv", 1)));
    let propose = world.stanza("propose");
    let (us, id) = (propose.attr("from").unwrap(), propose.attr("id").unwrap());
    world.client(&format!(
        "<message xmlns='jabber:component:accept' type='error' from='rosa@example.net' to='{us}' id='{id}'>\
         <error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    ));
    assert_eq!(world.sip("480").text("Reason"), Some("Q.850;cause=20"));
}

/// Rosa's browser calls the phone; up to the ACK.
fn the_phone_answers() -> (World, String) {
    let mut world = World::new();
    world.jmi("propose", SID, "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/>");
    let invite = world.sip("INVITE");
    let body = String::from_utf8_lossy(&invite.body).into_owned();
    // R-CALL-15: our own list, before any session-initiate.
    assert!(body.contains("opus/48000/2") && body.contains("PCMA"), "{body}");
    let contact = format!("<sip:2041@{PHONE}>");
    world.phone(&Message::response(&invite, 180, "Ringing", "b1").with("Contact", contact.clone()));
    world.stanza("ringing");
    let ok = Message::response(&invite, 200, "OK", "b1")
        .with("Contact", contact)
        .with_body("application/sdp", sdp("sendrecv", 1));
    world.phone(&ok);
    world.sip("ACK");
    let us = world.stanza("proceed").attr("from").unwrap().to_owned();
    world.jingle(&us, &fixture("chromium-initiate", SID));
    let accept = world.stanza("session-accept");
    let text = String::from(&accept);
    assert!(text.contains("setup=\"active\"") || text.contains("setup='active'"), "{text}");
    assert!(!text.contains(PHONE), "{text}");
    assert_eq!(accept.attr("to"), Some(ROSA));
    world.result(&accept);
    assert!(world.call().is_established());
    (world, us)
}

#[test]
fn rosa_calls_a_phone_and_hangs_up() {
    let (mut world, us) = the_phone_answers();
    world.jingle(&us, &action("session-terminate", SID, "<reason><success/></reason>"));
    world.sip("BYE");
    assert_eq!(world.released(), 1);
    assert_eq!(world.call().legs.iter().filter(|l| l.id == LegId(0)).count(), 1);
}

#[test]
fn rosa_calls_a_phone_that_hangs_up() {
    let (mut world, _) = the_phone_answers();
    let invite = world.sip("INVITE");
    let bye = Message::request("BYE", "sip:gw@203.0.113.1")
        .with("Via", format!("SIP/2.0/UDP {PHONE}:5060;branch=z9hG4bKbye"))
        .with("Max-Forwards", "70")
        .with("From", format!("{};tag=b1", invite.text("To").unwrap()))
        .with("To", invite.text("From").unwrap().to_owned())
        .with("Call-ID", invite.call_id().unwrap().to_owned())
        .with("CSeq", "1 BYE");
    world.phone(&bye);
    world.stanza("session-terminate");
    world.stanza("finish");
    assert_eq!(world.released(), 1);
}

#[test]
fn rosa_calls_a_phone_that_is_busy_or_gives_up() {
    let mut world = World::new();
    world.jmi("propose", SID, "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/>");
    let invite = world.sip("INVITE");
    world.phone(&Message::response(&invite, 486, "Busy Here", "b1"));
    assert!(String::from(&world.stanza("reject")).contains("<busy"));
    assert_eq!(world.released(), 1);

    let mut world = World::new();
    world.jmi("propose", SID, "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/>");
    let invite = world.sip("INVITE");
    world.phone(&Message::response(&invite, 180, "Ringing", "b1"));
    world.jmi("retract", SID, "");
    world.sip("CANCEL");
    assert_eq!(world.released(), 1);
}

/// R-CALL-7's other style: a client without proposals.
#[test]
fn a_client_without_proposals_calls_a_phone() {
    let mut world = World::new();
    world.jingle(&format!("{NUMBER}/phone"), &fixture("dino-initiate", SID));
    let invite = world.sip("INVITE");
    assert!(!String::from_utf8_lossy(&invite.body).contains("198.51.100"), "anchored");
    let contact = format!("<sip:2041@{PHONE}>");
    world.phone(&Message::response(&invite, 180, "Ringing", "b1").with("Contact", contact.clone()));
    let ok = Message::response(&invite, 200, "OK", "b1")
        .with("Contact", contact)
        .with_body("application/sdp", sdp("sendrecv", 1));
    world.phone(&ok);
    world.stanza("ringing");
    let accept = world.stanza("session-accept");
    assert_eq!(accept.attr("from"), Some(format!("{NUMBER}/phone").as_str()));
    assert!(world.call().is_established());
}
