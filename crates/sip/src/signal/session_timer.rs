//! Session timers (RFC 4028; interworking §2.11): what is asked, what is agreed, and the refresh.
//!
//! One rule: an interval is agreed by every INVITE and UPDATE with its 2xx, and begins anew with it. The party that refreshes stays the
//! same whoever sends that request, since `uac` and `uas` are the roles of its transaction.

use super::challenge::repeat;
use super::{Outcome, Outgoing, gone, invite, respond};
use crate::dialog::session_timer::{MIN_INTERVAL, Refresher};
use crate::dialog::{Dialog, State};
use crate::message::Message;
use signal::Reason;

/// Option tag of the extension.
pub const TAG: &str = "timer";
/// Longest interval that a 422 makes us ask for, s.
const MAX_INTERVAL: u32 = 86_400;
/// Most 422 that are answered with another request in a dialog.
const MAX_REFUSED: u8 = 4;

/// Value of Session-Expires (§4).
struct SessionExpires {
    interval: u32,
    /// True for `uac`.
    uac: Option<bool>,
}

fn session_expires(message: &Message) -> Option<SessionExpires> {
    let mut parts = message.text("Session-Expires")?.split(';').map(str::trim);
    let interval = seconds(parts.next()?)?;
    let named =
        parts.filter_map(|part| part.split_once('=')).map(|(name, value)| (name.trim(), value.trim()));
    let mut refresher =
        named.filter(|(name, _)| name.eq_ignore_ascii_case("refresher")).map(|(_, value)| value);
    let uac = refresher.next().and_then(|value| match value.to_ascii_lowercase().as_str() {
        "uac" => Some(true),
        "uas" => Some(false),
        _ => None,
    });
    Some(SessionExpires { interval, uac })
}

/// Reads Min-SE (§5).
fn min_se(message: &Message) -> Option<u32> {
    seconds(message.text("Min-SE")?.split(';').next()?.trim())
}

fn seconds(text: &str) -> Option<u32> {
    text.parse::<u64>().ok().map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX))
}

fn supports(message: &Message) -> bool {
    ["Supported", "Require"]
        .iter()
        .any(|name| message.list(name).iter().any(|tag| tag.eq_ignore_ascii_case(TAG)))
}

/// Notes what the peer can, as far as it says so.
fn note(dialog: &mut Dialog, message: &Message) {
    dialog.session_timer.supported |= supports(message);
    let allowed = message.list("Allow");
    if !allowed.is_empty() {
        dialog.session_timer.update = allowed.contains(&"UPDATE");
    }
}

/// Returns the refusal of a request whose session would expire too soon (§9): of a peer that can ask again.
pub(super) fn too_small(dialog: &Dialog, request: &Message) -> Option<Outgoing> {
    let asked = session_expires(request).filter(|_| supports(request))?;
    (asked.interval < MIN_INTERVAL).then(|| {
        let answer = respond(dialog, request, 422, "Session Interval Too Small");
        Outgoing::Respond(request.clone(), answer.with("Min-SE", MIN_INTERVAL.to_string()))
    })
}

/// Agrees the interval in our 2xx to an INVITE or UPDATE (§9): by the rows of the table of interworking §2.11.
pub(super) fn accept(dialog: &mut Dialog, request: &Message, response: Message) -> Message {
    note(dialog, request);
    let (asked, supported) = (session_expires(request), supports(request));
    let timer = &mut dialog.session_timer;
    let least = min_se(request).unwrap_or(0).max(MIN_INTERVAL);
    let ours = if timer.interval > 0 { timer.interval } else { timer.wish };
    let interval = match asked.as_ref().map(|asked| asked.interval) {
        // Never more than was asked, and not less than somebody on the way takes.
        Some(asked) if asked >= MIN_INTERVAL && timer.wish > 0 => asked.min(timer.wish.max(least)),
        Some(asked) if asked >= MIN_INTERVAL => asked,
        _ if ours > 0 => ours.max(least),
        _ => 0,
    };
    let running = timer.interval > 0;
    timer.refresher = match asked.and_then(|asked| asked.uac) {
        // Whoever knows no timers refreshes nothing.
        _ if !supported => Refresher::Us,
        Some(true) => Refresher::Peer,
        Some(false) => Refresher::Us,
        None if running => timer.refresher,
        None => Refresher::Us,
    };
    (timer.interval, timer.due, timer.refresh_cseq) = (interval, None, None);
    if interval == 0 {
        return response;
    }
    let refresher = if timer.refresher == Refresher::Us { "uas" } else { "uac" };
    let response = if supported { response.with("Require", TAG) } else { response };
    response.with("Session-Expires", format!("{interval};refresher={refresher}"))
}

