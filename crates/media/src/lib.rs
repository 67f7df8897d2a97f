//! Session descriptions: SDP ⇄ [`signal::Media`] ⇄ Jingle contents, and anchoring them at the relay.
//!
//! One rule: leg-local facts (addresses, keys, credentials, candidates) never cross; the description that a leg gets holds the
//! relay's own (R-SDP-9). Pure; knows no dialog and no session. Start at [`offer`] and [`answer`], which anchor, then [`sdp`] and
//! [`jingle`] for the two notations.

mod anchor;
mod bundle;
mod codec;
pub mod jingle;
mod keying;
pub mod sdp;

pub use anchor::{
    LocalEnd, Mismatch, Policy, Profile, answer, answer_again, can_answer, keep_in_use, live, narrow,
    numbers, offer, readdress, same_session, settled,
};
pub use bundle::carrier;
pub use codec::{defaults, served};
pub use keying::{accept, admit, default_roles};
