//! Calls as operators and scripts see them: JSON without keys and credentials. Part of the face: a rename is a breaking change.

use media::Profile;
use proto::v1::EndStatistics;
use serde::Serialize;
use session::call::{Call, Leg, Phase};
use signal::Media;

/// One call.
#[derive(Clone, Debug, Serialize)]
pub struct CallView {
    /// Its id.
    pub id: String,
    /// `calling`, `ringing`, `answered`, `active`, `ended`.
    pub state: &'static str,
    /// Caller, as the caller's own protocol names them.
    pub from: String,
    /// Callee, as the callee's own protocol names them.
    pub to: String,
    /// Milliseconds since the Unix epoch.
    pub placed_ms: u64,
    /// Milliseconds since the Unix epoch.
    pub answered_ms: Option<u64>,
    /// Milliseconds since the Unix epoch.
    pub ended_ms: Option<u64>,
    /// Why it ended.
    pub reason: Option<String>,
    /// Instance of the relay that carries it.
    pub relay: Option<String>,
    /// W3C trace id.
    pub trace: String,
    /// Its legs; 0 is the one that opened the call.
    pub legs: Vec<LegView>,
    /// Figures of the media from its relay; empty in lists, and when the relay does not answer.
    pub media: Vec<EndView>,
}

/// One content of one leg, as the relay sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EndView {
    /// The leg.
    pub leg: u32,
    /// The content's place.
    pub content: u32,
    /// `plain`, `webrtc`, `open` (not connected).
    pub form: String,
    /// The codec that is heard.
    pub codec: String,
    /// Where media comes from; empty = nowhere yet.
    pub peer: String,
    /// SRTP suite; empty = in the clear.
    pub security: String,
    /// Stream from the peer, as the relay receives it.
    pub heard: StreamView,
    /// Packets and octets sent to the peer.
    pub packets_out: u64,
    /// See `packets_out`.
    pub octets_out: u64,
    /// Packets refused: wrong source, bad authentication, replay.
    pub dropped: u64,
    /// To the peer and back, microseconds.
    pub round_trip_us: Option<u32>,
    /// Stream to the peer, as its reports tell.
    pub seen: Option<SeenView>,
}

/// A stream that came in.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StreamView {
    /// Packets accepted.
    pub packets: u64,
    /// Octets accepted.
    pub octets: u64,
    /// Packets that came or should have.
    pub expected: u64,
    /// Packets that did not come.
    pub lost: u64,
    /// Of the last second, parts per million.
    pub loss_ppm: u32,
    /// RFC 3550 A.8, microseconds.
    pub jitter_us: u32,
    /// Mean opinion score of the last second, hundredths.
    pub mos: Option<u32>,
    /// Of all seconds.
    pub mos_mean: Option<u32>,
}

/// A stream as its receiver reports it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SeenView {
    /// Packets lost.
    pub lost: i32,
    /// Between its last two reports, parts per million.
    pub loss_ppm: u32,
    /// Microseconds.
    pub jitter_us: u32,
    /// Mean opinion score, hundredths.
    pub mos: Option<u32>,
}

impl EndView {
    /// Of what the relay told.
    #[must_use]
    pub fn of(end: &EndStatistics) -> EndView {
        let known = |figure: u32| Some(figure).filter(|figure| *figure > 0);
        EndView {
            leg: end.leg,
            content: end.content,
            form: end.form.clone(),
            codec: end.codec.clone(),
            peer: end.peer.clone(),
            security: end.security.clone(),
            heard: StreamView {
                packets: end.packets_in,
                octets: end.octets_in,
                expected: end.expected,
                lost: end.lost,
                loss_ppm: end.loss_ppm,
                jitter_us: end.jitter_us,
                mos: known(end.mos),
                mos_mean: known(end.mos_mean),
            },
            packets_out: end.packets_out,
            octets_out: end.octets_out,
            dropped: end.dropped,
            round_trip_us: known(end.round_trip_us),
            seen: end.seen.as_ref().map(|seen| SeenView {
                lost: seen.lost,
                loss_ppm: seen.loss_ppm,
                jitter_us: seen.jitter_us,
                mos: known(seen.mos),
            }),
        }
    }
}

