use super::*;
use proptest::prelude::*;
use signal::Media;
use signal::media::{Codec, Direction, Dtls, Fingerprint, Ice, Kind, Setup, Ssrc, Transport};

/// Returns the `<jingle/>` elements of a captured session that hold descriptions, with their action.
fn captured(file: &str) -> Vec<(String, Element)> {
    let path = format!("{}/tests/fixtures/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let stanzas = text.lines().filter(|l| {
        l.starts_with("<iq") && l.contains("action=") && l.contains("<jingle")
            || l.starts_with("<iq") && l.contains(":jingle ")
    });
    let mut found = vec![];
    for line in stanzas {
        let wrapped = line.replacen("<iq ", "<iq xmlns='jabber:client' ", 1);
        let iq: Element = wrapped.parse().unwrap_or_else(|e| panic!("{e}: {line}"));
        let Some(jingle) = iq.children().find(|c| c.is("jingle", JINGLE)).cloned() else { continue };
        if jingle.children().any(|c| c.is("content", JINGLE) && c.has_child("description", RTP)) {
            found.push((jingle.attr("action").unwrap_or_default().to_owned(), jingle));
        }
    }
    found
}

fn role(action: &str) -> Role {
    if action == "session-initiate" { Role::Initiator } else { Role::Responder }
}

/// Reads every description that real clients sent; written and read again it is the same (R-SDP-1).
#[test]
fn real_clients_are_understood() {
    let (mut audio, mut dtls) = (0, 0);
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        if !name.ends_with(".xml") {
            continue;
        }
        for (action, jingle) in captured(&name) {
            let media = read(&jingle, role(&action)).unwrap();
            if !matches!(action.as_str(), "session-initiate" | "session-accept") {
                continue;
            }
            assert!(media.is_described(), "{name} {action}");
            audio += usize::from(media.kinds().contains(&Kind::Audio));
            dtls += usize::from(
                media.contents.iter().all(|c| c.transport.dtls.is_some() && c.transport.ice.is_some()),
            );
            let mut again = bare("jingle", JINGLE);
            write(&media, role(&action)).into_iter().for_each(|c| {
                again.append_child(c);
            });
            let again = read(&again, role(&action)).unwrap();
            assert_eq!(again.kinds(), media.kinds());
            for (a, b) in again.contents.iter().zip(&media.contents) {
                assert_eq!(
                    (&a.name, a.direction, &a.transport),
                    (&b.name, b.direction, &b.transport),
                    "{name}"
                );
                assert_eq!(
                    a.codecs.iter().map(|c| (c.pt, &c.name, c.clock)).collect::<Vec<_>>(),
                    b.codecs.iter().map(|c| (c.pt, &c.name, c.clock)).collect::<Vec<_>>()
                );
            }
        }
    }
    assert!(audio >= 15 && dtls >= 15, "{audio} with audio, {dtls} with ICE and DTLS");
}

/// Dino offers speex and G.711 beside Opus, SDES beside DTLS, and candidates of two components.
#[test]
fn dino_is_read_whole() {
    let (_, jingle) = captured("dino-0.4.2-calls-out.all-stanzas.xml")
        .into_iter()
        .find(|(a, _)| a == "session-initiate")
        .unwrap();
    let media = read(&jingle, Role::Initiator).unwrap();
    let names: Vec<&str> = media.contents[0].codecs.iter().map(|c| c.name.as_str()).collect();
    assert!(names.contains(&"opus") && names.contains(&"PCMU") && names.contains(&"PCMA"), "{names:?}");
    let dtls = media.contents[0].transport.dtls.as_ref().unwrap();
    assert_eq!((dtls.setup, dtls.fingerprints[0].digest.len()), (Setup::ActPass, 32));
    assert!(media.contents[0].transport.mux);
}

fn parse(contents: &str) -> Media {
    read(&format!("<jingle xmlns='{JINGLE}'>{contents}</jingle>").parse().unwrap(), Role::Initiator).unwrap()
}

/// One odd candidate must not lose the session: no id, no generation, mDNS, TCP, link-local.
#[test]
fn odd_candidates_are_passed_over_one_by_one() {
    let candidate = |rest: &str| {
        format!("<candidate component='1' foundation='x' priority='1' port='5000' type='host' {rest}/>")
    };
    let candidates: String = [
        "ip='192.0.2.1' protocol='udp'",
        "ip='5c0a7d1e.local' protocol='udp'",
        "ip='192.0.2.1' protocol='tcp' tcptype='active'",
        "ip='fe80::1' protocol='udp'",
        "ip='2001:db8::1' protocol='UDP' generation='0' id='abc'",
    ]
    .map(candidate)
    .concat();
    let media = parse(&format!(
        "<content name='a'><description xmlns='{RTP}' media='audio'/><transport xmlns='{ICE}' ufrag='uuuu' pwd='p'>{candidates}</transport></content>"
    ));
    let ips: Vec<String> = media.contents[0]
        .transport
        .ice
        .as_ref()
        .unwrap()
        .candidates
        .iter()
        .map(|c| c.address.ip().to_string())
        .collect();
    assert_eq!(ips, ["192.0.2.1", "2001:db8::1"]);
}

