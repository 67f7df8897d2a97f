//! SIP ⇄ [`Signal`]: what a message means, and how a signal is said. Beside it: the same file of the xmpp crate.
//!
//! One rule: both functions are pure in dialog and message. The edge decides when the result leaves: `now`, or `after` the
//! commit where it promises something.

use crate::dialog::{Dialog, State};
use crate::message::{Message, Start};
use crate::reason;
use signal::media::Kind;
use signal::{End, Media, Reason, Signal, Tone};

/// What a message came to.
#[derive(Debug, Default)]
pub struct Hearing {
    /// For the call.
    pub signals: Vec<Signal>,
    /// Leaves at once.
    pub now: Vec<Wire>,
    /// Leaves after the commit.
    pub after: Vec<Wire>,
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

fn description(message: &Message, dialog: &mut Dialog) -> Option<Result<Media, ()>> {
    if message.body.is_empty() {
        return None;
    }
    Some(match media::sdp::read(&message.body) {
        Ok((media, shape)) => {
            dialog.shape = shape;
            Ok(media)
        }
        Err(_) => Err(()),
    })
}

fn end(message: &Message, fallback: Reason) -> End {
    let reasons: Vec<&str> = message.list("Reason");
    reason::end(fallback, message.code(), &reasons)
}

/// A response to `request` with our tag and, where the method asks for it, our Contact.
fn respond(dialog: &Dialog, request: &Message, code: u16, phrase: &str) -> Message {
    let tag = dialog.local.rsplit_once(";tag=").map_or("", |(_, tag)| tag);
    let response = Message::response(request, code, phrase, tag);
    match request.method().as_deref() {
        Some("INVITE" | "UPDATE") if code < 400 => response.with("Contact", dialog.contact.clone()),
        _ => response,
    }
}

fn stored(octets: &[u8]) -> Option<Message> {
    crate::message::read(&octets.to_vec().into()).ok()
}

/// What a peer's message within this dialog means. `branch` is for an ACK that must be sent.
pub fn hear(dialog: &mut Dialog, message: &Message, branch: &str) -> Hearing {
    match &message.start {
        Start::Request { method, .. } => hear_request(dialog, message, method),
        Start::Response { code, .. } => hear_response(dialog, message, *code, branch),
    }
}

fn hear_request(dialog: &mut Dialog, message: &Message, method: &str) -> Hearing {
    let mut heard = Hearing::default();
    let number = message.cseq().map_or(0, |c| c.number);
    let reply = |dialog: &Dialog, code, phrase| {
        Wire::Respond(message.clone(), respond(dialog, message, code, phrase))
    };
    match method {
        "ACK" => return heard,
        "CANCEL" => {
            heard.now.push(reply(dialog, 200, "OK"));
            if dialog.state == State::Incoming {
                dialog.state = State::Ended;
                heard.signals.push(Signal::End(end(message, Reason::Cancelled)));
                if let Some(invite) = stored(&dialog.invite) {
                    let answer = respond(dialog, &invite, 487, "Request Terminated");
                    heard.after.push(Wire::Respond(invite, answer));
                }
            }
            return heard;
        }
        _ if number <= dialog.remote_cseq && dialog.state != State::Incoming => {
            heard.now.push(reply(dialog, 500, "CSeq out of order"));
            return heard;
        }
        _ => dialog.remote_cseq = dialog.remote_cseq.max(number),
    }
    if dialog.state == State::Ended {
        let (code, phrase) =
            if method == "BYE" { (200, "OK") } else { (481, "Call/Transaction Does Not Exist") };
        heard.now.push(reply(dialog, code, phrase));
        return heard;
    }
    match method {
        "INVITE" if dialog.state == State::Incoming => {
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
        "INVITE" | "UPDATE" => {
            if dialog.asking.is_some() {
                heard.now.push(reply(dialog, 491, "Request Pending"));
                return heard;
            }
            if !dialog.asked.is_empty() || dialog.state != State::Active {
                let answer =
                    respond(dialog, message, 500, "An offer is open already").with("Retry-After", "3");
                heard.now.push(Wire::Respond(message.clone(), answer));
                return heard;
            }
            if let Some(contact) = message.contact() {
                dialog.target = contact.uri.to_string();
            }
            match description(message, dialog) {
                None => {
                    let answer = respond(dialog, message, 200, "OK");
                    heard.now.push(if method == "INVITE" {
                        let answer = answer.with_body("application/sdp", dialog.said.clone());
                        Wire::Accept(message.clone(), answer)
                    } else {
                        Wire::Respond(message.clone(), answer)
                    });
                }
                Some(Ok(media)) => {
                    dialog.asked = message.write().to_vec();
                    heard.now.push(reply(dialog, 100, "Trying"));
                    heard.signals.push(Signal::Update(media));
                }
                Some(Err(())) => heard.now.push(reply(dialog, 488, "Not Acceptable Here")),
            }
        }
        "BYE" => {
            heard.signals.push(Signal::End(end(message, Reason::Normal)));
            heard.after.push(reply(dialog, 200, "OK"));
            if dialog.state == State::Incoming
                && let Some(invite) = stored(&dialog.invite)
            {
                let answer = respond(dialog, &invite, 487, "Request Terminated");
                heard.after.push(Wire::Respond(invite, answer));
            }
            dialog.state = State::Ended;
        }
        "INFO" => {
            if let Some(tone) = tone(&message.body) {
                heard.signals.push(Signal::Tone(tone));
                heard.after.push(reply(dialog, 200, "OK"));
            } else {
                heard.now.push(reply(dialog, 200, "OK"));
            }
        }
        _ => heard.now.push(reply(dialog, 200, "OK")),
    }
    heard
}

/// application/dtmf-relay: `Signal=5`, `Duration=160`.
fn tone(body: &[u8]) -> Option<Tone> {
    let text = std::str::from_utf8(body).ok()?;
    let value = |name: &str| {
        text.lines().find_map(|l| {
            let (n, v) = l.split_once('=')?;
            n.trim().eq_ignore_ascii_case(name).then(|| v.trim())
        })
    };
    let digit = value("Signal")?.chars().next()?.to_ascii_uppercase();
    let duration = value("Duration").and_then(|d| d.parse().ok()).unwrap_or(160);
    "0123456789*#ABCD".contains(digit).then_some(Tone { digit, duration })
}

fn hear_response(dialog: &mut Dialog, message: &Message, code: u16, branch: &str) -> Hearing {
    let mut heard = Hearing::default();
    let Some(cseq) = message.cseq() else { return heard };
    if cseq.method != "INVITE" {
        return heard;
    }
    if code < 300 && code > 100 && matches!(dialog.state, State::Outgoing | State::Cancelled) {
        if let Some(to) = message.text("To") {
            dialog.remote = to.to_owned();
        }
        if let Some(contact) = message.contact() {
            dialog.target = contact.uri.to_string();
        }
        dialog.route = message.list("Record-Route").into_iter().rev().map(str::to_owned).collect();
    }
    let first = matches!(dialog.state, State::Outgoing | State::Cancelled);
    match code {
        100..=199 => {
            if dialog.state == State::Cancelled && !dialog.proceeding {
                heard.now.extend(dialog.cancel().map(Wire::Request));
            }
            dialog.proceeding = true;
            if dialog.state == State::Outgoing && code > 100 {
                if let Some(Ok(media)) = description(message, dialog) {
                    heard.signals.push(Signal::Progress(Some(media)));
                } else if code == 180 && !dialog.ringing {
                    dialog.ringing = true;
                    heard.signals.push(Signal::Ringing);
                }
            }
        }
        200..=299 => {
            if !first && dialog.asking != Some(cseq.number) {
                // The 2xx again: its ACK again (R-CALL-18).
                heard.now.extend(stored(&dialog.ack).map(Wire::Direct));
                return heard;
            }
            let ack = dialog.acknowledge(cseq.number, branch);
            dialog.ack = ack.write().to_vec();
            let media = description(message, dialog);
            if dialog.state == State::Cancelled {
                // Answered while we gave up: take it and hang up (§15.1.1).
                dialog.state = State::Ended;
                let bye = dialog.request("BYE", &format!("{branch}b"));
                heard.now.extend([Wire::Direct(ack), Wire::Request(bye)]);
            } else if first {
                match media {
                    Some(Ok(media)) => {
                        dialog.state = State::Active;
                        heard.signals.push(Signal::Answer(media));
                        heard.after.push(Wire::Direct(ack));
                    }
                    _ => {
                        dialog.state = State::Ended;
                        let bye = dialog.request("BYE", &format!("{branch}b"));
                        heard.now.extend([Wire::Direct(ack), Wire::Request(bye)]);
                        heard.signals.push(Signal::End(Reason::IncompatibleMedia.into()));
                    }
                }
            } else {
                dialog.asking = None;
                heard.after.push(Wire::Direct(ack));
                heard.signals.push(match media {
                    Some(Ok(media)) => Signal::Updated(media),
                    _ => Signal::Refused(Reason::IncompatibleMedia),
                });
            }
        }
        _ if first => {
            let cancelled = dialog.state == State::Cancelled;
            dialog.state = State::Ended;
            if cancelled {
                return heard;
            }
            let moved = (300..400).contains(&code).then(|| message.contact()).flatten();
            heard.signals.push(match moved {
                Some(contact) => Signal::Moved(contact.uri.to_string()),
                None => Signal::End(end(message, reason::heard(code))),
            });
        }
        _ if dialog.asking == Some(cseq.number) => {
            dialog.asking = None;
            if matches!(code, 408 | 481) {
                dialog.state = State::Ended;
                heard.signals.push(Signal::End(end(message, reason::heard(code))));
            } else {
                heard.signals.push(Signal::Refused(reason::heard(code)));
            }
        }
        _ => {}
    }
    heard
}

/// How a signal is said to the peer of this dialog; nothing where the leg's state has no use for it any more.
pub fn say(dialog: &mut Dialog, signal: &Signal, branch: &str) -> Vec<Wire> {
    let open = stored(&dialog.invite).filter(|_| dialog.state == State::Incoming);
    match (signal, open) {
        // The INVITE itself was made with the dialog.
        (Signal::Offer(media), _) if dialog.state == State::Outgoing && dialog.invite.is_empty() => {
            let body = dialog.describe(media, false);
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
            let body = dialog.describe(media, !invite.body.is_empty());
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
        (Signal::Moved(target), Some(invite)) => {
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
            dialog.state = State::Ended;
            vec![Wire::Request(dialog.request("BYE", branch).with("Reason", why))]
        }
        _ => vec![],
    }
}
