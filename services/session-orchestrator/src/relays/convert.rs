//! Between the relay's own words (`relay.proto`) and ours.

use super::LegRequest;
use media::LocalEnd;
use proto::v1;
use session::call::Connect;
use signal::media::{Crypto, Ice};
use signal::{EffectId, LegId};
use std::net::IpAddr;

/// One leg of an allocation.
pub fn leg(leg: &LegRequest) -> v1::Leg {
    let contents = u32::try_from(leg.contents).unwrap_or(u32::MAX);
    v1::Leg { leg: leg.leg.0.into(), contents, webrtc: leg.webrtc }
}

/// Name of a key at the relay, by the order that says it: unique within its call.
pub fn key_id(id: EffectId) -> u64 {
    id.version << 16 | u64::from(id.index)
}

/// One pair of a bridge.
pub fn pair((one, other): &(LegId, LegId)) -> v1::Pair {
    v1::Pair { one: one.0.into(), other: other.0.into() }
}

/// Ends by leg and content; `None` where one is missing.
pub fn ends(reply: &v1::AllocateReply, legs: &[LegRequest]) -> Option<Vec<(LegId, Vec<LocalEnd>)>> {
    let end = |leg: LegId, content: usize| {
        let mut ends = reply.ends.iter();
        let found = ends.find(|end| end.leg == u32::from(leg.0) && end.content as usize == content);
        local_end(found?)
    };
    let ends =
        |leg: &LegRequest| (0..leg.contents).map(|content| end(leg.leg, content)).collect::<Option<_>>();
    legs.iter().map(|leg| Some((leg.leg, ends(leg)?))).collect()
}

fn local_end(end: &v1::LocalEnd) -> Option<LocalEnd> {
    let address: IpAddr = end.address.parse().ok()?;
    Some(LocalEnd {
        address,
        rtp_port: end.rtp_port.try_into().ok()?,
        rtcp_port: end.rtcp_port.try_into().ok()?,
        ice: Ice::try_from(end.ice.clone()?).ok()?,
        fingerprint: end.fingerprint.clone()?.into(),
        other: end.other_address.parse().ok(),
        // A newer relay may know suites that mean nothing here.
        crypto: end.crypto.iter().filter_map(|client| Crypto::try_from(client.clone()).ok()).collect(),
    })
}

/// Makes the order that tells an end of its peer, with what the peer was told of the end where it has restarted, and the networks
/// that its media may come from, too.
pub fn connect(
    session: &str,
    connect: &Connect,
    (told, networks): (Option<&Ice>, &[String]),
    trace: &str,
) -> v1::ConnectRequest {
    let remote = &connect.remote;
    v1::ConnectRequest {
        session: session.to_owned(),
        leg: connect.leg.0.into(),
        content: connect.content.into(),
        address: remote.address.map(|a| a.to_string()).unwrap_or_default(),
        rtcp_port: remote.rtcp.unwrap_or(0).into(),
        mux: remote.mux,
        ice: remote.ice.as_ref().map(v1::Ice::from),
        dtls: remote.dtls.as_ref().map(v1::Dtls::from),
        crypto: remote.crypto.iter().map(v1::Crypto::from).collect(),
        codecs: connect
            .codecs
            .iter()
            .map(|c| v1::Codec {
                pt: c.pt.into(),
                name: c.name.clone(),
                clock: c.clock,
                channels: c.channels.into(),
                feedback: c.feedback.clone(),
            })
            .collect(),
        sends: connect.direction.sends(),
        receives: connect.direction.receives(),
        ours: connect.ours,
        trace: trace.to_owned(),
        bundled: connect.bundled.map(u32::from),
        source: remote.source.map(|ip| ip.to_string()).unwrap_or_default(),
        told: told.filter(|ice| ice.generation() > 0).map(v1::Ice::from),
        ssrc: connect.ssrc.map(v1::Ssrc::from),
        media_networks: networks.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signal::media::{Direction, Ssrc, Transport};

    #[test]
    fn d10_the_relay_is_told_of_a_trunk_s_media_networks() {
        let networks = ["203.0.113.0/24".to_owned()];
        let told = Connect {
            leg: LegId(0),
            content: 0,
            remote: Transport::default(),
            bundled: None,
            codecs: vec![],
            direction: Direction::Both,
            ours: false,
            ssrc: None,
        };
        assert_eq!(connect("s", &told, (None, &networks), "").media_networks, networks);
    }

    /// Interworking §12.6, rule 2.
    #[test]
    fn the_relay_is_told_where_a_leg_behind_nat_signals_from() {
        let remote = Transport {
            address: "10.0.0.4:4000".parse().ok(),
            source: "198.51.100.9".parse().ok(),
            ..Transport::default()
        };
        let told = Connect {
            leg: LegId(0),
            content: 0,
            remote,
            bundled: None,
            codecs: vec![],
            direction: Direction::Both,
            ours: false,
            ssrc: Some(Ssrc { id: 5, cname: 6 }),
        };
        assert_eq!(connect("s", &told, (None, &[]), "").ssrc, Some(v1::Ssrc { id: 5, cname: 6 }));
        assert_eq!(connect("s", &told, (None, &[]), "").source, "198.51.100.9");
        let open = Connect { remote: Transport::default(), ..told };
        assert_eq!(connect("s", &open, (None, &[]), "").source, "");
    }
}
