use super::*;
use proptest::prelude::*;
use signal::media::{Candidate, CandidateKind, Suite};

pub(crate) fn end(port: u16) -> LocalEnd {
    let address: IpAddr = "198.51.100.7".parse().unwrap();
    LocalEnd {
        address,
        rtp_port: port,
        rtcp_port: port + 1,
        ice: Ice {
            ufrag: format!("u{port}"),
            pwd: format!("relay-password-of-port-{port}"),
            candidates: vec![Candidate {
                foundation: "1".into(),
                component: 1,
                priority: 2_130_706_431,
                address: SocketAddr::new(address, 30000),
                kind: CandidateKind::Host,
                related: None,
                generation: 0,
            }],
            ..Ice::default()
        },
        fingerprint: Fingerprint { hash: "sha-256".into(), digest: vec![7; 32] },
        other: None,
        crypto: Suite::ALL.into_iter().zip(1u8..).map(key).collect(),
    }
}

fn key((suite, number): (Suite, u8)) -> Crypto {
    let (key, salt) = suite.lengths();
    Crypto { tag: number.into(), suite, key: vec![number; key + salt], mki: 0 }
}

fn audio(codecs: Vec<Codec>) -> Media {
    let mut media = Media::undescribed(&[Kind::Audio]);
    media.contents[0].codecs = codecs;
    media.contents[0].transport = Transport {
        address: Some("192.0.2.30:16400".parse().unwrap()),
        ice: Some(Ice { ufrag: "theirs".into(), pwd: "their-very-secret-password".into(), ..Ice::default() }),
        dtls: Some(Dtls {
            fingerprints: vec![Fingerprint { hash: "sha-256".into(), digest: vec![9; 32] }],
            setup: Setup::ActPass,
        }),
        crypto: vec![signal::media::Crypto {
            tag: 1,
            suite: Suite::AesCm128Sha1_80,
            key: vec![5; 30],
            mki: 0,
        }],
        ..Transport::default()
    };
    media
}

fn names(media: &Media) -> Vec<(u8, String)> {
    media.contents[0].codecs.iter().map(|c| (c.pt, c.name.clone())).collect()
}

fn turning() -> Policy {
    Policy { transcode: true, ..Policy::default() }
}

fn event(pt: u8, clock: u32) -> Codec {
    Codec::new(pt, "telephone-event", clock, 1)
}

#[test]
fn what_can_be_turned_stands_behind_what_crosses() {
    let heard =
        audio(vec![Codec::new(8, "PCMA", 8000, 1), Codec::new(18, "G729", 8000, 1), event(111, 48000)]);
    let offered = offer(&heard, &[end(30002)], Profile::Webrtc, &turning());
    let wanted = [(8, "PCMA"), (111, "telephone-event"), (127, "opus"), (9, "G722"), (0, "PCMU")];
    let wanted = wanted.map(|(pt, name)| (pt, name.to_owned())).to_vec();
    assert_eq!(names(&offered), wanted);
    let offered = offer(&heard, &[end(30002)], Profile::Plain, &turning());
    let keys = [(101, "telephone-event".to_owned())];
    assert_eq!(names(&offered), [wanted, keys.to_vec()].concat(), "a phone may have keys of 8 kHz only");
    let foreign =
        audio(vec![Codec::new(18, "G729", 8000, 1), Codec::new(97, "iLBC", 8000, 1), event(101, 8000)]);
    assert!(offer(&foreign, &[end(30002)], Profile::Webrtc, &turning()).contents.is_empty(), "never turned");
    let video = Media::undescribed(&[Kind::Video]);
    assert!(offer(&video, &[end(30002)], Profile::Webrtc, &turning()).contents.is_empty());
}

