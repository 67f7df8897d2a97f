//! Challenged requests are repeated with credentials (RFC 3261 §22.2, §22.3).

use super::{Outcome, Outgoing};
use crate::dialog::{Dialog, State};
use crate::digest::{Credentials, answered, challenges};
use crate::message::{Message, Start};

/// Answers a 401 or 407 to `request`: repeats the request with credentials, once its new CSeq is in the record. `None` if it
/// is a refusal like any other: we cannot answer it, or our answer was rejected.
pub fn answer_challenge(
    dialog: &mut Dialog,
    request: &Message,
    response: &Message,
    who: &Credentials,
    cnonce: &str,
    branch: &str,
) -> Option<Outcome> {
    let Start::Request { method, uri } = &request.start else { return None };
    let of_a_leg = match dialog.state {
        State::Outgoing | State::Active => true,
        State::Ended => method == "BYE",
        State::Incoming | State::Cancelled => false,
    };
    let found = challenges(response);
    if found.is_empty() || !of_a_leg || method == "ACK" || method == "CANCEL" {
        return None;
    }
    let old = request.cseq()?.number;
    let (mut again, mut stale) = (request.clone(), false);
    for challenge in &found {
        let of_it =
            |value: &[u8]| answered(value, challenge.proxy).is_some_and(|a| a.realm == challenge.realm);
        if again.all(challenge.header()).any(|v| of_it(v)) {
            // Repeated once if the password was right and the nonce too old (RFC 7616 §3.3), not a third time.
            if !challenge.stale || old <= dialog.stale_retry_cseq {
                return None;
            }
            stale = true;
        }
        again.headers.retain(|h| h.name.as_str() != challenge.header() || !of_it(&h.value));
    }
    // Credentials for another realm stay, with a count of their own: a nonce is never used twice with one nc.
    for header in &mut again.headers {
        let proxy = header.name.as_str() == "Proxy-Authorization";
        if proxy || header.name.as_str() == "Authorization" {
            let Some(other) = answered(&header.value, proxy) else { continue };
            let count = dialog.count(&other.realm, &other.nonce);
            header.value = other.answer(who, method, uri, cnonce, count).into();
        }
    }
    for challenge in &found {
        let count = dialog.count(&challenge.realm, &challenge.nonce);
        let value = challenge.answer(who, method, uri, cnonce, count);
        again = again.with(challenge.header(), value);
    }
    if stale {
        dialog.stale_retry_cseq = dialog.local_cseq.max(old) + 1;
    }
    repeat(dialog, request, again, branch)
}

/// Makes a request of ours leave once more, changed to `again`, with the next CSeq and another branch.
pub(super) fn repeat(
    dialog: &mut Dialog,
    request: &Message,
    mut again: Message,
    branch: &str,
) -> Option<Outcome> {
    let Start::Request { method, .. } = &request.start else { return None };
    let old = request.cseq()?.number;
    dialog.local_cseq = dialog.local_cseq.max(old) + 1;
    let (number, method) = (dialog.local_cseq, method.clone());
    let mut via = request.via()?;
    via.set("branch", branch.to_owned());
    for header in &mut again.headers {
        match header.name.as_str() {
            "Via" => header.value = via.to_string().into(),
            "CSeq" => header.value = format!("{number} {method}").into(),
            _ => {}
        }
    }
    if method == "INVITE" {
        if dialog.invite_cseq == old {
            dialog.invite_cseq = number;
            dialog.invite = again.write().to_vec();
            dialog.proceeding = false;
        }
        if dialog.local_offer_cseq == Some(old) {
            dialog.local_offer_cseq = Some(number);
        }
    }
    if dialog.session_timer.refresh_cseq == Some(old) {
        dialog.session_timer.refresh_cseq = Some(number);
    }
    Some(Outcome {
        send_after_commit: vec![Outgoing::Request(again)],
        must_commit: true,
        ..Outcome::default()
    })
}
