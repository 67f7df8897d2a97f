//! The parts of a walk: calls, descriptions, ends.

use crate::random::Random;
use media::{LocalEnd, Policy, Profile};
use session::call::{Allocation, CALLEE, CALLER, Call, Placement, RelaySession, Route};
use session::user::{Forward, Settings};
use signal::media::{Codec, Direction, Fingerprint, Ice, Kind};
use signal::{EventId, Heard, LegId, LegRef, Media, Opening, Party, Reason, RecordId, Signal, Time};

/// The call of every walk.
pub const CALL: RecordId = RecordId::call([7; 10]);
/// The moment at which it is placed.
pub const START: Time = Time(1_000_000);

/// A call that was just placed, before anything else.
pub fn placed(seed: u64) -> Call {
    Call::place(placement(&mut Random::new(seed)), START).unwrap().0
}

/// An offer of a phone or of a client, described or not, and where it goes.
pub fn placement(random: &mut Random) -> Placement {
    let (sip_calls, described) = (random.chance(50), random.chance(50));
    let opening = |from: Party, to: Party| Opening {
        from,
        to,
        link: "pbx".into(),
        hops: 70,
        diverted: None,
        referral: None,
    };
    let (phone, client) = (Party::sip("sip:2041@pbx.example"), Party::xmpp("rosa@xmpp.example"));
    let (here, there) = if sip_calls { (phone, client) } else { (client, phone) };
    // A relay that transcodes, or one that only passes on.
    let able = random.chance(2);
    let profile = |sip: bool| if sip { Profile::Plain } else { Profile::Webrtc };
    let offer = if described { described_media(random) } else { Media::undescribed(&[Kind::Audio]) };
    let heard = Heard {
        leg: LegRef { record: CALL, leg: LegId(0) },
        base: 0,
        event: EventId(0),
        signals: vec![Signal::Offer(offer)],
        dialog: vec![0],
        edge: "edge-a".into(),
        opening: Some(opening(here.clone(), there.clone())),
        wake: None,
        wire_id: None,
    };
    // A call that is refused at once is no walk: what comes before any device is for the others that it meets.
    let mut settings = settings(random);
    settings.do_not_disturb &= settings.voicemail.is_some();
    let early_media = random.chance(50);
    let music = able.then(|| "hold.wav".into());
    let allocation = Allocation {
        session: RelaySession::default(),
        ends: vec![(CALLER, vec![end(1)]), (CALLEE, vec![end(3)])],
        transcodes: able,
    };
    Placement {
        heard,
        caller: profile(sip_calls),
        route: Route { settings, early_media, ..route(opening(here, there), profile(!sip_calls)) },
        policy: Policy { transcode: able, music, ..Policy::default() },
        allocation,
        trace: String::new(),
    }
}

/// The route to a callee.
pub fn route(opening: Opening, profile: Profile) -> Route {
    let settings = Settings::default();
    Route {
        opening,
        profile,
        ipv6: false,
        engaged: false,
        ring_ms: 60_000,
        unheard: Reason::Offline,
        unheard_ms: Some(30_000),
        early_media: false,
        settings,
    }
}

/// Settings of a callee, most of whom have none.
pub fn settings(random: &mut Random) -> Settings {
    if random.chance(60) {
        return Settings::default();
    }
    let targets = ["2050", "nils@xmpp.example", "sip:2051@pbx.example", "voicemail", "rosa@xmpp.example"];
    let mut target = |percent| {
        let target = targets[random.index(targets.len())].to_owned();
        random.chance(percent).then_some(target)
    };
    let (always, busy, no_answer, offline) = (target(10), target(40), target(40), target(40));
    let forward = Forward { always, busy, no_answer, offline, ..Forward::default() };
    let voicemail = random.chance(50).then(|| "*97".to_owned());
    Settings { do_not_disturb: random.chance(10), forward, voicemail, ..Settings::default() }
}

/// A party's description of itself.
pub fn described_media(random: &mut Random) -> Media {
    let mut media = Media::undescribed(&[Kind::Audio]);
    let all =
        [Codec::new(0, "PCMU", 8000, 1), Codec::new(8, "PCMA", 8000, 1), Codec::new(111, "opus", 48000, 2)];
    let first = random.index(3);
    media.contents[0].codecs = all.iter().cycle().skip(first).take(1 + random.index(3)).cloned().collect();
    // Who speaks ICE restarts it now and then.
    if random.chance(50) {
        let ice = Ice { ufrag: format!("theirs{}", random.index(3)), ..Ice::default() };
        media.contents[0].transport.ice = Some(ice);
    }
    media.contents[0].direction =
        [Direction::Both, Direction::Both, Direction::Send, Direction::None][random.index(4)];
    media
}

/// An end at this port.
pub fn end(port: u16) -> LocalEnd {
    LocalEnd {
        address: [127, 0, 0, 1].into(),
        rtp_port: port,
        rtcp_port: port + 1,
        ice: Ice::default(),
        fingerprint: Fingerprint { hash: "sha-256".into(), digest: vec![0; 32] },
        other: None,
        crypto: vec![],
    }
}
