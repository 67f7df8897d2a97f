//! REFER of the peer and the NOTIFYs that tell how it goes (RFC 3515, RFC 4488; interworking §2.12).
//!
//! One rule: a dialog has one REFER at a time. It is answered by the first status that the call tells: a target that may not be called
//! gets no subscription. The subscription ends with the final status, with the dialog, or when the peer does not know it any more.

use super::{Outcome, Outgoing, respond, stored};
use crate::dialog::{Dialog, Refer, State};
use crate::message::Message;
use crate::reason;
use crate::uri::{NameAddr, SipUri, Uri};
use address::percent_decoded;
use signal::{ReferStatus, Referral, Signal};

/// Time that a subscription has from each NOTIFY on, s: longer than a target may ring for, as a rule, so that nobody refreshes it.
const EXPIRES: u32 = 180;
/// Longest target, octets.
const MAX_TARGET: usize = 1_024;

/// Writes into the INVITE that opens a dialog who has asked for the call (RFC 3892 §2), and the dialog that it replaces (RFC 3891 §4).
pub fn refer(dialog: &mut Dialog, referral: &Referral, outgoing: &mut [Outgoing]) {
    for one in outgoing {
        let Outgoing::Request(invite) = one else { continue };
        let mut referred = invite.clone();
        if let Some(replaces) = &referral.replaces {
            referred = referred.with("Require", "replaces").with("Replaces", replaces.clone());
        }
        *invite = referred.with("Referred-By", format!("<{}>", referral.by.address));
        dialog.invite = invite.write().to_vec();
    }
}

/// Translates a REFER.
pub(super) fn hear(dialog: &mut Dialog, message: &Message) -> Outcome {
    let mut outcome = Outcome::default();
    let mut refuse = |dialog: &Dialog, code, phrase| {
        outcome.send_now.push(Outgoing::Respond(message.clone(), respond(dialog, message, code, phrase)));
    };
    let cseq = message.cseq().map_or(0, |cseq| cseq.number);
    let open = dialog.refer.as_ref();
    if let Some(refer) = open.filter(|refer| refer.cseq == cseq && refer.request.is_empty()) {
        // A repetition whose transaction is gone.
        let answer = accepted(dialog, message, refer.silent);
        outcome.send_now.push(Outgoing::Respond(message.clone(), answer));
        return outcome;
    }
    let target = match refer_to(message) {
        Ok(target) => target,
        Err((code, phrase)) => {
            refuse(dialog, code, phrase);
            return outcome;
        }
    };
    // Nobody is transferred while it rings, nor twice at once.
    if dialog.state != State::Active || open.is_some_and(|refer| refer.cseq != cseq) {
        refuse(dialog, 491, "Request Pending");
        return outcome;
    }
    dialog.refer = Some(Refer {
        request: message.write().to_vec(),
        cseq,
        silent: wants_silence(message),
        further: dialog.referred,
        status: 100,
    });
    outcome.signals.push(Signal::Refer { target: target.uri, replaces: target.replaces });
    outcome
}

/// Target of a REFER.
pub(crate) struct Target {
    uri: String,
    /// Dialog that the call to the target replaces.
    pub(crate) replaces: Option<String>,
}

/// Reads Refer-To (RFC 3515 §2.1, §2.4.1), or returns the answer that refuses it.
pub(crate) fn refer_to(message: &Message) -> Result<Target, (u16, &'static str)> {
    let one = message.all("Refer-To").count() == 1 && message.list("Refer-To").len() == 1;
    let text = message.text("Refer-To").filter(|_| one).ok_or((400, "Not Exactly One Refer-To"))?;
    let malformed = (400, "Malformed Refer-To");
    let uri = NameAddr::parse(text).ok_or(malformed)?.uri;
    let target = match &uri {
        Uri::Other(_) => return Err((416, "Unsupported URI Scheme")),
        Uri::Tel(..) => Target { uri: uri.to_string(), replaces: None },
        Uri::Sip(sip) => {
            // Other requests than INVITE are nobody's to send but the peer's own.
            if sip.param("method").flatten().is_some_and(|method| !method.eq_ignore_ascii_case("INVITE")) {
                return Err((603, "Decline"));
            }
            if sip.user.is_none() {
                return Err((404, "Not Found"));
            }
            Target { uri: sip.aor().to_string(), replaces: replaces(sip).ok_or(malformed)? }
        }
    };
    if target.uri.len() > MAX_TARGET { Err(malformed) } else { Ok(target) }
}

/// Reads the Replaces among the headers of a URI (RFC 3891 §4, RFC 5589 §7.2); other headers are not honoured. `None` if it is malformed.
fn replaces(uri: &SipUri) -> Option<Option<String>> {
    let headers = uri.headers.as_deref().unwrap_or("").split('&').filter_map(|header| header.split_once('='));
    let mut found = headers.filter(|(name, _)| name.eq_ignore_ascii_case("Replaces"));
    let Some((_, value)) = found.next() else { return Some(None) };
    let value = percent_decoded(value)?;
    let plain = value.len() <= MAX_TARGET && !value.chars().any(char::is_control);
    (plain && found.next().is_none() && Replaces::parse(&value).is_some()).then_some(Some(value))
}

