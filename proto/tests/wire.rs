//! Encoding of the bus: no value is lost, bounds are checked, other versions are read.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod any;

use proptest::prelude::*;
use prost::Message;
use signal::{
    AnySignal, Ask, Handover, InstantMessage, LegRef, MessageSignal, Order, PresenceSignal, RecordKind, Said,
    Say, Show, Verdict, Wake,
};
use tandem_proto::v1;
use tandem_proto::wire::WireFormat;

fn comes_back<T: WireFormat + PartialEq + std::fmt::Debug>(value: &T) -> Result<(), TestCaseError> {
    let read = T::decode(&value.encode()).map_err(|e| TestCaseError::fail(format!("{e} in {value:?}")))?;
    prop_assert_eq!(&read, value);
    Ok(())
}

fn read_as_everything(octets: &[u8]) {
    let _ = <Ask>::decode(octets);
    let _ = Verdict::decode(octets);
    let _ = Say::decode(octets);
    let _ = <Order>::decode(octets);
    let _ = <Order<AnySignal>>::decode(octets);
    let _ = <Ask<AnySignal>>::decode(octets);
    let _ = Said::decode(octets);
    let _ = Handover::decode(octets);
}

proptest! {
    #[test]
    fn asks_come_back(ask in any::ask()) {
        comes_back(&ask)?;
    }

    #[test]
    fn verdicts_come_back(verdict in any::verdict()) {
        comes_back(&verdict)?;
    }

    #[test]
    fn orders_come_back(order in any::order(), say in any::say()) {
        comes_back(&order)?;
        comes_back(&say)?;
        prop_assert_eq!(<Order>::decode(&say.encode()), Ok(Order::Say(say)));
    }

    #[test]
    fn signals_of_any_vocabulary_come_back(ask in any::any_ask(), order in any::any_order()) {
        comes_back(&ask)?;
        comes_back(&order)?;
    }

    /// The octets of calls are the same to whoever knows calls alone and to whoever knows every vocabulary.
    #[test]
    fn calls_are_read_in_either_way(ask in any::ask(), order in any::order()) {
        let any = <Ask<AnySignal>>::decode(&ask.encode()).unwrap();
        prop_assert_eq!(any.encode(), ask.encode());
        let call = |leg: LegRef| leg.record.kind == RecordKind::Call;
        let leg = match &ask {
            Ask::Heard(heard) => heard.leg,
            Ask::Recall(leg) => *leg,
        };
        prop_assert_eq!(any.of_call(), call(leg).then_some(ask));
        let any = <Order<AnySignal>>::decode(&order.encode()).unwrap();
        prop_assert_eq!(any.encode(), order.encode());
        prop_assert_eq!(any.of_call(), call(order.state().leg).then_some(order));
    }

    #[test]
    fn answers_come_back(said in any::said(), handover in any::handover()) {
        comes_back(&said)?;
        comes_back(&handover)?;
    }

    #[test]
    fn octets_of_anybody_never_panic(octets in prop::collection::vec(any::<u8>(), 0..600)) {
        read_as_everything(&octets);
    }

    /// Damages valid messages, which reaches deeper than noise does.
    #[test]
    fn damaged_octets_never_panic(say in any::say(), at: prop::sample::Index, octet: u8, cut: prop::sample::Index) {
        let mut octets = say.encode().to_vec();
        let index = at.index(octets.len());
        octets[index] = octet;
        read_as_everything(&octets);
        octets.truncate(cut.index(octets.len()));
        read_as_everything(&octets);
    }
}

/// Returns a valid message, to be changed by a test.
fn sample() -> v1::Say {
    v1::Say::decode(&any::offer().encode()[..]).unwrap()
}

fn content(say: &mut v1::Say) -> &mut v1::Content {
    match say.signal.as_mut().unwrap().signal.as_mut().unwrap() {
        v1::signal::Signal::Offer(media) => &mut media.contents[0],
        other => panic!("{other:?}"),
    }
}

fn transport(say: &mut v1::Say) -> &mut v1::Transport {
    content(say).transport.as_mut().unwrap()
}

