//! Behaviour of clients in the field, and what they must get for it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod bench;

use bench::*;
use minidom::Element;
use signal::media::{Direction, Ssrc};
use signal::*;

const DESK: &str = "rosa@example.net/desk";
const ICE: &str = "urn:xmpp:jingle:transports:ice-udp:1";

/// The answer to an offer of sound and pictures that takes the sound alone; `group`: names of the bundle.
fn sound_alone(names: [&str; 2], group: &[&str]) -> Media {
    let mut media = media();
    let mut refused = media.contents[0].clone();
    media.contents[0].name = names[0].into();
    (refused.name, refused.kind, refused.rejected) = (names[1].into(), signal::media::Kind::Video, true);
    refused.direction = Direction::None;
    media.contents.push(refused);
    media.bundle = group.iter().map(|name| (*name).into()).collect();
    media
}

fn content_names(stanza: &Element) -> Vec<String> {
    let contents = stanza.children().next().unwrap().children().filter(|c| c.name() == "content");
    contents.map(|c| c.attr("name").unwrap().to_owned()).collect()
}

fn transport_info(sid: &str, name: &str, (ufrag, pwd): (&str, &str), port: u16) -> String {
    let candidate = format!(
        "<candidate component='1' foundation='9' generation='0' id='e1' ip='198.51.100.9' port='{port}' priority='5' protocol='udp' type='host'/>"
    );
    let pwd = if pwd.is_empty() { String::new() } else { format!(" pwd='{pwd}'") };
    let transport = format!("<transport xmlns='{ICE}' ufrag='{ufrag}'{pwd}>{candidate}</transport>");
    action(
        "transport-info",
        sid,
        &format!("<content creator='initiator' name='{name}'>{transport}</content>"),
    )
}

/// Up to the session-accept of a direct call with this description.
fn taken(b: &mut Bench, initiate: &str, answer: Media) -> (LegRef, Element) {
    b.jingle(ROSA, NUMBER, &fixture(initiate, SID));
    let heard = b.commit();
    assert!(matches!(heard.signals.as_slice(), [Signal::Offer(m)] if m.contents.len() == 2));
    b.say(heard.leg, Signal::Answer(answer));
    (heard.leg, b.last("session-accept"))
}

#[test]
fn g2_a_client_without_a_group_gets_no_refused_content() {
    let mut b = bench();
    let (_, accept) = taken(&mut b, "dino-initiate-video", sound_alone(["audio", "video"], &[]));
    assert_eq!(content_names(&accept), ["audio"]);
    let remove = b.last("content-remove");
    assert_eq!(
        (content_names(&remove), reason(&remove).as_str()),
        (vec!["video".into()], "incompatible-parameters")
    );
    assert_eq!(b.kinds(), ["result", "session-accept", "content-remove"]);
    // Dino knows no content-remove: the call goes on.
    b.reply(&accept, None);
    b.reply(&remove, Some("feature-not-implemented"));
    assert!(b.kinds().is_empty() && b.asks.is_empty());
    // It may offer pictures again by the same name.
    let add = fixture("chromium-content-add", SID).replace("name=\"1\"", "name=\"video\"");
    b.jingle(ROSA, NUMBER, &add);
    assert!(matches!(b.commit().signals.as_slice(), [Signal::Update(m)] if m.contents.len() == 2));
}

#[test]
fn g4_what_is_refused_has_no_transport() {
    let mut b = bench();
    let (_, accept) = taken(&mut b, "dino-initiate-video", sound_alone(["audio", "video"], &[]));
    let text = String::from(&accept) + &String::from(&b.last("content-remove"));
    assert_eq!(text.matches("<transport").count(), 1, "{text}");
}