#[test]
fn codecs_that_do_not_meet_are_turned_and_only_those() {
    let theirs = audio(vec![Codec::new(111, "opus", 48000, 2), event(110, 48000)]);
    let took = |codecs| answer(&theirs, &audio(codecs), &[end(30002)], Profile::Webrtc, &turning());
    let agreed = took(vec![Codec::new(8, "PCMA", 8000, 1), event(101, 8000)]).unwrap();
    assert_eq!(names(&agreed), [(111, "opus".into()), (110, "telephone-event".into())]);
    let agreed = took(vec![Codec::new(9, "G722", 8000, 1)]).unwrap();
    assert_eq!(names(&agreed), [(111, "opus".into())], "keys need both sides");
    let agreed = took(vec![Codec::new(9, "G722", 8000, 1), Codec::new(96, "opus", 48000, 2)]).unwrap();
    assert_eq!(names(&agreed)[0], (111, "opus".into()), "shared");
    assert_eq!(took(vec![Codec::new(18, "G729", 8000, 1)]), Err(Mismatch));
    let theirs = audio(vec![Codec::new(18, "G729", 8000, 1)]);
    let took = audio(vec![Codec::new(8, "PCMA", 8000, 1)]);
    assert_eq!(answer(&theirs, &took, &[end(30002)], Profile::Plain, &turning()), Err(Mismatch));
}

#[test]
fn an_undescribed_offer_becomes_our_own_list_with_opus_first() {
    let offered =
        offer(&Media::undescribed(&[Kind::Audio]), &[end(30002)], Profile::Plain, &Policy::default());
    assert_eq!(names(&offered)[0], (111, "opus".into()));
    assert!(names(&offered).contains(&(0, "PCMU".into())));
    assert_eq!(offered.contents[0].transport.address, Some("198.51.100.7:30002".parse().unwrap()));
    assert!(offered.bundle.is_empty());
}

#[test]
fn a_webrtc_offer_has_ice_dtls_mux_and_always_a_group() {
    let offered = offer(
        &audio(vec![Codec::new(0, "PCMU", 8000, 1)]),
        &[end(30002)],
        Profile::Webrtc,
        &Policy::default(),
    );
    let transport = &offered.contents[0].transport;
    assert_eq!(transport.dtls.as_ref().map(|d| d.setup), Some(Setup::ActPass));
    assert!(transport.mux && transport.ice.is_some());
    assert_eq!(offered.bundle, ["0"]);
}

/// Interworking §3.5: payload types of the client, codec of the phone, DTLS role of the gateway.
#[test]
fn the_worked_example_answers_in_the_offerers_numbers() {
    let mut client = audio(vec![
        Codec::new(111, "opus", 48000, 2),
        Codec::new(8, "PCMA", 8000, 1),
        Codec::new(126, "telephone-event", 8000, 1),
    ]);
    client.bundle = vec!["0".into()];
    let phone = audio(vec![Codec::new(8, "PCMA", 8000, 1), Codec::new(101, "telephone-event", 8000, 1)]);
    let told = answer(&client, &phone, &[end(30004)], Profile::Webrtc, &Policy::default()).unwrap();
    assert_eq!(names(&told), [(8, "PCMA".into()), (126, "telephone-event".into())]);
    assert_eq!(told.contents[0].transport.dtls.as_ref().map(|d| d.setup), Some(Setup::Active));
    assert_eq!(told.bundle, ["0"]);
}

/// RFC 3264 §6.1: the peer may send any codec of its answer.
#[test]
fn d3_every_codec_of_an_answer_is_told_the_preferred_one_first() {
    let offered = audio(vec![
        Codec::new(0, "PCMU", 8000, 1),
        Codec::new(8, "PCMA", 8000, 1),
        Codec::new(96, "opus", 48000, 2),
        Codec::new(13, "CN", 8000, 1),
        event(101, 8000),
    ]);
    let told = |codecs| {
        let heard = audio(codecs);
        names(&answer(&offered, &heard, &[end(1)], Profile::Plain, &turning()).unwrap())
    };
    let opus = Codec::new(97, "opus", 48000, 2);
    assert_eq!(told(vec![opus, Codec::new(8, "PCMA", 8000, 1)]), [(96, "opus".into()), (8, "PCMA".into())]);
    let phone = vec![
        Codec::new(8, "PCMA", 8000, 1),
        Codec::new(0, "PCMU", 8000, 1),
        Codec::new(13, "CN", 8000, 1),
        event(96, 8000),
        Codec::new(9, "G722", 8000, 1),
    ];
    let wanted = [(8, "PCMA"), (0, "PCMU"), (13, "CN"), (101, "telephone-event")];
    assert_eq!(told(phone), wanted.map(|(pt, name)| (pt, name.to_owned())));
}

