//! A relay dies under a browser: it is told another candidate under the old credentials, and sound comes back.

use crate::page::Browser;
use crate::relays::Relays;
use crate::rig::{Call, Plan, transport};
use serde_json::json;
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
    },
    Plan {
        name: "controlled",
        browser_offers: false,
        setup: Passive,
        certificate: "ec",
        opus: false,
        tones: (480.0, 760.0),
    },
];

#[test]
fn a_browser_follows_to_another_relay_in_either_role() {
    if !namespace::entered("moved::a_browser_follows_to_another_relay_in_either_role").unwrap() {
        return;
    }
    let (mut relays, mut browser) = (Relays::start(2).unwrap(), Browser::start(true).unwrap());
    let calls = PLANS.map(|plan| Call::place(&mut relays, 0, &mut browser, plan).unwrap());
    for call in &calls {
        call.sound(&mut browser).unwrap_or_else(|error| panic!("{error:#}\n{:#}", relays.failure("was there")));
    }
    // What has changed is told each second.
    std::thread::sleep(Duration::from_millis(1_500));
    let before = calls.each_ref().map(|call| {
        (browser.gap(call.plan.name).unwrap(), call.phone.gap());
        browser.figures(call.plan.name).unwrap()
    });
    let killed = runtime::clock::instant();
    relays.kill(0);
    // As long as the cluster needs to see it.
    std::thread::sleep(Duration::from_millis(700));
    for call in &calls {
        let candidate = call.go_on(&mut relays, 1).unwrap();
        let order = json!({ "do": "candidate", "call": call.plan.name, "mid": "0", "candidate": candidate });
        browser.ask(&order, "added").unwrap();
    }
    println!("told after {:?}", killed.elapsed());
    for call in &calls {
        call.sound(&mut browser).unwrap_or_else(|error| {
            let figures = browser.figures(call.plan.name).unwrap();
            panic!("{error:#}\n{:#}\n{figures:#}", relays.failure("was there"))
        });
    }
    println!("all is heard after {:?}", killed.elapsed());
    for (call, before) in calls.iter().zip(before) {
        let (browsers, phones) = (browser.gap(call.plan.name).unwrap(), call.phone.gap());
        let after = browser.figures(call.plan.name).unwrap();
        println!(
            "{}: the browser heard nothing for {browsers:?}, the phone for {phones:?}; {:#}",
            call.plan.name,
            transport(&after)
        );
        println!("{:#}", after["pairs"]);
    }
}
