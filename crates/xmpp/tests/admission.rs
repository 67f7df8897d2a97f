//! Limits of calls, and refusals that the operator sees.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod bench;

use bench::*;
use signal::*;
use tandem_xmpp::edge::{Component, Limits};

const LINK: &str = "sip.example.net";
const AUDIO: &str = "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/>";

#[test]
fn f2_a_caller_has_so_many_calls_with_all_devices_and_reads_why() {
    let mut b = bench();
    b.edge.set_limits(vec![(LINK.into(), Limits { calls_per_caller: Some(2), ..Limits::default() })]);
    for number in 0..200 {
        let from = format!("rosa@example.net/device{number}");
        b.jmi(&from, NUMBER, "propose", &format!("id{number}"), AUDIO);
    }
    assert_eq!(b.asks.len(), 2, "no orchestrator hears of the others");
    assert_eq!(b.kinds().iter().filter(|kind| *kind == "reject").count(), 198);
    b.jmi("rosa@example.net/x", NUMBER, "propose", "more", AUDIO);
    let reject = b.last("reject");
    assert_eq!(reason(&reject), "busy");
    assert!(String::from(&reject).contains("You have as many calls as one caller may have"));
    b.jmi("otto@example.net/x", NUMBER, "propose", "his", AUDIO);
    assert_eq!(b.asks.len(), 3);
    // One of hers is given up, and she may call again.
    let heard = b.commit();
    let from = "rosa@example.net/device0";
    b.jmi(from, NUMBER, "retract", "id0", "");
    let (ticket, ended) = {
        let place = b.asks.iter().position(|(_, ask)| matches!(ask, Ask::Heard(h) if h.leg == heard.leg));
        match b.asks.remove(place.unwrap()) {
            (ticket, Ask::Heard(heard)) => (ticket, heard),
            other => panic!("{other:?}"),
        }
    };
    b.verdict(ticket, Verdict::Committed { revision: ended.base + 1, trace: String::new() });
    b.asks.clear();
    b.jmi("rosa@example.net/y", NUMBER, "propose", "again", AUDIO);
    assert_eq!(b.asks.len(), 1);
}

#[test]
fn f2_a_session_beyond_the_limit_is_ended_with_a_reason() {
    let mut b = bench();
    b.edge.set_limits(vec![(LINK.into(), Limits { calls: Some(0), ..Limits::default() })]);
    b.jingle(ROSA, NUMBER, &fixture("dino-initiate", SID));
    assert_eq!(reason(&b.last("session-terminate")), "busy");
    assert!(b.asks.is_empty() && b.edge.legs() == 0);
}

#[test]
fn a9_a_refusal_is_told_with_its_domain_peer_and_cause() {
    let mut b = bench();
    b.edge.drain();
    b.jmi(ROSA, NUMBER, "propose", SID, AUDIO);
    let told = b.refusals.pop().unwrap();
    assert_eq!((told.link.as_str(), told.peer.as_str(), told.message.as_str()), (LINK, ROSA, "propose"));
    assert_eq!((told.status.as_str(), told.cause.as_str()), ("resource-constraint", "Unavailable"));
}

/// A domain that is added is served like the others; the calls of those go on.
#[test]
fn a14_a_domain_is_added_while_calls_go_on() {
    const SECOND: &str = "two.sip.example.net";
    let mut b = bench();
    b.edge.set_limits(vec![(LINK.into(), Limits { calls: Some(1), ..Limits::default() })]);
    b.jmi(ROSA, NUMBER, "propose", SID, AUDIO);
    b.jmi(ROSA, "2042@two.sip.example.net", "propose", "s2", AUDIO);
    assert_eq!(b.asks.len(), 1, "nobody serves it");
    let more = |domain: &str| Component { domain: domain.into(), video: false, users: None };
    b.edge.add_components([more(LINK), more(SECOND)]);
    b.edge.set_limits(vec![(LINK.into(), Limits { calls: Some(1), ..Limits::default() })]);
    b.edge.linked(SECOND, true, b.now);
    b.jmi(ROSA, "2042@two.sip.example.net", "propose", "s3", AUDIO);
    assert_eq!(b.asks.len(), 2);
    b.jmi(ROSA, NUMBER, "propose", "s4", AUDIO);
    assert_eq!(reason(&b.last("reject")), "busy", "the first call is counted on");
}
