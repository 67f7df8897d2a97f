//! The chart in `helm/tandem`, with the real helm and the schemas of Kubernetes that `cargo xtask setup` brings.
//!
//! One rule: what is rendered is read back as its consumers read it: manifests by Kubernetes' schemas and the rules that only
//! a server knows, the configuration by `runtime::config`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

#[path = "helm/chart.rs"]
mod chart;
#[path = "helm/config.rs"]
mod config;
#[path = "helm/install.rs"]
mod install;
#[path = "helm/pod.rs"]
mod pod;
#[path = "helm/refusals.rs"]
mod refusals;
#[path = "helm/rules.rs"]
mod rules;
#[path = "helm/started.rs"]
mod started;
