//! SIP ⇄ [`Signal`]: what a message means, and how a signal is said. Beside it: the same file of the xmpp crate.
//!
//! `hear` is in two halves, `signal/request.rs` and `signal/response.rs`; what a silence means is in `signal/lapse.rs`.
//!
//! One rule: both functions are pure in dialog and message. The edge decides when the result leaves: `now`, or `after` the
//! commit where it promises something.

use crate::dialog::{Dialog, Offered, State};
use crate::message::{Message, Start};
use crate::reason;
use signal::{End, Media, Reason, Signal};

mod challenge;
mod lapse;
mod request;
mod response;

pub use challenge::challenged;
pub use lapse::{Lapse, lapse};
pub use response::release;

/// What a message came to.
#[derive(Debug, Default)]
pub struct Hearing {
    /// For the call.
    pub signals: Vec<Signal>,
    /// Leaves at once.
    pub now: Vec<Wire>,
    /// Leaves after the commit.
    pub after: Vec<Wire>,
    /// The dialog's change must be in the record before `after` leaves, though the call has nothing to hear.
    pub keep: bool,
}

impl Hearing {
    /// Returns true if a request has come to something and was not refused.
    #[must_use]
    pub fn accepted(&self) -> bool {
        let refuses = |wire: &Wire| matches!(wire, Wire::Respond(_, response) if response.code().is_some_and(|code| code >= 300));
        let nothing = self.now.is_empty() && self.after.is_empty() && self.signals.is_empty();
        !nothing && !self.now.iter().any(refuses)
    }
}

/// Something for the wire.
#[derive(Clone, Debug)]
pub enum Wire {
    /// Through the server transaction of this request.
    Respond(Message, Message),
    /// A 2xx to INVITE: repeated until its ACK comes (§13.3.1.4).
    Accept(Message, Message),
    /// Through a client transaction.
    Request(Message),
    /// An ACK: no transaction.
    Direct(Message),
}

/// What a message describes; `Err` where no line of it is left that we can serve: 488.
fn description(message: &Message, dialog: &mut Dialog) -> Option<Result<Media, ()>> {
    Some(described(&message.sdp()?, dialog))
}

fn described(sdp: &[u8], dialog: &mut Dialog) -> Result<Media, ()> {
    let (media, shape) = media::sdp::read(sdp).map_err(|_| ())?;
    if media.contents.iter().all(|content| content.rejected) {
        return Err(());
    }
    dialog.shape = shape;
    Ok(media)
}

fn end(message: &Message, fallback: Reason) -> End {
    let reasons: Vec<&str> = message.list("Reason");
    reason::end(fallback, message.code(), &reasons)
}

/// A response to `request` with our tag and, where the method asks for it, our Contact.
fn respond(dialog: &Dialog, request: &Message, code: u16, phrase: &str) -> Message {
    let response = Message::response(request, code, phrase, dialog.local_tag().unwrap_or_default());
    match request.method().as_deref() {
        Some("INVITE" | "UPDATE") if code < 400 => response.with("Contact", dialog.contact.clone()),
        _ => response,
    }
}

/// The branch as it stood, with or without the cookie.
pub(crate) fn branch(message: &Message) -> String {
    message.via().and_then(|v| v.param("branch").map(str::to_owned)).unwrap_or_default()
}

fn stored(octets: &[u8]) -> Option<Message> {
    crate::message::read(&octets.to_vec().into()).ok()
}

/// What a peer's message within this dialog means. `branch` is for an ACK or BYE that must be sent.
pub fn hear(dialog: &mut Dialog, message: &Message, branch: &str) -> Hearing {
    match &message.start {
        Start::Request { method, .. } => request::hear(dialog, message, method, branch),
        Start::Response { code, .. } => response::hear(dialog, message, *code, branch),
    }
}

/// A request of ours in words of a decision that was the edge's own.
fn bye(dialog: &mut Dialog, why: &str, branch: &str) -> Wire {
    dialog.state = State::Ended;
    Wire::Request(dialog.request("BYE", branch).with("Reason", why.to_owned()))
}

