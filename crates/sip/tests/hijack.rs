//! Messages that carry our tag and are not of its dialog (RFC 3261 §12.2.2): 481 or silence, and the leg learns nothing of them.
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

const STRANGER: &str = "203.0.113.66:5060";
const STRANGER_WAY: &str = "udp://203.0.113.66:5060";

fn from(b: &mut Bench, peer: &str) {
    b.flow.peer = peer.parse().unwrap();
}

/// The same request as others would write it: what is wrong with it, from where it comes, and its text.
fn forged(text: &str) -> [(&'static str, &'static str, String); 5] {
    let own = "192.0.2.9:5060";
    [
        ("from elsewhere", STRANGER, text.to_owned()),
        ("another Call-ID", own, text.replace("Call-ID: c1", "Call-ID: C1")),
        ("another tag", own, text.replace(">;tag=a\r\n", ">;tag=ab\r\n")),
        ("no tag", own, text.replace(">;tag=a\r\n", ">\r\n")),
        (
            "nothing right but our tag",
            STRANGER,
            text.replace("Call-ID: c1", "Call-ID: x").replace("tag=a", "tag=q"),
        ),
    ]
}

/// In-dialog requests that would end a call, change its media or say digits.
fn meddling(to: &str) -> Vec<String> {
    let theirs = SDP.replace("192.0.2.9", "203.0.113.66");
    let digit = request("INFO", 9, to, "Signal=5\r\n").replace("application/sdp", "application/dtmf-relay");
    vec![
        request("BYE", 9, to, ""),
        request("INVITE", 9, to, &theirs),
        request("INVITE", 9, to, ""),
        request("UPDATE", 9, to, &theirs),
        request("UPDATE", 9, to, ""),
        request("CANCEL", 9, to, ""),
        request("OPTIONS", 9, to, ""),
        digit,
    ]
}

fn held(b: &mut Bench) -> (Heard, Said, String) {
    let (heard, said, to) = answered(b);
    b.hear(request("ACK", 1, &to, ""));
    (heard, said, to)
}

#[test]
fn f1_a_request_of_another_dialog_is_481_and_changes_nothing() {
    let mut b = bench("one");
    let (heard, said, to) = held(&mut b);
    let before = b.edge.transactions();
    for text in meddling(&to) {
        for (what, peer, text) in forged(&text) {
            from(&mut b, peer);
            b.hear(text.clone());
            assert_eq!(b.codes(), ["481"], "{what}: {text}");
            assert!(b.asks.is_empty(), "{what}: {text}");
        }
    }
    assert_eq!(b.edge.transactions(), before, "no state is held for them");
    // What we say goes to the true peer, in the dialog as it was, and the true peer may still do everything.
    from(&mut b, "192.0.2.9:5060");
    b.say(state(heard.leg, 3, said.dialog.unwrap()), 8, Signal::Update(media()), None);
    let ours = b.sent.remove(0);
    assert_eq!((b.way().as_str(), ours.cseq().unwrap().number), ("udp://192.0.2.9:5060", 1));
    b.hear(answer(&ours, 200, SDP));
    assert!(matches!(b.commit(5).signals.as_slice(), [Signal::Updated(_)]));
    b.sent.clear();
    b.hear(request("INFO", 2, &to, ""));
    b.hear(request("BYE", 3, &to, ""));
    assert!(matches!(b.commit(6).signals.as_slice(), [Signal::End(e)] if e.reason == Reason::Normal));
    assert_eq!(b.codes(), ["200", "200"]);
}

/// The name of a trunk's host may stand for several addresses: what belongs to a call may come from each, from no other, at the
/// edge that holds the leg and at one that recalls it (R-SIP-17).
#[test]
fn every_address_of_the_trunk_s_host_is_of_the_trunk() {
    for recalled in [false, true] {
        for (peer, code) in [
            ("198.51.100.7:5080", "200"),
            ("[2001:db8::7]:5060", "200"),
            ("198.51.100.8:5060", "481"),
            (STRANGER, "481"),
        ] {
            let mut b = bench("one");
            let (heard, said, to) = held(&mut b);
            if recalled {
                b = bench("two");
            }
            let mut own = trunk(b.flow);
            let further = ["198.51.100.7:5060", "[2001:db8::7]:5060"];
            own.targets[0]
                .flows
                .extend(further.map(|peer| tandem_sip::edge::Flow::udp(peer.parse().unwrap())));
            b.edge.set_trunks(vec![own]);
            from(&mut b, peer);
            b.hear(request("BYE", 2, &to, ""));
            if recalled {
                let (ticket, _) = b.asks.remove(0);
                b.verdict(ticket, Verdict::Leg(state(heard.leg, 3, said.dialog.unwrap())));
            }
            if code == "200" {
                assert!(matches!(b.commit(4).signals.as_slice(), [Signal::End(_)]), "{peer}");
            }
            assert_eq!(b.codes(), [code], "{peer}");
        }
    }
}

