//! A call gets a third leg: its bridge moves while both sides talk, and what has moved outlives the instances that moved it.

use crate::rig::{DESK_TONE, PROMPT, ROSA_TONE, Rig, SOON};
use serde_json::json;
use testkit::Gateway;

/// Tone of nils' client, Hz.
const NILS_TONE: f64 = 1_000.0;

/// R-CALL-30: the desk is given nils in place of rosa; an orchestrator, the SIP edge and the relay die; the desk hangs up.
#[test]
fn a_transferred_desk_hears_its_new_peer_whoever_dies() {
    let mut rig = Rig::new("");
    let mut nils = rig.client("nils", NILS_TONE);
    let call = rig.desk_calls();
    let to = Gateway::uri_of("nils");
    let answer =
        rig.cluster.post(&format!("/calls/{call}/transfer"), &json!({ "leg": 0, "to": to })).unwrap();
    assert_eq!(answer["calling"], to);
    rig.see("ringing at nils", |_| nils.expect("propose", SOON).map(drop));
    rig.sound();
    nils.accept().unwrap();
    rig.see("the end at rosa", |rig| rig.rosa.expect("ended", SOON).map(drop));
    rig.see("sound", |rig| {
        nils.hears(DESK_TONE, 1.0, SOON)?;
        rig.desk.hears(NILS_TONE, 1.0, SOON).map(drop)
    });

    let (edge, relay) = (rig.edge(&call, "sip"), rig.relay(&call));
    for name in [&edge, "orchestrator-1", &relay] {
        rig.cluster.kill(name).unwrap();
    }
    rig.see("another relay", |rig| rig.moved(&call, &relay));
    rig.see("sound after the deaths", |rig| {
        nils.hears(DESK_TONE, 1.0, SOON)?;
        rig.desk.hears(NILS_TONE, 1.0, SOON).map(drop)
    });
    rig.desk.hang_up().unwrap();
    rig.see("the end at nils", |_| nils.expect("ended", PROMPT).map(drop));
    rig.released();
}

/// R-CALL-25, R-CALL-30: the desk asks by REFER; the edge that has its subscription and an orchestrator die while nils rings.
#[test]
fn a_desk_that_transfers_is_told_whoever_dies() {
    let mut rig = Rig::new("");
    let mut nils = rig.client("nils", NILS_TONE);
    let call = rig.desk_calls();
    rig.desk.order("transfer", &Gateway::uri_of("nils")).unwrap();
    rig.see("ringing at nils", |_| nils.expect("propose", SOON).map(drop));
    rig.sound();
    let edge = rig.edge(&call, "sip");
    for name in [&edge, "orchestrator-1"] {
        rig.cluster.kill(name).unwrap();
    }
    nils.accept().unwrap();
    // The subscription stands in the record: 200 comes of another edge, and the desk hangs up.
    rig.see("the end at the desk", |rig| rig.desk.expect("CALL_CLOSED", SOON).map(drop));
    rig.see("sound", |rig| {
        nils.hears(ROSA_TONE, 1.0, SOON)?;
        rig.rosa.hears(NILS_TONE, 1.0, SOON).map(drop)
    });
    let steps = rig.desk.trace();
    let notified = steps.iter().filter(|step| !step.sent && step.what == "NOTIFY").count();
    assert!(notified >= 2, "100 and 200: {steps:?}");
    nils.hang_up().unwrap();
    rig.see("the end at rosa", |rig| rig.rosa.expect("ended", PROMPT).map(drop));
    rig.released();
}
