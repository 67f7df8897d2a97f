//! A relay dies or drains under a browser: another one goes on under the old credentials and keys, and libwebrtc follows, in
//! whichever ICE role it was.

use crate::describe::WEB;
use crate::page::Browser;
use crate::relays::Relays;
use crate::rig::{Call, Plan, transport};
use signal::media::Setup::{Active, Passive};
use std::time::Duration;
use testkit::namespace;

const PLANS: [Plan; 2] = [
    Plan {
        name: "controlling",
        browser_offers: true,
        setup: Active,
        certificate: "ec",
        opus: false,
        tones: (440.0, 700.0),
        ..Plan::SOUND
    },
    Plan {
        name: "controlled",
        browser_offers: false,
        setup: Passive,
        certificate: "ec",
        opus: false,
        tones: (480.0, 760.0),
        ..Plan::SOUND
    },
];
/// How long a cluster needs to see that a relay died.
const SEEN: Duration = Duration::from_millis(700);
/// Silence beyond that: libwebrtc gives a path up after 2.5 s, so it must have followed before.
const FOLLOWED: Duration = Duration::from_millis(900);
/// Longest silence that nobody hears.
const SMOOTH: Duration = Duration::from_millis(150);

/// Two calls at the first of two relays, with sound, and their states kept.
fn placed() -> (Relays, Browser, [Call; 2]) {
    let (mut relays, mut browser) = (Relays::start(2).unwrap(), Browser::start().unwrap());
    let calls = PLANS.map(|plan| Call::place(&mut relays, 0, &mut browser, plan).unwrap());
    for call in &calls {
        call.sound(&mut browser)
            .unwrap_or_else(|error| panic!("{error:#}\n{:#}", relays.failure("was there")));
    }
    // What packets change is told each second.
    std::thread::sleep(Duration::from_millis(1_200));
    for call in &calls {
        call.gaps(&mut browser).unwrap();
    }
    (relays, browser, calls)
}

/// Both hear each other by another relay, and missed no more than `most`.
fn followed(relays: &Relays, browser: &mut Browser, call: &Call, most: Duration) {
    let name = call.plan.name;
    call.sound(browser).unwrap_or_else(|error| {
        let figures = browser.figures(name).map(|figures| format!("{figures:#}"));
        panic!("{error:#}\n{:#}\n{figures:?}", relays.failure("was there"))
    });
    let (browsers, phones) = call.gaps(browser).unwrap().heard;
    println!("{name}: the browser heard nothing for {browsers:?}, the phone for {phones:?}");
    assert!(browsers.max(phones) <= most, "{name}: the browser missed {browsers:?}, the phone {phones:?}");
    let figures = browser.figures(name).unwrap();
    assert_eq!(transport(&figures)["iceRole"], "controlled", "who goes on takes control: {figures:#}");
    assert_eq!(
        call.states(browser),
        ["connecting", "connected"],
        "DTLS is not run again, and no path was given up"
    );
}

/// The checks of the relay that goes on are enough; the candidate, which signalling brings later, changes nothing.
#[test]
fn a_browser_follows_when_its_relay_dies() {
    if !namespace::entered("moved::a_browser_follows_when_its_relay_dies").unwrap() {
        return;
    }
    let (mut relays, mut browser, mut calls) = placed();
    relays.kill(0);
    std::thread::sleep(SEEN);
    let candidates = calls.each_mut().map(|call| {
        let candidate = call.go_on(&mut relays, 1).unwrap();
        call.redirect().unwrap();
        candidate
    });
    for call in &calls {
        followed(&relays, &mut browser, call, SEEN + FOLLOWED);
    }
    for (call, candidate) in calls.iter().zip(candidates) {
        call.tell(&mut browser, &candidate).unwrap();
    }
    for call in &calls {
        followed(&relays, &mut browser, call, SMOOTH);
    }
}

#[test]
fn a_browser_follows_without_a_gap_when_its_relay_drains() {
    if !namespace::entered("moved::a_browser_follows_without_a_gap_when_its_relay_drains").unwrap() {
        return;
    }
    let (mut relays, mut browser, mut calls) = placed();
    for call in &mut calls {
        relays.leaving(0, call.plan.name).unwrap();
        let candidate = call.go_on(&mut relays, 1).unwrap();
        call.tell(&mut browser, &candidate).unwrap();
    }
    // The phones are told when the new relay has met the browser.
    for call in &calls {
        relays.met(1, call.plan.name, (WEB, 0)).unwrap();
        call.redirect().unwrap();
    }
    for call in &calls {
        followed(&relays, &mut browser, call, SMOOTH);
    }
    relays.kill(0);
    for call in &calls {
        followed(&relays, &mut browser, call, SMOOTH);
    }
}
