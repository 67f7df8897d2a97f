//! Dialogs that take the place of others (RFC 3891): the leg stays, its peer is another one.
//!
//! One rule: to the call, whoever takes a place is a party that describes itself anew. The new dialog waits within the old one until
//! the call has answered.

use super::{Outcome, Outgoing, Replaces, description, hang_up, not_acceptable, respond, stored};
use crate::dialog::{Dialog, OfferIn2xx, State};
use crate::message::Message;
use crate::reason;
use crate::validate::{ALLOW, SUPPORTED};
use signal::media::{Content, Direction};
use signal::{EventId, Media, Reason, Signal};

/// Translates an INVITE that is to take the place of this dialog. `new`: its own dialog.
pub fn replaced(dialog: &mut Dialog, mut new: Dialog, message: &Message, branch: &str) -> Outcome {
    let mut outcome = Outcome::default();
    let nobody = nobody(&new);
    let again = dialog.replacement.as_ref().is_some_and(|open| open.call_id == new.call_id);
    let early_only =
        message.text("Replaces").and_then(Replaces::parse).is_some_and(|replaces| replaces.early_only);
    let busy = dialog.replacement.is_some() && !again
        || dialog.local_offer_cseq.is_some()
        || dialog.offer_in_2xx.is_some()
        || !dialog.remote_offer.is_empty();
    let refused = match dialog.state {
        State::Ended | State::Cancelled => Some((603, "Decline")),
        State::Active if early_only => Some((486, "Busy Here")),
        State::Active if busy => Some((491, "Request Pending")),
        State::Active | State::Outgoing => None,
        // Only whoever is called may be helped out (RFC 3891 §3).
        State::Incoming => Some((481, "Call/Transaction Does Not Exist")),
    };
    if let Some((code, phrase)) = refused {
        outcome.send_now.push(Outgoing::Respond(message.clone(), respond(&nobody, message, code, phrase)));
        return outcome;
    }
    match (description(message, &mut new), dialog.state) {
        (Some(Ok(theirs)), State::Active) => {
            outcome.send_now.push(Outgoing::Respond(message.clone(), respond(&new, message, 100, "Trying")));
            outcome.signals.push(Signal::Update(theirs));
            dialog.replacement = Some(Box::new(new));
        }
        (Some(Ok(theirs)), _) => match picked_up(dialog, &theirs) {
            Some((heard, said)) => {
                let body = new.describe(&said, true);
                outcome.signals.push(Signal::Answer(heard));
                outcome.send_after_commit = take_place(dialog, new, message.clone(), body, branch);
            }
            None => {
                let answer = not_acceptable(&nobody, message, None);
                outcome.send_now.push(Outgoing::Respond(message.clone(), answer));
            }
        },
        (None, State::Active) => {
            // The answer comes with the ACK.
            let Some(media) = dialog.described() else { return outcome };
            let body = new.describe(&media, false);
            new.offer_in_2xx = message.cseq().map(|c| OfferIn2xx { cseq: c.number, first: false });
            outcome.must_commit = true;
            outcome.send_after_commit = take_place(dialog, new, message.clone(), body, branch);
        }
        (fault, _) => {
            let fault = fault.and_then(Result::err).flatten();
            let answer = not_acceptable(&nobody, message, fault.as_ref());
            outcome.send_now.push(Outgoing::Respond(message.clone(), answer));
        }
    }
    outcome
}

/// Says what the call answers to whoever is to take the place of the dialog; `None` if the signal means the dialog itself.
pub(super) fn say(dialog: &mut Dialog, signal: &Signal, branch: &str) -> Option<Vec<Outgoing>> {
    if !matches!(signal, Signal::Updated(_) | Signal::Refused(_)) {
        return None;
    }
    let mut new = *dialog.replacement.take()?;
    let invite = stored(&new.invite)?;
    Some(match signal {
        Signal::Updated(media) => {
            let body = new.describe(media, true);
            take_place(dialog, new, invite, body, branch)
        }
        Signal::Refused(Reason::Glare) => {
            let answer = respond(&nobody(&new), &invite, 491, "Request Pending");
            vec![Outgoing::Respond(invite, answer)]
        }
        _ => {
            let answer = not_acceptable(&nobody(&new), &invite, None);
            vec![Outgoing::Respond(invite, answer)]
        }
    })
}