/// R-SDP-2, R-SDP-3, R-SDP-4
#[test]
fn defaults_bare_parameters_and_one_channel_opus_are_read() {
    let media = parse(&format!(
        "<content name='a'><description xmlns='{RTP}' media='audio'><payload-type id='0'/><payload-type id='63' name='red' clockrate='48000'><parameter name='111/111'/></payload-type>\
         <payload-type id='111' name='opus' clockrate='48000' channels='1'/><payload-type id='300' name='x' clockrate='8000'/></description></content>"
    ));
    let codecs = &media.contents[0].codecs;
    assert_eq!((codecs[0].name.as_str(), codecs[0].clock), ("PCMU", 8000));
    assert_eq!(codecs[1].params, [(String::new(), "111/111".to_owned())]);
    assert!(codecs[2].same(&Codec::new(111, "opus", 48000, 2)));
    assert_eq!(codecs.len(), 3);
}

#[test]
fn senders_are_read_from_the_speakers_side() {
    for (senders, speaker, direction) in [
        ("both", Role::Initiator, Direction::Both),
        ("initiator", Role::Initiator, Direction::Send),
        ("initiator", Role::Responder, Direction::Receive),
        ("responder", Role::Responder, Direction::Send),
        ("none", Role::Responder, Direction::None),
    ] {
        let jingle: Element =
            format!("<jingle xmlns='{JINGLE}'><content name='a' senders='{senders}'/></jingle>")
                .parse()
                .unwrap();
        assert_eq!(read(&jingle, speaker).unwrap().contents[0].direction, direction);
    }
}

fn media(params: Vec<(String, String)>) -> Media {
    let mut media = Media::undescribed(&[Kind::Audio, Kind::Video]);
    media.bundle = vec!["0".into(), "1".into()];
    for content in &mut media.contents {
        content.codecs.push(Codec { params: params.clone(), ..Codec::new(111, "opus", 48000, 2) });
        content.transport = Transport {
            mux: true,
            ice: Some(Ice { ufrag: "kX9p".into(), pwd: "c0ffee5uperSecretPwd0001".into(), ..Ice::default() }),
            dtls: Some(Dtls {
                fingerprints: vec![Fingerprint { hash: "sha-256".into(), digest: vec![0xab; 32] }],
                setup: Setup::ActPass,
            }),
            ..Transport::default()
        };
    }
    media
}

/// R-SDP-16
#[test]
fn what_we_write_passes_the_strictest_client() {
    let mut media = media(vec![
        ("useinbandfec".into(), "1".into()),
        (String::new(), "0-16".into()),
        ("x".into(), "a b".into()),
    ]);
    media.contents[1].rejected = true;
    for content in write(&media, Role::Responder).iter().filter(|c| c.name() == "content") {
        let payload = content.get_child("description", RTP).unwrap().get_child("payload-type", RTP).unwrap();
        let names: Vec<&str> = payload.children().filter_map(|p| p.attr("name")).collect();
        assert_eq!(names, ["useinbandfec"], "no unnamed parameter beside others, no blanks");
        let fingerprint =
            content.get_child("transport", ICE).unwrap().get_child("fingerprint", DTLS).unwrap();
        assert_eq!(fingerprint.attr("setup"), Some("actpass"));
        assert!(fingerprint.text().starts_with("AB:AB:"));
    }
    let senders: Vec<Option<String>> = write(&media, Role::Responder)
        .iter()
        .filter(|c| c.name() == "content")
        .map(|c| c.attr("senders").map(str::to_owned))
        .collect();
    assert_eq!(
        senders,
        [Some("both".to_owned()), Some("none".to_owned())],
        "R-CALL-34: refused video stays, silent"
    );
}

