//! Calls of XMPP users through the sans-IO edge, and changes of a running session.
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

#[test]
fn rosa_calls_a_number_and_hangs_up() {
    let mut b = bench();
    let (leg, us) = rosa_is_answered(&mut b);
    b.jingle(ROSA, &us, &action("session-terminate", SID, "<reason><success/></reason>"));
    assert_eq!(b.commit().signals, [Signal::End(Reason::Normal.into())]);
    assert_eq!(b.kinds(), ["result", "finish"]);
    assert_eq!(leg.record, Secret::new(b"test").call_of_jingle(ROSA, SID));
}

#[test]
fn the_number_hangs_up_on_rosa() {
    let mut b = bench();
    let (leg, _) = rosa_is_answered(&mut b);
    b.say(leg, Signal::End(Reason::Normal.into()));
    assert_eq!(b.kinds(), ["session-terminate", "finish"]);
}

#[test]
fn rosa_gives_up_or_is_refused() {
    let mut b = bench();
    rosa_proposes(&mut b);
    b.jmi(ROSA, NUMBER, "retract", SID, "<reason xmlns='urn:xmpp:jingle:1'><cancel/></reason>");
    assert_eq!(b.commit().signals, [Signal::End(Reason::Cancelled.into())]);

    let mut b = bench();
    let leg = rosa_proposes(&mut b);
    b.say(leg, Signal::End(Reason::Busy.into()));
    let reject = b.last("reject");
    assert_eq!((reject.attr("to"), reason(&reject).as_str()), (Some(ROSA), "busy"));

    // R-CALL-17: the retract crosses our proceed.
    let mut b = bench();
    let leg = rosa_proposes(&mut b);
    b.say(leg, Signal::Answer(media()));
    b.jmi(ROSA, NUMBER, "retract", SID, "");
    assert_eq!(b.commit().signals, [Signal::End(Reason::Cancelled.into())]);
    assert_eq!(b.kinds(), ["proceed", "finish"]);

    // R-CALL-41: her client is gone.
    let mut b = bench();
    let leg = rosa_proposes(&mut b);
    b.say(leg, Signal::Answer(media()));
    let proceed = b.last("proceed");
    b.reply(&proceed, Some("item-not-found"));
    assert_eq!(b.commit().signals, [Signal::End(Reason::Connectivity.into())]);

    // Nobody takes the call.
    for (verdict, why) in
        [(Verdict::Refused(Reason::NotFound.into()), "gone"), (Verdict::Unavailable, "connectivity-error")]
    {
        let mut b = bench();
        b.jmi(ROSA, NUMBER, "propose", SID, "");
        // No RTP in it: turned away without a question.
        assert_eq!(reason(&b.last("reject")), "unsupported-applications");
        b.sent.clear();
        b.jmi(
            ROSA,
            NUMBER,
            "propose",
            "other",
            "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='video'/>",
        );
        let (ticket, _) = b.heard();
        b.verdict(ticket, verdict);
        assert_eq!(reason(&b.last("reject")), why);
        assert_eq!(b.edge.legs(), 0);
    }
}

/// That a phone may ring is said by the side that hears of it.
#[test]
fn g8_rosa_hears_ringing_when_the_call_says_so_and_once() {
    let mut b = bench();
    let leg = rosa_proposes(&mut b);
    b.after(30_000);
    assert!(b.kinds().is_empty() && b.asks.is_empty(), "the clock alone rings nothing");
    b.say(leg, Signal::Ringing);
    assert_eq!(b.kinds(), ["ringing"]);
    b.say(leg, Signal::Ringing);
    assert!(b.kinds().is_empty(), "once");
}

/// R-CALL-36
#[test]
fn history_starts_and_ends_nothing() {
    let mut b = bench();
    let stored = |name: &str| {
        format!(
            "<message xmlns='jabber:client' type='chat' from='{ROSA}' to='{NUMBER}'><{name} xmlns='urn:xmpp:jingle-message:0' id='{SID}'>\
             <description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/></{name}><delay xmlns='urn:xmpp:delay' stamp='2026-11-22T20:51:20Z'/></message>"
        )
    };
    b.hear(&stored("propose"));
    assert!(b.asks.is_empty() && b.sent.is_empty());
    rosa_proposes(&mut b);
    b.hear(&stored("retract"));
    assert!(b.asks.is_empty());
}

