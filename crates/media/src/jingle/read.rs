use super::{DTLS, FEEDBACK, GROUPING, ICE, JINGLE, JingleError, RTP, Role, SOURCES, TRICKLE, is_forbidden};
use crate::codec::of_static;
use crate::sdp::{MAX_CANDIDATES, MAX_CONTENTS, MAX_PAYLOADS, fingerprint, kind_of, setup};
use minidom::Element;
use signal::Media;
use signal::media::{
    Candidate, CandidateKind, Codec, Content, Direction, Dtls, Ice, Kind, Setup, Ssrc, Transport,
};
use std::net::{IpAddr, SocketAddr};

/// Reads the contents of a `<jingle/>` that `speaker` wrote. Contents other than RTP audio or video are returned rejected and without
/// codecs; several contents of one name are alternatives, of which the first counts.
///
/// # Errors
/// [`JingleError`] when the element is no session description.
pub fn read(jingle: &Element, speaker: Role) -> Result<Media, JingleError> {
    let mut media = Media::default();
    for element in jingle.children().filter(|c| c.is("content", JINGLE)) {
        let name = plain(element, "name").filter(|n| !n.is_empty()).ok_or(JingleError::NoName)?;
        if media.contents.iter().any(|c| c.name == name) {
            continue;
        }
        if media.contents.len() >= MAX_CONTENTS {
            return Err(JingleError::TooMany);
        }
        media.contents.push(content(element, name, speaker));
    }
    if let Some(group) =
        jingle.children().find(|c| c.is("group", GROUPING) && c.attr("semantics") == Some("BUNDLE"))
    {
        let names = group.children().filter_map(|c| c.attr("name"));
        media.bundle =
            names.filter(|n| media.contents.iter().any(|c| c.name == *n)).map(str::to_owned).collect();
    }
    Ok(media)
}

fn content(element: &Element, name: &str, speaker: Role) -> Content {
    let description = element.get_child("description", RTP);
    let kind = description.and_then(|d| d.attr("media")).and_then(Kind::of);
    let direction = match (element.attr("senders"), speaker) {
        (Some("none"), _) => Direction::None,
        (Some("initiator"), Role::Initiator) | (Some("responder"), Role::Responder) => Direction::Send,
        (Some("responder"), Role::Initiator) | (Some("initiator"), Role::Responder) => Direction::Receive,
        _ => Direction::Both,
    };
    let mut transport = element.get_child("transport", ICE).map(transport).unwrap_or_default();
    transport.mux = description.is_some_and(|d| d.has_child("rtcp-mux", RTP));
    transport.ssrc = description.and_then(|d| d.get_child("source", SOURCES)).and_then(source);
    Content {
        name: name.to_owned(),
        kind: kind.unwrap_or(Kind::Audio),
        direction,
        rejected: kind.is_none(),
        codecs: description.map(codecs).unwrap_or_default(),
        transport,
    }
}

/// Reads the first source of a description (XEP-0339 §2): the others are retransmissions of it, or layers.
fn source(element: &Element) -> Option<Ssrc> {
    let mut parameters = element.children().filter(|c| c.is("parameter", SOURCES)).take(16);
    let cname = parameters.find(|c| c.attr("name") == Some("cname")).and_then(|c| c.attr("value"));
    let cname = cname.filter(|cname| cname.len() == 16).and_then(|cname| u64::from_str_radix(cname, 16).ok());
    Some(Ssrc { id: number(element, "ssrc")?, cname: cname.unwrap_or(0) })
}

fn codecs(description: &Element) -> Vec<Codec> {
    let mut codecs: Vec<Codec> = vec![];
    for element in description.children().filter(|c| c.is("payload-type", RTP)).take(MAX_PAYLOADS) {
        let Some(pt) = element.attr("id").and_then(|id| id.trim().parse::<u8>().ok()).filter(|pt| *pt < 128)
        else {
            continue;
        };
        let known = of_static(pt);
        let name = plain(element, "name")
            .filter(|n| !n.is_empty())
            .map(str::to_owned)
            .or_else(|| known.as_ref().map(|k| k.name.clone()));
        let clock =
            number(element, "clockrate").or_else(|| known.as_ref().map(|k| k.clock)).filter(|c| *c > 0);
        let (Some(name), Some(clock)) = (name, clock) else { continue };
        if codecs.iter().any(|c| c.pt == pt) {
            continue;
        }
        let channels = number(element, "channels")
            .or_else(|| known.as_ref().map(|k| u32::from(k.channels)))
            .unwrap_or(1);
        let mut codec = Codec::new(pt, &name, clock, u8::try_from(channels).unwrap_or(1));
        codec.params =
            element.children().filter(|c| c.is("parameter", RTP)).take(64).filter_map(parameter).collect();
        codec.feedback =
            element.children().filter(|c| c.is("rtcp-fb", FEEDBACK)).take(32).filter_map(feedback).collect();
        codec.ptime = number(element, "ptime").and_then(|p| u16::try_from(p).ok());
        codecs.push(codec);
    }
    codecs
}