fn with(codec: Codec, params: &[(&str, &str)]) -> Codec {
    Codec { params: params.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(), ..codec }
}

/// RFC 3264 §6.1, RFC 7587 §7.1: what the answerer wants to receive, in the offerer's numbers.
#[test]
fn d1_the_offerer_is_told_the_answerers_parameters_in_its_own_numbers() {
    let offered = audio(vec![
        Codec {
            ptime: Some(20),
            max_ptime: Some(120),
            ..with(
                Codec::new(111, "opus", 48000, 2),
                &[("minptime", "10"), ("useinbandfec", "1"), ("maxaveragebitrate", "510000")],
            )
        },
        with(event(110, 48000), &[("", "0-16")]),
    ]);
    let slow = [("maxaveragebitrate", "16000"), ("stereo", "0")];
    let mut opus = with(Codec::new(96, "opus", 48000, 2), &slow);
    (opus.ptime, opus.max_ptime, opus.feedback) = (Some(40), Some(60), vec!["nack".into()]);
    let told = |codecs: Vec<Codec>| {
        let told = answer(&offered, &audio(codecs), &[end(1)], Profile::Webrtc, &turning()).unwrap();
        told.contents[0].codecs.clone()
    };
    let agreed = told(vec![opus.clone(), with(event(97, 48000), &[("", "0-11")])]);
    assert_eq!(agreed[0], Codec { pt: 111, feedback: vec![], ..opus });
    assert_eq!(agreed[1], with(event(110, 48000), &[("", "0-11")]));
    // Who names no keys has 0 to 15 (RFC 4733 §2.4.1), and no parameter of the offer comes back.
    let agreed = told(vec![Codec::new(96, "opus", 48000, 2), event(97, 48000)]);
    assert_eq!(agreed[0], Codec::new(111, "opus", 48000, 2));
    assert_eq!(agreed[1], with(event(110, 48000), &[("", "0-15")]));
    // Where the relay transcodes, it is the one that receives.
    let agreed = told(vec![Codec { ptime: Some(30), ..Codec::new(8, "PCMA", 8000, 1) }]);
    assert_eq!(agreed, [with(Codec::new(111, "opus", 48000, 2), &[("useinbandfec", "1")])]);
}

/// RFC 3264 §5.1, §6.1: we send in the answerer's numbers, it sends in ours.
#[test]
fn d4_an_answer_that_renumbers_is_sent_in_its_numbers_and_heard_in_both() {
    let ours = [
        Codec::new(111, "opus", 48000, 2),
        Codec::new(8, "PCMA", 8000, 1),
        event(110, 48000),
        event(101, 8000),
    ];
    let theirs = [Codec::new(96, "opus", 48000, 2), Codec::new(8, "PCMA", 8000, 1), event(97, 48000)];
    let pairs = |codecs: Vec<Codec>| codecs.into_iter().map(|c| (c.pt, c.clock)).collect::<Vec<_>>();
    let wanted = [(96, 48_000), (8, 8_000), (97, 48_000), (111, 48_000), (110, 48_000)];
    assert_eq!(pairs(numbers(&ours, &theirs)), wanted);
    assert_eq!(numbers(&ours, &ours), ours);
    // The offerer keeps its own numbers all the same.
    let told = answer(&audio(ours.to_vec()), &audio(theirs.to_vec()), &[end(1)], Profile::Webrtc, &turning());
    assert_eq!(pairs(told.unwrap().contents[0].codecs.clone()), [(111, 48_000), (8, 8_000), (110, 48_000)]);
}

