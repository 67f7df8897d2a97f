//! What a Jingle IQ set means (XEP-0166 §6, §7). Each gets exactly one answer: an error at once, or the result after the commit.

use super::{Hearing, change, terminate};
use crate::reason::{self, When};
use crate::session::{Asked, Session, State};
use crate::stanza::{self, ICE, JINGLE, RTP};
use minidom::Element;
use signal::media::Trickle;
use signal::{Media, Reason, Signal, Time};

/// XEP-0166 §7.2.
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
/// Candidates kept that came before their description, or of one content.
const MAX_EARLY: usize = 64;

/// An error in answer to this IQ.
pub(super) fn refuse(iq: &Element, kind: &str, condition: &str, jingle: Option<&str>) -> Hearing {
    Hearing::reply(stanza::error(iq, kind, condition, jingle))
}

pub(super) fn out_of_order(iq: &Element) -> Hearing {
    refuse(iq, "wait", "unexpected-request", Some("out-of-order"))
}

pub(super) fn bad_request(iq: &Element) -> Hearing {
    refuse(iq, "modify", "bad-request", None)
}

/// The error for a session that we do not have (R-CALL-2, R-CALL-5).
pub(crate) fn unknown_session(iq: &Element) -> Element {
    stanza::error(iq, "cancel", "item-not-found", Some("unknown-session"))
}

/// The result of this IQ, after the commit.
pub(super) fn acknowledged(iq: &Element) -> Hearing {
    Hearing { after: vec![stanza::result(iq)], ..Hearing::default() }
}

pub(super) fn hear(session: &mut Session, iq: &Element, jingle: &Element, id: &str, now: Time) -> Hearing {
    let Some(action) = jingle.attr("action").filter(|a| ACTIONS.contains(a)) else { return bad_request(iq) };
    let (from, sid) = (iq.attr("from").unwrap_or(""), jingle.attr("sid"));
    if sid != Some(&session.sid) || from != session.peer || session.state == State::Ended {
        return Hearing::reply(unknown_session(iq));
    }
    match (action, session.state) {
        ("session-initiate", State::New | State::Proceeded) => initiated(session, iq, jingle, id),
        ("session-initiate", _) => out_of_order(iq),
        _ if !session.is_open() => Hearing::reply(unknown_session(iq)),
        ("session-accept", State::Outgoing) => accepted(session, iq, jingle, id),
        ("session-accept", _) => out_of_order(iq),
        ("session-terminate", _) => {
            let when = When {
                answered: session.state == State::Active,
                rang: session.rang.is_some(),
                caller: !session.ours,
            };
            let end = reason::end(jingle, when);
            session.state = State::Ended;
            let mut heard = acknowledged(iq);
            heard.after.extend(super::finish(session, &end, id));
            heard.signals.push(Signal::End(end));
            heard
        }
        ("transport-info", _) => transport_info(session, iq, jingle),
        ("security-info", _) => refuse(iq, "cancel", "feature-not-implemented", None),
        // Advice that the relay takes from the packets themselves; transport-replace is not ours to begin.
        ("description-info" | "transport-accept" | "transport-reject", _) => acknowledged(iq),
        ("session-info", _) => change::info(session, iq, jingle, now),
        (_, State::Active) => change::hear(session, iq, jingle, action, id),
        _ => out_of_order(iq),
    }
}

/// A description, or what is wrong with it: a reason to terminate with, or (`None`) a stanza that makes no sense.
fn description(session: &Session, jingle: &Element) -> Result<Media, Option<Reason>> {
    let media = media::jingle::read(jingle, session.peer_role()).map_err(|_| None)?;
    let live = || media.contents.iter().filter(|c| !c.rejected);
    if media.contents.is_empty() {
        return Err(None);
    }
    if live().all(|c| c.codecs.is_empty()) {
        return Err(Some(Reason::UnsupportedMedia));
    }
    if live().any(|c| c.transport.ice.is_none()) {
        return Err(Some(Reason::UnsupportedTransport));
    }
    // No fingerprint means no encryption that we serve (XEP-0320).
    if live().any(|c| c.transport.dtls.is_none()) {
        return Err(Some(Reason::Security));
    }
    Ok(media)
}

/// XEP-0166 §7.3: at least one content of disposition `session`.
fn opens(jingle: &Element) -> bool {
    let mut contents = jingle.children().filter(|c| c.is("content", JINGLE));
    contents.any(|c| c.attr("disposition").is_none_or(|d| d == "session"))
}

