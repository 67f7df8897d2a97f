//! Outcomes in spans: a status by OpenTelemetry's rules, and the cause in the words of the call.

use signal::{End, Reason};
use tracing::Span;

/// Marks a span as failed. The span has the fields `otel.status_code` and `otel.status_description`.
pub fn failed(span: &Span, why: &str) {
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", why);
}

/// Notes how a leg or a call ended or was refused, as failed if nobody wanted it so. The span has the fields `call.reason` and
/// `sip.status`, too.
pub fn ended(span: &Span, end: &End) {
    let reason = format!("{:?}", end.reason);
    span.record("call.reason", reason.as_str());
    if let Some(status) = end.sip {
        span.record("sip.status", status);
    }
    if let Some(why) = failure(end) {
        failed(span, &why);
    }
}

/// Returns the cause of an end that none of the parties chose.
#[must_use]
pub fn failure(end: &End) -> Option<String> {
    is_failure(end.reason).then(|| end.text.clone().unwrap_or_else(|| format!("{:?}", end.reason)))
}

/// Returns true for an end that none of the parties chose.
fn is_failure(reason: Reason) -> bool {
    !matches!(
        reason,
        Reason::Normal
            | Reason::Cancelled
            | Reason::AnsweredElsewhere
            | Reason::Busy
            | Reason::Declined
            | Reason::NoAnswer
            | Reason::Offline
    )
}
