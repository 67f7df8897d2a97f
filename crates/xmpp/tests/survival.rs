//! The sans-IO edge beside other edges, lost links, repetition, draining and strangers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod bench;

use bench::*;
use signal::*;

#[test]
fn what_is_stale_is_heard_again() {
    let mut b = bench();
    let (_, us) = rosa_is_answered(&mut b);
    b.jingle(ROSA, &us, &action("session-terminate", SID, "<reason><success/></reason>"));
    let (ticket, heard) = b.heard();
    // Meanwhile another edge was told to end it.
    let mut session = tandem_xmpp::session::Session::from_bytes(&heard.dialog).unwrap();
    session.state = tandem_xmpp::session::State::Active;
    let state = LegState { revision: 9, dialog: session.to_bytes(), ..fresh(heard.leg) };
    b.verdict(ticket, Verdict::Stale(state));
    let (ticket, again) = b.heard();
    assert_eq!((again.base, again.event), (9, heard.event));
    assert!(b.sent.is_empty());
    b.verdict(ticket, Verdict::Committed { revision: 10, trace: String::new() });
    assert_eq!(b.kinds(), ["result", "finish"]);
}

/// Against the newer state the same stanza may mean something else: it has one answer all the same.
#[test]
fn what_is_heard_again_is_answered_by_what_it_means_then() {
    let mut b = bench();
    let (_, us) = rosa_is_answered(&mut b);
    b.jingle(ROSA, &us, &fixture("chromium-content-add", SID));
    let (ticket, heard) = b.heard();
    let mut session = tandem_xmpp::session::Session::from_bytes(&heard.dialog).unwrap();
    session.remote_offer = Some(tandem_xmpp::session::RemoteOffer::Change);
    b.verdict(
        ticket,
        Verdict::Stale(LegState { revision: 9, dialog: session.to_bytes(), ..fresh(heard.leg) }),
    );
    assert_eq!(b.kinds(), ["unexpected-request"]);
    assert!(b.asks.is_empty());
}

/// The record had the event before, and the leg has moved on: our session is older than the revision says.
#[test]
fn a_commit_of_long_ago_leaves_no_old_session_behind() {
    let mut b = bench();
    let (leg, us) = rosa_is_answered(&mut b);
    b.jingle(ROSA, &us, &action("session-info", SID, "<hold xmlns='urn:xmpp:jingle:apps:rtp:info:1'/>"));
    let (ticket, heard) = b.heard();
    b.verdict(ticket, Verdict::Committed { revision: heard.base + 4, trace: String::new() });
    assert_eq!(b.kinds(), ["result"]);
    b.jingle(ROSA, &us, &action("session-info", SID, ""));
    let (ticket, ask) = b.asks.remove(0);
    assert!(matches!(ask, Ask::Recall(recalled) if recalled == leg), "the record knows better");
    b.verdict(
        ticket,
        Verdict::Leg(LegState { revision: heard.base + 4, dialog: heard.dialog, ..fresh(leg) }),
    );
    assert_eq!(b.kinds(), ["result"]);
}

#[test]
fn another_edge_takes_over_mid_call() {
    let mut one = bench();
    let (sid, us) = answered(&mut one);
    let said = one.say(leg(), Signal::Tone(Tone { digit: '1', duration: 160 }));
    let record = LegState { revision: said.base + 1, dialog: said.dialog.unwrap(), ..fresh(leg()) };
    drop(one);
    let mut two = bench();
    two.jingle(ROSA, &us, &action("session-info", &sid, "<hold xmlns='urn:xmpp:jingle:apps:rtp:info:1'/>"));
    let (ticket, ask) = two.asks.remove(0);
    assert!(matches!(ask, Ask::Recall(named) if named == leg()));
    two.verdict(ticket, Verdict::Leg(record.clone()));
    assert!(matches!(two.commit().signals.as_slice(), [Signal::Update(m)] if m.holds()));
    assert_eq!(two.kinds(), ["result"]);
    two.order(LegState { revision: record.revision + 1, ..record }, Signal::End(Reason::Normal.into()), None);
    assert_eq!(two.kinds(), ["session-terminate", "finish"]);
}

