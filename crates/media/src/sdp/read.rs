use super::attribute as value;
use super::{Line, MAX_CANDIDATES, MAX_CONTENTS, MAX_OCTETS, MAX_PAYLOADS, SdpError, Shape};
use crate::codec::of_static;
use sdp_types::{Attribute, Connection, Session};
use signal::Media;
use signal::media::{Codec, Content, Direction, Dtls, Ice, Kind, Setup, Transport};
use std::net::{IpAddr, SocketAddr};

/// Reads a description.
///
/// # Errors
/// [`SdpError`] when it is no SDP or too large. Other faults are ignored or replaced by defaults.
pub fn read(octets: &[u8]) -> Result<(Media, Shape), SdpError> {
    if octets.len() > MAX_OCTETS {
        return Err(SdpError::TooLarge);
    }
    let session = Session::parse(&sanitize(octets)).map_err(|e| SdpError::Syntax(e.to_string()))?;
    if session.medias.len() > MAX_CONTENTS {
        return Err(SdpError::TooLarge);
    }
    let (mut media, mut shape) = (Media::default(), Shape::default());
    for (index, section) in session.medias.iter().enumerate() {
        match kind(section) {
            Some(kind) => {
                shape.lines.push(Line::Content(section.proto.clone()));
                media.contents.push(content(&session, section, kind, index));
            }
            None => shape.lines.push(Line::Foreign(
                section.media.clone(),
                section.proto.clone(),
                section.fmt.clone(),
            )),
        }
    }
    let group = session
        .attributes
        .iter()
        .filter(|a| a.attribute == "group")
        .filter_map(|a| a.value.as_deref()?.strip_prefix("BUNDLE"));
    media.bundle = group
        .flat_map(str::split_ascii_whitespace)
        .filter(|n| media.contents.iter().any(|c| c.name == *n))
        .map(str::to_owned)
        .collect();
    Ok((media, shape))
}

/// Prepares a description for the parser. Replaces o= versions over 64 bits, as carriers send them, by 0; they have no meaning here.
/// Removes attributes with control characters, which no other protocol could carry; of fmtp only the parameters that hold them.
fn sanitize(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() + 2);
    for line in octets.split_inclusive(|b| *b == b'\n') {
        let text = std::str::from_utf8(line).unwrap_or_default();
        let bare = text.trim_end_matches(['\r', '\n']);
        if bare.starts_with("a=") && !bare.starts_with("a=fmtp:") && bare.contains(value::unprintable) {
            continue;
        }
        let words: Vec<&str> = text.trim_end().split(' ').collect();
        match words.as_slice() {
            [user, id, version, rest @ ..]
                if user.starts_with("o=") && rest.len() == 3 && version.parse::<u64>().is_err() =>
            {
                out.extend_from_slice(format!("{user} {id} 0 {}\r\n", rest.join(" ")).as_bytes());
            }
            _ => out.extend_from_slice(line),
        }
    }
    out
}

fn kind(section: &sdp_types::Media) -> Option<Kind> {
    let proto = section.proto.to_ascii_uppercase();
    Kind::of(&section.media).filter(|_| proto.contains("RTP/"))
}

/// Attributes of a media section, and those of the session that it inherits.
struct Attributes<'a>(&'a [Attribute], &'a [Attribute]);

impl<'a> Attributes<'a> {
    fn own(&self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |a| a.attribute == name).map(|a| a.value.as_deref().unwrap_or(""))
    }
    fn any(&self, name: &'a str) -> Option<&'a str> {
        let session =
            self.1.iter().filter(move |a| a.attribute == name).map(|a| a.value.as_deref().unwrap_or(""));
        self.own(name).chain(session).next()
    }
}

