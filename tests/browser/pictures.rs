//! Chromium and phones of several ages see each other, and ask each other for pictures in the words that each understands
//! (R-RTP-4).

use crate::asked::Asked;
use crate::describe::WEB;
use crate::page::{Browser, shows};
use crate::relays::Relays;
use crate::rig::{Call, Pictures, Plan, SIZE, SOON, VIDEO, watched};
use signal::media::Setup::{Active, Passive};
use std::time::{Duration, Instant};
use testkit::clock::poll;
use testkit::namespace;

const PLANS: [Plan; 3] = [
    Plan {
        name: "newest",
        browser_offers: true,
        setup: Active,
        tones: (440.0, 700.0),
        pictures: Some(Pictures {
            colours: ([190, 40, 40], [40, 60, 190]),
            feedback: &["nack", "nack pli", "ccm fir"],
        }),
        ..Plan::SOUND
    },
    Plan {
        name: "older",
        browser_offers: false,
        setup: Active,
        tones: (480.0, 760.0),
        pictures: Some(Pictures { colours: ([40, 150, 60], [180, 170, 40]), feedback: &["ccm fir"] }),
        ..Plan::SOUND
    },
    Plan {
        name: "oldest",
        browser_offers: false,
        setup: Passive,
        tones: (520.0, 820.0),
        pictures: Some(Pictures { colours: ([40, 150, 160], [160, 40, 160]), feedback: &[] }),
        ..Plan::SOUND
    },
];
/// The phone of a plan is asked for pictures so; `None`: by signalling.
const WORDS: [Option<Asked>; 3] = [Some(Asked::Picture), Some(Asked::Intra), None];
/// Requests that wait for the last one are merged for up to 2 s.
const ASKED: Duration = Duration::from_secs(8);

/// Requests that a call's phone received so far.
pub fn asked(relays: &Relays, call: &Call) -> (usize, usize) {
    (call.camera().unwrap().asked().len(), relays.pictures(call.plan.name, (0, VIDEO)))
}

/// Waits until the phone is asked for a picture in its words, not counting what it was asked `before`.
pub fn picture_is_wanted(relays: &Relays, call: &Call, word: Option<Asked>, before: (usize, usize)) {
    let camera = call.camera().unwrap();
    match word {
        Some(word) => camera.is_asked(before.0, word, ASKED).unwrap(),
        None => {
            let told = || (relays.pictures(call.plan.name, (0, VIDEO)) > before.1).then_some(());
            assert!(poll(ASKED, told).is_some(), "{}: no picture is wanted by signalling", call.plan.name);
            assert_eq!(camera.asked(), [], "by RTCP, which is not agreed");
            camera.refresh();
        }
    }
}

#[test]
fn chromium_and_a_phone_see_each_other_and_ask_for_pictures() {
    if !namespace::entered("pictures::chromium_and_a_phone_see_each_other_and_ask_for_pictures").unwrap() {
        return;
    }
    let (mut relays, mut browser) = (Relays::start(1).unwrap(), Browser::start().unwrap());
    let calls = PLANS.map(|plan| Call::place(&mut relays, 0, &mut browser, plan).unwrap());
    // The phones begin in the middle.
    for (call, word) in calls.iter().zip(WORDS) {
        picture_is_wanted(&relays, call, word, (0, 0));
    }
    for call in &calls {
        let seen = call.sight(&mut browser).and_then(|()| call.sound(&mut browser));
        seen.unwrap_or_else(|error| panic!("{error:#}\n{:#}", relays.failure("was there")));
        let figures = browser.figures(call.plan.name).unwrap();
        assert_eq!(figures["transports"].as_array().unwrap().len(), 2, "{figures:#}");
        let seen = watched(&figures);
        assert_eq!((&seen["frameWidth"], &seen["frameHeight"]), (&320.into(), &240.into()), "{seen:#}");
        assert!(seen["framesDecoded"].as_u64().unwrap() >= 4, "{seen:#}");
    }
    for call in &calls {
        the_phone_asks(&mut relays, &mut browser, call);
    }
    let lost = calls.each_ref().map(|call| lose(&relays, &mut browser, call));
    for ((call, word), lost) in calls.iter().zip(WORDS).zip(lost) {
        is_made_good(&relays, &mut browser, call, word, &lost);
    }
    for call in &calls {
        call.sight(&mut browser).unwrap();
        let end = relays.figures(0, call.plan.name, (WEB, VIDEO)).unwrap();
        assert_eq!((end.form.as_str(), end.codec.as_str(), end.dropped), ("webrtc", "VP8", 0), "{end:?}");
    }
}

/// The browser sends a picture that stands for itself when the phone asks for one, and only then.
pub fn the_phone_asks(relays: &mut Relays, browser: &mut Browser, call: &Call) {
    let (camera, name) = (call.camera().unwrap(), call.plan.name);
    let before = camera.keys();
    camera.sees(10, SOON).unwrap();
    assert_eq!(camera.keys(), before, "{name}: key frames that nobody asked for");
    match call.plan.pictures.unwrap().feedback {
        // As it comes by INFO (RFC 5168).
        [] => relays.picture(0, name, (WEB, VIDEO)).unwrap(),
        ["ccm fir"] => camera.ask(Asked::Intra).unwrap(),
        _ => camera.ask(Asked::Picture).unwrap(),
    }
    let key = camera.key(before, ASKED).unwrap();
    let shown = browser.develop(name, &key.octets).unwrap();
    let colour = call.plan.pictures.unwrap().colours.0;
    assert!(key.size == SIZE && shows(&shown, colour, SIZE), "{name}: {:?}: {shown:#}", key.size);
}

/// A packet that was lost, and what was before.
pub struct Lost {
    seq: u16,
    at: Instant,
    asked: (usize, usize),
    keys: u64,
    frames: u64,
}

/// A packet of the phone's is lost on its way to the relay.
pub fn lose(relays: &Relays, browser: &mut Browser, call: &Call) -> Lost {
    let asked = asked(relays, call);
    let (keys, frames) = decoded(browser, call);
    let seq = call.camera().unwrap().lose(SOON).unwrap();
    Lost { seq, at: runtime::clock::instant(), asked, keys, frames }
}

/// Key frames and pictures that the browser has decoded so far.
fn decoded(browser: &mut Browser, call: &Call) -> (u64, u64) {
    let seen = watched(&browser.figures(call.plan.name).unwrap());
    let count = |what: &str| seen[what].as_u64().unwrap();
    (count("keyFramesDecoded"), count("framesDecoded"))
}

/// Lost packets are sent again where that was agreed, and else a keyframe comes.
pub fn is_made_good(relays: &Relays, browser: &mut Browser, call: &Call, word: Option<Asked>, lost: &Lost) {
    let (camera, name) = (call.camera().unwrap(), call.plan.name);
    let again = call.plan.pictures.unwrap().feedback.contains(&"nack");
    if again {
        camera.is_asked(lost.asked.0, Asked::Packet(lost.seq), ASKED).unwrap();
    } else {
        picture_is_wanted(relays, call, word, lost.asked);
    }
    println!("{name}: asked {:?} after the loss", lost.at.elapsed());
    let wanted = u64::from(!again);
    let found = poll(SOON, || {
        let (keys, frames) = decoded(browser, call);
        let (keys, frames) = (keys - lost.keys, frames - lost.frames);
        (keys >= wanted && frames >= 20).then_some(keys)
    });
    assert_eq!(found, Some(wanted), "{name}: key frames after the loss");
}