/// The session-initiate that follows a proceed of an edge that is gone.
#[test]
fn another_edge_takes_the_session_of_a_proposal() {
    let mut one = bench();
    let leg = rosa_proposes(&mut one);
    let said = one.say(leg, Signal::Answer(media()));
    let us = one.last("proceed").attr("from").unwrap().to_owned();
    let record = LegState { revision: said.base + 1, dialog: said.dialog.unwrap(), ..fresh(leg) };
    let mut two = bench();
    two.jingle(ROSA, &us, &fixture("chromium-initiate", SID));
    let (ticket, ask) = two.asks.remove(0);
    assert!(matches!(ask, Ask::Recall(named) if named == leg));
    two.verdict(ticket, Verdict::Leg(record));
    assert!(matches!(two.commit().signals.as_slice(), [Signal::Update(_)]));
    assert_eq!(two.kinds(), ["result"]);
    // Where the record knows nothing either, it is a direct call.
    let mut three = bench();
    three.jingle(ROSA, &us, &fixture("chromium-initiate", SID));
    let (ticket, _) = three.asks.remove(0);
    three.verdict(ticket, Verdict::Gone);
    assert!(matches!(three.commit().signals.as_slice(), [Signal::Offer(m)] if m.is_described()));
}

#[test]
fn said_twice_is_sent_once() {
    let mut b = bench();
    let order = Say {
        id: EffectId { record: leg().record, version: 1, index: 0 },
        state: fresh(leg()),
        count: 0,
        signal: Signal::Offer(media()),
        opening: Some(opening("rosa@example.net")),
    };
    b.edge.order(order.clone(), b.now);
    b.edge.order(order.clone(), b.now);
    b.drain();
    assert_eq!(b.said[0].dialog, b.said[1].dialog);
    assert_eq!((b.said[0].base, b.said[1].base), (0, 0));
    let first = b.sent[0].clone();
    assert_eq!(b.kinds(), ["propose"]);
    // By another edge: the same bytes.
    let mut other = bench();
    other.edge.order(order, other.now);
    other.drain();
    assert_eq!(other.sent, [first]);
}

#[test]
fn a_link_that_is_down() {
    let mut b = bench();
    let (sid, us) = proceeded(&mut b);
    b.edge.linked("sip.example.net", false, b.now);
    b.say(leg(), Signal::End(Reason::Cancelled.into()));
    assert!(b.kinds().is_empty());
    b.after(1_500);
    b.edge.linked("sip.example.net", true, b.now);
    b.drain();
    let mut kinds = b.kinds();
    kinds.retain(|k| k != "propose" && k != "session-initiate");
    assert_eq!(kinds, ["session-terminate", "finish"]);
    b.jingle(ROSA, &us, &action("session-info", &sid, ""));
    assert_eq!(b.kinds(), ["unknown-session"]);
    // No phone rings for a call that was given up meanwhile.
    let mut b = bench();
    proposed(&mut b);
    b.after(500);
    b.edge.linked("sip.example.net", false, b.now);
    b.say(leg(), Signal::End(Reason::Cancelled.into()));
    b.after(500);
    b.edge.linked("sip.example.net", true, b.now);
    b.drain();
    assert_eq!(b.kinds(), ["retract"]);
    // One that still waits does.
    let mut b = bench();
    proposed(&mut b);
    b.edge.linked("sip.example.net", false, b.now);
    b.edge.linked("sip.example.net", true, b.now);
    b.drain();
    assert_eq!(b.kinds(), ["propose"]);
    // A new call cannot wait.
    b.edge.linked("sip.example.net", false, b.now);
    let other = LegRef { leg: LegId(2), ..leg() };
    let said = b.order(fresh(other), Signal::Offer(media()), Some(opening("rosa@example.net")));
    assert_eq!(said.failed.map(|e| e.reason), Some(Reason::Unavailable));
}

