//! JMI messages (XEP-0353).

use super::{Outcome, finish, initiate, too_late, typed};
use crate::reason::{self, When};
use crate::session::{Session, State};
use crate::stanza::{self, JMI, RTP};
use minidom::Element;
use signal::media::Kind;
use signal::{End, Media, Reason, Signal, Time};

/// A reject without a reason this long after the first ringing, ms, is the client's own ring timer (interworking §2.4).
const RANG_OUT: u64 = 29_000;
/// Most late devices that are told one by one that another took the call.
const MAX_LATE: usize = 8;

/// Returns the JMI element of a message.
pub(crate) fn element(message: &Element) -> Option<&Element> {
    message.children().find(|c| c.ns() == JMI && c.attr("id").is_some())
}

/// Returns the kinds of media that a propose names; audio for one that we do not know.
fn kinds(propose: &Element) -> Vec<Kind> {
    let mut kinds = vec![];
    for description in propose.children().filter(|c| c.is("description", RTP)) {
        let kind = description.attr("media").and_then(Kind::of).unwrap_or(Kind::Audio);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

pub(super) fn hear(session: &mut Session, message: &Element, id: &str, now: Time) -> Outcome {
    let mut outcome = Outcome::default();
    let (Some(jmi), Some(from)) = (element(message), message.attr("from")) else {
        let from = message.attr("from").unwrap_or("");
        if session.state == State::Active && stanza::bare(from) == stanza::bare(&session.peer) {
            outcome.signals.extend(typed::digits(message).into_iter().map(Signal::Tone));
            let target = typed::transfer(message).map(|words| words.target);
            outcome.signals.extend(target.map(|target| Signal::Refer { target, replaces: None }));
        }
        return outcome;
    };
    if stanza::bare(from) != stanza::bare(&session.peer) {
        return outcome;
    }
    if jmi.attr("id") != Some(&session.sid) {
        // An id of ours that another one has replaced: the device waits for a session that will not come.
        if jmi.name() == "proceed" && session.initiator {
            outcome.send_now.extend(expired(&session.local, message, id));
        }
        return outcome;
    }
    match (jmi.name(), session.state) {
        ("propose", State::New) if !session.initiator => {
            let kinds = kinds(jmi);
            session.jmi = true;
            session.state = State::Proposed;
            if kinds.is_empty() {
                // Without RTP (files, say) there is nothing that we serve.
                session.state = State::Ended;
                let end = Reason::UnsupportedMedia.into();
                let reject = stanza::with(super::jmi(session, "reject"), reason::element(&end));
                outcome.send_now.push(super::jmi_message(session, &session.peer, reject, id));
                return outcome;
            }
            outcome.signals.push(Signal::Offer(Media::undescribed(&kinds)));
        }
        ("ringing", State::Proposing) if session.remote_ringing.is_none() => {
            session.remote_ringing = Some(now);
            outcome.signals.push(Signal::Ringing);
        }
        ("proceed", State::Proposing) if stanza::resource(from).is_some() => {
            session.peer = from.to_owned();
            outcome.send_after_commit.push(initiate(session, id));
            outcome.must_commit = true;
        }
        ("proceed", State::Outgoing | State::Active) if session.initiator && from != session.peer => {
            // The first device keeps the call; the others learn that once it has the session (R-CALL-10).
            if session.initiate_acked {
                outcome.send_now.push(too_late(session, from, id));
            } else if session.late_devices.len() < MAX_LATE && !session.late_devices.iter().any(|d| d == from)
            {
                session.late_devices.push(from.to_owned());
            }
        }
        ("proceed", State::Ended) if session.initiator => {
            outcome.send_now.extend(expired(&session.local, message, id));
        }
        ("reject", State::Proposing) => {
            session.state = State::Ended;
            outcome.signals.push(Signal::End(rejected(session, jmi, now)));
        }
        ("reject", State::Outgoing) if session.initiator && from == session.peer => {
            let end = rejected(session, jmi, now);
            outcome.send_after_commit = super::terminate(session, &end, id);
            outcome.signals.push(Signal::End(end));
        }
        ("retract", State::Proposed) => {
            session.state = State::Ended;
            outcome.signals.push(Signal::End(ended(session, jmi)));
        }
        ("retract", State::Proceeded) => {
            // The retract crossed our proceed: by now this client listens to finish only (R-CALL-17, R-CALL-42).
            session.state = State::Ended;
            outcome.send_after_commit.extend(finish(session, &Reason::Cancelled.into(), id));
            outcome.signals.push(Signal::End(ended(session, jmi)));
        }
        (
            "finish",
            State::Proposed | State::Proceeded | State::Incoming | State::Outgoing | State::Active,
        ) if (stanza::resource(&session.peer).is_none() || from == session.peer)
            // The call goes on under another id (XEP-0353): a session-terminate ends this one.
            && !jmi.has_child("migrated", JMI) =>
        {
            let end = ended(session, jmi);
            session.state = State::Ended;
            outcome.signals.push(Signal::End(end));
        }
        // Older clients send `accept` to their own devices.
        _ => {}
    }
    outcome
}

/// Returns the finish for a device that proceeds too late: the id that it names is over (interworking §2.4).
pub(crate) fn expired(us: &str, proceed: &Element, id: &str) -> Option<Element> {
    let over = element(proceed)?.attr("id")?;
    let finish = stanza::element("finish", JMI, &[("id", over)]);
    let finish = stanza::with(finish, reason::element(&Reason::Expired.into()));
    Some(stanza::message(us, proceed.attr("from")?, id, finish))
}

/// Returns true if there is no session yet and this is a device of the party that one is proposed with: the caller's own one, or any
/// that our proposal reaches.
pub(super) fn is_party(session: &Session, from: &str) -> bool {
    match session.state {
        State::Proposed | State::Proceeded => from == session.peer,
        State::Proposing => stanza::bare(from) == session.peer,
        _ => false,
    }
}

/// Handles a session-terminate before there is a session: the caller gives its proposal up, or a device declines ours.
pub(super) fn terminated(session: &mut Session, iq: &Element, jingle: &Element, id: &str) -> Outcome {
    let end = given_up(ended(session, jingle));
    let mut outcome = super::jingle::acknowledged(iq);
    outcome.send_after_commit.extend(match session.state {
        State::Proceeded => finish(session, &end, id),
        // The other devices still ring.
        State::Proposing => {
            let retract = stanza::with(super::jmi(session, "retract"), reason::element(&end));
            Some(super::jmi_message(session, &session.peer, retract, id))
        }
        _ => None,
    });
    session.state = State::Ended;
    outcome.signals.push(Signal::End(end));
    outcome
}

/// Handles the unavailable presence of a caller's device: nobody is left to hear an answer.
pub(super) fn caller_left(session: &mut Session, presence: &Element, id: &str) -> Outcome {
    let waits = matches!(session.state, State::Proposed | State::Proceeded | State::Incoming);
    if session.initiator || !waits || presence.attr("from") != Some(&session.peer) {
        return Outcome::default();
    }
    let end = End::from(Reason::Cancelled);
    let send_after_commit = match session.state {
        State::Proposed => vec![],
        // Should it come back, it finds no call that waits.
        _ => super::terminate(session, &end, id),
    };
    session.state = State::Ended;
    Outcome { send_after_commit, signals: vec![Signal::End(end)], must_commit: true, ..Outcome::default() }
}

/// Returns the end of a call that was never answered: one that ends well was cancelled.
fn given_up(end: End) -> End {
    match end.reason {
        Reason::Normal => End { reason: Reason::Cancelled, ..end },
        _ => end,
    }
}

fn ended(session: &Session, jmi: &Element) -> End {
    let answered = session.state == State::Active;
    reason::end(jmi, When { answered, rang: session.remote_ringing.is_some(), caller: !session.initiator })
}

/// Returns the end that a reject means: without a reason busy, unless the client's own ring timer ran out (R-CALL-35).
fn rejected(session: &Session, jmi: &Element, now: Time) -> End {
    if jmi.has_child("tie-break", JMI) {
        // The peer proposed too, and its propose goes on.
        return Reason::Busy.into();
    }
    if reason::given(jmi) {
        let end = ended(session, jmi);
        return match end.reason {
            Reason::Security => End { reason: Reason::Declined, ..end },
            _ => end,
        };
    }
    match session.remote_ringing {
        Some(rang) if now.since(rang) >= RANG_OUT => Reason::NoAnswer.into(),
        _ => Reason::Busy.into(),
    }
}