/// A trunk that sends from an address which `sources` does not name is told to its operator; a guess of a stranger is not
/// (R-SIP-17).
#[test]
fn a_refused_source_is_told_with_its_trunk() {
    for recalled in [false, true] {
        let mut b = bench("one");
        let (heard, said, to) = held(&mut b);
        if recalled {
            b = bench("two");
        }
        for method in ["BYE", "INVITE", "INFO", "ACK"] {
            for (what, peer, text) in forged(&request(method, 9, &to, "")) {
                from(&mut b, peer);
                b.hear(text);
                while let Some((ticket, _)) = b.asks.pop() {
                    b.verdict(ticket, Verdict::Leg(state(heard.leg, 3, said.dialog.clone().unwrap())));
                }
                let told: Vec<_> = b.refused.drain(..).collect();
                let wanted = what == "from elsewhere";
                let expected = wanted.then(|| ("pbx".to_owned(), "203.0.113.66".to_owned()));
                assert_eq!(told, Vec::from_iter(expected), "{recalled} {method} {what}");
            }
        }
    }
}

/// The same at an edge that has the leg from the record.
#[test]
fn an_edge_that_recalls_a_leg_refuses_what_is_not_of_it() {
    let mut b = bench("one");
    let (heard, said, to) = held(&mut b);
    for text in meddling(&to) {
        for (what, peer, text) in forged(&text) {
            let mut other = bench("two");
            from(&mut other, peer);
            other.hear(text.clone());
            let (ticket, ask) = other.asks.remove(0);
            assert_eq!(ask, Ask::Recall(heard.leg));
            other.verdict(ticket, Verdict::Leg(state(heard.leg, 3, said.dialog.clone().unwrap())));
            assert_eq!(other.codes(), ["481"], "{what}: {text}");
            assert!(other.asks.is_empty(), "{what}: {text}");
            from(&mut other, "192.0.2.9:5060");
            other.hear(request("BYE", 2, &to, ""));
            other.commit(4);
            assert_eq!(other.codes(), ["200"]);
        }
    }
}

/// An ACK is never answered: a false one neither ends our repeating the 2xx nor brings a description.
#[test]
fn a_false_ack_is_dropped() {
    for sdp in [SDP, ""] {
        let mut b = bench("one");
        b.hear(request("INVITE", 1, TO, sdp));
        let heard = b.commit(1);
        b.say(state(heard.leg, 1, heard.dialog), 2, Signal::Answer(media()), None);
        let to = b.sent.last().unwrap().text("To").unwrap().to_owned();
        b.codes();
        let body = if sdp.is_empty() { SDP } else { "" };
        let ack = request("ACK", 1, &to, body);
        for (what, peer, text) in forged(&ack) {
            from(&mut b, peer);
            b.hear(text);
            assert!(b.codes().is_empty() && b.asks.is_empty(), "{what}");
        }
        b.wait(600);
        assert_eq!(b.codes(), ["200"], "still without its ACK");
        from(&mut b, "192.0.2.9:5060");
        b.hear(ack);
        assert_eq!(b.asks.len(), usize::from(!body.is_empty()));
        b.wait(600);
        assert!(b.codes().is_empty());
    }
}