/// A stanza that the peer will not repeat is committed again; one that it waits for is refused.
#[test]
fn nobody_can_commit_for_a_while() {
    let mut b = bench();
    let (_, us) = rosa_is_answered(&mut b);
    b.jmi(ROSA, NUMBER, "finish", SID, "");
    for _ in 0..3 {
        let (ticket, _) = b.heard();
        b.verdict(ticket, Verdict::Unavailable);
        assert!(b.asks.is_empty());
        b.after(5_000);
    }
    b.jingle(ROSA, &us, &action("session-info", SID, "<hold xmlns='urn:xmpp:jingle:apps:rtp:info:1'/>"));
    assert_eq!(b.commit().signals, [Signal::End(Reason::Normal.into())]);
    assert_eq!(b.kinds(), ["unknown-session"]);

    let mut b = bench();
    let (_, us) = rosa_is_answered(&mut b);
    b.jingle(ROSA, &us, &action("session-terminate", SID, ""));
    // Nobody hangs up twice: it is acknowledged, and brought to the record until it is there.
    for _ in 0..20 {
        let (ticket, _) = b.heard();
        b.verdict(ticket, Verdict::Unavailable);
        b.after(8_000);
    }
    assert_eq!(b.kinds(), ["result"]);
    assert_eq!(b.commit().signals, [Signal::End(Reason::Normal.into())]);
    assert_eq!(b.kinds(), ["finish"]);

    // The same where only the record knows the leg; and it may know no more than we do.
    for verdict in [Verdict::Unavailable, Verdict::Gone] {
        let mut b = bench();
        b.jingle(ROSA, NUMBER, &action("session-terminate", "nobody", ""));
        let (ticket, _) = b.asks.remove(0);
        b.verdict(ticket, verdict.clone());
        if verdict == Verdict::Unavailable {
            assert_eq!(b.kinds(), ["result"]);
            b.after(500);
            let (ticket, _) = b.asks.remove(0);
            b.verdict(ticket, Verdict::Gone);
            assert!(b.kinds().is_empty());
        } else {
            assert_eq!(b.kinds(), ["unknown-session"]);
        }
        assert_eq!((b.edge.legs(), b.edge.deadline()), (0, None));
    }

    let mut b = bench();
    let (_, us) = rosa_is_answered(&mut b);
    b.jingle(ROSA, &us, &action("session-info", SID, "<hold xmlns='urn:xmpp:jingle:apps:rtp:info:1'/>"));
    let (ticket, _) = b.heard();
    b.verdict(ticket, Verdict::Unavailable);
    assert_eq!(b.kinds(), ["resource-constraint"]);
}

/// A verdict that is lost on its way holds nothing up.
#[test]
fn a_verdict_that_never_comes_is_none() {
    let mut b = bench();
    let (_, us) = rosa_is_answered(&mut b);
    let hold = action("session-info", SID, "<hold xmlns='urn:xmpp:jingle:apps:rtp:info:1'/>");
    b.jingle(ROSA, &us, &hold);
    let (ticket, _) = b.heard();
    b.after(signal::VERDICT_MS + 2_999);
    assert!(b.kinds().is_empty());
    assert_eq!(b.edge.deadline().map(|at| at.since(b.now)), Some(1));
    b.after(1);
    assert_eq!(b.kinds(), ["resource-constraint"]);
    assert_eq!(b.edge.asks(), 0);
    // Too late.
    b.verdict(ticket, Verdict::Committed { revision: 9, trace: String::new() });
    b.jingle(ROSA, &us, &hold);
    b.commit();
    assert_eq!(b.kinds(), ["result"]);
}

#[test]
fn an_order_that_comes_again_while_it_waits_is_said_once() {
    let mut b = bench();
    let (leg, us) = rosa_is_answered(&mut b);
    b.jingle(ROSA, &us, &action("session-info", SID, "<hold xmlns='urn:xmpp:jingle:apps:rtp:info:1'/>"));
    let (ticket, heard) = b.heard();
    let state = LegState { revision: heard.base, dialog: heard.dialog.clone(), ..fresh(leg) };
    let id = EffectId { record: leg.record, version: 77, index: 0 };
    let order = Say { id, state, count: 9, signal: Signal::End(Reason::Normal.into()), opening: None };
    for _ in 0..40 {
        b.edge.order(order.clone(), b.now);
    }
    b.verdict(ticket, Verdict::Committed { revision: heard.base + 1, trace: String::new() });
    b.drain();
    assert_eq!(b.kinds(), ["result", "session-terminate", "finish"]);
    assert_eq!(b.said.len(), 1);
}

#[test]
fn what_is_kept_of_an_ended_call_keeps_no_draining_edge() {
    let mut b = bench();
    let (_, us) = rosa_is_answered(&mut b);
    assert_eq!(b.edge.live(), 1);
    b.jingle(ROSA, &us, &action("session-terminate", SID, "<reason><success/></reason>"));
    assert_eq!(b.edge.live(), 1, "its end is in no record yet");
    b.commit();
    assert_eq!((b.edge.live(), b.edge.legs()), (0, 1));
}

