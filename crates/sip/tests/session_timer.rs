//! Session timers (RFC 4028; interworking §2.11), in both roles.
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
use tandem_sip::edge::Trunk;
use tandem_sip::message::Message;

fn timed(name: &str, session_expires: u32) -> Bench {
    let mut b = bench(name);
    b.edge.set_trunks(vec![Trunk { session_expires, ..trunk(b.flow) }]);
    b
}

fn ended(heard: &Heard) -> Option<Reason> {
    match heard.signals.as_slice() {
        [Signal::End(end)] => Some(end.reason),
        _ => None,
    }
}

/// A call that the phone makes with these headers, and that is answered.
fn made(b: &mut Bench, headers: &str) -> (Recorded, Message) {
    b.hear(with(request("INVITE", 1, TO, SDP), headers));
    let (mut leg, _) = Recorded::opened(b);
    leg.say(b, Signal::Answer(media()));
    let accepted = b.sent.pop().unwrap();
    b.codes();
    b.hear(request("ACK", 1, accepted.text("To").unwrap(), ""));
    (leg, accepted)
}

/// A call to the phone, which answers with these headers.
fn taken(b: &mut Bench, headers: &str) -> (Recorded, Message) {
    let mut leg = Recorded::called(b);
    let invite = b.sent.pop().unwrap();
    b.hear(with(answer(&invite, 200, SDP), headers));
    leg.commit(b);
    assert_eq!(b.codes(), ["ACK"]);
    (leg, invite)
}

/// Session-Expires and Require of a message.
fn told(message: &Message) -> (Option<&str>, bool) {
    (message.text("Session-Expires"), message.list("Require").contains(&"timer"))
}

/// Each row of the table, and what becomes of the values.
#[test]
fn r_call_38_our_2xx_says_who_refreshes() {
    for (wish, headers, expires, required) in [
        // timer unknown
        (1_800, "X: y", Some("1800;refresher=uas"), false),
        (0, "X: y", None, false),
        (1_800, "Session-Expires: 600;refresher=uac", Some("600;refresher=uas"), false),
        // timer known, no refresher
        (1_800, "Supported: timer", Some("1800;refresher=uas"), true),
        (0, "Supported: timer", None, false),
        (1_800, "Supported: timer\r\nx: 600", Some("600;refresher=uas"), true),
        // timer known, and a refresher
        (1_800, "Supported: timer\r\nSession-Expires: 600;refresher=uac", Some("600;refresher=uac"), true),
        (1_800, "Require: timer\r\nSession-Expires: 600;refresher=uas", Some("600;refresher=uas"), true),
        (0, "Supported: timer\r\nSession-Expires: 600 ; refresher = UAC", Some("600;refresher=uac"), true),
        // Values: never more than asked, and not below what somebody on the way takes.
        (1_800, "Supported: timer\r\nSession-Expires: 7200", Some("1800;refresher=uas"), true),
        (
            1_800,
            "Supported: timer\r\nSession-Expires: 7200\r\nMin-SE: 3600",
            Some("3600;refresher=uas"),
            true,
        ),
        (0, "Supported: timer\r\nSession-Expires: 7200", Some("7200;refresher=uas"), true),
        (1_800, "Supported: timer\r\nMin-SE: 2000", Some("2000;refresher=uas"), true),
        // Too little, and no way to say so.
        (1_800, "Session-Expires: 60", Some("1800;refresher=uas"), false),
        (0, "Session-Expires: 60", None, false),
        (0, "Session-Expires: soon", None, false),
    ] {
        let (leg, accepted) = made(&mut timed("one", wish), headers);
        assert_eq!(told(&accepted), (expires, required), "{wish} {headers:?}");
        assert_eq!(leg.wake.is_some(), expires.is_some(), "{headers:?}");
    }
}

/// RFC 4028 §9
#[test]
fn r_call_24_an_interval_below_90_is_refused() {
    let short = "Supported: timer\r\nSession-Expires: 89";
    let mut b = timed("one", 1_800);
    b.hear(with(request("INVITE", 1, TO, SDP), short));
    assert_eq!(b.sent[0].text("Min-SE"), Some("90"));
    assert_eq!(b.codes(), ["422"]);
    assert!(b.asks.is_empty());
    let mut b = timed("one", 1_800);
    let (leg, accepted) = made(&mut b, "Supported: timer");
    let to = accepted.text("To").unwrap();
    for (method, cseq) in [("INVITE", 2), ("UPDATE", 3)] {
        b.hear(with(request(method, cseq, to, SDP), short));
        assert_eq!(b.codes(), ["422"]);
    }
    assert!(b.asks.is_empty() && leg.wake.is_some());
}

