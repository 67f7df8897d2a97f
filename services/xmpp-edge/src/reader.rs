//! Reading of a component stream, within limits: no content of a stanza ends the stream.

use crate::framer::{Frame, Framer};
use crate::tag::{self, Tag};
use crate::tree;
use minidom::Element;
use quick_xml::name::NamespaceResolver;
use rxml::{Namespace, NcName};
use xmpp::stanza::COMPONENT;

/// Event of a stream.
#[derive(Debug, PartialEq)]
pub enum StreamEvent {
    /// The server's stream header.
    Opened {
        /// Its stream id.
        id: String,
    },
    /// A stanza or another element of the stream.
    Stanza(Element),
    /// A stanza that is too large, too deep or no XML: as much of its first tag as its answer needs.
    Unparsable(Element),
    /// The server has closed the stream.
    Closed,
}

/// Error after which the stream must be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream cannot be read: {0}")]
pub struct Unreadable(pub String);

/// Reader of one stream.
pub struct Reader {
    framer: Framer,
    /// Declarations of the stream header, which hold for all stanzas.
    declared: NamespaceResolver,
}

impl Default for Reader {
    fn default() -> Reader {
        Reader::new()
    }
}

impl Reader {
    /// Creates the reader of a new stream.
    #[must_use]
    pub fn new() -> Reader {
        Reader { framer: Framer::new(), declared: NamespaceResolver::default() }
    }

    /// Takes octets and returns the events that they complete.
    ///
    /// # Errors
    /// [`Unreadable`]: not a stream of stanzas, or a stanza without end.
    pub fn push(&mut self, octets: &[u8]) -> Result<Vec<StreamEvent>, Unreadable> {
        let mut events = vec![];
        for octet in octets {
            if let Some(frame) = self.framer.push(*octet)? {
                events.push(self.read(frame)?);
            }
        }
        Ok(events)
    }

    fn read(&mut self, frame: Frame) -> Result<StreamEvent, Unreadable> {
        Ok(match frame {
            Frame::Header(octets) => {
                let header = tree::header(&octets);
                let (root, declared) = header.map_err(|_| Unreadable("no stream header".into()))?;
                self.declared = declared;
                StreamEvent::Opened { id: root.attr("id").unwrap_or_default().to_owned() }
            }
            Frame::Stanza(octets) => match tree::stanza(&octets, &self.declared) {
                Ok(stanza) => StreamEvent::Stanza(stanza),
                Err(_) => StreamEvent::Unparsable(first_tag(&octets)),
            },
            Frame::Truncated(octets) => StreamEvent::Unparsable(first_tag(&octets)),
            Frame::Footer => StreamEvent::Closed,
        })
    }
}

fn unparsable() -> Element {
    Element::bare("unparsable", COMPONENT)
}