#[test]
fn a_client_without_jmi_calls() {
    let mut b = bench();
    let to = format!("{NUMBER}/phone");
    b.jingle(ROSA, &to, &fixture("dino-initiate", SID));
    assert!(b.sent.is_empty(), "acknowledged once it is in the record");
    let heard = b.commit();
    assert!(matches!(heard.signals.as_slice(), [Signal::Offer(m)] if m.is_described()));
    assert!(heard.opening.is_some());
    b.say(heard.leg, Signal::Ringing);
    b.say(heard.leg, Signal::Ringing);
    assert_eq!(b.last("ringing").attr("from"), Some(to.as_str()), "from the JID that was called");
    b.say(heard.leg, Signal::Answer(media()));
    assert_eq!(b.kinds(), ["result", "ringing", "session-accept"]);
    b.jingle(ROSA, &to, &fixture("dino-initiate", SID));
    assert_eq!(b.kinds(), ["out-of-order"]);
}

#[test]
fn a_direct_call_is_refused_by_a_terminate() {
    let mut b = bench();
    b.jingle(ROSA, NUMBER, &fixture("dino-initiate", SID));
    let (ticket, _) = b.heard();
    b.verdict(ticket, Verdict::Refused(Reason::Busy.into()));
    assert_eq!(reason(&b.last("session-terminate")), "busy");
    assert_eq!(b.kinds(), ["result", "session-terminate"]);

    b.jingle(ROSA, NUMBER, &fixture("dino-initiate", SID));
    let (ticket, _) = b.heard();
    b.verdict(ticket, Verdict::Unavailable);
    assert_eq!(b.kinds(), ["resource-constraint"]);
    assert_eq!(b.edge.legs(), 0);

    // No encryption: never bridged in the clear.
    let plain = fixture("dino-initiate", SID).replace("fingerprint", "footprint");
    b.jingle(ROSA, NUMBER, &plain);
    assert_eq!(reason(&b.last("session-terminate")), "security-error");
    assert!(b.asks.is_empty());
}

/// R-CALL-2, R-CALL-3
#[test]
fn what_makes_no_sense_gets_its_error() {
    let mut b = bench();
    for (jingle, error) in [
        (action("session-info", "nobody", ""), "unknown-session"),
        (action("session-initiate", "s1", ""), "bad-request"),
        (action("session-initiate", "", ""), "bad-request"),
        (fixture("dino-initiate", "s2").replace("name=\"audio\"", "name=\"\""), "bad-request"),
        (
            fixture("dino-initiate", "s3").replace("senders=", "disposition=\"early-session\" senders="),
            "bad-request",
        ),
        (
            fixture("dino-initiate", "s4").replace("sid=", "initiator=\"eve@example.org/x\" sid="),
            "bad-request",
        ),
    ] {
        b.jingle(ROSA, NUMBER, &jingle);
        if let Some((ticket, Ask::Recall(_))) = b.asks.pop() {
            b.verdict(ticket, Verdict::Gone);
        }
        assert_eq!(b.kinds(), [error], "{jingle}");
    }
    assert_eq!(b.edge.legs(), 0, "nothing is left of them");
    let (leg, us) = rosa_is_answered(&mut b);
    for (jingle, error) in [
        (action("dance", SID, ""), "bad-request"),
        (action("session-accept", SID, ""), "out-of-order"),
        (
            action("session-info", SID, "<transfer xmlns='urn:xmpp:jingle:transfer:0' to='x@y' sid='z'/>"),
            "unsupported-info",
        ),
        (action("security-info", SID, ""), "feature-not-implemented"),
        (action("content-remove", SID, "<content creator='initiator' name='9'/>"), "item-not-found"),
        (action("content-modify", SID, "<content creator='initiator' name='0' senders='?'/>"), "bad-request"),
    ] {
        b.jingle(ROSA, &us, &jingle);
        assert_eq!(b.kinds(), [error], "{jingle}");
    }
    // A stranger knows the sid.
    b.jingle("eve@example.org/x", &us, &action("session-terminate", SID, ""));
    let (ticket, ask) = b.asks.remove(0);
    assert!(matches!(ask, Ask::Recall(other) if other != leg));
    b.verdict(ticket, Verdict::Gone);
    assert_eq!(b.kinds(), ["unknown-session"]);
}

