//! What the answer to our INVITE means.

use super::{Hearing, Wire, bye, described, description, end, stored};
use crate::dialog::{Dialog, State, same_tag};
use crate::message::Message;
use crate::reason;
use signal::{Media, Reason, Signal};

pub(super) fn hear(dialog: &mut Dialog, message: &Message, code: u16, branch: &str) -> Hearing {
    let mut heard = Hearing::default();
    let Some(cseq) = message.cseq().filter(|c| c.method == "INVITE") else { return heard };
    let first = cseq.number == dialog.opened && matches!(dialog.state, State::Outgoing | State::Cancelled);
    if first && code < 300 && code > 100 {
        dialog.meet(message);
    }
    match code {
        100..=199 if first => provisional(dialog, message, code, &mut heard),
        100..=199 => {}
        200..=299 if first => answered(dialog, message, cseq.number, branch, &mut heard),
        200..=299 if dialog.asking == Some(cseq.number) => {
            dialog.asking = None;
            // Target refresh (§12.2.1.2).
            if let Some(contact) = message.contact() {
                dialog.target = contact.uri.to_string();
            }
            let ack = acknowledge(dialog, cseq.number, branch);
            heard.after.push(ack);
            heard.signals.push(match description(message, dialog) {
                Some(Ok(media)) => Signal::Updated(media),
                _ => Signal::Refused(Reason::IncompatibleMedia),
            });
        }
        200..=299 => {
            let tag = message.to().and_then(|to| to.tag().map(str::to_owned));
            let other = !same_tag(tag.as_deref(), dialog.remote_tag().as_deref());
            if cseq.number == dialog.opened && (dialog.ack.is_empty() || other) {
                heard.now.extend(release(dialog, message, cseq.number, branch));
            } else {
                // The 2xx again: its ACK again (R-CALL-18). One that comes after we gave up its re-INVITE gets one too.
                let known = stored(&dialog.ack).filter(|a| a.cseq().is_some_and(|c| c.number == cseq.number));
                heard.now.push(match known {
                    Some(ack) => Wire::Direct(ack),
                    None => Wire::Direct(dialog.acknowledge(cseq.number, branch)),
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
                Some(contact) => Signal::Redirect(contact.uri.to_string()),
                None => Signal::End(end(message, refusal(code, dialog.ringing))),
            });
        }
        _ if dialog.asking == Some(cseq.number) => {
            dialog.asking = None;
            if matches!(code, 408 | 481) {
                // The dialog is gone at the peer (§12.2.1.2).
                dialog.state = State::Ended;
                heard.signals.push(Signal::End(end(message, reason::heard(code))));
            } else {
                // 491 too: whether the change is still wanted, the call knows (§14.1).
                heard.signals.push(Signal::Refused(reason::heard(code)));
            }
        }
        _ => {}
    }
    heard
}

/// What a refusal means. A 480 after ringing is a phone that nobody picked up, not one that is away (interworking §4.3).
fn refusal(code: u16, rang: bool) -> Reason {
    match reason::heard(code) {
        Reason::Offline if rang => Reason::NoAnswer,
        reason => reason,
    }
}

fn provisional(dialog: &mut Dialog, message: &Message, code: u16, heard: &mut Hearing) {
    if dialog.state == State::Cancelled && !dialog.proceeding {
        heard.now.extend(dialog.cancel().map(Wire::Request));
    }
    dialog.proceeding = true;
    if dialog.state != State::Outgoing || code == 100 {
        return;
    }
    let sdp = message.sdp().map(|sdp| sdp.to_vec());
    if sdp.as_ref().is_some_and(|sdp| *sdp == dialog.early) {
        return;
    }
    if let Some(sdp) = sdp
        && let Some(Ok(media)) = description(message, dialog)
    {
        dialog.early = sdp;
        heard.signals.push(Signal::Progress(Some(media)));
    } else if matches!(code, 180 | 183) && !dialog.ringing {
        // Many gateways say 183 for it, with no description (interworking §2.7).
        dialog.ringing = true;
        heard.signals.push(Signal::Ringing);
    }
}

fn answered(dialog: &mut Dialog, message: &Message, cseq: u32, branch: &str, heard: &mut Hearing) {
    let cancelled = dialog.state == State::Cancelled;
    let media = answer(dialog, message);
    let ack = acknowledge(dialog, cseq, branch);
    match media {
        Some(media) if !cancelled => {
            dialog.state = State::Active;
            heard.signals.push(Signal::Answer(media));
            heard.after.push(ack);
        }
        // Answered while we gave up, or without a description: take it and hang up (§15.1.1, §13.2.2.4).
        media => {
            let why = if media.is_none() { Reason::IncompatibleMedia } else { Reason::Cancelled };
            heard.now.extend([ack, bye(dialog, &reason::header(why), &format!("{branch}b"))]);
            if !cancelled {
                heard.signals.push(Signal::End(why.into()));
            }
        }
    }
}

/// The answer's description; a 200 without one repeats that of the provisional response before it (R-CALL-39).
fn answer(dialog: &mut Dialog, message: &Message) -> Option<Media> {
    match description(message, dialog) {
        Some(described) => described.ok(),
        None => described(&dialog.early.clone(), dialog).ok(),
    }
}

fn acknowledge(dialog: &mut Dialog, cseq: u32, branch: &str) -> Wire {
    let ack = dialog.acknowledge(cseq, branch);
    dialog.ack = ack.write().to_vec();
    Wire::Direct(ack)
}

/// A 2xx that is no call of ours: another branch of a forked INVITE answered as well, or one came after we had given up waiting.
/// It is a call to the peer: ACK and BYE (R-CALL-29).
pub fn release(dialog: &Dialog, message: &Message, cseq: u32, branch: &str) -> [Wire; 2] {
    let mut other = dialog.clone();
    other.meet(message);
    other.local_cseq = cseq;
    let ack = Wire::Direct(other.acknowledge(cseq, branch));
    [ack, bye(&mut other, &reason::header(Reason::AnsweredElsewhere), &format!("{branch}b"))]
}