/// R-CALL-34: the Conversations family ends a call whose accept names other media than the offer.
#[test]
fn g3_a_client_with_a_group_gets_every_content_and_the_source_of_the_sound() {
    let mut b = bench();
    let mut answer = sound_alone(["0", "1"], &["0", "1"]);
    answer.contents[0].transport.ssrc = Some(Ssrc { id: 51, cname: 0xabc });
    let (_, accept) = taken(&mut b, "chromium-initiate-video", answer);
    assert_eq!(content_names(&accept), ["0", "1"]);
    assert_eq!(b.kinds(), ["result", "session-accept"]);
    let jingle = accept.children().next().unwrap();
    let source = |name: &str| {
        let content =
            jingle.children().find(|c| c.name() == "content" && c.attr("name") == Some(name)).unwrap();
        let description = content.children().find(|c| c.name() == "description").unwrap();
        description.children().find(|c| c.name() == "source").cloned()
    };
    let sound = source("0").unwrap();
    assert_eq!((sound.attr("ssrc"), sound.ns().as_str()), (Some("51"), "urn:xmpp:jingle:apps:rtp:ssma:0"));
    let cname = sound.children().next().unwrap();
    assert_eq!((cname.attr("name"), cname.attr("value")), (Some("cname"), Some("0000000000000abc")));
    assert_eq!(source("1"), None);
}

#[test]
fn g2_a_session_that_dino_disliked_is_terminated() {
    for sid_is_known in [true, false] {
        let mut b = bench();
        let leg = rosa_proposes(&mut b);
        b.say(leg, Signal::Answer(media()));
        let us = b.last("proceed").attr("from").unwrap().to_owned();
        b.jingle(ROSA, &us, &fixture("chromium-initiate", SID));
        b.commit();
        b.say(leg, Signal::Updated(media()));
        let accept = b.last("session-accept");
        b.sent.clear();
        if sid_is_known {
            b.reply(&accept, Some("bad-request"));
        } else {
            let id = accept.attr("id").unwrap();
            b.hear(&format!(
                "<iq xmlns='jabber:client' type='error' from='{ROSA}' to='{us}' id='{id}'><error type='cancel'>\
                 <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><unknown-session xmlns='urn:xmpp:jingle:errors:1'/></error></iq>"
            ));
        }
        assert_eq!(b.commit().signals, [Signal::End(Reason::Connectivity.into())]);
        let expected: &[&str] = if sid_is_known { &["session-terminate", "finish"] } else { &["finish"] };
        assert_eq!(b.kinds(), expected);
    }
}

#[test]
fn e1_a_terminate_gives_a_proposal_up() {
    for (sid, proceeded) in [(SID, false), ("", false), (SID, true), ("", true)] {
        let mut b = bench();
        let leg = rosa_proposes(&mut b);
        let mut us = NUMBER.to_owned();
        if proceeded {
            b.say(leg, Signal::Answer(media()));
            us = b.last("proceed").attr("from").unwrap().to_owned();
            b.sent.clear();
        }
        // Not by a stranger, nor by a device that did not call.
        b.jingle(DESK, &us, &action("session-terminate", "", ""));
        assert_eq!(b.kinds(), ["bad-request"]);
        b.jingle(ROSA, &us, &action("session-terminate", sid, "<reason><success/></reason>"));
        assert_eq!(b.commit().signals, [Signal::End(Reason::Cancelled.into())], "{sid:?} {proceeded}");
        let expected: &[&str] = if proceeded { &["result", "finish"] } else { &["result"] };
        assert_eq!(b.kinds(), expected);
    }
}

#[test]
fn e1_a_terminate_of_our_proposal_declines_it_for_all_devices() {
    let mut b = bench();
    let sid = proposed(&mut b);
    b.jingle(ROSA, NUMBER, &action("session-terminate", &sid, "<reason><decline/></reason>"));
    assert_eq!(b.commit().signals, [Signal::End(Reason::Declined.into())]);
    assert_eq!(b.last("retract").attr("to"), Some("rosa@example.net"));
    assert_eq!(b.kinds(), ["result", "retract"]);
}

