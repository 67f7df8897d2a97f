//! Stanzas of a call (XEP-0166, 0167, 0176, 0320, 0353), read by xmpp-parsers and written as a client writes them.

use crate::codec::Codec;
use crate::media::{End, Local};
use crate::report::Fault;
use relay::ice::{PREFERENCE, priority};
use signal::media::{Candidate, CandidateKind, Dtls, Fingerprint, Ice, Setup};
use std::net::SocketAddr;
use xmpp_parsers::hashes::Algo;
use xmpp_parsers::jingle::{Action, Creator, Description, Jingle, Transport};
use xmpp_parsers::jingle_ice_udp::Type;
use xmpp_parsers::minidom::Element;
use xmpp_parsers::{jingle_dtls_srtp, jingle_ice_udp};

/// Namespaces.
pub const CLIENT: &str = "jabber:client";
pub const JINGLE: &str = "urn:xmpp:jingle:1";
pub const PROPOSALS: &str = "urn:xmpp:jingle-message:0";
const RTP: &str = "urn:xmpp:jingle:apps:rtp:1";
const ICE: &str = "urn:xmpp:jingle:transports:ice-udp:1";
const DTLS: &str = "urn:xmpp:jingle:apps:dtls:0";
const GROUP: &str = "urn:xmpp:jingle:apps:grouping:0";
const INFO: &str = "urn:xmpp:jingle:apps:rtp:info:1";
/// Features of the client (XEP-0030, XEP-0167 §8).
pub const FEATURES: [&str; 9] = [
    "http://jabber.org/protocol/disco#info",
    JINGLE,
    RTP,
    "urn:xmpp:jingle:apps:rtp:audio",
    INFO,
    ICE,
    DTLS,
    GROUP,
    PROPOSALS,
];
/// Name of the content that we offer.
const CONTENT: &str = "audio";

/// Content of sound as the gateway described it.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Name of the content.
    pub name: String,
    /// Creator of the content: `initiator` or `responder`.
    pub creator: &'static str,
    /// True if the contents are grouped (XEP-0338).
    pub grouped: bool,
    /// Codecs that we know, in its order and by its numbers.
    pub codecs: Vec<Codec>,
    /// ICE credentials and candidates.
    pub ice: Ice,
    /// Fingerprints and role.
    pub dtls: Dtls,
}

impl Remote {
    /// Returns the first codec of it that we have.
    ///
    /// # Errors
    /// There is none.
    pub fn choose(&self, ours: &[Codec]) -> Result<Codec, Fault> {
        let has = |codec: &&Codec| ours.iter().any(|our| our.kind == codec.kind);
        let codec = self.codecs.iter().find(has).copied();
        codec.ok_or_else(|| {
            Fault::new("the client has none of the codecs described", "give more --xmpp-codecs")
        })
    }
}

/// Reads the content of sound of a `session-initiate` or `session-accept`.
///
/// # Errors
/// Cause in words.
pub fn read(element: &Element) -> Result<Remote, String> {
    let jingle = Jingle::try_from(element.clone()).map_err(|error| error.to_string())?;
    let Some((content, rtp)) =
        jingle.contents.iter().find_map(|content| match (&content.description, &content.transport) {
            (Some(Description::Rtp(rtp)), Some(Transport::IceUdp(_))) if rtp.media == "audio" => {
                Some((content, rtp))
            }
            _ => None,
        })
    else {
        return Err(format!("no content of sound over ICE in {}", name(jingle.action)));
    };
    if !rtp.rtcp_mux {
        return Err("no rtcp-mux".into());
    }
    let codecs = rtp.payload_types.iter().filter_map(|payload| {
        let codec = Codec::named(payload.name.as_deref()?)?;
        let clock = payload.clockrate.is_none_or(|clock| clock == codec.kind.clock());
        clock.then_some(Codec { pt: payload.id, ..codec })
    });
    let codecs: Vec<Codec> = codecs.collect();
    // The fields of xmpp-parsers' transport are its own: what stands in it is read by the types of each.
    let named = |child: &&Element| child.is("content", JINGLE) && child.attr("name") == Some(&content.name.0);
    let transport = element.children().find(named).and_then(|child| child.get_child("transport", ICE));
    let transport = transport.ok_or("no transport")?;
    let attribute = |name: &str| transport.attr(name).map(str::to_owned).ok_or_else(|| format!("no {name}"));
    let (ufrag, pwd) = (attribute("ufrag")?, attribute("pwd")?);
    let (candidates, dtls) = (candidates(transport)?, dtls(transport)?);
    let creator = if content.creator == Creator::Responder { "responder" } else { "initiator" };
    Ok(Remote {
        name: content.name.0.clone(),
        creator,
        grouped: jingle.group.is_some(),
        codecs,
        ice: Ice { ufrag, pwd, candidates, lite: false, trickle: false },
        dtls,
    })
}

