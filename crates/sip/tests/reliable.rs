//! Reliable provisional responses (RFC 3262; interworking §2.11), in both roles.
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
use tandem_sip::message::Message;

const REQUIRED: &str = "Require: 100rel";

/// A caller that requires reliable responses, and is told that it rings.
fn rings(b: &mut Bench, sdp: &str, signal: Signal) -> (Recorded, Message) {
    b.hear(with(request("INVITE", 1, TO, sdp), REQUIRED));
    let (mut leg, _) = Recorded::opened(b);
    leg.say(b, signal);
    let ringing = b.sent.pop().unwrap();
    assert_eq!(b.codes(), ["100"]);
    (leg, ringing)
}

fn rseq(response: &Message) -> u32 {
    assert_eq!(response.text("Require"), Some("100rel"));
    response.text("RSeq").unwrap().parse().unwrap()
}

fn prack(cseq: u32, response: &Message, rseq: u32, sdp: &str) -> String {
    let to = response.text("To").unwrap();
    with(request("PRACK", cseq, to, sdp), &format!("RAck: {rseq} 1 INVITE"))
}

fn ended(heard: &Heard) -> Option<Reason> {
    match heard.signals.as_slice() {
        [Signal::End(end)] => Some(end.reason),
        _ => None,
    }
}

#[test]
fn r_call_23_a_180_is_repeated_until_its_prack() {
    let mut b = bench("one");
    let (mut leg, ringing) = rings(&mut b, SDP, Signal::Ringing);
    let number = rseq(&ringing);
    assert!((1..0x8000_0000).contains(&number) && ringing.body.is_empty());
    for (until, repeated) in [(499, 0), (1, 1), (999, 0), (1, 1), (2_000, 1), (4_000, 1)] {
        b.wait(until);
        assert!(b.sent.iter().all(|again| again.write() == ringing.write()));
        assert_eq!(b.codes().len(), repeated);
    }
    // Of another response, of another INVITE, of another method.
    for (cseq, rack) in [(2, format!("{} 1 INVITE", number + 1)), (3, format!("{number} 2 INVITE"))] {
        let to = ringing.text("To").unwrap();
        b.hear(with(request("PRACK", cseq, to, ""), &format!("RAck: {rack}")));
        assert_eq!(b.codes(), ["481"]);
    }
    let acknowledged = prack(4, &ringing, number, "");
    b.hear(acknowledged.clone());
    assert!(leg.commit(&mut b).signals.is_empty());
    b.hear(acknowledged);
    assert_eq!(b.codes(), ["200", "200"]);
    b.wait(40_000);
    assert!(b.codes().is_empty() && leg.wake.is_none());
    b.hear(prack(5, &ringing, number, ""));
    assert_eq!(b.codes(), ["481"], "nothing waits for it");
    leg.say(&mut b, Signal::Answer(media()));
    assert!(b.sent[0].sdp().is_some() && b.sent[0].text("RSeq").is_none());
    assert_eq!(b.codes(), ["200"]);
}

/// RFC 3262 §3
#[test]
fn r_call_23_an_invite_without_prack_is_refused_with_504() {
    let mut b = bench("one");
    let (mut leg, _) = rings(&mut b, SDP, Signal::Ringing);
    b.wait(31_999);
    assert_eq!(b.codes(), ["180"; 6]);
    b.wait(1);
    assert_eq!(ended(&leg.commit(&mut b)), Some(Reason::Timeout));
    assert_eq!(b.codes(), ["504"]);
    b.hear(request("ACK", 1, TO, "").replace("z9hG4bKack", "z9hG4bKINVITE1"));
    b.wait(100_000);
    assert_eq!((b.codes().len(), b.edge.legs()), (0, 0));
}

/// A final response stops the repetition, and a PRACK that comes all the same is taken.
#[test]
fn r_call_23_an_answer_need_not_wait_for_a_prack_without_description() {
    let mut b = bench("one");
    let (mut leg, ringing) = rings(&mut b, SDP, Signal::Ringing);
    leg.say(&mut b, Signal::Answer(media()));
    assert_eq!(b.codes(), ["200"]);
    b.hear(request("ACK", 1, ringing.text("To").unwrap(), ""));
    b.wait(5_000);
    assert!(b.codes().is_empty());
    b.hear(prack(2, &ringing, rseq(&ringing), ""));
    assert_eq!(b.codes(), ["200"]);
    assert!(b.asks.is_empty());
}

