//! Call detail records as JSON: one of each call, one of each leg. Part of the face: docs/call-records.md has every field, and a test
//! holds both together. A field may be added; any other change raises [`VERSION`].

use super::time::rfc3339;
use crate::view;
use serde::Serialize;
use session::call::{Call, Leg, Quality, Role};
use signal::{End, Heard, Opening, Reason, RecordId, Time};

/// Version of the records.
pub const VERSION: u8 = 1;

/// One call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallRecord {
    v: u8,
    kind: &'static str,
    id: String,
    outcome: &'static str,
    direction: &'static str,
    trunk: String,
    domain: String,
    from: String,
    from_name: Option<String>,
    dialled: String,
    to: Option<String>,
    placed: String,
    rang: Option<String>,
    answered: Option<String>,
    ended: String,
    ring_ms: Option<u64>,
    talk_ms: Option<u64>,
    total_ms: u64,
    reason: String,
    sip: Option<u16>,
    text: Option<String>,
    ended_by: Option<u8>,
    legs: usize,
    relay: Option<String>,
    trace: String,
}

/// One leg of a call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LegRecord {
    v: u8,
    kind: &'static str,
    id: String,
    leg: u8,
    role: &'static str,
    protocol: &'static str,
    link: String,
    direction: &'static str,
    from: String,
    to: String,
    call_id: Option<String>,
    sid: Option<String>,
    opened: Option<String>,
    rang: Option<String>,
    answered: Option<String>,
    ended: String,
    talk_ms: Option<u64>,
    reason: Option<String>,
    sip: Option<u16>,
    text: Option<String>,
    ended_by: &'static str,
    diverted_by: Option<String>,
    diverted_why: Option<&'static str>,
    codecs: Vec<String>,
    profile: Option<&'static str>,
    edge: String,
    media: Vec<MediaRecord>,
}

/// Quality of one content of a leg.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MediaRecord {
    content: u16,
    codec: String,
    suite: String,
    packets_in: u64,
    octets_in: u64,
    packets_out: u64,
    octets_out: u64,
    lost: u64,
    jitter_us: u32,
    mos: Option<f64>,
    round_trip_us: Option<u32>,
    seen_lost: Option<i32>,
    seen_jitter_us: Option<u32>,
    seen_mos: Option<f64>,
}

/// Fields of a call's record, in order.
pub const CALL_FIELDS: &[&str] = &[
    "v",
    "kind",
    "id",
    "outcome",
    "direction",
    "trunk",
    "domain",
    "from",
    "from_name",
    "dialled",
    "to",
    "placed",
    "rang",
    "answered",
    "ended",
    "ring_ms",
    "talk_ms",
    "total_ms",
    "reason",
    "sip",
    "text",
    "ended_by",
    "legs",
    "relay",
    "trace",
];
/// Fields of a leg's record, in order; `media` is a list.
pub const LEG_FIELDS: &[&str] = &[
    "v",
    "kind",
    "id",
    "leg",
    "role",
    "protocol",
    "link",
    "direction",
    "from",
    "to",
    "call_id",
    "sid",
    "opened",
    "rang",
    "answered",
    "ended",
    "talk_ms",
    "reason",
    "sip",
    "text",
    "ended_by",
    "diverted_by",
    "diverted_why",
    "codecs",
    "profile",
    "edge",
    "media",
];
/// Fields of `media` in a leg's record, in order.
pub const MEDIA_FIELDS: &[&str] = &[
    "content",
    "codec",
    "suite",
    "packets_in",
    "octets_in",
    "packets_out",
    "octets_out",
    "lost",
    "jitter_us",
    "mos",
    "round_trip_us",
    "seen_lost",
    "seen_jitter_us",
    "seen_mos",
];

/// Line of a call: trunk and domain, and the direction as the trunk sees it.
pub(crate) type Of<'a> = (&'a (String, String), &'static str);

impl CallRecord {
    /// Makes the record of a call that has ended.
    #[must_use]
    pub(crate) fn of(call: &Call, (of, direction): Of<'_>) -> CallRecord {
        let ended = call.ended.unwrap_or(call.placed);
        let end = call.end.clone().unwrap_or_else(|| Reason::General.into());
        let caller = call.leg(call.bridge.0).or(call.legs.first());
        let opening = call.legs.first().map(|leg| &leg.opening);
        let last = |leg: &&Leg| leg.timeline.by_peer && leg.timeline.ended == call.ended;
        let from = caller.map(Leg::party).or(opening.map(|opening| &opening.from));
        CallRecord {
            v: VERSION,
            kind: "call",
            id: call.id.to_string(),
            outcome: if call.answered.is_some() { "answered" } else { "unanswered" },
            direction,
            trunk: of.0.clone(),
            domain: of.1.clone(),
            from: from.map(|party| party.address.clone()).unwrap_or_default(),
            from_name: from.and_then(|party| party.display.clone()),
            dialled: opening.map(|opening| opening.to.address.clone()).unwrap_or_default(),
            to: call.leg(call.bridge.1).map(|leg| leg.party().address.clone()),
            placed: rfc3339(call.placed.0),
            rang: call.rang.map(|at| rfc3339(at.0)),
            answered: call.answered.map(|at| rfc3339(at.0)),
            ended: rfc3339(ended.0),
            ring_ms: call.rang.map(|rang| call.answered.unwrap_or(ended).since(rang)),
            talk_ms: call.answered.map(|answered| ended.since(answered)),
            total_ms: ended.since(call.placed),
            reason: name(end.reason),
            sip: end.sip,
            text: end.text,
            ended_by: call.legs.iter().find(last).map(|leg| leg.id.0),
            legs: call.legs.len(),
            relay: call.carried_by.clone(),
            trace: call.trace.split('-').nth(1).unwrap_or_default().to_owned(),
        }
    }

