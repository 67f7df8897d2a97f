//! Transfers that a phone or a client asks for: whoever stays hears the target, a second phone, and whoever asked is let go.

use crate::rig::{DESK_TONE, PROMPT, ROSA_TONE, Rig, SECOND, SOON};
use serde_json::json;
use testkit::prosody::SECRET;
use testkit::{Baresip, Gateway, baresip, gateway, phone};

/// Tone of the second phone, Hz.
const KARL_TONE: f64 = 1_000.0;

/// A second phone, which answers by itself.
fn karl() -> Baresip {
    let options =
        baresip::Options { codecs: "pcmu".into(), tone: 1_000, auto: true, ..baresip::Options::default() };
    Baresip::start("2042", &options).unwrap()
}

fn desk() -> baresip::Options {
    baresip::Options { codecs: "pcmu".into(), ..baresip::Options::default() }
}

/// Statuses of the NOTIFYs that a phone got.
fn notified(phone: &Baresip) -> usize {
    phone.trace().iter().filter(|step| !step.sent && step.what == "NOTIFY").count()
}

/// R-CALL-25: REFER of baresip; the trunk leads to the second phone.
#[test]
fn the_desk_gives_rosa_a_second_phone() {
    let mut karl = karl();
    let gateway = gateway::Options { trunk: Some(karl.address), ..gateway::Options::default() };
    let mut rig = Rig::with(desk(), phone::Options::default(), gateway);
    rig.desk_calls(&Gateway::uri_of("rosa"));
    rig.talk("PCMU");
    rig.desk.order("transfer", "sip:2042@pbx.example.net").unwrap();
    rig.see("established at karl", |_| karl.expect("CALL_ESTABLISHED", SOON).map(drop));
    rig.see("sound of karl", |rig| {
        rig.rosa.hears(KARL_TONE, 1.0, SOON)?;
        karl.hears(ROSA_TONE, 1.0, SOON).map(drop)
    });
    rig.see("the end at the desk", |rig| rig.desk.expect("CALL_CLOSED", SOON).map(drop));
    assert!(notified(&rig.desk) >= 2, "100 and 200: {:?}", rig.desk.trace());
    karl.hang_up().unwrap();
    rig.see("the end at rosa", |rig| rig.rosa.expect("ended", PROMPT).map(drop));
}

/// XEP-0251: rosa's client asks; the second phone is of another trunk.
#[test]
fn rosa_gives_the_desk_a_second_phone() {
    let mut karl = karl();
    let more = format!(
        "[[xmpp.component]]\ndomain = \"{SECOND}\"\nserver = \"{{server}}\"\nsecret = \"{SECRET}\"\nusers = \"example.net\"\n\n\
         [[trunk]]\nname = \"karl\"\nuri = \"sip:{}\"\ndomain = \"{SECOND}\"\n",
        karl.address
    );
    let gateway = gateway::Options { more, ..gateway::Options::default() };
    let mut rig = Rig::with(desk(), phone::Options::default(), gateway);
    rig.desk_calls(&Gateway::uri_of("rosa"));
    rig.talk("PCMU");
    rig.rosa.order(&json!({"do": "transfer", "to": format!("2042@{SECOND}")})).unwrap();
    rig.see("established at karl", |_| karl.expect("CALL_ESTABLISHED", SOON).map(drop));
    rig.see("the end at rosa", |rig| rig.rosa.expect("ended", SOON).map(drop));
    rig.see("sound of karl", |rig| {
        rig.desk.hears(KARL_TONE, 1.0, SOON)?;
        karl.hears(DESK_TONE, 1.0, SOON).map(drop)
    });
    karl.hang_up().unwrap();
    rig.see("the end at the desk", |rig| rig.desk.expect("CALL_CLOSED", PROMPT).map(drop));
}
