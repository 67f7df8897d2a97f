//! Any input in any order: no panic, every IQ answered exactly once, nothing kept for ever.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod bench;

use bench::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use signal::*;
use tandem_xmpp::stanza::{COMPONENT, JINGLE};

#[derive(Clone, Debug)]
enum Step {
    Jingle { from: usize, to: usize, sid: usize, action: String, inner: String },
    Jmi { from: usize, to: usize, sid: usize, name: String, inner: String },
    Other(String),
    Say { ours: bool, what: usize },
    Verdict(usize),
    Reply(Option<String>),
    Wait(u64),
    LinkLost,
}

const FROM: &[&str] =
    &[ROSA, "rosa@example.net/tablet", "rosa@example.net", "eve@example.org/x", "example.net"];
const TO: &[&str] = &["2041@sip.example.net", "2041@sip.example.net/phone", "sip.example.net", "LOCAL"];
const SIDS: &[&str] = &[SID, "OURS", "other", ""];

fn action() -> impl Strategy<Value = String> {
    select(vec![
        "session-initiate",
        "session-initiate",
        "session-accept",
        "session-accept",
        "session-terminate",
        "session-info",
        "content-add",
        "content-accept",
        "content-reject",
        "content-modify",
        "content-remove",
        "transport-info",
        "transport-replace",
        "transport-accept",
        "transport-reject",
        "description-info",
        "security-info",
        "dance",
        "",
    ])
    .prop_map(str::to_owned)
}

/// Children as clients write them, cut from real stanzas, with something broken here and there.
fn inner() -> impl Strategy<Value = String> {
    let body = |name: &str| {
        let text = fixture(name, "x").replace("name=\"audio\"", "name=\"0\"");
        text.split_once('>').unwrap().1.rsplit_once("</jingle>").unwrap().0.to_owned()
    };
    let transport = "<transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='XY7a' pwd='0123456789012345678901'><candidate component='1' foundation='1' \
                     generation='0' id='c' ip='198.51.100.9' port='99999' priority='5' protocol='udp' type='host'/></transport>";
    let pieces = vec![
        body("chromium-initiate"),
        body("chromium-initiate"),
        body("dino-initiate"),
        body("chromium-accept"),
        body("chromium-content-add"),
        format!("<content creator='initiator' name='0'>{transport}</content>"),
        format!("<content creator='initiator' name='7'>{}</content>", transport.replace("99999", "9")),
        "<content creator='initiator' name='0' senders='none'/>".into(),
        "<content creator='responder' name='0' senders='both'/>".into(),
        "<content><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/></content>".into(),
        "<reason><busy/></reason>".into(),
        "<reason><cancel/><text>&lt;no&gt; &#x7f; \u{202e}</text></reason>".into(),
        "<hold xmlns='urn:xmpp:jingle:apps:rtp:info:1'/>".into(),
        "<unhold xmlns='urn:xmpp:jingle:apps:rtp:info:1'/>".into(),
        "<ringing xmlns='urn:xmpp:jingle:apps:rtp:info:1'/>".into(),
        "<dtmf xmlns='urn:xmpp:jingle:dtmf:0' code='' duration='-1'/>".into(),
        "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/>".into(),
        "<tie-break xmlns='urn:xmpp:jingle-message:0'/>".into(),
        String::new(),
    ];
    vec(select(pieces), 0..3).prop_map(|parts| parts.concat())
}

fn step() -> impl Strategy<Value = Step> {
    let place = |list: &[&str]| 0..list.len();
    let jmi = select(vec!["propose", "ringing", "proceed", "reject", "retract", "finish", "accept", "?"]);
    let other = select(vec![
        "<iq type='get'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
        "<iq type='set'><a xmlns='b'/><c xmlns='d'/></iq>",
        "<iq type='set'><jingle xmlns='urn:xmpp:jingle:0' sid='1'/></iq>",
        "<iq type='odd'/>",
        "<iq/>",
        "<iq type='result'/>",
        "<message type='chat'><body>1 2#</body></message>",
        "<message type='error'><body>x</body></message>",
        "<presence type='subscribe'/>",
    ]);
    let condition =
        select(vec!["service-unavailable", "item-not-found", "conflict", "odd"]).prop_map(str::to_owned);
    // The weights let calls get somewhere.
    prop_oneof![
        6 => (place(FROM), place(TO), place(SIDS), action(), inner())
            .prop_map(|(from, to, sid, action, inner)| Step::Jingle { from, to, sid, action, inner }),
        6 => (0usize..2, 3usize..4, 0usize..2, action(), inner())
            .prop_map(|(from, to, sid, action, inner)| Step::Jingle { from, to, sid, action, inner }),
        4 => (0usize..3, place(TO), 0usize..3, jmi, inner())
            .prop_map(|(from, to, sid, name, inner)| Step::Jmi { from, to, sid, name: if name == "?" { "x".into() } else { name.into() }, inner }),
        1 => other.prop_map(|s| Step::Other(s.to_owned())),
        6 => (any::<bool>(), 0usize..12).prop_map(|(ours, what)| Step::Say { ours, what }),
        12 => (0usize..14).prop_map(Step::Verdict),
        4 => proptest::option::weighted(0.3, condition).prop_map(Step::Reply),
        2 => select(vec![1u64, 1_000, 5_000, 31_000, 700_000]).prop_map(Step::Wait),
        1 => Just(Step::LinkLost),
    ]
}