#[test]
fn candidates_trickle_before_and_after_the_accept() {
    let mut b = bench();
    let leg = rosa_proposes(&mut b);
    b.say(leg, Signal::Answer(media()));
    let us = b.last("proceed").attr("from").unwrap().to_owned();
    b.jingle(ROSA, &us, &fixture("chromium-initiate", SID));
    let heard = b.commit();
    let Signal::Update(media_of_hers) = &heard.signals[0] else { panic!() };
    let ice = media_of_hers.contents[0].transport.ice.clone().unwrap();
    let trickle = |n: u16, ufrag: &str, pwd: &str| {
        let candidate = format!(
            "<candidate component='1' foundation='1' generation='0' id='a{n}' ip='198.51.100.1' port='{n}' priority='{n}' protocol='udp' type='host'/>"
        );
        let transport = format!(
            "<transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='{ufrag}' pwd='{pwd}'>{candidate}</transport>"
        );
        action("transport-info", SID, &format!("<content creator='initiator' name='0'>{transport}</content>"))
    };
    b.jingle(ROSA, &us, &trickle(1000, &ice.ufrag, &ice.pwd));
    assert!(matches!(b.commit().signals.as_slice(), [Signal::Candidates(t)] if t[0].name == "0"));
    b.say(leg, Signal::Updated(media()));
    b.jingle(ROSA, &us, &trickle(1001, &ice.ufrag, &ice.pwd));
    assert!(matches!(b.commit().signals.as_slice(), [Signal::Candidates(_)]));
    b.sent.clear();
    // New credentials: a restart, answered with ours.
    b.jingle(ROSA, &us, &trickle(1002, "newufrag", "newpwd0123456789012345"));
    assert!(
        matches!(b.commit().signals.as_slice(), [Signal::Update(m)] if m.contents[0].transport.ice.as_ref().unwrap().ufrag == "newufrag")
    );
    b.say(leg, Signal::Updated(media()));
    assert_eq!(b.kinds(), ["result", "transport-info"]);
}

/// R-RTP-17: new credentials of ours and a candidate in one transport-info, as soon as nothing else is open.
#[test]
fn a_restart_is_answered_when_nothing_else_is_open() {
    let restart = |ufrag: &str| {
        let transport = format!(
            "<transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='{ufrag}' pwd='a-new-password-of-rosa'/>"
        );
        action("transport-info", SID, &format!("<content creator='initiator' name='0'>{transport}</content>"))
    };
    let restarts = |heard: &Heard, ufrag: &str| match heard.signals.as_slice() {
        [Signal::Update(m)] => m.contents[0].transport.ice.as_ref().unwrap().ufrag == ufrag,
        _ => false,
    };
    let mut b = bench();
    let (leg, us) = rosa_is_answered(&mut b);
    b.sent.clear();
    // The form of the Conversations family: no candidate yet.
    b.jingle(ROSA, &us, &restart("second"));
    assert!(restarts(&b.commit(), "second"));
    // Another one while we still ask: it waits for its turn.
    b.jingle(ROSA, &us, &restart("third"));
    assert!(b.commit().signals.is_empty());
    let mut ours = media();
    let ice = ours.contents[0].transport.ice.as_mut().unwrap();
    ice.ufrag = "ours2".into();
    ice.candidates.truncate(1);
    ice.candidates[0].generation = 1;
    assert_eq!(b.kinds(), ["result", "result"]);
    b.say(leg, Signal::Updated(ours.clone()));
    let info = b.last("transport-info");
    assert_eq!(b.kinds(), ["transport-info"]);
    let content = info.children().next().unwrap().children().next().unwrap();
    let transport = content.children().next().unwrap();
    let candidates: Vec<_> =
        transport.children().filter(|c| c.name() == "candidate").map(|c| c.attr("generation")).collect();
    assert_eq!((transport.attr("ufrag"), &candidates[..]), (Some("ours2"), &[Some("1")][..]));
    b.after(1_000);
    assert!(restarts(&b.commit(), "third"));
    // It met an open offer of the other side: tried again.
    b.say(leg, Signal::Refused(Reason::Glare));
    b.after(1_000);
    assert!(restarts(&b.commit(), "third"));
    b.say(leg, Signal::Updated(ours.clone()));
    assert_eq!(b.kinds(), ["transport-info"]);
    // While an update of ours is open.
    let mut held = ours.clone();
    held.contents[0].direction = Direction::Send;
    b.say(leg, Signal::Update(held));
    let hold = b.last("hold");
    b.jingle(ROSA, &us, &restart("fourth"));
    assert!(b.commit().signals.is_empty());
    b.reply(&hold, None);
    let heard = b.commit();
    let [Signal::Updated(_), Signal::Update(m)] = heard.signals.as_slice() else { panic!("{heard:?}") };
    assert_eq!(m.contents[0].transport.ice.as_ref().unwrap().ufrag, "fourth");
    b.sent.clear();
    b.say(leg, Signal::Updated(ours));
    assert_eq!(b.kinds(), ["transport-info"]);
}

