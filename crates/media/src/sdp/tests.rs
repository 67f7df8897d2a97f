use super::*;
use base64::Engine;
use proptest::prelude::*;
use signal::Media;
use signal::media::{Codec, Direction, Kind, Setup, Suite};

fn origin() -> Origin {
    Origin { session_id: 412, version: 1, address: "192.0.2.30".parse().unwrap() }
}

const PHONE: &str = "v=0\r\no=- 412 1 IN IP4 192.0.2.30\r\ns=-\r\nc=IN IP4 192.0.2.30\r\nt=0 0\r\nm=audio 16400 RTP/AVP 8 101\r\n\
    a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n";

/// Example of interworking §3.5, written as it was read.
#[test]
fn the_desk_phone_of_the_worked_example_comes_back_unchanged() {
    let (media, shape) = read(PHONE.as_bytes()).unwrap();
    assert_eq!(media.contents[0].codecs[1].params, [(String::new(), "0-15".to_owned())]);
    let written = String::from_utf8(write(&media, &shape, &origin())).unwrap();
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&written), sorted(PHONE));
}

/// Reads every description that real phones sent; written and read again it is the same (R-SDP-1).
#[test]
fn real_phones_are_understood() {
    let (mut seen, mut ice, mut dtls) = (0, 0, 0);
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")).unwrap() {
        let text = String::from_utf8(std::fs::read(file.unwrap().path()).unwrap()).unwrap();
        for (at, _) in text.match_indices("\nv=0") {
            let body = text[at + 1..].split("\n\n").next().unwrap().split("\r\n\r\n").next().unwrap();
            let (media, _) = read(body.as_bytes()).unwrap_or_else(|e| panic!("{e}: {body}"));
            assert!(media.is_described(), "{body}");
            ice += usize::from(media.contents[0].transport.ice.is_some());
            dtls += usize::from(media.contents[0].transport.dtls.is_some());
            let again = read(&write(&media, &Shape::default(), &origin())).unwrap().0;
            let plain = |mut m: Media| {
                m.contents.iter_mut().for_each(|c| {
                    (c.transport.crypto, c.transport.best_effort) = (vec![], false);
                    if let Some(ice) = &mut c.transport.ice {
                        (ice.trickle, ice.lite) = (false, false);
                        ice.candidates.iter_mut().for_each(|c| c.generation = 0);
                    }
                });
                m
            };
            assert_eq!(plain(again), plain(media));
            seen += 1;
        }
    }
    assert!(seen >= 10 && ice >= 2 && dtls >= 2, "{seen} descriptions, {ice} with ICE, {dtls} with DTLS");
}

#[test]
fn static_types_need_no_rtpmap_and_lines_may_end_in_lf() {
    let (media, _) = read(
        b"v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\nm=audio 4000 RTP/AVP 0 9 18 77\n",
    )
    .unwrap();
    let names: Vec<&str> = media.contents[0].codecs.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["PCMU", "G722", "G729"]);
}

/// R-SDP-11: c= at the session, at the media, at both, and in IPv6.
#[test]
fn connection_lines_of_every_place_are_understood() {
    for (session, section, ip) in [
        ("c=IN IP4 192.0.2.1\r\n", "", "192.0.2.1"),
        ("", "c=IN IP4 192.0.2.2\r\n", "192.0.2.2"),
        ("c=IN IP4 192.0.2.1\r\n", "c=IN IP4 192.0.2.2\r\n", "192.0.2.2"),
        ("c=IN IP6 2001:db8::1\r\n", "", "2001:db8::1"),
    ] {
        let text = format!(
            "v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\n{session}t=0 0\r\nm=audio 4000 RTP/AVP 0\r\n{section}"
        );
        let (media, _) = read(text.as_bytes()).unwrap();
        assert_eq!(media.contents[0].transport.address.unwrap().ip(), ip.parse::<IpAddr>().unwrap());
    }
}

