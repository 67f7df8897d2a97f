//! Reliable provisional responses (RFC 3262; interworking §2.11): those of ours to an INVITE that requires them, and those to ours.
//!
//! One rule: what waits for a PRACK is in the dialog, so that any edge hears it. A peer that only supports the extension is answered
//! without it: its first response to an INVITE without offer would need ours.

use super::{Outcome, Outgoing, description, respond, stored};
use crate::dialog::reliable::{EarlyOffer, Heard, MAX_WAITING, Open, Provisional};
use crate::dialog::{Dialog, MAX_FORKS, State};
use crate::message::Message;
use signal::{Reason, Signal};

/// Option tag of the extension.
pub const TAG: &str = "100rel";
/// Largest RSeq (§7.1).
const MAX_RSEQ: u64 = u32::MAX as u64;

/// Returns true if a message requires the extension.
#[must_use]
pub fn is_required(message: &Message) -> bool {
    message.list("Require").iter().any(|tag| tag.eq_ignore_ascii_case(TAG))
}

/// Returns the RSeq of a reliable provisional response.
#[must_use]
pub fn rseq(response: &Message) -> Option<u32> {
    let provisional = response.code().is_some_and(|code| (101..200).contains(&code));
    let number = response.text("RSeq").filter(|_| provisional && is_required(response))?;
    number.trim().parse::<u64>().ok().filter(|number| (1..=MAX_RSEQ).contains(number))?.try_into().ok()
}

/// Makes the provisional response to the peer's INVITE leave: reliably if the INVITE requires that, and then not before the last one has
/// its PRACK (§3).
pub(super) fn provisional(dialog: &mut Dialog, invite: Message, response: Message) -> Vec<Outgoing> {
    let described = !response.body.is_empty();
    let Some(state) = dialog.reliable.as_mut() else { return vec![Outgoing::Respond(invite, response)] };
    let response = Provisional { octets: response.write().to_vec(), described };
    if state.open.is_none() {
        return number(dialog, response)
            .map(|response| Outgoing::Respond(invite, response))
            .into_iter()
            .collect();
    }
    if state.waiting.len() < MAX_WAITING {
        state.waiting.push(response);
    }
    vec![]
}

/// Numbers the next reliable provisional response, which waits for its PRACK from now on.
fn number(dialog: &mut Dialog, response: Provisional) -> Option<Message> {
    let state = dialog.reliable.as_mut()?;
    let message = stored(&response.octets)?;
    state.rseq = state.rseq.wrapping_add(1).max(1);
    let message = message.with("Require", TAG).with("RSeq", state.rseq.to_string());
    let response = Provisional { octets: message.write().to_vec(), ..response };
    state.open = Some(Open { rseq: state.rseq, response, by: None });
    Some(message)
}

/// Makes another reliable provisional response after a long time without one (RFC 3261 §13.3.1.1).
pub(super) fn again(dialog: &mut Dialog) -> Option<Outgoing> {
    let invite = stored(&dialog.invite)?;
    dialog.reliable.as_ref().filter(|state| state.open.is_none())?;
    let response = respond(dialog, &invite, 180, "Ringing");
    provisional(dialog, invite, response).pop()
}

/// Returns true if a 2xx to the peer's INVITE must wait for the PRACK of a description (§3).
pub(super) fn must_wait(dialog: &Dialog) -> bool {
    let state = dialog.reliable.as_ref();
    state.and_then(|state| state.open.as_ref()).is_some_and(|open| open.response.described)
}

/// Returns the state of our offer in a provisional response.
pub(super) fn early_offer(dialog: &Dialog) -> EarlyOffer {
    dialog.reliable.as_ref().map_or(EarlyOffer::None, |state| state.offer)
}

/// Notes that our offer is in the provisional response that leaves next. Returns false if it cannot be: it is not reliable, or there was one
/// before.
pub(super) fn may_offer(dialog: &mut Dialog) -> bool {
    let state = dialog.reliable.as_mut().filter(|state| state.offer == EarlyOffer::None);
    state.map(|state| state.offer = EarlyOffer::Open).is_some()
}

/// Drops the provisional responses that have not left: none follows a final response (§3).
pub(super) fn stop(dialog: &mut Dialog) {
    if let Some(state) = &mut dialog.reliable {
        state.waiting.clear();
        state.accept.clear();
    }
}

/// Translates a PRACK (§3). `again`: it is the last request of the peer's once more.
pub(super) fn acknowledged(dialog: &mut Dialog, message: &Message, again: bool) -> Outcome {
    let mut outcome = Outcome::default();
    let reply = |dialog: &Dialog, code, phrase| {
        Outgoing::Respond(message.clone(), respond(dialog, message, code, phrase))
    };
    let named = rack(message);
    let cseq = stored(&dialog.invite).and_then(|invite| invite.cseq()).map(|cseq| cseq.number);
    let of_invite = named.as_ref().filter(|(_, number, method)| Some(*number) == cseq && method == "INVITE");
    let rseq = of_invite.map(|(rseq, ..)| *rseq);
    let state = dialog.reliable.as_mut();
    let open = state.and_then(|state| state.open.take_if(|open| Some(open.rseq) == rseq));
    let Some(open) = open else {
        // Another edge may have answered this one, whose retransmission it is.
        let known = again && dialog.reliable.as_ref().is_some_and(|state| Some(state.rseq) == rseq);
        outcome.send_now.push(match known {
            true => reply(dialog, 200, "OK"),
            false => reply(dialog, 481, "Call/Transaction Does Not Exist"),
        });
        return outcome;
    };
    let answer = reply(dialog, 200, "OK");
    if dialog.state != State::Incoming {
        // After the final response.
        outcome.send_now.push(answer);
        return outcome;
    }
    outcome.must_commit = true;
    outcome.send_after_commit.push(answer);
    if open.response.described && early_offer(dialog) == EarlyOffer::Open {
        match description(message, dialog) {
            Some(Ok(media)) => outcome.signals.push(Signal::Progress(Some(media))),
            None | Some(Err(_)) => return unanswered(dialog, outcome),
        }
        if let Some(state) = &mut dialog.reliable {
            state.offer = EarlyOffer::Answered;
        }
    }
    outcome.send_after_commit.extend(released(dialog));
    outcome
}