#[test]
fn r_call_23_a_refusal_ends_the_repetition() {
    let mut b = bench("one");
    let (mut leg, ringing) = rings(&mut b, SDP, Signal::Ringing);
    leg.say(&mut b, Signal::End(Reason::Busy.into()));
    b.hear(request("ACK", 1, TO, "").replace("z9hG4bKack", "z9hG4bKINVITE1"));
    assert_eq!(b.codes(), ["486"]);
    b.wait(3_000);
    b.hear(prack(2, &ringing, rseq(&ringing), ""));
    assert_eq!(b.codes(), ["200"]);
}

/// The next one has the next number, and leaves after the PRACK of the first.
#[test]
fn r_call_23_one_response_at_a_time() {
    let mut b = bench("one");
    let (mut leg, ringing) = rings(&mut b, SDP, Signal::Ringing);
    leg.say(&mut b, Signal::Progress(Some(media())));
    assert!(b.codes().is_empty());
    b.hear(prack(2, &ringing, rseq(&ringing), ""));
    leg.commit(&mut b);
    let early = b.sent.pop().unwrap();
    assert_eq!((rseq(&early), early.code()), (rseq(&ringing) + 1, Some(183)));
    assert_eq!(b.codes(), ["200"]);
    // Its description is the answer: the 200 waits, and says the same.
    leg.say(&mut b, Signal::Answer(media()));
    assert!(b.codes().is_empty());
    b.hear(prack(3, &early, rseq(&early), ""));
    leg.commit(&mut b);
    assert_eq!(b.sent[1].sdp(), early.sdp());
    assert_eq!(b.codes(), ["200", "200"]);
    b.wait(600);
    assert_eq!(b.codes(), ["200"], "the 2xx is repeated until its ACK, the 183 is not");
}

/// R-CALL-37
#[test]
fn r_call_37_our_offer_is_in_the_180_and_the_answer_in_the_prack() {
    for early in [false, true] {
        let mut b = bench("one");
        let (mut leg, ringing) = rings(&mut b, "", Signal::Progress(Some(media())));
        assert!(ringing.code() == Some(180) && ringing.sdp().is_some());
        if early {
            leg.say(&mut b, Signal::Answer(media()));
            assert!(b.codes().is_empty(), "the 200 waits for the answer to our offer");
        }
        b.hear(prack(2, &ringing, rseq(&ringing), SDP));
        let heard = leg.commit(&mut b);
        assert!(matches!(heard.signals.as_slice(), [Signal::Progress(Some(media))] if media.is_described()));
        if !early {
            leg.say(&mut b, Signal::Answer(media()));
        }
        assert!(b.sent[1].sdp().is_none());
        assert_eq!(b.codes(), ["200", "200"]);
        // The ACK has nothing to answer.
        b.hear(request("ACK", 1, ringing.text("To").unwrap(), ""));
        b.wait(60_000);
        assert!(b.codes().is_empty() && b.asks.is_empty());
    }
}

#[test]
fn r_call_37_without_an_answer_in_the_prack_there_is_no_call() {
    let mut b = bench("one");
    let (mut leg, ringing) = rings(&mut b, "", Signal::Progress(Some(media())));
    b.hear(prack(2, &ringing, rseq(&ringing), ""));
    assert_eq!(ended(&leg.commit(&mut b)), Some(Reason::IncompatibleMedia));
    assert_eq!(b.codes(), ["200", "488"]);
}

