//! Requests that wait for one another: CANCEL and its INVITE, BYE and the ACK, offers that met.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test says what is wrong by failing")]

mod bench;

use bench::*;
use signal::media::Direction;
use signal::*;
use tandem_sip::message::Message;

fn commit(b: &mut Bench) -> Heard {
    let (ticket, heard) = b.heard();
    b.verdict(ticket, Verdict::Committed { revision: heard.base + 1, trace: String::new() });
    heard
}

/// A call that the phone made and that is up: its leg and our To.
fn up(b: &mut Bench) -> (LegRef, String) {
    let (heard, _, to) = answered(b);
    b.hear(request("ACK", 1, &to, ""));
    (heard.leg, to)
}

fn say(b: &mut Bench, leg: LegRef, index: u64, signal: Signal) -> Said {
    b.say(state(leg, 0, vec![]), index, signal, None)
}

fn hold() -> Media {
    let mut media = media();
    media.contents[0].direction = Direction::Send;
    media
}

/// RFC 3261 §9.2
#[test]
fn c7_a_cancelled_reinvite_is_487_and_the_call_goes_on() {
    let mut b = bench("one");
    let (leg, to) = up(&mut b);
    b.hear(request("INVITE", 2, &to, &SDP.replace("a=rtpmap", "a=sendonly\r\na=rtpmap")));
    assert!(matches!(commit(&mut b).signals.as_slice(), [Signal::Update(_)]));
    // An UPDATE in between does not hide what is cancelled.
    b.hear(request("UPDATE", 3, &to, ""));
    assert_eq!(b.codes(), ["100", "200"]);
    b.hear(request("CANCEL", 2, &to, ""));
    let kept = commit(&mut b);
    assert!(kept.signals.is_empty());
    assert_eq!(b.sent[1].cseq().map(|c| (c.number, c.method)), Some((2, "INVITE".into())));
    assert_eq!(b.codes(), ["200", "487"]);
    b.hear(request("ACK", 2, &to, "").replace("z9hG4bKack", "z9hG4bKINVITE2"));
    // The call's answer comes too late.
    say(&mut b, leg, 7, Signal::Updated(media()));
    b.wait(40_000);
    assert!(b.codes().is_empty());
    b.hear(request("INVITE", 4, &to, SDP));
    assert!(matches!(commit(&mut b).signals.as_slice(), [Signal::Update(_)]));
    say(&mut b, leg, 8, Signal::Updated(media()));
    assert_eq!(b.codes(), ["100", "200"]);
    b.hear(request("ACK", 4, &to, ""));
    b.hear(request("BYE", 5, &to, ""));
    assert!(matches!(commit(&mut b).signals.as_slice(), [Signal::End(_)]));
    assert_eq!(b.codes(), ["200"]);
}

/// RFC 3261 §9.2
#[test]
fn c7_a_cancel_of_nothing_is_481_and_one_that_comes_late_changes_nothing() {
    let mut b = bench("one");
    let (leg, to) = up(&mut b);
    b.hear(request("CANCEL", 7, &to, ""));
    assert_eq!(b.codes(), ["481"]);
    b.hear(request("CANCEL", 1, &to, "").replace("z9hG4bKINVITE1", "z9hG4bKother"));
    assert_eq!(b.codes(), ["481"]);
    b.hear(request("INVITE", 2, &to, SDP));
    commit(&mut b);
    // Another request of ours in between, and another CSeq, are not what is open.
    b.hear(request("CANCEL", 3, &to, ""));
    say(&mut b, leg, 7, Signal::Updated(media()));
    b.hear(request("CANCEL", 2, &to, ""));
    assert_eq!(b.codes(), ["100", "481", "200", "200"]);
    assert!(b.asks.is_empty());
    // No dialog at all.
    b.hear(request("CANCEL", 9, TO, ""));
    let (ticket, _) = b.asks.remove(0);
    b.verdict(ticket, Verdict::Gone);
    assert_eq!(b.codes(), ["481"]);
}

