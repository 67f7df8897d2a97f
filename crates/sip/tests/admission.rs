//! Limits of calls, and refusals that the operator sees.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod bench;

use bench::*;
use signal::*;
use tandem_sip::edge::{Flow, Limits};
use tandem_sip::message::Message;

fn invite(call: u32, from: &str) -> String {
    let text = request("INVITE", 1, TO, SDP).replace("Call-ID: c1", &format!("Call-ID: c{call}"));
    text.replace("z9hG4bKINVITE1", &format!("z9hG4bK{call}"))
        .replace("sip:2041@pbx", &format!("sip:{from}@pbx"))
}

fn refused(b: &mut Bench) -> Message {
    b.sent.retain(|message| message.code() != Some(100));
    assert_eq!(b.sent.len(), 1);
    b.sent.pop().unwrap()
}

#[test]
fn f2_a_trunk_has_so_many_calls_and_is_told_which_limit_it_met() {
    let mut b = bench("one");
    b.edge.set_limits(vec![("pbx".into(), Limits { calls: Some(1), ..Limits::default() })]);
    b.hear(invite(1, "2041"));
    assert_eq!(b.codes(), ["100"]);
    let heard = b.commit(1);
    b.hear(invite(2, "2042"));
    let answer = refused(&mut b);
    assert_eq!(answer.code(), Some(480));
    assert_eq!(answer.text("Reason"), Some("Q.850;cause=34"));
    assert_eq!(answer.text("Warning"), Some("399 tandem \"All lines are busy\""));
    assert!(b.asks.is_empty(), "no orchestrator hears of it");
    // A call of ours by this trunk is one of its calls too.
    let (_, said) = called(&mut b);
    assert_eq!(said.failed.map(|end| end.reason), Some(Reason::Congestion));
    // The first one ends.
    let end = Signal::End(Reason::Declined.into());
    b.say(state(heard.leg, 1, heard.dialog), 2, end, None);
    b.sent.clear();
    b.hear(invite(3, "2043"));
    assert_eq!(b.codes(), ["100"]);
}

#[test]
fn f2_a_caller_has_so_many_calls() {
    let mut b = bench("one");
    b.edge.set_limits(vec![("pbx".into(), Limits { calls_per_caller: Some(2), ..Limits::default() })]);
    for (call, from, admitted) in
        [(1, "2041", true), (2, "2041", true), (3, "2041", false), (4, "2042", true)]
    {
        b.hear(invite(call, from));
        assert_eq!(b.asks.pop().is_some(), admitted, "{call}");
    }
}

#[test]
fn a9_a_refusal_is_told_with_its_link_source_and_cause() {
    let told = |b: &mut Bench| {
        let refusal = b.refusals.pop().unwrap();
        assert!(b.refusals.is_empty());
        (refusal.link, refusal.peer, refusal.message, refusal.status, refusal.cause)
    };
    let own = |fields: [&str; 5]| {
        let [link, peer, message, status, cause] = fields.map(str::to_owned);
        (link, peer, message, status, cause)
    };
    let mut b = bench("one");
    // By its form.
    b.hear(request("INVITE", 1, TO, SDP).replace("Contact: <sip:2041@192.0.2.9>\r\n", ""));
    assert_eq!(told(&mut b), own(["pbx", "192.0.2.9:5060", "INVITE", "400", "Missing Contact or user"]));
    // By an orchestrator.
    b.hear(invite(2, "2041"));
    let (ticket, _) = b.heard();
    let end = End { text: Some("no such number".into()), ..Reason::NotFound.into() };
    b.verdict(ticket, Verdict::Refused(end));
    let cause = "399 tandem \"no such number\"";
    assert_eq!(told(&mut b), own(["pbx", "192.0.2.9:5060", "INVITE", "404", cause]));
    // A stranger.
    b.flow = Flow::udp("198.51.100.1:5060".parse().unwrap());
    b.hear(invite(3, "2041"));
    assert_eq!(told(&mut b), own(["", "198.51.100.1:5060", "INVITE", "403", "Forbidden"]));
    // An answer that refuses nothing.
    b.flow = Flow::udp("192.0.2.9:5060".parse().unwrap());
    b.hear(request("OPTIONS", 7, TO, ""));
    assert!(b.refusals.is_empty());
}
