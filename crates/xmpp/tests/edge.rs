//! Calls to XMPP users through the sans-IO edge, with a scripted orchestrator and clients of text.
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
fn a_number_calls_rings_is_answered_and_hangs_up() {
    let mut b = bench();
    let sid = proposed(&mut b);
    b.jmi(ROSA, NUMBER, "ringing", &sid, "");
    assert_eq!(b.commit().signals, [Signal::Ringing]);
    // R-CALL-8: another device rings too.
    b.jmi("rosa@example.net/tablet", NUMBER, "ringing", &sid, "");
    assert!(b.asks.is_empty());
    b.jmi(ROSA, NUMBER, "proceed", &sid, "");
    b.commit();
    let initiate = b.last("session-initiate");
    let us = initiate.attr("from").unwrap().to_owned();
    b.reply(&initiate, None);
    b.jingle(ROSA, &us, &fixture("dino-accept", &sid).replace("name=\"audio\"", "name=\"0\""));
    assert!(b.kinds() == ["session-initiate"] && b.asks.len() == 1, "the result waits for the commit");
    assert!(matches!(b.commit().signals.as_slice(), [Signal::Answer(_)]));
    assert_eq!(b.kinds(), ["result"]);
    b.say(leg(), Signal::End(Reason::Normal.into()));
    assert_eq!(reason(&b.last("session-terminate")), "success");
    assert_eq!(b.last("finish").attr("to"), Some(ROSA));
    assert_eq!(b.kinds(), ["session-terminate", "finish"]);
    // R-CALL-5
    b.jingle(ROSA, &us, &action("session-info", &sid, ""));
    assert_eq!(b.kinds(), ["unknown-session"]);
    // Nothing is kept for ever.
    b.after(61_000);
    assert_eq!((b.edge.legs(), b.edge.deadline()), (0, None));
}

#[test]
fn the_callee_hangs_up() {
    let mut b = bench();
    let (sid, us) = answered(&mut b);
    b.jingle(ROSA, &us, &action("session-terminate", &sid, "<reason><success/></reason>"));
    assert_eq!(b.commit().signals, [Signal::End(Reason::Normal.into())]);
    assert_eq!(b.kinds(), ["result", "finish"]);
    b.say(leg(), Signal::End(Reason::Normal.into()));
    assert!(b.kinds().is_empty(), "they left: nothing more is said");
}

#[test]
fn rejections_say_why() {
    let cases = [
        ("<reason xmlns='urn:xmpp:jingle:1'><busy/></reason>", 0, Reason::Busy),
        ("<reason xmlns='urn:xmpp:jingle:1'><decline/></reason>", 0, Reason::Declined),
        ("<reason xmlns='urn:xmpp:jingle:1'><security-error/></reason>", 0, Reason::Declined),
        // R-CALL-35
        ("", 1_000, Reason::Busy),
        ("", 29_500, Reason::NoAnswer),
    ];
    for (inner, later, reason) in cases {
        let mut b = bench();
        let sid = proposed(&mut b);
        b.jmi(ROSA, NUMBER, "ringing", &sid, "");
        b.commit();
        b.after(later);
        b.jmi(ROSA, NUMBER, "reject", &sid, inner);
        assert_eq!(b.commit().signals, [Signal::End(reason.into())]);
        assert!(b.kinds().is_empty());
    }
}

#[test]
fn the_caller_gives_up_at_every_state() {
    // R-CALL-11, R-CALL-14, R-CALL-42
    let mut b = bench();
    proposed(&mut b);
    b.say(leg(), Signal::End(Reason::Cancelled.into()));
    let retract = b.last("retract");
    assert_eq!((retract.attr("to"), reason(&retract).as_str()), (Some("rosa@example.net"), "cancel"));
    assert_eq!(b.kinds(), ["retract"]);

    let mut b = bench();
    proposed(&mut b);
    b.say(leg(), Signal::End(Reason::AnsweredElsewhere.into()));
    assert_eq!(reason(&b.last("retract")), "success");

    let mut b = bench();
    let (sid, us) = proceeded(&mut b);
    b.say(leg(), Signal::End(Reason::Cancelled.into()));
    assert_eq!(reason(&b.last("session-terminate")), "cancel");
    assert_eq!(b.kinds(), ["session-terminate", "finish"]);
    b.jingle(ROSA, &us, &fixture("chromium-accept", &sid));
    assert_eq!(b.kinds(), ["unknown-session"], "the accept crossed our terminate");

    // A device proceeds for a call that is over.
    let mut b = bench();
    let sid = proposed(&mut b);
    b.say(leg(), Signal::End(Reason::NoAnswer.into()));
    assert_eq!(b.kinds(), ["retract"]);
    b.jmi(ROSA, NUMBER, "proceed", &sid, "");
    assert_eq!(reason(&b.last("finish")), "expired");
}

