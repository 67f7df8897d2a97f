//! Exchanges within a call as RFC 3261 and its neighbours rule them: late offers, crossings, forks, timers, refusals.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod bench;

use bench::*;
use signal::media::Direction;
use signal::*;

fn ended(heard: &Heard) -> Option<Reason> {
    match heard.signals.as_slice() {
        [Signal::End(end)] => Some(end.reason),
        _ => None,
    }
}

fn direction(heard: &Heard) -> Option<Direction> {
    match heard.signals.as_slice() {
        [Signal::Update(m) | Signal::Updated(m) | Signal::Answer(m)] => Some(m.contents[0].direction),
        _ => None,
    }
}

fn body(message: &tandem_sip::message::Message) -> String {
    String::from_utf8(message.body.to_vec()).unwrap()
}

/// Interworking §2.8: the offer is in the 200, the answer in the ACK.
fn called_without_offer(b: &mut Bench) -> (Heard, String) {
    b.hear(request("INVITE", 1, TO, ""));
    let heard = b.commit(1);
    assert!(matches!(heard.signals.as_slice(), [Signal::Offer(m)] if !m.is_described()));
    b.say(state(heard.leg, 1, heard.dialog.clone()), 2, Signal::Answer(media()), None);
    let to = b.sent.last().unwrap().text("To").unwrap().to_owned();
    assert!(body(b.sent.last().unwrap()).contains("m=audio 30000 RTP/AVP 0"));
    assert_eq!(b.codes(), ["100", "200"]);
    (heard, to)
}

#[test]
fn the_answer_in_an_ack_is_heard_once() {
    let mut b = bench("one");
    let (_, to) = called_without_offer(&mut b);
    b.hear(request("ACK", 1, &to, SDP));
    b.hear(request("ACK", 1, &to, SDP));
    let heard = b.commit(3);
    assert!(matches!(heard.signals.as_slice(), [Signal::Updated(m)] if m.is_described()));
    assert!(b.asks.is_empty());
    b.wait(60_000);
    assert!(b.codes().is_empty());
}

