//! Addresses: SIP URI ⇄ JID ⇄ telephone number, and routing of calls (interworking §1).
//!
//! One rule: an address without an inverse mapping is refused. Pure and cheap: [`Plan::route`] is on the path of every call.
//! Start at [`Plan`]; [`jid_local`] and [`sip_user`] are the two directions of RFC 7247 with XEP-0106. [`uri`] reads SIP URIs,
//! [`transport`] the addresses that name a transport: listeners, next hops of trunks.

mod escape;
mod number;
mod plan;
pub mod transport;
pub mod uri;

pub use escape::{escape, jid_local, sip_user, unescape};
pub use number::{is_emergency, plain_number};
pub use plan::{Alias, Component, Plan, PlanError, Route, Trunk};