#[test]
fn a_propose_that_bounces_ends_the_leg() {
    for (condition, expected) in [
        ("service-unavailable", Reason::Offline),
        ("remote-server-not-found", Reason::NotFound),
        ("forbidden", Reason::Forbidden),
    ] {
        let mut b = bench();
        b.order(fresh(leg()), Signal::Offer(media()), Some(opening("rosa@example.net")));
        let propose = b.last("propose");
        b.reply(&propose, Some(condition));
        assert_eq!(b.commit().signals, [Signal::End(expected.into())]);
        b.after(5_000);
        assert!(b.asks.is_empty(), "what has ended is not presumed to ring");
    }
}

/// R-CALL-10
#[test]
fn a_second_device_proceeds_too_late() {
    let mut b = bench();
    let sid = proposed(&mut b);
    b.jmi(ROSA, NUMBER, "proceed", &sid, "");
    b.commit();
    let initiate = b.last("session-initiate");
    b.jmi("rosa@example.net/tablet", NUMBER, "proceed", &sid, "");
    assert_eq!(b.kinds(), ["session-initiate"], "not before the winner has the session");
    b.reply(&initiate, None);
    let retract = b.last("retract");
    assert_eq!(retract.attr("to"), Some("rosa@example.net/tablet"));
    assert!(
        retract.children().any(|c| c.name() == "private")
            && retract.children().any(|c| c.name() == "no-copy")
    );
    assert!(!retract.children().any(|c| c.name() == "store"));
    b.jmi("rosa@example.net/desk", NUMBER, "proceed", &sid, "");
    assert_eq!(b.kinds(), ["retract", "retract"]);
    assert!(b.asks.is_empty(), "the call does not notice");
}

#[test]
fn a_client_that_says_nothing_is_presumed_to_ring() {
    let mut b = bench();
    let sid = proposed(&mut b);
    b.after(2_999);
    assert!(b.asks.is_empty());
    b.after(1);
    assert_eq!(b.commit().signals, [Signal::Progress(None)]);
    b.jmi(ROSA, NUMBER, "ringing", &sid, "");
    assert_eq!(b.commit().signals, [Signal::Ringing]);
}

#[test]
fn a_device_that_proceeded_and_went_silent_is_given_up() {
    let mut b = bench();
    proceeded(&mut b);
    b.after(15_000);
    assert_eq!(b.kinds(), ["session-terminate", "finish"]);
    assert!(b.commit().signals.contains(&Signal::End(Reason::Connectivity.into())));
}

/// Interworking §2.4: the device that proceeded is gone; the user is asked once more, by another id.
#[test]
fn a_device_that_is_gone_is_not_the_last_one() {
    let mut b = bench();
    let sid = proposed(&mut b);
    b.jmi(ROSA, NUMBER, "proceed", &sid, "");
    b.commit();
    let initiate = b.last("session-initiate");
    let us = initiate.attr("from").unwrap().to_owned();
    b.reply(&initiate, Some("service-unavailable"));
    assert!(b.commit().signals.is_empty());
    let propose = b.last("propose");
    assert_eq!(propose.attr("to"), Some("rosa@example.net"));
    let again = propose.children().next().unwrap().attr("id").unwrap().to_owned();
    assert_ne!(again, sid);
    b.sent.clear();
    b.jingle(ROSA, &us, &fixture("chromium-accept", &sid));
    assert_eq!(b.kinds(), ["unknown-session"]);
    b.jmi("rosa@example.net/tablet", NUMBER, "proceed", &again, "");
    b.commit();
    let initiate = b.last("session-initiate");
    assert_eq!(initiate.attr("to"), Some("rosa@example.net/tablet"));
    b.reply(&initiate, Some("service-unavailable"));
    assert_eq!(b.commit().signals, [Signal::End(Reason::Offline.into())], "once");
}

