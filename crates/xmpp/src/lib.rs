//! XMPP, sans IO: Jingle sessions, Jingle Message Initiation, discovery, and the edge that turns them into signals.
//!
//! One rule: lenient in, canonical out. What a client sends is read from the element tree as it came, unknown children
//! passed over; what we send has one form. No socket, no clock, no random source: time and entropy are arguments. Start at
//! [`signal`] for what a stanza means to a call, [`session`] for what a leg keeps, [`edge`] for the whole.

pub mod disco;
pub mod edge;
pub mod reason;
pub mod session;
pub mod signal;
pub mod stanza;
pub mod writer;
