//! Many calls at once.

use crate::rig::SOON;
use std::net::SocketAddr;
use std::time::Duration;
use testkit::{Gateway, Phone, Prosody, Sipp, gateway, phone, ports};

/// A hundred SIP calls stand at the same time, each to a Jingle client that answers without media, and end in order.
#[test]
fn a_hundred_calls_at_once() {
    let server = Prosody::start(&["rosa"]).unwrap();
    let trunk = SocketAddr::from(([127, 0, 0, 1], ports::block(2)));
    let gateway =
        Gateway::start(&server, &gateway::Options { trunk: Some(trunk), ..Default::default() }).unwrap();
    let light =
        phone::Options { auto: Some(Duration::ZERO), switches: vec!["--light".into()], ..Default::default() };
    let mut rosa = Phone::start(&server, "rosa", &light).unwrap();
    // Each talks for longer than it takes to place them all.
    let switches = ["-m", "100", "-r", "25", "-l", "100", "-s", "rosa"];
    let sipp = Sipp::start("uac_call", &[("talk", "6000")], gateway.sip, &switches).unwrap();
    let standing = testkit::clock::poll(SOON, || {
        let events = rosa.events();
        let count = |name| events.iter().filter(|e| e.name() == name).count();
        (count("accepting") - count("ended") >= 100).then_some(())
    });
    assert!(standing.is_some(), "not all stand at once; {:#}", gateway.failure("was there"));
    sipp.finish(Duration::from_secs(60))
        .unwrap_or_else(|e| panic!("{e:#}\n{:#}", gateway.failure("was there")));
    for number in 0..100 {
        let ended = rosa.expect("ended", SOON).unwrap_or_else(|e| panic!("after {number}: {e:#}"));
        assert_eq!(ended.text("reason"), "success");
    }
}