fn candidates(transport: &Element) -> Result<Vec<Candidate>, String> {
    let read = |child: &Element| -> Result<Candidate, String> {
        let candidate =
            jingle_ice_udp::Candidate::try_from(child.clone()).map_err(|error| error.to_string())?;
        Ok(Candidate {
            foundation: candidate.foundation,
            component: candidate.component,
            priority: candidate.priority,
            address: SocketAddr::new(candidate.ip, candidate.port),
            kind: match candidate.type_ {
                Type::Host => CandidateKind::Host,
                Type::Srflx => CandidateKind::ServerReflexive,
                Type::Prflx => CandidateKind::PeerReflexive,
                Type::Relay => CandidateKind::Relayed,
            },
            related: None,
            generation: u32::from(candidate.generation),
        })
    };
    let children = transport.children().filter(|child| child.is("candidate", ICE));
    let all: Vec<Candidate> = children.map(read).collect::<Result<_, _>>()?;
    Ok(all.into_iter().filter(|candidate| candidate.component == 1).collect())
}

fn dtls(transport: &Element) -> Result<Dtls, String> {
    let read = |child: &Element| {
        jingle_dtls_srtp::Fingerprint::try_from(child.clone()).map_err(|error| error.to_string())
    };
    let prints = transport.children().filter(|child| child.is("fingerprint", DTLS)).map(read);
    let prints: Vec<jingle_dtls_srtp::Fingerprint> = prints.collect::<Result<_, _>>()?;
    let setup = match prints.first().map(|print| &print.setup) {
        Some(jingle_dtls_srtp::Setup::Active) => Setup::Active,
        Some(jingle_dtls_srtp::Setup::Passive) => Setup::Passive,
        Some(jingle_dtls_srtp::Setup::Actpass) => Setup::ActPass,
        None => return Err("no fingerprint".into()),
    };
    let print =
        |print: jingle_dtls_srtp::Fingerprint| Fingerprint { hash: hash(&print.hash), digest: print.value };
    Ok(Dtls { fingerprints: prints.into_iter().map(print).collect(), setup })
}

/// Returns the name of a hash as descriptions write it (RFC 8122 §5).
fn hash(algorithm: &Algo) -> String {
    match algorithm {
        Algo::Sha_1 => "sha-1".into(),
        Algo::Sha_512 => "sha-512".into(),
        _ => "sha-256".into(),
    }
}

fn name(action: Action) -> String {
    format!("{action:?}")
}

/// Returns the name of the first condition of a `<reason/>` within an element, and its text.
pub fn reason(element: &Element) -> String {
    let reason = element.children().find(|child| child.name() == "reason");
    let condition = reason.and_then(|reason| reason.children().find(|child| child.name() != "text"));
    let text = reason.and_then(|reason| reason.children().find(|child| child.name() == "text"));
    let name = condition.map_or("no reason", Element::name);
    text.map_or_else(|| name.to_owned(), |text| format!("{name} ({})", text.text()))
}

/// Returns the element that a text is.
pub fn parsed(text: &str) -> Element {
    // All words in it are escaped or ours; what could not be parsed would be seen at once, as an unknown stanza.
    text.parse().unwrap_or_else(|_| Element::bare("presence", CLIENT))
}

