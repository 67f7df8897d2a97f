//! Chromium and a phone hear each other, whoever offers, whoever begins DTLS, with certificates of both kinds.

use crate::describe::WEB;
use crate::page::Browser;
use crate::relays::Relays;
use crate::rig::{Call, Plan, transport};
use signal::media::Setup::{Active, Passive};
use testkit::namespace;

const PLANS: [Plan; 4] = [
    Plan {
        name: "offers-active-ec",
        browser_offers: true,
        setup: Active,
        certificate: "ec",
        opus: false,
        tones: (440.0, 700.0),
        ..Plan::SOUND
    },
    Plan {
        name: "offers-passive-rsa",
        browser_offers: true,
        setup: Passive,
        certificate: "rsa",
        opus: true,
        tones: (480.0, 760.0),
        ..Plan::SOUND
    },
    Plan {
        name: "answers-passive-ec",
        browser_offers: false,
        setup: Passive,
        certificate: "ec",
        opus: true,
        tones: (520.0, 820.0),
        ..Plan::SOUND
    },
    Plan {
        name: "answers-active-rsa",
        browser_offers: false,
        setup: Active,
        certificate: "rsa",
        opus: false,
        tones: (560.0, 880.0),
        ..Plan::SOUND
    },
];

#[test]
fn chromium_and_a_phone_hear_each_other_in_every_role() {
    if !namespace::entered("calls::chromium_and_a_phone_hear_each_other_in_every_role").unwrap() {
        return;
    }
    let (mut relays, mut browser) = (Relays::start(1).unwrap(), Browser::start().unwrap());
    let calls = PLANS.map(|plan| Call::place(&mut relays, 0, &mut browser, plan).unwrap());
    for call in &calls {
        call.sound(&mut browser)
            .unwrap_or_else(|error| panic!("{error:#}\n{:#}", relays.failure("was there")));
    }
    for Call { plan, .. } in &calls {
        let figures = browser.figures(plan.name).unwrap();
        let seen = transport(&figures);
        let role = if plan.setup == Active { "client" } else { "server" };
        let ice = if plan.browser_offers { "controlling" } else { "controlled" };
        assert_eq!(
            (seen["dtlsRole"].as_str(), seen["iceRole"].as_str()),
            (Some(role), Some(ice)),
            "{seen:#}"
        );
        // As getStats writes it: DTLS 1.3.
        assert_eq!(seen["tlsVersion"], "FEFC", "{seen:#}");
        let end = relays.figures(0, plan.name, (WEB, 0)).unwrap();
        assert_eq!(end.form, "webrtc");
        assert_eq!(end.dropped, 0, "{end:?}");
    }
}

/// Names instead of addresses are passed over without harm: the browser is where its checks come from.
#[test]
fn a_browser_that_hides_its_addresses_is_found_by_its_checks() {
    if !namespace::entered("calls::a_browser_that_hides_its_addresses_is_found_by_its_checks").unwrap() {
        return;
    }
    let (mut relays, mut browser) = (Relays::start(1).unwrap(), Browser::shy().unwrap());
    for (plan, name) in [(PLANS[0], "hidden-offers"), (PLANS[3], "hidden-answers")] {
        let call = Call::place(&mut relays, 0, &mut browser, Plan { name, ..plan }).unwrap();
        let told = browser.expect(name, "described", crate::rig::SOON).unwrap();
        assert!(told["sdp"].as_str().unwrap().contains(".local "), "{told:#}");
        assert!(call.is_hidden());
        call.sound(&mut browser)
            .unwrap_or_else(|error| panic!("{error:#}\n{:#}", relays.failure("was there")));
    }
}
