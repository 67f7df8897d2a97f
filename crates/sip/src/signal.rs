//! Translation between SIP and [`Signal`]: [`hear`] up, [`say`] down. The xmpp crate has the same file.
//!
//! [`hear`] continues in `signal/request.rs` and `signal/response.rs`; timeouts are in `signal/timeout.rs`.
//!
//! One rule: both functions are pure in dialog and message. The edge sends what they return: at once, or after the commit
//! where a message promises something.

use crate::dialog::reliable::EarlyOffer;
use crate::dialog::{Dialog, OfferIn2xx, PUT_OFF, State};
use crate::message::{Message, Start};
use crate::reason;
use crate::validate::{ALLOW, SUPPORTED};
use media::sdp::SdpError;
use signal::{End, Media, Reason, Signal};

mod challenge;
pub(crate) mod refer;
mod reliable;
mod replace;
mod request;
mod response;
mod session_timer;
mod timeout;

pub use challenge::answer_challenge;
pub use refer::{Replaces, refer};
pub use reliable::{is_required, rseq};
pub use replace::replaced;
pub use response::release;
pub use session_timer::ask_longer;
pub use timeout::{Timeout, awaits_ringing, timeout};

/// Outcome of a message or timeout.
pub type Outcome = ::edge::Outcome<Outgoing>;

/// Returns true if a request had an effect and was not refused.
#[must_use]
pub fn is_accepted(outcome: &Outcome) -> bool {
    let refuses = |one: &Outgoing| matches!(one, Outgoing::Respond(_, response) if response.code().is_some_and(|code| code >= 300));
    let nothing =
        outcome.send_now.is_empty() && outcome.send_after_commit.is_empty() && outcome.signals.is_empty();
    !nothing && !outcome.send_now.iter().any(refuses)
}

/// Message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// Response (second) through the server transaction of a request (first).
    Respond(Message, Message),
    /// 2xx to INVITE: repeated until its ACK comes (§13.3.1.4).
    Accept(Message, Message),
    /// Request through a client transaction.
    Request(Message),
    /// Last request of a dialog that another one has replaced: the octets of that dialog, and the request. No leg hears its responses.
    Former(Vec<u8>, Message),
    /// ACK, without transaction.
    Direct(Message),
}

/// Reads the description in a message; `Err` if we can serve no line of it: 488, with the line at fault where it is one.
fn description(message: &Message, dialog: &mut Dialog) -> Option<Result<Media, Option<SdpError>>> {
    // Ours wait for theirs in responses, in the ACK (RFC 3261 §13.2.1) and in the PRACK (RFC 3262 §5).
    let answer = message.code().is_some() || matches!(message.method().as_deref(), Some("ACK" | "PRACK"));
    Some(read(&message.sdp()?, dialog, answer))
}

/// Reads an answer.
fn described(sdp: &[u8], dialog: &mut Dialog) -> Result<Media, Option<SdpError>> {
    read(sdp, dialog, true)
}

fn read(sdp: &[u8], dialog: &mut Dialog, answer: bool) -> Result<Media, Option<SdpError>> {
    let (media, shape) = media::sdp::read(sdp)?;
    if media.contents.iter().all(|content| content.rejected) {
        return Err(None);
    }
    if answer {
        dialog.take_answer(&media);
    }
    dialog.take_shape(shape, answer);
    Ok(media)
}

/// Makes the refusal of a description that cannot be served, with a Warning that names the line at fault (RFC 3261 §20.43, §21.4.26).
fn not_acceptable(dialog: &Dialog, request: &Message, fault: Option<&SdpError>) -> Message {
    let answer = respond(dialog, request, 488, "Not Acceptable Here");
    match fault.filter(|fault| fault.at_fault().is_some()) {
        Some(fault) => answer.with("Warning", reason::description_warning(fault)),
        None => answer,
    }
}

fn end(message: &Message, fallback: Reason) -> End {
    let reasons: Vec<&str> = message.list("Reason");
    reason::end(fallback, message.code(), &reasons)
}

/// Makes a response to `request` with our tag and, if the method asks for it, our Contact.
fn respond(dialog: &Dialog, request: &Message, code: u16, phrase: &str) -> Message {
    let response = Message::response(request, code, phrase, dialog.local_tag().unwrap_or_default());
    match request.method().as_deref() {
        Some("INVITE" | "UPDATE" | "REFER") if code < 400 => response.with("Contact", dialog.contact.clone()),
        _ => response,
    }
}

/// Returns the branch as received, with or without the cookie.
pub(crate) fn branch(message: &Message) -> String {
    message.via().and_then(|v| v.param("branch").map(str::to_owned)).unwrap_or_default()
}

fn stored(octets: &[u8]) -> Option<Message> {
    crate::message::read(&octets.to_vec().into()).ok()
}

/// Translates a message of this dialog's peer. `branch` is for an ACK or BYE sent in response.
pub fn hear(dialog: &mut Dialog, message: &Message, branch: &str) -> Outcome {
    match &message.start {
        Start::Request { method, .. } => request::hear(dialog, message, method, branch),
        Start::Response { code, .. } => response::hear(dialog, message, *code, branch),
    }
}

