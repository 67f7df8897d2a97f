//! Phones that encrypt: SDES as they offer and take it (interworking §3.3 rule 7), ICE with DTLS-SRTP, and those that do not where
//! they must.

use crate::rig::{Rig, SOON};
use anyhow::Context;
use serde_json::json;
use testkit::clock::poll;
use testkit::{Gateway, baresip, gateway, namespace, phone};

fn rig(encryption: &str, srtp: &str) -> Rig {
    let desk =
        baresip::Options { codecs: "pcmu".into(), encryption: encryption.into(), ..Default::default() };
    let more = "\n[telemetry]\nlog = \"debug\"\n".into();
    let gateway = gateway::Options { srtp: srtp.into(), more, ..Default::default() };
    Rig::with(desk, phone::Options::default(), gateway)
}

/// A call each way, with sound.
fn both_ways(rig: &mut Rig, profile: &str) {
    rig.desk_calls(&Gateway::uri_of("rosa"));
    rig.talk("PCMU");
    rig.spoken(profile);
    rig.desk_hangs_up();
    rig.rosa_calls(true);
    rig.talk("PCMU");
    rig.spoken(profile);
    rig.rosa_hangs_up();
    let said = rig.gateway.program().log().since(0);
    let masked = |text: &str| text.split("inline:").skip(1).all(|rest| rest.starts_with('…'));
    assert!(said.iter().all(|line| masked(&line.text)), "keys never reach a log");
    assert!(said.iter().any(|line| line.text.contains("INVITE sip:")), "messages do");
}

#[test]
fn a_desk_that_may_encrypt_does_both_ways() {
    both_ways(&mut rig("srtp", "optional"), "sdes");
}

#[test]
fn a_desk_that_must_encrypt_does_both_ways() {
    both_ways(&mut rig("srtp-mand", "required"), "sdes");
}

#[test]
fn a_desk_that_does_not_encrypt_need_not_where_that_will_do() {
    both_ways(&mut rig("", "optional"), "plain");
}

/// RTP/SAVPF.
#[test]
fn a_desk_that_encrypts_is_answered_in_kind_though_nobody_asked() {
    for encryption in ["srtp", "srtp-mandf"] {
        let mut rig = rig(encryption, "off");
        rig.desk_calls(&Gateway::uri_of("rosa"));
        rig.talk("PCMU");
        rig.spoken("sdes");
        rig.desk_hangs_up();
    }
}

#[test]
fn an_encrypted_call_is_held_and_goes_on() {
    let mut rig = rig("srtp-mand", "required");
    rig.desk_calls(&Gateway::uri_of("rosa"));
    rig.talk("PCMU");
    rig.desk.order("hold", "").unwrap();
    rig.see("hold at rosa", |rig| rig.rosa.expect("hold", SOON).map(drop));
    rig.desk.order("resume", "").unwrap();
    rig.see("the end of hold at rosa", |rig| rig.rosa.expect("unhold", SOON).map(drop));
    rig.sound();
    // The other way we offer, and the phone answers.
    for (word, asked) in [("hold", 1), ("unhold", 2)] {
        rig.rosa.order(&json!({"do": word})).unwrap();
        rig.see(word, |rig| {
            let answered = poll(SOON, || {
                let steps = rig.desk.trace();
                let answers = steps.iter().filter(|s| s.sent && s.what.ends_with("(INVITE)")).count();
                (answers >= asked).then_some(())
            });
            answered.context("the desk phone was not asked, or did not answer")
        });
    }
    rig.sound();
    rig.spoken("sdes");
    rig.rosa_hangs_up();
}

#[test]
fn a_desk_that_does_not_encrypt_where_it_must_has_no_call() {
    let mut rig = rig("", "required");
    rig.desk.dial(&Gateway::uri_of("rosa")).unwrap();
    rig.see("a refusal at the desk", |rig| {
        let closed = rig.desk.expect("CALL_CLOSED", SOON)?;
        anyhow::ensure!(closed.facts.to_string().contains("488"), "{closed:?}");
        Ok(())
    });
    rig.rosa.call(&Gateway::jid_of("2041"), true).unwrap();
    rig.see("a refusal at rosa", |rig| {
        let ended = rig.rosa.expect("ended", SOON)?;
        anyhow::ensure!(ended.text("by") == "peer", "{ended:?}");
        Ok(())
    });
}

/// A phone that is like a browser: ICE and DTLS-SRTP, RTCP on the port of RTP.
#[test]
fn a_desk_with_ice_and_dtls_calls() {
    if !namespace::entered("secure::a_desk_with_ice_and_dtls_calls").unwrap() {
        return;
    }
    let desk = baresip::Options {
        codecs: "pcmu".into(),
        encryption: "dtls_srtp".into(),
        ice: true,
        media: namespace::ADDRESS,
        ..Default::default()
    };
    let gateway = gateway::Options { media: Some(namespace::ADDRESS.into()), ..Default::default() };
    let switches = vec!["--address".into(), namespace::ADDRESS.to_string()];
    let mut rig = Rig::with(desk, phone::Options { switches, ..Default::default() }, gateway);
    rig.desk_calls(&Gateway::uri_of("rosa"));
    rig.talk("PCMU");
    rig.spoken("webrtc");
    rig.desk_hangs_up();
    rig.desk_calls(&Gateway::uri_of("rosa"));
    rig.talk("PCMU");
    rig.rosa_hangs_up();
}

/// RFC 5763 without ICE, with an association for RTP and one for RTCP.
#[test]
fn d11_a_desk_with_dtls_alone_does_both_ways() {
    both_ways(&mut rig("dtls_srtp", "dtls"), "dtls");
}

#[test]
fn g5_a_desk_with_dtls_alone_is_answered_in_kind_though_nobody_asked() {
    let mut rig = rig("dtls_srtp", "off");
    rig.desk_calls(&Gateway::uri_of("rosa"));
    rig.talk("PCMU");
    rig.spoken("dtls");
    rig.desk_hangs_up();
}

/// RFC 8643: one phone takes the fingerprint, one the keys, one neither.
#[test]
fn d11_what_osrtp_offers_is_taken_as_the_desk_can() {
    for (encryption, spoken) in [("", "plain"), ("srtp", "sdes")] {
        let mut rig = rig(encryption, "osrtp");
        rig.rosa_calls(true);
        rig.talk("PCMU");
        rig.spoken(spoken);
        rig.rosa_hangs_up();
    }
}