fn initiated(session: &mut Session, iq: &Element, jingle: &Element, id: &str) -> Hearing {
    let from = iq.attr("from").unwrap_or("");
    let redirected = jingle.attr("initiator").is_some_and(|i| stanza::bare(i) != stanza::bare(from));
    if redirected || !opens(jingle) {
        return bad_request(iq);
    }
    let fresh = session.state == State::New;
    let mut heard = acknowledged(iq);
    match description(session, jingle) {
        Err(None) => return bad_request(iq),
        Err(Some(reason)) => {
            // Acknowledged, then ended (XEP-0166 §6.3.2).
            session.state = State::Incoming;
            heard.after.extend(terminate(session, &reason.into(), id));
            if fresh {
                heard.now.append(&mut heard.after);
            } else {
                heard.signals.push(Signal::End(reason.into()));
            }
        }
        Ok(media) => {
            session.state = State::Incoming;
            session.heard = media.clone();
            if fresh {
                heard.signals.push(Signal::Offer(media));
            } else {
                session.asked = Some(Asked::Initiate);
                heard.signals.push(Signal::Update(media));
            }
        }
    }
    heard
}

fn accepted(session: &mut Session, iq: &Element, jingle: &Element, id: &str) -> Hearing {
    let mut media = match description(session, jingle) {
        Ok(media) => media,
        Err(None) => return bad_request(iq),
        Err(Some(reason)) => {
            let mut heard = acknowledged(iq);
            heard.after.extend(terminate(session, &reason.into(), id));
            heard.signals.push(Signal::End(reason.into()));
            return heard;
        }
    };
    // In the order of our offer; what they left out they do not take (RFC 3264 §6).
    let find = |name: &str| media.contents.iter().find(|c| c.name == name).cloned();
    let aligned = session.spoken.contents.iter().map(|offered| {
        find(&offered.name).unwrap_or_else(|| signal::media::Content {
            rejected: true,
            direction: signal::media::Direction::None,
            transport: Default::default(),
            ..offered.clone()
        })
    });
    media.contents = aligned.collect();
    for trickle in session.early.drain(..) {
        let content = media.contents.iter_mut().find(|c| c.name == trickle.name);
        if let Some(ice) = content.and_then(|c| c.transport.ice.as_mut()) {
            ice.candidates.extend(trickle.ice.candidates);
        }
    }
    let mut heard = acknowledged(iq);
    if media.contents.iter().all(|c| c.rejected) {
        let end = Reason::IncompatibleMedia.into();
        heard.after.extend(terminate(session, &end, id));
        heard.signals.push(Signal::End(end));
        return heard;
    }
    session.state = State::Active;
    session.heard = media.clone();
    heard.signals.push(Signal::Answer(media));
    heard
}

/// XEP-0176 §5.5; new credentials are an ICE restart (interworking §2.17), with or without a candidate: the answer to it is
/// [`Asked::Restart`].
fn transport_info(session: &mut Session, iq: &Element, jingle: &Element) -> Hearing {
    let mut heard = acknowledged(iq);
    let mut trickles = vec![];
    for content in jingle.children().filter(|c| c.is("content", JINGLE)).take(32) {
        let (Some(name), Some(transport)) = (content.attr("name"), content.get_child("transport", ICE))
        else {
            continue;
        };
        let mut ice = media::jingle::ice(transport);
        let early: usize = session.early.iter().map(|trickle| trickle.ice.candidates.len()).sum();
        let known = session.heard.contents.iter_mut().find(|c| c.name == name);
        if let Some(current) = known.and_then(|c| c.transport.ice.as_mut()) {
            if !ice.pwd.is_empty() && (&ice.ufrag, &ice.pwd) != (&current.ufrag, &current.pwd) {
                *current = ice;
                session.renewing |= session.state == State::Active;
                heard.keep |= session.renewing;
                continue;
            }
            if !ice.candidates.is_empty() {
                let room = MAX_EARLY.saturating_sub(current.candidates.len());
                current.candidates.extend(ice.candidates.iter().take(room).cloned());
                trickles.push(Trickle { name: name.to_owned(), ice });
            }
        } else if session.heard.contents.is_empty() && !ice.candidates.is_empty() && early < MAX_EARLY {
            ice.candidates.truncate(MAX_EARLY - early);
            // Before the session-accept: they go with it.
            session.early.push(Trickle { name: name.to_owned(), ice });
            heard.keep = true;
        }
    }
    if !trickles.is_empty() {
        heard.signals.push(Signal::Candidates(trickles));
    }
    heard
}

/// What a stanza from nobody we know of must hold to be a call: a session-initiate with RTP in it.
pub(crate) fn is_call(jingle: &Element) -> bool {
    jingle.attr("action") == Some("session-initiate")
        && jingle
            .children()
            .any(|c| c.is("content", JINGLE) && c.children().any(|d| d.is("description", RTP)))
}
