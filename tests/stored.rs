//! Octets of every version of what is stored: each version that is still read has golden files in `tests/stored`, taken from calls of
//! `tests/flows`. `BLESS=1` writes those of the current versions where there are none yet; golden files are never changed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use minicbor::decode::Error;
use minicbor::{Decode, Decoder, Encode};
use session::call::{Call, Effect};
use session::mailbox::Announcement;
use session::user::{self, CallerRule, Forward, Settings, User};
use session::{Machine, Outbox};
use signal::{LegId, Protocol, RecordId, RecordKind, Stored, StoredError, Time, stored};
use sip::dialog::Dialog;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use tandem_tests::play::flow::Flow;
use tandem_tests::play::world::World;
use xmpp::session::Session;

/// Flows whose records are kept: plain and WebRTC, moved, on hold, with an ICE restart, challenged, with responses that wait for a PRACK,
/// with an interval that was too short, diverted.
const FLOWS: &[&str] = &[
    "sip-relay-drains",
    "sip-hold-with-music",
    "xmpp-restart",
    "xmpp-hold",
    "xmpp-trunk-wants-digest",
    "sip-100rel-late-offer",
    "xmpp-session-timer",
    "sip-forward-chain",
];

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/stored"))
}

/// Reads the golden octets of a kind: one line of hexadecimal digits a value.
fn golden<T: Stored>(kind: &str, version: u16) -> Vec<Vec<u8>> {
    let file = folder().join(format!("{kind}-{version}.hex"));
    let text = std::fs::read_to_string(&file)
        .unwrap_or_else(|_| panic!("{} has no golden octets: write them with BLESS=1", T::NAME));
    let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    text.lines().map(|line| line.as_bytes().chunks(2).map(octet).collect()).collect()
}

fn bless<T: Stored>(kind: &str, values: impl Iterator<Item = Vec<u8>>) {
    let file = folder().join(format!("{kind}-{}.hex", T::VERSION));
    if std::env::var_os("BLESS").is_none() || file.exists() {
        return;
    }
    let hex = |octets: Vec<u8>| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>() + "\n";
    std::fs::create_dir_all(folder()).unwrap();
    std::fs::write(file, values.map(hex).collect::<String>()).unwrap();
}

/// Every version reads, and what is read is written in the current version without loss.
fn every_version_reads<T: Stored + PartialEq + Debug>(kind: &str) {
    for version in T::OLDEST..=T::VERSION {
        let octets = golden::<T>(kind, version);
        assert!(!octets.is_empty());
        for octets in octets {
            let value: T = stored::decode(&octets).unwrap();
            let written = stored::encode(&value);
            assert_eq!(stored::decode::<T>(&written).as_ref(), Ok(&value));
            if version == T::VERSION {
                assert_eq!(
                    written,
                    octets,
                    "the layout of {} has changed: raise its VERSION, and write its octets with BLESS=1",
                    T::NAME
                );
            }
        }
    }
}

/// Records of the flows, newest last.
fn records() -> Vec<(Call, Vec<Effect>)> {
    played(FLOWS)
}

/// Records of these flows.
fn played(names: &[&str]) -> Vec<(Call, Vec<Effect>)> {
    let flows = concat!(env!("CARGO_MANIFEST_DIR"), "/flows/");
    let file = |name: &str| {
        let part = std::fs::read_to_string(format!("{flows}parts/{name}"));
        part.or_else(|_| std::fs::read_to_string(format!("{flows}{name}"))).ok()
    };
    let mut records = vec![];
    for name in names {
        let flow = Flow::parse(&std::fs::read_to_string(format!("{flows}{name}.flow")).unwrap()).unwrap();
        records.extend(World::play(&flow, file).unwrap().records);
    }
    records
}

/// A user with every setting, and new messages in the box.
fn user() -> (User, Vec<user::Effect>) {
    let forward = Forward {
        always: Some("2042".into()),
        busy: Some("+49301234".into()),
        no_answer: Some("nils@example.net".into()),
        offline: Some("2043".into()),
        no_answer_s: Some(20),
        callers: vec![CallerRule { callers: vec!["2045".into()], target: "voicemail".into() }],
    };
    let settings = Settings {
        do_not_disturb: true,
        forward,
        blocked: vec!["2044".into(), "x@example.org".into()],
        reject_anonymous: true,
        voicemail: Some("*97".into()),
        withhold_caller_id: true,
        no_voicemail: true,
        no_call_waiting: true,
    };
    let id = RecordId { kind: RecordKind::User, hash: [7; 10] };
    let now = Time(1_700_000_000_000);
    let (user, mut effects) = User::create(id, "rosa@example.net".into(), user::Event::Set(settings), now);
    let told = Announcement { mailbox: "voicemail@sip.example.net".into(), counts: Some((2, 8)) };
    let (user, told) = user.decide(user::Event::Notified(told), now + 1);
    effects.extend(told);
    let (user, _) = user.decide(user::Event::Engaged(RecordId::call([8; 10])), now + 2);
    (user, effects)
}