#[test]
fn e1_a_caller_that_is_gone_waits_no_more() {
    let gone = |from: &str| {
        format!("<presence xmlns='jabber:client' type='unavailable' from='{from}' to='{NUMBER}'/>")
    };
    let mut b = bench();
    rosa_proposes(&mut b);
    b.hear(&gone(DESK));
    assert!(b.asks.is_empty(), "another device of hers");
    b.hear(&gone(ROSA));
    assert_eq!(b.commit().signals, [Signal::End(Reason::Cancelled.into())]);

    let mut b = bench();
    b.jingle(ROSA, NUMBER, &fixture("dino-initiate", SID));
    b.commit();
    b.sent.clear();
    b.hear(&gone(ROSA));
    assert_eq!(b.commit().signals, [Signal::End(Reason::Cancelled.into())]);
    assert_eq!(b.kinds(), ["session-terminate"]);

    let mut b = bench();
    rosa_is_answered(&mut b);
    b.hear(&gone(ROSA));
    assert!(b.asks.is_empty(), "who talks is seen by the relay");
}

#[test]
fn e6_the_id_of_a_device_that_is_gone_is_over() {
    let mut b = bench();
    let sid = proposed(&mut b);
    b.jmi(ROSA, NUMBER, "proceed", &sid, "");
    b.commit();
    let initiate = b.last("session-initiate");
    b.sent.clear();
    b.reply(&initiate, Some("service-unavailable"));
    b.commit();
    let retract = b.last("retract");
    let over = retract.children().next().unwrap();
    assert_eq!((retract.attr("to"), over.attr("id")), (Some("rosa@example.net"), Some(sid.as_str())));
    assert_eq!(b.kinds(), ["retract", "propose"]);
    // A device that had not heard of it.
    b.jmi(DESK, NUMBER, "proceed", &sid, "");
    let finish = b.last("finish");
    let over = finish.children().next().unwrap();
    assert_eq!(
        (finish.attr("to"), over.attr("id"), reason(&finish)),
        (Some(DESK), Some(sid.as_str()), "expired".into())
    );
    assert_eq!(b.kinds(), ["finish"]);
    assert!(b.asks.is_empty());
}

#[test]
fn e6_a_proceed_for_a_call_that_nobody_knows_is_answered() {
    let mut b = bench();
    let (sid, _) = proceeded(&mut b);
    b.after(15_000);
    b.commit();
    assert_eq!(b.kinds(), ["session-terminate", "finish"]);
    b.jmi(DESK, NUMBER, "proceed", &sid, "");
    assert_eq!((b.last("finish").attr("to"), b.kinds().len()), (Some(DESK), 1));
    // Even once the leg is forgotten.
    let mut b = bench();
    b.jmi(DESK, NUMBER, "proceed", &sid, "");
    let (ticket, ask) = b.asks.remove(0);
    assert!(matches!(ask, Ask::Recall(_)));
    b.verdict(ticket, Verdict::Gone);
    let finish = b.last("finish");
    assert_eq!(
        (finish.attr("to"), finish.attr("from"), reason(&finish)),
        (Some(DESK), Some(NUMBER), "expired".into())
    );
    assert_eq!(b.kinds(), ["finish"]);
}

#[test]
fn e5_candidates_of_no_content_are_refused_and_those_of_before_a_restart_ignored() {
    let mut b = bench();
    let leg = rosa_proposes(&mut b);
    b.say(leg, Signal::Answer(media()));
    let us = b.last("proceed").attr("from").unwrap().to_owned();
    b.jingle(ROSA, &us, &fixture("chromium-initiate", SID));
    let heard = b.commit();
    let Signal::Update(hers) = &heard.signals[0] else { panic!() };
    let first = hers.contents[0].transport.ice.clone().unwrap();
    b.say(leg, Signal::Updated(media()));
    b.sent.clear();
    b.jingle(ROSA, &us, &transport_info(SID, "nobody", (&first.ufrag, &first.pwd), 1000));
    assert_eq!(b.kinds(), ["item-not-found"]);
    b.jingle(ROSA, &us, &transport_info(SID, "0", ("second", "newpwd0123456789012345"), 1001));
    assert!(matches!(b.commit().signals.as_slice(), [Signal::Update(_)]));
    b.say(leg, Signal::Updated(media()));
    assert_eq!(b.kinds(), ["result", "transport-info"]);
    for late in [(first.ufrag.as_str(), first.pwd.as_str()), (&first.ufrag, "")] {
        b.jingle(ROSA, &us, &transport_info(SID, "0", late, 1002));
        while !b.asks.is_empty() {
            assert!(b.commit().signals.is_empty(), "{late:?}");
        }
        assert_eq!(b.kinds(), ["result"]);
    }
    // Candidates of the present generation count.
    b.jingle(ROSA, &us, &transport_info(SID, "0", ("second", ""), 1003));
    assert!(matches!(b.commit().signals.as_slice(), [Signal::Candidates(_)]));
}

