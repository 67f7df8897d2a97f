//! Chromium (libwebrtc, which is in most Jingle clients) at a relay of its own process, with plain phones behind it.
//!
//! One rule: signalling is the test's own, since it is the relay that is tried here; all media is real, and a call counts only
//! when sound or picture is recognised at both ends. Every test lives in a network of its own, since a browser gathers no
//! candidates on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod asked;
mod bundled;
mod calls;
mod camera;
mod describe;
mod moved;
mod page;
mod phone;
mod pictures;
mod relays;
mod restarted;
mod rig;
mod vp8;