/// Ends the dialog by a decision of the edge itself: makes its BYE.
fn bye(dialog: &mut Dialog, why: &str, branch: &str) -> Outgoing {
    dialog.state = State::Ended;
    Outgoing::Request(dialog.request("BYE", branch).with("Reason", why.to_owned()))
}

/// Ends a dialog that the peer does not know any more, or does not answer in: tells the call, and sends BYE all the same (RFC 3261
/// §12.2.1.2).
fn gone(dialog: &mut Dialog, end: End, branch: &str) -> Outcome {
    let why = reason::hangup(end.reason);
    dialog.local_offer_cseq = None;
    Outcome { send_now: hang_up(dialog, &why, branch), signals: vec![Signal::End(end)], ..Outcome::default() }
}

/// Translates a signal for the peer of this dialog; yields nothing if the leg's state has no use for it any more.
pub fn say(dialog: &mut Dialog, signal: &Signal, branch: &str) -> Vec<Outgoing> {
    if let Some(said) = replace::say(dialog, signal, branch) {
        return said;
    }
    let open = stored(&dialog.invite).filter(|_| dialog.state == State::Incoming);
    match (signal, open) {
        // The INVITE that opens the dialog.
        (Signal::Offer(media), _) if dialog.state == State::Outgoing && dialog.invite.is_empty() => {
            let body = dialog.describe(media, false);
            dialog.invite_cseq = dialog.local_cseq + 1;
            let invite = invite(dialog, branch, body);
            dialog.invite = invite.write().to_vec();
            vec![Outgoing::Request(invite)]
        }
        (Signal::Ringing | Signal::Progress(None), Some(invite)) => {
            dialog.ringing = true;
            // The first reliable one would have to bring our offer (RFC 3262 §5).
            let offerless = dialog.reliable.is_some() && invite.sdp().is_none();
            if offerless && reliable::early_offer(dialog) == EarlyOffer::None {
                return vec![];
            }
            let answer = respond(dialog, &invite, 180, "Ringing");
            reliable::provisional(dialog, invite, answer)
        }
        // Our offer to a caller that has made none, if it can leave now (interworking §2.8).
        (Signal::Progress(Some(media)), Some(invite)) if invite.sdp().is_none() => {
            dialog.ringing = true;
            let mut answer = respond(dialog, &invite, 180, "Ringing");
            if reliable::may_offer(dialog) {
                answer = answer.with_body("application/sdp", dialog.describe(media, false));
            }
            reliable::provisional(dialog, invite, answer)
        }
        (Signal::Progress(Some(media)), Some(invite)) => {
            let body = dialog.describe(media, true);
            let answer = respond(dialog, &invite, 183, "Session Progress").with_body("application/sdp", body);
            reliable::provisional(dialog, invite, answer)
        }
        (Signal::Answer(media), Some(invite)) => accept(dialog, invite, media).into_iter().collect(),
        // The call is answered, and our 2xx waits for a PRACK: the offer leaves behind it.
        (Signal::Update(media), Some(_)) if reliable::must_wait(dialog) => {
            dialog.keep_in_force();
            dialog.describe(media, false);
            dialog.local_offer_cseq = Some(PUT_OFF);
            vec![]
        }
        (Signal::Update(media) | Signal::Answer(media), None) if dialog.state == State::Active => {
            dialog.keep_in_force();
            dialog.describe(media, false);
            vec![reinvite(dialog, branch)]
        }
        (Signal::Updated(media), None) if dialog.state == State::Active => {
            let Some(asked) = stored(&std::mem::take(&mut dialog.remote_offer)) else { return vec![] };
            let body = dialog.describe(media, true);
            dialog.sdp_in_force.clear();
            let answer = respond(dialog, &asked, 200, "OK");
            let answer = session_timer::accept(dialog, &asked, answer).with_body("application/sdp", body);
            let invite = asked.method().as_deref() == Some("INVITE");
            vec![if invite { Outgoing::Accept(asked, answer) } else { Outgoing::Respond(asked, answer) }]
        }
        (Signal::Refused(why), None) if dialog.state == State::Active => {
            let Some(asked) = stored(&std::mem::take(&mut dialog.remote_offer)) else { return vec![] };
            let (code, phrase) =
                if *why == Reason::Glare { (491, "Request Pending") } else { (488, "Not Acceptable Here") };
            let answer = respond(dialog, &asked, code, phrase);
            vec![Outgoing::Respond(asked, answer)]
        }
        (Signal::Tone(tone), None) if dialog.state == State::Active && !tone.is_pause() => {
            let body = format!("Signal={}\r\nDuration={}\r\n", tone.digit, tone.duration);
            vec![Outgoing::Request(dialog.request("INFO", branch).with_body("application/dtmf-relay", body))]
        }
        (Signal::Referred(status), None) if dialog.state == State::Active => {
            refer::say(dialog, status, branch)
        }
        // RFC 3261 §21.1.3.
        (Signal::Diverted, Some(invite)) => {
            let answer = respond(dialog, &invite, 181, "Call Is Being Forwarded");
            vec![Outgoing::Respond(invite, answer)]
        }
        (Signal::Redirect(target, _), Some(invite)) => {
            dialog.state = State::Ended;
            let mut answer = respond(dialog, &invite, 302, "Moved Temporarily");
            answer.headers.retain(|h| h.name.as_str() != "Contact");
            let answer = answer.with("Contact", format!("<{target}>"));
            vec![Outgoing::Respond(invite, answer)]
        }
        (Signal::End(end), open) => say_end(dialog, end, open, branch),
        _ => vec![],
    }
}

