//! Readers of other people on what we say: rsip reads every SIP message of the golden flows and of generated ones, xmpp-parsers every stanza
//! of the flows that it has a type for, and they find in them what we meant.
//!
//! One rule: an oracle that cannot read a form which the standard allows is named here with the form, and the form is not avoided.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use bytes::Bytes;
use minidom::Element;
use proptest::prelude::*;
use rsip::prelude::*;
use rsip::{Header, SipMessage};
use signal::media::{Candidate, CandidateKind, Codec, Dtls, Fingerprint, Ice, Kind, Setup};
use sip::message::{Message, Start};
use tandem_tests::play::files::{files, played, starting_points};
use tandem_tests::play::world::Played;
use xmpp_parsers::jingle::{Description, Jingle, Transport};
use xmpp_parsers::jingle_message::JingleMI;
use xmpp_parsers::{jingle_dtls_srtp, jingle_ice_udp};

const COMPONENT: &str = "jabber:component:accept";
const CLIENT: &str = "jabber:client";
const JINGLE: &str = "urn:xmpp:jingle:1";
const PROPOSALS: &str = "urn:xmpp:jingle-message:0";
/// Elements of Message Initiation that xmpp-parsers has no variant for (XEP-0353 §3.2, §6).
const UNKNOWN: [&str; 2] = ["ringing", "finish"];

/// Played flows and starting points, by name.
fn all() -> Vec<(String, Played)> {
    let texts = starting_points().unwrap().into_iter().chain(files().unwrap());
    texts.map(|(name, text)| (name.clone(), played(&name, &text).unwrap().1)).collect()
}

/// Compares what rsip finds in a message with what we find.
fn compare(octets: &Bytes) -> Result<(), String> {
    let ours = sip::message::read(octets).map_err(|error| format!("we cannot read it: {error}"))?;
    let theirs =
        SipMessage::try_from(octets.as_ref()).map_err(|error| format!("rsip cannot read it: {error}"))?;
    let start = match &theirs {
        SipMessage::Request(request) => format!("{} {}", request.method, request.uri),
        SipMessage::Response(response) => response.status_code.code().to_string(),
    };
    let meant = match &ours.start {
        Start::Request { method, uri } => format!("{method} {uri}"),
        Start::Response { code, .. } => code.to_string(),
    };
    same("the first line", &start, &meant)?;
    let headers: Vec<String> =
        theirs.headers().iter().map(|header| header.to_string().trim_end().to_lowercase()).collect();
    let written = ours.headers.iter().map(|header| (header.name.as_str().to_owned(), header.value.clone()));
    let written = written.chain([("Content-Length".to_owned(), Bytes::from(ours.body.len().to_string()))]);
    let meant: Vec<String> = written
        .filter(|(name, value)| {
            name != "Content-Length" || **value == *ours.body.len().to_string().as_bytes()
        })
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(&value)).trim_end().to_lowercase())
        .collect();
    let (mut headers, mut meant) = (headers, meant);
    headers.sort();
    meant.sort();
    meant.dedup_by(|a, b| a == b && a.starts_with("content-length"));
    same("the headers", &headers.join("\n"), &meant.join("\n"))?;
    same("the body", &String::from_utf8_lossy(theirs.body()), &String::from_utf8_lossy(&ours.body))?;
    typed(&theirs, &ours)
}

/// Compares the fields that rsip has types for.
fn typed(theirs: &SipMessage, ours: &Message) -> Result<(), String> {
    let told = |error: rsip::Error| error.to_string();
    let from = theirs.from_header().map_err(told)?.typed().map_err(told)?;
    let to = theirs.to_header().map_err(told)?.typed().map_err(told)?;
    let tag = |tag: Option<&rsip::common::uri::param::Tag>| {
        tag.map(|tag| tag.value().to_owned()).unwrap_or_default()
    };
    for (what, uri, tag, ours) in [
        ("From", from.uri.to_string(), tag(from.tag()), ours.from()),
        ("To", to.uri.to_string(), tag(to.tag()), ours.to()),
    ] {
        let ours = ours.ok_or_else(|| format!("we find no {what}"))?;
        same_uri(what, &uri, &ours.uri.to_string())?;
        same(&format!("the tag of {what}"), &tag, ours.tag().unwrap_or_default())?;
    }
    let cseq = theirs.cseq_header().map_err(told)?.typed().map_err(told)?;
    let meant = ours.cseq().ok_or("we find no CSeq")?;
    same("CSeq", &format!("{} {}", cseq.seq, cseq.method), &format!("{} {}", meant.number, meant.method))?;
    let via = theirs.via_header().map_err(told)?.typed().map_err(told)?;
    let branch = via.branch().map(ToString::to_string).unwrap_or_default();
    let meant = ours.via().ok_or("we find no Via")?;
    same("the branch", &branch, meant.branch().unwrap_or_default())?;
    if let Some(Header::Contact(contact)) =
        theirs.headers().iter().find(|header| matches!(header, Header::Contact(_)))
    {
        let contact = contact.typed().map_err(told)?;
        let meant = ours.contact().ok_or("we find no Contact")?;
        same_uri("Contact", &contact.uri.to_string(), &meant.uri.to_string())?;
    }
    Ok(())
}