#[test]
fn r_call_24_we_refresh_at_half_the_interval() {
    let mut b = timed("one", 1_800);
    let (mut leg, accepted) =
        made(&mut b, "Supported: timer\r\nSession-Expires: 600\r\nAllow: INVITE, UPDATE");
    for cseq in 1..4 {
        let begun = b.now;
        assert_eq!(leg.wake(&mut b).since(begun), 300_000);
        assert!(b.codes().is_empty(), "not before the record knows");
        assert!(leg.commit(&mut b).signals.is_empty());
        let update = b.sent.remove(0);
        assert_eq!(update.method().as_deref(), Some("UPDATE"));
        assert_eq!(told(&update), (Some("600;refresher=uac"), false));
        assert_eq!(
            (update.text("Supported"), update.sdp()),
            (Some("100rel, timer, norefersub, replaces"), None)
        );
        assert_eq!(update.cseq().map(|c| c.number), Some(cseq));
        b.hear(with(answer(&update, 200, ""), "Require: timer\r\nSession-Expires: 600;refresher=uac"));
        assert!(leg.commit(&mut b).signals.is_empty());
    }
    // The peer's own change is a refresh too, and the party stays.
    b.wait(100_000);
    let to = accepted.text("To").unwrap();
    let hold = SDP.replace("a=rtpmap", "a=sendonly\r\na=rtpmap");
    b.hear(with(request("INVITE", 2, to, &hold), "Supported: timer\r\nSession-Expires: 600"));
    leg.commit(&mut b);
    leg.say(&mut b, Signal::Updated(media()));
    assert_eq!(told(&b.sent[1]), (Some("600;refresher=uas"), true));
    assert_eq!(leg.wake.unwrap().since(b.now), 300_000);
}

