//! Calls with sound, both ways, in the forms that phones and clients use.

use crate::rig::{Rig, SOON};
use anyhow::Context;
use serde_json::json;
use testkit::clock::poll;
use testkit::tone::Wav;
use testkit::{Gateway, baresip, gateway, phone};

fn g711() -> baresip::Options {
    baresip::Options { codecs: "pcmu".into(), ..Default::default() }
}

fn opus() -> baresip::Options {
    baresip::Options { codecs: "opus/48000/2".into(), ..Default::default() }
}

fn switches(words: &[&str]) -> phone::Options {
    phone::Options { switches: words.iter().map(|w| (*w).to_owned()).collect(), ..Default::default() }
}

#[test]
fn the_desk_calls_and_hangs_up() {
    let mut rig = Rig::new(g711(), phone::Options::default());
    rig.desk_calls(&Gateway::uri_of("rosa"));
    rig.talk("PCMU");
    rig.desk_hangs_up();
}

#[test]
fn the_desk_calls_a_number_and_rosa_hangs_up() {
    let mut rig = Rig::new(g711(), phone::Options::default());
    rig.desk_calls(&Gateway::uri_of("2700"));
    rig.talk("PCMU");
    rig.rosa_hangs_up();
}

#[test]
fn rosa_calls_by_message_initiation_and_hangs_up() {
    let mut rig = Rig::new(g711(), phone::Options::default());
    rig.rosa_calls(true);
    rig.talk("PCMU");
    rig.rosa_hangs_up();
}

#[test]
fn rosa_calls_at_once_and_the_desk_hangs_up() {
    let mut rig = Rig::new(
        baresip::Options { codecs: "pcma,pcmu".into(), ..Default::default() },
        phone::Options { codecs: "PCMA".into(), ..Default::default() },
    );
    rig.rosa_calls(false);
    rig.talk("PCMA");
    rig.desk_hangs_up();
}

/// RTCP of either side ends at the relay, and both are told by it: they name our reports in theirs, so that the way to each is known.
#[test]
fn what_both_sides_hear_is_known_while_they_talk() {
    let mut rig = Rig::new(g711(), phone::Options::default());
    rig.desk_calls(&Gateway::uri_of("rosa"));
    rig.talk("PCMU");
    let calls = rig.gateway.ask("/calls").unwrap();
    let path = format!("/calls/{}", calls["calls"][0]["id"].as_str().unwrap());
    let mut last = json!(null);
    let known = poll(std::time::Duration::from_secs(30), || {
        last = rig.gateway.ask(&path).ok()?["media"].clone();
        let ends = last.as_array()?;
        let told = |end: &serde_json::Value| {
            let trip = end["round_trip_us"].as_u64().is_some_and(|trip| trip < 200_000);
            trip && end["seen"]["loss_ppm"] == 0 && end["seen"]["mos"].as_u64() > Some(400)
        };
        (ends.len() == 2 && ends.iter().all(told)).then_some(())
    });
    assert!(known.is_some(), "{last:#}");
    for end in last.as_array().unwrap() {
        assert!(end["heard"]["mos"].as_u64() > Some(400) && end["codec"] == "PCMU", "{last:#}");
        assert!(end["heard"]["packets"].as_u64() > Some(50) && end["heard"]["lost"] == 0, "{last:#}");
    }
    println!("{last:#}");
    // Figures of a second are counted when it is over.
    let mut metrics = String::new();
    let counted = poll(std::time::Duration::from_secs(10), || {
        metrics = testkit::http::get(rig.gateway.admin, "/metrics").ok()?.1;
        let told = |name: &str| {
            let count = format!("tandem_relay_{name}_count");
            let line = metrics.lines().find(|line| line.starts_with(&count));
            line.is_some_and(|line| !line.ends_with(" 0"))
                && metrics.contains(&format!("tandem_relay_{name}_bucket{{le=\"+Inf\"}}"))
        };
        ["loss_ratio", "jitter_seconds", "round_trip_seconds", "mos"].into_iter().all(told).then_some(())
    });
    assert!(counted.is_some(), "{metrics}");
    rig.desk_hangs_up();
}

