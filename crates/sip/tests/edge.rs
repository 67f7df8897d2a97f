//! Calls through the sans-IO edge, both ways, with a scripted orchestrator and a phone of text.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod bench;

use bench::*;
use signal::*;

#[test]
fn a_phone_calls_is_answered_and_hangs_up() {
    let mut b = bench("one");
    let (_, _, to) = answered(&mut b);
    // R-CALL-18: the 2xx is repeated until its ACK.
    b.now = b.now + 500;
    b.edge.tick(b.now);
    b.drain();
    assert_eq!(b.codes(), ["200"]);
    b.hear(request("ACK", 1, &to, ""));
    b.now = b.now + 10_000;
    b.edge.tick(b.now);
    b.drain();
    assert!(b.codes().is_empty());
    b.hear(request("BYE", 2, &to, ""));
    assert!(b.codes().is_empty(), "200 promises, so it waits for the commit");
    let heard = b.commit(4);
    assert!(matches!(heard.signals.as_slice(), [Signal::End(e)] if e.reason == Reason::Normal));
    assert_eq!(b.codes(), ["200"]);
    b.now = b.now + 40_000;
    b.edge.tick(b.now);
    assert_eq!(b.edge.legs(), 0, "nothing is kept of an ended call");
}

#[test]
fn a_phone_gives_up() {
    let mut b = bench("one");
    b.hear(request("INVITE", 1, TO, SDP));
    b.commit(1);
    b.codes();
    b.hear(request("CANCEL", 1, TO, ""));
    assert_eq!(b.codes(), ["200"]);
    let heard = b.commit(2);
    assert!(matches!(heard.signals.as_slice(), [Signal::End(e)] if e.reason == Reason::Cancelled));
    assert_eq!(b.codes(), ["487"]);
}

#[test]
fn nobody_at_home_is_503_and_a_stranger_403() {
    let mut b = bench("one");
    b.hear(request("INVITE", 1, TO, SDP));
    let (ticket, _) = b.heard();
    b.codes();
    b.verdict(ticket, Verdict::Unavailable);
    assert!(b.sent[0].text("Retry-After").is_some());
    assert_eq!(b.codes(), ["503"]);
    b.flow.peer = "198.51.100.1:5060".parse().unwrap();
    b.hear(request("INVITE", 7, TO, SDP).replace("c1", "c2"));
    assert_eq!(b.codes(), ["403"]);
    assert!(b.asks.is_empty());
}

#[test]
fn another_edge_serves_the_dialog_of_a_dead_one() {
    let mut b = bench("one");
    let (heard, said, to) = answered(&mut b);
    let dialog = said.dialog.unwrap();
    // The phone's BYE comes to an edge that never saw the call.
    let mut other = bench("two");
    other.hear(request("BYE", 2, &to, ""));
    let (ticket, ask) = other.asks.remove(0);
    assert_eq!(ask, Ask::Recall(heard.leg));
    other.verdict(ticket, Verdict::Leg(state(heard.leg, 3, dialog.clone())));
    other.commit(4);
    assert_eq!(other.codes(), ["200"]);
    // Our own BYE from a third; said again by a fourth it is the same octets (R-SIP-14).
    let bye = |name| {
        let mut edge = bench(name);
        let order = state(heard.leg, 3, dialog.clone());
        edge.say(order, 9, Signal::End(Reason::Normal.into()), None);
        assert_eq!(edge.sent[0].method().as_deref(), Some("BYE"));
        edge.sent[0].write()
    };
    assert_eq!(bye("three"), bye("four"));
}

