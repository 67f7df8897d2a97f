//! Workspace-wide tests; see docs/architecture.md §9. This library holds what several of them stand on.

pub mod collector;
pub mod play;
