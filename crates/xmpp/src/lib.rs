//! XMPP, sans IO: Jingle sessions, Jingle Message Initiation, discovery, and the edge that turns them into signals.
//!
//! One rule: lenient in, canonical out. Stanzas of clients are read from the element tree as it came, unknown children
//! passed over; stanzas of ours have one form. No socket, no clock, no random source: time and entropy are arguments. Start
//! at [`signal`] for the translation of stanzas, [`session`] for the state of a leg, [`edge`] for the whole.

mod commands;
pub mod disco;
pub mod edge;
pub mod reason;
pub mod session;
pub mod signal;
pub mod stanza;
pub mod writer;