fn same(what: &str, theirs: &str, ours: &str) -> Result<(), String> {
    if theirs == ours {
        Ok(())
    } else {
        Err(format!("{what}: the oracle finds {theirs:?}, we find {ours:?}"))
    }
}

/// Compares URIs; rsip writes transports in capitals, which means the same (RFC 3261 §19.1.4).
fn same_uri(what: &str, theirs: &str, ours: &str) -> Result<(), String> {
    same(
        what,
        &theirs.replace("transport=UDP", "transport=udp").replace("transport=TCP", "transport=tcp"),
        ours,
    )
}

#[test]
fn rsip_reads_every_message_of_the_flows_as_we_meant_it() {
    let all = all();
    let messages: Vec<(&str, &Bytes)> = all
        .iter()
        .flat_map(|(name, played)| played.messages.iter().map(move |message| (name.as_str(), message)))
        .collect();
    assert!(messages.len() > 300, "{}", messages.len());
    let wrong: Vec<String> = messages
        .iter()
        .filter_map(|(name, octets)| {
            // rsip reads no colon in a parameter of a URI (RFC 3261 §25.1, param-unreserved).
            let octets =
                Bytes::from(String::from_utf8_lossy(octets).replace(";target=sip:", ";target=sip%3A"));
            let fault = compare(&octets).err()?;
            Some(format!("{name}: {fault}\n{}", String::from_utf8_lossy(&octets)))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), messages.len(), wrong.join("\n"));
}

/// Reads a stanza as a client would get it; returns the name of what was read within.
fn parse(stanza: &Element) -> Result<&'static str, String> {
    let text = String::from(stanza).replace(COMPONENT, CLIENT);
    let stanza: Element = text.parse().map_err(|error| format!("{error}"))?;
    match stanza.name() {
        "iq" => drop(xmpp_parsers::iq::Iq::try_from(stanza.clone()).map_err(|error| error.to_string())?),
        "message" => drop(
            xmpp_parsers::message::Message::try_from(stanza.clone()).map_err(|error| error.to_string())?,
        ),
        _ => drop(
            xmpp_parsers::presence::Presence::try_from(stanza.clone()).map_err(|error| error.to_string())?,
        ),
    }
    for child in stanza.children() {
        if child.is("jingle", JINGLE) {
            return session(child).map(|()| "session");
        }
        if child.ns() == PROPOSALS && !UNKNOWN.contains(&child.name()) {
            proposal(child)?;
            return Ok("proposal");
        }
    }
    Ok("stanza")
}

