//! SDP (RFC 8866) ⇄ [`Media`] (interworking §3.1, §3.2).
//!
//! One rule: lenient in, canonical out. [`read`] takes what peers really send; [`write()`] puts one form on the wire, the
//! same octets for the same input (R-SDP-8). m= lines that are no RTP audio or video keep their place in a [`Shape`], so that
//! an answer has as many lines as its offer (R-SDP-12).

mod attribute;
pub(crate) use attribute::{fingerprint, fingerprint_hex, kind_name, kind_of, setup, setup_name};
mod read;
mod write;

pub use read::read;
pub use write::write;

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Larger descriptions are refused (R-SDP-14).
pub const MAX_OCTETS: usize = 64 * 1024;
/// More m= lines are refused (R-SDP-14).
pub const MAX_CONTENTS: usize = 32;
/// Further payload types of an m= line are ignored (R-SDP-14).
pub const MAX_PAYLOADS: usize = 64;
/// Further candidates of an m= line are ignored (R-SDP-14).
pub const MAX_CANDIDATES: usize = 64;

/// Why a description cannot be read: 400 or 488.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Not SDP.
    #[error("no SDP: {0}")]
    Syntax(String),
    /// Over 64 KiB or over 32 m= lines.
    #[error("description too large")]
    TooLarge,
}

/// The lines of a description, in order: what an answer must mirror.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// One per m= line; empty when the description is not an answer.
    pub lines: Vec<Line>,
}

/// One m= line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Line {
    /// The next content of the media, with the transport protocol that it was offered with.
    Content(String),
    /// A line that is not served: its media, protocol and formats, to be answered with port 0.
    Foreign(String, String, String),
}

/// The o= line (RFC 8866 §5.2), constant in a dialog but for the version (R-SDP-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Session id.
    pub session_id: u64,
    /// Rises by one with each changed description.
    pub version: u64,
    /// The address that the o= line shows; also the session's c= line when no content has one.
    pub address: IpAddr,
}

#[cfg(test)]
mod tests;