#[test]
fn draining_takes_no_new_call() {
    let mut b = bench();
    b.edge.drain();
    b.jingle(ROSA, NUMBER, &fixture("dino-initiate", SID));
    b.jmi(ROSA, NUMBER, "propose", SID, "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/>");
    assert_eq!(b.kinds(), ["resource-constraint", "reject"]);
    assert!(b.asks.is_empty());
}

#[test]
fn everything_else_is_answered_or_let_go() {
    let mut b = bench();
    b.hear(&format!("<iq xmlns='jabber:client' type='get' id='1' from='{ROSA}' to='{NUMBER}'><ping xmlns='urn:xmpp:ping'/></iq>"));
    b.hear(&format!(
        "<iq xmlns='jabber:client' type='set' id='2' from='{ROSA}' to='{NUMBER}'><x xmlns='y'/></iq>"
    ));
    b.hear(&format!("<iq xmlns='jabber:client' type='error' id='3' from='{ROSA}' to='{NUMBER}'/>"));
    b.hear(&format!(
        "<message xmlns='jabber:client' id='4' from='{ROSA}' to='{NUMBER}'><body>hello</body></message>"
    ));
    b.hear(&format!("<message xmlns='jabber:client' type='error' id='5' from='{ROSA}' to='{NUMBER}'><body>hello</body></message>"));
    b.hear(&format!("<presence xmlns='jabber:client' type='probe' from='{ROSA}' to='{NUMBER}'/>"));
    b.hear(&format!("<presence xmlns='jabber:client' type='error' from='{ROSA}' to='{NUMBER}'/>"));
    assert_eq!(b.kinds(), ["result", "service-unavailable", "service-unavailable", "presence "]);
}

/// A client that floods a session is told so, stanza by stanza.
#[test]
fn a_full_queue_answers() {
    let mut b = bench();
    let (_, us) = rosa_is_answered(&mut b);
    b.jingle(ROSA, &us, &action("session-info", SID, "<hold xmlns='urn:xmpp:jingle:apps:rtp:info:1'/>"));
    let (ticket, heard) = b.heard();
    for _ in 0..40 {
        b.jingle(ROSA, &us, &action("session-info", SID, ""));
    }
    assert_eq!(b.kinds(), ["resource-constraint"; 8]);
    b.verdict(ticket, Verdict::Committed { revision: heard.base + 1, trace: String::new() });
    assert_eq!(b.kinds(), ["result"; 33]);
}

#[test]
fn what_waits_behind_a_refused_call_is_answered() {
    let mut b = bench();
    b.jingle(ROSA, NUMBER, &fixture("dino-initiate", SID));
    b.jingle(ROSA, NUMBER, &action("transport-info", SID, ""));
    let (ticket, _) = b.heard();
    b.verdict(ticket, Verdict::Refused(Reason::NotFound.into()));
    assert_eq!(reason(&b.last("session-terminate")), "gone");
    assert_eq!(b.kinds(), ["result", "session-terminate", "unknown-session"]);
}

/// Namespaces that no stanza of ours would hold, and that minidom's own writer asserts about.
#[test]
fn odd_namespaces_harm_nobody() {
    let mut b = bench();
    let (_, us) = rosa_is_answered(&mut b);
    let xml = "http://www.w3.org/XML/1998/namespace";
    let hold = format!("<hold xmlns='urn:xmpp:jingle:apps:rtp:info:1' xmlns:xml='{xml}' xml:lang='en'/>");
    b.jingle(ROSA, &us, &action("session-info", SID, &hold));
    assert!(matches!(b.commit().signals.as_slice(), [Signal::Update(m)] if m.holds()));
    let initiate =
        fixture("dino-initiate", "other").replacen("<jingle ", &format!("<jingle xmlns:xml='{xml}' "), 1);
    b.jingle(ROSA, NUMBER, &initiate);
    b.commit();
    assert_eq!(b.kinds(), ["result", "result"]);
    b.edge.receive(
        &format!("<iq xmlns='urn:x' type='get' id='1' from='{ROSA}' to='{NUMBER}'><a/></iq>")
            .parse()
            .unwrap(),
        b.now,
    );
    b.drain();
    assert!(b.sent.is_empty(), "no stanza: not answered in a namespace that is none of a stream's");
}
