use super::attribute as value;
use super::lines::{Lines, Section, split};
use super::{Line, MAX_CANDIDATES, MAX_OCTETS, MAX_PAYLOADS, SdpError, Shape};
use crate::codec::of_static;
use signal::Media;
use signal::media::{Codec, Content, Direction, Dtls, Ice, Kind, Setup, Transport};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Reads a description.
///
/// A content whose own lines cannot be served is rejected, in its position.
///
/// # Errors
/// [`SdpError`] when it is no SDP or too large, or with the line at fault when that leaves no content. Other faults are ignored or
/// replaced by defaults.
pub fn read(octets: &[u8]) -> Result<(Media, Shape), SdpError> {
    if octets.len() > MAX_OCTETS {
        return Err(SdpError::TooLarge);
    }
    let text = String::from_utf8_lossy(octets);
    let lines = split(&text)?;
    let (mut media, mut shape) = (Media::default(), Shape::default());
    let mut fault = None;
    for (index, section) in lines.sections.iter().enumerate() {
        match kind(section) {
            Some(kind) => {
                shape.lines.push(Line::Content(section.proto.to_owned()));
                let (content, wrong) = content(&lines, section, kind, index);
                media.contents.push(content);
                fault = fault.or(wrong);
            }
            None => shape.lines.push(Line::Foreign(
                section.media.clone(),
                section.proto.to_owned(),
                section.formats.join(" "),
            )),
        }
    }
    if let Some(fault) = fault.filter(|_| media.contents.iter().all(|content| content.rejected)) {
        return Err(fault);
    }
    let groups = lines.attributes.iter().filter(|(name, _)| *name == "group");
    media.bundle = groups
        .filter_map(|(_, value)| value.strip_prefix("BUNDLE"))
        .flat_map(str::split_ascii_whitespace)
        .filter(|n| media.contents.iter().any(|c| c.name == *n))
        .map(str::to_owned)
        .collect();
    Ok((media, shape))
}

fn kind(section: &Section<'_>) -> Option<Kind> {
    let proto = section.proto.to_ascii_uppercase();
    Kind::of(&section.media).filter(|_| proto.contains("RTP/"))
}

/// Attributes of a media section, and those of the session that it inherits.
struct Attributes<'a>(&'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)]);

impl<'a> Attributes<'a> {
    fn own(&self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |a| a.0 == name).map(|a| a.1)
    }
    fn any(&self, name: &'a str) -> Option<&'a str> {
        let session = self.1.iter().filter(move |a| a.0 == name).map(|a| a.1);
        self.own(name).chain(session).next()
    }
}

/// Reads a content; beside it the line for which it is rejected, if one of its own lines cannot be served.
fn content(
    lines: &Lines<'_>,
    section: &Section<'_>,
    kind: Kind,
    index: usize,
) -> (Content, Option<SdpError>) {
    let attributes = Attributes(&section.attributes, &lines.attributes);
    let (connection, lost) = connection(lines, section);
    let rfc2543_hold = connection.is_some_and(|ip| ip.is_unspecified());
    let direction = ["sendrecv", "sendonly", "recvonly", "inactive"]
        .into_iter()
        .find(|d| attributes.own(d).next().is_some());
    let direction = direction
        .or_else(|| ["sendonly", "recvonly", "inactive"].into_iter().find(|d| attributes.any(d).is_some()));
    let (port, no_port) = match port(section) {
        Some(port) => (port, None),
        None => (0, Some(SdpError::line(&format!("m={}", section.line), "has no port"))),
    };
    // RFC 8843 §6: port 0 with bundle-only is live.
    let port_0 = port == 0 && attributes.any("bundle-only").is_none();
    let ip = connection.filter(|ip| !ip.is_unspecified());
    let mut transport = transport(&attributes, ip.map(|ip| SocketAddr::new(ip, port)));
    // A secure profile without keys would be heard as noise (RFC 4568 §5.1.2, RFC 5763 §5). Beside a plain profile keys and fingerprints
    // are opportunistic (OSRTP, RFC 8643 §3).
    let proto = section.proto.to_ascii_uppercase();
    let secure = proto.contains("SAVP");
    if proto.starts_with("UDP/TLS") && transport.dtls.is_some() {
        transport.crypto.clear();
    }
    let keyless = secure && transport.dtls.is_none() && transport.crypto.is_empty();
    transport.best_effort = !secure && (transport.dtls.is_some() || !transport.crypto.is_empty());
    // Media would go nowhere, unless checks find the way (RFC 8445).
    let checked = transport.ice.is_some() && transport.dtls.is_some();
    let fault = no_port.or(lost.filter(|_| !port_0 && !checked));
    let codecs = codecs(section, &attributes);
    let content = Content {
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
        // Formats that no line explains are none.
        rejected: port_0 || keyless || fault.is_some() || codecs.is_empty(),
        codecs,
        transport,
    };
    (content, fault)
}

/// Returns the port of an m= line, without the number of ports (RFC 8866 §5.14).
fn port(section: &Section<'_>) -> Option<u16> {
    section.port.split('/').next()?.parse().ok()
}

/// Returns the address of a section's c= lines or else of the session's (RFC 8866 §5.7), or the line at fault.
fn connection(lines: &Lines<'_>, section: &Section<'_>) -> (Option<IpAddr>, Option<SdpError>) {
    let named = if section.connections.is_empty() { &lines.connections } else { &section.connections };
    if let Some(ip) = named.iter().find_map(|line| address(line)) {
        return (Some(ip), None);
    }
    let fault = match named.first() {
        Some(line) => SdpError::line(&format!("c={line}"), "is no address that can be sent to"),
        None => SdpError::line(&format!("m={}", section.line), "has no c= line"),
    };
    (None, Some(fault))
}

/// Reads the address of a c= line. Names are not looked up, but one that can lead nowhere (RFC 2606 §2) is a hold as 0.0.0.0 is.
fn address(connection: &str) -> Option<IpAddr> {
    let address = connection.split_ascii_whitespace().nth(2)?.split('/').next()?;
    if address.to_ascii_lowercase().trim_end_matches('.').ends_with(".invalid") {
        return Some(Ipv4Addr::UNSPECIFIED.into());
    }
    address.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn codecs(section: &Section<'_>, attributes: &Attributes<'_>) -> Vec<Codec> {
    let time = |name: &'static str| attributes.any(name).and_then(|v| v.parse().ok());
    let (ptime, max_ptime) = (time("ptime"), time("maxptime"));
    let numbers =
        section.formats.iter().filter_map(|f| f.parse::<u8>().ok()).filter(|pt| *pt < 128).take(MAX_PAYLOADS);
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
        (codec.ptime, codec.max_ptime) = (ptime, max_ptime);
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
    let setup = attributes.any("setup");
    // No association is wanted for now (RFC 4145 §4), and none means no keys.
    if setup == Some("holdconn") {
        fingerprints.clear();
    }
    let setup = setup.map_or(Setup::ActPass, value::setup);
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
