//! Jingle IQ sets (XEP-0166 §6, §7). Each gets exactly one answer: an error at once, or the result after the commit.

use super::{Outcome, change, proposal, terminate};
use crate::reason::{self, When};
use crate::session::{RemoteOffer, Session, State};
use crate::stanza::{self, ICE, JINGLE, RTP};
use minidom::Element;
use signal::media::{Ice, Trickle};
use signal::{Media, Reason, Signal, Time};

/// Actions of XEP-0166 §7.2.
const ACTIONS: &[&str] = &[
    "content-accept",
    "content-add",
    "content-modify",
    "content-reject",
    "content-remove",
    "description-info",
    "security-info",
    "session-accept",
    "session-info",
    "session-initiate",
    "session-terminate",
    "transport-accept",
    "transport-info",
    "transport-reject",
    "transport-replace",
];
/// Most candidates kept before their description, or of one content.
const MAX_EARLY: usize = 64;

/// Answers an IQ with an error.
pub(super) fn refuse(iq: &Element, kind: &str, condition: &str, jingle: Option<&str>) -> Outcome {
    super::reply(stanza::error(iq, kind, condition, jingle))
}

pub(super) fn out_of_order(iq: &Element) -> Outcome {
    refuse(iq, "wait", "unexpected-request", Some("out-of-order"))
}

pub(super) fn bad_request(iq: &Element) -> Outcome {
    refuse(iq, "modify", "bad-request", None)
}

/// Builds the error for a session that we do not have (R-CALL-2, R-CALL-5).
pub(crate) fn unknown_session(iq: &Element) -> Element {
    stanza::error(iq, "cancel", "item-not-found", Some("unknown-session"))
}

/// Answers an IQ with its result, after the commit.
pub(super) fn acknowledged(iq: &Element) -> Outcome {
    Outcome { send_after_commit: vec![stanza::result(iq)], ..Outcome::default() }
}

pub(super) fn hear(session: &mut Session, iq: &Element, jingle: &Element, id: &str, now: Time) -> Outcome {
    let Some(action) = jingle.attr("action").filter(|a| ACTIONS.contains(a)) else { return bad_request(iq) };
    let (from, sid) = (iq.attr("from").unwrap_or(""), jingle.attr("sid"));
    if action == "session-terminate" && sid == Some(&session.sid) && proposal::is_party(session, from) {
        return proposal::terminated(session, iq, jingle, id);
    }
    if sid != Some(&session.sid) || from != session.peer || session.state == State::Ended {
        return super::reply(unknown_session(iq));
    }
    match (action, session.state) {
        ("session-initiate", State::New | State::Proceeded) => initiated(session, iq, jingle, id),
        ("session-initiate", _) => out_of_order(iq),
        _ if !session.is_open() => super::reply(unknown_session(iq)),
        ("session-accept", State::Outgoing) => accepted(session, iq, jingle, id),
        ("session-accept", _) => out_of_order(iq),
        ("session-terminate", _) => {
            let when = When {
                answered: session.state == State::Active,
                rang: session.remote_ringing.is_some(),
                caller: !session.initiator,
            };
            let end = reason::end(jingle, when);
            session.state = State::Ended;
            let mut outcome = acknowledged(iq);
            outcome.send_after_commit.extend(super::finish(session, &end, id));
            outcome.signals.push(Signal::End(end));
            outcome
        }
        ("transport-info", _) => transport_info(session, iq, jingle),
        ("security-info", _) => refuse(iq, "cancel", "feature-not-implemented", None),
        // The relay learns what description-info says from the packets; we never send a transport-replace.
        ("description-info" | "transport-accept" | "transport-reject", _) => acknowledged(iq),
        ("session-info", _) => change::info(session, iq, jingle, now),
        (_, State::Active) => change::hear(session, iq, jingle, action, id),
        _ => out_of_order(iq),
    }
}