/// RFC 3264 §8.3.2: the answer to a re-INVITE keeps what is in use, as far as the peer still takes it.
#[test]
fn d5_a_later_answer_keeps_the_codec_in_use_that_the_peer_still_has() {
    let (pcmu, pcma) = (Codec::new(0, "PCMU", 8000, 1), Codec::new(8, "PCMA", 8000, 1));
    let opus = Codec::new(111, "opus", 48000, 2);
    let offered = audio(vec![pcmu.clone(), pcma.clone(), opus.clone()]);
    let told = |used: &[&Codec], peer: &[&Codec], policy: &Policy| {
        let of = |codecs: &[&Codec]| audio(codecs.iter().map(|codec| (*codec).clone()).collect());
        let (used, peer) = (of(used), of(peer));
        let told = answer_again(&offered, &peer, Some(&used), &[end(1)], Profile::Plain, policy);
        told.map(|told| told.contents[0].codecs.iter().map(|codec| codec.pt).collect::<Vec<_>>())
    };
    for policy in [turning(), Policy::default()] {
        assert_eq!(told(&[&pcma], &[&pcmu, &pcma], &policy), Ok(vec![8, 0]), "in use first");
        assert_eq!(told(&[&pcma, &pcmu], &[&pcmu], &policy), Ok(vec![0]), "the peer has dropped the other");
    }
    assert_eq!(told(&[&pcma], &[&opus], &turning()), Ok(vec![8]), "transcoded before and after");
    assert_eq!(told(&[&pcma], &[&opus], &Policy::default()), Ok(vec![111]));
    // A re-offer leaves no other than the first.
    let mut again = offered.clone();
    keep_in_use(&mut again, &audio(vec![pcma.clone(), pcmu, event(101, 8000)]));
    assert_eq!(again.contents[0].codecs, [pcma]);
}

/// R-DTMF-3
#[test]
fn g6_keys_have_one_clock_on_each_side() {
    let keys = |media: &Media| {
        let codecs = media.contents[0].codecs.iter().filter(|c| c.name == "telephone-event");
        codecs.map(|c| (c.pt, c.clock)).collect::<Vec<_>>()
    };
    let opus = || Codec::new(96, "opus", 48000, 2);
    let pcma = || Codec::new(8, "PCMA", 8000, 1);
    let phone = audio(vec![opus(), pcma(), event(97, 48000), event(101, 8000)]);
    for policy in [turning(), Policy::default()] {
        // What the client is offered it answers, and the phone is told.
        let offered = offer(&phone, &[end(1)], Profile::Webrtc, &policy);
        assert_eq!(keys(&offered), [(97, 48_000)]);
        let told = answer(&phone, &offered, &[end(3)], Profile::Plain, &policy).unwrap();
        assert_eq!(keys(&told), [(97, 48_000)]);
        for (codecs, clock) in [
            (vec![opus(), event(101, 8000)], 8_000),
            (vec![opus(), event(97, 48000)], 48_000),
            (vec![pcma(), opus(), event(97, 48000), event(101, 8000)], 8_000),
            (vec![], 8_000),
        ] {
            let offered = offer(&audio(codecs), &[end(1)], Profile::Webrtc, &policy);
            assert_eq!(keys(&offered).iter().map(|(_, clock)| *clock).collect::<Vec<_>>(), [clock]);
        }
        // A phone may have either; the client is told the one that it took.
        let client = audio(vec![opus(), event(110, 48000), event(126, 8000)]);
        let offered = offer(&client, &[end(1)], Profile::Plain, &policy);
        assert_eq!(keys(&offered), [(110, 48_000), (126, 8_000)]);
        let took = audio(vec![opus(), event(126, 8000)]);
        let told = answer(&client, &took, &[end(3)], Profile::Webrtc, &policy).unwrap();
        assert_eq!(keys(&told), [(126, 8_000)]);
    }
}