/// R-CALL-19: hold from each side.
#[test]
fn hold_from_both_sides() {
    let mut b = bench();
    let (leg, us) = rosa_is_answered(&mut b);
    b.jingle(ROSA, &us, &action("session-info", SID, "<hold xmlns='urn:xmpp:jingle:apps:rtp:info:1'/>"));
    let heard = b.commit();
    let [Signal::Update(m)] = heard.signals.as_slice() else { panic!("{:?}", heard.signals) };
    assert!(m.holds());
    // It met an open offer: tried again.
    b.say(leg, Signal::Refused(Reason::Glare));
    assert_eq!(b.kinds(), ["result"]);
    b.after(1_000);
    assert!(matches!(b.commit().signals.as_slice(), [Signal::Update(m)] if m.holds()));
    b.say(leg, Signal::Updated(media()));
    b.jingle(ROSA, &us, &action("session-info", SID, "<active xmlns='urn:xmpp:jingle:apps:rtp:info:1'/>"));
    assert!(matches!(b.commit().signals.as_slice(), [Signal::Update(m)] if !m.holds()));
    b.say(leg, Signal::Updated(media()));
    b.sent.clear();
    // R-CALL-33: by session-info only.
    let mut held = media();
    held.contents[0].direction = Direction::Send;
    b.say(leg, Signal::Update(held));
    let hold = b.last("hold");
    assert_eq!(b.kinds(), ["hold"]);
    // R-CALL-40: a client that does not know it stays in the call.
    b.reply(&hold, Some("feature-not-implemented"));
    assert!(
        matches!(b.commit().signals.as_slice(), [Signal::Updated(m)] if m.contents[0].direction == Direction::Receive)
    );
    b.say(leg, Signal::Update(media()));
    let unhold = b.last("unhold");
    b.reply(&unhold, None);
    assert!(
        matches!(b.commit().signals.as_slice(), [Signal::Updated(m)] if m.contents[0].direction == Direction::Both)
    );
}

/// R-CALL-21: refused video leaves the audio untouched.
#[test]
fn video_is_added_and_refused() {
    let mut b = bench();
    let (leg, us) = rosa_is_answered(&mut b);
    b.jingle(ROSA, &us, &fixture("chromium-content-add", SID));
    let heard = b.commit();
    let [Signal::Update(m)] = heard.signals.as_slice() else { panic!("{:?}", heard.signals) };
    assert_eq!(m.contents.len(), 2);
    let mut agreed = media();
    agreed.contents.push(signal::media::Content {
        name: "1".into(),
        rejected: true,
        ..media().contents[0].clone()
    });
    b.say(leg, Signal::Updated(agreed));
    assert_eq!(b.kinds(), ["result", "content-reject"]);
    b.jingle(
        ROSA,
        &us,
        &action("content-modify", SID, "<content creator='initiator' name='0' senders='responder'/>"),
    );
    assert!(
        matches!(b.commit().signals.as_slice(), [Signal::Update(m)] if m.contents[0].direction == Direction::Receive && m.contents[1].rejected)
    );
    b.jingle(
        ROSA,
        &us,
        &action("content-modify", SID, "<content creator='initiator' name='0' senders='both'/>"),
    );
    assert_eq!(b.kinds(), ["result", "unexpected-request"], "one offer at a time");
    b.say(leg, Signal::Updated(media()));
    b.jingle(ROSA, &us, &action("content-remove", SID, "<content creator='initiator' name='0'/>"));
    assert_eq!(b.commit().signals, [Signal::End(Reason::Normal.into())]);
    assert_eq!(b.kinds(), ["result", "session-terminate", "finish"], "nothing is left");
}