/// Reads a description, or returns its fault: a reason to terminate with, or `None` for a bad request.
fn description(session: &Session, jingle: &Element) -> Result<Media, Option<Reason>> {
    let media = media::jingle::read(jingle, session.peer_role()).map_err(|_| None)?;
    let live = || media.contents.iter().filter(|c| !c.rejected);
    if media.contents.is_empty() {
        return Err(None);
    }
    if live().all(|c| c.codecs.is_empty()) {
        return Err(Some(Reason::UnsupportedMedia));
    }
    if live().filter_map(|c| c.transport.ice.as_ref()).any(|ice| !is_complete(ice)) {
        return Err(None);
    }
    if live().any(|c| c.transport.ice.is_none()) {
        return Err(Some(Reason::UnsupportedTransport));
    }
    // Without a fingerprint there is no encryption that we serve (XEP-0320).
    if live().any(|c| c.transport.dtls.is_none()) {
        return Err(Some(Reason::Security));
    }
    Ok(media)
}

/// Returns true for credentials of lengths that ICE allows (RFC 8839 §5.4): no agent would take others.
pub(super) fn is_complete(ice: &Ice) -> bool {
    (4..=256).contains(&ice.ufrag.len()) && (22..=256).contains(&ice.pwd.len())
}

/// Returns true if at least one content has the disposition `session` (XEP-0166 §7.3).
fn has_session_disposition(jingle: &Element) -> bool {
    let mut contents = jingle.children().filter(|c| c.is("content", JINGLE));
    contents.any(|c| c.attr("disposition").is_none_or(|d| d == "session"))
}

fn initiated(session: &mut Session, iq: &Element, jingle: &Element, id: &str) -> Outcome {
    let from = iq.attr("from").unwrap_or("");
    let redirected = jingle.attr("initiator").is_some_and(|i| stanza::bare(i) != stanza::bare(from));
    if redirected || !has_session_disposition(jingle) {
        return bad_request(iq);
    }
    let fresh = session.state == State::New;
    let mut outcome = acknowledged(iq);
    match description(session, jingle) {
        Err(None) => return bad_request(iq),
        Err(Some(reason)) => {
            // Acknowledged, then ended (XEP-0166 §6.3.2).
            session.state = State::Incoming;
            outcome.send_after_commit.extend(terminate(session, &reason.into(), id));
            if fresh {
                outcome.send_now.append(&mut outcome.send_after_commit);
            } else {
                outcome.signals.push(Signal::End(reason.into()));
            }
        }
        Ok(media) => {
            session.state = State::Incoming;
            session.remote_description = media.clone().into();
            if fresh {
                outcome.signals.push(Signal::Offer(media));
            } else {
                session.remote_offer = Some(RemoteOffer::Initiate);
                outcome.signals.push(Signal::Update(media));
            }
        }
    }
    outcome
}

fn accepted(session: &mut Session, iq: &Element, jingle: &Element, id: &str) -> Outcome {
    let mut media = match description(session, jingle) {
        Ok(media) => media,
        Err(None) => return bad_request(iq),
        Err(Some(reason)) => {
            let mut outcome = acknowledged(iq);
            outcome.send_after_commit.extend(terminate(session, &reason.into(), id));
            outcome.signals.push(Signal::End(reason.into()));
            return outcome;
        }
    };
    // In the order of our offer; a content that is left out is refused (RFC 3264 §6).
    let find = |name: &str| media.contents.iter().find(|c| c.name == name).cloned();
    let aligned = session.local_description.contents.iter().map(|offered| {
        find(&offered.name).unwrap_or_else(|| signal::media::Content {
            rejected: true,
            direction: signal::media::Direction::None,
            transport: Default::default(),
            ..offered.clone()
        })
    });
    media.contents = aligned.collect();
    for trickle in session.early_candidates.drain(..) {
        let content = media.contents.iter_mut().find(|c| c.name == trickle.name);
        if let Some(ice) = content.and_then(|c| c.transport.ice.as_mut()) {
            ice.candidates.extend(trickle.ice.candidates);
        }
    }
    let mut outcome = acknowledged(iq);
    if media.contents.iter().all(|c| c.rejected) {
        let end = Reason::IncompatibleMedia.into();
        outcome.send_after_commit.extend(terminate(session, &end, id));
        outcome.signals.push(Signal::End(end));
        return outcome;
    }
    session.state = State::Active;
    session.remote_description = media.clone().into();
    outcome.signals.push(Signal::Answer(media));
    outcome
}