/// RFC 3264 §8: codecs of an answer that the other side was not told are not left open.
#[test]
fn g9_a_peer_is_settled_on_a_codec_that_its_hearer_has() {
    let (pcmu, pcma) = (Codec::new(0, "PCMU", 8000, 1), Codec::new(8, "PCMA", 8000, 1));
    let (opus, g722) = (Codec::new(111, "opus", 48000, 2), Codec::new(9, "G722", 8000, 1));
    let keys = event(101, 8000);
    let ours = [&opus, &g722, &pcma, &pcmu, &keys].map(Clone::clone);
    let anew = |theirs: &[&Codec], told: &[&Codec]| {
        let of = |codecs: &[&Codec]| codecs.iter().map(|codec| (*codec).clone()).collect::<Vec<_>>();
        let offered = settled(&ours, &of(theirs), &of(told));
        offered.map(|codecs| codecs.iter().map(|codec| codec.pt).collect::<Vec<_>>())
    };
    assert_eq!(anew(&[&pcma, &pcmu, &keys], &[&pcmu, &keys]), Some(vec![0, 101]), "it has both");
    assert_eq!(anew(&[&pcma, &keys], &[&pcmu, &keys]), Some(vec![0, 101]), "it may have passed over it");
    assert_eq!(anew(&[&pcma], &[&pcmu, &keys]), Some(vec![0]), "no keys that it does not have");
    assert_eq!(anew(&[&pcma, &pcmu], &[&pcma]), Some(vec![8]));
    assert_eq!(anew(&[&pcma, &pcmu], &[&pcma, &pcmu]), None, "all that it sends is known");
    assert_eq!(anew(&[&pcma, &pcmu], &[&opus]), None, "it has passed over what stood before");
    assert_eq!(anew(&[&opus], &[&opus, &pcma]), None);
}

/// R-SDP-12: m= lines that one side alone has do not shift what faces each other.
#[test]
fn d2_contents_face_each_other_by_kind() {
    let mut phone = audio(vec![Codec::new(0, "PCMU", 8000, 1)]);
    let mut text = phone.contents[0].clone();
    (text.kind, text.codecs) = (Kind::Text, vec![Codec::new(98, "t140", 1000, 1)]);
    phone.contents.insert(0, text);
    let client = audio(vec![Codec::new(0, "PCMU", 8000, 1)]);
    assert!(can_answer(&client, &phone, &Policy::default()));
    let told = answer(&client, &phone, &[end(1)], Profile::Webrtc, &Policy::default()).unwrap();
    assert_eq!(names(&told), [(0, "PCMU".into())]);
    let told = answer(&phone, &client, &[end(1)], Profile::Plain, &Policy::default()).unwrap();
    assert_eq!(live(&phone, &told), [1]);
    assert_eq!(live(&client, &client), [0]);
}

/// RFC 5761 §5.1.1
#[test]
fn d7_rtcp_mux_is_answered_only_where_it_was_offered() {
    for profile in [Profile::Webrtc, Profile::Plain] {
        for mux in [false, true] {
            let mut offered = audio(vec![Codec::new(0, "PCMU", 8000, 1)]);
            offered.contents[0].transport.mux = mux;
            let told = answer(&offered, &offered, &[end(1)], profile, &Policy::default()).unwrap();
            assert_eq!(told.contents[0].transport.mux, mux, "{profile:?}");
            let plain = Transport { dtls: None, crypto: vec![], ..offered.contents[0].transport.clone() };
            offered.contents[0].transport = plain;
            let told = answer(&offered, &offered, &[end(1)], profile, &Policy::default()).unwrap();
            assert_eq!(told.contents[0].transport.mux, mux);
        }
    }
}

