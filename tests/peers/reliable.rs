//! Phones that require reliable provisional responses (RFC 3262) and session timers (RFC 4028), played by SIPp.

use crate::rig::SOON;
use std::net::SocketAddr;
use testkit::{Gateway, Phone, Prosody, Sipp, gateway, phone, ports};

struct Ends {
    rosa: Phone,
    gateway: Gateway,
    trunk: SocketAddr,
    _server: Prosody,
}

fn ends() -> Ends {
    let server = Prosody::start(&["rosa"]).unwrap();
    let trunk = SocketAddr::from(([127, 0, 0, 1], ports::block(2)));
    let options = gateway::Options { trunk: Some(trunk), ..Default::default() };
    let gateway = Gateway::start(&server, &options).unwrap();
    // A device that answers without media.
    let light = phone::Options { switches: vec!["--light".into()], ..Default::default() };
    let rosa = Phone::start(&server, "rosa", &light).unwrap();
    Ends { rosa, gateway, trunk, _server: server }
}

/// A desk whose 180 comes until it has sent a PRACK, and whose session is refused once and refreshed once.
#[test]
fn r_call_23_24_the_desk_requires_100rel_and_timer() {
    let mut ends = ends();
    let sipp = Sipp::start("uac_reliable", &[], ends.gateway.sip, &["-m", "1", "-s", "rosa"]).unwrap();
    ends.rosa
        .expect("propose", SOON)
        .unwrap_or_else(|e| panic!("{e:#}\n{:#}", ends.gateway.failure("was there")));
    // It hears the 180 twice before its PRACK.
    std::thread::sleep(std::time::Duration::from_millis(1_200));
    ends.rosa.accept().unwrap();
    sipp.finish(SOON).unwrap_or_else(|e| panic!("{e:#}\n{:#}", ends.gateway.failure("was there")));
    assert_eq!(ends.rosa.expect("ended", SOON).unwrap().text("reason"), "success");
}

/// A desk that wants a longer session, answers in a reliable 183 alone, and refreshes.
#[test]
fn r_call_23_24_39_the_desk_answers_reliably() {
    let mut ends = ends();
    let sipp = Sipp::server(ends.trunk.port(), "uas_reliable", &[], &["-m", "1"]).unwrap();
    ends.rosa.call(&Gateway::jid_of("2041"), true).unwrap();
    ends.rosa
        .expect("accepted", SOON)
        .unwrap_or_else(|e| panic!("{e:#}\n{:#}", ends.gateway.failure("was there")));
    std::thread::sleep(std::time::Duration::from_millis(700));
    ends.rosa.hang_up().unwrap();
    sipp.finish(SOON).unwrap_or_else(|e| panic!("{e:#}\n{:#}", ends.gateway.failure("was there")));
}
