//! Sound and pictures on one transport (BUNDLE, RFC 9143), as most clients have them: everything that works on two works on one,
//! and goes on over a restart of ICE and at another relay.

use crate::asked::Asked;
use crate::describe::WEB;
use crate::page::Browser;
use crate::pictures::{is_made_good, lose, picture_is_wanted, the_phone_asks};
use crate::relays::Relays;
use crate::rig::{Call, Pictures, Plan, VIDEO};
use signal::media::Setup::{Active, Passive};
use std::time::Duration;
use testkit::namespace;

const PLANS: [Plan; 2] = [
    Plan {
        name: "offers",
        browser_offers: true,
        setup: Active,
        tones: (440.0, 700.0),
        pictures: Some(Pictures {
            colours: ([190, 40, 40], [40, 60, 190]),
            feedback: &["nack", "nack pli", "ccm fir"],
        }),
        bundled: true,
        ..Plan::SOUND
    },
    Plan {
        name: "answers",
        browser_offers: false,
        setup: Passive,
        tones: (480.0, 760.0),
        pictures: Some(Pictures {
            colours: ([40, 150, 60], [180, 170, 40]),
            feedback: &["nack", "nack pli"],
        }),
        bundled: true,
        ..Plan::SOUND
    },
];
const SILENT: Duration = Duration::from_millis(200);
const STILL: Duration = Duration::from_millis(300);

/// Each hears and sees the other, and missed nothing since it was looked at before.
fn goes_on(relays: &Relays, browser: &mut Browser, call: &Call, after: &str) {
    let met = call.sight(browser).and_then(|()| call.sound(browser));
    met.unwrap_or_else(|error| panic!("after {after}: {error:#}\n{:#}", relays.failure("was there")));
    let gaps = call.gaps(browser).unwrap();
    println!("{}, after {after}: {gaps:?}", call.plan.name);
    let (heard, seen) = (gaps.heard, gaps.seen.unwrap());
    assert!(heard.0.max(heard.1) <= SILENT && seen.0.max(seen.1) <= STILL, "after {after}: {gaps:?}");
}

#[test]
fn sound_and_pictures_share_a_transport() {
    if !namespace::entered("bundled::sound_and_pictures_share_a_transport").unwrap() {
        return;
    }
    let (mut relays, mut browser) = (Relays::start(2).unwrap(), Browser::start().unwrap());
    let mut calls = PLANS.map(|plan| Call::place(&mut relays, 0, &mut browser, plan).unwrap());
    for call in &calls {
        picture_is_wanted(&relays, call, Some(Asked::Picture), (0, 0));
        let met = call.sight(&mut browser).and_then(|()| call.sound(&mut browser));
        met.unwrap_or_else(|error| panic!("{error:#}\n{:#}", relays.failure("was there")));
        let figures = browser.figures(call.plan.name).unwrap();
        assert_eq!(figures["transports"].as_array().unwrap().len(), 1, "{figures:#}");
        let [sound, pictures] =
            [0, VIDEO].map(|content| relays.figures(0, call.plan.name, (WEB, content)).unwrap());
        assert_eq!((sound.codec.as_str(), pictures.codec.as_str()), ("PCMU", "VP8"));
        assert_eq!((&sound.peer, sound.dropped, pictures.dropped), (&pictures.peer, 0, 0));
    }
    the_phone_asks(&mut relays, &mut browser, &calls[0]);
    let lost = lose(&relays, &mut browser, &calls[1]);
    is_made_good(&relays, &mut browser, &calls[1], Some(Asked::Picture), &lost);
    // Twice: a restart is nothing that happens once.
    for _ in 0..2 {
        for call in &mut calls {
            call.gaps(&mut browser).unwrap();
            let now = call.restart(&mut relays, 0, &mut browser).unwrap();
            call.took(&mut relays, 0, &mut browser, &now).unwrap();
        }
    }
    for call in &calls {
        goes_on(&relays, &mut browser, call, "a restart");
    }
    for call in &mut calls {
        relays.leaving(0, call.plan.name).unwrap();
        let candidate = call.go_on(&mut relays, 1).unwrap();
        call.tell(&mut browser, &candidate).unwrap();
        relays.met(1, call.plan.name, (WEB, 0)).unwrap();
        call.redirect().unwrap();
    }
    for call in &calls {
        goes_on(&relays, &mut browser, call, "a move");
        assert_eq!(call.states(&mut browser), ["connecting", "connected"], "DTLS is not run again");
    }
}
