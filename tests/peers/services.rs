//! Phone services as a real client sets them: ad-hoc commands and words, and the calls that obey.

use crate::rig::{Rig, SOON};
use serde_json::{Value, json};
use testkit::{Gateway, baresip, phone, prosody};

/// Runs a command at rosa's client, with these fields filled in, and returns the words of the note.
fn commanded(rig: &mut Rig, name: &str, fields: &Value) -> String {
    let node = format!("urn:tandem:cmd:{name}");
    rig.rosa.command(prosody::COMPONENT, &node, fields).unwrap();
    let mut words = String::new();
    rig.see("the end of the command", |rig| {
        let ended = rig.rosa.expect("commanded", SOON)?;
        anyhow::ensure!(ended.text("status") == "completed", "{ended:?}");
        words = ended.facts["notes"][0][1].as_str().unwrap_or_default().to_owned();
        Ok(())
    });
    words
}

/// Says words to the gateway and returns its answer.
fn told(rig: &mut Rig, words: &str) -> String {
    rig.rosa.say(prosody::COMPONENT, words).unwrap();
    let mut answer = String::new();
    rig.see("the answer to words", |rig| {
        answer = rig.rosa.expect("said", SOON)?.text("body").to_owned();
        Ok(())
    });
    answer
}

/// R-SVC-1, R-SVC-5: what the form sets the words show, and the other way round; a caller who is blocked does not make her client ring.
#[test]
fn rosa_sets_her_services_by_form_and_by_words() {
    let mut rig = Rig::new(baresip::Options::default(), phone::Options::default());
    let words =
        commanded(&mut rig, "forward-no-answer", &json!({ "active": true, "target": "2050", "delay": "25" }));
    assert!(words.contains("Forward when not answered: to 2050 after 25 s"), "{words}");
    let words = told(&mut rig, "status");
    assert!(words.contains("Forward when not answered: to 2050 after 25 s"), "{words}");
    let words = told(&mut rig, "weiterleiten aus");
    assert!(words.contains("Bei Nichtannahme weiterleiten: aus"), "{words}");
    let words = commanded(&mut rig, "blocklist", &json!({ "callers": ["2041", "2042"] }));
    assert!(words.contains("Blocked callers: 2041, 2042"), "{words}");
    rig.desk.dial(&Gateway::uri_of("rosa")).unwrap();
    rig.see("the refusal at the desk", |rig| rig.desk.expect("CALL_CLOSED", SOON).map(drop));
    let rang = rig.rosa.events().iter().any(|event| event.name() == "propose");
    assert!(!rang, "a blocked caller makes nothing ring");
    let words = told(&mut rig, "unblock 2041");
    assert!(words.contains("Blocked callers: 2042"), "{words}");
    rig.desk_calls(&Gateway::uri_of("rosa"));
    rig.sound();
    rig.desk_hangs_up();
}