/// RFC 3311 §5.2: an UPDATE without offer is no second offer, but two UPDATEs never overlap.
#[test]
fn c12_an_update_without_offer_passes_an_open_reinvite() {
    let mut b = bench("one");
    let (leg, to) = up(&mut b);
    b.hear(request("INVITE", 2, &to, SDP));
    commit(&mut b);
    b.hear(
        request("UPDATE", 3, &to, "")
            .replace("Contact: <sip:2041@192.0.2.9>", "Contact: <sip:2041@192.0.2.77>"),
    );
    b.hear(request("UPDATE", 4, &to, SDP));
    assert_eq!(b.sent[2].text("Retry-After"), Some("3"));
    assert_eq!(b.codes(), ["100", "200", "500"]);
    say(&mut b, leg, 7, Signal::Updated(media()));
    assert_eq!(b.sent[0].cseq().map(|c| c.number), Some(2));
    assert_eq!(b.codes(), ["200"]);
    b.hear(request("ACK", 2, &to, ""));
    say(&mut b, leg, 8, Signal::Tone(Tone { digit: '5', duration: 100 }));
    assert!(b.sent[0].write().starts_with(b"INFO sip:2041@192.0.2.77 "), "the target was refreshed");
    b.codes();
    b.hear(request("UPDATE", 5, &to, SDP));
    commit(&mut b);
    b.hear(request("UPDATE", 6, &to, ""));
    assert_eq!(b.codes(), ["500"]);
}

/// RFC 3261 §15
#[test]
fn c8_our_bye_waits_for_the_ack() {
    let mut b = bench("one");
    let (heard, _, to) = answered(&mut b);
    say(&mut b, heard.leg, 9, Signal::End(Reason::Normal.into()));
    assert!(b.codes().is_empty());
    b.wait(600);
    assert_eq!(b.codes(), ["200"], "repeated until then");
    b.hear(request("ACK", 1, &to, ""));
    assert_eq!(b.sent[0].text("Reason"), Some("Q.850;cause=16"));
    assert_eq!(b.codes(), ["BYE"]);
    b.hear(request("ACK", 1, &to, ""));
    b.wait(400);
    assert!(b.codes().is_empty(), "once");
}

#[test]
fn c8_without_an_ack_our_bye_leaves_after_64_t1() {
    let mut b = bench("one");
    let (heard, ..) = answered(&mut b);
    b.wait(1_000);
    say(&mut b, heard.leg, 9, Signal::End(Reason::Normal.into()));
    b.wait(30_900);
    assert!(b.codes().iter().all(|code| code == "200"));
    b.wait(200);
    let bye = b.sent.pop().unwrap();
    assert_eq!((bye.method().as_deref(), b.asks.len()), (Some("BYE"), 0));
    b.hear(answer(&bye, 481, ""));
    b.wait(120_000);
    assert_eq!((b.edge.legs(), b.edge.transactions(), b.edge.deadline()), (0, 0, None));
}

#[test]
fn c8_who_is_hung_up_on_is_not_hung_up_on() {
    let mut b = bench("one");
    let (heard, _, to) = answered(&mut b);
    say(&mut b, heard.leg, 9, Signal::End(Reason::Normal.into()));
    b.hear(request("BYE", 2, &to, ""));
    b.hear(request("ACK", 1, &to, ""));
    b.wait(60_000);
    assert_eq!(b.codes(), ["200"]);
}

/// A call by either side, up, and the leg.
fn call_of(b: &mut Bench, ours: bool) -> LegRef {
    if !ours {
        return up(b).0;
    }
    let (leg, _) = called(b);
    let invite = b.sent.pop().unwrap();
    b.hear(answer(&invite, 200, SDP));
    commit(b);
    b.codes();
    leg
}