/// R-SDP-8: byte for byte, whatever was refused in between.
#[test]
fn r_sdp_8_a_refresh_repeats_the_description() {
    let mut b = timed("one", 1_800);
    let (mut leg, accepted) = made(&mut b, "Supported: timer\r\nAllow: INVITE, ACK, BYE");
    leg.wake(&mut b);
    leg.commit(&mut b);
    let refresh = b.sent.remove(0);
    assert_eq!((refresh.method().as_deref(), refresh.sdp()), (Some("INVITE"), accepted.sdp()));
    // No change of ours or theirs passes it.
    b.hear(request("UPDATE", 2, accepted.text("To").unwrap(), SDP));
    assert_eq!(b.codes(), ["491"]);
    b.hear(with(answer(&refresh, 200, SDP), "Session-Expires: 1800;refresher=uac"));
    let heard = leg.commit(&mut b);
    assert!(matches!(heard.signals.as_slice(), [Signal::Update(_)]), "its answer may be another one");
    leg.say(&mut b, Signal::Updated(media()));
    assert_eq!(b.codes(), ["ACK"]);
    // A hold that is refused is not offered by the next refresh.
    let mut hold = media();
    hold.contents[0].direction = Direction::Send;
    leg.say(&mut b, Signal::Update(hold));
    let refused = b.sent.remove(0);
    b.hear(answer(&refused, 488, ""));
    leg.commit(&mut b);
    b.codes();
    leg.wake(&mut b);
    leg.commit(&mut b);
    let text = |message: &Message| String::from_utf8(message.sdp().unwrap().to_vec()).unwrap();
    let (before, after) = (text(&accepted), text(&b.sent[0]));
    let version = |text: &str| text.lines().nth(1).unwrap().split(' ').nth(2).unwrap().to_owned();
    assert_eq!(
        (version(&before), version(&text(&refused)), version(&after)),
        ("1".into(), "2".into(), "3".into())
    );
    let lines = |text: &str| {
        text.lines().filter(|line| !line.starts_with("o=")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(lines(&before), lines(&after));
}

#[test]
fn r_call_24_a_peer_that_does_not_refresh_is_hung_up_on() {
    for (interval, margin) in [(90, 30_000), (600, 32_000)] {
        let mut b = timed("one", 1_800);
        let headers = format!("Supported: timer\r\nSession-Expires: {interval};refresher=uac");
        let (mut leg, accepted) = made(&mut b, &headers);
        let begun = b.now;
        assert_eq!(leg.wake.unwrap().since(begun), interval * 1_000 - margin);
        // It refreshes once, by UPDATE without description: the call hears nothing of it.
        b.wait(40_000);
        let update = request("UPDATE", 2, accepted.text("To").unwrap(), "");
        b.hear(with(update, &headers));
        assert!(leg.commit(&mut b).signals.is_empty());
        assert_eq!(told(&b.sent[0]), (Some(&*format!("{interval};refresher=uac")), true));
        assert_eq!(b.codes(), ["200"]);
        let begun = b.now;
        assert_eq!(leg.wake(&mut b).since(begun), interval * 1_000 - margin);
        assert_eq!(ended(&leg.commit(&mut b)), Some(Reason::Timeout));
        assert_eq!(b.codes(), ["BYE"]);
    }
}

/// R-CALL-38, as UAC: the peer's 2xx decides.
#[test]
fn r_call_38_the_2xx_to_our_invite_says_who_refreshes() {
    for (headers, pause) in [
        ("Require: timer\r\nSession-Expires: 1800;refresher=uac", Some(900_000)),
        ("Session-Expires: 1800;refresher=uas", Some(1_768_000)),
        ("Require: timer\r\nSession-Expires: 600", Some(300_000)),
        ("Session-Expires: 10;refresher=uac", Some(45_000)),
        ("X: y", None),
    ] {
        let mut b = timed("one", 1_800);
        let (leg, invite) = taken(&mut b, headers);
        assert_eq!(
            (told(&invite), invite.text("Supported")),
            ((Some("1800"), false), Some("100rel, timer, norefersub, replaces"))
        );
        assert_eq!(leg.wake.map(|at| at.since(b.now)), pause, "{headers}");
    }
    let (_, invite) = taken(&mut timed("one", 0), "X: y");
    assert_eq!(told(&invite), (None, false));
}

/// The roles are those of the transaction: in our re-INVITE the peer that refreshes is the UAS.
#[test]
fn r_call_38_the_refresher_stays_the_same_party() {
    for (ours, asked, theirs) in [(true, "uac", "uas"), (false, "uas", "uac")] {
        let mut b = timed("one", 1_800);
        let (mut leg, _) = taken(&mut b, &format!("Session-Expires: 1800;refresher={asked}"));
        leg.say(&mut b, Signal::Update(media()));
        let reinvite = b.sent.remove(0);
        assert_eq!(reinvite.text("Session-Expires"), Some(&*format!("1800;refresher={asked}")));
        b.hear(with(answer(&reinvite, 200, SDP), &format!("Session-Expires: 1800;refresher={asked}")));
        leg.commit(&mut b);
        let pause = if ours { 900_000 } else { 1_768_000 };
        assert_eq!(leg.wake.unwrap().since(b.now), pause);
        b.codes();
        // The peer changes something, and names nobody.
        let to = reinvite.text("From").unwrap();
        let from = reinvite.text("To").unwrap();
        let call_id = reinvite.call_id().unwrap();
        let again = with(request("INVITE", 1, to, ""), "Supported: timer")
            .replace("<sip:2041@pbx.example>;tag=a", from)
            .replace("Call-ID: c1", &format!("Call-ID: {call_id}"));
        b.hear(again);
        leg.commit(&mut b);
        assert_eq!(told(&b.sent[0]), (Some(&*format!("1800;refresher={theirs}")), true));
        assert_eq!(leg.wake.unwrap().since(b.now), pause);
    }
}

/// RFC 4028 §7.3
#[test]
fn r_call_24_a_422_is_met_with_a_longer_interval() {
    let mut b = timed("one", 90);
    let mut leg = Recorded::called(&mut b);
    for (least, cseq) in [(120, 2), (200, 3)] {
        let invite = b.sent.pop().unwrap();
        b.codes();
        b.hear(with(answer(&invite, 422, ""), &format!("Min-SE: {least}")));
        assert!(leg.commit(&mut b).signals.is_empty());
        let again = b.sent.last().unwrap();
        assert_eq!(told(again), (Some(&*least.to_string()), false));
        assert_eq!(again.text("Min-SE"), Some(&*least.to_string()));
        assert_eq!((again.cseq().unwrap().number, again.call_id()), (cseq, invite.call_id()));
        assert!(again.to().unwrap().tag().is_none() && again.sdp() == invite.sdp());
        assert_ne!(again.via().unwrap().branch(), invite.via().unwrap().branch());
    }
    let invite = b.sent.pop().unwrap();
    b.hear(with(answer(&invite, 200, SDP), "Session-Expires: 200;refresher=uac"));
    leg.commit(&mut b);
    b.codes();
    // So is one to a refresh.
    leg.wake(&mut b);
    leg.commit(&mut b);
    let refresh = b.sent.pop().unwrap();
    b.hear(with(answer(&refresh, 422, ""), "Min-SE: 300"));
    assert!(leg.commit(&mut b).signals.is_empty());
    let again = b.sent.pop().unwrap();
    assert_eq!(told(&again), (Some("300;refresher=uac"), false));
    b.hear(with(answer(&again, 200, SDP), "Session-Expires: 300;refresher=uac"));
    leg.commit(&mut b);
    assert_eq!(leg.wake.unwrap().since(b.now), 150_000);
}

#[test]
fn a_422_that_makes_no_sense_is_a_refusal() {
    for headers in ["X: y", "Min-SE: 90", "Min-SE: 1800", "Min-SE: 99999999999"] {
        let mut b = timed("one", 1_800);
        let mut leg = Recorded::called(&mut b);
        let invite = b.sent.pop().unwrap();
        b.hear(with(answer(&invite, 422, ""), headers));
        assert!(ended(&leg.commit(&mut b)).is_some(), "{headers}");
        assert_eq!(b.codes(), ["ACK"]);
    }
    // A peer that always wants more.
    let mut b = timed("one", 1_800);
    let mut leg = Recorded::called(&mut b);
    let refused = (1_801..2_000).take_while(|least| {
        let invite = b.sent.pop().unwrap();
        b.hear(with(answer(&invite, 422, ""), &format!("Min-SE: {least}")));
        ended(&leg.commit(&mut b)).is_none()
    });
    assert_eq!(refused.count(), 4);
}

#[test]
fn r_call_24_a_dead_peer_ends_the_call() {
    for code in [Some(408), Some(481), None] {
        let mut b = timed("one", 1_800);
        let (mut leg, _) = taken(&mut b, "Session-Expires: 1800;refresher=uac\r\nAllow: UPDATE");
        leg.wake(&mut b);
        leg.commit(&mut b);
        let update = b.sent.pop().unwrap();
        match code {
            Some(code) => b.hear(answer(&update, code, "")),
            None => b.wait(32_000),
        }
        assert!(matches!(ended(&leg.commit(&mut b)), Some(Reason::Timeout | Reason::General)), "{code:?}");
        assert_eq!(b.codes().last().map(String::as_str), Some("BYE"));
    }
}

/// A refusal is tried again before the session ends, then it ends (RFC 4028 §10).
#[test]
fn r_call_24_a_refresh_that_is_refused_is_sent_again() {
    let mut b = timed("one", 1_800);
    let (mut leg, _) = taken(&mut b, "Require: timer\r\nSession-Expires: 600;refresher=uac\r\nAllow: UPDATE");
    let (begun, mut times) = (b.now, vec![]);
    let heard = loop {
        times.push(leg.wake(&mut b).since(begun) / 1_000);
        let heard = leg.commit(&mut b);
        if !heard.signals.is_empty() {
            break heard;
        }
        let update = b.sent.pop().unwrap();
        b.hear(answer(&update, 500, ""));
        leg.commit(&mut b);
    };
    assert_eq!(times, [300, 450, 525, 562, 581]);
    assert_eq!((ended(&heard), b.codes()), (Some(Reason::Timeout), vec!["BYE".to_owned()]));
}

/// A peer may say that it takes UPDATE, and not take it.
#[test]
fn a_refresh_by_update_that_is_not_served_becomes_a_reinvite() {
    let mut b = timed("one", 1_800);
    let (mut leg, _) = taken(&mut b, "Require: timer\r\nSession-Expires: 600;refresher=uac\r\nAllow: UPDATE");
    for method in ["UPDATE", "INVITE"] {
        leg.wake(&mut b);
        leg.commit(&mut b);
        let refresh = b.sent.pop().unwrap();
        assert_eq!(refresh.method().as_deref(), Some(method));
        if method == "UPDATE" {
            b.hear(answer(&refresh, 405, ""));
            leg.commit(&mut b);
        }
    }
}

/// A peer without timers has shown that it is there by whatever it answers.
#[test]
fn a_peer_without_timers_need_not_like_our_refresh() {
    let mut b = timed("one", 1_800);
    let (mut leg, _) = made(&mut b, "Allow: INVITE, UPDATE");
    for code in [200, 500, 488] {
        let begun = b.now;
        assert_eq!(leg.wake(&mut b).since(begun), 900_000);
        leg.commit(&mut b);
        let update = b.sent.pop().unwrap();
        b.hear(answer(&update, code, ""));
        assert!(leg.commit(&mut b).signals.is_empty());
    }
    leg.wake(&mut b);
    leg.commit(&mut b);
    let update = b.sent.pop().unwrap();
    b.hear(answer(&update, 481, ""));
    assert!(ended(&leg.commit(&mut b)).is_some());
}

/// Any edge refreshes, hangs up, and takes the other's refresh (kill -9 of the one that agreed the interval).
#[test]
fn r_call_24_another_edge_sees_to_the_session() {
    // Ours.
    let mut b = timed("one", 1_800);
    let (mut leg, _) = taken(&mut b, "Session-Expires: 600;refresher=uac\r\nAllow: UPDATE");
    let mut other = timed("two", 1_800);
    other.now = b.now;
    leg.wake(&mut other);
    leg.commit(&mut other);
    let lost = other.sent.pop().unwrap();
    // It dies too, before the answer comes.
    let (mut third, begun) = (timed("three", 1_800), other.now);
    third.now = begun;
    assert_eq!(leg.wake(&mut third).since(begun), 33_000);
    leg.commit(&mut third);
    let update = third.sent.pop().unwrap();
    assert_eq!((lost.cseq().unwrap().number, update.cseq().unwrap().number), (2, 3));
    third.hear(with(answer(&update, 200, ""), "Session-Expires: 600;refresher=uac"));
    leg.commit(&mut third);
    // The first one is woken for what it knew: nothing is due.
    b.now = third.now;
    let now = leg.wake;
    leg.wake = Some(b.now);
    leg.wake(&mut b);
    assert!(b.asks.is_empty() && now.is_some());
    // Theirs.
    let mut b = timed("one", 1_800);
    let (mut leg, accepted) = made(&mut b, "Supported: timer\r\nSession-Expires: 600;refresher=uac");
    let mut other = timed("two", 1_800);
    other.now = b.now + 300_000;
    let update = request("UPDATE", 2, accepted.text("To").unwrap(), "");
    other.hear(with(update, "Supported: timer\r\nSession-Expires: 600;refresher=uac"));
    leg.recall(&mut other);
    leg.commit(&mut other);
    assert_eq!(other.codes(), ["200"]);
    leg.wake(&mut b);
    assert_eq!(ended(&leg.commit(&mut b)), Some(Reason::Timeout));
    assert_eq!(b.codes(), ["BYE"]);
}

/// An UPDATE without offer is a target refresh, answered here alone.
#[test]
fn an_update_refreshes_the_target() {
    let mut b = timed("one", 1_800);
    let (mut leg, accepted) = made(&mut b, "Supported: timer");
    let update = request("UPDATE", 2, accepted.text("To").unwrap(), "");
    b.hear(update.replace("Contact: <sip:2041@192.0.2.9>", "Contact: <sip:2041@192.0.2.77>"));
    assert!(leg.commit(&mut b).signals.is_empty());
    b.codes();
    leg.say(&mut b, Signal::End(Reason::Normal.into()));
    assert!(b.sent[0].write().starts_with(b"BYE sip:2041@192.0.2.77 "));
}