/// The first device's time is not the second one's.
#[test]
fn a_device_that_is_gone_takes_no_time_from_the_next() {
    let mut b = bench();
    let sid = proposed(&mut b);
    b.jmi(ROSA, NUMBER, "proceed", &sid, "");
    b.commit();
    let initiate = b.last("session-initiate");
    b.after(4_000);
    b.reply(&initiate, Some("service-unavailable"));
    b.commit();
    let again = b.last("propose").children().next().unwrap().attr("id").unwrap().to_owned();
    b.jmi("rosa@example.net/tablet", NUMBER, "proceed", &again, "");
    b.commit();
    let initiate = b.last("session-initiate");
    b.reply(&initiate, None);
    b.sent.clear();
    b.asks.clear();
    b.after(11_500);
    assert!(b.kinds().is_empty() && b.asks.is_empty());
    b.after(4_000);
    assert_eq!(b.kinds(), ["session-terminate", "finish"]);
}

/// R-CALL-13
#[test]
fn both_propose_at_once() {
    let audio = "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/>";
    let mut b = bench();
    proposed(&mut b);
    // Theirs is higher: it goes.
    b.jmi(ROSA, NUMBER, "propose", "zzz", audio);
    let reject = b.last("reject");
    let element = reject.children().next().unwrap();
    assert_eq!((element.attr("id"), reason(&reject).as_str()), (Some("zzz"), "expired"));
    assert!(element.children().any(|c| c.name() == "tie-break") && b.asks.is_empty());
    b.sent.clear();
    // Theirs is lower: ours goes, and the caller hears busy.
    b.jmi(ROSA, NUMBER, "propose", "!", audio);
    let retract = b.last("retract");
    assert!(retract.children().next().unwrap().children().any(|c| c.name() == "tie-break"));
    assert_eq!(b.commit().signals, [Signal::End(Reason::Busy.into())]);
    let heard = b.commit();
    assert!(matches!(heard.signals.as_slice(), [Signal::Offer(_)]) && heard.opening.is_some());
    // Their word for it.
    let mut b = bench();
    let sid = proposed(&mut b);
    b.jmi(ROSA, NUMBER, "reject", &sid, "<reason xmlns='urn:xmpp:jingle:1'><expired/></reason><tie-break/>");
    assert_eq!(b.commit().signals, [Signal::End(Reason::Busy.into())]);
}

/// R-CALL-4
#[test]
fn both_initiate_at_once() {
    let mut b = bench();
    b.order(fresh(leg()), Signal::Offer(media()), Some(opening(ROSA)));
    let initiate = b.last("session-initiate");
    b.sent.clear();
    b.jingle(ROSA, NUMBER, &fixture("dino-initiate", "zzz"));
    assert_eq!(b.kinds(), ["tie-break"]);
    b.jingle(ROSA, NUMBER, &fixture("dino-initiate", "!"));
    assert!(matches!(b.commit().signals.as_slice(), [Signal::Offer(_)]));
    let (us, id) = (initiate.attr("from").unwrap(), initiate.attr("id").unwrap());
    b.hear(&format!(
        "<iq xmlns='jabber:client' type='error' from='{ROSA}' to='{us}' id='{id}'><error type='cancel'>\
         <conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><tie-break xmlns='urn:xmpp:jingle:errors:1'/></error></iq>"
    ));
    assert_eq!(b.commit().signals, [Signal::End(Reason::Busy.into())]);
}

