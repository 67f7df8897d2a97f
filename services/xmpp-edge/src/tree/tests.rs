//! Stanzas read by quick-xml are those that rxml and minidom read.

use super::*;
use minidom::tree_builder::TreeBuilder;
use rxml::error::EndOrError;
use rxml::{Namespace, Parse, RawEvent, RawParser};
use std::collections::{BTreeMap, BTreeSet};

const OUTER: [(&str, &str); 2] =
    [("", "jabber:component:accept"), ("stream", "http://etherx.jabber.org/streams")];

fn outer() -> NamespaceResolver {
    let header =
        "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'>";
    self::header(header.as_bytes()).unwrap().1
}

/// Attributes of one tag, for the rules that minidom's builder does not know.
#[derive(Default)]
struct Attributes {
    names: BTreeSet<String>,
    plain: usize,
}

impl Attributes {
    fn add(&mut self, prefix: Option<&str>, name: &str, value: &str) -> bool {
        let reserved = [Namespace::XML.as_str(), Namespace::XMLNS.as_str()].contains(&value);
        self.names.insert(format!("{prefix:?}:{name}"))
            && match (prefix, name) {
                (None, "xmlns") => !reserved,
                (Some("xmlns"), "xmlns") => false,
                (Some("xmlns"), "xml") => value == Namespace::XML.as_str(),
                (Some("xmlns"), _) => !reserved && !value.is_empty(),
                _ => {
                    self.plain += 1;
                    true
                }
            }
    }
}

/// Reads the same octets with rxml and minidom, which cost more.
fn reference(mut octets: &[u8]) -> Option<Element> {
    let prefixes: BTreeMap<Option<String>, String> = OUTER
        .iter()
        .map(|(prefix, namespace)| {
            (Some((*prefix).to_owned()).filter(|p| !p.is_empty()), (*namespace).into())
        })
        .collect();
    let mut tree = TreeBuilder::new().with_prefixes_stack(vec![prefixes.into()]);
    let mut parser = RawParser::new();
    let mut attributes = Attributes::default();
    while tree.root.is_none() {
        let event = match parser.parse(&mut octets, true) {
            Ok(Some(event)) => event,
            Ok(None) | Err(EndOrError::NeedMoreData | EndOrError::Error(_)) => return None,
        };
        let closes = matches!(event, RawEvent::ElementHeadClose(_));
        if let RawEvent::Attribute(_, (prefix, name), value) = &event {
            let prefix = prefix.as_ref().map(|prefix| prefix.as_str());
            if !attributes.add(prefix, name, value) {
                return None;
            }
            if (prefix, name.as_str()) == (Some("xmlns"), "xml") {
                continue;
            }
        }
        tree.process_event(event).ok()?;
        if closes && take(&mut attributes).plain != tree.top()?.attrs().iter().count() {
            return None;
        }
    }
    tree.root
}

fn text(element: &Element) -> String {
    xmpp::writer::digest(element)
}

#[test]
fn a_session_initiate_is_read_as_others_read_it() {
    let octets = br#"<iq to='b@c/d' from="a@b/c" type='set' id='1'><jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='x'>
            <content creator='initiator' name='&quot;audio&quot;'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'>
            <payload-type id='0' name='PCMU' clockrate='8000'/><rtcp-fb xmlns='urn:xmpp:jingle:apps:rtp:rtcp-fb:0' type='nack'/></description>
            <transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='u' pwd='p'><x:y xmlns:x='z' x:w="1"/><![CDATA[a<b]]></transport></content></jingle></iq>"#;
    let read = stanza(octets, &outer()).unwrap();
    assert_eq!(text(&read), text(&reference(octets).unwrap()));
    assert_eq!(read.attr("from"), Some("a@b/c"));
}

/// R-XMPP-9: finding a prefix among any number of declarations would take too long.
#[test]
fn a_stanza_that_declares_too_much_is_refused() {
    let declaring = |count: usize| {
        let declared: String = (0..count).map(|number| format!(" xmlns:p{number}='q'")).collect();
        stanza(format!("<iq{declared}><p0:a/></iq>").as_bytes(), &outer())
    };
    assert!(declaring(120).is_ok() && declaring(20_000).is_err());
    let side_by_side = "<a xmlns='q' xmlns:p='r'><p:b/></a>".repeat(1_000);
    assert!(stanza(format!("<iq>{side_by_side}</iq>").as_bytes(), &outer()).is_ok());
}