fn content(session: &Session, section: &sdp_types::Media, kind: Kind, index: usize) -> Content {
    let attributes = Attributes(&section.attributes, &session.attributes);
    let connection = section.connections.first().or(session.connection.as_ref());
    let ip = connection.and_then(address);
    let rfc2543_hold = ip.is_some_and(|ip| ip.is_unspecified());
    let direction = ["sendrecv", "sendonly", "recvonly", "inactive"]
        .into_iter()
        .find(|d| attributes.own(d).next().is_some());
    let direction = direction
        .or_else(|| ["sendonly", "recvonly", "inactive"].into_iter().find(|d| attributes.any(d).is_some()));
    // RFC 8843 §6: port 0 with bundle-only is live.
    let port_0 = section.port == 0 && attributes.any("bundle-only").is_none();
    let ip = ip.filter(|ip| !ip.is_unspecified());
    let mut transport = transport(&attributes, ip.map(|ip| SocketAddr::new(ip, section.port)));
    // A secure profile without keys would be heard as noise (RFC 4568 §5.1.2, RFC 5763 §5). Beside a plain profile keys are a best
    // effort offer, and fingerprints have no meaning.
    let secure = section.proto.to_ascii_uppercase().contains("SAVP");
    let keyless = secure && transport.dtls.is_none() && transport.crypto.is_empty();
    if !secure {
        transport.dtls = None;
        transport.best_effort = !transport.crypto.is_empty();
    }
    Content {
        name: attributes.own("mid").next().map_or_else(|| index.to_string(), str::to_owned),
        kind,
        direction: match direction {
            // RFC 2543 hold: c=0.0.0.0 (R-CALL-20).
            _ if rfc2543_hold => Direction::None,
            Some("sendonly") => Direction::Send,
            Some("recvonly") => Direction::Receive,
            Some("inactive") => Direction::None,
            _ => Direction::Both,
        },
        rejected: port_0 || keyless,
        codecs: codecs(section, &attributes),
        transport,
    }
}

fn address(connection: &Connection) -> Option<IpAddr> {
    connection.connection_address.split('/').next()?.trim().parse().ok()
}

fn codecs(section: &sdp_types::Media, attributes: &Attributes<'_>) -> Vec<Codec> {
    let ptime = attributes.any("ptime").and_then(|v| v.trim().parse().ok());
    let numbers = section
        .fmt
        .split_ascii_whitespace()
        .filter_map(|f| f.parse::<u8>().ok())
        .filter(|pt| *pt < 128)
        .take(MAX_PAYLOADS);
    let mut codecs: Vec<Codec> = vec![];
    for pt in numbers {
        let mapped = attributes
            .own("rtpmap")
            .take(256)
            .filter_map(value::rtpmap)
            .find(|c| c.pt == pt)
            .or_else(|| of_static(pt));
        let Some(mut codec) = mapped.filter(|_| codecs.iter().all(|c| c.pt != pt)) else { continue };
        let of_pt = |line: &str| {
            line.split_once(' ')
                .filter(|(number, _)| number.parse() == Ok(pt))
                .map(|(_, rest)| rest.trim().to_owned())
        };
        codec.params = attributes
            .own("fmtp")
            .take(256)
            .find_map(of_pt)
            .map(|p| value::parameters(&p))
            .unwrap_or_default();
        let for_all = |line: &str| line.strip_prefix("* ").map(str::to_owned);
        codec.feedback =
            attributes.own("rtcp-fb").take(256).filter_map(|l| of_pt(l).or_else(|| for_all(l))).collect();
        codec.ptime = ptime;
        codecs.push(codec);
    }
    codecs
}

fn transport(attributes: &Attributes<'_>, address: Option<SocketAddr>) -> Transport {
    let ice = attributes.any("ice-ufrag").zip(attributes.any("ice-pwd")).map(|(ufrag, pwd)| Ice {
        ufrag: ufrag.to_owned(),
        pwd: pwd.to_owned(),
        candidates: attributes.own("candidate").take(MAX_CANDIDATES).filter_map(value::candidate).collect(),
        lite: attributes.any("ice-lite").is_some(),
        trickle: attributes
            .any("ice-options")
            .is_some_and(|o| o.split_ascii_whitespace().any(|o| o == "trickle")),
    });
    let fingerprint = |line: &str| line.split_once(' ').and_then(|(hash, hex)| value::fingerprint(hash, hex));
    let mut fingerprints: Vec<_> = attributes.own("fingerprint").take(8).filter_map(fingerprint).collect();
    if fingerprints.is_empty() {
        fingerprints.extend(attributes.any("fingerprint").and_then(fingerprint));
    }
    let setup = attributes.any("setup").map_or(Setup::ActPass, value::setup);
    Transport {
        address,
        rtcp: attributes.own("rtcp").next().and_then(|v| v.split_ascii_whitespace().next()?.parse().ok()),
        mux: attributes.own("rtcp-mux").next().is_some() || attributes.own("rtcp-mux-only").next().is_some(),
        ice,
        dtls: (!fingerprints.is_empty()).then_some(Dtls { fingerprints, setup }),
        crypto: attributes.own("crypto").take(16).filter_map(value::crypto).collect(),
        best_effort: false,
        source: None,
        ssrc: None,
    }
}
