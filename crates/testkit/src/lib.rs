//! Real programs as peers of tests and of the demo: an XMPP server, phones, brokers, and the gateway itself.
//!
//! One rule: whatever is started here is bounded and cleaned up. Every wait has a deadline, every program's output is kept
//! and its tail is part of the error, every program dies with the value that stands for it (and with this process), and
//! all of them use free ports of loopback and temporary directories, so that tests run side by side and beside anything
//! that the machine runs already.
//!
//! Nothing here is a mock: [`Prosody`], [`Baresip`], [`Sipp`], [`Kamailio`], [`Redis`] and [`Nats`] are the distribution's programs,
//! [`Phone`] is our test program on other people's XMPP, ICE, DTLS and SRTP. Start at [`Program`].

pub mod authority;
pub mod baresip;
pub mod clock;
pub mod cluster;
pub mod fuzz;
pub mod gateway;
pub mod http;
pub mod interrupt;
pub mod kamailio;
pub mod ladder;
pub mod log;
pub mod namespace;
pub mod phone;
pub mod ports;
pub mod program;
pub mod prosody;
pub mod servers;
pub mod sipp;
pub mod stores;
pub mod tone;

pub use authority::Authority;
pub use baresip::Baresip;
pub use cluster::Cluster;
pub use gateway::Gateway;
pub use kamailio::Kamailio;
pub use phone::Phone;
pub use program::Program;
pub use prosody::Prosody;
pub use servers::{Nats, Redis};
pub use sipp::Sipp;

use std::path::PathBuf;

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).map_or_else(|| here.clone(), PathBuf::from)
}
