//! What a peer's request means.

use super::{Hearing, Wire, branch as branch_of, bye, description, end, respond, stored, terminated};
use crate::dialog::{Dialog, Offered, State};
use crate::message::Message;
use crate::screen::ALLOW;
use signal::media::{Direction, Kind};
use signal::{Media, Reason, Signal, Tone};

pub(super) fn hear(dialog: &mut Dialog, message: &Message, method: &str, branch: &str) -> Hearing {
    let mut heard = Hearing::default();
    let number = message.cseq().map_or(0, |c| c.number);
    let reply = |dialog: &Dialog, code, phrase| {
        Wire::Respond(message.clone(), respond(dialog, message, code, phrase))
    };
    let name = branch_of(message);
    let same = name == dialog.remote_branch;
    let tagged = message.to().is_some_and(|to| to.tag().is_some());
    match method {
        "ACK" => return acknowledged(dialog, message, number, branch),
        "CANCEL" => {
            heard.now.push(reply(dialog, 200, "OK"));
            if dialog.state == State::Incoming {
                dialog.state = State::Ended;
                heard.signals.push(Signal::End(end(message, Reason::Cancelled)));
                heard.after.extend(gone(dialog));
            }
            return heard;
        }
        "INVITE" if !tagged && (dialog.state != State::Incoming || !opens(dialog, message)) => {
            // The dialog-to-be again, by another way (§8.2.2.2).
            heard.now.push(reply(dialog, 482, "Loop Detected"));
            return heard;
        }
        // The very request again is heard again: the edge that answered it may be gone. The record takes it once.
        _ if dialog.state != State::Incoming
            && (number < dialog.remote_cseq || number == dialog.remote_cseq && !same) =>
        {
            heard.now.push(reply(dialog, 500, "CSeq out of order"));
            return heard;
        }
        _ if number >= dialog.remote_cseq => (dialog.remote_cseq, dialog.remote_branch) = (number, name),
        _ => {}
    }
    if dialog.state == State::Ended {
        let (code, phrase) =
            if method == "BYE" { (200, "OK") } else { (481, "Call/Transaction Does Not Exist") };
        heard.now.push(reply(dialog, code, phrase));
        return heard;
    }
    match method {
        "INVITE" if !tagged => {
            let offer = match description(message, dialog) {
                Some(Ok(media)) => media,
                Some(Err(())) => {
                    dialog.state = State::Ended;
                    heard.now.push(reply(dialog, 488, "Not Acceptable Here"));
                    return heard;
                }
                None => Media::undescribed(&[Kind::Audio]),
            };
            heard.now.push(reply(dialog, 100, "Trying"));
            heard.signals.push(Signal::Offer(offer));
        }
        "INVITE" | "UPDATE" => return change(dialog, message, method == "INVITE"),
        "BYE" => {
            heard.signals.push(Signal::End(end(message, Reason::Normal)));
            heard.after.push(reply(dialog, 200, "OK"));
            heard.after.extend(terminated(dialog));
            if dialog.state == State::Incoming {
                heard.after.extend(gone(dialog));
            }
            dialog.state = State::Ended;
        }
        "INFO" if message.text("Info-Package").is_some() => {
            let answer = respond(dialog, message, 469, "Bad Info Package").with("Recv-Info", "");
            heard.now.push(Wire::Respond(message.clone(), answer));
        }
        "INFO" if message.body.is_empty() => heard.now.push(reply(dialog, 200, "OK")),
        "INFO" => match tone(message) {
            Some(tone) => {
                heard.signals.push(Signal::Tone(tone));
                heard.after.push(reply(dialog, 200, "OK"));
            }
            None => heard.now.push(reply(dialog, 400, "No digit in it")),
        },
        _ => {
            let answer = respond(dialog, message, 200, "OK")
                .with("Allow", ALLOW.join(", "))
                .with("Accept", "application/sdp");
            heard.now.push(Wire::Respond(message.clone(), answer));
        }
    }
    heard
}

/// The very INVITE that opened the dialog: its transaction, not a merged or later one.
fn opens(dialog: &Dialog, message: &Message) -> bool {
    let name = |m: &Message| Some((m.via()?.param("branch").map(str::to_owned), m.cseq()?.number));
    stored(&dialog.invite).is_some_and(|invite| name(&invite) == name(message))
}

