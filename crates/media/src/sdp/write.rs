use super::attribute as value;
use super::{Line, Origin, Shape};
use signal::Media;
use signal::media::{Content, Direction, Kind};
use std::fmt::Write;
use std::net::IpAddr;

/// Writes a description: the media's contents in order or, for an answer, in the places of its offer's shape.
#[must_use]
pub fn write(media: &Media, shape: &Shape, origin: &Origin) -> Vec<u8> {
    let mut out = String::with_capacity(512);
    let family = family(origin.address);
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "v=0\r\no=- {} {} IN {family} {}\r\ns=-\r\n",
        origin.session_id, origin.version, origin.address
    );
    let first = media.contents.iter().find_map(|c| c.transport.ip()).unwrap_or(origin.address);
    let _ = write!(out, "c=IN {} {first}\r\nt=0 0\r\n", self::family(first));
    if !media.bundle.is_empty() {
        let _ = write!(out, "a=group:BUNDLE {}\r\n", media.bundle.join(" "));
    }
    let mut contents = media.contents.iter();
    for line in &shape.lines {
        match line {
            Line::Content(proto) => {
                let Some(content) = contents.next() else { break };
                section(&mut out, content, Some(proto), first, !media.bundle.is_empty());
            }
            Line::Foreign(media, proto, formats) => {
                let _ = write!(out, "m={media} 0 {proto} {formats}\r\n");
            }
        }
    }
    for content in contents {
        section(&mut out, content, None, first, !media.bundle.is_empty());
    }
    out.into_bytes()
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv6() { "IP6" } else { "IP4" }
}

fn section(out: &mut String, content: &Content, offered_proto: Option<&String>, session: IpAddr, mids: bool) {
    let kind = match content.kind {
        Kind::Audio => "audio",
        Kind::Video => "video",
    };
    let transport = &content.transport;
    let proto = offered_proto.map_or(
        match (&transport.dtls, transport.crypto.is_empty()) {
            (Some(_), _) => "UDP/TLS/RTP/SAVPF",
            (None, false) => "RTP/SAVP",
            (None, true) => "RTP/AVP",
        },
        String::as_str,
    );
    let numbers: Vec<String> = content.codecs.iter().map(|c| c.pt.to_string()).collect();
    let formats = if numbers.is_empty() { "0".to_owned() } else { numbers.join(" ") };
    let port = if content.rejected { 0 } else { transport.address.map_or(9, |a| a.port()) };
    let _ = write!(out, "m={kind} {port} {proto} {formats}\r\n");
    if content.rejected {
        return;
    }
    if let Some(ip) = transport.ip().filter(|ip| *ip != session) {
        let _ = write!(out, "c=IN {} {ip}\r\n", family(ip));
    }
    codecs(out, content);
    if mids || transport.ice.as_ref().is_some_and(|i| i.trickle) {
        let _ = write!(out, "a=mid:{}\r\n", content.name);
    }
    if let Some(port) = transport.rtcp.filter(|_| !transport.mux) {
        let _ = write!(out, "a=rtcp:{port}\r\n");
    }
    if transport.mux {
        out.push_str("a=rtcp-mux\r\n");
    }
    if let Some(ice) = &transport.ice {
        let _ = write!(out, "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", ice.ufrag, ice.pwd);
        for candidate in &ice.candidates {
            let _ = write!(out, "a=candidate:{}\r\n", value::write_candidate(candidate));
        }
    }
    if let Some(dtls) = &transport.dtls {
        for fingerprint in &dtls.fingerprints {
            let _ =
                write!(out, "a=fingerprint:{} {}\r\n", fingerprint.hash, value::fingerprint_hex(fingerprint));
        }
        let _ = write!(out, "a=setup:{}\r\n", value::setup_name(dtls.setup));
    }
    out.push_str(match content.direction {
        Direction::Both => "a=sendrecv\r\n",
        Direction::Send => "a=sendonly\r\n",
        Direction::Receive => "a=recvonly\r\n",
        Direction::None => "a=inactive\r\n",
    });
}

fn codecs(out: &mut String, content: &Content) {
    for codec in &content.codecs {
        let _ = write!(out, "a=rtpmap:{} {}/{}", codec.pt, codec.name, codec.clock);
        if codec.channels > 1 || codec.name.eq_ignore_ascii_case("opus") {
            // RFC 7587 §7: opus is always written with two channels (R-SDP-4).
            let _ = write!(out, "/{}", codec.channels.max(2));
        }
        out.push_str("\r\n");
        if !codec.params.is_empty() {
            let _ = write!(out, "a=fmtp:{} {}\r\n", codec.pt, value::write_parameters(&codec.params));
        }
        for feedback in &codec.feedback {
            let _ = write!(out, "a=rtcp-fb:{} {feedback}\r\n", codec.pt);
        }
    }
    let mut times = content.codecs.iter().filter(|c| !c.is_auxiliary()).map(|c| c.ptime);
    if let Some(Some(first)) = times.next().filter(|first| times.all(|t| t == *first)) {
        let _ = write!(out, "a=ptime:{first}\r\n");
    }
}
