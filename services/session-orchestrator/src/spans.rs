//! Spans of a call as a whole: `call` from its request to its end, `ring` and `talk` within. They are told once it is over; the spans of its
//! messages stand below `call`, too.

use crate::counters::Line;
use runtime::trace::{Period, tell as tell_spans};
use session::call::{Call, Leg};
use signal::media::Kind;
use signal::{End, LegId, Time};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells the spans of a call that is over. Told again, they have the same ids but for those of the parts.
pub(crate) fn tell(call: &Call, line: &Line, end: &End) {
    let Some(ended) = call.ended else { return };
    let period = |name, from: Time, to: Time| Period {
        name,
        from: system_time(from),
        to: system_time(to),
        attributes: vec![("service", "orchestrator".to_owned()), ("call.id", call.id.to_string())],
        failure: None,
    };
    let mut root = period("call", call.placed, ended);
    root.failure = bus::trace::failure(end);
    root.attributes.extend([
        ("trunk", line.of.0.clone()),
        ("domain", line.of.1.clone()),
        ("direction", line.direction.to_owned()),
        ("call.reason", format!("{:?}", end.reason)),
    ]);
    root.attributes.extend(end.sip.map(|status| ("sip.status", status.to_string())));
    let ring = call.rang.map(|rang| period("ring", rang, call.answered.unwrap_or(ended)));
    let talk = call.answered.map(|answered| {
        let mut talk = period("talk", answered, ended);
        let (caller, callee) = call.bridge;
        talk.attributes.extend(codec(call, caller).map(|codec| ("codec.caller", codec)));
        talk.attributes.extend(codec(call, callee).map(|codec| ("codec.callee", codec)));
        talk
    });
    tell_spans(&call.trace, root, ring.into_iter().chain(talk).collect());
}

/// Returns the name of the audio codec that a leg was answered with.
fn codec(call: &Call, leg: LegId) -> Option<String> {
    let (_, answer) = call.leg(leg).and_then(Leg::agreed)?;
    let audio = answer.contents.iter().find(|content| content.kind == Kind::Audio)?;
    audio.codecs.first().map(|codec| codec.name.clone())
}

fn system_time(time: Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(time.0)
}
