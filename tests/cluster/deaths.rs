//! kill -9 of the instances that set a call up: its sound goes on, and whoever hangs up ends both legs.

use crate::links::missing;
use crate::rig::{PROMPT, Rig};
use std::time::Duration;
use testkit::Redis;

/// Longest silence that a death may cause.
const GAP: Duration = Duration::from_millis(100);

/// R-CALL-30: an orchestrator and the SIP edge that took the INVITE die; then the desk hangs up.
#[test]
fn a_call_outlives_its_orchestrator_and_its_sip_edge_and_the_desk_ends_it() {
    let mut rig = Rig::new("");
    let call = rig.desk_calls();
    let edge = rig.edge(&call, "sip");
    kill(&mut rig, &edge);
    rig.desk.hang_up().unwrap();
    rig.see("the end at rosa", |rig| rig.rosa.expect("ended", PROMPT).map(drop));
    rig.released();
}

/// The same, and rosa hangs up: the BYE leaves from an edge that never saw the call.
#[test]
fn a_call_outlives_its_orchestrator_and_its_sip_edge_and_rosa_ends_it() {
    let mut rig = Rig::new("");
    let call = rig.desk_calls();
    let edge = rig.edge(&call, "sip");
    kill(&mut rig, &edge);
    rig.rosa.hang_up().unwrap();
    rig.see("the end at the desk", |rig| rig.desk.expect("CALL_CLOSED", PROMPT).map(drop));
    rig.released();
}

/// R-CALL-30: the XMPP edge dies, another takes the link over, and the call that it knew nothing of is ended by either side.
#[test]
fn a_call_outlives_the_xmpp_edge_that_carried_it() {
    let mut rig = Rig::new("");
    let call = rig.rosa_calls();
    let edge = rig.edge(&call, "xmpp");
    kill(&mut rig, &edge);
    rig.cluster.ready(Duration::from_secs(10)).unwrap();
    rig.desk.hang_up().unwrap();
    rig.see("the end at rosa", |rig| rig.rosa.expect("ended", Duration::from_secs(10)).map(drop));
    rig.released();
    // And calls can be placed again.
    rig.desk_calls();
    rig.rosa.hang_up().unwrap();
    rig.see("the end at the desk", |rig| rig.desk.expect("CALL_CLOSED", PROMPT).map(drop));
}

/// The SIP edge is gone without a word, as when its host is lost: the bus knows of nothing, orders reach it and nobody answers.
#[test]
fn a_call_is_ended_past_a_sip_edge_that_fell_silent() {
    let mut rig = Rig::new("");
    let call = rig.desk_calls();
    let edge = rig.edge(&call, "sip");
    rig.cluster.freeze(&edge).unwrap();
    rig.rosa.hang_up().unwrap();
    rig.see("the end at the desk", |rig| rig.desk.expect("CALL_CLOSED", PROMPT).map(drop));
    rig.released();
}

/// The store loses everything while both talk. Whoever hangs up ends the call for the other too, and no relay keeps its session.
#[test]
fn a6_a_call_that_the_store_has_lost_is_ended_on_both_sides() {
    let mut rig = Rig::with("", 2);
    for desk_ends in [true, false] {
        rig.desk_calls();
        rig.cluster.servers().1.empty().unwrap();
        rig.sound();
        if desk_ends {
            rig.desk.hang_up().unwrap();
            rig.see("the end at rosa", |rig| rig.rosa.expect("ended", PROMPT).map(drop));
        } else {
            rig.rosa.hang_up().unwrap();
            rig.see("the end at the desk", |rig| rig.desk.expect("CALL_CLOSED", PROMPT).map(drop));
        }
        rig.released();
    }
}

/// The store dies and comes back empty: the link, which nobody decided on meanwhile, is again where the call's leg is held.
#[test]
fn a6_a_call_is_ended_on_both_sides_after_the_store_died_with_everything() {
    let mut rig = Rig::with("", 2);
    rig.desk_calls();
    let port = rig.cluster.servers().1.port;
    rig.cluster.servers().1.program().kill();
    // The link is given up.
    missing(&mut rig.cluster, &["xmpp-edge"], "xmpp ", "the store is unavailable");
    *rig.cluster.servers().1 = Redis::with(port, &["--port", &port.to_string()]).unwrap();
    rig.cluster.ready(Duration::from_secs(20)).unwrap();
    rig.sound();
    rig.desk.hang_up().unwrap();
    rig.see("the end at rosa", |rig| rig.rosa.expect("ended", PROMPT).map(drop));
    rig.released();
}

/// Kills an orchestrator and this edge while both talk; the sound of neither stops for more than 100 ms.
fn kill(rig: &mut Rig, edge: &str) {
    rig.rosa.order(&serde_json::json!({ "do": "gap" })).unwrap();
    let before = rig.desk.recorded().unwrap();
    rig.cluster.kill(edge).unwrap();
    rig.cluster.kill("orchestrator-1").unwrap();
    std::thread::sleep(Duration::from_secs(3));
    rig.see("what the desk missed", |rig| {
        let missed = rig.desk.missed(before)?;
        anyhow::ensure!(missed <= GAP, "{missed:?}");
        Ok(())
    });
    rig.sound();
    rig.see("the longest gap at rosa", |rig| {
        rig.rosa.order(&serde_json::json!({ "do": "gap" }))?;
        let first = rig.rosa.expect("gap", PROMPT)?;
        let gap = rig.rosa.expect("gap", PROMPT)?;
        anyhow::ensure!(gap.number("ms") <= GAP.as_millis() as f64, "{first:?} {gap:?}");
        Ok(())
    });
}

/// Everything that knew where the call's media is dies at once; what starts anew finds the call in the store and moves it.
#[test]
fn a5_a_call_goes_on_after_its_relay_and_every_orchestrator_died_together() {
    let mut rig = Rig::with("", 1);
    let call = rig.desk_calls();
    let relay = rig.relay(&call);
    rig.cluster.freeze("orchestrator-1").unwrap();
    rig.cluster.restart(&relay).unwrap();
    rig.cluster.restart("orchestrator-1").unwrap();
    rig.cluster.ready(Duration::from_secs(10)).unwrap();
    rig.see("sound by the new relay", |rig| rig.heard_within(Duration::from_secs(10)));
    rig.desk.hang_up().unwrap();
    rig.see("the end at rosa", |rig| rig.rosa.expect("ended", PROMPT).map(drop));
    rig.released();
}
