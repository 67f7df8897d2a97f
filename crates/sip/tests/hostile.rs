//! Hostile input from the network: no panic, an answer where one is due, and nothing held for ever.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod bench;

use bench::*;
use proptest::prelude::*;
use signal::*;

/// R-SIP-2 on the wire: broken framing is answered where anybody can be told from it.
#[test]
fn broken_framing_is_answered() {
    let whole = request("INVITE", 1, TO, SDP);
    for (octets, code) in [
        (whole.replace("SIP/2.0\r\nVia", "SIP/7.0\r\nVia"), Some("505")),
        (whole.replace("Max-Forwards", "no colon here\r\nMax-Forwards"), Some("400")),
        (whole.replace("Content-Length: ", "Content-Length: 9"), Some("400")),
        (whole.replace("Max-Forwards", &("X: y\r\n".repeat(600) + "Max-Forwards")), Some("513")),
        (
            whole.replace("Max-Forwards", &("X: y\r\n".to_owned() + &" z\r\n".repeat(600) + "Max-Forwards")),
            Some("513"),
        ),
        (whole.replace("sip:2700@192.0.2.1 SIP", "sip:2700@192.0.2.1 x SIP"), Some("400")),
        (whole.replace("INVITE", "ACK").replace("SIP/2.0\r\nVia", "SIP/7.0\r\nVia"), None),
        (whole.replace("Via: SIP/2.0/UDP 192.0.2.9", "Via: nobody").replace("Max-Forwards: 70", "x"), None),
        ("SIP/2.0 9 x\r\nVia: SIP/2.0/UDP h\r\n\r\n".into(), None),
        ("\r\n\r\n".into(), None),
    ] {
        let mut b = bench("one");
        b.hear(octets.clone());
        let codes = b.codes();
        assert_eq!(codes.first().map(String::as_str), code, "{octets}");
        assert_eq!((b.edge.legs(), b.asks.len(), b.edge.deadline()), (0, 0, None), "no state: {octets}");
    }
}

#[test]
fn torture_leaves_nothing_behind() {
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/torture");
    let mut b = bench("one");
    for file in std::fs::read_dir(files).unwrap() {
        let octets = std::fs::read(file.unwrap().path()).unwrap();
        b.edge.receive(&octets.into(), b.flow, b.now);
        b.drain();
    }
    while let Some((ticket, _)) = b.asks.pop() {
        b.verdict(ticket, Verdict::Refused(Reason::NotFound.into()));
    }
    b.wait(120_000);
    assert_eq!((b.edge.legs(), b.edge.transactions(), b.edge.deadline()), (0, 0, None));
}

/// One step of a peer or an orchestrator that keeps no rule.
#[derive(Clone, Debug)]
enum Step {
    Octets(Vec<u8>),
    Request(usize, u32, u8, usize, bool),
    Mangled(usize, usize, u8),
    Response(u16, u8, bool),
    Verdict(u8),
    Say(u8, u64),
    Wait(u32),
    Handed(bool),
}

const METHODS: &[&str] =
    &["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "UPDATE", "INFO", "REFER", "PRACK", "SUBSCRIBE", "X"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200).prop_map(Step::Octets),
        (0..METHODS.len(), 0..6u32, any::<u8>(), 0..3usize, any::<bool>())
            .prop_map(|(m, n, call, body, tagged)| Step::Request(m, n, call % 4, body, tagged)),
        (0..METHODS.len(), 0..500usize, any::<u8>()).prop_map(|(m, at, o)| Step::Mangled(m, at, o)),
        (100..700u16, any::<u8>(), any::<bool>()).prop_map(|(c, t, sdp)| Step::Response(c, t, sdp)),
        any::<u8>().prop_map(Step::Verdict),
        (any::<u8>(), 0..40u64).prop_map(|(s, v)| Step::Say(s, v)),
        (0..100_000u32).prop_map(Step::Wait),
        any::<bool>().prop_map(Step::Handed),
    ]
}

fn signal_of(n: u8) -> Signal {
    match n % 9 {
        0 => Signal::Offer(media()),
        1 => Signal::Ringing,
        2 => Signal::Progress(Some(media())),
        3 => Signal::Answer(media()),
        4 => Signal::Update(media()),
        5 => Signal::Updated(media()),
        6 => Signal::Refused(Reason::Glare),
        7 => Signal::Tone(Tone { digit: '1', duration: 100 }),
        _ => Signal::End(Reason::Normal.into()),
    }
}

