//! Workspace-wide tests; see architecture §10. This library holds what several of them stand on: [`orchestrator`] decides,
//! [`gateway`] puts the edges around it, [`play`] plays flows on that.

pub mod collector;
pub mod gateway;
pub mod orchestrator;
pub mod play;
pub mod relays;

/// The fault of a test's input, or of what it drives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub String);

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

/// A fault in words.
///
/// # Errors
/// Always.
pub fn fault<T>(text: impl Into<String>) -> Result<T, Fault> {
    Err(Fault(text.into()))
}
