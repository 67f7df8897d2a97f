//! Sound of a trunk before it answers (interworking §2.6, mode C).

use crate::rig::{ROSA_TONE, SOON};
use std::net::SocketAddr;
use testkit::{Gateway, Phone, Prosody, Sipp, gateway, phone, ports};

/// R-CALL-16: the trunk sends the caller's own sound back before any answer, and then refuses the call.
#[test]
fn an_announcement_is_heard_before_the_call_fails() {
    let server = Prosody::start(&["rosa"]).unwrap();
    let trunk = SocketAddr::from(([127, 0, 0, 1], ports::block(2)));
    let options = gateway::Options {
        trunk: Some(trunk),
        trunk_lines: "early_media = \"early\"".into(),
        ..Default::default()
    };
    let gateway = Gateway::start(&server, &options).unwrap();
    let mut rosa =
        Phone::start(&server, "rosa", &phone::Options { tone: ROSA_TONE, ..Default::default() }).unwrap();
    let words = [("announces", "9000")];
    let sipp = Sipp::server(trunk.port(), "uas_early", &words, &["-m", "1", "-rtp_echo"]).unwrap();
    rosa.call(&Gateway::jid_of("2041"), true).unwrap();
    let heard = move || -> anyhow::Result<()> {
        rosa.expect("connected", SOON)?;
        rosa.hears(ROSA_TONE, 1.0, SOON)?;
        let ended = rosa.expect("ended", SOON)?;
        anyhow::ensure!(ended.text("by") == "peer", "{ended:?}");
        sipp.finish(SOON)
    };
    heard().unwrap_or_else(|error| panic!("{error:#}\n{:#}", gateway.failure("was there")));
    let calls = gateway.ask("/calls").unwrap();
    assert!(calls["calls"][0]["answered_ms"].is_null(), "it was never answered: {calls:#}");
}