/// Writes the interval that our INVITE or UPDATE asks for (§7.1, §7.4). The first one leaves it to the peer who refreshes.
pub(super) fn ask(dialog: &Dialog, request: Message) -> Message {
    let timer = &dialog.session_timer;
    let value = match (dialog.state, timer.interval) {
        (State::Active, 0) => return request,
        (State::Active, interval) => {
            let refresher = if timer.refresher == Refresher::Us { "uac" } else { "uas" };
            format!("{};refresher={refresher}", interval.max(timer.least))
        }
        _ if timer.wish == 0 => return request,
        _ => timer.wish.max(timer.least).to_string(),
    };
    let request = request.with("Session-Expires", value);
    match timer.least {
        0 => request,
        least => request.with("Min-SE", least.to_string()),
    }
}

/// Takes the interval that the 2xx to our INVITE or UPDATE agrees (§7.2).
pub(super) fn agree(dialog: &mut Dialog, response: &Message) {
    note(dialog, response);
    let timer = &mut dialog.session_timer;
    (timer.due, timer.refresh_cseq) = (None, None);
    match session_expires(response) {
        Some(told) => {
            timer.interval = told.interval.max(MIN_INTERVAL);
            timer.supported = true;
            timer.refresher = if told.uac == Some(false) { Refresher::Peer } else { Refresher::Us };
        }
        // Nobody but us knows of it: our refreshes go on.
        None if dialog.state == State::Active && timer.refresher == Refresher::Us => {}
        None => timer.interval = 0,
    }
}

/// Asks again with a longer interval, after a 422 (§7.3): the same request with the next CSeq. `None` if it is a refusal like any other.
pub fn ask_longer(
    dialog: &mut Dialog,
    request: &Message,
    response: &Message,
    branch: &str,
) -> Option<Outcome> {
    let least = min_se(response).filter(|_| response.code() == Some(422))?;
    let asked = session_expires(request)?;
    let open = matches!(dialog.state, State::Outgoing | State::Active);
    let timer = &mut dialog.session_timer;
    if !open || least <= asked.interval || least > MAX_INTERVAL || timer.refused >= MAX_REFUSED {
        return None;
    }
    timer.refused += 1;
    timer.least = least;
    if timer.interval > 0 {
        timer.interval = timer.interval.max(least);
    }
    let mut again = request.clone();
    again.headers.retain(|header| !["Session-Expires", "Min-SE"].contains(&header.name.as_str()));
    repeat(dialog, request, ask(dialog, again), branch)
}

/// Refreshes the session (§7.4): by UPDATE without a description where the peer takes that, else by a re-INVITE that repeats ours. Sends
/// nothing while an offer is open.
pub(super) fn refresh(dialog: &mut Dialog, branch: &str) -> Outcome {
    let mut outcome = Outcome { must_commit: true, ..Outcome::default() };
    let open =
        dialog.local_offer_cseq.is_some() || dialog.offer_in_2xx.is_some() || !dialog.remote_offer.is_empty();
    let request = if dialog.session_timer.update {
        let update =
            dialog.request("UPDATE", branch).with("Supported", crate::validate::SUPPORTED.join(", "));
        ask(dialog, update)
    } else if open {
        dialog.session_timer.refresh_cseq = None;
        return outcome;
    } else {
        let body = dialog.describe_again();
        let request = invite(dialog, branch, body);
        dialog.local_offer_cseq = Some(dialog.local_cseq);
        request
    };
    dialog.session_timer.refresh_cseq = Some(dialog.local_cseq);
    outcome.send_after_commit.push(Outgoing::Request(request));
    outcome
}

/// Ends a session that was not refreshed (§10).
pub(super) fn expired(dialog: &mut Dialog, branch: &str) -> Outcome {
    gone(dialog, Reason::Timeout.into(), branch)
}

/// Takes the final response to our refresh. One that refuses it is alive: a peer without timers has told all that it can by that, any
/// other is asked again before the session ends (§10; 408 and 481 end it).
pub(super) fn refreshed(dialog: &mut Dialog, response: &Message, code: u16) -> Outcome {
    if code < 300 {
        // Target refresh (RFC 3311 §5.1).
        if let Some(contact) = response.contact() {
            dialog.target = contact.uri.to_string();
        }
        agree(dialog, response);
    } else {
        let timer = &mut dialog.session_timer;
        timer.refresh_cseq = None;
        if matches!(code, 405 | 501) && response.cseq().is_some_and(|cseq| cseq.method == "UPDATE") {
            timer.update = false;
        } else if !timer.supported {
            timer.due = None;
        }
    }
    Outcome { must_commit: true, ..Outcome::default() }
}