fn session(child: &Element) -> Result<(), String> {
    let jingle = Jingle::try_from(child.clone()).map_err(|error| error.to_string())?;
    same("sid", &jingle.sid.0, child.attr("sid").unwrap_or_default())?;
    let action = format!("{:?}", jingle.action).to_lowercase();
    same("action", &action, &child.attr("action").unwrap_or_default().replace('-', ""))?;
    let contents: Vec<&Element> = child.children().filter(|child| child.is("content", JINGLE)).collect();
    same("the number of contents", &jingle.contents.len().to_string(), &contents.len().to_string())?;
    let count = |element: &Element, name: &str| -> usize {
        element.children().flat_map(Element::children).filter(|child| child.name() == name).count()
    };
    for (content, element) in jingle.contents.iter().zip(contents) {
        same("the content's name", &content.name.0, element.attr("name").unwrap_or_default())?;
        if let Some(Description::Rtp(rtp)) = &content.description {
            let named = count(element, "payload-type");
            same("payload types", &rtp.payload_types.len().to_string(), &named.to_string())?;
        }
        if matches!(content.transport, Some(Transport::IceUdp(_))) {
            // The fields of that type are its own: what stands in it is read by the types of each.
            let transport =
                element.children().find(|child| child.name() == "transport").ok_or("no transport")?;
            for child in transport.children() {
                match child.name() {
                    "candidate" => candidate(child)?,
                    "fingerprint" => fingerprint(child)?,
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

fn candidate(child: &Element) -> Result<(), String> {
    let read = jingle_ice_udp::Candidate::try_from(child.clone()).map_err(|error| error.to_string())?;
    same("a candidate's address", &read.ip.to_string(), child.attr("ip").unwrap_or_default())?;
    same("a candidate's port", &read.port.to_string(), child.attr("port").unwrap_or_default())?;
    same("a candidate's priority", &read.priority.to_string(), child.attr("priority").unwrap_or_default())
}

fn fingerprint(child: &Element) -> Result<(), String> {
    let read = jingle_dtls_srtp::Fingerprint::try_from(child.clone()).map_err(|error| error.to_string())?;
    let digest: Vec<String> = read.value.iter().map(|octet| format!("{octet:02X}")).collect();
    same("a fingerprint", &digest.join(":"), &child.text())?;
    same("its role", &format!("{:?}", read.setup).to_lowercase(), child.attr("setup").unwrap_or_default())
}

fn proposal(child: &Element) -> Result<(), String> {
    let read = JingleMI::try_from(child.clone()).map_err(|error| error.to_string())?;
    let (name, sid) = match read {
        JingleMI::Propose { sid, .. } => ("propose", sid),
        JingleMI::Retract(sid) => ("retract", sid),
        JingleMI::Accept(sid) => ("accept", sid),
        JingleMI::Proceed(sid) => ("proceed", sid),
        JingleMI::Reject(sid) => ("reject", sid),
    };
    same("the proposal", name, child.name())?;
    same("its id", &sid.0, child.attr("id").unwrap_or_default())
}

#[test]
fn xmpp_parsers_reads_every_stanza_of_the_flows_that_it_has_a_type_for() {
    let all = all();
    let stanzas: Vec<(&str, &Element)> = all
        .iter()
        .flat_map(|(name, played)| played.stanzas.iter().map(move |stanza| (name.as_str(), stanza)))
        .collect();
    let mut read = std::collections::BTreeMap::<&str, usize>::new();
    let mut wrong = vec![];
    for (name, stanza) in &stanzas {
        match parse(stanza) {
            Ok(kind) => *read.entry(kind).or_default() += 1,
            Err(fault) => wrong.push(format!("{name}: {fault}\n{}", String::from(*stanza))),
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), stanzas.len(), wrong.join("\n"));
    assert!(read["session"] > 100 && read["proposal"] > 50 && read["stanza"] > 100, "{read:?}");
}

/// From the tenth use of a nonce on rsip writes the count in decimal, and it binds no A1 to a session: ours are the values of RFC 7616 §3.4.
#[test]
fn digests_agree_as_far_as_rsip_goes() {
    use rsip::headers::auth::{Algorithm, AuthQop};
    use rsip::services::DigestGenerator;
    let who = sip::digest::Credentials { username: "gateway".into(), password: "of the gateway".into() };
    let (uri, method) = (rsip::Uri::try_from("sip:pbx.example.net").unwrap(), rsip::Method::Invite);
    let ours = |algorithm: &str, count: u32| {
        let value = format!("Digest realm=\"pbx\", nonce=\"n-1\", qop=\"auth\", algorithm={algorithm}");
        let response = Message::response(&Message::request("INVITE", "sip:pbx.example.net"), 401, "", "t");
        let challenges = sip::digest::challenges(&response.with("WWW-Authenticate", value));
        let answer = challenges[0].answer(&who, "INVITE", "sip:pbx.example.net", "c-1", count);
        answer.split_once("response=\"").unwrap().1.split('"').next().unwrap().to_owned()
    };
    let theirs = |algorithm: Algorithm, nc: u8| {
        let qop = AuthQop::Auth { cnonce: "c-1".into(), nc };
        let (username, password) = (who.username.as_str(), who.password.as_str());
        let (nonce, realm, qop) = ("n-1", "pbx", Some(&qop));
        DigestGenerator { username, password, nonce, uri: &uri, realm, method: &method, qop, algorithm }
            .compute()
    };
    for (name, algorithm) in [("MD5", Algorithm::Md5), ("SHA-256", Algorithm::Sha256)] {
        for count in 1..10 {
            assert_eq!(ours(name, count), theirs(algorithm, count as u8), "{name} {count}");
        }
        assert_ne!(
            ours(name, 10),
            theirs(algorithm, 10),
            "rsip counts in hexadecimal by now: use it further"
        );
    }
    assert_ne!(ours("MD5-sess", 1), theirs(Algorithm::Md5Sess, 1), "rsip knows MD5-sess by now");
}

/// Requests as we may have to write them. Not among them, since rsip reads none of these: folded lines, compact names, `tel:`, IPv6 literals,
/// unknown methods, `;` in a user part, several Vias in one line, a comma in a quoted name of a Contact.
fn request() -> impl Strategy<Value = Message> {
    let method = prop::sample::select(vec![
        "INVITE", "BYE", "OPTIONS", "INFO", "UPDATE", "CANCEL", "ACK", "REFER", "NOTIFY",
    ]);
    let user = "[a-z0-9+][a-z0-9._-]{0,10}";
    let host = "[a-z][a-z0-9]{0,7}\\.(example|test)";
    let token = "[a-zA-Z0-9.-]{1,20}";
    (
        method,
        user,
        host,
        prop::option::of(1u16..),
        token,
        token,
        1u32..1_000_000,
        "[A-Za-z]{1,8}",
        "([ -~]{0,60}\r\n){0,4}",
    )
        .prop_map(|(method, user, host, port, tag, id, number, display, body)| {
            let at = port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
            let request = Message::request(method, format!("sip:{user}@{at}"))
                .with("Via", format!("SIP/2.0/UDP {at};branch=z9hG4bK{id};rport"))
                .with("Max-Forwards", "70")
                .with("From", format!("\"{display}\" <sip:{user}@{host}>;tag={tag}"))
                .with("To", format!("<sip:{user}@{at};transport=udp>"))
                .with("Call-ID", format!("{id}@{host}"))
                .with("CSeq", format!("{number} {method}"))
                .with("Contact", format!("<sip:{user}@{at};transport=tcp>"))
                .with("User-Agent", format!("tandem {number}"))
                .with("Reason", format!("Q.850;cause={}", number % 128));
            if body.is_empty() { request } else { request.with_body("application/sdp", body) }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rsip_reads_any_request_as_we_meant_it(request in request()) {
        let octets = request.write();
        if let Err(fault) = compare(&octets) {
            prop_assert!(false, "{}\n{}", fault, String::from_utf8_lossy(&octets));
        }
    }

    /// Contents of sound over ICE and DTLS, as we write them.
    #[test]
    fn xmpp_parsers_reads_any_content_as_we_meant_it(
        codecs in prop::collection::vec((0u8..128, "[A-Za-z][A-Za-z0-9-]{0,10}", 1u32..200_000), 1..8),
        candidates in prop::collection::vec((1u16.., any::<u32>(), any::<[u8; 4]>()), 0..8),
        digest in any::<[u8; 32]>(),
        ufrag in "[A-Za-z0-9+/]{4,20}",
        setup in 0usize..3,
    ) {
        let mut media = signal::Media::undescribed(&[Kind::Audio]);
        let content = &mut media.contents[0];
        content.codecs = codecs.into_iter().map(|(pt, name, clock)| Codec::new(pt, &name, clock, 1)).collect();
        let candidate = |(port, priority, ip): (u16, u32, [u8; 4])| Candidate {
            foundation: "1".into(),
            component: 1,
            priority,
            address: (ip, port).into(),
            kind: CandidateKind::Host,
            related: None,
            generation: 0,
        };
        let candidates = candidates.into_iter().map(candidate).collect();
        content.transport.mux = true;
        content.transport.ice =
            Some(Ice { ufrag, pwd: "0123456789012345678901".into(), candidates, lite: false, trickle: false });
        let setup = [Setup::ActPass, Setup::Active, Setup::Passive][setup];
        content.transport.dtls =
            Some(Dtls { fingerprints: vec![Fingerprint { hash: "sha-256".into(), digest: digest.to_vec() }], setup });
        let contents = media::jingle::write(&media, media::jingle::Role::Initiator);
        let contents: String = contents.iter().map(String::from).collect();
        let jingle: Element =
            format!("<jingle xmlns='{JINGLE}' action='session-initiate' sid='s'>{contents}</jingle>").parse().unwrap();
        if let Err(fault) = session(&jingle) {
            prop_assert!(false, "{}\n{}", fault, String::from(&jingle));
        }
    }
}
