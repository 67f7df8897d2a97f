//! The golden flow player: readable transcripts of whole calls, played through both edges and the call machine in one thread on
//! virtual time.
//!
//! One rule: a flow is a file, and what follows from its given side is compared line by line with what stands in it; `BLESS=1`
//! rewrites it. Between decisions a call exists as octets alone, as in the store. The relay grants fixed ends and notes what it
//! is told. Start at [`flow`] for the form of a file, [`world`] for what plays it.

pub mod client;
pub mod flow;
pub mod names;
pub mod phone;
pub mod record;
pub mod show;
pub mod world;

/// Why a flow cannot be played: a fault of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub String);

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

/// A fault in words.
pub fn fault<T>(text: impl Into<String>) -> Result<T, Fault> {
    Err(Fault(text.into()))
}