/// Value of a Replaces header (RFC 3891 §6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaces {
    /// Call-ID of the dialog.
    pub call_id: String,
    /// Tag of whoever gets the header.
    pub to_tag: String,
    /// Tag of its peer.
    pub from_tag: String,
    /// True if a dialog that is established is not to be replaced.
    pub early_only: bool,
}

impl Replaces {
    /// Reads a value; `None` if it is malformed.
    #[must_use]
    pub fn parse(value: &str) -> Option<Replaces> {
        let mut parts = value.split(';').map(str::trim);
        let call_id = parts.next().filter(|id| !id.is_empty())?.to_owned();
        let (mut to_tag, mut from_tag, mut early_only) = (None, None, false);
        for part in parts {
            let (name, value) =
                part.split_once('=').map_or((part, None), |(n, v)| (n.trim(), Some(v.trim())));
            match name.to_ascii_lowercase().as_str() {
                "to-tag" if to_tag.is_none() => to_tag = value,
                "from-tag" if from_tag.is_none() => from_tag = value,
                "to-tag" | "from-tag" => return None,
                "early-only" => early_only = true,
                _ => {}
            }
        }
        let tag = |tag: Option<&str>| tag.filter(|tag| !tag.is_empty()).map(str::to_owned);
        Some(Replaces { call_id, to_tag: tag(to_tag)?, from_tag: tag(from_tag)?, early_only })
    }
}

/// Returns true if the peer wants no subscription (RFC 4488 §4).
fn wants_silence(message: &Message) -> bool {
    let value = message.text("Refer-Sub").and_then(|value| value.split(';').next());
    value.is_some_and(|value| value.trim().eq_ignore_ascii_case("false"))
}

/// Makes the answer that accepts a REFER.
fn accepted(dialog: &Dialog, refer: &Message, silent: bool) -> Message {
    let answer = respond(dialog, refer, 202, "Accepted");
    if silent { answer.with("Refer-Sub", "false") } else { answer }
}

/// Says the status of the call that the peer's REFER asked for: the first one answers the REFER, each is a NOTIFY.
pub(super) fn say(dialog: &mut Dialog, status: &ReferStatus, branch: &str) -> Vec<Outgoing> {
    let Some(mut refer) = dialog.refer.take() else { return vec![] };
    let (code, phrase) = match status {
        ReferStatus::Trying => (100, "Trying"),
        ReferStatus::Ringing => (180, "Ringing"),
        ReferStatus::Accepted => (200, "OK"),
        ReferStatus::Failed(end) => {
            let (code, phrase, _) = reason::said(end.reason);
            (code, phrase)
        }
    };
    let mut outgoing = vec![];
    if let Some(request) = stored(&refer.request) {
        if matches!(status, ReferStatus::Failed(_)) {
            let answer = respond(dialog, &request, code, phrase);
            return vec![Outgoing::Respond(request, answer)];
        }
        let answer = accepted(dialog, &request, refer.silent);
        outgoing.push(Outgoing::Respond(request, answer));
        (refer.request, dialog.referred) = (vec![], true);
    }
    refer.status = code;
    if !refer.silent {
        outgoing.push(notify(dialog, &refer, status.is_final(), (code, phrase), branch));
    }
    dialog.refer = (!status.is_final()).then_some(refer);
    outgoing
}

/// Ends what the peer's REFER has left open, with the dialog: the REFER is answered, or its subscription terminated (RFC 6665 §4.2.2).
/// `given_up`: so is its target; else nobody knows how that will end.
pub(super) fn end(dialog: &mut Dialog, given_up: bool, branch: &str) -> Option<Outgoing> {
    let refer = dialog.refer.take()?;
    if let Some(request) = stored(&refer.request) {
        let answer = respond(dialog, &request, 487, "Request Terminated");
        return Some(Outgoing::Respond(request, answer));
    }
    let status = match refer.status {
        _ if given_up => (487, "Request Terminated"),
        180 => (180, "Ringing"),
        _ => (100, "Trying"),
    };
    (!refer.silent).then(|| notify(dialog, &refer, true, status, &format!("{branch}n")))
}

/// Ends a subscription that the peer does not know, or does not answer for (RFC 6665 §4.2.2).
pub(super) fn forget(dialog: &mut Dialog) {
    dialog.refer = dialog.refer.take().filter(|refer| !refer.request.is_empty());
}

/// Makes a NOTIFY (RFC 3515 §2.4.4, §2.4.5).
fn notify(
    dialog: &mut Dialog,
    refer: &Refer,
    last: bool,
    (code, phrase): (u16, &str),
    branch: &str,
) -> Outgoing {
    let event = if refer.further { format!("refer;id={}", refer.cseq) } else { "refer".into() };
    let state =
        if last { "terminated;reason=noresource".into() } else { format!("active;expires={EXPIRES}") };
    let notify = dialog.request("NOTIFY", branch).with("Event", event).with("Subscription-State", state);
    let body = format!("SIP/2.0 {code} {phrase}\r\n");
    Outgoing::Request(notify.with_body("message/sipfrag;version=2.0", body))
}
