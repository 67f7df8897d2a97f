use super::{DTLS, FEEDBACK, GROUPING, ICE, JINGLE, RTP, Role, SOURCES, TRICKLE, bare, clean, is_forbidden};
use crate::sdp::{fingerprint_hex, kind_name, setup_name};
use minidom::Element;
use minidom::rxml::{Namespace, NcName};
use signal::Media;
use signal::media::{Candidate, Codec, Content, Direction, Ssrc, Transport};

/// Writes the children of a `<jingle/>` for the gateway in the role of `speaker`: the BUNDLE group, then the contents. Rejected contents
/// are written with `senders='none'`, since clients want the same set of media back (R-CALL-34).
#[must_use]
pub fn write(media: &Media, speaker: Role) -> Vec<Element> {
    let mut children = vec![];
    if !media.bundle.is_empty() {
        let mut group = bare("group", GROUPING);
        attr(&mut group, "semantics", "BUNDLE");
        for name in &media.bundle {
            let mut content = bare("content", GROUPING);
            attr(&mut content, "name", name);
            group.append_child(content);
        }
        children.push(group);
    }
    children.extend(media.contents.iter().map(|c| content(c, speaker)));
    children
}

fn content(content: &Content, speaker: Role) -> Element {
    let mut element = bare("content", JINGLE);
    attr(&mut element, "creator", "initiator");
    attr(&mut element, "name", &content.name);
    let (me, you) = match speaker {
        Role::Initiator => ("initiator", "responder"),
        Role::Responder => ("responder", "initiator"),
    };
    let senders = match content.direction {
        _ if content.rejected => "none",
        Direction::Both => "both",
        Direction::Send => me,
        Direction::Receive => you,
        Direction::None => "none",
    };
    attr(&mut element, "senders", senders);
    let mut description = bare("description", RTP);
    attr(&mut description, "media", content.kind.name());
    for codec in &content.codecs {
        description.append_child(payload(codec));
    }
    if content.transport.mux {
        description.append_child(bare("rtcp-mux", RTP));
    }
    if let Some(ssrc) = content.transport.ssrc.filter(|_| !content.rejected) {
        description.append_child(source(ssrc));
    }
    element.append_child(description);
    element.append_child(transport(&content.transport));
    element
}

fn payload(codec: &Codec) -> Element {
    let mut element = bare("payload-type", RTP);
    attr(&mut element, "id", &codec.pt.to_string());
    attr(&mut element, "name", &codec.name);
    attr(&mut element, "clockrate", &codec.clock.to_string());
    if codec.channels > 1 {
        attr(&mut element, "channels", &codec.channels.to_string());
    }
    if let Some(ptime) = codec.ptime {
        attr(&mut element, "ptime", &ptime.to_string());
    }
    // A value without its forbidden characters would have another meaning: the whole parameter is left out.
    let fits = |s: &str| !s.contains(|c: char| c.is_whitespace() || is_forbidden(c));
    let alone = codec.params.len() == 1;
    for (name, value) in codec.params.iter().filter(|(n, v)| fits(n) && fits(v) && (alone || !n.is_empty())) {
        let mut parameter = bare("parameter", RTP);
        attr(&mut parameter, "name", name);
        attr(&mut parameter, "value", value);
        element.append_child(parameter);
    }
    for line in &codec.feedback {
        let mut feedback = bare("rtcp-fb", FEEDBACK);
        let (kind, subtype) = line.split_once(' ').map_or((line.as_str(), None), |(k, s)| (k, Some(s)));
        attr(&mut feedback, "type", kind);
        if let Some(subtype) = subtype {
            attr(&mut feedback, "subtype", subtype);
        }
        element.append_child(feedback);
    }
    element
}

/// Writes a source (XEP-0339 §2). A client makes a line of SDP of each parameter, so there is one.
fn source(Ssrc { id, cname }: Ssrc) -> Element {
    let mut element = bare("source", SOURCES);
    attr(&mut element, "ssrc", &id.to_string());
    let mut parameter = bare("parameter", SOURCES);
    attr(&mut parameter, "name", "cname");
    attr(&mut parameter, "value", &format!("{cname:016x}"));
    element.append_child(parameter);
    element
}

/// Writes a `<transport/>` of ice-udp: credentials, fingerprints, candidates.
#[must_use]
pub fn transport(transport: &Transport) -> Element {
    let mut element = bare("transport", ICE);
    if let Some(ice) = &transport.ice {
        attr(&mut element, "ufrag", &ice.ufrag);
        attr(&mut element, "pwd", &ice.pwd);
    }
    if let Some(dtls) = &transport.dtls {
        for fingerprint in &dtls.fingerprints {
            let mut child = bare("fingerprint", DTLS);
            attr(&mut child, "hash", &fingerprint.hash);
            attr(&mut child, "setup", setup_name(dtls.setup));
            child.append_text(fingerprint_hex(fingerprint));
            element.append_child(child);
        }
    }
    if let Some(ice) = &transport.ice {
        for (index, candidate) in ice.candidates.iter().enumerate() {
            element.append_child(self::candidate(candidate, index));
        }
        if ice.trickle {
            element.append_child(bare("trickle", TRICKLE));
        }
    }
    element
}

fn candidate(candidate: &Candidate, index: usize) -> Element {
    let mut element = bare("candidate", ICE);
    attr(&mut element, "component", &candidate.component.to_string());
    attr(&mut element, "foundation", &candidate.foundation);
    attr(&mut element, "generation", &candidate.generation.to_string());
    // An NCName begins with a letter.
    attr(&mut element, "id", &format!("c{}g{}", index + 1, candidate.generation));
    attr(&mut element, "ip", &candidate.address.ip().to_string());
    attr(&mut element, "network", "0");
    attr(&mut element, "port", &candidate.address.port().to_string());
    attr(&mut element, "priority", &candidate.priority.to_string());
    attr(&mut element, "protocol", "udp");
    attr(&mut element, "type", kind_name(candidate.kind));
    if let Some(related) = candidate.related {
        attr(&mut element, "rel-addr", &related.ip().to_string());
        attr(&mut element, "rel-port", &related.port().to_string());
    }
    element
}

/// Sets an attribute. All names here are NCNames; characters that XML forbids are removed from the value.
fn attr(element: &mut Element, name: &'static str, value: &str) {
    if let Ok(name) = NcName::try_from(name) {
        element.set_attr(Namespace::NONE, name, clean(value));
    }
}