/// R-CALL-20, and the direction at session level.
#[test]
fn holds_old_and_new_are_seen() {
    let of = |lines: &str| {
        read(format!("v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\n{lines}").as_bytes()).unwrap().0.contents[0].direction
    };
    assert_eq!(of("c=IN IP4 0.0.0.0\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"), Direction::None);
    assert_eq!(
        of("c=IN IP4 192.0.2.1\r\nt=0 0\r\na=sendonly\r\nm=audio 4000 RTP/AVP 0\r\n"),
        Direction::Send
    );
    assert_eq!(
        of("c=IN IP4 192.0.2.1\r\nt=0 0\r\na=sendonly\r\nm=audio 4000 RTP/AVP 0\r\na=sendrecv\r\n"),
        Direction::Both
    );
}

/// R-SDP-12: an answer keeps the positions of lines that are not served.
#[test]
fn foreign_lines_keep_their_place() {
    let offer = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=image 5000 udptl t38\r\nm=audio 4000 RTP/AVPF 0\r\nm=message 7394 TCP/MSRP *\r\n";
    let (media, shape) = read(offer.as_bytes()).unwrap();
    assert_eq!(media.kinds(), [Kind::Audio]);
    let written = String::from_utf8(write(&media, &shape, &origin())).unwrap();
    let lines: Vec<&str> = written.lines().filter(|l| l.starts_with("m=")).collect();
    assert_eq!(lines, ["m=image 0 udptl t38", "m=audio 4000 RTP/AVPF 0", "m=message 0 TCP/MSRP *"]);
}

/// RFC 4103: text in real time is a content of its own kind; text that is no RTP is none.
#[test]
fn text_over_rtp_is_a_content() {
    let offer = |proto: &str| {
        let head = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";
        format!("{head}m=text 4100 {proto} 98\r\na=rtpmap:98 t140/1000\r\nm=audio 4000 RTP/AVP 0\r\n")
    };
    let (media, shape) = read(offer("RTP/AVP").as_bytes()).unwrap();
    assert_eq!(media.kinds(), [Kind::Text, Kind::Audio]);
    assert_eq!(
        (media.contents[0].codecs[0].name.as_str(), media.contents[0].codecs[0].clock),
        ("t140", 1_000)
    );
    let written = String::from_utf8(write(&media, &shape, &origin())).unwrap();
    assert!(written.contains("\r\nm=text 4100 RTP/AVP 98\r\na=rtpmap:98 t140/1000\r\n"), "{written}");
    assert_eq!(read(offer("TCP/MRCPv2").as_bytes()).unwrap().0.kinds(), [Kind::Audio]);
}

#[test]
fn dtls_is_inherited_from_the_session_and_opus_is_written_with_two_channels() {
    let text = "v=0\r\no=- 99999999999999999999999 99999999999999999999999 IN IP4 h\r\ns=-\r\nt=0 0\r\na=setup:active\r\na=fingerprint:SHA-256 \
        00:01:02:03:04:05:06:07:08:09:0a:0b:0c:0d:0e:0f:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
        c=IN IP4 192.0.2.1\r\na=rtpmap:111 opus/48000\r\n";
    let (media, _) = read(text.as_bytes()).unwrap();
    let dtls = media.contents[0].transport.dtls.as_ref().unwrap();
    assert_eq!(
        (dtls.setup, dtls.fingerprints[0].hash.as_str(), dtls.fingerprints[0].digest[31]),
        (Setup::Active, "sha-256", 31)
    );
    assert!(
        String::from_utf8(write(&media, &Shape::default(), &origin())).unwrap().contains("opus/48000/2\r\n")
    );
}

