//! Octets of a component stream to stanzas, within limits: whatever a stranger puts into a stanza, the stream goes on.

use minidom::Element;
use minidom::tree_builder::TreeBuilder;
use rxml::error::EndOrError;
use rxml::{Options, Parse, RawEvent, RawParser, WithOptions};

/// Largest stanza, octets. Servers pass 256 KiB at most.
const MAX_STANZA: usize = 512 * 1024;
/// Deepest nesting of elements within a stanza.
const MAX_DEPTH: usize = 64;

/// What a stream gives.
#[derive(Debug, PartialEq)]
pub enum Piece {
    /// The server's stream header.
    Opened {
        /// Its stream id.
        id: String,
    },
    /// A stanza or another element of the stream.
    Stanza(Element),
    /// A stanza that is not read on (too deep): its outermost element, to be refused.
    Spoiled(Element),
    /// The server has closed the stream.
    Closed,
}

/// The stream cannot be read on: it must be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream cannot be read: {0}")]
pub struct Unreadable(String);

/// Reads one stream.
pub struct Reader {
    parser: RawParser,
    tree: TreeBuilder,
    depth: usize,
    spoiled: bool,
    since_stanza: usize,
    opened: bool,
}

impl Reader {
    /// For a new stream.
    pub fn new() -> Reader {
        let options = Options { max_token_length: MAX_STANZA, ..Options::default() };
        Reader {
            parser: RawParser::with_options(options),
            tree: TreeBuilder::new(),
            depth: 0,
            spoiled: false,
            since_stanza: 0,
            opened: false,
        }
    }

    /// Takes octets and gives what they complete.
    ///
    /// # Errors
    /// [`Unreadable`]: not XML, or a stanza beyond all limits.
    pub fn push(&mut self, mut octets: &[u8]) -> Result<Vec<Piece>, Unreadable> {
        let mut pieces = vec![];
        loop {
            let before = octets.len();
            let event = match self.parser.parse(&mut octets, false) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(EndOrError::NeedMoreData) => {
                    self.since_stanza += before - octets.len();
                    break;
                }
                Err(EndOrError::Error(error)) => return Err(Unreadable(error.to_string())),
            };
            self.since_stanza += before - octets.len();
            if self.since_stanza > MAX_STANZA {
                return Err(Unreadable(format!("a stanza of over {MAX_STANZA} octets")));
            }
            self.event(event, &mut pieces)?;
        }
        if self.since_stanza > MAX_STANZA {
            return Err(Unreadable(format!("a stanza of over {MAX_STANZA} octets")));
        }
        Ok(pieces)
    }

    fn event(&mut self, event: RawEvent, pieces: &mut Vec<Piece>) -> Result<(), Unreadable> {
        match &event {
            RawEvent::ElementHeadOpen(..) => {
                self.depth += 1;
                // The stream's root is not part of a stanza.
                self.spoiled |= self.depth > MAX_DEPTH + 1;
            }
            // White space between stanzas keeps connections alive and means nothing.
            RawEvent::Text(_, text) if self.depth == 0 && !text.trim().is_empty() => {
                return Err(Unreadable("text instead of a stream header".into()));
            }
            RawEvent::Text(..) if self.depth < 2 => {
                self.since_stanza = 0;
                return Ok(());
            }
            _ => {}
        }
        let head_done = matches!(event, RawEvent::ElementHeadClose(..));
        let closes = matches!(event, RawEvent::ElementFoot(..));
        if self.depth <= MAX_DEPTH + 1 {
            self.tree.process_event(event).map_err(|error| Unreadable(error.to_string()))?;
        }
        if head_done && self.depth == 1 && !self.opened {
            self.opened = true;
            self.since_stanza = 0;
            let id = self.tree.top().and_then(|root| root.attr("id")).unwrap_or_default().to_owned();
            pieces.push(Piece::Opened { id });
        }
        if closes {
            self.depth -= 1;
            match self.depth {
                0 => pieces.push(Piece::Closed),
                1 => {
                    self.since_stanza = 0;
                    let spoiled = std::mem::take(&mut self.spoiled);
                    if let Some(stanza) = self.tree.unshift_child() {
                        pieces.push(if spoiled { Piece::Spoiled(stanza) } else { Piece::Stanza(stanza) });
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
                        xmlns:stream='http://etherx.jabber.org/streams' id='abc' from='sip.example.net'>";

    fn all(chunks: &[&str]) -> Vec<Piece> {
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
        let [Piece::Opened { id }, Piece::Stanza(message), Piece::Stanza(iq), Piece::Closed] = &whole[..]
        else {
            panic!("{whole:?}")
        };
        assert_eq!(id, "abc");
        assert!(message.is("message", "jabber:component:accept"));
        assert_eq!(message.get_child("body", "jabber:component:accept").unwrap().text(), "x & y");
        assert!(message.get_child("z", "q:r").is_some() && iq.attr("type") == Some("get"));
    }

    #[test]
    fn a_stanza_that_is_too_deep_is_refused_and_the_stream_goes_on() {
        let deep = format!("{}{}", "<a>".repeat(50_000), "</a>".repeat(50_000));
        let pieces = all(&[HEAD, "<iq type='set' id='7' from='m@e'>", &deep, "</iq><presence/>"]);
        let [Piece::Opened { .. }, Piece::Spoiled(iq), Piece::Stanza(presence)] = &pieces[..] else {
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
        for _ in 0..600 {
            outcome = reader.push(format!("<message>{}</message>", "x".repeat(1_000)).as_bytes());
        }
        assert!(outcome.is_ok(), "many small stanzas are no large one");
        reader.push(b"<message>").unwrap();
        for _ in 0..600 {
            outcome = reader.push("<b/>text".repeat(125).as_bytes());
            if outcome.is_err() {
                return;
            }
        }
        panic!("a stanza without end was read");
    }

    #[test]
    fn what_is_no_xml_is_told() {
        assert!(Reader::new().push(b"HTTP/1.1 400 Bad Request\r\n\r\n<html>").is_err());
        let mut reader = Reader::new();
        reader.push(HEAD.as_bytes()).unwrap();
        assert!(reader.push(b"<iq><a></iq>").is_err());
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