    /// Makes the record of a call that was not taken.
    #[must_use]
    pub(crate) fn refused(refusal: &Refusal<'_>, (of, direction): Of<'_>) -> CallRecord {
        let Refusal { id, opening, end, now, .. } = *refusal;
        CallRecord {
            v: VERSION,
            kind: "call",
            id: id.to_string(),
            outcome: "refused",
            direction,
            trunk: of.0.clone(),
            domain: of.1.clone(),
            from: opening.from.address.clone(),
            from_name: opening.from.display.clone(),
            dialled: opening.to.address.clone(),
            to: None,
            placed: rfc3339(now.0),
            rang: None,
            answered: None,
            ended: rfc3339(now.0),
            ring_ms: None,
            talk_ms: None,
            total_ms: 0,
            reason: name(end.reason),
            sip: end.sip,
            text: end.text.clone(),
            ended_by: None,
            legs: 1,
            relay: None,
            trace: refusal.trace.split('-').nth(1).unwrap_or_default().to_owned(),
        }
    }
}

/// Call that was not taken.
#[derive(Clone, Copy)]
pub(crate) struct Refusal<'a> {
    pub(crate) id: RecordId,
    pub(crate) heard: &'a Heard,
    pub(crate) opening: &'a Opening,
    pub(crate) end: &'a End,
    pub(crate) trace: &'a str,
    pub(crate) now: Time,
}

impl LegRecord {
    /// Makes the record of a leg of a call that has ended.
    #[must_use]
    pub(crate) fn of(call: &Call, leg: &Leg) -> LegRecord {
        let times = &leg.timeline;
        let ended = times.ended.or(call.ended).unwrap_or(call.placed);
        let end = times.end.as_ref();
        let sip = leg.protocol() == signal::Protocol::Sip;
        let diversion = leg.opening.diverted.as_ref().and_then(|diverted| diverted.history.last());
        let answered = times.answered.is_some();
        LegRecord {
            v: VERSION,
            kind: "leg",
            id: call.id.to_string(),
            leg: leg.id.0,
            role: match leg.role {
                Role::Caller => "caller",
                Role::Callee => "callee",
                Role::Target => "target",
            },
            protocol: leg.protocol().name(),
            link: leg.opening.link.clone(),
            direction: direction(leg.inbound),
            from: leg.opening.from.address.clone(),
            to: leg.opening.to.address.clone(),
            call_id: times.wire_id.clone().filter(|_| sip),
            sid: times.wire_id.clone().filter(|_| !sip),
            opened: times.opened.map(|at| rfc3339(at.0)),
            rang: times.rang.map(|at| rfc3339(at.0)),
            answered: times.answered.map(|at| rfc3339(at.0)),
            ended: rfc3339(ended.0),
            talk_ms: times.answered.map(|answered| ended.since(answered)),
            reason: end.map(|end| name(end.reason)),
            sip: end.and_then(|end| end.sip),
            text: end.and_then(|end| end.text.clone()),
            ended_by: if times.by_peer { "peer" } else { "gateway" },
            diverted_by: diversion.map(|diversion| diversion.party.address.clone()),
            diverted_why: diversion.map(|diversion| diversion.reason.name()),
            codecs: codecs(leg),
            profile: answered.then(|| view::profile(leg)),
            edge: leg.edge.clone(),
            media: times.media.iter().map(MediaRecord::of).collect(),
        }
    }

    /// Makes the record of the leg that wanted a call which was not taken.
    #[must_use]
    pub(crate) fn refused(refusal: &Refusal<'_>) -> LegRecord {
        let Refusal { id, heard, opening, end, now, .. } = *refusal;
        let sip = opening.from.protocol == signal::Protocol::Sip;
        LegRecord {
            v: VERSION,
            kind: "leg",
            id: id.to_string(),
            leg: heard.leg.leg.0,
            role: "caller",
            protocol: opening.from.protocol.name(),
            link: opening.link.clone(),
            direction: direction(true),
            from: opening.from.address.clone(),
            to: opening.to.address.clone(),
            call_id: heard.wire_id.clone().filter(|_| sip),
            sid: heard.wire_id.clone().filter(|_| !sip),
            opened: Some(rfc3339(now.0)),
            rang: None,
            answered: None,
            ended: rfc3339(now.0),
            talk_ms: None,
            reason: Some(name(end.reason)),
            sip: end.sip,
            text: end.text.clone(),
            ended_by: "gateway",
            diverted_by: None,
            diverted_why: None,
            codecs: vec![],
            profile: None,
            edge: heard.edge.clone(),
            media: vec![],
        }
    }
}