#[test]
fn opus_passes_as_it_is_both_ways() {
    let mut rig = Rig::new(opus(), phone::Options::default());
    rig.desk_calls(&Gateway::uri_of("rosa"));
    rig.talk("opus");
    rig.desk_hangs_up();
    rig.rosa_calls(true);
    rig.talk("opus");
    rig.rosa_hangs_up();
}

/// A desk phone that has A-law or G.722 alone, a client that has Opus alone: each hears the other's tone, and its keys.
#[test]
fn codecs_that_do_not_meet_are_transcoded() {
    for codecs in ["pcma", "g722"] {
        let desk = baresip::Options { codecs: codecs.into(), ..Default::default() };
        let mut rig = Rig::new(desk, phone::Options { codecs: "opus".into(), ..Default::default() });
        rig.desk_calls(&Gateway::uri_of("rosa"));
        rig.talk("opus");
        rig.desk.press('7').unwrap();
        rig.see("digit", |rig| rig.rosa.expect_where("dtmf", SOON, |e| e.text("digit") == "7").map(drop));
        rig.sound();
        rig.rosa_hangs_up();
        rig.rosa_calls(true);
        rig.talk("opus");
        rig.rosa.press("3").unwrap();
        rig.see("digit", |rig| {
            let event = rig.desk.expect("CALL_DTMF_START", SOON)?;
            anyhow::ensure!(event.facts["param"] == "3", "{event:?}");
            Ok(())
        });
        rig.desk_hangs_up();
    }
}

#[test]
fn candidates_that_trickle_and_the_other_dtls_role() {
    let mut rig = Rig::new(g711(), switches(&["--trickle", "--passive"]));
    rig.desk_calls(&Gateway::uri_of("rosa"));
    rig.talk("PCMU");
    rig.rosa_hangs_up();
    rig.rosa_calls(true);
    rig.talk("PCMU");
    rig.desk_hangs_up();
}

#[test]
fn a_client_that_never_says_ringing() {
    let mut rig = Rig::new(g711(), switches(&["--silent"]));
    rig.desk.dial(&Gateway::uri_of("rosa")).unwrap();
    rig.see("propose", |rig| rig.rosa.expect("propose", SOON).map(drop));
    rig.rosa.accept().unwrap();
    rig.see("established", |rig| rig.desk.expect("CALL_ESTABLISHED", SOON).map(drop));
    rig.talk("PCMU");
    rig.desk_hangs_up();
}

#[test]
fn a_phone_on_tcp() {
    let mut rig = Rig::new(baresip::Options { tcp: true, ..g711() }, phone::Options::default());
    rig.desk_calls(&Gateway::uri_of("rosa"));
    rig.talk("PCMU");
    rig.desk_hangs_up();
    rig.rosa_calls(true);
    rig.talk("PCMU");
    rig.rosa_hangs_up();
}

#[test]
fn keys_pressed_at_the_desk_reach_rosa() {
    let mut rig = Rig::new(g711(), phone::Options::default());
    rig.desk_calls(&Gateway::uri_of("rosa"));
    rig.talk("PCMU");
    for key in ['1', '2', '#'] {
        rig.desk.press(key).unwrap();
        rig.see("digit", |rig| {
            rig.rosa.expect_where("dtmf", SOON, |e| e.text("digit") == key.to_string()).map(drop)
        });
    }
    rig.desk_hangs_up();
}

#[test]
fn keys_pressed_by_rosa_reach_the_desk() {
    let mut rig = Rig::new(g711(), phone::Options::default());
    rig.rosa_calls(true);
    rig.talk("PCMU");
    rig.rosa.press("5*").unwrap();
    for key in ["5", "*"] {
        let heard = |rig: &mut Rig| {
            let event = rig.desk.expect("CALL_DTMF_START", SOON)?;
            anyhow::ensure!(event.facts["param"] == key, "{event:?}");
            Ok(())
        };
        rig.see("digit", heard);
    }
    rig.rosa_hangs_up();
}