/// Dialogs of one protocol, by leg and revision.
fn dialogs(calls: &[(Call, Vec<Effect>)], protocol: Protocol) -> Vec<Vec<u8>> {
    let mut dialogs = BTreeMap::new();
    for leg in calls.iter().flat_map(|(call, _)| &call.legs) {
        if leg.protocol() == protocol && !leg.dialog.is_empty() {
            dialogs.insert(leg.dialog.clone(), ());
        }
    }
    dialogs.into_keys().collect()
}

#[test]
fn octets_of_every_version_are_read() {
    let records = records();
    let some = || records.iter().step_by(4);
    let outboxes = some().map(|(call, effects)| {
        let mut outbox = Outbox::default();
        outbox.add(call.id, 7, effects.clone(), call.placed);
        stored::encode(&outbox)
    });
    bless::<Call>("call", some().map(|(call, _)| stored::encode(call)));
    bless::<Outbox<Effect>>("outbox", outboxes);
    bless::<Dialog>("dialog", dialogs(&records, Protocol::Sip).into_iter());
    bless::<Session>("session", dialogs(&records, Protocol::Xmpp).into_iter());
    bless::<User>("user", [stored::encode(&user().0)].into_iter());
    bless::<Outbox<user::Effect>>("user-outbox", {
        let (user, effects) = user();
        let mut outbox = Outbox::default();
        outbox.add(user.id, 1, effects, user.changed);
        [stored::encode(&outbox)].into_iter()
    });
    every_version_reads::<User>("user");
    every_version_reads::<Outbox<user::Effect>>("user-outbox");
    every_version_reads::<Call>("call");
    every_version_reads::<Outbox<Effect>>("outbox");
    every_version_reads::<Dialog>("dialog");
    every_version_reads::<Session>("session");
}

/// Golden octets of a version that nobody reads would prove nothing of the code that writes.
#[test]
fn calls_of_today_are_read_back_whole() {
    let records = records();
    assert!(records.len() > 30);
    for (call, _) in &records {
        assert_eq!(stored::decode::<Call>(&stored::encode(call)).as_ref(), Ok(call));
    }
}

/// The time of ringing outlives the orchestrator that told of it.
#[test]
fn a19_the_time_of_ringing_is_in_the_record() {
    let calls = played(&["sip-answered-callee-hangs-up"]).into_iter().map(|(call, _)| call);
    let rang: Vec<Call> = calls.filter(|call| call.rang.is_some() && call.answered.is_some()).collect();
    assert!(!rang.is_empty());
    for call in rang {
        assert!(Some(call.placed) <= call.rang && call.rang <= call.answered, "{} {:?}", call.id, call.rang);
    }
}

/// A call record as a later version may have it: one more field in legs and in the call, another one gone.
#[derive(Debug, PartialEq, Encode, Decode)]
struct LaterCall {
    #[n(0)]
    id: RecordId,
    #[n(2)]
    legs: Vec<LaterLeg>,
    #[n(40)]
    transferred_by: Option<LegId>,
    #[cbor(n(41), default)]
    legs_opened: u32,
}

#[derive(Debug, PartialEq, Encode, Decode)]
struct LaterLeg {
    #[n(0)]
    id: LegId,
    #[n(40)]
    role: Option<String>,
}

impl Stored for LaterCall {
    const NAME: &'static str = "a later call record";
    const VERSION: u16 = Call::VERSION + 1;
    const OLDEST: u16 = Call::OLDEST;

    fn upgrade(self, version: u16, _: &mut Decoder<'_>) -> Result<LaterCall, Error> {
        let legs_opened = if version < Self::VERSION { self.legs.len() as u32 } else { self.legs_opened };
        Ok(LaterCall { legs_opened, ..self })
    }
}

#[test]
fn octets_of_today_are_read_after_a_change_of_the_format() {
    for octets in golden::<Call>("call", Call::VERSION) {
        let today: Call = stored::decode(&octets).unwrap();
        let later: LaterCall = stored::decode(&octets).unwrap();
        let legs = today.legs.len() as u32;
        assert_eq!((later.id, later.transferred_by, later.legs_opened), (today.id, None, legs));
        assert!(later.legs.iter().zip(&today.legs).all(|(later, today)| later.id == today.id));
        let refused = stored::decode::<Call>(&stored::encode(&later)).unwrap_err();
        let (name, known) = (Call::NAME, Call::VERSION);
        assert_eq!(refused, StoredError::Newer { name, version: known + 1, known });
    }
}
