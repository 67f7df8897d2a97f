//! Changes of a running session: session-info and the content and transport actions (XEP-0166 §7.2, XEP-0167 §8).

use super::jingle::{acknowledged, bad_request, is_complete, out_of_order, refuse};
use super::{Outcome, terminate};
use crate::session::{LocalOffer, RemoteOffer, Session, State};
use crate::stanza::{DTMF, ICE, INFO, JINGLE, TRANSFER};
use media::jingle::Role;
use minidom::Element;
use signal::media::{Content, Direction};
use signal::{Media, Reason, Signal, Time, Tone};

/// Most contents of one session (R-SDP-14).
const MAX_CONTENTS: usize = 32;
/// Longest JID, octets (RFC 7622 §3.1).
const MAX_JID: usize = 3_071;

pub(super) fn info(session: &mut Session, iq: &Element, jingle: &Element, now: Time) -> Outcome {
    let mut outcome = acknowledged(iq);
    let Some(payload) = jingle.children().next() else { return outcome };
    match (payload.name(), payload.ns().as_str()) {
        ("ringing", INFO) => {
            if session.state == State::Outgoing && session.remote_ringing.is_none() {
                session.remote_ringing = Some(now);
                outcome.signals.push(Signal::Ringing);
            }
        }
        ("hold", INFO) => hold(session, true),
        ("unhold" | "active", INFO) => hold(session, false),
        // The relay notices silence by itself; SIP has no word for it (interworking §2.9).
        ("mute" | "unmute", INFO) => {}
        ("dtmf", DTMF) => match tone(payload) {
            Some(tone) => outcome.signals.push(Signal::Tone(tone)),
            None => return refuse(iq, "modify", "feature-not-implemented", Some("unsupported-info")),
        },
        ("transfer", TRANSFER) => return transfer(session, iq, payload),
        _ => return refuse(iq, "modify", "feature-not-implemented", Some("unsupported-info")),
    }
    outcome
}

/// Takes the request to give our party another peer (XEP-0251 §2). A session of another sid is another call of this gateway, which no
/// party moves to.
fn transfer(session: &Session, iq: &Element, transfer: &Element) -> Outcome {
    if transfer.attr("sid").is_some() {
        return refuse(iq, "modify", "feature-not-implemented", Some("unsupported-info"));
    }
    let Some(to) = transfer.attr("to").filter(|to| (1..=MAX_JID).contains(&to.len())) else {
        return bad_request(iq);
    };
    if session.state != State::Active {
        return out_of_order(iq);
    }
    let refer = Signal::Refer { target: to.to_owned(), replaces: None };
    Outcome { signals: vec![refer], ..acknowledged(iq) }
}

/// Takes a hold or unhold: it has effect now, or when the open offer closes; only the last one counts.
fn hold(session: &mut Session, holding: bool) {
    if session.remote_hold != holding {
        session.remote_hold = holding;
        session.deferred_hold = true;
    }
}

/// Reads a keypad digit (XEP-0181 §2).
fn tone(dtmf: &Element) -> Option<Tone> {
    let digit = dtmf.attr("code")?.chars().next()?.to_ascii_uppercase();
    let duration = dtmf.attr("duration").and_then(|d| d.parse().ok()).unwrap_or(160);
    "0123456789*#ABCD".contains(digit).then_some(Tone { digit, duration })
}

pub(super) fn hear(session: &mut Session, iq: &Element, jingle: &Element, action: &str, id: &str) -> Outcome {
    if matches!(action, "content-accept" | "content-reject") {
        return add_answered(session, iq, jingle, action == "content-accept");
    }
    if let Some((offer, _)) = &session.local_offer {
        let crossed = match offer {
            LocalOffer::Add(_) => action == "content-add",
            LocalOffer::Remove => action == "content-remove",
            LocalOffer::Info => false,
        };
        // XEP-0166 §7.2.16: of two equal actions the initiator's wins.
        if crossed && session.initiator {
            return refuse(iq, "cancel", "conflict", Some("tie-break"));
        }
        if !crossed {
            return refuse(iq, "wait", "unexpected-request", None);
        }
    }
    if session.remote_offer.is_some() {
        return refuse(iq, "wait", "unexpected-request", None);
    }
    match action {
        "content-add" => add(session, iq, jingle),
        "content-modify" => modify(session, iq, jingle),
        "content-remove" => remove(session, iq, jingle, id),
        "transport-replace" => replace(session, iq, jingle, id),
        _ => out_of_order(iq),
    }
}

fn is_ice_complete(media: &Media) -> bool {
    media.contents.iter().filter_map(|content| content.transport.ice.as_ref()).all(is_complete)
}

fn contents(jingle: &Element) -> impl Iterator<Item = &Element> {
    jingle.children().filter(|c| c.is("content", JINGLE)).take(MAX_CONTENTS)
}

