//! Addresses: SIP URI ⇄ JID ⇄ telephone number, and routing of calls (interworking §1).
//!
//! One rule: an address without an inverse mapping is refused. Pure and cheap: [`Plan::route`] is on the path of every call.
//! Start at [`Plan`]; [`jid_local`] and [`sip_user`] are the two directions of RFC 7247 with XEP-0106. [`uri`] reads SIP URIs
//! and what they stand in, [`Number`] the telephone numbers in them, [`transport`] the addresses that name a transport: listeners, next hops of trunks;
//! [`locate`] says what DNS is asked about those.

mod dial;
mod display;
mod emergency;
mod escape;
pub mod locate;
mod name_addr;
mod number;
mod parameter;
mod plan;
mod rewrite;
pub mod transport;
pub mod uri;

pub use dial::DialRules;
pub use display::{MAX_DISPLAY_NAME, display_name};
pub use emergency::{COUNTRY, EmergencyNumbers};
pub use escape::{escape, jid_local, percent_decoded, sip_user, unescape};
pub use number::{Number, plain_number};
pub use plan::{Alias, Component, Plan, PlanError, Route, Trunk, VOICEMAIL};
pub use rewrite::{Change, Rewrite, RewriteError, Rewrites, Role, Way};
