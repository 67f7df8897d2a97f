//! The four services as processes of their own, two of each, over real NATS and Redis, with real phones: calls outlive the
//! instances that set them up.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod deaths;
mod forward;
mod links;
mod many;
mod metrics;
mod parties;
mod records;
mod relays;
mod reload;
mod rig;
mod services;
mod trace;
mod transfer;