/// Answers whoever was to take the place of a dialog that has ended.
pub(super) fn end(dialog: &mut Dialog) -> Option<Outgoing> {
    let new = dialog.replacement.take()?;
    let invite = stored(&new.invite)?;
    let answer = respond(&nobody(&new), &invite, 603, "Decline");
    Some(Outgoing::Respond(invite, answer))
}

/// Returns a dialog with a tag that names no leg: the ACK of a refusal belongs to its transaction alone.
fn nobody(new: &Dialog) -> Dialog {
    let to = new.local.rsplit_once(";tag=").map_or(new.local.as_str(), |(to, _)| to);
    let tag = EventId::of(&["refused", &new.call_id, &new.remote]).0;
    Dialog { local: format!("{to};tag={tag:x}"), ..new.clone() }
}

/// Puts a dialog in the place of another one, which is hung up or given up.
fn take_place(
    dialog: &mut Dialog,
    mut new: Dialog,
    invite: Message,
    body: Vec<u8>,
    branch: &str,
) -> Vec<Outgoing> {
    new.state = State::Active;
    let answer = respond(&new, &invite, 200, "OK")
        .with("Allow", ALLOW.join(", "))
        .with("Supported", SUPPORTED.join(", "))
        .with_body("application/sdp", body);
    let mut old = std::mem::replace(dialog, new);
    let last = match old.state {
        State::Active => hang_up(&mut old, &reason::header(Reason::Normal), branch),
        _ => {
            let why = reason::header(Reason::AnsweredElsewhere);
            let cancel = old.cancel().filter(|_| old.proceeding);
            cancel.map(|cancel| Outgoing::Request(cancel.with("Reason", why))).into_iter().collect()
        }
    };
    let former = |one| match one {
        Outgoing::Request(request) => Outgoing::Former(old.to_bytes(), request),
        other => other,
    };
    [Outgoing::Accept(invite, answer)].into_iter().chain(last.into_iter().map(former)).collect()
}

/// Makes an answer to our open offer of an offer of whoever takes the place of the one that it was made to, and our answer to that.
/// `None` if there is nothing in common, or our offer has keys or candidates, which are for that one alone.
fn picked_up(dialog: &Dialog, theirs: &Media) -> Option<(Media, Media)> {
    let (ours, _) = media::sdp::read(&dialog.last_sdp).ok()?;
    let secured = |content: &Content| {
        let transport = &content.transport;
        transport.ice.is_some() || transport.dtls.is_some() || !transport.crypto.is_empty()
    };
    if ours.contents.iter().chain(&theirs.contents).any(secured) {
        return None;
    }
    let shared = |offered: &Content, ours: &Content| {
        let known = |codec: &&_| ours.codecs.iter().any(|own| own.same(codec));
        let codecs: Vec<_> = offered.codecs.iter().filter(known).cloned().collect();
        Some(codecs).filter(|codecs| codecs.iter().any(|codec| !codec.is_auxiliary()))
    };
    let (mut heard, mut said) = (ours.clone(), theirs.clone());
    said.contents.iter_mut().for_each(|content| content.rejected = true);
    heard.contents.iter_mut().for_each(|content| content.rejected = true);
    for (place, offered) in theirs.contents.iter().enumerate().filter(|(_, offered)| !offered.rejected) {
        let free = |(own, heard): &(&Content, &mut Content)| {
            own.kind == offered.kind && !own.rejected && heard.rejected
        };
        let mut pairs = ours.contents.iter().zip(&mut heard.contents);
        let Some((own, heard)) = pairs.find(free) else { continue };
        let Some(codecs) = shared(offered, own) else { continue };
        *heard = Content { name: own.name.clone(), codecs: codecs.clone(), ..offered.clone() };
        if let Some(said) = said.contents.get_mut(place) {
            let direction = match offered.direction {
                Direction::Send => Direction::Receive,
                Direction::Receive => Direction::Send,
                both_or_none => both_or_none,
            };
            *said = Content { name: said.name.clone(), codecs, direction, ..own.clone() };
        }
    }
    heard.contents.iter().any(|content| !content.rejected).then_some((heard, said))
}
