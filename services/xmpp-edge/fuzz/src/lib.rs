//! Readers of XMPP against anything: each function takes octets of an attacker's choice and panics where a promise is broken.
//!
//! One rule: a target is a plain function of its octets, so that `tests/fuzz.rs` can run it on stable Rust, too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a target says what is wrong by failing"
)]

use media::jingle::{Role, read, write};
use minidom::Element;
use tandem_xmpp_edge::reader::{Reader, StreamEvent};

/// Target that is run with any octets; it panics where something is wrong.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: &[(&str, Target)] = &[("jingle", jingle), ("stream", stream)];

const JINGLE: &str = "urn:xmpp:jingle:1";

/// Reads the contents of a session, wherever they stand; what is written of them is read as the same.
pub fn jingle(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(element) = text.parse::<Element>() else { return };
    contents(&element, 0);
}

fn contents(element: &Element, depth: usize) {
    if element.is("jingle", JINGLE) {
        for role in [Role::Initiator, Role::Responder] {
            let Ok(media) = read(element, role) else { continue };
            let mut again = Element::bare("jingle", JINGLE);
            for content in write(&media, role) {
                again.append_child(content);
            }
            let text = String::from(&again);
            let parsed: Element = text.parse().expect("what we write is XML");
            let second = read(&parsed, role).expect("what we write can be read");
            assert_eq!(second.contents.len(), media.contents.len(), "{text}");
        }
    }
    if depth < 16 {
        element.children().for_each(|child| contents(child, depth + 1));
    }
}

/// Cuts a stream into stanzas; they are the same however the stream comes.
pub fn stream(data: &[u8]) {
    let [cut, data @ ..] = data else { return };
    let step = usize::from(*cut).max(1);
    let (whole, pieces) = (events(&[data]), events(&data.chunks(step).collect::<Vec<_>>()));
    // Of a push that ends the stream the events before that are not told.
    assert_eq!(pieces.is_some(), whole.is_some(), "in pieces of {step}");
    if let (Some(whole), Some(pieces)) = (whole, pieces) {
        assert_eq!(pieces, whole, "in pieces of {step}");
    }
}

/// Events of a stream; `None` if it cannot be read to its end.
fn events(pieces: &[&[u8]]) -> Option<Vec<StreamEvent>> {
    let (mut reader, mut events) = (Reader::new(), vec![]);
    for piece in pieces {
        events.extend(reader.push(piece).ok()?);
    }
    for event in &events {
        if let StreamEvent::Stanza(stanza) | StreamEvent::Unparsable(stanza) = event {
            // A stream may have no namespace of its own; an element by itself must have one.
            let text = format!("<x xmlns='x'>{}</x>", String::from(stanza));
            assert!(text.parse::<Element>().is_ok(), "{text}");
        }
    }
    Some(events)
}