/// Lets an offer meet another one, and says it again at once: the time until it leaves, and the offer.
fn after_glare(b: &mut Bench, leg: LegRef, index: u64) -> (u64, Message) {
    let offer = b.sent.pop().unwrap();
    b.hear(answer(&offer, 491, ""));
    assert_eq!(commit(b).signals, [Signal::Refused(Reason::Glare)]);
    assert_eq!(b.codes(), ["ACK"]);
    say(b, leg, index, Signal::Update(hold()));
    let begun = b.now;
    while b.sent.is_empty() {
        b.wait(10);
        assert!(b.now.since(begun) < 5_000);
        if !b.asks.is_empty() {
            assert!(commit(b).signals.is_empty());
        }
    }
    (b.now.since(begun), b.sent.last().unwrap().clone())
}

/// R-CALL-22, RFC 3261 §14.1: two that met once do not meet for ever.
#[test]
fn c9_an_offer_that_met_another_waits_in_the_window_of_its_side() {
    for (ours, window) in [(true, 2_100..=4_000), (false, 0..=2_000)] {
        let mut b = bench("one");
        let leg = call_of(&mut b, ours);
        say(&mut b, leg, 20, Signal::Update(hold()));
        let mut pauses = vec![];
        for index in 21..45 {
            let cseq = b.sent.last().unwrap().cseq().unwrap().number;
            let (pause, offer) = after_glare(&mut b, leg, index);
            assert!(window.contains(&pause) && pause % 10 == 0, "{pause} {ours}");
            assert_eq!(offer.cseq().unwrap().number, cseq + 1);
            assert!(String::from_utf8_lossy(&offer.body).contains("a=sendonly"));
            pauses.push(pause);
        }
        pauses.sort_unstable();
        pauses.dedup();
        assert!(pauses.len() > 12 && pauses[pauses.len() - 1] - pauses[0] > 1_000, "{pauses:?}");
        // The answer ends it.
        let offer = b.sent.pop().unwrap();
        b.hear(answer(&offer, 200, SDP));
        assert!(matches!(commit(&mut b).signals.as_slice(), [Signal::Updated(_)]));
        assert_eq!(b.codes(), ["ACK"]);
    }
}

/// An offer that waits, with the state after it.
fn waiting_offer(b: &mut Bench) -> (LegRef, LegState, Time, String) {
    for round in 0..20 {
        *b = bench("one");
        let (heard, _, to) = answered(b);
        b.hear(request("ACK", 1, &to, ""));
        // Each refused CSeq has a pause of its own.
        for index in 0..round {
            say(b, heard.leg, 50 + index, Signal::Tone(Tone { digit: '5', duration: 100 }));
            let digit = b.sent.pop().unwrap();
            b.hear(answer(&digit, 200, ""));
        }
        say(b, heard.leg, 20, Signal::Update(hold()));
        let offer = b.sent.pop().unwrap();
        b.hear(answer(&offer, 491, ""));
        let revision = commit(b).base + 1;
        b.codes();
        let said = say(b, heard.leg, 21, Signal::Update(hold()));
        let wake = said.wake.unwrap();
        if wake.since(b.now) > 1_200 && b.sent.is_empty() {
            return (heard.leg, state(heard.leg, revision + 1, said.dialog.unwrap()), wake, to);
        }
        b.wait(5_000);
    }
    panic!("no pause is longer than 0.2 s");
}

/// RFC 3261 §14.1: nothing of ours is open while it waits.
#[test]
fn c9_the_peer_s_offer_passes_ours_that_waits() {
    for update in [false, true] {
        let mut b = bench("one");
        let (leg, _, _, to) = waiting_offer(&mut b);
        b.hear(request(if update { "UPDATE" } else { "INVITE" }, 2, &to, SDP));
        let signals = commit(&mut b).signals;
        assert!(
            matches!(signals.as_slice(), [Signal::Refused(Reason::Glare), Signal::Update(_)]),
            "{signals:?}"
        );
        say(&mut b, leg, 30, Signal::Updated(media()));
        assert_eq!(b.codes().last().map(String::as_str), Some("200"));
        b.hear(request("ACK", 2, &to, ""));
        b.wait(10_000);
        assert!(b.codes().is_empty() && b.asks.is_empty(), "what was put off is not sent any more");
    }
}