#[test]
fn the_desk_holds_and_goes_on() {
    let mut rig = Rig::new(g711(), phone::Options::default());
    rig.desk_calls(&Gateway::uri_of("rosa"));
    rig.talk("PCMU");
    rig.desk.order("hold", "").unwrap();
    rig.see("hold at rosa", |rig| rig.rosa.expect("hold", SOON).map(drop));
    rig.desk.order("resume", "").unwrap();
    rig.see("the end of hold at rosa", |rig| rig.rosa.expect("unhold", SOON).map(drop));
    rig.sound();
    rig.rosa_hangs_up();
}

/// The relay plays a file to whom the desk holds, in the codec of the call, until the desk goes on.
#[test]
fn rosa_hears_music_while_the_desk_holds_her() {
    const MUSIC: f64 = 1_000.0;
    let folder = tempfile::TempDir::with_prefix("tandem-music-").unwrap();
    let music = folder.path().join("hold.wav");
    Wav::tone(MUSIC).write(&music).unwrap();
    let gateway = gateway::Options { music: Some(music), ..Default::default() };
    let mut rig = Rig::with(g711(), phone::Options::default(), gateway);
    rig.desk_calls(&Gateway::uri_of("rosa"));
    rig.talk("PCMU");
    rig.desk.order("hold", "").unwrap();
    rig.see("hold at rosa", |rig| rig.rosa.expect("hold", SOON).map(drop));
    rig.see("music", |rig| rig.rosa.hears(MUSIC, 1.0, SOON).map(drop));
    rig.desk.order("resume", "").unwrap();
    rig.see("the end of hold at rosa", |rig| rig.rosa.expect("unhold", SOON).map(drop));
    rig.sound();
    rig.rosa_hangs_up();
}

#[test]
fn rosa_holds_and_goes_on() {
    let mut rig = Rig::new(g711(), phone::Options::default());
    rig.rosa_calls(true);
    rig.talk("PCMU");
    for word in ["hold", "unhold"] {
        rosa_orders(&mut rig, word);
    }
    rig.sound();
    rig.desk_hangs_up();
}

/// Gives rosa's client an order that the desk phone hears as a re-INVITE, and waits for its answer.
fn rosa_orders(rig: &mut Rig, word: &str) {
    let seen = |rig: &Rig| {
        let steps = rig.desk.trace();
        let invites = steps.iter().filter(|s| !s.sent && s.what == "INVITE").count();
        // Calls of the phone's own are answered by others.
        let answers = steps.iter().filter(|s| s.sent && s.what == "200 OK (INVITE)").count();
        (invites, answers)
    };
    let (invites, answers) = seen(rig);
    rig.rosa.order(&json!({"do": word})).unwrap();
    rig.see(word, |rig| {
        let heard = poll(SOON, || {
            let (asked, answered) = seen(rig);
            (asked > invites && answered > answers).then_some(())
        });
        heard.context("the desk phone was not asked, or did not answer")
    });
}

/// R-CALL-19: each order in which two may hold and go on ends with sound.
#[test]
fn both_hold_and_go_on_in_any_order() {
    let mut rig = Rig::new(g711(), phone::Options::default());
    rig.desk_calls(&Gateway::uri_of("rosa"));
    rig.talk("PCMU");
    for order in [
        ["desk hold", "rosa hold", "desk resume", "rosa unhold"],
        ["desk hold", "rosa hold", "rosa unhold", "desk resume"],
        ["rosa hold", "desk hold", "rosa unhold", "desk resume"],
        ["rosa hold", "desk hold", "desk resume", "rosa unhold"],
    ] {
        for step in order {
            match step.split_once(' ').unwrap() {
                ("rosa", word) => rosa_orders(&mut rig, word),
                (_, word) => {
                    rig.desk.order(word, "").unwrap();
                    let event = if word == "hold" { "hold" } else { "unhold" };
                    rig.see(step, |rig| rig.rosa.expect(event, SOON).map(drop));
                }
            }
        }
        rig.sound();
    }
    rig.rosa_hangs_up();
}