#[test]
fn f14_credentials_that_no_agent_takes_are_a_bad_request() {
    let (long, good) = ("u".repeat(257), "0123456789012345678901");
    let broken = [("ab", good), ("abcd", "short"), ("abcd", ""), (long.as_str(), good)];
    for (ufrag, pwd) in broken {
        let mut b = bench();
        let initiate =
            fixture("dino-initiate", SID).replace("J0fP", ufrag).replace("Ec1BWVJs9+rSxksOz/pOjm", pwd);
        b.jingle(ROSA, NUMBER, &initiate);
        assert_eq!(b.kinds(), ["bad-request"], "{ufrag} {pwd}");
        assert_eq!((b.asks.len(), b.edge.legs()), (0, 0));
        if pwd.is_empty() {
            continue;
        }
        let (_, us) = rosa_is_answered(&mut b);
        b.sent.clear();
        b.jingle(ROSA, &us, &transport_info(SID, "0", (ufrag, pwd), 1000));
        assert_eq!(b.kinds(), ["bad-request"], "{ufrag} {pwd}");
        assert!(b.asks.is_empty(), "no restart, no update");
    }
}

#[test]
fn e4_a_removal_that_is_refused_is_undone() {
    for (condition, why) in
        [("not-acceptable", Reason::IncompatibleMedia), ("unexpected-request", Reason::Glare)]
    {
        let mut b = bench();
        let (leg, us) = rosa_is_answered(&mut b);
        b.jingle(ROSA, &us, &fixture("chromium-content-add", SID));
        b.commit();
        let mut both = sound_alone(["0", "1"], &["0", "1"]);
        both.contents[1].rejected = false;
        b.say(leg, Signal::Updated(both.clone()));
        b.reply(&b.last("content-accept"), None);
        b.sent.clear();
        let without = sound_alone(["0", "1"], &["0", "1"]);
        b.say(leg, Signal::Update(without.clone()));
        b.reply(&b.last("content-remove"), Some(condition));
        assert_eq!(b.commit().signals, [Signal::Refused(why)], "{condition}");
        // It is still there, and may be removed again.
        b.sent.clear();
        b.say(leg, Signal::Update(without));
        assert_eq!(b.kinds(), ["content-remove"]);
    }
}