impl MediaRecord {
    fn of(quality: &Quality) -> MediaRecord {
        let score = |mos: Option<u32>| mos.map(|mos| f64::from(mos) / 100.0);
        MediaRecord {
            content: quality.content,
            codec: quality.codec.clone(),
            suite: quality.security.clone(),
            packets_in: quality.packets_in,
            octets_in: quality.octets_in,
            packets_out: quality.packets_out,
            octets_out: quality.octets_out,
            lost: quality.lost,
            jitter_us: quality.jitter_us,
            mos: score(quality.mos),
            round_trip_us: quality.round_trip_us,
            seen_lost: quality.seen_lost,
            seen_jitter_us: quality.seen_jitter_us,
            seen_mos: score(quality.seen_mos),
        }
    }
}

/// Returns the name of a reason, as the facts and metrics of calls have it.
fn name(reason: Reason) -> String {
    format!("{reason:?}")
}

fn direction(inbound: bool) -> &'static str {
    if inbound { "inbound" } else { "outbound" }
}

/// Returns the codec in use of each content of a leg that was answered.
fn codecs(leg: &Leg) -> Vec<String> {
    let Some((_, answer)) = leg.agreed().filter(|_| leg.timeline.answered.is_some()) else { return vec![] };
    let live = answer.contents.iter().filter(|content| !content.rejected);
    let used = live.filter_map(|content| content.codecs.iter().find(|codec| !codec.is_auxiliary()));
    used.map(|codec| format!("{}/{}", codec.name, codec.clock)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use session::call::Timeline;

    fn quality() -> Quality {
        Quality { mos: Some(432), packets_in: 500, codec: "PCMU".into(), ..Quality::default() }
    }

    fn fields(record: &impl Serialize) -> Vec<String> {
        let Ok(Value::Object(fields)) = serde_json::to_value(record) else { panic!("no object") };
        fields.keys().cloned().collect()
    }

    fn sorted(names: &[&str]) -> Vec<String> {
        let mut names: Vec<String> = names.iter().map(ToString::to_string).collect();
        names.sort();
        names
    }

    fn refused() -> (CallRecord, LegRecord) {
        let opening = Opening {
            from: signal::Party::sip("sip:2041@pbx.example"),
            to: signal::Party::sip("sip:0900123@gw.example"),
            link: "pbx".into(),
            hops: 70,
            diverted: None,
            referral: None,
        };
        let id = RecordId::call([7; 10]);
        let heard = Heard {
            leg: signal::LegRef { record: id, leg: signal::LegId(0) },
            base: 0,
            event: signal::EventId(1),
            signals: vec![],
            dialog: vec![1, 2, 3],
            edge: "sip-edge-1".into(),
            opening: Some(opening.clone()),
            wake: None,
            wire_id: Some("abc@192.0.2.1".into()),
        };
        let end = End::from(Reason::Forbidden);
        let now = Time(1_796_000_000_123);
        let refusal =
            Refusal { id, heard: &heard, opening: &opening, end: &end, trace: "00-0af7-b7-01", now };
        let of = ("pbx".to_owned(), "sip.example.net".to_owned());
        (CallRecord::refused(&refusal, (&of, "inbound")), LegRecord::refused(&refusal))
    }

    #[test]
    fn a_refused_call_is_told_by_one_record_of_it_and_one_of_its_leg() {
        let (call, leg) = refused();
        assert_eq!((call.outcome, call.reason.as_str(), call.total_ms), ("refused", "Forbidden", 0));
        assert_eq!((call.dialled.as_str(), call.to.as_ref()), ("sip:0900123@gw.example", None));
        assert_eq!((call.placed.as_str(), call.trace.as_str()), ("2026-11-30T00:53:20.123Z", "0af7"));
        assert_eq!((leg.call_id.as_deref(), leg.sid.as_ref()), (Some("abc@192.0.2.1"), None));
    }

    #[test]
    fn the_document_has_every_field_in_order() {
        let (call, mut leg) = refused();
        leg.media = Timeline { media: vec![quality()], ..Timeline::default() }
            .media
            .iter()
            .map(MediaRecord::of)
            .collect();
        assert_eq!(fields(&call), sorted(CALL_FIELDS));
        assert_eq!(fields(&leg), sorted(LEG_FIELDS));
        assert_eq!(fields(&leg.media[0]), sorted(MEDIA_FIELDS));
        let document = include_str!("../../../../docs/call-records.md");
        for (title, fields) in [("call", CALL_FIELDS), ("leg", LEG_FIELDS), ("media", MEDIA_FIELDS)] {
            let section =
                document.split(&format!("\n## `{title}`")).nth(1).unwrap_or_else(|| panic!("{title}"));
            let section = section.split("\n## ").next().unwrap_or_default();
            let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
            assert_eq!(rows.collect::<Vec<_>>(), fields, "the table of {title}");
        }
    }
}
