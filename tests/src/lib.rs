//! Workspace-wide tests; see architecture §10. This library holds what several of them stand on.

pub mod collector;
pub mod play;