/// R-CALL-25, XEP-0251: who asked is let go once the target has answered, and only then.
#[test]
fn a_transfer_is_asked_for_and_ends_the_session() {
    let mut b = bench();
    let (leg, us) = rosa_is_answered(&mut b);
    let transfer = |attributes: &str| {
        action("session-info", SID, &format!("<transfer xmlns='urn:xmpp:jingle:transfer:0' {attributes}/>"))
    };
    b.jingle(ROSA, &us, &transfer("to='2042@sip.example.net' from='rosa@example.net'"));
    let target = "2042@sip.example.net".to_owned();
    assert_eq!(b.commit().signals, [Signal::Refer { target, replaces: None }]);
    let busy = ReferStatus::Failed(Reason::Busy.into());
    for status in [ReferStatus::Trying, ReferStatus::Ringing, busy] {
        b.say(leg, Signal::Referred(status));
    }
    assert_eq!(b.kinds(), ["result", "message chat"], "what came to nothing is told in words");
    b.say(leg, Signal::Referred(ReferStatus::Accepted));
    b.say(leg, Signal::End(Reason::Normal.into()));
    assert_eq!(b.kinds(), ["session-terminate", "finish"]);
    b.jingle(ROSA, &us, &transfer("to='2043@sip.example.net'"));
    assert_eq!(b.kinds(), ["unknown-session"]);
}

#[test]
fn digits_cross() {
    let mut b = bench();
    let (leg, us) = rosa_is_answered(&mut b);
    b.jingle(
        ROSA,
        &us,
        &action("session-info", SID, "<dtmf xmlns='urn:xmpp:jingle:dtmf:0' code='5' duration='200'/>"),
    );
    assert_eq!(b.commit().signals, [Signal::Tone(Tone { digit: '5', duration: 200 })]);
    b.say(leg, Signal::Tone(Tone { digit: '#', duration: 160 }));
    assert_eq!(b.kinds(), ["result", "dtmf"]);
    // R-DTMF-6: from a client without a keypad.
    let typed = |text: &str| {
        format!(
            "<message xmlns='jabber:client' type='chat' from='{ROSA}' to='{NUMBER}'><body>{text}</body></message>"
        )
    };
    b.hear(&typed("1 2,#"));
    let digits = [('1', 160), ('2', 160), (',', 500), ('#', 160)];
    let digits = digits.map(|(digit, duration)| Signal::Tone(Tone { digit, duration }));
    assert_eq!(b.commit().signals, digits);
    assert!(b.kinds().is_empty());
    b.hear(&typed("12 please"));
    assert_eq!(b.kinds(), ["service-unavailable"]);
    // After hours of talk without a word from either client.
    b.after(11 * 3_600_000);
    b.hear(&typed("7"));
    assert_eq!(b.commit().signals, [Signal::Tone(Tone { digit: '7', duration: 160 })]);
    // Another call between the two came and went.
    b.jingle(ROSA, NUMBER, &fixture("dino-initiate", "other"));
    let other = b.commit().leg;
    b.hear(&typed("8"));
    assert_eq!(b.commit().leg, leg);
    b.say(other, Signal::End(Reason::Busy.into()));
    b.after(61_000);
    b.hear(&typed("9"));
    assert_eq!(b.commit().signals, [Signal::Tone(Tone { digit: '9', duration: 160 })]);
    b.say(leg, Signal::End(Reason::Normal.into()));
    b.after(61_000);
    assert_eq!((b.edge.legs(), b.edge.deadline()), (0, None));
}