/// A parameter of a Jingle client never becomes a line of SDP.
#[test]
fn no_value_brings_a_line_of_its_own() {
    let mut media = Media::undescribed(&[Kind::Audio]);
    let mut codec = Codec::new(96, "x\r\na=inactive", 8000, 1);
    codec.params.push(("k".into(), "1\r\nm=audio 9 RTP/AVP 0\r\n".into()));
    codec.params.push((String::new(), "\u{1}\n".into()));
    codec.feedback.push("nack\r\nc=IN IP4 198.51.100.1".into());
    media.contents[0].codecs.push(codec);
    media.contents[0].name = "0\r\na=x".into();
    media.bundle = vec!["0\nb".into()];
    let shape = Shape {
        lines: vec![
            Line::Foreign("image\r\na=y".into(), "udptl".into(), "t38\rz".into()),
            Line::Content("RTP/AVP\n".into()),
        ],
    };
    let text = String::from_utf8(write(&media, &shape, &origin())).unwrap();
    let kinds: String = text.split("\r\n").filter_map(|line| line.chars().next()).collect();
    assert_eq!(kinds, "vosctammaaaaa", "{text}");
    assert!(!text.replace("\r\n", "").contains(char::is_control), "{text}");
}

/// U+0001 is legal in an SDP byte string and in no XML.
#[test]
fn parameters_and_attributes_with_control_characters_are_dropped() {
    let text = format!(
        "{PHONE}a=fmtp:8 a=1;b=\u{1};c\u{7f};d=2\r\na=rtcp-fb:8 na\u{2}ck\r\na=mid:0\u{b}\r\na=ice-ufrag:\u{1b}x\r\na=ice-pwd:y\r\n"
    );
    let content = read(text.as_bytes()).unwrap().0.contents.remove(0);
    let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
    assert_eq!(content.codecs[0].params, [pair("a", "1"), pair("d", "2")]);
    assert!(content.codecs[0].feedback.is_empty() && content.transport.ice.is_none());
    assert_eq!(content.name, "0");
}

const KEY: &str = "inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd";

fn with(profile: &str, lines: &str) -> (Media, Shape) {
    read(format!("{}{lines}", PHONE.replace("RTP/AVP", profile)).as_bytes()).unwrap()
}

/// A secure profile without keys would be heard as noise: the line is rejected, and mirrored with port 0.
#[test]
fn secure_profiles_need_keys() {
    let crypto = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 {KEY}\r\n");
    let print = format!("a=fingerprint:sha-256 {}\r\n", ["AB"; 32].join(":"));
    for (profile, lines, rejected) in [
        ("RTP/AVP", "", false),
        ("RTP/AVPF", "", false),
        ("RTP/SAVP", "", true),
        ("RTP/SAVPF", "a=crypto:1 NULL_HMAC_SHA1_80 inline:AAAA\r\n", true),
        ("RTP/SAVP", &crypto, false),
        ("RTP/SAVPF", &crypto, false),
        ("UDP/TLS/RTP/SAVPF", "", true),
        ("UDP/TLS/RTP/SAVPF", &print, false),
        ("UDP/TLS/RTP/SAVP", &print, false),
        ("RTP/SAVPF", &print, false),
    ] {
        let (media, shape) = with(profile, lines);
        assert_eq!(media.contents[0].rejected, rejected, "{profile} {lines}");
        assert!(!media.contents[0].transport.best_effort);
        let text = String::from_utf8(write(&media, &shape, &origin())).unwrap();
        assert_eq!(text.contains(&format!("m=audio 0 {profile} 8")), rejected, "{text}");
    }
    // Beside RTP/AVP keys and fingerprints are an offer (OSRTP, RFC 8643 §3).
    let (media, shape) = with("RTP/AVP", &(crypto + &print));
    let transport = &media.contents[0].transport;
    assert!(transport.best_effort && transport.crypto.len() == 1 && transport.dtls.is_some());
    let text = String::from_utf8(write(&media, &shape, &origin())).unwrap();
    assert!(text.contains("m=audio 16400 RTP/AVP 8 101\r\n") && text.contains("a=crypto:1 "), "{text}");
    let anew = String::from_utf8(write(&media, &Shape::default(), &origin())).unwrap();
    assert!(anew.contains("m=audio 16400 RTP/AVP 8 101\r\n"), "{anew}");
}

