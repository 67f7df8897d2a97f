//! Relays that die or drain under calls: the sound of both parties goes on at another one, and nobody runs DTLS again.

use crate::rig::{PROMPT, Rig, SOON};
use std::time::Duration;
use testkit::tone::Wav;

/// Longest silence that the death of a relay may cause.
const SILENCE: Duration = Duration::from_secs(3);
/// Longest silence that nobody hears.
const SMOOTH: Duration = Duration::from_millis(100);

/// The desk called: we control rosa's ICE.
#[test]
fn a_call_outlives_its_relay_and_the_desk_ends_it() {
    let mut rig = Rig::new("");
    let call = rig.desk_calls();
    dies(&mut rig, &call);
    rig.desk.hang_up().unwrap();
    rig.see("the end at rosa", |rig| rig.rosa.expect("ended", PROMPT).map(drop));
    rig.released();
}

/// Rosa called: her client controls ICE, and has long nominated.
#[test]
fn a_call_that_rosa_made_outlives_its_relay_and_she_ends_it() {
    let mut rig = Rig::new("");
    let call = rig.rosa_calls();
    dies(&mut rig, &call);
    rig.rosa.hang_up().unwrap();
    rig.see("the end at the desk", |rig| rig.desk.expect("CALL_CLOSED", PROMPT).map(drop));
    rig.released();
}

/// A phone that encrypts under keys of signalling (SDES) keeps them, wherever its media is (R-RTP-16).
#[test]
fn a_call_under_keys_of_signalling_outlives_its_relay() {
    let mut rig = Rig::secure(2);
    let call = rig.desk_calls();
    rig.sealed(&call);
    dies(&mut rig, &call);
    rig.sealed(&call);
    rig.desk.hang_up().unwrap();
    rig.see("the end at rosa", |rig| rig.rosa.expect("ended", PROMPT).map(drop));
    rig.released();
}

/// Held, and the relay that plays the music dies: the other one plays it on.
#[test]
fn music_outlives_its_relay() {
    const MUSIC: f64 = 1_000.0;
    let folder = tempfile::TempDir::with_prefix("tandem-music-").unwrap();
    let file = folder.path().join("hold.wav");
    Wav::tone(MUSIC).write(&file).unwrap();
    let mut rig = Rig::with_music(file);
    let call = rig.desk_calls();
    rig.desk.order("hold", "").unwrap();
    rig.see("hold at rosa", |rig| rig.rosa.expect("hold", SOON).map(drop));
    rig.see("music", |rig| rig.rosa.hears(MUSIC, 1.0, SOON).map(drop));
    let relay = rig.relay(&call);
    rig.cluster.kill(&relay).unwrap();
    rig.see("the call at another relay", |rig| rig.moved(&call, &relay));
    std::thread::sleep(SILENCE);
    rig.see("music again", |rig| rig.rosa.hears(MUSIC, 0.5, Duration::from_secs(1)).map(drop));
    rig.desk.order("resume", "").unwrap();
    rig.see("the end of hold at rosa", |rig| rig.rosa.expect("unhold", SOON).map(drop));
    rig.sound();
    rig.desk.hang_up().unwrap();
    rig.see("the end at rosa", |rig| rig.rosa.expect("ended", PROMPT).map(drop));
    rig.released();
}

/// A relay drains: its call leaves without a gap, and then it leaves.
#[test]
fn a_call_leaves_a_relay_that_drains_without_a_gap() {
    let mut rig = Rig::new("");
    let call = rig.desk_calls();
    let relay = rig.relay(&call);
    let before = begin(&mut rig);
    rig.cluster.drain(&relay).unwrap();
    rig.see("the call at another relay", |rig| rig.moved(&call, &relay));
    std::thread::sleep(Duration::from_secs(3));
    missed(&mut rig, before, SMOOTH);
    rig.sound();
    rig.see("the end of the relay", |rig| rig.cluster.ended(&relay, Duration::from_secs(10)));
    rig.sound();
    rig.desk.hang_up().unwrap();
    rig.see("the end at rosa", |rig| rig.rosa.expect("ended", PROMPT).map(drop));
    rig.released();
}

