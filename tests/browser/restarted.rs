//! A browser restarts ICE under a call (R-RTP-8, R-RTP-17): it takes other names and other ports, media takes the new path and misses
//! nothing, and DTLS is not run again. libwebrtc means to control from its own restart on, whichever role it had: where the relay did
//! too, the tie-breaker decides (RFC 8445 §7.3.1.1).

use crate::page::Browser;
use crate::relays::Relays;
use crate::rig::{Call, Pictures, Plan};
use signal::media::Setup::{Active, Passive};
use std::time::Duration;
use testkit::namespace;

const PLANS: [Plan; 2] = [
    Plan {
        name: "controlling",
        browser_offers: true,
        setup: Passive,
        tones: (440.0, 700.0),
        pictures: Some(Pictures {
            colours: ([190, 40, 40], [40, 60, 190]),
            feedback: &["nack", "nack pli", "ccm fir"],
        }),
        ..Plan::SOUND
    },
    Plan {
        name: "controlled",
        browser_offers: false,
        setup: Active,
        tones: (480.0, 760.0),
        pictures: Some(Pictures {
            colours: ([40, 150, 60], [180, 170, 40]),
            feedback: &["nack", "nack pli", "ccm fir"],
        }),
        ..Plan::SOUND
    },
];
/// The longest time without sound, and without a picture.
const SILENT: Duration = Duration::from_millis(200);
const STILL: Duration = Duration::from_millis(300);

#[test]
fn a_browser_restarts_ice_and_media_goes_on() {
    if !namespace::entered("restarted::a_browser_restarts_ice_and_media_goes_on").unwrap() {
        return;
    }
    let (mut relays, mut browser) = (Relays::start(1).unwrap(), Browser::start().unwrap());
    let mut calls = PLANS.map(|plan| Call::place(&mut relays, 0, &mut browser, plan).unwrap());
    let meet = |relays: &Relays, browser: &mut Browser, call: &Call| {
        let met = call.sight(browser).and_then(|()| call.sound(browser));
        met.unwrap_or_else(|error| panic!("{error:#}\n{:#}", relays.failure("was there")));
    };
    calls.iter().for_each(|call| meet(&relays, &mut browser, call));
    for call in &mut calls {
        call.gaps(&mut browser).unwrap();
        let now = call.restart(&mut relays, 0, &mut browser).unwrap();
        call.took(&mut relays, 0, &mut browser, &now).unwrap();
    }
    for call in &calls {
        meet(&relays, &mut browser, call);
        let gaps = call.gaps(&mut browser).unwrap();
        println!("{}: {gaps:?}", call.plan.name);
        let (heard, seen) = (gaps.heard, gaps.seen.unwrap());
        assert!(heard.0.max(heard.1) <= SILENT && seen.0.max(seen.1) <= STILL, "{gaps:?}");
        assert_eq!(call.states(&mut browser), ["connecting", "connected"], "DTLS is not run again");
    }
}