/// R-RTP-6, RFC 4568 §6.3, §9.1: every suite, with parameters that weaken it and parameters that do not.
#[test]
fn crypto_lines_are_read_or_dropped_whole() {
    let suites = |lines: &str| -> Vec<(u32, Suite, u8)> {
        let crypto = &with("RTP/SAVP", lines).0.contents[0].transport.crypto;
        crypto.iter().map(|line| (line.tag, line.suite, line.mki)).collect()
    };
    let key = |octets: usize| {
        format!("inline:{}", base64::engine::general_purpose::STANDARD.encode(vec![7; octets]))
    };
    for suite in Suite::ALL {
        let (master, salt) = suite.lengths();
        let line = format!("a=crypto:9 {} {}\r\n", suite.name(), key(master + salt));
        assert_eq!(suites(&line), [(9, suite, 0)]);
        assert_eq!(
            suites(&line.replace('=', "").replace("acrypto", "a=crypto")),
            [(9, suite, 0)],
            "unpadded"
        );
        for octets in [master, master + salt - 1, master + salt + 1, 0] {
            assert!(suites(&format!("a=crypto:9 {} {}\r\n", suite.name(), key(octets))).is_empty());
        }
        assert_eq!(Suite::named(suite.name()), Some(suite));
    }
    let asterisk = format!("a=crypto:1 AES_CM_256_HMAC_SHA1_80 {}\r\n", key(46));
    assert_eq!(suites(&asterisk), [(1, Suite::AesCm256Sha1_80, 0)]);
    let good = |more: &str| suites(&format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 {KEY}{more}\r\n"));
    let plain = [(1, Suite::AesCm128Sha1_80, 0)];
    for more in ["", "|2^20", "|1024", " KDR=0", " WSH=128", " -x=1 WSH=64", " FEC_ORDER=FEC_SRTP"] {
        assert_eq!(good(more), plain, "{more}");
    }
    for more in ["|2^20|1:4", "|1:4"] {
        assert_eq!(good(more), [(1, Suite::AesCm128Sha1_80, 4)], "{more}");
    }
    for more in [
        " KDR=1",
        " UNENCRYPTED_SRTP",
        " UNENCRYPTED_SRTCP",
        " UNAUTHENTICATED_SRTP",
        " FEC_KEY=inline:AAAA",
        " what=ever",
        "|1:0",
        "|1:129",
        "|1:x",
        &format!("|1:4;{KEY}|2:4"),
    ] {
        assert!(good(more).is_empty(), "{more}");
    }
    for suite in ["F8_128_HMAC_SHA1_80", "NULL_HMAC_SHA1_80", "AES_192_CM_HMAC_SHA1_80"] {
        assert!(suites(&format!("a=crypto:1 {suite} {KEY}\r\n")).is_empty());
    }
    assert!(suites("a=crypto:1 AES_CM_128_HMAC_SHA1_80 uri:https://keys.example.net/1\r\n").is_empty());
}

/// R-SDP-14
#[test]
fn hostile_sizes_are_refused() {
    let mut many = String::from("v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nt=0 0\r\n");
    (0..33).for_each(|_| many.push_str("m=audio 4000 RTP/AVP 0\r\n"));
    assert_eq!(read(many.as_bytes()), Err(SdpError::TooLarge));
    assert_eq!(read(&vec![b'a'; MAX_OCTETS + 1]), Err(SdpError::TooLarge));
    assert!(matches!(read(b"<xml/>"), Err(SdpError::Syntax(_))));
}

/// RFC 8866 §5, RFC 3264 §5: what nobody needs is passed over, whatever stands in it.
#[test]
fn d8_lines_that_nobody_needs_never_decide_over_a_call() {
    let wanted = read(PHONE.as_bytes()).unwrap();
    let head = "v=0\r\n";
    let instead = |line: &str, other: &str| {
        let was = PHONE.lines().find(|l| l.starts_with(line)).unwrap();
        PHONE.replace(was, other)
    };
    let beside = |line: &str| PHONE.replace("t=0 0", &format!("t=0 0\r\n{line}"));
    let latin1 = |text: &str| text.chars().map(|c| c as u8).collect::<Vec<u8>>();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("o= with an empty user", instead("o=", "o= 412 1 IN IP4 192.0.2.30").into()),
        ("o= with blanks", instead("o=", "o=a desk  phone 412 1 IN IP4 192.0.2.30").into()),
        ("o= with four fields", instead("o=", "o=- 412 1 IN").into()),
        ("o= with nothing", instead("o=", "o=").into()),
        ("o= with a number that is none", instead("o=", "o=- x -1 IN IP4 192.0.2.30").into()),
        ("no o=", instead("o=", "x=1").into()),
        ("s= in Latin-1", latin1(&instead("s=", "s=Gespr\u{e4}ch"))),
        ("s= empty", instead("s=", "s=").into()),
        ("no s=", instead("s=-", "x=1").into()),
        ("t= with one number", instead("t=", "t=0").into()),
        ("t= with a word", instead("t=", "t=now 0").into()),
        ("no t=", instead("t=", "x=1").into()),
        ("t= first", format!("{head}t=0 0\r\n{}", &PHONE[head.len()..]).into()),
        ("c= twice", beside("c=IN IP4 192.0.2.31").into()),
        ("c= twice, the first a name", instead("c=", "c=IN IP4 desk\r\nc=IN IP4 192.0.2.30").into()),
        ("b= empty", beside("b=").into()),
        ("b= with a fraction", beside("b=AS:63.5").into()),
        ("b= negative", beside("b=AS:-1").into()),
        ("b= of the media", format!("{PHONE}b=TIAS:-0.5\r\n").into()),
        ("i= twice", beside("i=a\r\ni=b").into()),
        ("i= twice in the media", format!("{PHONE}i=a\r\ni=b\r\n").into()),
        ("u=, e= and p= that are none", beside("u=:\r\ne=@\r\np=x").into()),
        ("r=, z= and k= that are none", beside("r=\r\nz=1\r\nk=").into()),
        ("two blanks in m=", PHONE.replace("16400 RTP/AVP 8", "16400  RTP/AVP  8").into()),
        ("a blank behind m=", PHONE.replace("8 101", "8 101 ").into()),
        ("a number of ports", PHONE.replace("16400", "16400/1").into()),
        ("a line without =", beside("hello").into()),
        ("a blank line", beside("").into()),
        ("CR CR LF", PHONE.replace("\r\n", "\r\r\n").into()),
        ("CR alone", PHONE.replace("\r\n", "\r").into()),
        ("LF alone", PHONE.replace("\r\n", "\n").into()),
        ("no end of line", PHONE.trim_end().into()),
        ("NUL behind all", format!("{PHONE}\0").into()),
        ("NUL behind a line", PHONE.replace("8 101\r", "8 101\0\r").into()),
        ("NUL in s=", instead("s=", "s=a\0b").into()),
        ("a blank behind v=", PHONE.replace("v=0", "v=0 ").into()),
        ("blanks behind attributes", PHONE.replace("sendrecv", "sendrecv \t").into()),
        ("a foreign attribute in Latin-1", latin1(&format!("{PHONE}a=label:B\u{fc}ro\r\n"))),
    ];
    for (name, octets) in cases {
        assert_eq!(read(&octets).as_ref(), Ok(&wanted), "{name}");
    }
}