/// A relay that is started anew at once, under its name and address, has its calls again: no peer hears of it.
#[test]
fn a_relay_started_anew_has_its_calls_again() {
    let mut rig = Rig::with("", 1);
    let call = rig.desk_calls();
    let relay = rig.relay(&call);
    let before = begin(&mut rig);
    let (stanzas, said) = (rig.rosa.trace().len(), rig.desk.trace().len());
    rig.cluster.restart(&relay).unwrap();
    rig.see("sound", |rig| rig.heard_within(SILENCE + Duration::from_secs(1)));
    missed(&mut rig, before, SILENCE);
    assert_eq!(rig.rosa.trace().len(), stanzas, "rosa was told nothing");
    untold(&rig, said);
    rig.desk.hang_up().unwrap();
    rig.see("the end at rosa", |rig| rig.rosa.expect("ended", PROMPT).map(drop));
    rig.released();
}

/// The same under keys of signalling: the phone is asked nothing, and hears and is heard under the old ones.
#[test]
fn a_relay_started_anew_has_its_encrypted_calls_again() {
    let mut rig = Rig::secure(1);
    let call = rig.rosa_calls();
    let relay = rig.relay(&call);
    rig.sealed(&call);
    let (before, said) = (begin(&mut rig), rig.desk.trace().len());
    rig.cluster.restart(&relay).unwrap();
    rig.see("sound", |rig| rig.heard_within(SILENCE + Duration::from_secs(1)));
    missed(&mut rig, before, SILENCE);
    rig.sealed(&call);
    untold(&rig, said);
    rig.desk.hang_up().unwrap();
    rig.see("the end at rosa", |rig| rig.rosa.expect("ended", PROMPT).map(drop));
    rig.released();
}

/// The phone was told nothing since.
fn untold(rig: &Rig, since: usize) {
    let told = rig.desk.trace().split_off(since);
    assert!(told.is_empty(), "the phone was told {told:?}");
}

fn begin(rig: &mut Rig) -> testkit::baresip::Recorded {
    rig.rosa.order(&serde_json::json!({ "do": "gap" })).unwrap();
    rig.see("rosa's answer", |rig| rig.rosa.expect("gap", PROMPT).map(drop));
    rig.desk.recorded().unwrap()
}

/// Packets that both missed since.
fn missed(rig: &mut Rig, before: testkit::baresip::Recorded, most: Duration) {
    rig.see("what both missed", |rig| {
        let desk = rig.desk.missed(before)?;
        rig.rosa.order(&serde_json::json!({ "do": "gap" }))?;
        let rosa = Duration::from_millis(rig.rosa.expect("gap", PROMPT)?.number("ms") as u64);
        println!("the desk missed {desk:?}; rosa's longest gap was {rosa:?}");
        anyhow::ensure!(desk.max(rosa) <= most, "the desk missed {desk:?}; rosa's longest gap was {rosa:?}");
        Ok(())
    });
}

/// kill -9 of the relay; both hear each other again in time.
fn dies(rig: &mut Rig, call: &str) {
    let relay = rig.relay(call);
    let before = begin(rig);
    let killed = runtime::clock::instant();
    rig.cluster.kill(&relay).unwrap();
    rig.see("the call at another relay", |rig| rig.moved(call, &relay));
    println!("the record names another relay after {:?}", killed.elapsed());
    std::thread::sleep((SILENCE + Duration::from_secs(1)).saturating_sub(killed.elapsed()));
    missed(rig, before, SILENCE);
    rig.sound();
    let connected = rig.rosa.events().iter().filter(|event| event.name() == "connected").count();
    assert_eq!(connected, 1, "no second handshake");
}
