//! Calls that go on to somebody else: the voicemail box, and what a phone redirects to (interworking §2.13, §9.2).

use crate::rig::{DESK_TONE, SOON};
use std::net::SocketAddr;
use testkit::{Baresip, Gateway, Phone, Prosody, Sipp, baresip, gateway, phone, ports};

/// Tone of the box, Hz.
const BOX_TONE: f64 = 1_000.0;

struct Ends {
    rosa: Phone,
    gateway: Gateway,
    trunk: SocketAddr,
    _server: Prosody,
}

/// A gateway whose trunk is this address, with the box `*97` there; a call rings for three seconds.
fn ends(trunk: SocketAddr, sip_port: u16) -> Ends {
    let server = Prosody::start(&["rosa"]).unwrap();
    let options = gateway::Options {
        trunk: Some(trunk),
        aliases: vec![("2700".into(), "rosa".into())],
        sip_port,
        more: "\n[call]\nring_s = 3\nvoicemail = \"*97\"\n".into(),
        ..Default::default()
    };
    let gateway = Gateway::start(&server, &options).unwrap();
    let rosa = Phone::start(&server, "rosa", &phone::Options::default()).unwrap();
    Ends { rosa, gateway, trunk, _server: server }
}

fn free() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], ports::block(2)))
}

/// A call of a phone that `rosa` does not take reaches the box with these words.
fn reaches_the_box(cause: &str, reason: &str, rosa: impl FnOnce(&mut Phone)) {
    let mut ends = ends(free(), 0);
    let words = [("cause", cause), ("reason", reason)];
    let boxed = Sipp::server(ends.trunk.port(), "uas_box", &words, &["-m", "1"]).unwrap();
    let words = [("talk", "200")];
    let caller = Sipp::start("uac_call", &words, ends.gateway.sip, &["-m", "1", "-s", "2700"]).unwrap();
    ends.rosa.expect("propose", SOON).unwrap();
    rosa(&mut ends.rosa);
    for (who, sipp) in [("the caller", caller), ("the box", boxed)] {
        let finished = sipp.finish(SOON);
        finished.unwrap_or_else(|e| panic!("{who}: {e:#}\n{:#}", ends.gateway.failure("was there")));
    }
}

/// R-CALL-28, R-SVC-3
#[test]
fn an_unanswered_call_reaches_the_box_with_its_mailbox() {
    reaches_the_box("408", "no-answer", |_| {});
}

/// R-CALL-28
#[test]
fn a_call_to_somebody_busy_reaches_the_box_with_its_mailbox() {
    reaches_the_box("486", "user-busy", |rosa| rosa.reject("busy").unwrap());
}

/// The caller hears the box, the box the caller.
#[test]
fn a_caller_talks_to_the_box() {
    let sip_port = ports::one();
    let options = baresip::Options { tone: 1_000, auto: true, ..Default::default() };
    let mut boxed = Baresip::start("*97", &options).unwrap();
    let mut ends = ends(boxed.address, sip_port);
    let proxy = Some(SocketAddr::from(([127, 0, 0, 1], sip_port)));
    let mut desk =
        Baresip::start("2041", &baresip::Options { tone: 700, proxy, ..Default::default() }).unwrap();
    desk.dial(&Gateway::uri_of("2700")).unwrap();
    ends.rosa.expect("propose", SOON).unwrap();
    let failed = |e: anyhow::Error, gateway: &Gateway| panic!("{e:#}\n{:#}", gateway.failure("was there"));
    let heard = || -> anyhow::Result<()> {
        desk.expect("CALL_ESTABLISHED", SOON)?;
        desk.hears(BOX_TONE, 1.0, SOON)?;
        boxed.hears(DESK_TONE, 1.0, SOON)?;
        desk.hang_up()?;
        boxed.expect("CALL_CLOSED", SOON).map(drop)
    };
    let mut heard = heard;
    if let Err(error) = heard() {
        failed(error, &ends.gateway);
    }
}

/// R-CALL-27: a phone that redirects every call, at last to itself.
#[test]
fn a_redirection_is_followed_until_it_comes_back() {
    let mut ends = ends(free(), 0);
    let contact = format!("Contact: <sip:2050@{}>", ends.trunk);
    let words = [("code", "302"), ("header", contact.as_str())];
    let sipp = Sipp::server(ends.trunk.port(), "uas_refuse", &words, &["-m", "2"]).unwrap();
    ends.rosa.call(&Gateway::jid_of("2041"), true).unwrap();
    let ended = ends.rosa.expect("ended", SOON);
    let ended = ended.unwrap_or_else(|e| panic!("{e:#}\n{:#}", ends.gateway.failure("was there")));
    assert_eq!((ended.text("reason"), ended.text("by")), ("general-error", "peer"), "{ended:?}");
    sipp.finish(SOON).unwrap_or_else(|e| panic!("{e:#}\n{:#}", ends.gateway.failure("was there")));
}