/// Reads as much of a stanza's first tag as its answer needs. Without content the stanza is refused as an unknown request.
fn first_tag(octets: &[u8]) -> Element {
    let Some(Tag { name, attributes }) = tag::first_tag(octets) else { return unparsable() };
    let mut head = name.map_or_else(unparsable, |name| Element::bare(name, COMPONENT));
    // An unreadable attribute is left out; a stanza without sender is then ignored.
    for (name, value) in attributes {
        if matches!(name.as_str(), "type" | "id" | "from" | "to")
            && let Ok(name) = NcName::try_from(name)
        {
            head.set_attr(Namespace::NONE, name, value);
        }
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
                        xmlns:stream='http://etherx.jabber.org/streams' id='abc' from='sip.example.net'>";

    fn all(chunks: &[&str]) -> Vec<StreamEvent> {
        let mut reader = Reader::new();
        chunks.iter().flat_map(|chunk| reader.push(chunk.as_bytes()).unwrap()).collect()
    }

    #[test]
    fn stanzas_come_whole_however_they_are_cut() {
        let text = format!(
            "{HEAD} <message from='a@b/c' to='d' id='1'><body>x &amp; y</body><z xmlns='q:r'/></message>\n<iq type='get'/></stream:stream>"
        );
        let whole = all(&[&text]);
        let bytes: Vec<String> = text.chars().map(String::from).collect();
        let cut = all(&bytes.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(whole, cut);
        let [
            StreamEvent::Opened { id },
            StreamEvent::Stanza(message),
            StreamEvent::Stanza(iq),
            StreamEvent::Closed,
        ] = &whole[..]
        else {
            panic!("{whole:?}")
        };
        assert_eq!(id, "abc");
        assert!(message.is("message", "jabber:component:accept"));
        assert_eq!(message.get_child("body", "jabber:component:accept").unwrap().text(), "x & y");
        assert!(message.get_child("z", "q:r").is_some() && iq.attr("type") == Some("get"));
    }

    /// R-XMPP-9
    #[test]
    fn a_stanza_that_is_too_deep_is_refused_and_the_stream_goes_on() {
        let deep = format!("{}{}", "<a>".repeat(50_000), "</a>".repeat(50_000));
        let events = all(&[HEAD, "<iq type='set' id='7' from='m@e'>", &deep, "</iq><presence/>"]);
        let [StreamEvent::Opened { .. }, StreamEvent::Unparsable(iq), StreamEvent::Stanza(presence)] =
            &events[..]
        else {
            panic!()
        };
        assert_eq!((iq.attr("id"), presence.name()), (Some("7"), "presence"));
    }

    #[test]
    fn long_attributes_are_read_and_endless_stanzas_are_not() {
        let long = format!("<message to='{}'/>", "x".repeat(100_000));
        assert_eq!(all(&[HEAD, &long]).len(), 2);
        let mut reader = Reader::new();
        reader.push(HEAD.as_bytes()).unwrap();
        let mut outcome = Ok(vec![]);
        for _ in 0..9_000 {
            outcome = reader.push(format!("<message>{}</message>", "x".repeat(1_000)).as_bytes());
        }
        assert!(outcome.is_ok(), "many small stanzas are no large one");
        reader.push(b"<message>").unwrap();
        for _ in 0..9_000 {
            outcome = reader.push("<b/>text".repeat(125).as_bytes());
            if outcome.is_err() {
                return;
            }
        }
        panic!("a stanza without end was read");
    }

    /// A server's references make a stanza several times as long as the client's was.
    #[test]
    fn a_stanza_that_is_too_large_is_refused_and_the_stream_goes_on() {
        let large = format!("<body>{}</body>", "&quot;".repeat(256 * 1024));
        let events =
            all(&[HEAD, "<iq type='set' id='7' from='m@e' to='d' x='y'>", &large, "</iq><presence/>"]);
        let [StreamEvent::Opened { .. }, StreamEvent::Unparsable(iq), StreamEvent::Stanza(presence)] =
            &events[..]
        else {
            panic!()
        };
        let attributes = ["type", "id", "from", "to", "x"].map(|name| iq.attr(name));
        assert_eq!(attributes, [Some("set"), Some("7"), Some("m@e"), Some("d"), None]);
        assert_eq!((iq.children().count(), presence.name()), (0, "presence"));
        let mut reader = Reader::new();
        reader.push(HEAD.as_bytes()).unwrap();
        assert!(reader.push(format!("<iq a='{}'/>", "x".repeat(600_000)).as_bytes()).unwrap().len() == 1);
        assert!(reader.framer.buffered() < 1_024, "nothing of it is kept");
        assert!(Reader::new().push(format!("<stream a='{}'>", "x".repeat(600_000)).as_bytes()).is_err());
    }

    /// R-XMPP-9: any user can put these into a stanza, and a server passes them on.
    #[test]
    fn hostile_stanzas_are_refused_one_by_one() {
        let xml = "http://www.w3.org/XML/1998/namespace";
        for inner in [
            "<xml:a/>",
            "<nobody:declared/>",
            "<a nobody:declared='x'/>",
            "<a b='1' b='2' c='<'/>",
            "<a>&nobody;</a>",
            "<a>&#1;</a>",
            "<a>\u{fffe}</a>",
            "<a><![CDATA[</iq>]]]]><![CDATA[>]]></a>",
            "<a b='>' c=\"'/>\"/>",
            &format!("<a xmlns:xml='{xml}' xml:lang='en'/>"),
            &format!("<xml:a xmlns:xml='{xml}'/>"),
            &format!("<a xmlns='{xml}'/>"),
            &format!("<a xmlns:b='{xml}'><b:c b:d='e'/></a>"),
            "<a xmlns='http://www.w3.org/2000/xmlns/'/>",
            "<a xmlns:xmlns='http://www.w3.org/2000/xmlns/'/>",
            "<a xmlns:b=''><b:c/></a>",
        ] {
            let iq = format!("<iq type='set' id='7' from='m@e' to='d'>{inner}</iq>");
            let events = all(&[HEAD, &iq, "<presence/>"]);
            let [_, StreamEvent::Stanza(iq) | StreamEvent::Unparsable(iq), StreamEvent::Stanza(presence)] =
                &events[..]
            else {
                panic!("{inner}: {events:?}")
            };
            assert_eq!(
                (iq.attr("id"), iq.attr("from"), presence.name()),
                (Some("7"), Some("m@e"), "presence")
            );
            // The stanza can be hashed and answered.
            assert!(!xmpp::writer::digest(iq).is_empty());
            assert!(xmpp::writer::write(&xmpp::stanza::result(iq)).is_some());
        }
        let events = all(&[HEAD, "<iq from='m@e' to='d' nobody:declared='x' id='7'/>"]);
        assert!(
            matches!(&events[1], StreamEvent::Unparsable(iq) if iq.attr("id") == Some("7")),
            "{events:?}"
        );
    }

    /// No octets make the reader panic.
    #[test]
    fn any_octets_are_read_or_told() {
        let events = [
            "<",
            ">",
            "/",
            "</a>",
            "<a",
            " b='",
            "'",
            "\"",
            "<![CDATA[",
            "]]>",
            "<?",
            "?>",
            "<!--",
            "&#1;",
            "a:",
            "x",
            "\u{ffff}",
            "<a/>",
            " ",
        ];
        let mut seed = 1_u64;
        for _ in 0..20_000 {
            let mut reader = Reader::new();
            reader.push(HEAD.as_bytes()).unwrap();
            for _ in 0..12 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                if reader.push(events[(seed >> 33) as usize % events.len()].as_bytes()).is_err() {
                    break;
                }
            }
        }
    }

    #[test]
    fn octets_that_are_no_text_spoil_their_stanza() {
        let mut reader = Reader::new();
        reader.push(HEAD.as_bytes()).unwrap();
        let events = reader.push(b"<iq id='1' from='m@e'><a>\xff\xfe</a></iq><presence/>").unwrap();
        assert!(
            matches!(&events[..], [StreamEvent::Unparsable(iq), StreamEvent::Stanza(_)] if iq.attr("id") == Some("1"))
        );
    }

    #[test]
    fn what_is_no_xml_is_told() {
        assert!(Reader::new().push(b"HTTP/1.1 400 Bad Request\r\n\r\n<html>").is_err());
        let mut reader = Reader::new();
        reader.push(HEAD.as_bytes()).unwrap();
        assert!(reader.push(b"<iq><a></iq>").is_err());
        let mut reader = Reader::new();
        reader.push(HEAD.as_bytes()).unwrap();
        assert!(reader.push(b"<iq/><!-- x -->").is_err());
    }

    #[test]
    fn white_space_between_stanzas_is_forgotten() {
        let mut reader = Reader::new();
        reader.push(HEAD.as_bytes()).unwrap();
        for _ in 0..2_000 {
            assert!(reader.push(&[b' '; 1_000]).unwrap().is_empty());
        }
    }
}