/// A CANCEL names the transaction that it means (§9.2), and comes from the trunk that sent the INVITE.
#[test]
fn a_call_is_cancelled_by_its_caller_alone() {
    let mut b = bench("one");
    let elsewhere = tandem_sip::edge::Flow::udp("198.51.100.5:5060".parse().unwrap());
    let other = tandem_sip::edge::Trunk {
        name: "other".into(),
        sources: vec![(elsewhere.peer.ip(), 32)],
        ..trunk(elsewhere)
    };
    b.edge.set_trunks(vec![trunk(b.flow), other]);
    b.hear(request("INVITE", 1, TO, SDP));
    let heard = b.commit(1);
    b.say(state(heard.leg, 1, heard.dialog), 2, Signal::Ringing, None);
    let to = b.sent.last().unwrap().text("To").unwrap().to_owned();
    b.codes();
    let cancel = request("CANCEL", 1, TO, "");
    for (peer, text, code) in [
        ("192.0.2.9:5060", cancel.replace("z9hG4bKINVITE1", "z9hG4bKguess"), "481"),
        ("198.51.100.5:5060", cancel.clone(), "481"),
        (STRANGER, cancel.clone(), "403"),
        (STRANGER, request("CANCEL", 1, &to, ""), "481"),
        (STRANGER, request("BYE", 2, &to, ""), "481"),
    ] {
        from(&mut b, peer);
        b.hear(text.clone());
        assert_eq!(b.codes(), [code], "{peer} {text}");
        assert!(b.asks.is_empty());
    }
    from(&mut b, "192.0.2.9:5060");
    b.hear(cancel);
    assert!(matches!(b.commit(3).signals.as_slice(), [Signal::End(e)] if e.reason == Reason::Cancelled));
    assert_eq!(b.codes(), ["200", "487"]);
}

/// A request of the same branch as one that is open is refused where it came from; the open one is not answered by that.
#[test]
fn a_refusal_of_a_stranger_ends_nobody_else_s_transaction() {
    let mut b = bench("one");
    b.hear(request("INVITE", 1, TO, SDP));
    let heard = b.commit(1);
    b.codes();
    from(&mut b, STRANGER);
    for (text, code) in [
        (request("INVITE", 1, TO, SDP), "403"),
        (request("INVITE", 1, TO, SDP).replace("Max-Forwards", "no colon"), "400"),
    ] {
        b.hear(text);
        assert_eq!((b.codes(), b.way().as_str()), (vec![code.to_owned()], STRANGER_WAY));
    }
    from(&mut b, "192.0.2.9:5060");
    b.say(state(heard.leg, 1, heard.dialog), 2, Signal::Answer(media()), None);
    assert_eq!((b.codes(), b.way().as_str()), (vec!["200".to_owned()], "udp://192.0.2.9:5060"));
}

/// Responses that nobody who was asked has sent.
fn false_answers(request: &Message, code: u16) -> Vec<(&'static str, &'static str, String)> {
    let own = "192.0.2.9:5060";
    let text = answer(request, code, if code < 300 { SDP } else { "" });
    let change = |from: &str| {
        let line = text.lines().find(|line| line.starts_with(from)).unwrap();
        text.replace(line, &format!("{}x", line.trim_end_matches(";rport")))
    };
    vec![
        ("from elsewhere", STRANGER, text.clone()),
        ("another Call-ID", own, change("Call-ID:")),
        ("another tag of ours", own, change("From:")),
        ("another branch", own, change("Via:")),
    ]
}

#[test]
fn a_response_that_was_not_asked_for_is_dropped() {
    for recalled in [false, true] {
        for code in [180, 200, 302, 401, 486] {
            let mut b = bench("one");
            let (leg, said) = called(&mut b);
            let invite = b.sent.remove(0);
            if recalled {
                b = bench("two");
            }
            for (what, peer, text) in false_answers(&invite, code) {
                from(&mut b, peer);
                b.hear(text);
                while let Some((ticket, ask)) = b.asks.pop() {
                    assert_eq!(ask, Ask::Recall(leg), "{what}");
                    b.verdict(ticket, Verdict::Leg(state(leg, 1, said.dialog.clone().unwrap())));
                }
                assert!(b.codes().is_empty(), "{what}: {code}");
            }
            from(&mut b, "192.0.2.9:5060");
            b.hear(answer(&invite, 200, SDP));
            let heard = b.commit(2);
            let [Signal::Answer(media)] = heard.signals.as_slice() else { panic!("{:?}", heard.signals) };
            assert_eq!(media.contents[0].transport.ip(), Some("192.0.2.9".parse().unwrap()));
            assert_eq!(b.codes(), ["ACK"]);
        }
    }
}

#[test]
fn an_answer_to_our_reinvite_comes_from_the_peer_alone() {
    let mut b = bench("one");
    let (heard, said, _) = held(&mut b);
    b.say(state(heard.leg, 3, said.dialog.unwrap()), 4, Signal::Update(media()), None);
    let invite = b.sent.remove(0);
    let mut false_ones = false_answers(&invite, 200);
    let other = answer(&invite, 200, SDP)
        .replace("To: <sip:2041@pbx.example>;tag=a", "To: <sip:2041@pbx.example>;tag=z");
    false_ones.push(("another tag of the peer's", "192.0.2.9:5060", other));
    for (what, peer, text) in false_ones {
        from(&mut b, peer);
        b.hear(text);
        while let Some((ticket, _)) = b.asks.pop() {
            b.verdict(ticket, Verdict::Stale(state(heard.leg, 4, vec![])));
        }
        assert!(b.codes().is_empty(), "{what}");
    }
    from(&mut b, "192.0.2.9:5060");
    b.hear(answer(&invite, 200, SDP));
    assert!(matches!(b.commit(5).signals.as_slice(), [Signal::Updated(_)]));
    assert_eq!(b.codes(), ["ACK"]);
}