/// One leg.
#[derive(Clone, Debug, Serialize)]
pub struct LegView {
    /// Its place.
    pub id: u8,
    /// `sip` or `xmpp`.
    pub protocol: &'static str,
    /// The party, in its own protocol's words.
    pub party: String,
    /// Trunk or component domain.
    pub link: String,
    /// `routing`, `allocating`, `calling`, `ringing`, `answered`, `active`, `over`.
    pub state: &'static str,
    /// Codecs in use, first the preferred: `PCMU/8000`.
    pub codecs: Vec<String>,
    /// `plain`, `sdes` or `webrtc`: what is in use, before that what is offered.
    pub profile: &'static str,
    /// Call-ID or sid.
    pub wire_id: Option<String>,
    /// The edge that holds its transaction; empty = any.
    pub edge: String,
}

impl CallView {
    /// Of a record.
    #[must_use]
    pub fn of(call: &Call) -> CallView {
        let party = |id| call.leg(id).map(|leg| leg_view(leg).party).unwrap_or_default();
        CallView {
            id: call.id.to_string(),
            state: state(call),
            from: party(call.bridge.0),
            to: party(call.bridge.1),
            placed_ms: call.placed.0,
            answered_ms: call.answered.map(|t| t.0),
            ended_ms: call.ended.map(|t| t.0),
            reason: call.end.as_ref().map(|end| format!("{:?}", end.reason)),
            relay: call.relay.as_ref().map(|relay| relay.instance.clone()),
            trace: call.trace.split('-').nth(1).unwrap_or_default().to_owned(),
            legs: call.legs.iter().map(leg_view).collect(),
            media: vec![],
        }
    }
}

fn state(call: &Call) -> &'static str {
    if call.ended.is_some() {
        return "ended";
    }
    if call.is_established() {
        return "active";
    }
    let any = |phase| call.legs.iter().any(|leg| leg.phase == phase);
    match (any(Phase::Answered), any(Phase::Ringing)) {
        (true, _) => "answered",
        (_, true) => "ringing",
        _ => "calling",
    }
}

fn leg_view(leg: &Leg) -> LegView {
    let party = leg.party();
    let contents = in_use(leg).into_iter().flat_map(|media| media.contents.iter().filter(|c| !c.rejected));
    let codecs = contents.flat_map(|content| &content.codecs);
    LegView {
        id: leg.id.0,
        protocol: party.protocol.name(),
        party: party.address.clone(),
        link: leg.opening.link.clone(),
        state: match leg.phase {
            Phase::Calling => "calling",
            Phase::Ringing => "ringing",
            Phase::Answered => "answered",
            Phase::Active => "active",
            Phase::Over => "over",
            Phase::Routing => "routing",
            Phase::Allocating => "allocating",
        },
        codecs: codecs.map(|c| format!("{}/{}", c.name, c.clock)).collect(),
        profile: profile(leg),
        wire_id: leg.timeline.wire_id.clone(),
        edge: leg.edge.clone(),
    }
}

/// Returns the description that names what is in use: ours on the leg that called, theirs on the leg that was called.
fn in_use(leg: &Leg) -> Option<&Media> {
    if leg.inbound {
        leg.local_description.as_ref().or(leg.remote_description.as_ref())
    } else {
        leg.remote_description.as_ref().or(leg.local_description.as_ref())
    }
}

/// Returns how media is spoken on a leg.
pub(crate) fn profile(leg: &Leg) -> &'static str {
    match in_use(leg).into_iter().flat_map(|media| &media.contents).find(|content| !content.rejected) {
        Some(content) if content.transport.dtls.is_some() && content.transport.ice.is_some() => "webrtc",
        Some(content) if content.transport.dtls.is_some() => "dtls",
        Some(content) if !content.transport.crypto.is_empty() => "sdes",
        Some(_) => "plain",
        None => match leg.profile {
            Profile::Plain | Profile::BestEffort | Profile::Osrtp => "plain",
            Profile::Sdes => "sdes",
            Profile::Dtls => "dtls",
            Profile::Webrtc => "webrtc",
        },
    }
}
