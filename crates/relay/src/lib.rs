//! The media relay's core, sans IO: what a datagram is, where media comes from, SRTP, ICE and DTLS.
//!
//! One rule: nothing on the packet path allocates, locks, waits or panics; packets are worked on in place. A relay knows
//! streams and keys, never calls. Sockets and threads are `services/rtp-relay`'s. Start at [`packet`] (recognition), then
//! [`latch`] (who may send), then [`srtp`], [`rtcp`], then [`session`] (who hears whom); [`webrtc`] joins [`ice`] and [`dtls`] to an end.

mod clock;
pub mod dtls;
pub mod ice;
pub mod latch;
pub mod network;
pub mod packet;
pub mod rtcp;
pub mod session;
pub mod srtp;
pub mod webrtc;
