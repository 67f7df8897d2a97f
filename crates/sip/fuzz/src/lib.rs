//! Readers of SIP and SDP against anything: each function takes octets of an attacker's choice and panics where a promise is broken.
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

use bytes::Bytes;
use tandem_sip::message::{Framed, Message, ReadError, Stream, read, salvage};
use tandem_sip::uri::{NameAddr, Uri};
use tandem_sip::validate;

/// Target that is run with any octets; it panics where something is wrong.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: &[(&str, Target)] =
    &[("message", message), ("stream", stream), ("uri", uri), ("sdp", sdp)];

/// Octets that a stream may hold back for one message.
const HELD: usize = 64 * 1024;

/// Reads a message; what is written of it is read as the same.
pub fn message(data: &[u8]) {
    let octets = Bytes::copy_from_slice(data);
    let _ = salvage(&octets);
    let Ok(message) = read(&octets) else { return };
    look(&message);
    let written = message.write();
    match read(&written) {
        Ok(again) => {
            assert_eq!((&again.start, &again.body), (&message.start, &message.body));
            // A bare CR at the edge of a value is written as a blank, which the next reader takes for none.
            let twice = again.write();
            assert_eq!(read(&twice).map(|third| third.write()), Ok(twice), "the written form is stable");
            look(&again);
        }
        // Names that were compact are longer when they are written.
        Err(error) => assert_eq!(error, ReadError::TooLarge),
    }
}

/// Asks a message for all that it may be asked for.
fn look(message: &Message) {
    let _ = (validate::request(message), message.via(), message.cseq(), message.from(), message.to());
    let _ = (message.contact(), message.call_id(), message.max_forwards(), message.sdp(), message.method());
    let _ = (message.list("Supported"), message.first_address("P-Asserted-Identity"));
}

/// Frames a stream; it is cut in the same places however it comes, and holds no more than a message.
pub fn stream(data: &[u8]) {
    let [cut, data @ ..] = data else { return };
    let whole = framed(&[data]);
    let step = usize::from(*cut).max(1);
    let pieces: Vec<&[u8]> = data.chunks(step).collect();
    assert_eq!(framed(&pieces), whole, "in pieces of {step}");
}

fn framed(pieces: &[&[u8]]) -> Vec<Framed> {
    let (mut stream, mut events) = (Stream::default(), vec![]);
    for piece in pieces {
        stream.push(piece);
        for _ in 0..=piece.len() + 1 {
            match stream.take() {
                Framed::Wait => break,
                Framed::Broken(error, octets) => {
                    assert!(octets.len() <= HELD + piece.len());
                    // How much had come by then is no promise.
                    events.push(Framed::Broken(error, Bytes::new()));
                    return events;
                }
                Framed::Message(octets) => {
                    assert!(octets.len() <= HELD);
                    let _ = read(&octets);
                    events.push(Framed::Message(octets));
                }
                Framed::Ping => events.push(Framed::Ping),
            }
        }
    }
    events
}

/// Reads addresses and URIs; what is written of one is read as the same.
pub fn uri(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(uri) = Uri::parse(text) {
        let written = uri.to_string();
        let again = Uri::parse(&written);
        assert_eq!(again.as_ref(), Some(&uri), "{written:?}");
    }
    if let Some(address) = NameAddr::parse(text) {
        let written = address.to_string();
        let again = NameAddr::parse(&written);
        assert_eq!(again.as_ref().map(|again| &again.uri), Some(&address.uri), "{written:?}");
    }
    if let Some(list) = NameAddr::list(text) {
        assert!(list.len() <= text.len() + 1);
    }
}

/// Reads a description; what is written of it can be read.
pub fn sdp(data: &[u8]) {
    let Ok((media, shape)) = media::sdp::read(data) else { return };
    let origin = media::sdp::Origin { session_id: 1, version: 1, address: [192, 0, 2, 1].into() };
    let written = media::sdp::write(&media, &shape, &origin);
    let text = String::from_utf8(written).expect("SDP is UTF-8");
    for line in text.lines() {
        assert!(line.as_bytes().get(1) == Some(&b'='), "{line:?} in {text}");
    }
    let again = media::sdp::read(text.as_bytes());
    let lines = |text: &str| text.lines().filter(|line| line.starts_with("m=")).count();
    assert!(again.is_ok(), "{:?}: {text}", again.err());
    assert!(lines(&text) >= media.contents.len(), "{text}");
}
