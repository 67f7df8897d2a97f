//! RTCP (RFC 3550 §6, RFC 4585, RFC 5104), read and written in place, without an allocation.
//!
//! One rule: nothing of a peer's packet is ever sent on. What it says is read into [`Item`]s; what we say is written anew by a
//! [`Writer`], always as a compound packet that begins with a report and a name (RFC 3550 §6.1).

mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::{read, valid};
pub use write::Writer;

/// Packet types (RFC 3550 §12.1, RFC 4585 §6.1).
const SR: u8 = 200;
const RR: u8 = 201;
const SDES: u8 = 202;
const BYE: u8 = 203;
const RTPFB: u8 = 205;
const PSFB: u8 = 206;

/// RTPFB: generic NACK (RFC 4585 §6.2.1).
const NACK: u8 = 1;
/// PSFB: picture loss, slice loss, reference picture (RFC 4585 §6.3), full intra (RFC 5104 §4.3.1), application layer.
const PLI: u8 = 1;
const SLI: u8 = 2;
const RPSI: u8 = 3;
const FIR: u8 = 4;
const AFB: u8 = 15;
/// Name that begins an application layer message of [draft-alvestrand-rmcat-remb].
const REMB: [u8; 4] = *b"REMB";

/// One fact of a compound packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// SR: sender information.
    Sender(Sender),
    /// SR, RR: a report block.
    Block(Block),
    /// RTPFB 1: these were not received.
    Nack {
        /// Of this stream.
        media: u32,
        /// This one …
        first: u16,
        /// … and `first + 1 + n` for each bit `n`.
        mask: u16,
    },
    /// PSFB 1 to 4: a keyframe is requested.
    KeyframeRequest {
        /// Of this stream; 0 = not said.
        media: u32,
    },
    /// PSFB 15 with REMB: so much may be sent to the peer.
    Estimate {
        /// Bits per second.
        bits: u64,
    },
    /// BYE: a source leaves.
    Bye {
        /// Which.
        ssrc: u32,
    },
}

/// Sender information (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// The sender's name.
    pub ssrc: u32,
    /// Its wall clock: seconds since 1900 and their 2^32nd parts.
    pub ntp: u64,
    /// The same moment in the stream's clock.
    pub timestamp: u32,
    /// Packets sent.
    pub packets: u32,
    /// Octets of payload sent.
    pub octets: u32,
}

/// A report block (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// About this stream.
    pub ssrc: u32,
    /// Lost since the last report, of 256.
    pub fraction: u8,
    /// Lost since the beginning: 24 bits with a sign.
    pub lost: i32,
    /// Highest sequence number received, with the count of its cycles above it.
    pub highest: u32,
    /// In the stream's clock.
    pub jitter: u32,
    /// The middle 32 bits of the last SR's wall clock; 0 = none came.
    pub last_report: u32,
    /// Since it came, in 65536ths of a second.
    pub delay: u32,
}

/// The middle 32 bits of a wall clock, as reports name it.
#[must_use]
pub fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}
