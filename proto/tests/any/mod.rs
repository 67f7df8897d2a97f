//! Strategies for any value of `crates/signal`, and one typical offer.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use signal::media::{
    Candidate, CandidateKind, Codec, Content, Crypto, Direction, Dtls, Fingerprint, Ice, Kind, Setup, Ssrc,
    Suite, Transport, Trickle,
};
use signal::{
    AnySignal, Ask, Diversion, DiversionReason, Diverted, EffectId, End, EventId, Handover, Heard, Identity,
    InstantMessage, LegId, LegRef, LegState, Media, MessageSignal, Opening, Order, Party, PresenceSignal,
    Protocol, Reason, RecordId, RecordKind, ReferStatus, Referral, Said, Say, Show, Signal, Time, Tone,
    Verdict, Wake,
};
use std::net::SocketAddr;

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,12}"
}

fn octets() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

/// Strategy for addresses without flow label: their text form has none, and no protocol here carries one.
fn address() -> impl Strategy<Value = SocketAddr> {
    (any::<std::net::IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

fn candidate() -> impl Strategy<Value = Candidate> {
    let kind = prop_oneof![
        Just(CandidateKind::Host),
        Just(CandidateKind::ServerReflexive),
        Just(CandidateKind::PeerReflexive),
        Just(CandidateKind::Relayed),
    ];
    (text(), any::<u8>(), any::<u32>(), address(), kind, of(address()), any::<u32>()).prop_map(
        |(foundation, component, priority, address, kind, related, generation)| Candidate {
            foundation,
            component,
            priority,
            address,
            kind,
            related,
            generation,
        },
    )
}

fn ice() -> impl Strategy<Value = Ice> {
    (text(), text(), vec(candidate(), 0..4), any::<bool>(), any::<bool>())
        .prop_map(|(ufrag, pwd, candidates, lite, trickle)| Ice { ufrag, pwd, candidates, lite, trickle })
}

fn dtls() -> impl Strategy<Value = Dtls> {
    let setup = prop_oneof![Just(Setup::ActPass), Just(Setup::Active), Just(Setup::Passive)];
    let fingerprint = (text(), octets()).prop_map(|(hash, digest)| Fingerprint { hash, digest });
    (vec(fingerprint, 0..4), setup).prop_map(|(fingerprints, setup)| Dtls { fingerprints, setup })
}

fn transport() -> impl Strategy<Value = Transport> {
    let crypto =
        (any::<u32>(), 0..Suite::ALL.len(), any::<u8>(), any::<u8>()).prop_map(|(tag, suite, octet, mki)| {
            let suite = Suite::ALL[suite];
            let (key, salt) = suite.lengths();
            Crypto { tag, suite, key: vec![octet; key + salt], mki }
        });
    let source = of(address()).prop_map(|a| a.map(|a| a.ip()));
    let crypto = (vec(crypto, 0..3), any::<bool>());
    let ssrc = of((any::<u32>(), any::<u64>()).prop_map(|(id, cname)| Ssrc { id, cname }));
    let sources = (source, ssrc);
    (of(address()), of(any::<u16>()), any::<bool>(), of(ice()), of(dtls()), crypto, sources).prop_map(
        |(address, rtcp, mux, ice, dtls, (crypto, best_effort), (source, ssrc))| Transport {
            address,
            rtcp,
            mux,
            ice,
            dtls,
            crypto,
            best_effort,
            source,
            ssrc,
        },
    )
}

fn codec() -> impl Strategy<Value = Codec> {
    let params = vec((text(), text()), 0..3);
    let times = (of(any::<u16>()), of(any::<u16>()));
    (0u8..128, text(), any::<u32>(), any::<u8>(), params, vec(text(), 0..3), times).prop_map(
        |(pt, name, clock, channels, params, feedback, (ptime, max_ptime))| Codec {
            pt,
            name,
            clock,
            channels,
            params,
            feedback,
            ptime,
            max_ptime,
        },
    )
}

fn content() -> impl Strategy<Value = Content> {
    let kind = prop_oneof![Just(Kind::Audio), Just(Kind::Video), Just(Kind::Text)];
    let direction = prop_oneof![
        Just(Direction::Both),
        Just(Direction::Send),
        Just(Direction::Receive),
        Just(Direction::None),
    ];
    (text(), kind, direction, any::<bool>(), vec(codec(), 0..4), transport()).prop_map(
        |(name, kind, direction, rejected, codecs, transport)| Content {
            name,
            kind,
            direction,
            rejected,
            codecs,
            transport,
        },
    )
}

fn media() -> impl Strategy<Value = Media> {
    (vec(content(), 0..3), vec(text(), 0..3)).prop_map(|(contents, bundle)| Media { contents, bundle })
}

fn reason() -> impl Strategy<Value = Reason> {
    prop::sample::select(&Reason::ALL[..])
}

fn end() -> impl Strategy<Value = End> {
    (reason(), of(any::<u16>()), of(text())).prop_map(|(reason, sip, text)| End { reason, sip, text })
}

fn signal() -> impl Strategy<Value = Signal> {
    let trickle = (text(), ice()).prop_map(|(name, ice)| Trickle { name, ice });
    let tone = (any::<char>(), any::<u16>()).prop_map(|(digit, duration)| Tone { digit, duration });
    prop_oneof![
        media().prop_map(Signal::Offer),
        Just(Signal::Ringing),
        of(media()).prop_map(Signal::Progress),
        media().prop_map(Signal::Answer),
        media().prop_map(Signal::Update),
        media().prop_map(Signal::Updated),
        reason().prop_map(Signal::Refused),
        vec(trickle, 0..3).prop_map(Signal::Candidates),
        tone.prop_map(Signal::Tone),
        (text(), of(text())).prop_map(|(target, replaces)| Signal::Refer { target, replaces }),
        (text(), vec(text(), 0..4)).prop_map(|(target, further)| Signal::Redirect(target, further)),
        end().prop_map(Signal::End),
        prop_oneof![
            Just(ReferStatus::Trying),
            Just(ReferStatus::Ringing),
            Just(ReferStatus::Accepted),
            end().prop_map(ReferStatus::Failed),
        ]
        .prop_map(Signal::Referred),
        Just(Signal::Diverted),
    ]
}

fn record() -> impl Strategy<Value = RecordId> {
    (any::<[u8; 10]>(), 0u8..9)
        .prop_map(|(hash, kind)| RecordId { kind: RecordKind::of(kind).unwrap(), hash })
}

fn leg() -> impl Strategy<Value = LegRef> {
    (record(), 0u8..32).prop_map(|(record, leg)| LegRef { record, leg: LegId(leg) })
}

fn effect() -> impl Strategy<Value = EffectId> {
    (record(), any::<u64>(), any::<u16>()).prop_map(|(record, version, index)| EffectId {
        record,
        version,
        index,
    })
}

fn state() -> impl Strategy<Value = LegState> {
    (leg(), any::<u32>(), octets(), text(), text())
        .prop_map(|(leg, revision, dialog, edge, trace)| LegState { leg, revision, dialog, edge, trace })
}

fn opening() -> impl Strategy<Value = Opening> {
    let party = || {
        let protocol = prop_oneof![Just(Protocol::Sip), Just(Protocol::Xmpp)];
        let identity = (of(text()), vec(text(), 0..4), of(text()))
            .prop_map(|(asserted, signed, date)| Box::new(Identity { asserted, signed, date }));
        (protocol, text(), of(text()), of(identity))
            .prop_map(|(protocol, address, display, identity)| Party { protocol, address, display, identity })
    };
    let referral = (party(), of(text())).prop_map(|(by, replaces)| Referral { by, replaces });
    let reason = (0..DiversionReason::ALL.len()).prop_map(|at| DiversionReason::ALL[at]);
    let diversion = (party(), reason, any::<u8>(), any::<bool>());
    let diversion =
        diversion.prop_map(|(party, reason, count, private)| Diversion { party, reason, count, private });
    let diverted =
        (vec(diversion, 0..3), any::<bool>()).prop_map(|(history, mailbox)| Diverted { history, mailbox });
    let diverted = of(diverted);
    (party(), party(), text(), any::<u8>(), diverted, of(referral)).prop_map(
        |(from, to, link, hops, diverted, referral)| Opening { from, to, link, hops, diverted, referral },
    )
}

pub fn ask() -> impl Strategy<Value = Ask> {
    let signals = vec(signal(), 0..3);
    let heard =
        (leg(), any::<u32>(), any::<u64>(), signals, octets(), text(), of(opening()), time(), of(text()))
            .prop_map(|(leg, base, event, signals, dialog, edge, opening, wake, wire_id)| Heard {
                leg,
                base,
                event: EventId(event),
                signals,
                dialog,
                edge,
                opening,
                wake,
                wire_id,
            });
    prop_oneof![3 => heard.prop_map(Ask::Heard), 1 => leg().prop_map(Ask::Recall)]
}

pub fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        (any::<u32>(), text()).prop_map(|(revision, trace)| Verdict::Committed { revision, trace }),
        state().prop_map(Verdict::Stale),
        state().prop_map(Verdict::Leg),
        Just(Verdict::Gone),
        end().prop_map(Verdict::Refused),
        Just(Verdict::Unavailable),
    ]
}