/// The peer's INVITE is over before its answer.
fn gone(dialog: &Dialog) -> Option<Wire> {
    let invite = stored(&dialog.invite)?;
    let answer = respond(dialog, &invite, 487, "Request Terminated");
    Some(Wire::Respond(invite, answer))
}

/// An ACK matters where it brings the answer to an offer of ours (RFC 3261 §13.2.2.4, interworking §2.8).
fn acknowledged(dialog: &mut Dialog, message: &Message, number: u32, branch: &str) -> Hearing {
    let mut heard = Hearing::default();
    let Some(Offered { first, .. }) = dialog.offered.take_if(|o| o.cseq == number) else { return heard };
    if dialog.state != State::Active {
        return heard;
    }
    match description(message, dialog) {
        Some(Ok(media)) if first => heard.signals.push(Signal::Updated(media)),
        // The call has asked nothing: to it, what the peer now wants is a change; the answer to it has no place on the wire.
        Some(Ok(media)) => heard.signals.push(Signal::Update(media)),
        None | Some(Err(())) if first => {
            heard.now.push(bye(dialog, "SIP;cause=488;text=\"No answer in ACK\"", branch));
            heard.signals.push(Signal::End(Reason::IncompatibleMedia.into()));
        }
        // A failed change leaves the session as it was (§14.1).
        None | Some(Err(())) => {}
    }
    heard
}

/// re-INVITE and UPDATE: target refresh, offer, request for an offer (RFC 3261 §14.2, RFC 3311 §5.2).
fn change(dialog: &mut Dialog, message: &Message, invite: bool) -> Hearing {
    let mut heard = Hearing::default();
    let offers = invite || message.sdp().is_some();
    let early = dialog.state != State::Active;
    let again = stored(&dialog.asked).is_some_and(|asked| asked.cseq() == message.cseq());
    let theirs = !dialog.asked.is_empty() && !again || dialog.state == State::Incoming && offers;
    let ours = dialog.asking.is_some() || dialog.offered.is_some() || early;
    if theirs || offers && ours {
        let answer = if theirs {
            respond(dialog, message, 500, "An offer is open already").with("Retry-After", "3")
        } else {
            respond(dialog, message, 491, "Request Pending")
        };
        heard.now.push(Wire::Respond(message.clone(), answer));
        return heard;
    }
    if let Some(contact) = message.contact() {
        dialog.target = contact.uri.to_string();
    }
    let reply = |dialog: &Dialog, code, phrase| respond(dialog, message, code, phrase);
    match description(message, dialog) {
        None if invite => {
            let body = in_use(dialog);
            dialog.offered = message.cseq().map(|c| Offered { cseq: c.number, first: false });
            let answer = reply(dialog, 200, "OK").with_body("application/sdp", body);
            heard.now.push(Wire::Accept(message.clone(), answer));
        }
        None => heard.now.push(Wire::Respond(message.clone(), reply(dialog, 200, "OK"))),
        Some(Ok(media)) => {
            dialog.asked = message.write().to_vec();
            if invite {
                heard.now.push(Wire::Respond(message.clone(), reply(dialog, 100, "Trying")));
            }
            heard.signals.push(Signal::Update(media));
        }
        Some(Err(())) => {
            let answer = reply(dialog, 488, "Not Acceptable Here");
            heard.now.push(Wire::Respond(message.clone(), answer));
        }
    }
    heard
}

/// What we describe when asked for an offer: what is in use, with our wish instead of the last answer's direction. That answer
/// was bent by the peer's hold, and a peer that takes a call off hold by an offerless re-INVITE would find its hold in it.
fn in_use(dialog: &mut Dialog) -> Vec<u8> {
    let Ok((mut media, _)) = media::sdp::read(&dialog.said) else { return dialog.said.clone() };
    for content in &mut media.contents {
        if !content.direction.sends() {
            content.direction = Direction::Both;
        }
    }
    dialog.describe(&media, false)
}

/// application/dtmf-relay (`Signal=5`, `Duration=160`) or application/dtmf (`5`); `10` is `*`, `11` is `#`, 12–15 are A–D.
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