#[test]
fn nothing_in_common_is_a_mismatch() {
    let (a, b) = (audio(vec![Codec::new(0, "PCMU", 8000, 1)]), audio(vec![Codec::new(8, "PCMA", 8000, 1)]));
    assert_eq!(answer(&a, &b, &[end(1)], Profile::Plain, &Policy::default()), Err(Mismatch));
    let unserved = audio(vec![Codec::new(18, "G729", 8000, 1), Codec::new(101, "telephone-event", 8000, 1)]);
    assert!(offer(&unserved, &[end(1)], Profile::Webrtc, &Policy::default()).contents.is_empty());
}

/// R-SDP-7: actpass -> active, active -> passive, passive -> active, missing -> active.
#[test]
fn dtls_roles_are_answered_by_the_table() {
    for (theirs, ours) in [
        (Some(Setup::ActPass), Setup::Active),
        (Some(Setup::Active), Setup::Passive),
        (Some(Setup::Passive), Setup::Active),
        (None, Setup::Active),
    ] {
        let mut offered = audio(vec![Codec::new(0, "PCMU", 8000, 1)]);
        match theirs {
            Some(setup) => offered.contents[0].transport.dtls.as_mut().unwrap().setup = setup,
            None => offered.contents[0].transport.dtls = None,
        }
        let told =
            answer(&offered, &offered.clone(), &[end(1)], Profile::Webrtc, &Policy::default()).unwrap();
        assert_eq!(told.contents[0].transport.dtls.as_ref().unwrap().setup, ours);
    }
}

/// RFC 3264 §6.1 by interworking §2.9: sendonly is answered recvonly, and so on.
#[test]
fn directions_are_answered() {
    use Direction::{Both, None, Receive, Send};
    for (offered, heard, told) in [
        (Both, Both, Both),
        (Send, Both, Receive),
        (Send, Receive, Receive),
        (Receive, Both, Send),
        (None, Both, None),
        (Both, Send, Send),
        (Send, Send, None),
    ] {
        let (mut a, mut b) =
            (audio(vec![Codec::new(0, "PCMU", 8000, 1)]), audio(vec![Codec::new(0, "PCMU", 8000, 1)]));
        (a.contents[0].direction, b.contents[0].direction) = (offered, heard);
        assert_eq!(
            answer(&a, &b, &[end(1)], Profile::Plain, &Policy::default()).unwrap().contents[0].direction,
            told,
            "{offered:?} {heard:?}"
        );
    }
}

/// R-SDP-12, R-CALL-34: a content that is not served keeps its position, and audio stays live.
#[test]
fn unserved_kinds_are_refused_in_place() {
    for (kind, codec) in
        [(Kind::Video, Codec::new(96, "VP8", 90000, 1)), (Kind::Text, Codec::new(98, "t140", 1000, 1))]
    {
        let mut offered = audio(vec![Codec::new(0, "PCMU", 8000, 1)]);
        let mut other = offered.contents[0].clone();
        (other.kind, other.name, other.codecs) = (kind, "v".into(), vec![codec]);
        offered.contents.insert(0, other);
        let asked = offer(&offered, &[end(1)], Profile::Plain, &Policy::default());
        assert_eq!(asked.kinds(), [Kind::Audio]);
        let told = answer(&offered, &asked, &[end(3)], Profile::Webrtc, &Policy::default()).unwrap();
        assert_eq!(
            told.contents.iter().map(|c| (c.kind, c.rejected)).collect::<Vec<_>>(),
            [(kind, true), (Kind::Audio, false)]
        );
        assert_eq!(told.contents[1].transport.ice.as_ref().unwrap().ufrag, "u3");
    }
}

