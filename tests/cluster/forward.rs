//! Calls that go on to somebody else, while the instances that see to it die.

use crate::rig::{DESK_TONE, PROMPT, Rig, SOON};
use testkit::{Gateway, Phone, prosody};

/// Tone of nils' client, Hz.
const NILS_TONE: f64 = 1_000.0;

/// Rosa's client does not answer, and her calls go on after 5 s to the target of these words.
fn forwarded(rig: &mut Rig, target: &str) {
    let words = format!("forward no answer to {target} after 5");
    rig.rosa.say(prosody::COMPONENT, &words).unwrap();
    rig.see("the answer to words", |rig| {
        let said = rig.rosa.expect("said", SOON)?;
        anyhow::ensure!(said.text("body").contains("after 5 s"), "{said:?}");
        Ok(())
    });
    rig.desk.dial(&Gateway::uri_of("rosa")).unwrap();
    rig.see("ringing at rosa", |rig| rig.rosa.expect("propose", SOON).map(drop));
    rig.see("ringing at the desk", |rig| rig.desk.expect("CALL_RINGING", SOON).map(drop));
}

/// Nils answers, and both hear the other.
fn answered(rig: &mut Rig, nils: &mut Phone) {
    rig.see("ringing at nils", |_| nils.expect("propose", SOON).map(drop));
    nils.accept().unwrap();
    rig.see("established at the desk", |rig| rig.desk.expect("CALL_ESTABLISHED", SOON).map(drop));
    sound(rig, nils);
}

fn sound(rig: &mut Rig, nils: &mut Phone) {
    rig.see("sound", |rig| {
        nils.hears(DESK_TONE, 1.0, SOON)?;
        rig.desk.hears(NILS_TONE, 1.0, SOON).map(drop)
    });
}

/// R-SVC-2, R-CALL-30: an orchestrator and the edge of the link die while rosa's client rings; her forward is due afterwards.
#[test]
fn a_forward_reaches_its_target_whoever_dies() {
    let mut rig = Rig::new("");
    let mut nils = rig.client("nils", NILS_TONE);
    forwarded(&mut rig, "nils@example.net");
    let call = rig.ringing();
    let edge = rig.edge(&call, "xmpp");
    for name in [&edge, "orchestrator-1"] {
        rig.cluster.kill(name).unwrap();
    }
    answered(&mut rig, &mut nils);
    rig.desk.hang_up().unwrap();
    rig.see("the end at nils", |_| nils.expect("ended", PROMPT).map(drop));
    rig.released();
}

/// R-SVC-3, R-CALL-30: an orchestrator dies before the call reaches the box; the edge of the caller and the relay die while a message
/// is left.
#[test]
fn a_message_is_left_whoever_dies() {
    let mut rig = Rig::new("\n[call]\nvoicemail = \"nils@example.net\"\n");
    let mut nils = rig.client("nils", NILS_TONE);
    forwarded(&mut rig, "voicemail");
    rig.cluster.kill("orchestrator-1").unwrap();
    answered(&mut rig, &mut nils);
    let call = rig.call();
    let (edge, relay) = (rig.edge(&call, "sip"), rig.relay(&call));
    for name in [&edge, &relay] {
        rig.cluster.kill(name).unwrap();
    }
    rig.see("another relay", |rig| rig.moved(&call, &relay));
    sound(&mut rig, &mut nils);
    rig.desk.hang_up().unwrap();
    rig.see("the end at nils", |_| nils.expect("ended", PROMPT).map(drop));
    rig.released();
}
