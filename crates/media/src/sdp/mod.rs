//! SDP (RFC 8866) ⇄ [`Media`](signal::Media) (interworking §3.1, §3.2).
//!
//! One rule: lenient in reading, canonical in writing. [`read()`] accepts what peers really send; [`write()`] has one form and writes the
//! same octets for the same input (R-SDP-8). m= lines other than RTP audio or video keep their position in a [`Shape`], so that an
//! answer has as many lines as its offer, and a later offer as many as before (R-SDP-12).

mod attribute;
pub(crate) use attribute::{fingerprint, fingerprint_hex, kind_name, kind_of, setup, setup_name};
mod lines;
mod read;
mod write;

pub use read::read;
pub use write::write;

use minicbor::{Decode, Encode};
use signal::media::{Content, Media};
use std::net::IpAddr;

/// Size of a description at most, octets; larger ones are refused (R-SDP-14).
pub const MAX_OCTETS: usize = 64 * 1024;
/// Number of m= lines at most; descriptions with more are refused (R-SDP-14).
pub const MAX_CONTENTS: usize = 32;
/// Number of payload types of an m= line at most; further ones are ignored (R-SDP-14).
pub const MAX_PAYLOADS: usize = 64;
/// Number of candidates of an m= line at most; further ones are ignored (R-SDP-14).
pub const MAX_CANDIDATES: usize = 64;

/// Reason why a description cannot be read: 400 or 488.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Not SDP.
    #[error("no SDP: {0}")]
    Syntax(String),
    /// Over 64 KiB or over 32 m= lines.
    #[error("description too large")]
    TooLarge,
    /// Line that the call cannot do without and that cannot be served.
    #[error("{line} {why}")]
    Line {
        /// The line, in printable characters, [`MAX_SHOWN`] of them at most.
        line: String,
        /// Fault of the line, as the end of a sentence that begins with it.
        why: &'static str,
    },
}

/// Number of characters of a line that an error shows at most.
pub const MAX_SHOWN: usize = 80;

impl SdpError {
    /// Makes the error of a line.
    fn line(line: &str, why: &'static str) -> SdpError {
        let line = line.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect();
        SdpError::Line { line, why }
    }

    /// Returns the line that is at fault, if it is one line: fit for the text of a Warning (RFC 3261 §20.43).
    #[must_use]
    pub fn at_fault(&self) -> Option<&str> {
        match self {
            SdpError::Line { line, .. } => Some(line),
            SdpError::Syntax(_) | SdpError::TooLarge => None,
        }
    }
}

/// Lines of a description in order, which an answer must mirror (RFC 3264 §6) and a later offer keep (§8).
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Shape {
    /// One entry per m= line; empty in a first offer.
    #[n(0)]
    pub lines: Vec<Line>,
}

/// Line of a description, m=.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Line {
    /// Next content of the media, with the transport protocol of its offer.
    #[n(0)]
    Content(#[n(0)] String),
    /// Line that is not served, answered with port 0: its media, protocol and formats.
    #[n(1)]
    Foreign(#[n(0)] String, #[n(1)] String, #[n(2)] String),
}

impl Shape {
    /// Returns the lines of an offer of `media` in their place: those of before. A content keeps its transport protocol unless it is
    /// protected in another way now.
    #[must_use]
    pub fn offering(&self, media: &Media) -> Shape {
        let mut contents = media.contents.iter();
        let lines = self.lines.iter().map(|line| match (line, line.content(&mut contents)) {
            (Line::Content(proto), Some(content)) if !write::fits(proto, content) => {
                Line::Content(write::protocol(content).to_owned())
            }
            (line, _) => line.clone(),
        });
        Shape { lines: lines.collect() }
    }
}

impl Line {
    /// Takes the content of this line; `None` for a line that is not served.
    fn content<'a>(&self, contents: &mut impl Iterator<Item = &'a Content>) -> Option<&'a Content> {
        match self {
            Line::Content(_) => contents.next(),
            Line::Foreign(..) => None,
        }
    }
}

/// Origin line, o= (RFC 8866 §5.2); constant in a dialog but for the version (R-SDP-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Origin {
    /// Session id.
    #[n(0)]
    pub session_id: u64,
    /// Version; rises by one with each changed description.
    #[n(1)]
    pub version: u64,
    /// Address of the o= line; also of the session's c= line when no content has one.
    #[n(2)]
    pub address: IpAddr,
}

#[cfg(test)]
mod tests;
