//! Phone services in a cluster: what one edge was told the others know, and so does what is placed after.

use crate::rig::{Rig, SOON};
use serde_json::json;
use std::time::Duration;
use testkit::clock::poll;
use testkit::{Gateway, prosody};

/// R-SVC-1, R-SVC-5: set by a command at one edge; that edge dies with an orchestrator; shown in words at the other, and obeyed.
#[test]
fn services_outlive_the_edge_at_which_they_were_set() {
    let mut rig = Rig::new("");
    let call = rig.rosa_calls();
    let edge = rig.edge(&call, "xmpp");
    rig.rosa.hang_up().unwrap();
    let node = "urn:tandem:cmd:blocklist";
    rig.rosa.command(prosody::COMPONENT, node, &json!({ "callers": ["2041"] })).unwrap();
    rig.see("the end of the command", |rig| {
        let ended = rig.rosa.expect("commanded", SOON)?;
        anyhow::ensure!(ended.text("status") == "completed", "{ended:?}");
        Ok(())
    });
    rig.cluster.kill(&edge).unwrap();
    rig.cluster.kill("orchestrator-1").unwrap();
    rig.cluster.ready(SOON).unwrap();
    // Until the link is up again the server bounces what is said to the gateway.
    let answer = poll(SOON, || {
        rig.rosa.say(prosody::COMPONENT, "status").unwrap();
        rig.rosa.expect("said", Duration::from_secs(1)).ok()
    });
    let answer = answer.expect("an answer of the gateway");
    assert!(answer.text("body").contains("Blocked callers: 2041"), "{answer:?}");
    rig.desk.dial(&Gateway::uri_of("rosa")).unwrap();
    rig.see("the refusal at the desk", |rig| rig.desk.expect("CALL_CLOSED", SOON).map(drop));
    assert!(
        !rig.rosa.events().iter().any(|event| event.name() == "propose"),
        "a blocked caller makes nothing ring"
    );
}
