use super::attribute as value;
use super::{Line, Origin, Shape};
use signal::Media;
use signal::media::{Content, Direction};
use std::fmt::{self, Write};
use std::net::IpAddr;

/// Writes a description: the contents in order or, for an answer, in the positions of its offer's shape.
#[must_use]
pub fn write(media: &Media, shape: &Shape, origin: &Origin) -> Vec<u8> {
    let mut out = Lines(String::with_capacity(512));
    let family = family(origin.address);
    out.line(format_args!("v=0"));
    out.line(format_args!("o=- {} {} IN {family} {}", origin.session_id, origin.version, origin.address));
    out.line(format_args!("s=-"));
    let first = media.contents.iter().find_map(|c| c.transport.ip()).unwrap_or(origin.address);
    out.line(format_args!("c=IN {} {first}", self::family(first)));
    out.line(format_args!("t=0 0"));
    if !media.bundle.is_empty() {
        out.line(format_args!("a=group:BUNDLE {}", media.bundle.join(" ")));
    }
    let mut contents = media.contents.iter();
    for line in &shape.lines {
        match line {
            Line::Content(proto) => {
                let Some(content) = contents.next() else { break };
                section(&mut out, content, Some(proto), first, !media.bundle.is_empty());
            }
            Line::Foreign(media, proto, formats) => {
                out.line(format_args!("m={media} 0 {proto} {formats}"));
            }
        }
    }
    for content in contents {
        section(&mut out, content, None, first, !media.bundle.is_empty());
    }
    out.0.into_bytes()
}

/// Lines of a description. One rule: no value can add a line; control characters are removed.
struct Lines(String);

impl Lines {
    fn line(&mut self, line: fmt::Arguments<'_>) {
        let _ = self.write_fmt(line);
        self.0.push_str("\r\n");
    }
}

impl Write for Lines {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend(text.chars().filter(|c| !c.is_control()));
        Ok(())
    }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv6() { "IP6" } else { "IP4" }
}

/// Returns the transport protocol of an offer.
pub(super) fn protocol(content: &Content) -> &'static str {
    let transport = &content.transport;
    match (&transport.dtls, &transport.ice) {
        // OSRTP (RFC 8643 §3).
        _ if transport.best_effort => "RTP/AVP",
        (Some(_), Some(_)) => "UDP/TLS/RTP/SAVPF",
        (Some(_), None) => "UDP/TLS/RTP/SAVP",
        (None, _) if transport.crypto.is_empty() => "RTP/AVP",
        (None, _) => "RTP/SAVP",
    }
}

/// Returns true if a transport protocol says how a content is protected; of a rejected one nothing is.
pub(super) fn fits(proto: &str, content: &Content) -> bool {
    let secure = |proto: &str| proto.to_ascii_uppercase().contains("SAVP");
    content.rejected || secure(proto) == secure(protocol(content))
}

fn section(out: &mut Lines, content: &Content, offered_proto: Option<&String>, session: IpAddr, mids: bool) {
    let kind = content.kind.name();
    let transport = &content.transport;
    let proto = offered_proto.map_or_else(|| protocol(content), String::as_str);
    let numbers: Vec<String> = content.codecs.iter().map(|c| c.pt.to_string()).collect();
    let formats = if numbers.is_empty() { "0".to_owned() } else { numbers.join(" ") };
    let port = if content.rejected { 0 } else { transport.address.map_or(9, |a| a.port()) };
    out.line(format_args!("m={kind} {port} {proto} {formats}"));
    if content.rejected {
        return;
    }
    if let Some(ip) = transport.ip().filter(|ip| *ip != session) {
        out.line(format_args!("c=IN {} {ip}", family(ip)));
    }
    codecs(out, content);
    if mids || transport.ice.as_ref().is_some_and(|i| i.trickle) {
        out.line(format_args!("a=mid:{}", content.name));
    }
    if let Some(port) = transport.rtcp.filter(|_| !transport.mux) {
        out.line(format_args!("a=rtcp:{port}"));
    }
    if transport.mux {
        out.line(format_args!("a=rtcp-mux"));
    }
    for line in &transport.crypto {
        out.line(format_args!("a=crypto:{}", value::write_crypto(line)));
    }
    if let Some(ice) = &transport.ice {
        out.line(format_args!("a=ice-ufrag:{}", ice.ufrag));
        out.line(format_args!("a=ice-pwd:{}", ice.pwd));
        for candidate in &ice.candidates {
            out.line(format_args!("a=candidate:{}", value::write_candidate(candidate)));
        }
    }
    if let Some(dtls) = &transport.dtls {
        for fingerprint in &dtls.fingerprints {
            out.line(format_args!(
                "a=fingerprint:{} {}",
                fingerprint.hash,
                value::fingerprint_hex(fingerprint)
            ));
        }
        out.line(format_args!("a=setup:{}", value::setup_name(dtls.setup)));
    }
    let direction = match content.direction {
        Direction::Both => "sendrecv",
        Direction::Send => "sendonly",
        Direction::Receive => "recvonly",
        Direction::None => "inactive",
    };
    out.line(format_args!("a={direction}"));
}

fn codecs(out: &mut Lines, content: &Content) {
    for codec in &content.codecs {
        let map = format!("a=rtpmap:{} {}/{}", codec.pt, codec.name, codec.clock);
        if codec.channels > 1 || codec.name.eq_ignore_ascii_case("opus") {
            // RFC 7587 §7: opus is always written with two channels (R-SDP-4).
            out.line(format_args!("{map}/{}", codec.channels.max(2)));
        } else {
            out.line(format_args!("{map}"));
        }
        if !codec.params.is_empty() {
            out.line(format_args!("a=fmtp:{} {}", codec.pt, value::write_parameters(&codec.params)));
        }
        for feedback in &codec.feedback {
            out.line(format_args!("a=rtcp-fb:{} {feedback}", codec.pt));
        }
    }
    // One line for all payload types (RFC 8866 §6.4): the wish for the first, and what every one of them allows (interworking §3.2).
    let mut main = content.codecs.iter().filter(|c| !c.is_auxiliary());
    if let Some(longest) = main.clone().filter_map(|c| c.max_ptime).min() {
        out.line(format_args!("a=maxptime:{longest}"));
    }
    if let Some(ptime) = main.next().and_then(|c| c.ptime) {
        out.line(format_args!("a=ptime:{ptime}"));
    }
}