/// RFC 8866 §5.1, §5.14: without these no call is possible, and the line says why.
#[test]
fn d8_lines_that_matter_are_named() {
    for (text, line) in [
        (PHONE.replace("v=0", "v=1"), Some("v=1")),
        (PHONE.replace("v=0\r\n", ""), None),
        (PHONE.replace("audio 16400 RTP/AVP 8 101", "audio"), Some("m=audio")),
        (PHONE.replace("audio 16400", "audio port"), Some("m=audio port RTP/AVP 8 101")),
        (PHONE.replace("audio 16400", "audio 70000"), Some("m=audio 70000 RTP/AVP 8 101")),
    ] {
        assert_eq!(read(text.as_bytes()).unwrap_err().at_fault(), line, "{text}");
    }
    // Formats that no line explains carry nothing, and are no reason to offer ours in their place.
    let unknown = PHONE.replace("8 101\r", "97 98\r");
    assert!(read(unknown.as_bytes()).unwrap().0.contents[0].rejected);
}

/// RFC 8866 §6.4: the times stand for all payload types.
#[test]
fn d1_packet_times_are_read_and_written() {
    let timed = format!("{}a=maxptime:60\r\n", PHONE.replace("ptime:20", "ptime:40"));
    let (media, shape) = read(timed.as_bytes()).unwrap();
    assert!(media.contents[0].codecs.iter().all(|c| (c.ptime, c.max_ptime) == (Some(40), Some(60))));
    let written = |media: &Media| String::from_utf8(write(media, &shape, &origin())).unwrap();
    let text = written(&media);
    assert!(text.contains("\r\na=maxptime:60\r\n") && text.contains("\r\na=ptime:40\r\n"), "{text}");
    // The first one's wish, and what all of them allow.
    let mut several = media.clone();
    let mut other = Codec::new(0, "PCMU", 8000, 1);
    (other.ptime, other.max_ptime) = (Some(30), Some(50));
    several.contents[0].codecs.insert(1, other);
    let text = written(&several);
    assert!(text.contains("\r\na=maxptime:50\r\n") && text.contains("\r\na=ptime:40\r\n"), "{text}");
    assert!(!written(&read(PHONE.replace("a=ptime:20\r\n", "").as_bytes()).unwrap().0).contains("ptime"));
}

