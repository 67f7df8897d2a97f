//! Descriptions of both sides, as signalling would carry them, and what the relay is told of them.

use anyhow::{Context, Result};
use media::sdp::{self, Origin};
use proto::v1::{self, LocalEnd};
use serde_json::Value;
use signal::Media;
use signal::media::{Codec, Content, Direction, Dtls, Kind, Setup, Transport};
use std::net::{IpAddr, SocketAddr};
use testkit::namespace;

/// The browser is the second leg, whoever calls.
pub const WEB: u32 = 1;
pub const PHONE: u32 = 0;

/// A content, and how either side speaks it.
pub struct Part {
    pub kind: Kind,
    pub web: Codec,
    pub phone: Codec,
}

pub fn end_of(ends: &[LocalEnd], leg: u32, content: u32) -> Result<&LocalEnd> {
    ends.iter().find(|end| end.leg == leg && end.content == content).context("an end is missing")
}

/// Where the phone sends a content to: RTP, and RTCP.
pub fn target(ends: &[LocalEnd], content: u32) -> Result<(SocketAddr, SocketAddr)> {
    let end = end_of(ends, PHONE, content)?;
    let ip: IpAddr = end.address.parse()?;
    let port = |port: u32| Ok::<_, anyhow::Error>(SocketAddr::new(ip, port.try_into()?));
    Ok((port(end.rtp_port)?, port(end.rtcp_port)?))
}

/// Facts of an end that is not described yet.
pub fn facts(session: &str, leg: u32, content: u32) -> v1::ConnectRequest {
    let base = v1::ConnectRequest { session: session.into(), leg, content, ..Default::default() };
    v1::ConnectRequest { sends: true, receives: true, ..base }
}

/// Description for the relay of a content of the browser's.
pub fn web(
    session: &str,
    place: u32,
    content: &Content,
    dtls: &Dtls,
    spoken: &Codec,
) -> Result<v1::ConnectRequest> {
    let ice = content.transport.ice.as_ref().context("a description without ICE")?;
    Ok(v1::ConnectRequest {
        mux: content.transport.mux,
        ice: Some(v1::Ice::from(ice)),
        dtls: Some(v1::Dtls::from(dtls)),
        codecs: vec![codec(spoken)],
        ..facts(session, WEB, place)
    })
}

pub fn codec(codec: &Codec) -> v1::Codec {
    v1::Codec {
        pt: codec.pt.into(),
        name: codec.name.clone(),
        clock: codec.clock,
        channels: codec.channels.into(),
        feedback: codec.feedback.clone(),
    }
}

/// The relay's side of a call with a browser: each content on a transport of its own or, `bundled`, all on that of the first.
pub fn ours(ends: &[LocalEnd], parts: &[Part], setup: Setup, bundled: bool) -> Result<String> {
    let contents = parts.iter().enumerate().map(|(place, part)| {
        let end = end_of(ends, WEB, if bundled { 0 } else { place as u32 })?;
        // Candidates may follow; and a content that trickles is named (a=mid), in a group or not.
        let ice = v1::Ice { trickle: true, ..end.ice.clone().context("an end without ICE")? };
        let fingerprint = end.fingerprint.clone().context("an end without fingerprint")?;
        let transport = Transport {
            mux: true,
            ice: Some(ice.try_into().map_err(|error| anyhow::anyhow!("{error:?}"))?),
            dtls: Some(Dtls { fingerprints: vec![fingerprint.into()], setup }),
            ..Transport::default()
        };
        let (name, codecs) = (place.to_string(), vec![part.web.clone()]);
        let (direction, rejected) = (Direction::Both, false);
        Ok(Content { name, kind: part.kind, direction, rejected, codecs, transport })
    });
    let mut media = Media { contents: contents.collect::<Result<_>>()?, bundle: vec![] };
    if bundled {
        media.bundle = media.contents.iter().map(|content| content.name.clone()).collect();
    }
    let address = IpAddr::from(namespace::ADDRESS);
    let octets = sdp::write(&media, &sdp::Shape::default(), &Origin { session_id: 1, version: 1, address });
    Ok(String::from_utf8(octets)?)
}

/// The browser's description.
pub fn read(described: &Value) -> Result<Media> {
    let sdp = described["sdp"].as_str().context("no SDP")?;
    sdp::read(sdp.as_bytes()).map(|(media, _)| media).with_context(|| sdp.to_owned())
}
