//! The admin port: `/healthz`, `/readyz`, `/metrics`, `POST /drain`, and what a service mounts.
//!
//! One rule: ready means that every part said so last. Parts register by [`ready`], services mount routes by [`mount`]. What is not
//! health passes the [`guard`], and whoever connects is limited by [`connections`]. Start at [`bind`].

mod connections;
mod guard;

use crate::drain::{Drain, Stage};
use crate::metrics;
use crate::reload::Live;
use crate::tls::{Reread, admin_listener};
use anyhow::{Context, Result};
use axum::extract::connect_info::Connected;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::{IncomingStream, Listener};
use axum::{Json, Router};
use connections::{Caller, Limited, Secured};
use guard::Gate;
use rustls::ServerConfig;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

/// Most octets of the body of a request.
const MAX_BODY: usize = 64 * 1024;
/// Content type of `/metrics` (Prometheus' text format).
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The last word of each part: `None` = ready, else what it misses.
static PARTS: RwLock<BTreeMap<String, Option<String>>> = RwLock::new(BTreeMap::new());
static ROUTES: RwLock<Option<Router>> = RwLock::new(None);

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

/// Listens; the returned future serves until the drain says stop, those users that are in force.
///
/// # Errors
/// An address cannot be bound, or a file cannot be used: names the key and the remedy.
pub async fn bind(mut live: Live, drain: Drain) -> Result<impl Future<Output = ()>> {
    let config = live.admin.clone();
    let gate = Gate::new(&config)?;
    let api = Router::new()
        .route("/metrics", get(scrape))
        .route("/drain", post(begin))
        .fallback(mounted)
        .with_state(drain.clone())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::middleware::from_fn_with_state(gate.clone(), guard::pass));
    let (routes, tls) = (health(&drain).merge(api), admin_listener(&config)?);
    let serving = serve("[admin] listen", config.listen, tls, routes, drain.clone()).await?;
    let watching = match config.health {
        Some(listen) => {
            let routes = health(&drain).route("/metrics", get(scrape).with_state(drain.clone()));
            Some(serve("[admin] health", listen, None, routes, drain).await?)
        }
        None => None,
    };
    let served = async move {
        match watching {
            Some(watching) => drop(tokio::join!(serving, watching)),
            None => serving.await,
        }
    };
    let follow = async move {
        loop {
            if let Err(error) = gate.replace(&live.changed().await.admin) {
                tracing::error!(%error, "the users of the admin API stay as they were");
            }
        }
    };
    Ok(async move {
        tokio::select! {
            () = served => {}
            () = follow => {}
        }
    })
}

/// Routes that a probe asks.
fn health(drain: &Drain) -> Router {
    let readyz = get(readyz).with_state(drain.clone());
    Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", readyz)
}

async fn serve(
    key: &'static str,
    listen: SocketAddr,
    tls: Option<Reread<Arc<ServerConfig>>>,
    routes: Router,
    drain: Drain,
) -> Result<Serving> {
    let listener = tokio::net::TcpListener::bind(listen).await;
    let listener = listener
        .with_context(|| format!("{key}: {listen} cannot be bound; free it or name another address"))?;
    Ok(match tls {
        None => Box::pin(serve_at(Limited::new(listener), routes, drain)),
        Some(tls) => Box::pin(serve_at(Secured::new(listener, tls, key)?, routes, drain)),
    })
}

type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

async fn serve_at<L: Listener<Addr = SocketAddr>>(listener: L, routes: Router, drain: Drain)
where
    Caller: for<'a> Connected<IncomingStream<'a, L>>,
{
    let routes = routes.into_make_service_with_connect_info::<Caller>();
    let stop = async move { drain.stopping().await };
    if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(stop).await {
        tracing::error!(%error, "the admin port is gone");
    }
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

async fn scrape(State(drain): State<Drain>) -> Response {
    let draining = metrics::gauge("tandem_draining", "1 from the moment at which nothing new is taken", &[]);
    draining.set(f64::from(u8::from(drain.stage() > Stage::Running)));
    let text = metrics::render() + &parts();
    ([(header::CONTENT_TYPE, TEXT)], text).into_response()
}

/// Returns what `/readyz` says, as a metric.
fn parts() -> String {
    let parts = PARTS.read().unwrap_or_else(PoisonError::into_inner);
    let parts = parts.iter().map(|(part, missing)| (part.as_str(), missing.is_none()));
    metrics::flags("tandem_ready", "1 for a part of the process that misses nothing, as /readyz tells", parts)
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