#[test]
fn a_header_is_one_start_tag_in_a_namespace() {
    let (element, _) = header(b"<?xml version='1.0'?>\n<s:stream xmlns:s='t' id='&amp;'>").unwrap();
    assert!(element.is("stream", "t") && element.attr("id") == Some("&"));
    for refused in ["<stream>", "<s:stream>", "x<a xmlns='b'>", "<?x y?><a xmlns='b'>", "<a xmlns='b'/>", ""]
    {
        assert!(header(refused.as_bytes()).is_err(), "{refused}");
    }
}

#[test]
fn a_stanza_is_one_element() {
    for refused in
        ["", " ", "x<a/>", "&amp;<a/>", "<![CDATA[]]><a/>", "<?xml version='1.0'?><a/>", "</a>", "<a>"]
    {
        assert!(stanza(refused.as_bytes(), &outer()).is_err(), "{refused}");
    }
}

/// Both readers refuse what the pieces make up, or both read the same; cut anywhere, it is read or refused.
#[test]
fn any_pieces_are_read_as_others_read_them() {
    let pieces = [
        "<a>",
        "</a>",
        "<b c='d'>",
        "</b>",
        "<a/>",
        "<p:a xmlns:p='q'>",
        "</p:a>",
        "<p:b p:c='d'/>",
        " ",
        "\n",
        "\r",
        "\r\n",
        "\t",
        "x",
        "&amp;",
        "&lt;",
        "&#65;",
        "&#x41;",
        "&#0;",
        "&#xfffe;",
        "&#;",
        "&#x;",
        "&#+1;",
        "&nobody;",
        "&",
        ";",
        "]]>",
        "]]",
        ">",
        "<![CDATA[",
        "<a b='",
        "'",
        "\"",
        "/>",
        " c=\"1\"",
        "\u{e9}",
        "\u{fffe}",
        "\u{1}",
        "\u{ef00}",
        "<a xmlns='r'>",
        "xml:lang='en'",
        "<xml:a/>",
        "<:a/>",
        "<a:/>",
        "<a:b:c/>",
        "<1/>",
        "<a 1='2'/>",
        "<a b='1'c='2'/>",
        "<a b = '1' />",
        "</a >",
        "< a/>",
        "<a b/>",
        "<a b=c/>",
        "<stream:a/>",
        "<n:a/>",
        "<a n:b='c'/>",
        "<a xmlns:xml='http://www.w3.org/XML/1998/namespace'/>",
        "<a xmlns:xml='q'/>",
        "<a xmlns:p='http://www.w3.org/XML/1998/namespace'/>",
        "<a xmlns='http://www.w3.org/2000/xmlns/'/>",
        "<a xmlns:xmlns='q'/>",
        "<xmlns:a/>",
        "<a xmlns:='q'/>",
        "<a xmlns:b:c='q'/>",
        "<a xmlns:p=''/>",
        "<a xmlns=''><b/></a>",
        "<p:a xmlns:p='q&amp;r'/>",
        "<a b='1' b='2'/>",
        "<a xmlns='q' xmlns='r'/>",
        "<a xmlns:p='q' xmlns:r='q' p:b='1' r:b='2'/>",
        "<a xmlns:p='q' xmlns:r='s' b='0' p:b='1' r:b='2'/>",
        "<a b='x\r\ny\tz&#10;&#xD;'/>",
        "<a b='&nobody;'/>",
        "<a b='&#1;'/>",
        "<a b='&'/>",
        "<a b='<'/>",
        "<a b='>]]>'/>",
        "<a b='1'\u{c}c='2'/>",
        "<a b='1\u{1}'/>",
        "<a\u{c}/>",
        "<a/ >",
        "</a b='c'>",
        "</ a>",
        "<>",
        "</>",
        "&#X41;",
        "&#xd800;",
        "&#1114112;",
        "&#13;",
        "<![cdata[x]]>",
        "<![CDATA[x&amp;\r]]>",
        "<!-- x -->",
        "<?x y?>",
        "<?xml version='1.0'?>",
        "<!DOCTYPE a>",
    ];
    let mut seed = 7_u64;
    let mut draw = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let mut read = 0;
    for _ in 0..200_000 {
        let mut octets = String::from("<iq from='m@e'>");
        for _ in 0..draw(7) {
            octets.push_str(pieces[draw(pieces.len())]);
        }
        octets.push_str("</iq>");
        let (ours, theirs) = (stanza(octets.as_bytes(), &outer()).ok(), reference(octets.as_bytes()));
        read += usize::from(ours.is_some());
        let (before, after) = octets.as_bytes().split_at(draw(octets.len()));
        for part in [before, after] {
            let _ = (stanza(part, &outer()), header(part), tag::first_tag(part));
        }
        assert_eq!(ours.as_ref().map(text), theirs.as_ref().map(text), "{octets:?}");
    }
    assert!(read > 10_000, "{read}");
}