/// R-CALL-25: in words, to the number or to the gateway; a transfer that comes to nothing is told in words, too.
#[test]
fn a_client_transfers_by_words() {
    let mut b = bench();
    let (leg, _) = rosa_is_answered(&mut b);
    let say = |to: &str, text: &str| {
        format!(
            "<message xmlns='jabber:client' type='chat' from='{ROSA}' to='{to}'><body>{text}</body></message>"
        )
    };
    let refer = [Signal::Refer { target: "2050".into(), replaces: None }];
    for (to, text) in [(NUMBER, "transfer to 2050"), ("sip.example.net", "verbinden mit 2050")] {
        b.hear(&say(to, text));
        assert_eq!(b.commit().signals, refer, "{to}");
        b.say(leg, Signal::Referred(ReferStatus::Failed(Reason::Busy.into())));
        let told = b.sent.last().unwrap();
        let body = told.children().find(|child| child.name() == "body").unwrap().text();
        assert_eq!(body, "The transfer has failed (busy); the call goes on.");
        assert_eq!(told.attr("to"), Some(ROSA));
    }
    b.kinds();
    b.hear(&say(NUMBER, "transfer to my boss"));
    assert_eq!(b.kinds(), ["service-unavailable"]);
    // Another call of hers: the gateway cannot know which one is meant.
    b.jingle(ROSA, "2042@sip.example.net", &fixture("dino-initiate", "other"));
    let other = b.commit().leg;
    b.say(other, Signal::Answer(media()));
    b.kinds();
    b.hear(&say("sip.example.net", "transfer 2050"));
    assert_eq!(b.sent.last().unwrap().name(), "message");
    b.hear(&say(NUMBER, "transfer 2050"));
    assert_eq!((b.commit().leg, b.kinds()), (leg, vec!["message chat".to_owned()]));
}

/// The session goes on under another id: its own terminate says when this one is over.
#[test]
fn a_call_that_migrates_is_not_hung_up() {
    let mut b = bench();
    rosa_is_answered(&mut b);
    let reason = "<reason xmlns='urn:xmpp:jingle:1'><expired/></reason>";
    b.jmi(ROSA, NUMBER, "finish", SID, &format!("{reason}<migrated to='another'/>"));
    assert!(b.asks.is_empty() && b.sent.is_empty());
    b.jmi(ROSA, NUMBER, "finish", SID, reason);
    assert!(matches!(b.commit().signals.as_slice(), [Signal::End(_)]));
}

/// A content without RTP is left out of the answer, not called audio.
#[test]
fn what_is_no_rtp_is_left_out() {
    let mut b = bench();
    let file = "<content creator='initiator' name='file'><description xmlns='urn:xmpp:jingle:apps:file-transfer:5'/>\
                <transport xmlns='urn:xmpp:jingle:transports:ibb:1' block-size='4096' sid='x'/></content>";
    let initiate = fixture("dino-initiate", SID).replacen("<content ", &format!("{file}<content "), 1);
    b.jingle(ROSA, NUMBER, &initiate);
    let heard = b.commit();
    let [Signal::Offer(offer)] = heard.signals.as_slice() else { panic!("{:?}", heard.signals) };
    assert_eq!(offer.contents.iter().map(|c| c.rejected).collect::<Vec<_>>(), [true, false]);
    let mut answer = media();
    answer.contents[0].name = "audio".into();
    answer.bundle = vec!["audio".into()];
    answer.contents.insert(0, offer.contents[0].clone());
    b.say(heard.leg, Signal::Answer(answer));
    let accept = b.last("session-accept");
    let names: Vec<_> = accept
        .children()
        .next()
        .unwrap()
        .children()
        .filter(|c| c.name() == "content")
        .map(|c| c.attr("name"))
        .collect();
    assert_eq!(names, [Some("audio")]);
}

/// A refused or removed content may be offered again, in its old place.
#[test]
fn video_comes_again() {
    let mut b = bench();
    let (leg, us) = rosa_is_answered(&mut b);
    let mut refused = media();
    refused.contents.push(signal::media::Content {
        name: "1".into(),
        rejected: true,
        ..media().contents[0].clone()
    });
    for _ in 0..2 {
        b.jingle(ROSA, &us, &fixture("chromium-content-add", SID));
        let heard = b.commit();
        let [Signal::Update(m)] = heard.signals.as_slice() else { panic!("{:?}", heard.signals) };
        assert_eq!(m.contents.iter().map(|c| c.rejected).collect::<Vec<_>>(), [false, false]);
        b.say(leg, Signal::Updated(refused.clone()));
        assert_eq!(b.kinds(), ["result", "content-reject"]);
    }
    b.jingle(ROSA, &us, &fixture("chromium-content-add", SID));
    b.commit();
    let mut taken = refused.clone();
    taken.contents[1].rejected = false;
    b.say(leg, Signal::Updated(taken));
    assert_eq!(b.kinds(), ["result", "content-accept"]);
    b.jingle(ROSA, &us, &fixture("chromium-content-add", SID));
    assert_eq!(b.kinds(), ["bad-request"], "not what stands");
}
