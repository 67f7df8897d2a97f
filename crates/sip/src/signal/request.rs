//! Translation of the peer's requests.

use super::{
    Outcome, Outgoing, branch as branch_of, bye, description, end, not_acceptable, refer, reliable, replace,
    respond, session_timer, stored, terminated,
};
use crate::dialog::{Dialog, OfferIn2xx, PUT_OFF, State};
use crate::message::Message;
use crate::transaction::Key;
use crate::validate::{ALLOW, SUPPORTED};
use signal::media::{Direction, Kind};
use signal::{Media, Reason, Signal, Tone};

pub(super) fn hear(dialog: &mut Dialog, message: &Message, method: &str, branch: &str) -> Outcome {
    let mut outcome = Outcome::default();
    let number = message.cseq().map_or(0, |c| c.number);
    let reply = |dialog: &Dialog, code, phrase| {
        Outgoing::Respond(message.clone(), respond(dialog, message, code, phrase))
    };
    let name = branch_of(message);
    let same = name == dialog.remote_branch;
    let tagged = message.to().is_some_and(|to| to.tag().is_some());
    match method {
        "ACK" => return acknowledged(dialog, message, number, branch),
        "CANCEL" => return cancelled(dialog, message),
        "INVITE" if !tagged && (dialog.state != State::Incoming || !opens(dialog, message)) => {
            // The INVITE of this dialog again, by another path (§8.2.2.2).
            outcome.send_now.push(reply(dialog, 482, "Loop Detected"));
            return outcome;
        }
        // A retransmission is heard again: the edge that answered it may be gone. The record takes it once.
        _ if dialog.state != State::Incoming
            && (number < dialog.remote_cseq || number == dialog.remote_cseq && !same) =>
        {
            outcome.send_now.push(reply(dialog, 500, "CSeq out of order"));
            return outcome;
        }
        _ if number >= dialog.remote_cseq => (dialog.remote_cseq, dialog.remote_branch) = (number, name),
        _ => {}
    }
    if method == "PRACK" {
        return reliable::acknowledged(dialog, message, same);
    }
    if dialog.state == State::Ended {
        let (code, phrase) =
            if method == "BYE" { (200, "OK") } else { (481, "Call/Transaction Does Not Exist") };
        outcome.send_now.push(reply(dialog, code, phrase));
        return outcome;
    }
    match method {
        "INVITE" if !tagged => {
            if let Some(refusal) = session_timer::too_small(dialog, message) {
                dialog.state = State::Ended;
                outcome.send_now.push(refusal);
                return outcome;
            }
            let offer = match description(message, dialog) {
                Some(Ok(media)) => media,
                Some(Err(fault)) => {
                    dialog.state = State::Ended;
                    let answer = not_acceptable(dialog, message, fault.as_ref());
                    outcome.send_now.push(Outgoing::Respond(message.clone(), answer));
                    return outcome;
                }
                None => Media::undescribed(&[Kind::Audio]),
            };
            outcome.send_now.push(reply(dialog, 100, "Trying"));
            outcome.signals.push(Signal::Offer(offer));
        }
        "INVITE" | "UPDATE" => return change(dialog, message, method == "INVITE"),
        "REFER" => return refer::hear(dialog, message),
        "BYE" => {
            outcome.signals.push(Signal::End(end(message, Reason::Normal)));
            outcome.send_after_commit.push(reply(dialog, 200, "OK"));
            outcome.send_after_commit.extend(terminated(dialog));
            outcome.send_after_commit.extend(replace::end(dialog));
            outcome.send_after_commit.extend(refer::end(dialog, false, branch));
            if dialog.state == State::Incoming {
                outcome.send_after_commit.extend(gone(dialog));
            }
            dialog.state = State::Ended;
        }
        "INFO" if message.text("Info-Package").is_some() => {
            let answer = respond(dialog, message, 469, "Bad Info Package").with("Recv-Info", "");
            outcome.send_now.push(Outgoing::Respond(message.clone(), answer));
        }
        "INFO" if message.body.is_empty() => outcome.send_now.push(reply(dialog, 200, "OK")),
        "INFO" => match tone(message) {
            Some(tone) => {
                outcome.signals.push(Signal::Tone(tone));
                outcome.send_after_commit.push(reply(dialog, 200, "OK"));
            }
            None => outcome.send_now.push(reply(dialog, 400, "No digit in it")),
        },
        _ => {
            let answer = respond(dialog, message, 200, "OK")
                .with("Allow", ALLOW.join(", "))
                .with("Accept", "application/sdp")
                .with("Supported", SUPPORTED.join(", "));
            outcome.send_now.push(Outgoing::Respond(message.clone(), answer));
        }
    }
    outcome
}