#[test]
fn an_ack_without_the_answer_ends_the_call() {
    let mut b = bench("one");
    let (_, to) = called_without_offer(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    assert_eq!(ended(&b.commit(3)), Some(Reason::IncompatibleMedia));
    assert!(b.sent[0].text("Reason").unwrap().starts_with("SIP;cause=488"));
    assert_eq!(b.codes(), ["BYE"]);
}

/// A PABX takes a call off hold without saying what it wants: it is offered both ways, and its answer is a change to the call.
#[test]
fn an_offerless_reinvite_is_offered_our_wish() {
    let mut b = bench("one");
    let (heard, _, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    b.hear(request("INVITE", 2, &to, &SDP.replace("a=rtpmap", "a=sendonly\r\na=rtpmap")));
    let hold = b.commit(4);
    let mut ours = media();
    ours.contents[0].direction = Direction::Receive;
    b.say(state(heard.leg, 4, hold.dialog), 7, Signal::Updated(ours), None);
    b.hear(request("ACK", 2, &to, ""));
    b.sent.clear();
    b.hear(request("INVITE", 3, &to, ""));
    assert!(b.asks.is_empty());
    assert!(!body(&b.sent[0]).contains("recvonly"), "{}", body(&b.sent[0]));
    assert_eq!(b.codes(), ["200"]);
    // Neither side may offer anything until the answer has come.
    b.hear(request("UPDATE", 4, &to, SDP));
    assert_eq!(b.codes(), ["491"]);
    b.hear(request("ACK", 3, &to, SDP));
    assert_eq!(direction(&b.commit(6)), Some(Direction::Both));
    b.wait(60_000);
    assert!(b.codes().is_empty());
}

/// RFC 3261 §14.2, RFC 3311 §5.2
#[test]
fn offers_that_meet_are_refused_by_the_rule() {
    let mut b = bench("one");
    let (heard, _, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    // Theirs is open: 500; an UPDATE without offer is no offer.
    b.hear(request("INVITE", 2, &to, SDP));
    let first = b.commit(4);
    b.hear(request("INVITE", 3, &to, SDP));
    assert!(b.sent.last().unwrap().text("Retry-After").is_some());
    b.hear(request("UPDATE", 4, &to, ""));
    assert_eq!(b.codes(), ["100", "500", "200"]);
    b.say(state(heard.leg, 4, first.dialog), 7, Signal::Refused(Reason::Glare), None);
    assert_eq!(b.codes(), ["491"]);
    // Ours is open: 491; an UPDATE without offer is no offer.
    let mut hold = media();
    hold.contents[0].direction = Direction::Send;
    b.say(state(heard.leg, 5, vec![]), 8, Signal::Update(hold), None);
    let ours = b.sent.remove(0);
    b.hear(request("INVITE", 5, &to, SDP));
    b.hear(request("UPDATE", 6, &to, SDP));
    b.hear(request("UPDATE", 7, &to, ""));
    assert_eq!(b.codes(), ["491", "491", "200"]);
    b.hear(answer(&ours, 491, ""));
    assert_eq!(b.commit(7).signals, [Signal::Refused(Reason::Glare)]);
    assert_eq!(b.codes(), ["ACK"]);
}

#[test]
fn an_update_with_an_offer_is_a_change_like_any_other() {
    let mut b = bench("one");
    let (heard, _, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    b.hear(request("UPDATE", 2, &to, &SDP.replace("a=rtpmap", "a=inactive\r\na=rtpmap")));
    let held = b.commit(4);
    assert_eq!(direction(&held), Some(Direction::None));
    assert!(b.codes().is_empty(), "no 100 to a request that is no INVITE");
    b.say(state(heard.leg, 4, held.dialog), 7, Signal::Updated(media()), None);
    assert!(!b.sent[0].body.is_empty() && b.sent[0].text("Contact").is_some());
    assert_eq!(b.codes(), ["200"]);
}

#[test]
fn before_the_answer_an_update_is_refused_and_a_second_invite_too() {
    let mut b = bench("one");
    b.hear(request("INVITE", 1, TO, SDP));
    let heard = b.commit(1);
    b.say(state(heard.leg, 1, heard.dialog), 2, Signal::Ringing, None);
    let to = b.sent.last().unwrap().text("To").unwrap().to_owned();
    b.codes();
    b.hear(request("UPDATE", 2, &to, SDP));
    b.hear(request("INVITE", 3, &to, SDP));
    b.hear(request("OPTIONS", 4, &to, ""));
    assert_eq!(b.codes(), ["500", "500", "200"]);
    // The same dialog-to-be by another way.
    b.hear(request("INVITE", 1, TO, SDP).replace("z9hG4bKINVITE1", "z9hG4bKother"));
    assert_eq!(b.codes(), ["482"]);
}

#[test]
fn a_change_that_is_not_answered_ends_the_call() {
    let mut b = bench("one");
    let (heard, _, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    let mut hold = media();
    hold.contents[0].direction = Direction::Send;
    b.say(state(heard.leg, 3, vec![]), 8, Signal::Update(hold), None);
    b.sent.clear();
    b.wait(40_000);
    assert_eq!(ended(&b.commit(5)), Some(Reason::Timeout));
    assert!(b.codes().ends_with(&["BYE".into()]));
}

/// §15.1.2: the end of a call overtakes a change that waits for its answer.
#[test]
fn a_bye_answers_the_open_reinvite_too() {
    for ours in [false, true] {
        let mut b = bench("one");
        let (heard, _, to) = answered(&mut b);
        b.hear(request("ACK", 1, &to, ""));
        b.hear(request("INVITE", 2, &to, SDP));
        b.commit(4);
        b.codes();
        if ours {
            b.say(state(heard.leg, 4, vec![]), 9, Signal::End(Reason::Normal.into()), None);
            assert_eq!(b.codes(), ["487", "BYE"]);
        } else {
            b.hear(request("BYE", 3, &to, ""));
            b.commit(5);
            assert_eq!(b.codes(), ["200", "487"]);
        }
    }
}

/// R-CALL-18
#[test]
fn a_lost_ack_ends_the_call_after_64_t1() {
    let mut b = bench("one");
    answered(&mut b);
    b.wait(31_900);
    let codes = b.codes();
    assert!(codes.len() > 8 && codes.iter().all(|c| c == "200"), "{codes:?}");
    b.wait(200);
    assert_eq!(ended(&b.commit(4)), Some(Reason::Timeout));
    assert_eq!(b.codes(), ["BYE"]);
}

/// R-CALL-11, R-CALL-17
#[test]
fn cancel_and_answer_may_cross_either_way() {
    // Theirs: the 200 has left; the CANCEL is answered and changes nothing.
    let mut b = bench("one");
    answered(&mut b);
    b.hear(request("CANCEL", 1, TO, ""));
    assert_eq!(b.codes(), ["200"]);
    assert!(b.asks.is_empty());
    // Ours: taken, and hung up.
    let mut b = bench("one");
    let (leg, _) = called(&mut b);
    let invite = b.sent.remove(0);
    b.hear(answer(&invite, 180, ""));
    let last_provisional = b.commit(2);
    b.say(state(leg, 2, last_provisional.dialog), 3, Signal::End(Reason::Cancelled.into()), None);
    assert_eq!(b.codes(), ["CANCEL"]);
    b.hear(answer(&invite, 200, SDP));
    assert_eq!(b.codes(), ["ACK", "BYE"]);
    b.hear(answer(&invite, 200, SDP));
    assert_eq!(b.codes(), ["ACK"]);
    assert!(b.asks.is_empty());
    b.wait(70_000);
    assert_eq!(b.edge.legs(), 0);
}

/// R-CALL-29: a proxy forked our INVITE and two phones answered.
#[test]
fn of_two_answers_one_is_a_call() {
    let mut b = bench("one");
    let (leg, _) = called(&mut b);
    let invite = b.sent.remove(0);
    b.hear(answer(&invite, 200, SDP));
    let heard = b.commit(2);
    assert_eq!(b.codes(), ["ACK"]);
    let second = answer(&invite, 200, SDP).replace(";tag=b", ";tag=c").replace("192.0.2.9>", "192.0.2.77>");
    b.hear(second.clone());
    assert!(b.sent.iter().all(|m| m.to().unwrap().tag() == Some("c")));
    assert!(b.sent[1].write().starts_with(b"BYE sip:2041@192.0.2.77 "));
    assert_eq!(b.codes(), ["ACK", "BYE"]);
    b.hear(second);
    assert_eq!(b.codes(), ["ACK"], "acknowledged again; its BYE repeats by itself");
    assert!(b.asks.is_empty());
    b.say(state(leg, 2, heard.dialog), 5, Signal::End(Reason::Normal.into()), None);
    assert_eq!(b.sent[0].to().unwrap().tag(), Some("b"));
}

/// A 200 without description repeats the one before it (R-CALL-39); without any it is no call.
#[test]
fn a_200_without_description() {
    let mut b = bench("one");
    called(&mut b);
    let invite = b.sent.remove(0);
    b.hear(answer(&invite, 183, SDP));
    assert!(matches!(b.commit(2).signals.as_slice(), [Signal::Progress(Some(_))]));
    b.hear(answer(&invite, 183, SDP));
    assert!(b.asks.is_empty(), "the same again says nothing new");
    b.hear(answer(&invite, 200, ""));
    assert_eq!(direction(&b.commit(3)), Some(Direction::Both));
    let mut b = bench("one");
    called(&mut b);
    let invite = b.sent.remove(0);
    b.hear(answer(&invite, 200, ""));
    assert_eq!(ended(&b.commit(2)), Some(Reason::IncompatibleMedia));
    assert_eq!(b.codes(), ["ACK", "BYE"]);
}

/// §13.3.1.1
#[test]
fn it_rings_again_every_minute() {
    let mut b = bench("one");
    b.hear(request("INVITE", 1, TO, SDP));
    let heard = b.commit(1);
    let last_provisional = b.say(state(heard.leg, 1, heard.dialog), 2, Signal::Ringing, None);
    b.codes();
    b.wait(185_000);
    assert_eq!(b.codes(), ["180", "180", "180"]);
    b.say(
        state(heard.leg, 2, last_provisional.dialog.unwrap()),
        3,
        Signal::End(Reason::NoAnswer.into()),
        None,
    );
    assert_eq!(b.codes(), ["480"]);
    b.hear(request("ACK", 1, TO, "").replace("z9hG4bKack", "z9hG4bKINVITE1"));
    b.wait(120_000);
    assert!(b.codes().is_empty());
    assert_eq!(b.edge.legs(), 0);
}

/// §13.3.1
#[test]
fn an_invite_expires() {
    let mut b = bench("one");
    b.hear(request("INVITE", 1, TO, SDP).replace("Max-Forwards", "Expires: 20\r\nMax-Forwards"));
    b.commit(1);
    b.codes();
    b.wait(19_000);
    assert!(b.asks.is_empty());
    b.wait(2_000);
    assert_eq!(ended(&b.commit(2)), Some(Reason::NoAnswer));
    assert_eq!(b.codes(), ["487"]);
}

/// Timer C: a phone that only rings is given up, and a phone that rings on is not.
#[test]
fn a_ringing_phone_is_given_up_in_the_end() {
    let mut b = bench("one");
    called(&mut b);
    let invite = b.sent.remove(0);
    b.hear(answer(&invite, 180, ""));
    b.commit(2);
    b.wait(150_000);
    b.hear(answer(&invite, 180, ""));
    b.wait(150_000);
    assert!(b.asks.is_empty() && b.codes().is_empty());
    b.wait(30_100);
    assert_eq!(ended(&b.commit(3)), Some(Reason::NoAnswer));
    assert_eq!(b.codes(), ["CANCEL"]);
    b.hear(answer(&invite, 487, ""));
    assert_eq!(b.codes(), ["ACK"]);
    assert!(b.asks.is_empty());
}

/// An INVITE on which nobody decides is not kept for ever.
#[test]
fn an_invite_that_nobody_decides_on_is_answered_in_the_end() {
    let mut b = bench("one");
    b.hear(request("INVITE", 1, TO, SDP));
    b.commit(1);
    b.codes();
    b.wait(601_000);
    let (ticket, heard) = b.heard();
    assert_eq!(ended(&heard), Some(Reason::Timeout));
    b.verdict(ticket, Verdict::Unavailable);
    assert_eq!(b.codes(), ["408"]);
    // The call is told of it again and again, up to a point.
    b.wait(600_000);
    assert!(b.asks.len() > 10 && b.codes().iter().all(|code| code == "408"));
    assert_eq!((b.edge.legs(), b.edge.deadline()), (0, None));
}

/// R-DTMF-5, R-SIP-10
#[test]
fn info_is_a_digit_or_is_refused_honestly() {
    let mut b = bench("one");
    let (_, _, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    let info = |n: u32, kind: &str, body: &str| {
        request("INFO", n, &to, body).replace("Content-Type: application/sdp", kind)
    };
    b.hear(info(2, "Content-Type: application/dtmf-relay", "Signal=*\r\nDuration=90\r\n"));
    let heard = b.commit(4);
    assert_eq!(heard.signals, [Signal::Tone(Tone { digit: '*', duration: 90 })]);
    b.hear(info(3, "Content-Type: application/broadsoft", "x"));
    assert!(b.sent.last().unwrap().text("Accept").is_some());
    b.hear(info(4, "Info-Package: trickle-ice\r\nContent-Type: application/trickle-ice-sdpfrag", "x"));
    assert!(b.sent.last().unwrap().text("Recv-Info").is_some());
    b.hear(info(5, "Content-Type: application/dtmf", "hello"));
    b.hear(request("INFO", 6, &to, ""));
    b.hear(request("PUBLISH", 7, &to, ""));
    assert!(b.sent.last().unwrap().text("Allow").is_some_and(|allow| !allow.contains("PUBLISH")));
    assert_eq!(b.codes(), ["200", "415", "469", "400", "200", "405"]);
}

#[test]
fn a_description_within_a_multipart_is_read() {
    let mut b = bench("one");
    let body = format!(
        "--x\r\nContent-Type: application/isup\r\n\r\n\u{1}\u{2}\r\n--x\r\nContent-Type: application/sdp\r\n\r\n{SDP}\r\n--x--\r\n"
    );
    let invite = request("INVITE", 1, TO, &body)
        .replace("application/sdp\r\nContent-L", "multipart/mixed;boundary=x\r\nContent-L");
    b.hear(invite);
    assert!(matches!(b.commit(1).signals.as_slice(), [Signal::Offer(m)] if m.is_described()));
}

/// R-SIP-11
#[test]
fn hops_are_counted_down_and_none_left_is_refused() {
    let mut b = bench("one");
    called(&mut b);
    assert_eq!(b.sent.remove(0).max_forwards(), Some(69));
    b.hear(request("INVITE", 1, TO, SDP).replace("Max-Forwards: 70", "Max-Forwards: 0"));
    assert_eq!(b.codes(), ["483"]);
}

/// Challenge of a trunk that wants digest.
fn challenge(request: &tandem_sip::message::Message, code: u16, nonce: &str, more: &str) -> String {
    let name = if code == 407 { "Proxy-Authenticate" } else { "WWW-Authenticate" };
    let line =
        format!("{name}: Digest realm=\"pbx\", nonce=\"{nonce}\", qop=\"auth\"{more}\r\nContent-Length");
    answer(request, code, "").replace("Content-Length", &line)
}

fn known(b: &mut Bench) {
    let credentials = tandem_sip::digest::Credentials { username: "gw".into(), password: "s3cret".into() };
    let mut trunk = trunk(b.flow);
    trunk.credentials = Some(credentials);
    b.edge.set_trunks(vec![trunk]);
}

/// R-SIP-15, RFC 3261 §22: the INVITE again with the next CSeq and a branch of its own, once the record knows of it; the call
/// hears nothing of all that.
#[test]
fn a_challenge_is_met_once() {
    let mut b = bench("one");
    known(&mut b);
    called(&mut b);
    let first = b.sent.remove(0);
    b.hear(challenge(&first, 407, "n1", ""));
    assert_eq!(b.codes(), ["ACK"], "not before the commit");
    assert!(b.commit(2).signals.is_empty());
    let second = b.sent.remove(0);
    assert_eq!(second.cseq().unwrap().number, 2);
    assert_eq!(second.call_id(), first.call_id());
    assert_ne!(second.via().unwrap().branch(), first.via().unwrap().branch());
    assert!(second.text("Proxy-Authorization").unwrap().contains("nonce=\"n1\""));
    assert_eq!(second.list("Via").len(), 1);
    // The trunk behind the proxy wants its own; a stale nonce is tried again.
    b.hear(challenge(&second, 401, "n2", ", stale=true"));
    b.commit(3);
    let third = b.sent.pop().unwrap();
    let counted = |name, nonce, nc| {
        let value = third.text(name).unwrap();
        value.contains(&format!("nonce=\"{nonce}\"")) && value.contains(&format!("nc=0000000{nc}"))
    };
    assert!(counted("Proxy-Authorization", "n1", 2), "nc never repeats (RFC 7616 §3.4)");
    assert!(counted("Authorization", "n2", 1));
    b.sent.clear();
    b.hear(answer(&third, 180, ""));
    assert_eq!(b.commit(4).signals, [Signal::Ringing]);
    b.hear(answer(&third, 200, SDP));
    let heard = b.commit(5);
    assert!(matches!(heard.signals.as_slice(), [Signal::Answer(_)]));
    let ack = b.sent.remove(0);
    assert_eq!((ack.method().as_deref(), ack.cseq().unwrap().number), (Some("ACK"), 3));
    assert!(ack.text("Authorization").is_some(), "the INVITE's credentials");
    // The BYE is answer_challenge like any request.
    let leg = heard.leg;
    b.say(state(leg, 5, heard.dialog), 6, Signal::End(Reason::Normal.into()), None);
    let bye = b.sent.remove(0);
    b.hear(challenge(&bye, 401, "n3", ""));
    b.commit(7);
    assert!(b.sent[0].text("Authorization").unwrap().contains("nonce=\"n3\""));
    assert_eq!(b.codes(), ["BYE"]);
}

#[test]
fn a_challenge_that_cannot_be_met_is_a_refusal() {
    // Not known to the trunk at all.
    let mut b = bench("one");
    called(&mut b);
    let invite = b.sent.remove(0);
    b.hear(challenge(&invite, 401, "n1", ""));
    assert_eq!(ended(&b.commit(2)), Some(Reason::Security));
    // The wrong password.
    let mut b = bench("one");
    known(&mut b);
    called(&mut b);
    let invite = b.sent.remove(0);
    b.hear(challenge(&invite, 401, "n1", ""));
    b.commit(2);
    let again = b.sent.pop().unwrap();
    b.hear(challenge(&again, 401, "n2", ""));
    assert_eq!(ended(&b.commit(3)), Some(Reason::Security));
    // Given up meanwhile.
    let mut b = bench("one");
    known(&mut b);
    let (leg, said) = called(&mut b);
    let invite = b.sent.remove(0);
    b.say(state(leg, 1, said.dialog.unwrap()), 2, Signal::End(Reason::Cancelled.into()), None);
    b.hear(challenge(&invite, 401, "n1", ""));
    assert_eq!(b.codes(), ["ACK"]);
    assert!(b.asks.is_empty());
}

/// The edge that was answer_challenge dies: another meets the challenge from the record, and the answer belongs to the call.
#[test]
fn another_edge_meets_a_challenge() {
    let mut b = bench("one");
    let (leg, said) = called(&mut b);
    let invite = b.sent.remove(0);
    let mut other = bench("two");
    known(&mut other);
    other.hear(challenge(&invite, 401, "n1", ""));
    let (ticket, _) = other.asks.remove(0);
    other.verdict(ticket, Verdict::Leg(state(leg, 1, said.dialog.unwrap())));
    let kept = other.commit(2);
    let again = other.sent.pop().unwrap();
    assert_eq!(other.codes(), ["ACK"]);
    let mut third = bench("three");
    third.hear(answer(&again, 200, SDP));
    let (ticket, _) = third.asks.remove(0);
    third.verdict(ticket, Verdict::Leg(state(leg, 2, kept.dialog)));
    assert!(matches!(third.commit(3).signals.as_slice(), [Signal::Answer(_)]));
}
