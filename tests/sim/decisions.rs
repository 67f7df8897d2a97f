//! Single decisions that the walk shows too rarely.

use crate::parts::placed;
use session::Machine;
use session::call::{Call, Effect, Event, Fact, MediaEvent};
use signal::media::Codec;
use signal::{EventId, Heard, LegId, LegRef, Media, Signal, Time};

/// A call whose caller has described itself, answered with this codec or with what was offered.
fn answered(codec: Option<Codec>) -> (Call, Vec<Effect>) {
    let described = |call: &Call| {
        let described = call.legs[0].remote_description.as_ref().is_some_and(Media::is_described);
        described && call.legs.len() == 2
    };
    let call = (0..).map(placed).find(described).unwrap();
    let mut media = call.legs[0].remote_description.clone().unwrap();
    if let Some(codec) = codec {
        media.contents[0].codecs = vec![codec];
    }
    let heard = Heard {
        leg: LegRef { record: call.id, leg: LegId(1) },
        base: 0,
        event: EventId(1),
        signals: vec![Signal::Answer(media)],
        dialog: vec![],
        edge: String::new(),
        opening: None,
        wake: None,
        wire_id: None,
    };
    call.decide(Event::Heard(heard), Time(1_000_100))
}

#[test]
fn a_quiet_call_asks_its_relay_every_hour() {
    let (call, effects) = answered(None);
    assert!(call.is_established() && effects.contains(&Effect::Record(Fact::Answered)));
    let at = call.deadline().unwrap();
    assert_eq!(at, Time(1_000_100 + 3_600_000));
    let (call, effects) = call.decide(Event::Deadline, at);
    assert_eq!(effects, [Effect::Probe]);
    assert!(call.is_established() && call.deadline() > Some(at));
    let (call, _) = call.decide(Event::Media(LegId(0), MediaEvent::Unreachable), at);
    assert!(call.ended.is_some(), "its relay is gone");
}

#[test]
fn an_answer_that_fits_nobody_is_no_answer() {
    let (call, effects) = answered(Some(Codec::new(18, "G729", 8_000, 1)));
    assert!(call.ended.is_some() && !effects.contains(&Effect::Record(Fact::Answered)));
    assert!(matches!(effects.last(), Some(Effect::Record(Fact::Ended { talked_ms: None, .. }))));
}
