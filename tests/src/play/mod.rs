//! The golden flow player: readable transcripts of whole calls, played through both edges and the call machine in one thread on
//! virtual time.
//!
//! One rule: a flow is a file, and what follows from its given side is compared line by line with what stands in it; `BLESS=1`
//! rewrites it. Between decisions a call exists as octets alone, as in the store. The relay allocates fixed ends. Start at [`flow`] for the form of a file, [`world`] for its player.

pub mod client;
pub mod files;
pub mod flow;
pub mod names;
pub mod phone;
pub mod plan;
pub mod show;
pub mod world;
