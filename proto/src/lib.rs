//! What travels between services: generated gRPC types, the octets of signals, and pipes for a single process.
//!
//! One rule: nothing is decided here. Start at [`v1`] (from `tandem/v1/*.proto`) and [`wire`].

pub mod pass;
pub mod pipe;
pub mod wire;

/// Generated from `tandem/v1/*.proto`.
#[allow(missing_docs, clippy::all, clippy::pedantic, clippy::disallowed_methods, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("tandem.v1");
}