/// Returns true for the very INVITE that opened the dialog: its transaction, not a merged or later one.
fn opens(dialog: &Dialog, message: &Message) -> bool {
    let name = |m: &Message| Some((m.via()?.param("branch").map(str::to_owned), m.cseq()?.number));
    stored(&dialog.invite).is_some_and(|invite| name(&invite) == name(message))
}

/// Translates a CANCEL: it gives up the INVITE or re-INVITE that it names, if that has no final answer yet (RFC 3261 §9.2).
fn cancelled(dialog: &mut Dialog, message: &Message) -> Outcome {
    let mut outcome = Outcome::default();
    let named = Key::cancelled_by(message);
    let names =
        |octets: &[u8]| named.is_some() && stored(octets).and_then(|asked| Key::of_request(&asked)) == named;
    let (opening, change) = (names(&dialog.invite), names(&dialog.remote_offer));
    // It may cross the final answer to the last request, and has no effect then.
    let last = branch_of(message) == dialog.remote_branch
        && message.cseq().is_some_and(|cseq| cseq.number == dialog.remote_cseq);
    let (code, phrase) =
        if opening || change || last { (200, "OK") } else { (481, "Call/Transaction Does Not Exist") };
    let answer = respond(dialog, message, code, phrase);
    outcome.send_now.push(Outgoing::Respond(message.clone(), answer));
    if opening && dialog.state == State::Incoming {
        dialog.state = State::Ended;
        outcome.signals.push(Signal::End(end(message, Reason::Cancelled)));
        outcome.send_after_commit.extend(gone(dialog));
    } else if change {
        // The dialog goes on. The call's answer to the change finds nobody who waits for it.
        outcome.send_after_commit.extend(terminated(dialog));
        outcome.must_commit = true;
    }
    outcome
}

/// Answers the peer's INVITE that ended before its answer: 487.
fn gone(dialog: &Dialog) -> Option<Outgoing> {
    let invite = stored(&dialog.invite)?;
    let answer = respond(dialog, &invite, 487, "Request Terminated");
    Some(Outgoing::Respond(invite, answer))
}

/// Translates an ACK: it matters only if it brings the answer to an offer of ours (RFC 3261 §13.2.2.4, interworking §2.8).
fn acknowledged(dialog: &mut Dialog, message: &Message, number: u32, branch: &str) -> Outcome {
    let mut outcome = Outcome::default();
    let Some(OfferIn2xx { first, .. }) = dialog.offer_in_2xx.take_if(|o| o.cseq == number) else {
        return outcome;
    };
    if dialog.state != State::Active {
        return outcome;
    }
    let answer = description(message, dialog);
    if let Some(Ok(_)) = &answer {
        dialog.sdp_in_force.clear();
    }
    match answer {
        Some(Ok(media)) if first => outcome.signals.push(Signal::Updated(media)),
        // The call has offered nothing: to it, the peer's answer is a change, and its own answer has no place on the wire.
        Some(Ok(media)) => outcome.signals.push(Signal::Update(media)),
        None | Some(Err(_)) if first => {
            outcome.send_now.push(bye(dialog, "SIP;cause=488;text=\"No answer in ACK\"", branch));
            outcome.signals.push(Signal::End(Reason::IncompatibleMedia.into()));
        }
        // A failed change leaves the session as it was (§14.1).
        None | Some(Err(_)) => {}
    }
    outcome
}