/// Where our digit goes after `text` came from a stranger's address and what it came to was committed.
fn way_after(b: &mut Bench, leg: LegRef, index: u64, text: String) -> String {
    let home = b.flow;
    from(b, STRANGER);
    b.hear(text);
    b.flow = home;
    if let Some(Ask::Heard(heard)) = b.asks.first().map(|(_, ask)| ask.clone()) {
        b.commit(heard.base + 1);
    }
    b.say(state(leg, 0, vec![]), index, Signal::Tone(Tone { digit: '1', duration: 100 }), None);
    b.way()
}

/// A trunk of phones that change networks says so: then a call follows its phone, once a request of it was accepted.
#[test]
fn a_call_follows_a_phone_that_roams() {
    for (roaming, text, code, way) in [
        (false, "Signal=5", "481", "udp://192.0.2.9:5060"),
        (true, "Signal=5", "200", "udp://203.0.113.66:5060"),
        (true, "", "200", "udp://203.0.113.66:5060"),
        (true, "no digit", "400", "udp://192.0.2.9:5060"),
    ] {
        let mut b = bench("one");
        let mut own = trunk(b.flow);
        own.roaming = roaming;
        b.edge.set_trunks(vec![own]);
        let behind_nat = |text: String| text.replace("sip:2041@192.0.2.9>", "sip:2041@10.0.0.4>");
        b.hear(behind_nat(request("INVITE", 1, TO, SDP)));
        let heard = b.commit(1);
        b.say(state(heard.leg, 1, heard.dialog), 2, Signal::Answer(media()), None);
        let to = b.sent.last().unwrap().text("To").unwrap().to_owned();
        b.hear(behind_nat(request("ACK", 1, &to, "")));
        b.codes();
        let info = request("INFO", 2, &to, text).replace("application/sdp", "application/dtmf-relay");
        assert_eq!(way_after(&mut b, heard.leg, 90, info), way, "{roaming} {text:?}");
        assert_eq!(b.codes(), [code, "INFO"], "{roaming} {text:?}");
        // A trunk of phones that roam is no open door: the dialog's Call-ID and tags are wanted all the same.
        let foreign = request("BYE", 3, &to, "").replace("tag=a", "tag=q");
        assert_eq!(way_after(&mut b, heard.leg, 91, foreign), way);
        assert_eq!(b.codes(), ["481", "INFO"]);
    }
}

/// A proxy forked our INVITE: until one answers, each early dialog may speak; a tag that nobody met may not.
#[test]
fn forks_of_our_invite_are_known_by_their_tags() {
    let mut b = bench("one");
    let (leg, said) = called(&mut b);
    let invite = b.sent.remove(0);
    b.hear(answer(&invite, 180, ""));
    b.commit(2);
    b.hear(answer(&invite, 180, "").replace(";tag=b", ";tag=c"));
    let of = |tag: &str, cseq: u32| {
        let theirs = |name: &str| invite.text(name).unwrap().to_owned();
        request("OPTIONS", cseq, &theirs("From"), "")
            .replace("<sip:2041@pbx.example>;tag=a", &format!("<sip:2041@192.0.2.9>;tag={tag}"))
            .replace("Call-ID: c1", &format!("Call-ID: {}", theirs("Call-ID")))
    };
    b.hear(of("b", 1));
    b.hear(of("c", 2));
    assert_eq!(b.codes(), ["200", "200"]);
    b.hear(of("d", 3));
    let (ticket, ask) = b.asks.remove(0);
    assert_eq!(ask, Ask::Recall(leg), "another edge may have met it");
    b.verdict(ticket, Verdict::Leg(state(leg, 1, said.dialog.unwrap())));
    assert_eq!(b.codes(), ["481"]);
    b.hear(answer(&invite, 200, SDP).replace(";tag=b", ";tag=c"));
    b.commit(3);
    b.codes();
    b.hear(of("b", 4));
    b.hear(of("c", 5));
    assert_eq!(b.codes(), ["481", "200"], "answered by one, it is a dialog with that one");
}