fn signal(what: usize) -> Signal {
    let mut held = media();
    held.contents[0].direction = signal::media::Direction::Send;
    let mut more = media();
    more.contents.push(signal::media::Content { name: "1".into(), ..media().contents[0].clone() });
    match what {
        0 => Signal::Offer(media()),
        1 => Signal::Ringing,
        2 => Signal::Progress(None),
        3 => Signal::Answer(media()),
        4 => Signal::Update(held),
        5 => Signal::Update(more),
        6 => Signal::Updated(media()),
        7 => Signal::Refused(Reason::Glare),
        8 => Signal::Tone(Tone { digit: '1', duration: 100 }),
        9 => Signal::Candidates(vec![signal::media::Trickle { name: "0".into(), ice: Default::default() }]),
        10 => Signal::Redirect("sip:x@y".into(), vec![]),
        _ => Signal::End(Reason::Normal.into()),
    }
}

/// Record of the orchestrator: the last dialog of each leg that was committed or said.
type Record = std::collections::BTreeMap<LegRef, LegState>;

fn decide(b: &mut Bench, record: &mut Record, what: usize) {
    if b.asks.is_empty() {
        return;
    }
    let (ticket, ask) = b.asks.remove(0);
    let name = match &ask {
        Ask::Heard(heard) => heard.leg,
        Ask::Recall(name) => *name,
    };
    let held = record.get(&name).cloned();
    let verdict = match (what, ask, held) {
        (0, ..) => Verdict::Unavailable,
        (1, Ask::Heard(_), _) => Verdict::Refused(Reason::Busy.into()),
        (2, _, Some(state)) => Verdict::Stale(state),
        (3, ..) => Verdict::Gone,
        (_, Ask::Recall(_), Some(state)) => Verdict::Leg(state),
        (_, Ask::Recall(_), None) => Verdict::Gone,
        (_, Ask::Heard(heard), held) => {
            let revision = held.map_or(0, |h| h.revision).max(heard.base) + 1;
            record.insert(name, LegState { revision, dialog: heard.dialog, ..fresh(name) });
            Verdict::Committed { revision, trace: String::new() }
        }
    };
    b.verdict(ticket, verdict);
}

fn play(steps: Vec<Step>) {
    let mut b = bench();
    let mut record = Record::new();
    let theirs = LegRef { record: Secret::new(b"test").call_of_jingle(ROSA, SID), leg: LegId(0) };
    let ours_sid = Secret::new(b"test").token(leg(), 0).uuid();
    let mut n = 0u64;
    for step in steps {
        n += 1;
        // The JID that the peer last heard from.
        let local =
            b.sent.iter().rev().find_map(|s| s.attr("from")).unwrap_or("2041@sip.example.net/q").to_owned();
        let (to_jid, sid_of) =
            (|i: usize| TO[i].replace("LOCAL", &local), |i: usize| SIDS[i].replace("OURS", &ours_sid));
        match step {
            Step::Jingle { from, to, sid, action, inner } => {
                let jingle = format!(
                    "<jingle xmlns='{JINGLE}' action='{action}' sid='{}'>{inner}</jingle>",
                    sid_of(sid)
                );
                b.jingle(FROM[from], &to_jid(to), &jingle);
            }
            Step::Jmi { from, to, sid, name, inner } => {
                b.jmi(FROM[from], &to_jid(to), &name, &sid_of(sid), &inner)
            }
            Step::Other(text) => {
                let (head, tail) = text.split_at(text.find([' ', '/', '>']).unwrap());
                let attributes =
                    format!(" xmlns='{COMPONENT}' id='o{n}' from='{ROSA}' to='2041@sip.example.net'");
                b.hear(&format!("{head}{attributes}{tail}"));
            }
            Step::Say { ours, what } => {
                let name = if ours { leg() } else { theirs };
                let opens = ours && !record.contains_key(&name);
                let (signal, opening) = if opens {
                    (
                        Signal::Offer(media()),
                        Some(opening(if what % 2 == 0 { "rosa@example.net" } else { ROSA })),
                    )
                } else {
                    (signal(what), None)
                };
                let Some(state) = record.get(&name).cloned().or(opens.then(|| fresh(name))) else { continue };
                let id = EffectId { record: name.record, version: n, index: 0 };
                b.edge.order(Say { id, state, count: 0, signal, opening }, b.now);
                b.drain();
                for said in std::mem::take(&mut b.said) {
                    if let Some(dialog) = said.dialog {
                        // Only one leg is said to at a time here.
                        record.insert(name, LegState { revision: said.base + 1, dialog, ..fresh(name) });
                    }
                }
            }
            Step::Verdict(what) => decide(&mut b, &mut record, what),
            Step::Reply(condition) => {
                let asked = b.sent.iter().rev().find(|s| {
                    s.name() == "iq" && s.attr("type") == Some("set")
                        || s.name() == "message" && s.attr("type") == Some("chat")
                });
                if let Some(asked) = asked.cloned() {
                    b.reply(&asked, condition.as_deref());
                }
            }
            Step::Wait(ms) => b.after(ms),
            Step::LinkLost => {
                b.edge.linked("sip.example.net", false, b.now);
                b.drain();
                b.edge.linked("sip.example.net", true, b.now);
                b.drain();
            }
        }
    }
    // Every ask is decided at last; then what is left fades.
    for _ in 0..2_000 {
        decide(&mut b, &mut record, 9);
    }
    assert!(b.asks.is_empty());
    // Legs of people who talk are kept for half a day.
    for _ in 0..80 {
        b.after(600_001);
        while !b.asks.is_empty() {
            decide(&mut b, &mut record, 9);
        }
    }
    assert_eq!((b.edge.legs(), b.edge.deadline()), (0, None));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_sequence_leaves_an_iq_unanswered(steps in vec(step(), 1..60)) {
        play(steps);
    }
}