/// Refuses the INVITE of a peer that has not answered our offer (interworking §2.8).
fn unanswered(dialog: &mut Dialog, mut outcome: Outcome) -> Outcome {
    dialog.state = State::Ended;
    stop(dialog);
    outcome.send_after_commit.extend(stored(&dialog.invite).map(|invite| {
        let answer = respond(dialog, &invite, 488, "Not Acceptable Here");
        Outgoing::Respond(invite, answer)
    }));
    outcome.signals.push(Signal::End(Reason::IncompatibleMedia.into()));
    outcome
}

/// Returns what has waited for a PRACK: our 2xx, or the next provisional response.
fn released(dialog: &mut Dialog) -> Option<Outgoing> {
    let invite = stored(&dialog.invite)?;
    let state = dialog.reliable.as_mut()?;
    if let Some(accept) = stored(&std::mem::take(&mut state.accept)) {
        dialog.state = State::Active;
        return Some(Outgoing::Accept(invite, accept));
    }
    let next = (!state.waiting.is_empty()).then(|| state.waiting.remove(0))?;
    Some(Outgoing::Respond(invite, number(dialog, next)?))
}

/// Reads RAck: RSeq, CSeq number and method (§7.2).
fn rack(message: &Message) -> Option<(u32, u32, String)> {
    let mut words = message.text("RAck")?.split_whitespace();
    let (rseq, cseq, method) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?);
    words.next().is_none().then(|| (rseq, cseq, method.to_owned()))
}

/// Place of a reliable provisional response to our INVITE among those of its early dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The first, or the one after the last: it is taken and gets a PRACK.
    Next,
    /// The last one again.
    Again,
    /// Another one: neither taken nor acknowledged (§4).
    OutOfOrder,
}

/// Returns the place of a reliable provisional response.
pub(super) fn place(dialog: &Dialog, response: &Message, rseq: u32) -> Place {
    match heard(dialog, response).map(|heard| heard.rseq) {
        None => Place::Next,
        Some(last) if last.checked_add(1) == Some(rseq) => Place::Next,
        Some(last) if last == rseq => Place::Again,
        Some(_) => Place::OutOfOrder,
    }
}

/// Returns the answer that an early dialog has given reliably: later descriptions of it are ignored (RFC 3261 §13.2.1).
pub(super) fn answer(dialog: &Dialog, response: &Message) -> Option<Vec<u8>> {
    heard(dialog, response).map(|heard| heard.answer.clone()).filter(|answer| !answer.is_empty())
}

/// Makes the PRACK for a reliable provisional response, and notes that response with its answer (§4). The dialog is established by it.
pub(super) fn take(dialog: &mut Dialog, response: &Message, rseq: u32, branch: &str) -> Option<Outgoing> {
    let prack = prack(dialog, response, rseq, None, branch)?;
    let tag = tag(response);
    let state = dialog.reliable.get_or_insert_default();
    let known = state.heard.iter().position(|heard| heard.tag == tag);
    let before = known.map(|at| state.heard.remove(at)).map(|heard| heard.answer);
    if state.heard.len() >= MAX_FORKS {
        state.heard.remove(0);
    }
    let answer = before.filter(|answer| !answer.is_empty());
    let answer = answer.or_else(|| response.sdp().map(|sdp| sdp.to_vec())).unwrap_or_default();
    state.heard.push(Heard { tag, rseq, cseq: dialog.local_cseq, answer });
    Some(prack)
}

/// Makes the PRACK of a response that comes again: the one that was made for it, which the edge that made it may have lost. A
/// transaction that goes on sends nothing more for it.
pub(super) fn take_again(
    dialog: &mut Dialog,
    response: &Message,
    rseq: u32,
    branch: &str,
) -> Option<Outgoing> {
    let cseq = heard(dialog, response)?.cseq;
    prack(dialog, response, rseq, Some(cseq), branch)
}

fn prack(
    dialog: &mut Dialog,
    response: &Message,
    rseq: u32,
    cseq: Option<u32>,
    branch: &str,
) -> Option<Outgoing> {
    let number = response.cseq()?.number;
    let branch = format!("{branch}p{rseq}");
    let cseq = cseq.unwrap_or_else(|| {
        dialog.local_cseq += 1;
        dialog.local_cseq
    });
    let mut prack = dialog.numbered("PRACK", cseq, &branch);
    prack.headers.retain(|header| header.name.as_str() != "Contact");
    Some(Outgoing::Request(prack.with("RAck", format!("{rseq} {number} INVITE"))))
}

fn heard<'a>(dialog: &'a Dialog, response: &Message) -> Option<&'a Heard> {
    let tag = tag(response);
    dialog.reliable.as_ref()?.heard.iter().find(|heard| heard.tag == tag)
}

fn tag(response: &Message) -> String {
    response.to().and_then(|to| to.tag().map(str::to_ascii_lowercase)).unwrap_or_default()
}