/// Returns the peer's ICE of a content.
fn ice_of<'a>(description: &'a Media, name: &str) -> Option<&'a Ice> {
    description.contents.iter().find(|c| c.name == name)?.transport.ice.as_ref()
}

/// Changes the peer's ICE of a content.
fn edit_ice(session: &mut Session, name: &str, change: impl FnOnce(&mut Ice)) {
    session.remote_description.edit(|description| {
        let content = description.contents.iter_mut().find(|c| c.name == name);
        if let Some(ice) = content.and_then(|c| c.transport.ice.as_mut()) {
            change(ice);
        }
    });
}

/// Reads candidates (XEP-0176 §5.5). New credentials are an ICE restart (interworking §2.17), with or without a candidate; it
/// becomes [`RemoteOffer::Restart`]. Candidates of credentials that a restart has replaced are late and mean nothing.
fn transport_info(session: &mut Session, iq: &Element, jingle: &Element) -> Outcome {
    let mut infos = vec![];
    for content in jingle.children().filter(|c| c.is("content", JINGLE)).take(32) {
        let (Some(name), Some(transport)) = (content.attr("name"), content.get_child("transport", ICE))
        else {
            continue;
        };
        if !has_content(session, name) {
            return refuse(iq, "cancel", "item-not-found", None);
        }
        let ice = media::jingle::ice(transport);
        if !ice.pwd.is_empty() && !is_complete(&ice) {
            return bad_request(iq);
        }
        infos.push((name, ice));
    }
    let mut outcome = acknowledged(iq);
    let mut trickles = vec![];
    for (name, ice) in infos {
        match ice_of(&session.remote_description, name).cloned() {
            Some(current) => heard_ice(session, name, &current, ice, &mut trickles),
            None if session.remote_description.contents.is_empty() => {
                outcome.must_commit |= heard_early(session, name, ice);
            }
            None => {}
        }
    }
    outcome.must_commit |= session.ice_restart_pending;
    if !trickles.is_empty() {
        outcome.signals.push(Signal::Candidates(trickles));
    }
    outcome
}

/// Returns true for a content of the session, even one that was refused or is not answered yet.
fn has_content(session: &Session, name: &str) -> bool {
    let named = |media: &Media| media.contents.iter().any(|content| content.name == name);
    named(&session.remote_description) || named(&session.local_description)
}

/// Takes candidates or new credentials of a content that is described.
fn heard_ice(session: &mut Session, name: &str, current: &Ice, ice: Ice, trickles: &mut Vec<Trickle>) {
    let other = !ice.ufrag.is_empty() && ice.ufrag != current.ufrag;
    if other && (ice.pwd.is_empty() || session.is_former(&ice.ufrag)) {
        return;
    }
    if !ice.pwd.is_empty() && (&ice.ufrag, &ice.pwd) != (&current.ufrag, &current.pwd) {
        session.forget_ufrag(&current.ufrag);
        edit_ice(session, name, |current| *current = ice);
        session.ice_restart_pending |= session.state == State::Active;
    } else if !ice.candidates.is_empty() {
        let room = MAX_EARLY.saturating_sub(current.candidates.len());
        let taken = ice.candidates.iter().take(room).cloned();
        edit_ice(session, name, |current| current.candidates.extend(taken));
        trickles.push(Trickle { name: name.to_owned(), ice });
    }
}

/// Keeps candidates that come before the session-accept, which they are merged into; returns true if there are any.
fn heard_early(session: &mut Session, name: &str, mut ice: Ice) -> bool {
    let early: usize = session.early_candidates.iter().map(|trickle| trickle.ice.candidates.len()).sum();
    if ice.candidates.is_empty() || early >= MAX_EARLY {
        return false;
    }
    ice.candidates.truncate(MAX_EARLY - early);
    session.early_candidates.push(Trickle { name: name.to_owned(), ice });
    true
}

/// Returns true for a session-initiate with RTP, which may open a call.
pub(crate) fn is_call(jingle: &Element) -> bool {
    jingle.attr("action") == Some("session-initiate")
        && jingle
            .children()
            .any(|c| c.is("content", JINGLE) && c.children().any(|d| d.is("description", RTP)))
}