pub fn say() -> impl Strategy<Value = Say> {
    (effect(), state(), any::<u32>(), signal(), of(opening()))
        .prop_map(|(id, state, count, signal, opening)| Say { id, state, count, signal, opening })
}

pub fn order() -> impl Strategy<Value = Order> {
    let wake = (effect(), state()).prop_map(|(id, state)| Order::Wake(Wake { id, state }));
    prop_oneof![3 => say().prop_map(Order::Say), 1 => wake]
}

fn time() -> impl Strategy<Value = Option<Time>> {
    of(any::<u64>().prop_map(Time))
}

/// Strategy for signals of any vocabulary.
pub fn any_signal() -> impl Strategy<Value = AnySignal> {
    let message = prop_oneof![
        (text(), text(), text()).prop_map(|(id, content_type, body)| {
            MessageSignal::Send(InstantMessage { id, content_type, body })
        }),
        Just(MessageSignal::Accepted),
        Just(MessageSignal::Delivered),
        end().prop_map(MessageSignal::Failed),
    ];
    let show = prop_oneof![
        Just(Show::Online),
        Just(Show::Chat),
        Just(Show::Away),
        Just(Show::ExtendedAway),
        Just(Show::DoNotDisturb)
    ];
    let presence = prop_oneof![
        Just(PresenceSignal::Subscribe),
        Just(PresenceSignal::Subscribed),
        Just(PresenceSignal::Unsubscribe),
        Just(PresenceSignal::Unsubscribed),
        (show, of(text())).prop_map(|(show, status)| PresenceSignal::Available { show, status }),
        of(text()).prop_map(|status| PresenceSignal::Unavailable { status }),
    ];
    prop_oneof![
        signal().prop_map(AnySignal::Call),
        message.prop_map(AnySignal::Message),
        presence.prop_map(AnySignal::Presence),
    ]
}