#[test]
fn a_peer_that_only_knows_100rel_is_answered_without() {
    for sdp in [SDP, ""] {
        let mut b = bench("one");
        b.hear(with(request("INVITE", 1, TO, sdp), "Supported: 100rel"));
        let (mut leg, _) = Recorded::opened(&mut b);
        leg.say(&mut b, if sdp.is_empty() { Signal::Progress(Some(media())) } else { Signal::Ringing });
        assert!(b.sent[1].text("RSeq").is_none() && b.sent[1].body.is_empty());
        leg.say(&mut b, Signal::Answer(media()));
        assert!(b.sent[2].sdp().is_some());
        assert_eq!(b.codes(), ["100", "180", "200"]);
    }
}

/// The edge that sent the 180 is gone: another repeats it, takes the PRACK and lets the 200 leave.
#[test]
fn r_call_23_another_edge_goes_on() {
    let mut b = bench("one");
    let (mut leg, ringing) = rings(&mut b, "", Signal::Progress(Some(media())));
    leg.say(&mut b, Signal::Answer(media()));
    let begun = b.now;
    let mut other = bench("two");
    other.now = b.now;
    assert_eq!(leg.wake(&mut other).since(begun), 2_000);
    assert_eq!(other.sent[0].write(), ringing.write());
    assert_eq!(other.codes(), ["180"]);
    other.wait(500);
    assert_eq!(other.codes(), ["180"]);
    // One that has nothing of the call in its memory takes the PRACK.
    let mut third = bench("three");
    third.now = other.now;
    let acknowledged = prack(2, &ringing, rseq(&ringing), SDP);
    third.hear(acknowledged.clone());
    leg.recall(&mut third);
    let heard = leg.commit(&mut third);
    assert!(matches!(heard.signals.as_slice(), [Signal::Progress(Some(_))]));
    assert_eq!(third.codes(), ["200", "200"]);
    // Its answer got lost: the PRACK comes again, to yet another.
    let mut fourth = bench("four");
    fourth.hear(acknowledged);
    leg.recall(&mut fourth);
    assert_eq!(fourth.codes(), ["200"]);
    assert!(fourth.asks.is_empty());
    // Who still repeats the 180 finds that it is acknowledged.
    other.wait(40_000);
    leg.revision -= 1;
    let (ticket, _) = other.asks.remove(0);
    leg.revision += 1;
    other.verdict(ticket, Verdict::Stale(leg.state()));
    assert!(other.asks.is_empty() && other.codes().iter().all(|code| code == "180"));
}

/// The edge that repeats the 180 is there: it takes the PRACK itself (RFC 3262 §3).
#[test]
fn r_call_23_a_prack_goes_to_the_edge_that_repeats() {
    let mut b = bench("one");
    let (leg, ringing) = rings(&mut b, SDP, Signal::Ringing);
    let mut other = bench("two");
    let acknowledged = prack(2, &ringing, rseq(&ringing), "");
    other.hear(acknowledged.clone());
    let (ticket, _) = other.asks.remove(0);
    other.verdict(ticket, Verdict::Leg(LegState { edge: "one".into(), ..leg.state() }));
    let (_, edge, handover) = other.hands.remove(0);
    assert_eq!((edge.as_str(), other.codes().len()), ("one", 0));
    b.edge.receive_forwarded(&handover, b.now);
    b.drain();
    b.commit(leg.revision + 1);
    assert_eq!(b.codes(), ["200"]);
    b.wait(40_000);
    assert!(b.codes().is_empty());
}

/// Nobody is left who would repeat it: the INVITE is refused all the same.
#[test]
fn r_call_23_another_edge_gives_up() {
    let mut b = bench("one");
    let (mut leg, _) = rings(&mut b, SDP, Signal::Ringing);
    let mut other = bench("two");
    other.now = b.now + 30_000;
    leg.wake(&mut other);
    assert_eq!(other.codes(), ["180"]);
    other.wait(2_000);
    assert_eq!(ended(&leg.commit(&mut other)), Some(Reason::Timeout));
    assert_eq!(other.codes().last().map(String::as_str), Some("504"));
}