#[test]
fn c9_a_call_that_ends_while_its_offer_waits_has_ended() {
    let mut b = bench("one");
    let (leg, ..) = waiting_offer(&mut b);
    say(&mut b, leg, 30, Signal::End(Reason::Normal.into()));
    assert_eq!(b.codes(), ["BYE"]);
    let until = b.now + 4_500;
    while b.now < until {
        b.wait(100);
    }
    assert!(b.asks.is_empty() && b.sent.iter().all(|m| m.method().as_deref() == Some("BYE")));
}

/// The edge that put it off is gone.
#[test]
fn c9_another_edge_sends_what_was_put_off() {
    let mut b = bench("one");
    let (_, recorded, wake, _) = waiting_offer(&mut b);
    let mut other = bench("two");
    other.now = wake;
    let id = EffectId { record: recorded.leg.record, version: 60, index: 0 };
    other.edge.order(Wake { id, state: recorded.clone() }, other.now);
    other.drain();
    let heard = commit(&mut other);
    assert!(heard.signals.is_empty() && heard.wake.is_some_and(|at| at > wake));
    let offer = other.sent.pop().unwrap();
    assert_eq!((offer.method().as_deref(), b.codes().len()), (Some("INVITE"), 0));
    // The same octets as those of the edge that was to send it (R-SIP-14).
    b.wait(4_000);
    commit(&mut b);
    assert_eq!(b.sent[0].write(), offer.write());
}

/// R-CALL-41: the caller's client hears ringing in time, however slow the phone is, if there is one at all.
#[test]
fn g8_a_phone_is_presumed_to_ring_once_it_has_said_something() {
    // Nothing listens: nothing rings until Timer B.
    let mut b = bench("one");
    called(&mut b);
    b.wait(31_900);
    assert!(b.asks.is_empty(), "{:?}", b.asks);
    b.wait(200);
    assert_eq!(b.commit(2).signals, [Signal::End(Reason::Timeout.into())]);

    // 100 is an answer, and whatever else does not ring.
    for code in [100, 181, 199] {
        let mut b = bench("one");
        called(&mut b);
        let invite = b.sent.remove(0);
        b.wait(300);
        b.hear(answer(&invite, code, ""));
        b.hear(answer(&invite, code, ""));
        b.wait(4_199);
        assert!(b.asks.is_empty(), "{code}: not before the time is up");
        b.wait(1);
        assert_eq!(b.commit(2).signals, [Signal::Progress(None)], "{code}");
        b.hear(answer(&invite, 100, ""));
        b.wait(1_000);
        assert!(b.asks.is_empty(), "{code}: once");
        // A true ringing is still heard as one.
        b.hear(answer(&invite, 180, ""));
        assert_eq!(b.commit(3).signals, [Signal::Ringing], "{code}");
    }

    // A first word that comes late is enough.
    let mut b = bench("one");
    called(&mut b);
    let invite = b.sent.remove(0);
    b.wait(9_000);
    assert!(b.asks.is_empty());
    b.hear(answer(&invite, 100, ""));
    b.wait(1);
    assert_eq!(b.commit(2).signals, [Signal::Progress(None)]);

    // What rings, or is over, is presumed nothing of.
    for code in [180, 486] {
        let mut b = bench("one");
        called(&mut b);
        let invite = b.sent.remove(0);
        b.hear(answer(&invite, 100, ""));
        b.hear(answer(&invite, code, ""));
        b.commit(2);
        b.wait(10_000);
        assert!(b.asks.is_empty(), "{code}");
    }
}