/// R-RTP-13
#[test]
fn peers_are_answered_in_their_family() {
    let (four, six): (IpAddr, IpAddr) = ("198.51.100.7".parse().unwrap(), "2001:db8::7".parse().unwrap());
    let mut both = end(30_002);
    both.other = Some(six);
    let candidate = Candidate { address: SocketAddr::new(six, 30_000), ..both.ice.candidates[0].clone() };
    both.ice.candidates.push(candidate);
    let told = |end: &LocalEnd, at: &str, webrtc: bool| {
        let mut offered = audio(vec![Codec::new(0, "PCMU", 8000, 1)]);
        let transport = &mut offered.contents[0].transport;
        transport.address = at.parse().ok();
        if !webrtc {
            transport.dtls = None;
        }
        let heard = offered.clone();
        let told = answer(&offered, &heard, std::slice::from_ref(end), Profile::Plain, &Policy::default());
        told.map(|media| media.contents[0].transport.address.unwrap())
    };
    for webrtc in [false, true] {
        let port = if webrtc { 30_000 } else { 30_002 };
        assert_eq!(told(&both, "192.0.2.9:4000", webrtc), Ok(SocketAddr::new(four, port)));
        assert_eq!(told(&both, "[2001:db8::9]:4000", webrtc), Ok(SocketAddr::new(six, port)));
    }
    assert_eq!(told(&end(30_002), "[2001:db8::9]:4000", false), Err(Mismatch), "silence otherwise");
    let offered = |end: &LocalEnd| {
        let audio = audio(vec![Codec::new(0, "PCMU", 8000, 1)]);
        let media = offer(&audio, std::slice::from_ref(end), Profile::Plain, &Policy::default());
        media.contents[0].transport.ip().unwrap()
    };
    assert_eq!(offered(&both), four);
    both.prefer_ipv6();
    assert_eq!(offered(&both), six);
    both.prefer_ipv6();
    assert_eq!((offered(&both), both.other), (six, Some(four)));
}

fn any_codec() -> impl Strategy<Value = Codec> {
    prop_oneof![
        Just(Codec::new(0, "PCMU", 8000, 1)),
        Just(Codec::new(8, "PCMA", 8000, 1)),
        (96u8..127).prop_map(|pt| Codec::new(pt, "opus", 48000, 2)),
        (96u8..127).prop_map(|pt| Codec::new(pt, "telephone-event", 8000, 1)),
        (96u8..127).prop_map(|pt| Codec::new(pt, "speex", 16000, 1)),
        (0u8..127, "[a-z]{1,8}").prop_map(|(pt, name)| Codec::new(pt, &name, 8000, 1)),
    ]
}

proptest! {
    /// R-SDP-5 and R-SDP-9 for any two descriptions.
    #[test]
    fn answers_keep_the_numbers_and_nothing_leg_local_crosses(a in prop::collection::vec(any_codec(), 0..6), b in prop::collection::vec(any_codec(), 0..6)) {
        let (offered, heard) = (audio(a), audio(b));
        let asked = offer(&offered, &[end(1)], Profile::Webrtc, &Policy::default());
        let mut numbers: Vec<u8> = asked.contents.iter().flat_map(|c| c.codecs.iter().map(|c| c.pt)).collect();
        numbers.sort_unstable();
        prop_assert!(numbers.windows(2).all(|w| w[0] != w[1]), "one number, one codec: {:?}", numbers);
        let told = answer(&offered, &heard, &[end(3)], Profile::Webrtc, &Policy::default());
        if let Ok(told) = &told {
            prop_assert_eq!(told.contents.len(), offered.contents.len());
            for codec in &told.contents[0].codecs {
                prop_assert!(offered.contents[0].codecs.iter().any(|o| o.pt == codec.pt && o.same(codec)));
            }
        }
        for media in [Some(&asked), told.as_ref().ok()].into_iter().flatten() {
            let text = format!("{media:?}");
            prop_assert!(!text.contains("theirs") && !text.contains("their-very") && !text.contains("192.0.2.30"));
            prop_assert!(media.contents.iter().all(|c| c.transport.crypto.is_empty()));
        }
    }
}