#[test]
fn a_full_jid_is_called_at_once() {
    let mut b = bench();
    b.order(fresh(leg()), Signal::Offer(media()), Some(opening(ROSA)));
    let initiate = b.last("session-initiate");
    let (sid, us) = (
        initiate.children().next().unwrap().attr("sid").unwrap().to_owned(),
        initiate.attr("from").unwrap().to_owned(),
    );
    assert_eq!(b.kinds(), ["session-initiate"]);
    b.reply(&initiate, None);
    b.jingle(ROSA, &us, &action("session-info", &sid, "<ringing xmlns='urn:xmpp:jingle:apps:rtp:info:1'/>"));
    assert_eq!(b.commit().signals, [Signal::Ringing]);
    // Once; and it is not presumed any more.
    b.jingle(ROSA, &us, &action("session-info", &sid, "<ringing xmlns='urn:xmpp:jingle:apps:rtp:info:1'/>"));
    b.after(4_000);
    assert!(b.asks.is_empty());
    // Candidates before their description wait for it.
    let early = "<content creator='initiator' name='0'><transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='XY7a' pwd='0123456789012345678901'>\
                 <candidate component='1' foundation='9' generation='0' id='e1' ip='198.51.100.9' port='999' priority='5' protocol='udp' type='host'/></transport></content>";
    b.jingle(ROSA, &us, &action("transport-info", &sid, early));
    assert!(b.commit().signals.is_empty());
    b.jingle(ROSA, &us, &fixture("chromium-accept", &sid).replace("\"audio\" senders", "\"0\" senders"));
    let heard = b.commit();
    let [Signal::Answer(media)] = heard.signals.as_slice() else { panic!("{:?}", heard.signals) };
    let ice = media.contents[0].transport.ice.as_ref().unwrap();
    assert!(ice.candidates.iter().any(|c| c.address.port() == 999));
    b.say(leg(), Signal::End(Reason::Normal.into()));
    assert_eq!(b.kinds().last().unwrap(), "session-terminate", "no propose, no finish");
}

/// A client whose own timer runs out after it rang was not answered.
#[test]
fn ringing_by_session_info_is_ringing() {
    let mut b = bench();
    b.order(fresh(leg()), Signal::Offer(media()), Some(opening(ROSA)));
    let initiate = b.last("session-initiate");
    let us = initiate.attr("from").unwrap().to_owned();
    let sid = initiate.children().next().unwrap().attr("sid").unwrap().to_owned();
    b.reply(&initiate, None);
    b.jingle(ROSA, &us, &action("session-info", &sid, "<ringing xmlns='urn:xmpp:jingle:apps:rtp:info:1'/>"));
    b.commit();
    b.jingle(ROSA, &us, &action("session-terminate", &sid, "<reason><timeout/></reason>"));
    assert_eq!(b.commit().signals, [Signal::End(Reason::NoAnswer.into())]);
}

/// Many candidates in one stanza are bounded like many stanzas.
#[test]
fn early_candidates_are_bounded() {
    let mut b = bench();
    b.order(fresh(leg()), Signal::Offer(media()), Some(opening(ROSA)));
    let initiate = b.last("session-initiate");
    let us = initiate.attr("from").unwrap().to_owned();
    let sid = initiate.children().next().unwrap().attr("sid").unwrap().to_owned();
    b.reply(&initiate, None);
    let candidate = |port: u16| {
        format!(
            "<candidate component='1' foundation='9' generation='0' id='e1' ip='198.51.100.9' port='{port}' priority='5' protocol='udp' type='host'/>"
        )
    };
    let many: String = (1..=50).map(candidate).collect();
    let transport = format!(
        "<transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='XY7a' pwd='0123456789012345678901'>{many}</transport>"
    );
    let many = format!("<content creator='initiator' name='0'>{transport}</content>");
    for _ in 0..3 {
        b.jingle(ROSA, &us, &action("transport-info", &sid, &many));
        while !b.asks.is_empty() {
            b.commit();
        }
    }
    b.jingle(ROSA, &us, &fixture("chromium-accept", &sid).replace("\"audio\" senders", "\"0\" senders"));
    let heard = b.commit();
    let [Signal::Answer(media)] = heard.signals.as_slice() else { panic!("{:?}", heard.signals) };
    let candidates = &media.contents[0].transport.ice.as_ref().unwrap().candidates;
    assert_eq!(candidates.iter().filter(|c| c.foundation == "9").count(), 64);
}