/// Handles the peer's answer to our content-add.
fn add_answered(session: &mut Session, iq: &Element, jingle: &Element, accepted: bool) -> Outcome {
    let Some((LocalOffer::Add(names), previous)) = session.local_offer.clone() else {
        return out_of_order(iq);
    };
    let media = media::jingle::read(jingle, session.peer_role()).ok().filter(is_ice_complete);
    let Some(media) = media else { return bad_request(iq) };
    let taken: Vec<Content> =
        media.contents.into_iter().filter(|c| accepted && names.contains(&c.name) && !c.rejected).collect();
    session.local_offer = None;
    let mut outcome = acknowledged(iq);
    if taken.is_empty() {
        session.local_description = previous;
        outcome.signals.push(Signal::Refused(Reason::IncompatibleMedia));
        return outcome;
    }
    let offered = session.local_description.contents.iter().filter(|c| names.contains(&c.name));
    let answers = offered.map(|offered| {
        let answer = taken.iter().find(|t| t.name == offered.name).cloned();
        answer.unwrap_or_else(|| Content { rejected: true, ..offered.clone() })
    });
    session.remote_description.edit(|media| media.contents.extend(answers));
    outcome.signals.push(Signal::Updated(session.agreed()));
    outcome
}

fn add(session: &mut Session, iq: &Element, jingle: &Element) -> Outcome {
    let Ok(media) = media::jingle::read(jingle, session.peer_role()) else { return bad_request(iq) };
    let names: Vec<String> = media.contents.iter().map(|c| c.name.clone()).collect();
    // A content that we refused may come again.
    let lives = |media: &Media, name: &str| media.contents.iter().any(|c| c.name == name && !c.rejected);
    let refused =
        |name: &str| session.local_description.contents.iter().any(|c| c.name == name && c.rejected);
    let taken = |name: &String| lives(&session.remote_description, name) && !refused(name);
    let room = MAX_CONTENTS.saturating_sub(session.remote_description.contents.len());
    if names.is_empty() || names.iter().any(taken) || names.len() > room || !is_ice_complete(&media) {
        return bad_request(iq);
    }
    session.remote_description.edit(|description| {
        for content in media.contents {
            // A refused or removed content may be added again, in its old place (RFC 3264 §8.2).
            match description.contents.iter_mut().find(|c| c.name == content.name) {
                Some(old) => *old = content,
                None => description.contents.push(content),
            }
        }
    });
    session.responder_contents.retain(|added| !names.contains(added));
    if session.initiator {
        session.responder_contents.extend(names.iter().cloned());
    }
    session.remote_offer = Some(RemoteOffer::Add(names));
    offer(session, iq)
}

fn modify(session: &mut Session, iq: &Element, jingle: &Element) -> Outcome {
    let role = session.peer_role();
    let mut description = Media::clone(&session.remote_description);
    for element in contents(jingle) {
        let name = element.attr("name").unwrap_or("");
        let direction = match (element.attr("senders"), role) {
            (Some("both"), _) => Direction::Both,
            (Some("none"), _) => Direction::None,
            (Some("initiator"), Role::Initiator) | (Some("responder"), Role::Responder) => Direction::Send,
            (Some("initiator" | "responder"), _) => Direction::Receive,
            _ => return bad_request(iq),
        };
        match description.contents.iter_mut().find(|c| c.name == name && !c.rejected) {
            Some(content) => content.direction = direction,
            None => return refuse(iq, "cancel", "item-not-found", None),
        }
    }
    if description == *session.remote_description {
        return acknowledged(iq);
    }
    session.remote_description = description.into();
    session.remote_offer = Some(RemoteOffer::Change);
    offer(session, iq)
}

fn remove(session: &mut Session, iq: &Element, jingle: &Element, id: &str) -> Outcome {
    let names: Vec<&str> = contents(jingle).filter_map(|c| c.attr("name")).collect();
    let known =
        |name: &&str| session.remote_description.contents.iter().any(|c| c.name == **name && !c.rejected);
    if names.is_empty() {
        return bad_request(iq);
    }
    if !names.iter().all(known) {
        return refuse(iq, "cancel", "item-not-found", None);
    }
    session.remote_description.edit(|description| {
        for content in description.contents.iter_mut().filter(|c| names.contains(&c.name.as_str())) {
            content.rejected = true;
        }
    });
    if session.remote_description.contents.iter().all(|c| c.rejected) {
        // No content is left: we end the session (XEP-0166 §7.2.5).
        let mut outcome = acknowledged(iq);
        outcome.send_after_commit.extend(terminate(session, &Reason::Normal.into(), id));
        outcome.signals.push(Signal::End(Reason::Normal.into()));
        return outcome;
    }
    session.remote_offer = Some(RemoteOffer::Change);
    offer(session, iq)
}

/// Handles a transport-replace (XEP-0176 §5.10): ICE for ICE is taken, any other transport refused.
fn replace(session: &mut Session, iq: &Element, jingle: &Element, id: &str) -> Outcome {
    let mut description = Media::clone(&session.remote_description);
    for element in contents(jingle) {
        let content =
            description.contents.iter_mut().find(|c| element.attr("name") == Some(&c.name) && !c.rejected);
        let Some(content) = content else { return refuse(iq, "cancel", "item-not-found", None) };
        match element.get_child("transport", ICE).map(media::jingle::ice) {
            Some(ice) if is_complete(&ice) => content.transport.ice = Some(ice),
            Some(ice) if !ice.pwd.is_empty() => return bad_request(iq),
            _ => {
                let mut outcome = acknowledged(iq);
                session.remote_offer = Some(RemoteOffer::Replace);
                outcome.send_after_commit.extend(super::refused(session, Reason::UnsupportedTransport, id));
                return outcome;
            }
        }
    }
    session.remote_description = description.into();
    session.remote_offer = Some(RemoteOffer::Replace);
    offer(session, iq)
}

fn offer(session: &Session, iq: &Element) -> Outcome {
    let mut outcome = acknowledged(iq);
    outcome.signals.push(Signal::Update(session.description()));
    outcome
}
