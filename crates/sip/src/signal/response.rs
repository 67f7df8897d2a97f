//! Translation of responses to our requests.

use super::{
    Outcome, Outgoing, bye, described, description, end, gone, refer, reliable, session_timer, stored,
};
use crate::dialog::{Dialog, State, same_tag};
use crate::message::Message;
use crate::reason;
use crate::uri::{NameAddr, Uri};
use signal::{Media, Reason, Signal};

/// Most addresses of a redirection that are tried (interworking §2.13).
const MAX_TARGETS: usize = 5;

pub(super) fn hear(dialog: &mut Dialog, message: &Message, code: u16, branch: &str) -> Outcome {
    let mut outcome = Outcome::default();
    let Some(cseq) = message.cseq() else { return outcome };
    if cseq.method == "NOTIFY" {
        // The subscription ends, not the call (RFC 5057 §5.1).
        if code >= 300 {
            refer::forget(dialog);
        }
        return outcome;
    }
    // A 481 to CANCEL names the transaction, not the dialog (§9.2); one to PRACK a response.
    let within = !matches!(cseq.method.as_str(), "CANCEL" | "PRACK")
        && (cseq.method != "INVITE" || cseq.number > dialog.invite_cseq);
    if within && dialog.state == State::Active && matches!(code, 408 | 481) {
        return gone(dialog, end(message, reason::heard(code)), branch);
    }
    let refresh = dialog.session_timer.refresh_cseq == Some(cseq.number) && dialog.state == State::Active;
    if cseq.method == "UPDATE" && refresh && code >= 200 {
        return session_timer::refreshed(dialog, message, code);
    }
    if cseq.method != "INVITE" {
        return outcome;
    }
    let first =
        cseq.number == dialog.invite_cseq && matches!(dialog.state, State::Outgoing | State::Cancelled);
    let change = dialog.local_offer_cseq == Some(cseq.number) && dialog.state == State::Active;
    let rseq = reliable::rseq(message).filter(|_| first || change);
    let place = rseq.map(|rseq| reliable::place(dialog, message, rseq));
    if place == Some(reliable::Place::OutOfOrder) {
        return outcome;
    }
    if first && code < 300 && code > 100 {
        dialog.establish(message);
    }
    match code {
        100..=199 if place == Some(reliable::Place::Again) => {
            let rseq = rseq.filter(|_| dialog.state != State::Cancelled);
            let prack = rseq.and_then(|rseq| reliable::take_again(dialog, message, rseq, branch));
            outcome.send_now.extend(prack);
        }
        100..=199 if first => {
            provisional(dialog, message, code, &mut outcome);
            if let Some(rseq) = rseq.filter(|_| dialog.state == State::Outgoing) {
                outcome.send_after_commit.extend(reliable::take(dialog, message, rseq, branch));
                outcome.must_commit = true;
            }
        }
        // To our re-INVITE.
        100..=199 => {
            let prack = rseq.and_then(|rseq| reliable::take(dialog, message, rseq, branch));
            outcome.must_commit = prack.is_some();
            outcome.send_after_commit.extend(prack);
        }
        200..=299 if first => answered(dialog, message, cseq.number, branch, &mut outcome),
        200..=299 if dialog.local_offer_cseq == Some(cseq.number) => {
            dialog.local_offer_cseq = None;
            // Target refresh (§12.2.1.2).
            if let Some(contact) = message.contact() {
                dialog.target = contact.uri.to_string();
            }
            session_timer::agree(dialog, message);
            outcome.must_commit = true;
            let ack = acknowledge(dialog, cseq.number, branch);
            outcome.send_after_commit.push(ack);
            let answer = match reliable::answer(dialog, message) {
                Some(settled) => described(&settled, dialog).ok(),
                None => description(message, dialog).and_then(Result::ok),
            };
            if let Some(state) = &mut dialog.reliable {
                state.heard.clear();
            }
            if answer.is_some() {
                dialog.sdp_in_force.clear();
            }
            outcome.signals.extend(match answer {
                // The call has offered nothing: to it, the answer to a refresh is a change like any other.
                Some(media) if refresh => Some(Signal::Update(media)),
                Some(media) => Some(Signal::Updated(media)),
                None if refresh => None,
                None => Some(Signal::Refused(Reason::IncompatibleMedia)),
            });
        }
        200..=299 => {
            let tag = message.to().and_then(|to| to.tag().map(str::to_owned));
            let other = !same_tag(tag.as_deref(), dialog.remote_tag().as_deref());
            if cseq.number == dialog.invite_cseq && (dialog.ack.is_empty() || other) {
                outcome.send_now.extend(release(dialog, message, cseq.number, branch));
            } else {
                // A repeated 2xx gets its ACK again (R-CALL-18); so does one that comes after its re-INVITE was given up.
                let known = stored(&dialog.ack).filter(|a| a.cseq().is_some_and(|c| c.number == cseq.number));
                outcome.send_now.push(match known {
                    Some(ack) => Outgoing::Direct(ack),
                    None => Outgoing::Direct(dialog.acknowledge(cseq.number, branch)),
                });
            }
        }
        _ if first => {
            let cancelled = dialog.state == State::Cancelled;
            dialog.state = State::Ended;
            if cancelled {
                return outcome;
            }
            let mut targets = redirection(message, code).into_iter();
            outcome.signals.push(match targets.next() {
                Some(first) => Signal::Redirect(first, targets.collect()),
                None => Signal::End(end(message, refusal(code, dialog.ringing))),
            });
        }
        _ if dialog.local_offer_cseq == Some(cseq.number) => {
            dialog.local_offer_cseq = None;
            if refresh {
                return session_timer::refreshed(dialog, message, code);
            }
            // 491 too: the call knows if it still wants the change (§14.1).
            outcome.signals.push(Signal::Refused(reason::heard(code)));
        }
        _ => {}
    }
    outcome
}