/// RFC 8866 §5.7: a name is not looked up, so media would go nowhere.
#[test]
fn d9_a_connection_line_with_a_name_is_at_fault() {
    let at = |line: &str| PHONE.replace("c=IN IP4 192.0.2.30\r\n", line);
    for (lines, fault) in [
        ("c=IN IP4 carrier.example\r\n", "c=IN IP4 carrier.example"),
        ("c=IN IP6 carrier.example\r\n", "c=IN IP6 carrier.example"),
        ("c=IN IP4\r\n", "c=IN IP4"),
        ("c=ATM NSAP 47.0091\r\n", "c=ATM NSAP 47.0091"),
        ("", "m=audio 16400 RTP/AVP 8 101"),
    ] {
        let error = read(at(lines).as_bytes()).unwrap_err();
        assert_eq!(error.at_fault(), Some(fault));
        assert!(error.to_string().starts_with(fault), "{error}");
    }
    let long = read(at(&format!("c=IN IP4 {}\u{1}\r\n", "x".repeat(1_000))).as_bytes()).unwrap_err();
    let shown = long.at_fault().unwrap();
    assert!(shown.len() == MAX_SHOWN && !shown.contains(char::is_control), "{shown}");
    // Another content goes on; what is rejected or finds its way by checks needs no address.
    let video =
        format!("{PHONE}m=video 4000 RTP/AVP 96\r\nc=IN IP4 carrier.example\r\na=rtpmap:96 VP8/90000\r\n");
    let (media, shape) = read(video.as_bytes()).unwrap();
    assert_eq!(media.contents.iter().map(|c| c.rejected).collect::<Vec<_>>(), [false, true]);
    assert_eq!(shape.lines.len(), 2);
    let refused = PHONE.replace("audio 16400", "audio 0").replace("192.0.2.30", "carrier.example");
    assert!(read(refused.as_bytes()).unwrap().0.contents[0].rejected);
    let checked = format!(
        "{}a=ice-ufrag:desk\r\na=ice-pwd:a-password-of-the-phone1\r\na=fingerprint:sha-256 {}\r\n",
        PHONE.replace("RTP/AVP", "UDP/TLS/RTP/SAVPF").replace("192.0.2.30", "desk.local"),
        ["AB"; 32].join(":")
    );
    assert!(!read(checked.as_bytes()).unwrap().0.contents[0].rejected);
    let hold = read(at("c=IN IP6 hold.invalid\r\n").as_bytes()).unwrap().0;
    assert_eq!((hold.contents[0].direction, hold.contents[0].rejected), (Direction::None, false));
    let bracketed = read(at("c=IN IP6 [2001:db8::1]\r\n").as_bytes()).unwrap().0;
    assert_eq!(bracketed.contents[0].transport.ip(), "2001:db8::1".parse().ok());
}