/// XEP-0166 §7.2.16: Rosa is the initiator, and hers wins.
#[test]
fn e4_a_removal_that_crossed_hers_is_asked_for_again() {
    let mut b = bench();
    let (leg, us) = rosa_is_answered(&mut b);
    b.jingle(ROSA, &us, &fixture("chromium-content-add", SID));
    b.commit();
    let mut both = sound_alone(["0", "1"], &["0", "1"]);
    both.contents[1].rejected = false;
    b.say(leg, Signal::Updated(both));
    b.reply(&b.last("content-accept"), None);
    b.sent.clear();
    b.say(leg, Signal::Update(sound_alone(["0", "1"], &["0", "1"])));
    let ours = b.last("content-remove");
    b.jingle(ROSA, &us, &action("content-remove", SID, "<content creator='initiator' name='1'/>"));
    assert!(matches!(b.commit().signals.as_slice(), [Signal::Update(_)]));
    b.say(leg, Signal::Refused(Reason::Glare));
    let (from, id) = (ours.attr("from").unwrap(), ours.attr("id").unwrap());
    b.hear(&format!(
        "<iq xmlns='jabber:client' type='error' from='{ROSA}' to='{from}' id='{id}'><error type='cancel'>\
         <conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><tie-break xmlns='urn:xmpp:jingle:errors:1'/></error></iq>"
    ));
    let heard = b.commit();
    let [Signal::Refused(Reason::Glare), Signal::Update(m)] = heard.signals.as_slice() else {
        panic!("{:?}", heard.signals)
    };
    assert_eq!(m.contents.iter().map(|c| c.rejected).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn e4_a_change_that_met_an_open_offer_is_brought_again() {
    let mut b = bench();
    let (leg, us) = rosa_is_answered(&mut b);
    let modify = action("content-modify", SID, "<content creator='initiator' name='0' senders='initiator'/>");
    b.jingle(ROSA, &us, &modify);
    let asks = |heard: &Heard| matches!(heard.signals.as_slice(), [Signal::Update(m)] if m.contents[0].direction == Direction::Send);
    assert!(asks(&b.commit()));
    b.say(leg, Signal::Refused(Reason::Glare));
    b.after(1_000);
    assert!(asks(&b.commit()), "acknowledged: it cannot be taken back");
    b.say(leg, Signal::Updated(media()));
    b.after(5_000);
    assert!(b.asks.is_empty());
}

#[test]
fn e2_a_session_that_runs_outlives_a_lost_result() {
    // Our session-accept: its result never comes.
    let mut b = bench();
    let leg = rosa_proposes(&mut b);
    b.say(leg, Signal::Answer(media()));
    let us = b.last("proceed").attr("from").unwrap().to_owned();
    b.jingle(ROSA, &us, &fixture("chromium-initiate", SID));
    b.commit();
    b.say(leg, Signal::Updated(media()));
    b.sent.clear();
    b.after(30_000);
    let ping = b.sent[0].clone();
    let jingle = ping.children().next().unwrap();
    assert_eq!(
        (jingle.attr("action"), jingle.children().count(), b.sent.len()),
        (Some("session-info"), 0, 1)
    );
    while !b.asks.is_empty() {
        assert!(b.commit().signals.is_empty());
    }
    b.after(60_000);
    assert!(b.asks.iter().all(|(_, ask)| !matches!(ask, Ask::Heard(heard) if !heard.signals.is_empty())));
    b.asks.clear();
    // A peer that has no such session says so.
    let mut b = bench();
    let (_, us) = answered_without_result(&mut b);
    b.after(30_000);
    while !b.asks.is_empty() {
        assert!(b.commit().signals.is_empty(), "our session-initiate, whose result never came");
    }
    let ping = b.sent.last().unwrap().clone();
    let id = ping.attr("id").unwrap();
    b.hear(&format!(
        "<iq xmlns='jabber:client' type='error' from='{ROSA}' to='{us}' id='{id}'><error type='cancel'>\
         <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><unknown-session xmlns='urn:xmpp:jingle:errors:1'/></error></iq>"
    ));
    assert_eq!(b.commit().signals, [Signal::End(Reason::Connectivity.into())]);
}

/// A call of ours that Rosa has answered; the result of our session-initiate was lost.
fn answered_without_result(b: &mut Bench) -> (String, String) {
    let sid = proposed(b);
    b.jmi(ROSA, NUMBER, "proceed", &sid, "");
    b.commit();
    let us = b.last("session-initiate").attr("from").unwrap().to_owned();
    b.jingle(ROSA, &us, &fixture("chromium-accept", &sid).replace("\"audio\" senders", "\"0\" senders"));
    assert!(matches!(b.commit().signals.as_slice(), [Signal::Answer(_)]));
    b.sent.clear();
    (sid, us)
}

#[test]
fn e3_the_same_digit_twice_is_two_digits() {
    let mut b = bench();
    rosa_is_answered(&mut b);
    for id in ["", "", " id='m1'", " id='m2'"] {
        b.hear(&format!(
            "<message xmlns='jabber:client' type='chat'{id} from='{ROSA}' to='{NUMBER}'><body>1</body></message>"
        ));
    }
    let mut events = vec![];
    for _ in 0..4 {
        let heard = b.commit();
        assert!(matches!(heard.signals.as_slice(), [Signal::Tone(Tone { digit: '1', .. })]));
        events.push(heard.event);
    }
    events.sort_by_key(|event| event.0);
    events.dedup();
    assert_eq!(events.len(), 4);
}

#[test]
fn e3_digits_find_the_call_of_another_edge() {
    let mut one = bench();
    let (_, us) = answered(&mut one);
    let said = one.say(leg(), Signal::Tone(Tone { digit: '1', duration: 160 }));
    let record = LegState { revision: said.base + 1, dialog: said.dialog.unwrap(), ..fresh(leg()) };
    drop(one);
    let text = |from: &str| {
        format!(
            "<message xmlns='jabber:client' type='chat' id='m' from='{from}' to='{us}'><body>5#</body></message>"
        )
    };
    let mut two = bench();
    two.hear(&text(ROSA));
    let (ticket, ask) = two.asks.remove(0);
    assert!(matches!(ask, Ask::Recall(named) if named == leg()));
    two.verdict(ticket, Verdict::Leg(record.clone()));
    let digits: Vec<char> =
        two.commit().signals.iter().map(|s| if let Signal::Tone(t) = s { t.digit } else { '?' }).collect();
    assert_eq!(digits, ['5', '#']);
    two.hear(&text("eve@example.org/x"));
    assert!(two.asks.is_empty(), "not hers");
    // Most clients write to no resource: the parties find the call, once the edge knows what stands.
    let bare = |from: &str| {
        let text = "type='chat' id='n'";
        format!("<message xmlns='jabber:client' {text} from='{from}' to='{NUMBER}'><body>7</body></message>")
    };
    let mut new = bench();
    new.hear(&bare(ROSA));
    assert_eq!(new.kinds(), ["service-unavailable"], "no call is known");
    new.edge.tell_legs([(leg(), us.clone(), ROSA.to_owned())]);
    for device in [ROSA, "rosa@example.net/desk"] {
        new.hear(&bare(device));
        if device == ROSA {
            let (ticket, ask) = new.asks.remove(0);
            assert!(matches!(ask, Ask::Recall(named) if named == leg()));
            new.verdict(ticket, Verdict::Leg(record.clone()));
        }
        let heard = new.commit();
        assert!(matches!(heard.signals.as_slice(), [Signal::Tone(Tone { digit: '7', .. })]), "{device}");
        assert_eq!(heard.leg, leg());
    }
    new.hear(&bare("eve@example.org/x"));
    assert!(new.asks.is_empty(), "not hers");
    // Nobody is told that digits were pressed in a call that is over.
    let mut three = bench();
    three.hear(&text(ROSA));
    let (ticket, _) = three.asks.remove(0);
    three.verdict(ticket, Verdict::Gone);
    assert_eq!(three.kinds(), ["service-unavailable"]);
}

#[test]
fn f13_a_nick_is_no_number_and_no_novel() {
    let novel = "x".repeat(28_000);
    for (nick, shown) in [
        ("Rosa", Some("Rosa".to_owned())),
        ("112", None),
        ("+49 (30) 110", None),
        ("\u{202e}\u{85}Rosa\u{2028}", Some("Rosa".into())),
        (&novel, Some("x".repeat(128))),
    ] {
        let mut b = bench();
        b.hear(&format!(
            "<message xmlns='jabber:client' type='chat' from='{ROSA}' to='{NUMBER}'><propose xmlns='urn:xmpp:jingle-message:0' id='{SID}'>\
             <description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/></propose><nick xmlns='http://jabber.org/protocol/nick'>{nick}</nick></message>"
        ));
        assert_eq!(b.commit().opening.unwrap().from.display, shown);
    }
    // And towards clients.
    let mut b = bench();
    let from = Party { display: Some("\u{202e}".to_owned() + &"y".repeat(300)), ..Party::xmpp(NUMBER) };
    b.order(fresh(leg()), Signal::Offer(media()), Some(Opening { from, ..opening("rosa@example.net") }));
    let nick = b.last("propose").children().find(|c| c.name() == "nick").unwrap().text();
    assert_eq!(nick, "y".repeat(128));
}