/// Returns the addresses that a 3xx names, in the order of their `q` (RFC 3261 §8.1.3.4, §20.10); those of a 380 are other services.
fn redirection(message: &Message, code: u16) -> Vec<String> {
    if !(300..400).contains(&code) || code == 380 {
        return vec![];
    }
    let known = |uri: &Uri| match uri {
        Uri::Sip(_) | Uri::Tel(..) => true,
        Uri::Other(text) => text.starts_with("xmpp:"),
    };
    let mut contacts = message.addresses("Contact");
    contacts.retain(|contact| known(&contact.uri));
    // Thousandths (RFC 3261 §25.1, qvalue).
    let q = |contact: &NameAddr| {
        let q = contact.param("q").and_then(|q| q.parse::<f32>().ok()).unwrap_or(1.0);
        (q.clamp(0.0, 1.0) * 1_000.0) as u16
    };
    contacts.sort_by_key(|contact| std::cmp::Reverse(q(contact)));
    contacts.iter().take(MAX_TARGETS).map(|contact| contact.uri.to_string()).collect()
}

/// Returns the reason of a refusal. A 480 after ringing is a phone that nobody picked up, not one that is away (interworking
/// §4.3).
fn refusal(code: u16, rang: bool) -> Reason {
    match reason::heard(code) {
        Reason::Offline if rang => Reason::NoAnswer,
        reason => reason,
    }
}

fn provisional(dialog: &mut Dialog, message: &Message, code: u16, outcome: &mut Outcome) {
    if dialog.state == State::Cancelled && !dialog.proceeding {
        outcome.send_now.extend(dialog.cancel().map(Outgoing::Request));
    }
    dialog.proceeding = true;
    if dialog.state != State::Outgoing || code == 100 {
        return;
    }
    // What this dialog has answered reliably stays.
    let settled = reliable::answer(dialog, message).is_some();
    let sdp = message.sdp().filter(|_| !settled).map(|sdp| sdp.to_vec());
    if sdp.as_ref().is_some_and(|sdp| *sdp == dialog.early_sdp) {
        return;
    }
    if let Some(sdp) = sdp
        && let Some(Ok(media)) = description(message, dialog)
    {
        dialog.early_sdp = sdp;
        outcome.signals.push(match is_silent(message) {
            true => Signal::Ringing,
            false => Signal::Progress(Some(media)),
        });
    } else if matches!(code, 180 | 183) && !dialog.ringing {
        // Many gateways ring with a 183 without description (interworking §2.7).
        dialog.ringing = true;
        outcome.signals.push(Signal::Ringing);
    }
}

/// Returns true for a response whose network says that there is no early media (RFC 5009 §4).
fn is_silent(message: &Message) -> bool {
    let says = message.list("P-Early-Media");
    says.iter().any(|word| word.trim().eq_ignore_ascii_case("inactive"))
}

fn answered(dialog: &mut Dialog, message: &Message, cseq: u32, branch: &str, outcome: &mut Outcome) {
    let cancelled = dialog.state == State::Cancelled;
    let media = answer(dialog, message);
    let ack = acknowledge(dialog, cseq, branch);
    match media {
        Some(media) if !cancelled => {
            session_timer::agree(dialog, message);
            dialog.state = State::Active;
            dialog.reliable = None;
            outcome.signals.push(Signal::Answer(media));
            outcome.send_after_commit.push(ack);
        }
        // Answered while we gave up, or without a description: acknowledge and hang up (§15.1.1, §13.2.2.4).
        media => {
            let why = if media.is_none() { Reason::IncompatibleMedia } else { Reason::Cancelled };
            outcome.send_now.extend([ack, bye(dialog, &reason::header(why), &format!("{branch}b"))]);
            if !cancelled {
                outcome.signals.push(Signal::End(why.into()));
            }
        }
    }
}

/// Reads the answer's description: that of a reliable provisional response, if there was one; a 200 without one repeats that of the
/// provisional response before it (R-CALL-39).
fn answer(dialog: &mut Dialog, message: &Message) -> Option<Media> {
    if let Some(settled) = reliable::answer(dialog, message) {
        return described(&settled, dialog).ok();
    }
    match description(message, dialog) {
        Some(described) => described.ok(),
        None => described(&dialog.early_sdp.clone(), dialog).ok(),
    }
}

fn acknowledge(dialog: &mut Dialog, cseq: u32, branch: &str) -> Outgoing {
    let ack = dialog.acknowledge(cseq, branch);
    dialog.ack = ack.write().to_vec();
    Outgoing::Direct(ack)
}

/// Acknowledges and ends a 2xx that is no call of ours: another branch of a forked INVITE answered as well, or one came after
/// we had given up waiting (R-CALL-29).
pub fn release(dialog: &Dialog, message: &Message, cseq: u32, branch: &str) -> [Outgoing; 2] {
    let mut other = dialog.clone();
    other.establish(message);
    other.local_cseq = cseq;
    let ack = Outgoing::Direct(other.acknowledge(cseq, branch));
    [ack, bye(&mut other, &reason::header(Reason::AnsweredElsewhere), &format!("{branch}b"))]
}
