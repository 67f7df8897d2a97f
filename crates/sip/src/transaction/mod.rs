//! Transactions (RFC 3261 §17, RFC 6026), sans IO.
//!
//! One rule: a [`Machine`] is told what arrived or that time has passed and says what to do; the [`Table`] owns machines,
//! the octets to retransmit and the timers, and is bounded. Retransmission of a 2xx and its ACK belong to the dialog
//! (§13.3.1.4), not a transaction's.

mod key;
mod machine;
mod table;

pub use key::Key;
pub use machine::{Act, Kind, Machine, State};
pub use table::{CANCEL_GUARD, Incoming, Output, Table, ack};

/// RTT estimate, ms (RFC 3261 §17.1.1.1).
pub const T1: u64 = 500;
/// Longest retransmission interval for non-INVITE requests and INVITE responses, ms.
pub const T2: u64 = 4_000;
/// Longest life of a message in the network, ms.
pub const T4: u64 = 5_000;
/// Timers B, F, H, J, L, M: 64*T1.
pub const TIMEOUT: u64 = 64 * T1;
/// Timer D on unreliable transports, ms.
pub const TIMER_D: u64 = 32_000;

#[cfg(test)]
mod tests;