/// XEP-0339: the first source counts, the others are its retransmissions.
#[test]
fn g3_sources_are_read_and_written() {
    let source = |id: &str, cname: &str| {
        format!("<source xmlns='{SOURCES}' ssrc='{id}'><parameter name='cname' value='{cname}'/></source>")
    };
    let described = |sources: &str| {
        let media = parse(&format!(
            "<content name='a'><description xmlns='{RTP}' media='video'>{sources}</description></content>"
        ));
        media.contents[0].transport.ssrc
    };
    let of = |id, cname| Some(Ssrc { id, cname });
    assert_eq!(described(&(source("51", "0000000000000abc") + &source("52", "x"))), of(51, 0xabc));
    assert_eq!(described(&source("4294967295", "lxsE71vMMe6b1qZs")), of(u32::MAX, 0));
    assert_eq!((described(&source("4294967296", "x")), described("")), (None, None));
    let mut media = media(vec![]);
    for content in &mut media.contents {
        content.transport.ssrc = of(7, u64::MAX);
    }
    media.contents[1].rejected = true;
    let text = write(&media, Role::Initiator).iter().map(String::from).collect::<String>();
    assert_eq!(text.matches("<source").count(), 1, "none of a refused content: {text}");
    assert!(
        text.contains("value='ffffffffffffffff'") || text.contains("value=\"ffffffffffffffff\""),
        "{text}"
    );
}

/// Names and values become parts of SDP lines: none may end a line.
#[test]
fn what_would_end_a_line_of_sdp_is_not_read() {
    let media = parse(&format!(
        "<content name='a'><description xmlns='{RTP}' media='audio'>\
         <payload-type id='96' name='opus&#13;&#10;a=x' clockrate='48000'/>\
         <payload-type id='97' name='opus' clockrate='48000'>\
         <parameter name='x' value='1&#13;&#10;m=video 9 RTP/AVP 0'/><parameter name='y&#10;' value='1'/><parameter name='z' value='&#9;'/>\
         <parameter name='usedtx' value='1'/><rtcp-fb xmlns='{FEEDBACK}' type='nack&#10;a=y'/><rtcp-fb xmlns='{FEEDBACK}' type='nack' subtype='&#13;'/>\
         </payload-type></description><transport xmlns='{ICE}' ufrag='u&#10;a=b' pwd='p&#13;'>\
         <fingerprint xmlns='{DTLS}' hash='sha-256&#10;'>{}</fingerprint></transport></content>",
        "AB:".repeat(31) + "AB"
    ));
    let content = &media.contents[0];
    let names: Vec<&str> = content.codecs.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["opus"]);
    assert_eq!(content.codecs[0].params, [("usedtx".to_owned(), "1".to_owned())]);
    assert!(content.codecs[0].feedback.is_empty());
    assert_eq!((&content.transport.ice, &content.transport.dtls), (&None, &None));
    let named = format!("<jingle xmlns='{JINGLE}'><content name='a&#10;b'/></jingle>").parse().unwrap();
    assert_eq!(read(&named, Role::Initiator), Err(JingleError::NoName));
}

proptest! {
    /// Writes valid XML for any SDP of a phone.
    #[test]
    fn what_is_written_is_xml(text in "(.|[\u{0}-\u{1f}\u{7f}-\u{9f}\u{fffd}-\u{ffff}]){0,8}", good in "[a-z]{1,8}") {
        let mut media = media(vec![("x".into(), text.clone()), (text.clone(), "y".into()), (good.clone(), good.clone())]);
        media.bundle.push(text.clone());
        for content in &mut media.contents {
            content.name.push_str(&text);
            content.codecs[0].feedback.push(text.clone());
            content.codecs[0].name.push_str(&text);
            let ice = content.transport.ice.as_mut().unwrap();
            (ice.ufrag, ice.pwd) = (text.clone(), text.clone());
            content.transport.dtls.as_mut().unwrap().fingerprints[0].hash = text.clone();
        }
        let mut jingle = bare("jingle", JINGLE);
        write(&media, Role::Initiator).into_iter().for_each(|c| { jingle.append_child(c); });
        let again: Element = String::from(&jingle).parse().unwrap();
        prop_assert_eq!(&again, &jingle);
        let payload = again.get_child("content", JINGLE).unwrap().get_child("description", RTP).unwrap();
        let payload = payload.get_child("payload-type", RTP).unwrap();
        prop_assert!(payload.children().any(|p| p.attr("name") == Some(&good)));
    }

    #[test]
    fn what_is_written_is_read_back(name in "[a-z]{1,10}", value in "[!-%(-;=?-~]{1,20}", direction in 0usize..4) {
        let mut media = media(vec![(name, value)]);
        media.contents[0].direction = [Direction::Both, Direction::Send, Direction::Receive, Direction::None][direction];
        for role in [Role::Initiator, Role::Responder] {
            let mut jingle = bare("jingle", JINGLE);
            write(&media, role).into_iter().for_each(|c| { jingle.append_child(c); });
            let text = String::from(&jingle);
            prop_assert_eq!(&read(&text.parse().unwrap(), role).unwrap(), &media);
        }
    }
}