/// RFC 3261 §13.3.1.1: each has a number of its own.
#[test]
fn a_long_alerting_is_told_again_after_150_seconds() {
    let mut b = bench("one");
    let (mut leg, ringing) = rings(&mut b, SDP, Signal::Ringing);
    for (cseq, number) in [(2, 0), (3, 1)] {
        b.hear(prack(cseq, &ringing, rseq(&ringing) + number, ""));
        leg.commit(&mut b);
        b.codes();
        b.wait(149_000);
        assert!(b.codes().is_empty());
        b.wait(1_000);
        leg.commit(&mut b);
        assert_eq!(rseq(&b.sent[0]), rseq(&ringing) + number + 1);
        assert_eq!(b.codes(), ["180"]);
    }
}

/// A phone that is called and answers reliably.
fn calls(b: &mut Bench) -> (Recorded, Message) {
    let leg = Recorded::called(b);
    let invite = b.sent.pop().unwrap();
    assert_eq!(invite.text("Supported"), Some("100rel, timer, norefersub, replaces"));
    (leg, invite)
}

fn reliable(invite: &Message, code: u16, rseq: u32, sdp: &str) -> String {
    with(answer(invite, code, sdp), &format!("Require: 100rel\r\nRSeq: {rseq}"))
}

fn rack(message: &Message) -> (&str, u32) {
    assert_eq!(message.method().as_deref(), Some("PRACK"));
    (message.text("RAck").unwrap(), message.cseq().unwrap().number)
}

#[test]
fn r_call_23_each_reliable_response_gets_one_prack() {
    let mut b = bench("one");
    let (mut leg, invite) = calls(&mut b);
    b.hear(reliable(&invite, 180, 7021, ""));
    assert!(b.codes().is_empty(), "not before the record knows");
    assert_eq!(leg.commit(&mut b).signals, [Signal::Ringing]);
    assert_eq!(rack(&b.sent[0]), ("7021 1 INVITE", 2));
    assert!(b.sent[0].to().unwrap().tag() == Some("b") && b.sent[0].text("Contact").is_none());
    let first = b.sent.remove(0);
    b.hear(answer(&first, 200, ""));
    // Again; one that overtakes another; an older one.
    for number in [7021, 7023, 7020] {
        b.hear(reliable(&invite, 183, number, SDP));
        assert!(b.codes().is_empty() && b.asks.is_empty(), "{number}");
    }
    b.hear(reliable(&invite, 183, 7022, SDP));
    assert!(matches!(leg.commit(&mut b).signals.as_slice(), [Signal::Progress(Some(_))]));
    assert_eq!(rack(&b.sent[0]), ("7022 1 INVITE", 3));
    assert_ne!(b.sent[0].via().unwrap().branch(), first.via().unwrap().branch());
    let second = b.sent.remove(0);
    // The same event at an edge that lost the PRACK: the same octets leave.
    let mut other = bench("two");
    other.hear(reliable(&invite, 183, 7022, SDP));
    leg.recall(&mut other);
    assert_eq!(other.sent[0].write(), second.write());
    // A PRACK that is not known there ends nothing.
    b.hear(answer(&second, 481, ""));
    // R-CALL-39: the answer was in the 183; another one is none.
    b.hear(answer(&invite, 200, &SDP.replace("4000", "5000")));
    let answered = leg.commit(&mut b);
    let [Signal::Answer(media)] = answered.signals.as_slice() else { panic!("{answered:?}") };
    assert_eq!(media.contents[0].transport.address.unwrap().port(), 4_000);
    assert_eq!(b.codes(), ["ACK"]);
    leg.say(&mut b, Signal::End(Reason::Normal.into()));
    assert_eq!(b.sent[0].cseq().map(|cseq| cseq.number), Some(4), "each PRACK has its CSeq");
}

#[test]
fn r_call_39_a_200_without_description_after_a_reliable_one() {
    let mut b = bench("one");
    let (mut leg, invite) = calls(&mut b);
    b.hear(reliable(&invite, 183, 1, SDP));
    leg.commit(&mut b);
    b.hear(answer(&invite, 200, ""));
    assert!(matches!(leg.commit(&mut b).signals.as_slice(), [Signal::Answer(media)] if media.is_described()));
    assert_eq!(b.codes(), ["PRACK", "ACK"]);
}

