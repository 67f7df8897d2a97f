//! What changes a running session: session-info and the content and transport actions (XEP-0166 §7.2, XEP-0167 §8).

use super::jingle::{acknowledged, bad_request, out_of_order, refuse};
use super::{Hearing, terminate};
use crate::session::{Asked, Asking, Session, State};
use crate::stanza::{DTMF, ICE, INFO, JINGLE};
use media::jingle::Role;
use minidom::Element;
use signal::media::{Content, Direction};
use signal::{Reason, Signal, Time, Tone};

/// Contents of one session (R-SDP-14).
const MAX_CONTENTS: usize = 32;

pub(super) fn info(session: &mut Session, iq: &Element, jingle: &Element, now: Time) -> Hearing {
    let mut heard = acknowledged(iq);
    let Some(payload) = jingle.children().next() else { return heard };
    match (payload.name(), payload.ns().as_str()) {
        ("ringing", INFO) => {
            if session.state == State::Outgoing && session.rang.is_none() {
                session.rang = Some(now);
                heard.signals.push(Signal::Ringing);
            }
        }
        ("hold", INFO) => hold(session, true),
        ("unhold" | "active", INFO) => hold(session, false),
        // The relay notices silence by itself; the SIP side is not told (interworking §2.9).
        ("mute" | "unmute", INFO) => {}
        ("dtmf", DTMF) => match tone(payload) {
            Some(tone) => heard.signals.push(Signal::Tone(tone)),
            None => return refuse(iq, "modify", "feature-not-implemented", Some("unsupported-info")),
        },
        _ => return refuse(iq, "modify", "feature-not-implemented", Some("unsupported-info")),
    }
    heard
}

/// A wish, no offer: put into effect now, or when the open offer closes; only the last one counts.
fn hold(session: &mut Session, holding: bool) {
    if session.holding != holding {
        session.holding = holding;
        session.wish = true;
    }
}

/// XEP-0181 §2.
fn tone(dtmf: &Element) -> Option<Tone> {
    let digit = dtmf.attr("code")?.chars().next()?.to_ascii_uppercase();
    let duration = dtmf.attr("duration").and_then(|d| d.parse().ok()).unwrap_or(160);
    "0123456789*#ABCD".contains(digit).then_some(Tone { digit, duration })
}