fn play(b: &mut Bench, step: Step, legs: &mut Vec<LegState>, sent: &mut Vec<tandem_sip::message::Message>) {
    let bodies = ["", SDP, "Signal=5\r\n"];
    match step {
        Step::Octets(octets) => b.edge.receive(&octets.into(), b.flow, b.now),
        Step::Request(method, n, call, body, tagged) => {
            let to = sent.iter().rev().find_map(|m| m.text("To").filter(|t| t.contains(";tag=")));
            let to = to.filter(|_| tagged).unwrap_or(TO).to_owned();
            let text = request(METHODS[method], n, &to, bodies[body]).replace("c1", &format!("c{call}"));
            b.edge.receive(&text.into(), b.flow, b.now);
        }
        Step::Mangled(method, at, octet) => {
            let mut octets = request(METHODS[method], 1, TO, SDP).into_bytes();
            let at = at % octets.len();
            octets[at] = octet;
            b.edge.receive(&octets.into(), b.flow, b.now);
        }
        Step::Response(code, tag, sdp) => {
            if let Some(ours) = sent.iter().rev().find(|m| m.method().as_deref() == Some("INVITE")) {
                let text = answer(ours, code, if sdp { SDP } else { "" });
                let text = text.replace(";tag=b", &format!(";tag=b{}", tag % 3));
                b.edge.receive(&text.into(), b.flow, b.now);
            }
        }
        Step::Verdict(n) => {
            if let Some((ticket, ask)) = b.asks.pop() {
                let verdict = match (n % 6, ask) {
                    (0, Ask::Heard(h)) => {
                        legs.push(LegState { edge: "else".into(), ..state(h.leg, h.base + 1, h.dialog) });
                        Verdict::Committed { revision: h.base + 1, trace: String::new() }
                    }
                    (1, _) => legs.last().cloned().map_or(Verdict::Gone, Verdict::Stale),
                    (2, _) => legs.last().cloned().map_or(Verdict::Gone, Verdict::Leg),
                    (3, _) => Verdict::Gone,
                    (4, _) => Verdict::Refused(Reason::Busy.into()),
                    _ => Verdict::Unavailable,
                };
                b.edge.verdict(ticket, verdict, b.now);
            }
        }
        Step::Say(n, version) => {
            let call = Secret::new(b"test").call_of_jingle("rosa@x/1", "s");
            let fresh = LegRef { record: call, leg: LegId(1) };
            let opening = Opening {
                from: Party::sip("sip:rosa@im.example"),
                to: Party::sip("sip:2041@pbx.example"),
                link: "pbx".into(),
                hops: 70,
                diverted: None,
                referral: None,
            };
            let (leg, opening) = match legs.last().filter(|_| n < 128) {
                Some(leg) => (leg.clone(), None),
                None => (state(fresh, 0, vec![]), Some(opening)),
            };
            let id = EffectId { record: leg.leg.record, version, index: 0 };
            let order = Say { id, state: leg, count: 0, signal: signal_of(n), opening };
            b.edge.order(order, b.now);
        }
        Step::Wait(ms) => b.wait(u64::from(ms)),
        Step::Handed(taken) => {
            if let Some((ticket, _, handover)) = b.hands.pop() {
                b.edge.receive_forwarded(&handover, b.now);
                b.edge.forward_result(ticket, taken, b.now);
            }
        }
    }
    b.drain();
    sent.append(&mut b.sent);
    sent.drain(..sent.len().saturating_sub(20));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// No panic whatever comes in whatever order, and in the end nothing is held: every leg, transaction and timer is gone.
    #[test]
    fn no_order_of_events_panics_or_is_kept(steps in proptest::collection::vec(step(), 1..60)) {
        let mut b = bench("one");
        let (mut legs, mut sent) = (vec![], vec![]);
        for step in steps {
            play(&mut b, step, &mut legs, &mut sent);
        }
        for _ in 0..200 {
            while let Some((ticket, _, _)) = b.hands.pop() {
                b.edge.forward_result(ticket, false, b.now);
                b.drain();
            }
            while let Some((ticket, _)) = b.asks.pop() {
                b.verdict(ticket, Verdict::Gone);
            }
            let Some(at) = b.edge.deadline() else { break };
            b.wait(at.since(b.now) + 1);
        }
        let left = (b.edge.legs(), b.edge.open(), b.edge.transactions(), b.edge.deadline());
        prop_assert_eq!(left, (0, 0, 0, None));
    }
}