/// Translates re-INVITE and UPDATE: target refresh, offer, request for an offer (RFC 3261 §14.2, RFC 3311 §5.2).
fn change(dialog: &mut Dialog, message: &Message, invite: bool) -> Outcome {
    let mut outcome = Outcome::default();
    let offers = invite || message.sdp().is_some();
    let early = dialog.state != State::Active;
    let open = stored(&dialog.remote_offer);
    let again = open.as_ref().is_some_and(|asked| asked.cseq() == message.cseq());
    // An UPDATE without offer passes a re-INVITE that waits for its answer, but no other UPDATE (RFC 3311 §5.2).
    let passes = !offers && open.as_ref().is_some_and(|asked| asked.method().as_deref() == Some("INVITE"));
    let theirs = open.is_some() && !again && !passes || dialog.state == State::Incoming && offers;
    let put_off = dialog.local_offer_cseq == Some(PUT_OFF);
    let ours = dialog.local_offer_cseq.is_some() && !put_off || dialog.offer_in_2xx.is_some() || early;
    if theirs || offers && ours {
        let answer = if theirs {
            respond(dialog, message, 500, "An offer is open already").with("Retry-After", "3")
        } else {
            respond(dialog, message, 491, "Request Pending")
        };
        outcome.send_now.push(Outgoing::Respond(message.clone(), answer));
        return outcome;
    }
    if let Some(refusal) = session_timer::too_small(dialog, message) {
        outcome.send_now.push(refusal);
        return outcome;
    }
    if offers && put_off {
        // Theirs comes first; the call knows if it still wants its own (RFC 3261 §14.1).
        dialog.local_offer_cseq = None;
        outcome.signals.push(Signal::Refused(Reason::Glare));
    }
    if let Some(contact) = message.contact() {
        dialog.target = contact.uri.to_string();
    }
    let reply = |dialog: &Dialog, code, phrase| respond(dialog, message, code, phrase);
    match description(message, dialog) {
        None if invite => {
            let body = in_use(dialog);
            dialog.offer_in_2xx = message.cseq().map(|c| OfferIn2xx { cseq: c.number, first: false });
            let answer = reply(dialog, 200, "OK");
            let answer = session_timer::accept(dialog, message, answer).with_body("application/sdp", body);
            accepted(dialog, Outgoing::Accept(message.clone(), answer), &mut outcome);
        }
        None => {
            let answer = reply(dialog, 200, "OK");
            let answer = if early { answer } else { session_timer::accept(dialog, message, answer) };
            accepted(dialog, Outgoing::Respond(message.clone(), answer), &mut outcome);
        }
        Some(Ok(media)) => {
            dialog.remote_offer = message.write().to_vec();
            if invite {
                outcome.send_now.push(Outgoing::Respond(message.clone(), reply(dialog, 100, "Trying")));
            }
            outcome.signals.push(Signal::Update(media));
        }
        Some(Err(fault)) => {
            let answer = not_acceptable(dialog, message, fault.as_ref());
            outcome.send_now.push(Outgoing::Respond(message.clone(), answer));
        }
    }
    outcome
}

/// Sends a 2xx that is no signal for the call: after the commit, if the session's next end is to be recorded with it.
fn accepted(dialog: &Dialog, answer: Outgoing, outcome: &mut Outcome) {
    if dialog.session_timer.interval > 0 && dialog.state == State::Active {
        outcome.must_commit = true;
        outcome.send_after_commit.push(answer);
    } else {
        outcome.send_now.push(answer);
    }
}

/// Writes our offer when the peer asks for one: the media in use, with our wish instead of the last answer's direction. The
/// peer's hold shaped that answer, and a peer that resumes by an offerless re-INVITE must not find its own hold in our offer.
fn in_use(dialog: &mut Dialog) -> Vec<u8> {
    dialog.keep_in_force();
    let Some(mut media) = dialog.described() else { return dialog.last_sdp.clone() };
    for content in &mut media.contents {
        if !content.direction.sends() {
            content.direction = Direction::Both;
        }
    }
    dialog.describe(&media, false)
}

/// Reads application/dtmf-relay (`Signal=5`, `Duration=160`) or application/dtmf (`5`); `10` is `*`, `11` is `#`, 12–15 are
/// A–D.
fn tone(message: &Message) -> Option<Tone> {
    let text = std::str::from_utf8(&message.body).ok()?;
    let value = |name: &str| {
        text.lines().find_map(|l| {
            let (n, v) = l.split_once('=')?;
            n.trim().eq_ignore_ascii_case(name).then(|| v.trim())
        })
    };
    let word = value("Signal").unwrap_or(text.trim()).to_ascii_uppercase();
    let digit = match word.as_str() {
        "10" => '*',
        "11" => '#',
        "12" => 'A',
        "13" => 'B',
        "14" => 'C',
        "15" => 'D',
        word => word.parse::<char>().ok()?,
    };
    let duration = value("Duration").and_then(|d| d.parse().ok()).unwrap_or(160);
    "0123456789*#ABCD".contains(digit).then_some(Tone { digit, duration })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-DTMF-5
    #[test]
    fn digits_in_every_spelling() {
        let digit = |body: &str| {
            tone(&Message::request("INFO", "sip:a@b").with_body("application/dtmf", body.to_owned()))
        };
        for (body, want) in [
            ("Signal=5\r\nDuration=160\r\n", Some(('5', 160))),
            ("signal = a \r\nDURATION= 90", Some(('A', 90))),
            ("Signal=11\r\n", Some(('#', 160))),
            ("7", Some(('7', 160))),
            ("10", Some(('*', 160))),
            ("Signal=16", None),
            ("Signal=\r\n", None),
            ("hello", None),
        ] {
            assert_eq!(digit(body).map(|t| (t.digit, t.duration)), want, "{body:?}");
        }
    }
}
