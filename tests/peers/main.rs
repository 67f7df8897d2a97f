//! The gateway among real programs: baresip and SIPp on one side, Prosody and a Jingle client on the other.
//!
//! One rule: nothing in between but the `tandem` binary. A call counts as gone through when each end recognises the tone
//! that the other sends. How the programs are run is in crates/testkit.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod calls;
mod early;
mod endings;
mod exchange;
mod forward;
mod many;
mod mutated;
mod records;
mod reliable;
mod reload;
mod rig;
mod secure;
mod services;
mod tls;
mod transfer;
mod voicemail;