/// Reads `<parameter name value/>`; a name without a value is a bare token (`name='111/111'`, as StanzaJS writes it).
fn parameter(element: &Element) -> Option<(String, String)> {
    let of = |attribute| match element.attr(attribute) {
        Some(_) => plain(element, attribute),
        None => Some(""),
    };
    match (of("name")?, of("value")?) {
        ("", "") => None,
        (name, "") => Some((String::new(), name.to_owned())),
        (name, value) => Some((name.to_owned(), value.to_owned())),
    }
}

fn feedback(element: &Element) -> Option<String> {
    let kind = plain(element, "type")?;
    match element.attr("subtype") {
        Some(_) => Some(format!("{kind} {}", plain(element, "subtype")?)),
        None => Some(kind.to_owned()),
    }
}

/// Returns an attribute, unless it holds a character that would end a line of SDP: clients can write any as a character reference.
fn plain<'a>(element: &'a Element, name: &'static str) -> Option<&'a str> {
    element.attr(name).filter(|value| !value.contains(is_forbidden))
}

fn transport(element: &Element) -> Transport {
    let fingerprints: Vec<&Element> =
        element.children().filter(|c| c.is("fingerprint", DTLS)).take(8).collect();
    let setup = fingerprints.iter().find_map(|f| f.attr("setup")).map_or(Setup::ActPass, setup);
    let fingerprints: Vec<_> = fingerprints
        .iter()
        .filter(|f| f.attr("hash").is_none_or(|hash| !hash.contains(is_forbidden)))
        .filter_map(|f| fingerprint(f.attr("hash").unwrap_or("sha-256"), &f.text()))
        .collect();
    let ice = ice(element);
    Transport {
        address: ice
            .candidates
            .iter()
            .filter(|c| c.component == 1)
            .max_by_key(|c| c.priority)
            .map(|c| c.address),
        ice: (!ice.ufrag.is_empty()).then_some(ice),
        dtls: (!fingerprints.is_empty()).then_some(Dtls { fingerprints, setup }),
        ..Transport::default()
    }
}

/// Reads credentials and candidates of a `<transport/>`, which is all that a transport-info holds. Ignores TCP, mDNS and link-local
/// candidates.
#[must_use]
pub fn ice(transport: &Element) -> Ice {
    Ice {
        ufrag: plain(transport, "ufrag").unwrap_or("").to_owned(),
        pwd: plain(transport, "pwd").unwrap_or("").to_owned(),
        candidates: transport
            .children()
            .filter(|c| c.is("candidate", ICE))
            .take(MAX_CANDIDATES)
            .filter_map(candidate)
            .collect(),
        lite: false,
        trickle: transport.has_child("trickle", TRICKLE),
    }
}

fn candidate(element: &Element) -> Option<Candidate> {
    if element.attr("protocol").is_some_and(|p| !p.eq_ignore_ascii_case("udp")) {
        return None;
    }
    let ip: IpAddr = element.attr("ip")?.parse().ok()?;
    if matches!(ip, IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfe80) {
        return None;
    }
    let port = number(element, "port").and_then(|p| u16::try_from(p).ok())?;
    let related = element
        .attr("rel-addr")
        .and_then(|a| a.parse().ok())
        .zip(number(element, "rel-port").and_then(|p| u16::try_from(p).ok()));
    Some(Candidate {
        foundation: plain(element, "foundation").unwrap_or("1").to_owned(),
        component: number(element, "component").and_then(|c| u8::try_from(c).ok()).unwrap_or(1),
        priority: number(element, "priority").unwrap_or(1),
        address: SocketAddr::new(ip, port),
        kind: element.attr("type").and_then(kind_of).unwrap_or(CandidateKind::Host),
        related: related.map(|(ip, port)| SocketAddr::new(ip, port)),
        generation: number(element, "generation").unwrap_or(0),
    })
}

fn number(element: &Element, name: &str) -> Option<u32> {
    element.attr(name).and_then(|v| v.trim().parse().ok())
}
