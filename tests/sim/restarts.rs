//! An ICE restart decision by decision (R-RTP-17).

use crate::parts::placed;
use media::Profile;
use session::Machine;
use session::call::{Call, Connect, Effect, Event, RelaySession, Renewal, Signaling};
use signal::media::Ice;
use signal::{EventId, Heard, LegId, LegRef, Signal, Time};

const CALLER: LegId = LegId(0);

fn hear(call: Call, leg: LegId, signal: Signal) -> (Call, Vec<Effect>) {
    let heard = Heard {
        leg: LegRef { record: call.id, leg },
        base: call.legs[usize::from(leg.0)].revision,
        event: EventId(call.legs[usize::from(leg.0)].revision.into()),
        signals: vec![signal],
        dialog: vec![],
        edge: String::new(),
        opening: None,
        wake: None,
        wire_id: None,
    };
    call.decide(Event::Heard(heard), Time(1_000_100))
}

fn renewed(call: Call, relay: u64, theirs: &str, generation: u32) -> (Call, Vec<Effect>) {
    let relay = RelaySession { started_ms: relay, ..RelaySession::default() };
    let ice = Ice {
        ufrag: format!("ours{generation}"),
        candidates: vec![signal::media::Candidate {
            foundation: "1".into(),
            component: 1,
            priority: 1,
            address: ([127, 0, 0, 1], 9).into(),
            kind: signal::media::CandidateKind::Host,
            related: None,
            generation,
        }],
        ..Ice::default()
    };
    let renewal = Renewal { relay, theirs: vec![theirs.into()], ends: vec![(0, ice)] };
    call.decide(Event::Renewed(CALLER, renewal), Time(1_000_200))
}

/// The caller's client restarts under this name.
fn restarts(call: Call, theirs: &str) -> Call {
    let mut media = call.legs[0].remote_description.clone().unwrap();
    media.contents[0].transport.ice.as_mut().unwrap().ufrag = theirs.into();
    let (call, effects) = hear(call, CALLER, Signal::Update(media));
    let [Effect::Restart { leg: CALLER, ends }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(ends.iter().map(Connect::ufrag).collect::<Vec<_>>(), [theirs]);
    call
}

#[test]
fn a_reply_answers_the_restart_that_it_was_asked_about_and_no_other() {
    let suits = |call: &Call| {
        let heard =
            call.legs[0].remote_description.as_ref().filter(|_| call.legs[0].profile == Profile::Webrtc);
        heard.is_some_and(|heard| heard.is_described() && heard.contents[0].transport.ice.is_some())
    };
    let call = (0..).map(placed).find(suits).unwrap();
    let answer = call.legs[0].remote_description.clone().unwrap();
    let (call, _) = hear(call, LegId(1), Signal::Answer(answer));
    assert!(call.is_established());

    let call = restarts(call, "second");
    let (call, effects) = renewed(call, 7, "second", 1);
    assert_eq!(effects, [], "of a relay that the call is not at");
    let (call, effects) = renewed(call, 0, "second", 1);
    let [Effect::Say { leg: CALLER, signal: Signal::Updated(ours), .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    let ice = ours.contents[0].transport.ice.as_ref().unwrap();
    assert_eq!((ice.ufrag.as_str(), ice.generation()), ("ours1", 1));
    assert_eq!(call.legs[0].signaling, Signaling::Stable);
    let (call, effects) = renewed(call, 0, "second", 1);
    assert_eq!(effects, [], "told once more");

    let call = restarts(call, "third");
    let (call, effects) = renewed(call, 0, "second", 1);
    assert_eq!(
        (effects, call.legs[0].signaling),
        (vec![], Signaling::RestartPending),
        "it answers the one before"
    );
    let (call, effects) = renewed(call, 0, "third", 2);
    assert!(matches!(&effects[..], [Effect::Say { signal: Signal::Updated(_), .. }]), "{effects:?}");
    let (call, _) = renewed(call, 0, "second", 1);
    assert_eq!(call.legs[0].ends[0].ice.ufrag, "ours2", "what is told late is no news");
}