/// R-SDP-7, RFC 4145 §4: who wants no association for now gets none.
#[test]
fn d6_holdconn_is_refused() {
    let print = format!("a=fingerprint:sha-256 {}\r\n", ["AB"; 32].join(":"));
    for (setup, rejected) in [
        ("a=setup:holdconn\r\n", true),
        ("a=setup:active\r\n", false),
        ("a=setup:actpass\r\n", false),
        ("", false),
    ] {
        let (media, _) = with("UDP/TLS/RTP/SAVPF", &format!("{print}{setup}"));
        assert_eq!(media.contents[0].rejected, rejected, "{setup}");
    }
    let session = PHONE
        .replace("RTP/AVP", "UDP/TLS/RTP/SAVPF")
        .replace("t=0 0\r\n", &format!("t=0 0\r\na=setup:holdconn\r\n{print}"));
    assert!(read(session.as_bytes()).unwrap().0.contents[0].rejected);
}

#[test]
fn crypto_keys_are_read_written_and_never_shown() {
    let (media, _) = with("RTP/SAVP", &format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 {KEY}|2^20\r\n"));
    let crypto = &media.contents[0].transport.crypto[0];
    assert_eq!(crypto.key, (0..30).collect::<Vec<u8>>());
    let text = String::from_utf8(write(&media, &Shape::default(), &origin())).unwrap();
    assert!(text.contains("m=audio 16400 RTP/SAVP 8 101\r\n"), "{text}");
    assert!(text.contains(&format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 {KEY}\r\n")), "{text}");
    let shown = format!("{media:?}");
    assert!(!shown.contains("key") && !shown.contains("0, 1, 2, 3"), "{shown}");
}

proptest! {
    #[test]
    fn reading_never_panics(octets in prop::collection::vec(any::<u8>(), 0..400), lines in prop::collection::vec("[a-z]=[ -~]{0,60}", 0..20)) {
        let _ = read(&octets);
        let _ = read(format!("v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nt=0 0\r\nm=audio 9 RTP/AVP 0 96\r\n{}", lines.join("\r\n")).as_bytes());
    }

    /// R-SDP-1, R-SDP-3
    #[test]
    fn what_is_written_is_read_back(pt in 96u8..127, name in "[A-Za-z][A-Za-z0-9-]{0,10}", clock in 1u32..200_000, value in "[!-:<-~]{1,20}", named: bool) {
        let mut media = Media::undescribed(&[Kind::Audio]);
        let mut codec = Codec::new(pt, &name, clock, if name.eq_ignore_ascii_case("opus") { 2 } else { 1 });
        codec.params.push(if named { ("k".into(), value) } else { (String::new(), value.replace('=', "-")) });
        media.contents[0].codecs.push(codec);
        media.contents[0].transport.address = Some("192.0.2.9:5004".parse().unwrap());
        let again = read(&write(&media, &Shape::default(), &origin())).unwrap().0;
        prop_assert_eq!(again, media);
    }
}