#[test]
fn what_breaks_a_bound_is_refused_by_the_name_of_its_field() {
    type Mutation = fn(&mut v1::Say);
    let mutations: &[(&str, Mutation)] = &[
        ("Say.id", |say| say.id = None),
        ("Say.signal", |say| say.signal = None),
        ("Signal.signal", |say| say.signal.as_mut().unwrap().signal = None),
        ("LegRef.record", |say| say.state.as_mut().unwrap().leg.as_mut().unwrap().record.push(0)),
        ("LegRef.kind", |say| say.state.as_mut().unwrap().leg.as_mut().unwrap().kind = 9),
        ("LegRef.leg", |say| say.state.as_mut().unwrap().leg.as_mut().unwrap().leg = 32),
        ("EffectId.index", |say| say.id.as_mut().unwrap().index = 65_536),
        ("Party.protocol", |say| say.opening.as_mut().unwrap().to.as_mut().unwrap().protocol = 3),
        ("Party.protocol", |say| say.opening.as_mut().unwrap().to.as_mut().unwrap().protocol = 0),
        ("Opening.hops", |say| say.opening.as_mut().unwrap().hops = 256),
        ("Media.contents", |say| {
            let content = content(say).clone();
            let media = v1::Media { contents: vec![content; 33], bundle: vec![] };
            say.signal.as_mut().unwrap().signal = Some(v1::signal::Signal::Answer(media));
        }),
        ("Media.bundle", |say| {
            let media = v1::Media { contents: vec![], bundle: vec![String::new(); 257] };
            say.signal.as_mut().unwrap().signal = Some(v1::signal::Signal::Update(media));
        }),
        ("Candidates.contents", |say| {
            let contents = vec![v1::Trickle::default(); 33];
            let candidates = v1::Candidates { contents };
            say.signal.as_mut().unwrap().signal = Some(v1::signal::Signal::Candidates(candidates));
        }),
        ("Signal.refused", |say| say.signal.as_mut().unwrap().signal = Some(v1::signal::Signal::Refused(99))),
        ("End.sip", |say| {
            let end = v1::End { reason: 1, sip: Some(70_000), text: None };
            say.signal.as_mut().unwrap().signal = Some(v1::signal::Signal::End(end));
        }),
        ("Tone.digit", |say| {
            let tone = v1::Tone { digit: "12".into(), duration: 100 };
            say.signal.as_mut().unwrap().signal = Some(v1::signal::Signal::Tone(tone));
        }),
        ("Content.kind", |say| content(say).kind = 9),
        ("Content.codecs", |say| content(say).codecs = vec![v1::PayloadType::default(); 65]),
        ("PayloadType.pt", |say| content(say).codecs[0].pt = 128),
        ("PayloadType.channels", |say| content(say).codecs[0].channels = 256),
        ("PayloadType.ptime", |say| content(say).codecs[0].ptime = Some(65_536)),
        ("PayloadType.max_ptime", |say| content(say).codecs[0].max_ptime = Some(65_536)),
        ("PayloadType.params", |say| content(say).codecs[0].params = vec![v1::Parameter::default(); 65]),
        ("PayloadType.feedback", |say| content(say).codecs[0].feedback = vec![String::new(); 257]),
        ("Transport.address", |say| transport(say).address = Some("192.0.2.1".into())),
        ("Transport.rtcp", |say| transport(say).rtcp = Some(65_536)),
        ("Transport.crypto", |say| transport(say).crypto = vec![v1::Crypto::default(); 33]),
        ("Crypto.key", |say| transport(say).crypto[0].key.truncate(29)),
        ("Crypto.mki", |say| transport(say).crypto[0].mki = 256),
        ("Dtls.setup", |say| transport(say).dtls.as_mut().unwrap().setup = 3),
        ("Dtls.fingerprints", |say| {
            transport(say).dtls.as_mut().unwrap().fingerprints = vec![v1::Fingerprint::default(); 17];
        }),
        ("Ice.candidates", |say| {
            transport(say).ice.as_mut().unwrap().candidates = vec![v1::Candidate::default(); 65];
        }),
        ("Candidate.kind", |say| transport(say).ice.as_mut().unwrap().candidates[0].kind = 4),
        ("Candidate.component", |say| transport(say).ice.as_mut().unwrap().candidates[0].component = 256),
        ("Candidate.address", |say| transport(say).ice.as_mut().unwrap().candidates[0].address.clear()),
        ("Candidate.related", |say| {
            transport(say).ice.as_mut().unwrap().candidates[0].related = "x".into();
        }),
    ];
    assert_eq!(Say::decode(&sample().encode_to_vec()), Ok(any::offer()), "unchanged it is read");
    for (field, mutate) in mutations {
        let mut say = sample();
        mutate(&mut say);
        let error = Say::decode(&say.encode_to_vec()).expect_err(field);
        assert_eq!(error.field, *field, "{error}");
    }
}