/// Each early dialog counts for itself, and has an answer of its own (RFC 3262 §4; R-CALL-29).
#[test]
fn r_call_23_forks_have_numbers_of_their_own() {
    let mut b = bench("one");
    let (mut leg, invite) = calls(&mut b);
    let fork = |text: String| text.replace(";tag=b", ";tag=c");
    b.hear(reliable(&invite, 183, 10, SDP));
    leg.commit(&mut b);
    b.hear(fork(reliable(&invite, 183, 77, &SDP.replace("4000", "5000"))));
    leg.commit(&mut b);
    b.hear(reliable(&invite, 180, 11, ""));
    leg.commit(&mut b);
    let to: Vec<_> = b.sent.iter().map(|m| m.to().unwrap().tag().unwrap().to_owned()).collect();
    assert_eq!((to, b.codes()), (vec!["b".into(), "c".into(), "b".into()], vec!["PRACK".to_owned(); 3]));
    b.hear(answer(&invite, 200, ""));
    let answered = leg.commit(&mut b);
    let [Signal::Answer(media)] = answered.signals.as_slice() else { panic!("{answered:?}") };
    assert_eq!(media.contents[0].transport.address.unwrap().port(), 4_000, "that of its own early dialog");
}

/// RFC 3262 §3: RSeq begins anew with each INVITE, and the answer to a change may be in a provisional response too.
#[test]
fn r_call_23_a_change_is_answered_reliably() {
    let mut b = bench("one");
    let (mut leg, invite) = calls(&mut b);
    b.hear(reliable(&invite, 180, 7, ""));
    leg.commit(&mut b);
    b.hear(answer(&invite, 200, SDP));
    leg.commit(&mut b);
    b.codes();
    for cseq in [3, 5] {
        leg.say(&mut b, Signal::Update(media()));
        let reinvite = b.sent.pop().unwrap();
        for number in [50, 50, 52] {
            b.hear(reliable(&reinvite, 183, number, SDP));
            if !b.asks.is_empty() {
                assert!(leg.commit(&mut b).signals.is_empty());
            }
        }
        assert_eq!(rack(&b.sent[0]), (&*format!("50 {cseq} INVITE"), cseq + 1));
        assert_eq!(b.codes(), ["PRACK"]);
        b.hear(answer(&reinvite, 200, ""));
        assert!(matches!(leg.commit(&mut b).signals.as_slice(), [Signal::Updated(_)]));
        assert_eq!(b.codes(), ["ACK"]);
    }
}

/// A response that only names the extension, or has no number, is one like any other.
#[test]
fn half_a_reliable_response_is_none() {
    for headers in ["Require: 100rel", "RSeq: 5", "Require: 100rel\r\nRSeq: 0", "Require: 100rel\r\nRSeq: x"]
    {
        let mut b = bench("one");
        let (mut leg, invite) = calls(&mut b);
        b.hear(with(answer(&invite, 180, ""), headers));
        assert_eq!(leg.commit(&mut b).signals, [Signal::Ringing]);
        assert!(b.codes().is_empty(), "{headers}");
    }
}

/// R-SIP-16: a peer that rings on after the CANCEL holds nothing.
#[test]
fn r_sip_16_a_cancel_without_a_final_response_frees_everything() {
    let mut b = bench("one");
    let (mut leg, invite) = calls(&mut b);
    b.hear(answer(&invite, 180, ""));
    leg.commit(&mut b);
    leg.say(&mut b, Signal::End(Reason::Cancelled.into()));
    let cancel = b.sent.pop().unwrap();
    b.hear(answer(&cancel, 200, ""));
    for _ in 0..3 {
        b.wait(10_000);
        b.hear(answer(&invite, 180, ""));
    }
    b.wait(1_990);
    assert!(b.edge.transactions() > 0);
    b.wait(20);
    assert_eq!(b.edge.transactions(), 0);
    // It answers after all.
    b.hear(answer(&invite, 200, SDP));
    assert_eq!(b.codes(), ["ACK", "BYE"]);
    b.wait(70_000);
    assert_eq!((b.edge.legs(), b.edge.transactions()), (0, 0));
}
