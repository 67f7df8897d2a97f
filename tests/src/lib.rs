//! Workspace-wide tests; see docs/architecture.md §9.
