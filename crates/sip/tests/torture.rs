//! R-SIP-2: the messages of RFC 4475, bit for bit, each with the answer that a gateway without registrar gives.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use bytes::Bytes;
use tandem_sip::message::{Framed, Message, ReadError, Stream, read};
use tandem_sip::validate;

/// Outcome of a message.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// Read and served as far as syntax goes.
    Taken,
    /// Answered with this status.
    Refused(u16),
    /// Dropped without a word.
    Dropped,
}

fn octets(name: &str) -> Bytes {
    std::fs::read(format!("{}/tests/torture/{name}.dat", env!("CARGO_MANIFEST_DIR"))).unwrap().into()
}

fn fate(name: &str) -> Fate {
    match read(&octets(name)) {
        Ok(message) if message.code().is_some() => Fate::Taken,
        Ok(message) => validate::request(&message).err().map_or(Fate::Taken, |r| Fate::Refused(r.code)),
        Err(ReadError::BrokenRequest(_)) => Fate::Refused(400),
        Err(ReadError::Version) => Fate::Refused(505),
        Err(ReadError::TooLarge) => Fate::Refused(513),
        Err(ReadError::Empty | ReadError::NoSip | ReadError::BrokenResponse) => Fate::Dropped,
    }
}

fn taken(name: &str) -> Message {
    read(&octets(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn every_message_meets_its_fate() {
    use Fate::{Dropped, Refused, Taken};
    // REGISTER is 405 here: there is no registrar; its syntax is read all the same (see below).
    let expected = [
        ("wsinv", Taken),
        ("intmeth", Refused(501)),
        ("esc01", Taken),
        ("escnull", Refused(405)),
        ("esc02", Refused(501)),
        ("lwsdisp", Taken),
        ("longreq", Taken),
        ("dblreq", Refused(405)),
        ("semiuri", Taken),
        ("transports", Taken),
        ("mpart01", Refused(405)),
        ("unreason", Taken),
        ("noreason", Taken),
        ("unkscm", Refused(416)),
        ("novelsc", Refused(416)),
        ("unksm2", Refused(405)),
        ("bext01", Refused(420)),
        ("invut", Refused(415)),
        ("regaut01", Refused(405)),
        ("zeromf", Taken),
        ("cparam01", Refused(405)),
        ("cparam02", Refused(405)),
        ("regescrt", Refused(405)),
        ("sdp01", Taken),
        ("inv2543", Taken),
        ("bcast", Taken),
        ("badinv01", Refused(400)),
        ("clerr", Refused(400)),
        ("ncl", Refused(400)),
        ("scalar02", Refused(400)),
        ("scalarlg", Taken),
        ("quotbal", Taken),
        ("ltgtruri", Refused(400)),
        ("lwsruri", Refused(400)),
        ("lwsstart", Taken),
        ("trws", Taken),
        ("escruri", Refused(400)),
        ("baddate", Taken),
        ("regbadct", Refused(400)),
        ("badaspec", Refused(400)),
        ("baddn", Taken),
        ("badvers", Refused(505)),
        ("mismatch01", Refused(400)),
        ("mismatch02", Refused(501)),
        ("bigcode", Dropped),
        ("badbranch", Taken),
        ("insuf", Refused(400)),
        ("multi01", Refused(400)),
        ("mcl01", Refused(400)),
    ];
    let mut wrong = vec![];
    for (name, fate_wanted) in &expected {
        let got = fate(name);
        if got != *fate_wanted {
            wrong.push(format!("{name}: {got:?} instead of {fate_wanted:?}"));
        }
    }
    assert_eq!(
        expected.len(),
        std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/torture")).unwrap().count()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_short_tortuous_invite_is_understood_whole() {
    let m = taken("wsinv");
    assert_eq!(m.cseq().unwrap().number, 9);
    assert_eq!(m.max_forwards(), Some(68));
    assert_eq!(m.list("Via").len(), 3);
    assert_eq!(m.from().unwrap().tag(), Some("98asjd8"));
    assert_eq!(m.text("Subject"), Some(""));
    assert!(m.headers.iter().any(|h| h.name.as_str() == "NewFangledHeader"));
}

#[test]
fn escapes_are_kept_and_never_shorten_a_string() {
    let contacts: Vec<String> = taken("escnull").list("Contact").into_iter().map(str::to_owned).collect();
    assert_eq!(contacts.len(), 2, "{contacts:?}");
    assert_ne!(contacts[0], contacts[1]);
    assert_eq!(taken("esc02").list("Contact").len(), 2, "C%6Fntact is another header");
    assert_eq!(taken("semiuri").method().as_deref(), Some("OPTIONS"));
    let uri = tandem_sip::uri::Uri::parse("sip:user;par=u%40example.net@example.com").unwrap();
    assert_eq!(uri.sip().unwrap().user.as_deref(), Some("user;par=u%40example.net"));
}

#[test]
fn octets_after_the_body_are_ignored_on_udp_and_framed_on_streams() {
    let m = taken("dblreq");
    assert!(m.body.is_empty());
    let mut stream = Stream::default();
    stream.push(&octets("dblreq"));
    assert!(matches!(stream.take(), Framed::Message(_)));
    for name in ["ncl", "mcl01"] {
        let mut stream = Stream::default();
        stream.push(&octets(name));
        assert!(matches!(stream.take(), Framed::Broken(..)), "{name}");
    }
    let mut stream = Stream::default();
    stream.push(&octets("clerr"));
    assert_eq!(stream.take(), Framed::Wait, "a stream waits for the rest");
}

/// R-SIP-7: CRLF CRLF is a ping, a lone CRLF is passed over.
#[test]
fn keep_alives_are_told_from_messages() {
    let mut stream = Stream::default();
    stream.push(b"\r\n\r\n\r\nOPTIONS sip:a SIP/2.0\r\nl: 2\r\n\r\nhi");
    assert_eq!(stream.take(), Framed::Ping);
    let Framed::Message(octets) = stream.take() else { panic!("no message") };
    assert_eq!(&read(&octets).unwrap().body[..], b"hi");
    assert_eq!(stream.take(), Framed::Wait);
}

/// R-SIP-4: what came through a NAT is answered with where it came from.
#[test]
fn the_source_is_noted_in_the_top_via_alone() {
    let mut m = Message::request("OPTIONS", "sip:a")
        .with("Via", "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK1;rport, SIP/2.0/UDP b")
        .with("v", "SIP/2.0/UDP c");
    m.stamp("192.0.2.7:40112".parse().unwrap());
    assert_eq!(
        m.list("Via"),
        [
            "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK1;rport=40112;received=192.0.2.7",
            "SIP/2.0/UDP b",
            "SIP/2.0/UDP c"
        ]
    );
    let mut m = Message::request("OPTIONS", "sip:a").with("Via", "SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1");
    m.stamp("192.0.2.7:5060".parse().unwrap());
    assert_eq!(m.text("Via"), Some("SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1"), "nothing to note");
    let mut m = Message::request("OPTIONS", "sip:a").with("Via", "SIP/2.0/UDP phone.example;branch=z9hG4bK1");
    m.stamp("[2001:db8::9]:5060".parse().unwrap());
    assert_eq!(m.via().unwrap().param("received"), Some("2001:db8::9"));
}

/// R-SIP-3 (RFC 5118).
#[test]
fn ipv6_is_read_where_it_may_stand() {
    use tandem_sip::message::Via;
    use tandem_sip::uri::{SipUri, Uri};
    let sip = |t: &str| Uri::parse(t).and_then(|u| u.sip().cloned());
    assert_eq!(sip("sip:[2001:db8::10]").unwrap().host, "2001:db8::10");
    assert_eq!(sip("sip:2001:db8::10"), None, "no brackets");
    assert_eq!(sip("sip:[2001:db8::10:5070]").unwrap().port, None, "port-ambiguous");
    let SipUri { host, port, .. } = sip("sip:[2001:db8::10]:5070").unwrap();
    assert_eq!((host.as_str(), port), ("2001:db8::10", Some(5070)));
    assert_eq!(sip("sip:[::ffff:192.0.2.1]").unwrap().host, "::ffff:192.0.2.1");
    assert!(sip("sip:[2001:db8:::192.0.2.1]").is_some(), "three colons are forgiven");
    for received in ["[2001:db8::9:255]", "2001:db8::9:255"] {
        let via = Via::parse(&format!("SIP/2.0/UDP [2001:db8::9:1];received={received};branch=z9hG4bKas3"))
            .unwrap();
        assert_eq!((via.param("received"), via.host.as_str()), (Some(received), "2001:db8::9:1"));
        assert!(via.to_string().starts_with("SIP/2.0/UDP [2001:db8::9:1];"));
    }
}

/// Writing what was read and reading it again changes nothing.
#[test]
fn canonical_form_is_stable() {
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/torture")).unwrap() {
        let octets: Bytes = std::fs::read(file.unwrap().path()).unwrap().into();
        let Ok(message) = read(&octets) else { continue };
        let (once, twice) = (message.write(), read(&message.write()).unwrap().write());
        assert_eq!(once, twice);
    }
}

proptest::proptest! {
    #[test]
    fn nothing_from_the_network_panics(octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600), lines in proptest::collection::vec("[A-Za-z-]{1,8}[:; ][ -~]{0,40}", 0..20)) {
        for octets in [Bytes::from(octets), Bytes::from(format!("INVITE sip:a@b SIP/2.0\r\n{}\r\n\r\nbody", lines.join("\r\n")))] {
            if let Ok(message) = read(&octets) {
                let _ = (validate::request(&message), message.write(), message.contact(), message.via());
            }
            let mut stream = Stream::default();
            stream.push(&octets);
            for _ in 0..20 {
                if matches!(stream.take(), Framed::Wait | Framed::Broken(..)) { break }
            }
        }
    }

    #[test]
    fn uris_are_written_as_they_were_read(user in "[a-z0-9;%&=+$,?/._-]{1,12}", host in "[a-z]{1,8}\\.[a-z]{2,4}", port in proptest::option::of(1u16..), param in "[a-z]{1,5}") {
        let text = format!("sip:{user}@{host}{};{param}=1;lr", port.map(|p| format!(":{p}")).unwrap_or_default());
        let uri = tandem_sip::uri::Uri::parse(&text);
        proptest::prop_assert_eq!(uri.unwrap().to_string(), text);
    }
}
