//! Many calls at once.

use crate::rig::SOON;
use serde_json::json;
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

/// And the other way: a client that places a hundred calls, SIPp that answers them, all up at once, all hung up by the client.
#[test]
fn a_hundred_calls_from_one_client() {
    let server = Prosody::start(&["rosa"]).unwrap();
    let trunk = SocketAddr::from(([127, 0, 0, 1], ports::block(2)));
    let gateway =
        Gateway::start(&server, &gateway::Options { trunk: Some(trunk), ..Default::default() }).unwrap();
    let sipp = Sipp::server(trunk.port(), "uas_call", &[], &["-m", "100"]).unwrap();
    let light = phone::Options { switches: vec!["--light".into()], ..Default::default() };
    let mut rosa = Phone::start(&server, "rosa", &light).unwrap();
    for number in 0..100 {
        rosa.call(&Gateway::jid_of(&format!("{}", 3000 + number)), number % 2 == 0).unwrap();
    }
    let mut calls = Vec::new();
    for number in 0..100 {
        let accepted = rosa.expect("accepted", SOON);
        let accepted =
            accepted.unwrap_or_else(|e| panic!("after {number}: {e:#}\n{:#}", gateway.failure("was there")));
        calls.push(accepted.text("sid").to_owned());
    }
    let listed = gateway.ask("/calls").unwrap();
    let active = listed["calls"].as_array().unwrap().iter().filter(|c| c["state"] == "active").count();
    assert_eq!(active, 100);
    for sid in calls {
        rosa.order(&json!({"do": "hangup", "sid": sid})).unwrap();
    }
    sipp.finish(Duration::from_secs(30))
        .unwrap_or_else(|e| panic!("{e:#}\n{:#}", gateway.failure("was there")));
    for number in 0..100 {
        rosa.expect("ended", SOON).unwrap_or_else(|e| panic!("after {number}: {e:#}"));
    }
}