/// Escapes what stands between quotes or tags.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\'', "&apos;")
        .replace('"', "&quot;")
}

fn message(to: &str, kind: &str, sid: &str, inner: &str) -> Element {
    let (to, sid) = (escape(to), escape(sid));
    parsed(&format!(
        "<message xmlns='{CLIENT}' type='chat' to='{to}' id='{kind}-{sid}'><{kind} xmlns='{PROPOSALS}' id='{sid}'>{inner}</{kind}>\
         <store xmlns='urn:xmpp:hints'/></message>"
    ))
}

fn set(to: &str, action: &str, sid: &str, attributes: &str, inner: &str) -> Element {
    let (to, sid) = (escape(to), escape(sid));
    parsed(&format!(
        "<iq xmlns='{CLIENT}' type='set' to='{to}' id='{action}-{sid}'>\
         <jingle xmlns='{JINGLE}' action='{action}' sid='{sid}'{attributes}>{inner}</jingle></iq>"
    ))
}

/// Writes a proposal of a call with sound.
pub fn propose(to: &str, sid: &str) -> Element {
    message(to, "propose", sid, &format!("<description xmlns='{RTP}' media='audio'/>"))
}

/// Writes that the device takes the call.
pub fn proceed(to: &str, sid: &str) -> Element {
    message(to, "proceed", sid, "")
}

/// Writes that the device rings: as a message for a proposal (XEP-0353 §3.2), else within the session (XEP-0167 §6).
pub fn ringing(proposed: bool, to: &str, sid: &str) -> Element {
    if proposed {
        return message(to, "ringing", sid, "");
    }
    set(to, "session-info", sid, "", &format!("<ringing xmlns='{INFO}'/>"))
}

/// Writes the end of a session.
pub fn terminate(to: &str, sid: &str, reason: &str) -> Element {
    set(to, "session-terminate", sid, "", &format!("<reason><{reason}/></reason>"))
}

/// Writes that a proposal comes to nothing: of the caller a `retract`, of the callee a `reject` (XEP-0353 §3.3, §3.4).
pub fn give_up(ours: bool, to: &str, sid: &str) -> Element {
    let (word, reason) = if ours { ("retract", "cancel") } else { ("reject", "busy") };
    message(to, word, sid, &format!("<reason xmlns='{JINGLE}'><{reason}/></reason>"))
}

/// Writes a `session-initiate`.
pub fn initiate(to: &str, sid: &str, us: &str, codecs: &[Codec], end: &End, local: &Local) -> Element {
    let content = content(CONTENT, "initiator", codecs, end, local, "actpass");
    let inner = format!("{}{content}", group(CONTENT));
    set(to, "session-initiate", sid, &format!(" initiator='{}'", escape(us)), &inner)
}

/// Writes a `session-accept` of a content.
#[allow(clippy::too_many_arguments, reason = "these are the parts of the stanza")]
pub fn accept(
    to: &str,
    sid: &str,
    us: &str,
    remote: &Remote,
    codecs: &[Codec],
    end: &End,
    local: &Local,
    setup: Setup,
) -> Element {
    let setup = if setup == Setup::Passive { "passive" } else { "active" };
    let content = content(&remote.name, remote.creator, codecs, end, local, setup);
    let group = if remote.grouped { group(&remote.name) } else { String::new() };
    set(to, "session-accept", sid, &format!(" responder='{}'", escape(us)), &format!("{group}{content}"))
}

fn group(name: &str) -> String {
    format!("<group xmlns='{GROUP}' semantics='BUNDLE'><content name='{}'/></group>", escape(name))
}

