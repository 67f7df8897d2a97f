//! SIP, sans IO: messages, transactions, dialogs, and the edge that turns them into signals.
//!
//! One rule: lenient in, canonical out. What a peer sends is kept as it came (order, unknown headers, raw values) and
//! judged afterwards by [`validate`]; what we send has one form. No socket, no clock, no random source: time and entropy
//! are arguments. Start at [`message`] for reading and writing, [`transaction`] for retransmission and timers,
//! [`signal`] for the translation of messages to and from signals, [`edge`] for the whole.

pub mod dialog;
pub mod digest;
pub mod diversion;
pub mod edge;
pub mod message;
pub mod message_summary;
pub mod privacy;
pub mod reason;
pub mod signal;
pub mod transaction;
pub use address::{locate, uri};
pub mod validate;
