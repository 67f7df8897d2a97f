//! Settings of users, for operators: `GET`, `PUT` and `DELETE /users/JID`.

use super::{AdminState, unavailable};
use crate::users::bare_jid;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use session::user::{CallerRule, Forward, Settings};

/// Settings as operators read and write them; a key that is absent has its default.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SettingsView {
    do_not_disturb: bool,
    forward: ForwardView,
    blocked: Vec<String>,
    reject_anonymous: bool,
    voicemail: Option<String>,
    no_voicemail: bool,
    withhold_caller_id: bool,
    no_call_waiting: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ForwardView {
    always: Option<String>,
    busy: Option<String>,
    no_answer: Option<String>,
    offline: Option<String>,
    no_answer_s: Option<u16>,
    callers: Vec<CallerRuleView>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallerRuleView {
    callers: Vec<String>,
    target: String,
}

impl From<Settings> for SettingsView {
    fn from(settings: Settings) -> SettingsView {
        let Forward { always, busy, no_answer, offline, no_answer_s, callers } = settings.forward;
        let rule = |rule: CallerRule| CallerRuleView { callers: rule.callers, target: rule.target };
        let callers = callers.into_iter().map(rule).collect();
        SettingsView {
            do_not_disturb: settings.do_not_disturb,
            forward: ForwardView { always, busy, no_answer, offline, no_answer_s, callers },
            blocked: settings.blocked,
            reject_anonymous: settings.reject_anonymous,
            voicemail: settings.voicemail,
            no_voicemail: settings.no_voicemail,
            withhold_caller_id: settings.withhold_caller_id,
            no_call_waiting: settings.no_call_waiting,
        }
    }
}

impl From<SettingsView> for Settings {
    fn from(view: SettingsView) -> Settings {
        let ForwardView { always, busy, no_answer, offline, no_answer_s, callers } = view.forward;
        let rule = |rule: CallerRuleView| CallerRule { callers: rule.callers, target: rule.target };
        let callers = callers.into_iter().map(rule).collect();
        Settings {
            do_not_disturb: view.do_not_disturb,
            forward: Forward { always, busy, no_answer, offline, no_answer_s, callers },
            blocked: view.blocked,
            reject_anonymous: view.reject_anonymous,
            voicemail: view.voicemail,
            no_voicemail: view.no_voicemail,
            withhold_caller_id: view.withhold_caller_id,
            no_call_waiting: view.no_call_waiting,
        }
    }
}

pub(super) async fn show(State(state): State<AdminState>, Path(jid): Path<String>) -> Response {
    let Some(jid) = bare_jid(&jid) else { return no_jid() };
    match state.users.settings(&jid).await {
        Ok(settings) => Json(SettingsView::from(settings)).into_response(),
        Err(error) => unavailable(&error),
    }
}

pub(super) async fn set(
    State(state): State<AdminState>,
    Path(jid): Path<String>,
    Json(view): Json<SettingsView>,
) -> Response {
    store(&state, &jid, view.into()).await
}

pub(super) async fn clear(State(state): State<AdminState>, Path(jid): Path<String>) -> Response {
    store(&state, &jid, Settings::default()).await
}

async fn store(state: &AdminState, jid: &str, settings: Settings) -> Response {
    let Some(jid) = bare_jid(jid) else { return no_jid() };
    if let Err(invalid) = settings.check() {
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": invalid.to_string() }))).into_response();
    }
    match state.users.set(&jid, settings.clone()).await {
        Ok(()) => Json(SettingsView::from(settings)).into_response(),
        Err(error) => unavailable(&error),
    }
}

fn no_jid() -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": "not a bare JID: give user@domain" }))).into_response()
}