/// How a signal is said to the peer of this dialog; nothing where the leg's state has no use for it any more.
pub fn say(dialog: &mut Dialog, signal: &Signal, branch: &str) -> Vec<Wire> {
    let open = stored(&dialog.invite).filter(|_| dialog.state == State::Incoming);
    match (signal, open) {
        // The INVITE itself was made with the dialog.
        (Signal::Offer(media), _) if dialog.state == State::Outgoing && dialog.invite.is_empty() => {
            let body = dialog.describe(media, false);
            dialog.opened = dialog.local_cseq + 1;
            let invite = dialog
                .request("INVITE", branch)
                .with("Allow", crate::screen::ALLOW.join(", "))
                .with_body("application/sdp", body);
            dialog.invite = invite.write().to_vec();
            vec![Wire::Request(invite)]
        }
        (Signal::Ringing | Signal::Progress(None), Some(invite)) => {
            dialog.ringing = true;
            let answer = respond(dialog, &invite, 180, "Ringing");
            vec![Wire::Respond(invite, answer)]
        }
        (Signal::Progress(Some(media)), Some(invite)) => {
            let body = dialog.describe(media, true);
            let answer = respond(dialog, &invite, 183, "Session Progress").with_body("application/sdp", body);
            vec![Wire::Respond(invite, answer)]
        }
        (Signal::Answer(media), Some(invite)) => {
            let offered = invite.sdp().is_none();
            let body = dialog.describe(media, !offered);
            let cseq = invite.cseq().map_or(0, |c| c.number);
            dialog.offered = offered.then_some(Offered { cseq, first: true });
            dialog.state = State::Active;
            let answer = respond(dialog, &invite, 200, "OK")
                .with("Allow", crate::screen::ALLOW.join(", "))
                .with_body("application/sdp", body);
            vec![Wire::Accept(invite, answer)]
        }
        (Signal::Update(media) | Signal::Answer(media), None) if dialog.state == State::Active => {
            let body = dialog.describe(media, false);
            let invite = dialog.request("INVITE", branch).with_body("application/sdp", body);
            dialog.asking = Some(dialog.local_cseq);
            vec![Wire::Request(invite)]
        }
        (Signal::Updated(media), None) if dialog.state == State::Active => {
            let Some(asked) = stored(&std::mem::take(&mut dialog.asked)) else { return vec![] };
            let body = dialog.describe(media, true);
            let answer = respond(dialog, &asked, 200, "OK").with_body("application/sdp", body);
            let invite = asked.method().as_deref() == Some("INVITE");
            vec![if invite { Wire::Accept(asked, answer) } else { Wire::Respond(asked, answer) }]
        }
        (Signal::Refused(why), None) if dialog.state == State::Active => {
            let Some(asked) = stored(&std::mem::take(&mut dialog.asked)) else { return vec![] };
            let (code, phrase) =
                if *why == Reason::Glare { (491, "Request Pending") } else { (488, "Not Acceptable Here") };
            let answer = respond(dialog, &asked, code, phrase);
            vec![Wire::Respond(asked, answer)]
        }
        (Signal::Tone(tone), None) if dialog.state == State::Active => {
            let body = format!("Signal={}\r\nDuration={}\r\n", tone.digit, tone.duration);
            vec![Wire::Request(dialog.request("INFO", branch).with_body("application/dtmf-relay", body))]
        }
        (Signal::Redirect(target), Some(invite)) => {
            dialog.state = State::Ended;
            let mut answer = respond(dialog, &invite, 302, "Moved Temporarily");
            answer.headers.retain(|h| h.name.as_str() != "Contact");
            let answer = answer.with("Contact", format!("<{target}>"));
            vec![Wire::Respond(invite, answer)]
        }
        (Signal::End(end), open) => say_end(dialog, end, open, branch),
        _ => vec![],
    }
}

fn say_end(dialog: &mut Dialog, end: &End, open: Option<Message>, branch: &str) -> Vec<Wire> {
    let why = reason::header(end.reason);
    match (dialog.state, open) {
        (State::Incoming, Some(invite)) => {
            dialog.state = State::Ended;
            let (code, phrase, _) = reason::said(end.reason);
            let mut answer = respond(dialog, &invite, code, phrase).with("Reason", why);
            if code == 503 {
                answer = answer.with("Retry-After", "5");
            }
            vec![Wire::Respond(invite, answer)]
        }
        (State::Outgoing, _) => {
            dialog.state = State::Cancelled;
            if !dialog.proceeding {
                return vec![];
            }
            dialog.cancel().map(|c| Wire::Request(c.with("Reason", why))).into_iter().collect()
        }
        (State::Active, _) => {
            let why = reason::hangup(end.reason);
            terminated(dialog).into_iter().chain([bye(dialog, &why, branch)]).collect()
        }
        _ => vec![],
    }
}

/// The answer to a re-INVITE or UPDATE that the end of the call has overtaken (RFC 3261 §15.1.2).
fn terminated(dialog: &mut Dialog) -> Option<Wire> {
    let asked = stored(&std::mem::take(&mut dialog.asked))?;
    let answer = respond(dialog, &asked, 487, "Request Terminated");
    Some(Wire::Respond(asked, answer))
}