#[test]
fn a_phone_is_called_rings_answers_and_we_hang_up() {
    let mut b = bench("one");
    let (leg, said) = called(&mut b);
    assert!(said.failed.is_none());
    let invite = b.sent.remove(0);
    assert!(invite.write().starts_with(b"INVITE sip:2041@192.0.2.9 SIP/2.0"));
    b.hear(answer(&invite, 180, ""));
    assert_eq!(b.commit(2).signals, [Signal::Ringing]);
    b.hear(answer(&invite, 200, SDP));
    let heard = b.commit(3);
    assert!(matches!(heard.signals.as_slice(), [Signal::Answer(_)]));
    assert_eq!(b.codes(), ["ACK"]);
    b.hear(answer(&invite, 200, SDP));
    assert_eq!(b.codes(), ["ACK"], "R-CALL-18: each 2xx is acknowledged");
    b.say(state(leg, 3, heard.dialog), 5, Signal::End(Reason::Normal.into()), None);
    assert_eq!(b.codes(), ["BYE"]);
}

#[test]
fn cancel_waits_for_a_provisional_response() {
    let mut b = bench("one");
    let (leg, said) = called(&mut b);
    let invite = b.sent.remove(0);
    b.say(state(leg, 1, said.dialog.unwrap()), 2, Signal::End(Reason::Cancelled.into()), None);
    assert!(b.codes().is_empty());
    b.hear(answer(&invite, 180, ""));
    assert_eq!(b.sent[0].via().unwrap().branch(), invite.via().unwrap().branch());
    assert_eq!(b.codes(), ["CANCEL"]);
    b.hear(answer(&invite, 487, ""));
    assert_eq!(b.codes(), ["ACK"]);
}

#[test]
fn busy_and_silence_end_the_call() {
    let mut b = bench("one");
    called(&mut b);
    let invite = b.sent.remove(0);
    b.hear(answer(&invite, 486, ""));
    assert!(matches!(b.commit(2).signals.as_slice(), [Signal::End(e)] if e.reason == Reason::Busy));
    let mut b = bench("two");
    called(&mut b);
    b.now = b.now + 33_000;
    b.edge.tick(b.now);
    b.drain();
    assert!(matches!(b.commit(2).signals.as_slice(), [Signal::End(e)] if e.reason == Reason::Timeout));
}

/// Interworking §4.3: nobody picked up, or nobody was there.
#[test]
fn unavailable_means_another_thing_after_ringing() {
    for (rings, reason) in [(true, Reason::NoAnswer), (false, Reason::Offline)] {
        let mut b = bench("one");
        called(&mut b);
        let invite = b.sent.remove(0);
        if rings {
            b.hear(answer(&invite, 180, ""));
            b.commit(2);
        }
        b.hear(answer(&invite, 480, ""));
        let heard = b.commit(3);
        assert!(matches!(heard.signals.as_slice(), [Signal::End(e)] if e.reason == reason), "{heard:?}");
    }
}

#[test]
fn a_phone_holds() {
    let mut b = bench("one");
    let (_, _, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    b.hear(request("INVITE", 2, &to, &SDP.replace("a=rtpmap", "a=sendonly\r\na=rtpmap")));
    let heard = b.commit(4);
    assert!(matches!(heard.signals.as_slice(), [Signal::Update(m)] if m.holds()));
    b.codes();
    b.say(state(heard.leg, 4, heard.dialog), 7, Signal::Updated(media()), None);
    assert_eq!(b.codes(), ["200"]);
}

/// Nothing is kept for ever: neither a cancelled INVITE whose final response never comes nor an idle call.
#[test]
fn silent_legs_leave_the_cache() {
    let mut b = bench("one");
    let (leg, said) = called(&mut b);
    let invite = b.sent.remove(0);
    b.say(state(leg, 1, said.dialog.unwrap()), 2, Signal::End(Reason::Cancelled.into()), None);
    b.hear(answer(&invite, 180, ""));
    b.sent.clear();
    let (_, _, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    assert_eq!(b.edge.legs(), 2);
    b.now = b.now + 40_000;
    b.edge.tick(b.now);
    assert_eq!(b.edge.legs(), 1);
    while let Some(at) = b.edge.deadline() {
        b.now = at;
        b.edge.tick(at);
        b.drain();
    }
    assert_eq!(b.edge.legs(), 0);
}