/// Makes the 2xx to the INVITE that opened the dialog; `None` while a description in a provisional response waits for its PRACK.
fn accept(dialog: &mut Dialog, invite: Message, media: &Media) -> Option<Outgoing> {
    let answer = respond(dialog, &invite, 200, "OK")
        .with("Allow", ALLOW.join(", "))
        .with("Supported", SUPPORTED.join(", "));
    let mut answer = session_timer::accept(dialog, &invite, answer);
    if reliable::early_offer(dialog) == EarlyOffer::None {
        let offered = invite.sdp().is_none();
        let body = dialog.describe(media, !offered);
        let cseq = invite.cseq().map_or(0, |c| c.number);
        dialog.offer_in_2xx = offered.then_some(OfferIn2xx { cseq, first: true });
        answer = answer.with_body("application/sdp", body);
    }
    reliable::stop(dialog);
    if reliable::must_wait(dialog) {
        if let Some(state) = &mut dialog.reliable {
            state.accept = answer.write().to_vec();
        }
        return None;
    }
    dialog.state = State::Active;
    Some(Outgoing::Accept(invite, answer))
}

/// Puts an offer of ours off until the pause after a 491 is over: the peer's own may pass it meanwhile (RFC 3261 §14.1).
/// Returns false if it is no offer within the dialog.
pub fn put_off(dialog: &mut Dialog, signal: &Signal) -> bool {
    let (Signal::Update(media) | Signal::Answer(media)) = signal else { return false };
    let active = dialog.state == State::Active;
    if active {
        dialog.keep_in_force();
        dialog.describe(media, false);
        dialog.local_offer_cseq = Some(PUT_OFF);
    }
    active
}

/// Makes an INVITE or re-INVITE, which says what we can (RFC 3261 §13.2.1, §14.1).
fn invite(dialog: &mut Dialog, branch: &str, body: Vec<u8>) -> Message {
    // RSeq counts within one transaction (RFC 3262 §3).
    if let Some(state) = &mut dialog.reliable {
        state.heard.clear();
    }
    let request = dialog.request("INVITE", branch).with("Allow", ALLOW.join(", "));
    let request = request.with("Supported", SUPPORTED.join(", "));
    session_timer::ask(dialog, request).with_body("application/sdp", body)
}

/// Makes the re-INVITE that offers our last description.
fn reinvite(dialog: &mut Dialog, branch: &str) -> Outgoing {
    let body = dialog.last_sdp.clone();
    let invite = invite(dialog, branch, body);
    dialog.local_offer_cseq = Some(dialog.local_cseq);
    Outgoing::Request(invite)
}

fn say_end(dialog: &mut Dialog, end: &End, open: Option<Message>, branch: &str) -> Vec<Outgoing> {
    let why = reason::header(end.reason);
    match (dialog.state, open) {
        (State::Incoming, Some(invite)) => {
            dialog.state = State::Ended;
            reliable::stop(dialog);
            let (code, phrase, _) = reason::said(end.reason);
            let mut answer = respond(dialog, &invite, code, phrase).with("Reason", why);
            if code == 503 {
                answer = answer.with("Retry-After", "5");
            }
            if let Some(warning) = reason::warning(end) {
                answer = answer.with("Warning", warning);
            }
            vec![Outgoing::Respond(invite, answer)]
        }
        (State::Outgoing, _) => {
            dialog.state = State::Cancelled;
            if !dialog.proceeding {
                return vec![];
            }
            dialog.cancel().map(|c| Outgoing::Request(c.with("Reason", why))).into_iter().collect()
        }
        (State::Active, _) => {
            let why = reason::hangup(end.reason);
            hang_up(dialog, &why, branch)
        }
        _ => vec![],
    }
}

/// Ends an established dialog, and what is open in it.
fn hang_up(dialog: &mut Dialog, why: &str, branch: &str) -> Vec<Outgoing> {
    let open = [terminated(dialog), replace::end(dialog), refer::end(dialog, true, branch)];
    open.into_iter().flatten().chain([bye(dialog, why, branch)]).collect()
}

/// Answers the open re-INVITE or UPDATE that the end of the call has overtaken (RFC 3261 §15.1.2).
fn terminated(dialog: &mut Dialog) -> Option<Outgoing> {
    let asked = stored(&std::mem::take(&mut dialog.remote_offer))?;
    let answer = respond(dialog, &asked, 487, "Request Terminated");
    Some(Outgoing::Respond(asked, answer))
}