/// Strategy for what an edge hears, in any vocabulary.
pub fn any_ask() -> impl Strategy<Value = Ask<AnySignal>> {
    (ask(), vec(any_signal(), 0..3)).prop_map(|(ask, signals)| match ask {
        Ask::Recall(leg) => Ask::Recall(leg),
        Ask::Heard(Heard { leg, base, event, signals: _, dialog, edge, opening, wake, wire_id }) => {
            Ask::Heard(Heard { leg, base, event, signals, dialog, edge, opening, wake, wire_id })
        }
    })
}

/// Strategy for orders in any vocabulary.
pub fn any_order() -> impl Strategy<Value = Order<AnySignal>> {
    (order(), any_signal()).prop_map(|(order, signal)| match order {
        Order::Wake(wake) => Order::Wake(wake),
        Order::Say(Say { id, state, count, signal: _, opening }) => {
            Order::Say(Say { id, state, count, signal, opening })
        }
    })
}

pub fn said() -> impl Strategy<Value = Said> {
    (effect(), any::<u32>(), of(octets()), time(), text(), of(end()), of(text())).prop_map(
        |(id, base, dialog, wake, edge, failed, wire_id)| Said {
            id,
            base,
            dialog,
            wake,
            edge,
            failed,
            wire_id,
        },
    )
}

pub fn handover() -> impl Strategy<Value = Handover> {
    (text(), octets()).prop_map(|(source, message)| Handover { source, message })
}

/// Makes a typical first order of a call: Opus, G.722, PCMA and telephone-event, ICE, DTLS.
pub fn offer() -> Say {
    let call = RecordId::call([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    let mut opus = Codec::new(111, "opus", 48_000, 2);
    opus.params = vec![("minptime".into(), "10".into()), ("useinbandfec".into(), "1".into())];
    opus.feedback = vec!["transport-cc".into()];
    opus.ptime = Some(20);
    let mut tones = Codec::new(101, "telephone-event", 8_000, 1);
    tones.params = vec![(String::new(), "0-16".into())];
    let candidate = Candidate {
        foundation: "1".into(),
        component: 1,
        priority: 2_130_706_431,
        address: "192.0.2.7:30000".parse().unwrap(),
        kind: CandidateKind::ServerReflexive,
        related: "[2001:db8::1]:30002".parse().ok(),
        generation: 0,
    };
    let ice = Ice {
        ufrag: "8hhY".into(),
        pwd: "asd88fgpdd777uzjYhagZg".into(),
        candidates: vec![candidate],
        lite: false,
        trickle: true,
    };
    let fingerprint = Fingerprint { hash: "sha-256".into(), digest: (0..32).collect() };
    let transport = Transport {
        address: "192.0.2.7:30000".parse().ok(),
        rtcp: Some(30_003),
        mux: true,
        ice: Some(ice),
        dtls: Some(Dtls { fingerprints: vec![fingerprint], setup: Setup::ActPass }),
        crypto: vec![Crypto { tag: 1, suite: Suite::AesCm128Sha1_80, key: vec![7; 30], mki: 0 }],
        best_effort: false,
        source: None,
        ssrc: None,
    };
    let content = Content {
        name: "0".into(),
        kind: Kind::Audio,
        direction: Direction::Send,
        rejected: false,
        codecs: vec![opus, Codec::new(9, "G722", 8_000, 1), Codec::new(8, "PCMA", 8_000, 1), tones],
        transport,
    };
    Say {
        id: EffectId { record: call, version: 3, index: 1 },
        state: LegState {
            leg: LegRef { record: call, leg: LegId(1) },
            revision: 0,
            dialog: vec![],
            edge: String::new(),
            trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into(),
        },
        count: 0,
        signal: Signal::Offer(Media { contents: vec![content], bundle: vec!["0".into()] }),
        opening: Some(Opening {
            from: Party { display: Some("Anna".into()), ..Party::sip("sip:2041@pbx.example") },
            to: Party::xmpp("rosa@example.net"),
            link: "sip.example.net".into(),
            hops: 69,
            diverted: None,
            referral: None,
        }),
    }
}
