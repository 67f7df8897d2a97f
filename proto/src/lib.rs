//! Messages between services: generated gRPC types, the encoding of signals, and gRPC over pipes or no encoding at all within a single process.
//!
//! One rule: this crate converts and carries, and decides nothing. Start at [`v1`] (from `tandem/v1/*.proto`) and [`wire`].

pub mod auth;
pub mod local;
pub mod pipe;
pub mod wire;

/// Generated from `tandem/v1/*.proto`.
#[allow(missing_docs, clippy::all, clippy::pedantic, clippy::disallowed_methods, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("tandem.v1");
}

impl std::fmt::Debug for v1::Crypto {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key never reaches a log.
        f.debug_struct("Crypto").field("tag", &self.tag).field("suite", &self.suite).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for v1::EndState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndState")
            .field("leg", &self.leg)
            .field("content", &self.content)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for v1::Association {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Association").field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl v1::AllocateRequest {
    /// Makes the request for a session of two legs that hear each other, with so many contents each.
    #[must_use]
    pub fn of_two(session: &str, contents: u32) -> v1::AllocateRequest {
        v1::AllocateRequest {
            session: session.to_owned(),
            legs: (0..2).map(|leg| v1::Leg { leg, contents, webrtc: false }).collect(),
            bridge: vec![v1::Pair { one: 0, other: 1 }],
            ..v1::AllocateRequest::default()
        }
    }
}
