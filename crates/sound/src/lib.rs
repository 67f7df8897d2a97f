//! Sound: codecs, the jitter buffer, concealment, and the stream that turns one codec into another. Pure: time is an argument.
//!
//! One rule: all that a stream needs is made when it is opened; while it runs nothing is allocated and a step has bounded
//! work. It knows payloads and clocks, never addresses, keys or calls. Start at [`stream`], which joins [`buffer`] (what came,
//! in order), [`codec`] (G.711, G.722, Opus), [`conceal`] (what did not come), [`noise`] (silence) and [`event`] (keys); a [`scheduler`] gives
//! many of them, and [`player`]s, their turns.

pub mod buffer;
pub mod codec;
pub mod conceal;
pub mod event;
pub mod file;
pub mod g711;
pub mod g722;
pub mod noise;
pub mod player;
pub mod scheduler;
pub mod speech;
pub mod stream;

/// Milliseconds of a packet that we say.
pub const FRAME_MS: u64 = 20;
/// Highest rate that sound is worked on at, Hz: where an end of a call is not Opus, no more is heard.
pub const MOST_RATE: usize = 16_000;
/// Octets of the largest payload: that of Opus (RFC 6716 §3.4 R2).
pub const PAYLOAD: usize = 1_275;
/// Milliseconds of the longest packet (RFC 6716 §3.4 R5).
pub const LONGEST_MS: usize = 120;
