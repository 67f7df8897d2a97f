//! Admin API of an orchestrator: calls, trunks, instances, users. `tandem calls` and its like ask here.

mod users;

use crate::calls::Calls;
use crate::users::Users;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bus::Bus;
use bus::directory::{Directory, ask_to_drain};
use runtime::Live;
use serde::Deserialize;
use serde_json::json;
use session::user::MAX_ADDRESS;
use signal::{LegId, Reason, RecordId};
use std::sync::Arc;

/// Calls shown at once.
const MOST: usize = 1_000;

/// State of the routes.
#[derive(Clone)]
pub struct AdminState {
    /// The calls.
    pub calls: Calls,
    /// Settings of users.
    pub users: Users,
    /// All instances.
    pub instances: Arc<Directory>,
    /// To tell instances to drain.
    pub bus: Bus,
    /// Configuration in force.
    pub live: Live,
}

/// `GET /calls`, `GET` and `DELETE /calls/ID`, `POST /calls/ID/transfer`, `GET /trunks`, `GET`, `PUT` and `DELETE /users/JID`, `GET /instances`, `POST /instances/NAME/drain`.
pub fn routes(state: AdminState) -> Router {
    Router::new()
        .route("/calls", get(list))
        .route("/calls/{id}", get(show).delete(hang_up))
        .route("/calls/{id}/transfer", post(transfer))
        .route("/users/{jid}", get(users::show).put(users::set).delete(users::clear))
        .route("/trunks", get(trunks))
        .route("/instances", get(instances))
        .route("/instances/{name}/drain", post(drain))
        .with_state(state)
}

#[derive(Deserialize)]
struct Limit {
    limit: Option<usize>,
}

async fn list(State(state): State<AdminState>, Query(limit): Query<Limit>) -> Response {
    match state.calls.list(limit.limit.unwrap_or(MOST).min(MOST)).await {
        // Those that cannot be read are left out, and said to be there.
        Ok((calls, unreadable)) => Json(json!({ "calls": calls, "unreadable": unreadable })).into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn show(State(state): State<AdminState>, Path(id): Path<String>) -> Response {
    let Some(id) = RecordId::parse(&id) else { return unknown("not a call id: see `tandem calls`") };
    match state.calls.show(id).await {
        Ok(Some(call)) => Json(call).into_response(),
        Ok(None) => unknown("no such call: see `tandem calls`"),
        Err(error) => unavailable(&error),
    }
}

async fn hang_up(State(state): State<AdminState>, Path(id): Path<String>) -> Response {
    match RecordId::parse(&id) {
        Some(id) if state.calls.hang_up(id).await => Json(json!({ "ended": true })).into_response(),
        _ => unknown("no such call: see `tandem calls`"),
    }
}

/// Transfer that an operator wants.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transfer {
    /// Leg that gets another peer.
    leg: u8,
    /// Address of the peer, in the words of the leg's protocol: `sip:2702@gw.example`, `2042@sip.example.net`.
    to: String,
}

async fn transfer(
    State(state): State<AdminState>,
    Path(id): Path<String>,
    Json(Transfer { leg, to }): Json<Transfer>,
) -> Response {
    let Some(id) = RecordId::parse(&id) else { return unknown("not a call id: see `tandem calls`") };
    if to.is_empty() || to.len() > MAX_ADDRESS || to.chars().any(|c| c.is_control() || c.is_whitespace()) {
        let error = format!("to: {to:?} is no address: give 1 to {MAX_ADDRESS} octets without blanks");
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    }
    match state.calls.transfer(id, LegId(leg), &to).await {
        Ok(Some(Ok(()))) => Json(json!({ "calling": to })).into_response(),
        Ok(Some(Err(Reason::NotFound))) => unknown("leg: nobody talks there: see `tandem calls ID`"),
        Ok(Some(Err(Reason::Loop))) => conflict("the call has had too many legs: end it, and place another"),
        Ok(Some(Err(_))) => {
            conflict("the leg has an offer open, or is being transferred: try again in a moment")
        }
        Ok(None) => unknown("no such call: see `tandem calls`"),
        Err(error) => unavailable(&error),
    }
}

async fn trunks(State(state): State<AdminState>) -> Response {
    let config = state.live.latest();
    let trunks = config.trunk.iter().map(|trunk| {
        json!({ "name": trunk.name, "uri": trunk.uri, "domain": trunk.domain, "sources": trunk.sources })
    });
    Json(json!({ "trunks": trunks.collect::<Vec<_>>() })).into_response()
}

async fn instances(State(state): State<AdminState>) -> Response {
    match state.bus.trouble() {
        None => Json(json!({ "instances": state.instances.list() })).into_response(),
        // Nobody is heard of then, whoever lives.
        Some(cause) => unavailable(&anyhow::anyhow!("[bus] url: {cause}")),
    }
}

async fn drain(State(state): State<AdminState>, Path(name): Path<String>) -> Response {
    if let Some(cause) = state.bus.trouble() {
        return unavailable(&anyhow::anyhow!("[bus] url: {cause}"));
    }
    if state.instances.find(&name).is_none() {
        return unknown("no such instance: see `tandem instances`");
    }
    match ask_to_drain(&state.bus, &name).await {
        Ok(()) => Json(json!({ "draining": name })).into_response(),
        Err(error) => unavailable(&error.into()),
    }
}

fn unknown(text: &str) -> Response {
    (StatusCode::NOT_FOUND, Json(json!({ "error": text }))).into_response()
}

fn conflict(text: &str) -> Response {
    (StatusCode::CONFLICT, Json(json!({ "error": text }))).into_response()
}

fn unavailable(error: &anyhow::Error) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": error.to_string() }))).into_response()
}