#[test]
fn a_newer_message_is_read_where_its_news_is_a_field() {
    // Field 1000 of type string, "new": a field that only a newer instance knows.
    let news = [0xc2, 0x3e, 3, b'n', b'e', b'w'];
    let octets = [&any::offer().encode()[..], &news].concat();
    assert_eq!(Say::decode(&octets), Ok(any::offer()));
    // An unknown signal is refused, not taken for an empty one.
    let inner = v1::Signal::decode(&news[..]).unwrap();
    let say = v1::Say { signal: Some(inner), ..sample() };
    let error = Say::decode(&say.encode_to_vec()).unwrap_err();
    assert_eq!(error.to_string(), "Signal.signal: absent, or newer than this instance");
}

/// Reads octets that version 0.1.0 wrote: a change that cannot read them breaks calls during an upgrade.
#[test]
fn what_the_first_version_wrote_is_still_read() {
    let written: Vec<u8> = include_str!("say-offer.hex")
        .split_ascii_whitespace()
        .flat_map(|line| line.as_bytes().chunks(2))
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    assert_eq!(Say::decode(&written), Ok(any::offer()));
    assert_eq!(any::offer().encode(), written, "and still written");
}

/// An edge of an earlier version refuses an order to wake instead of saying something.
#[test]
fn an_order_to_wake_is_none_to_say() {
    let Say { id, state, .. } = any::offer();
    let order: Order = Order::Wake(Wake { id, state });
    assert_eq!(<Order>::decode(&order.encode()), Ok(order.clone()));
    assert_eq!(Say::decode(&order.encode()).unwrap_err().field, "Say.signal");
    for (field, broken) in [
        ("Say.id", v1::Say { wake: true, id: None, ..sample() }),
        ("Say.state", v1::Say { wake: true, state: None, ..sample() }),
    ] {
        assert_eq!(<Order>::decode(&broken.encode_to_vec()).unwrap_err().field, field);
    }
}

/// Messages and presence are read up to their bounds, and refused by name where calls alone are known.
#[test]
fn messages_and_presence_have_bounds() {
    let say = |signal: AnySignal| {
        let Say { id, state, count, signal: _, opening } = any::offer();
        Order::Say(Say { id, state, count, signal, opening })
    };
    let message = |id: usize, content_type: usize, body: usize| {
        let text = |length: usize| "x".repeat(length);
        let message = InstantMessage { id: text(id), content_type: text(content_type), body: text(body) };
        say(AnySignal::Message(MessageSignal::Send(message)))
    };
    let available = |length: usize| {
        let status = Some("x".repeat(length));
        say(AnySignal::Presence(PresenceSignal::Available { show: Show::Away, status }))
    };
    let unavailable = |length: usize| {
        say(AnySignal::Presence(PresenceSignal::Unavailable { status: Some("x".repeat(length)) }))
    };
    for (order, over, field) in [
        (message(1_024, 1_024, 65_536), message(1_025, 0, 0), "InstantMessage.id"),
        (message(0, 0, 0), message(0, 1_025, 0), "InstantMessage.content_type"),
        (message(1, 1, 1), message(0, 0, 65_537), "InstantMessage.body"),
        (available(4_096), available(4_097), "Available.status"),
        (unavailable(4_096), unavailable(4_097), "Unavailable.status"),
    ] {
        assert_eq!(<Order<AnySignal>>::decode(&order.encode()), Ok(order.clone()));
        assert_eq!(<Order>::decode(&order.encode()).unwrap_err().to_string(), "Signal.signal: not of a call");
        assert_eq!(order.of_call(), None);
        assert_eq!(<Order<AnySignal>>::decode(&over.encode()).unwrap_err().field, field);
    }
    let unknown = v1::PresenceSignal {
        signal: Some(v1::presence_signal::Signal::Available(v1::Available { show: 6, status: None })),
    };
    for (inner, field) in [
        (v1::signal::Signal::Presence(unknown), "Available.show"),
        (v1::signal::Signal::Presence(v1::PresenceSignal { signal: None }), "PresenceSignal.signal"),
        (v1::signal::Signal::Message(v1::MessageSignal { signal: None }), "MessageSignal.signal"),
    ] {
        let say = v1::Say { signal: Some(v1::Signal { signal: Some(inner) }), ..sample() };
        assert_eq!(<Order<AnySignal>>::decode(&say.encode_to_vec()).unwrap_err().field, field);
    }
}
