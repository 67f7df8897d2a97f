//! Runtime of every service: configuration and its reload, telemetry, clock, admin port, links, drain.
//!
//! One rule: nothing here knows what a call is. Start at [`config::Config`] and [`drain::Drain`].

pub mod admin;
pub mod alarm;
pub mod clock;
pub mod config;
pub mod descriptors;
pub mod drain;
pub mod links;
pub mod masked;
pub mod metrics;
pub mod places;
pub mod refusals;
pub mod reload;
pub mod seal;
pub mod service;
pub mod telemetry;
pub mod tls;
pub mod trace;

pub use config::Config;
pub use drain::Drain;
pub use masked::Masked;
pub use reload::Live;
/// Allocator of every binary (decision 81).
pub use tikv_jemallocator::Jemalloc as Allocator;

/// The allocator, for `#[global_allocator]`.
pub const ALLOCATOR: Allocator = Allocator;
