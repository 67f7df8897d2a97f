//! The admin port: `/healthz`, `/readyz`, `/metrics`, `POST /drain`, and what a service mounts.
//!
//! One rule: ready means that every part said so last. Parts register by [`ready`], services mount routes by [`mount`].

use crate::drain::{Drain, Stage};
use anyhow::{Context, Result};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{OnceLock, PoisonError, RwLock};

/// The last word of each part: `None` = ready, else what it misses.
static PARTS: RwLock<BTreeMap<String, Option<String>>> = RwLock::new(BTreeMap::new());
static ROUTES: RwLock<Option<Router>> = RwLock::new(None);
static METRICS: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// A part says that it is ready, or what it misses (in words for people).
pub fn ready(part: &str, missing: Option<&str>) {
    let mut parts = PARTS.write().unwrap_or_else(PoisonError::into_inner);
    parts.insert(part.to_owned(), missing.map(str::to_owned));
}

/// Parts that miss something, and what.
#[must_use]
pub fn missing() -> BTreeMap<String, String> {
    let parts = PARTS.read().unwrap_or_else(PoisonError::into_inner);
    parts.iter().filter_map(|(part, word)| Some((part.clone(), word.clone()?))).collect()
}

/// A part is not there any more.
pub fn forget(part: &str) {
    PARTS.write().unwrap_or_else(PoisonError::into_inner).remove(part);
}

/// The routes of the service of this process that has any; should it be run again here, the new ones take the place of the old.
pub fn mount(routes: Router) {
    *ROUTES.write().unwrap_or_else(PoisonError::into_inner) = Some(routes);
}

/// Collects metrics from now on. Once per process; again is fine.
pub fn collect_metrics() {
    METRICS.get_or_init(|| PrometheusBuilder::new().install_recorder().ok());
}

/// Listens; the returned future serves until the drain says stop.
///
/// # Errors
/// The address cannot be bound: names `[admin] listen` and the remedy.
pub async fn bind(listen: SocketAddr, drain: Drain) -> Result<impl Future<Output = ()>> {
    let listener = tokio::net::TcpListener::bind(listen).await.with_context(|| {
        format!("[admin] listen: {listen} cannot be bound; free it or name another address")
    })?;
    let app = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/drain", post(begin))
        .fallback(mounted)
        .with_state(drain.clone());
    Ok(async move {
        let stop = async move { drain.stopping().await };
        if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stop).await {
            tracing::error!(%error, "the admin port is gone");
        }
    })
}

async fn readyz(State(drain): State<Drain>) -> Response {
    let parts = PARTS.read().unwrap_or_else(PoisonError::into_inner).clone();
    let draining = drain.stage() > Stage::Running;
    let missing: BTreeMap<_, _> =
        parts.iter().filter_map(|(part, word)| Some((part, word.as_ref()?))).collect();
    let ready = missing.is_empty() && !parts.is_empty() && !draining;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "ready": ready,
        "draining": draining,
        "missing": missing,
        "parts": parts.keys().collect::<Vec<_>>(),
    });
    (status, Json(body)).into_response()
}

async fn metrics() -> Response {
    match METRICS.get().and_then(Option::as_ref) {
        Some(handle) => handle.render().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn begin(State(drain): State<Drain>) -> Response {
    drain.drain();
    Json(json!({ "draining": true })).into_response()
}

async fn mounted(request: Request) -> Response {
    use tower::ServiceExt;
    let routes = ROUTES.read().unwrap_or_else(PoisonError::into_inner).clone();
    match routes {
        Some(routes) => routes.oneshot(request).await.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