fn content(name: &str, creator: &str, codecs: &[Codec], end: &End, local: &Local, setup: &str) -> String {
    let payloads: String = codecs
        .iter()
        .map(|codec| {
            let channels = if codec.channels() == 1 { "" } else { " channels='2'" };
            let (pt, name, clock) = (codec.pt, codec.name(), codec.kind.clock());
            format!("<payload-type id='{pt}' name='{name}' clockrate='{clock}'{channels}/>")
        })
        .collect();
    let digest: Vec<String> = local.fingerprint.digest.iter().map(|octet| format!("{octet:02X}")).collect();
    let (ufrag, pwd) = (&local.credentials.ufrag, &local.credentials.pwd);
    let (ip, port, priority, ssrc) = (end.address.ip(), end.address.port(), priority(PREFERENCE), end.ssrc);
    let (name, digest, hash) = (escape(name), digest.join(":"), &local.fingerprint.hash);
    format!(
        "<content xmlns='{JINGLE}' creator='{creator}' name='{name}' senders='both'>\
         <description xmlns='{RTP}' media='audio'>{payloads}<rtcp-mux/>\
         <source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='{ssrc}'><parameter name='cname' value='probe'/></source></description>\
         <transport xmlns='{ICE}' ufrag='{ufrag}' pwd='{pwd}'>\
         <fingerprint xmlns='{DTLS}' hash='{hash}' setup='{setup}'>{digest}</fingerprint>\
         <candidate component='1' foundation='1' generation='0' id='c1' ip='{ip}' network='0' port='{port}' priority='{priority}' \
         protocol='udp' type='host'/></transport></content>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn codecs(names: &[&str]) -> Vec<Codec> {
        names.iter().map(|name| Codec::named(name).unwrap()).collect()
    }

    #[tokio::test]
    async fn xmpp_parsers_reads_what_we_offer() {
        let (end, local) = End::secure(IpAddr::V4(Ipv4Addr::LOCALHOST), true).await.unwrap();
        let iq = initiate(
            "2041@sip.example.net",
            "s-1",
            "rosa@example.net/x",
            &codecs(&["opus", "PCMA"]),
            &end,
            &local,
        );
        let remote = read(iq.children().next().unwrap()).unwrap();
        assert_eq!((remote.name.as_str(), remote.creator, remote.grouped), ("audio", "initiator", true));
        assert_eq!(remote.codecs, codecs(&["opus", "PCMA"]));
        assert_eq!(
            (remote.ice.ufrag.as_str(), remote.ice.pwd.as_str()),
            (local.credentials.ufrag.as_str(), local.credentials.pwd.as_str())
        );
        assert_eq!(
            remote.ice.candidates.iter().map(|candidate| candidate.address).collect::<Vec<_>>(),
            [end.address]
        );
        assert_eq!(
            (remote.dtls.fingerprints, remote.dtls.setup),
            (vec![local.fingerprint.clone()], Setup::ActPass)
        );
        assert_eq!(
            read(iq.children().next().unwrap()).unwrap().choose(&codecs(&["PCMU", "PCMA"])).unwrap(),
            codecs(&["PCMA"])[0]
        );
        assert!(read(iq.children().next().unwrap()).unwrap().choose(&codecs(&["G722"])).is_err());
        let accept = accept(
            "2041@sip.example.net/r",
            "s-1",
            "rosa@example.net/x",
            &remote_of(&iq),
            &codecs(&["PCMA"]),
            &end,
            &local,
            Setup::Active,
        );
        let accepted = read(accept.children().next().unwrap()).unwrap();
        assert_eq!((accepted.dtls.setup, accepted.codecs), (Setup::Active, codecs(&["PCMA"])));
    }

    fn remote_of(iq: &Element) -> Remote {
        read(iq.children().next().unwrap()).unwrap()
    }

    #[test]
    fn a_reason_is_told_in_words() {
        let element: Element = terminate("a@b", "s", "success");
        assert_eq!(reason(element.children().next().unwrap()), "success");
        let text = format!(
            "<reject xmlns='{PROPOSALS}'><reason xmlns='{JINGLE}'><busy/><text>In a call</text></reason></reject>"
        );
        assert_eq!(reason(&text.parse().unwrap()), "busy (In a call)");
        assert_eq!(reason(&propose("a@b", "s")), "no reason");
    }

    #[test]
    fn what_stands_in_a_stanza_is_escaped() {
        let message = propose("d'artagnan&co@sip.example.net", "s");
        assert_eq!((message.name(), message.attr("to")), ("message", Some("d'artagnan&co@sip.example.net")));
    }
}