pub(super) fn hear(session: &mut Session, iq: &Element, jingle: &Element, action: &str, id: &str) -> Hearing {
    if matches!(action, "content-accept" | "content-reject") {
        return closed(session, iq, jingle, action == "content-accept");
    }
    if let Some((asking, _)) = &session.asking {
        let crossed = match asking {
            Asking::Add(_) => action == "content-add",
            Asking::Remove => action == "content-remove",
            Asking::Info => false,
        };
        // XEP-0166 §7.2.16: of two equal actions the initiator's wins.
        if crossed && session.ours {
            return refuse(iq, "cancel", "conflict", Some("tie-break"));
        }
        if !crossed {
            return refuse(iq, "wait", "unexpected-request", None);
        }
    }
    if session.asked.is_some() {
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

fn contents(jingle: &Element) -> impl Iterator<Item = &Element> {
    jingle.children().filter(|c| c.is("content", JINGLE)).take(MAX_CONTENTS)
}

/// The peer's answer to our content-add.
fn closed(session: &mut Session, iq: &Element, jingle: &Element, accepted: bool) -> Hearing {
    let Some((Asking::Add(names), before)) = session.asking.clone() else { return out_of_order(iq) };
    let Ok(media) = media::jingle::read(jingle, session.peer_role()) else { return bad_request(iq) };
    let taken: Vec<Content> =
        media.contents.into_iter().filter(|c| accepted && names.contains(&c.name) && !c.rejected).collect();
    session.asking = None;
    let mut heard = acknowledged(iq);
    if taken.is_empty() {
        session.spoken = before;
        heard.signals.push(Signal::Refused(Reason::IncompatibleMedia));
        return heard;
    }
    for offered in session.spoken.contents.iter().filter(|c| names.contains(&c.name)) {
        let answer = taken.iter().find(|t| t.name == offered.name).cloned();
        session.heard.contents.push(answer.unwrap_or_else(|| Content { rejected: true, ..offered.clone() }));
    }
    heard.signals.push(Signal::Updated(session.agreed()));
    heard
}

fn add(session: &mut Session, iq: &Element, jingle: &Element) -> Hearing {
    let Ok(media) = media::jingle::read(jingle, session.peer_role()) else { return bad_request(iq) };
    let names: Vec<String> = media.contents.iter().map(|c| c.name.clone()).collect();
    let taken = |name: &String| session.heard.contents.iter().any(|c| c.name == *name && !c.rejected);
    let room = MAX_CONTENTS.saturating_sub(session.heard.contents.len());
    if names.is_empty() || names.iter().any(taken) || names.len() > room {
        return bad_request(iq);
    }
    for content in media.contents {
        // What was refused or removed may come again, in its old place (RFC 3264 §8.2).
        match session.heard.contents.iter_mut().find(|c| c.name == content.name) {
            Some(old) => *old = content,
            None => session.heard.contents.push(content),
        }
    }
    session.added.retain(|added| !names.contains(added));
    if session.ours {
        session.added.extend(names.iter().cloned());
    }
    session.asked = Some(Asked::Add(names));
    changed(session, iq)
}

fn modify(session: &mut Session, iq: &Element, jingle: &Element) -> Hearing {
    let role = session.peer_role();
    let mut heard = session.heard.clone();
    for element in contents(jingle) {
        let name = element.attr("name").unwrap_or("");
        let direction = match (element.attr("senders"), role) {
            (Some("both"), _) => Direction::Both,
            (Some("none"), _) => Direction::None,
            (Some("initiator"), Role::Initiator) | (Some("responder"), Role::Responder) => Direction::Send,
            (Some("initiator" | "responder"), _) => Direction::Receive,
            _ => return bad_request(iq),
        };
        match heard.contents.iter_mut().find(|c| c.name == name && !c.rejected) {
            Some(content) => content.direction = direction,
            None => return refuse(iq, "cancel", "item-not-found", None),
        }
    }
    if heard == session.heard {
        return acknowledged(iq);
    }
    session.heard = heard;
    session.asked = Some(Asked::Change);
    changed(session, iq)
}

fn remove(session: &mut Session, iq: &Element, jingle: &Element, id: &str) -> Hearing {
    let names: Vec<&str> = contents(jingle).filter_map(|c| c.attr("name")).collect();
    let known = |name: &&str| session.heard.contents.iter().any(|c| c.name == **name && !c.rejected);
    if names.is_empty() {
        return bad_request(iq);
    }
    if !names.iter().all(known) {
        return refuse(iq, "cancel", "item-not-found", None);
    }
    for content in session.heard.contents.iter_mut().filter(|c| names.contains(&c.name.as_str())) {
        content.rejected = true;
    }
    if session.heard.contents.iter().all(|c| c.rejected) {
        // Nothing is left: we end it (XEP-0166 §7.2.5).
        let mut heard = acknowledged(iq);
        heard.after.extend(terminate(session, &Reason::Normal.into(), id));
        heard.signals.push(Signal::End(Reason::Normal.into()));
        return heard;
    }
    session.asked = Some(Asked::Change);
    changed(session, iq)
}

/// XEP-0176 §5.10: ICE for ICE is taken, any other transport is not served.
fn replace(session: &mut Session, iq: &Element, jingle: &Element, id: &str) -> Hearing {
    let mut heard = session.heard.clone();
    for element in contents(jingle) {
        let content =
            heard.contents.iter_mut().find(|c| element.attr("name") == Some(&c.name) && !c.rejected);
        let Some(content) = content else { return refuse(iq, "cancel", "item-not-found", None) };
        match element.get_child("transport", ICE).map(media::jingle::ice) {
            Some(ice) if !ice.pwd.is_empty() => content.transport.ice = Some(ice),
            _ => {
                let mut heard = acknowledged(iq);
                session.asked = Some(Asked::Replace);
                heard.after.extend(super::refused(session, Reason::UnsupportedTransport, id));
                return heard;
            }
        }
    }
    session.heard = heard;
    session.asked = Some(Asked::Replace);
    changed(session, iq)
}

fn changed(session: &Session, iq: &Element) -> Hearing {
    let mut heard = acknowledged(iq);
    heard.signals.push(Signal::Update(session.description()));
    heard
}
