//! What a JMI message means (XEP-0353).

use super::{Hearing, finish, initiate, too_late};
use crate::reason::{self, When};
use crate::session::{Session, State};
use crate::stanza::{self, JMI, RTP};
use minidom::Element;
use signal::media::Kind;
use signal::{End, Media, Reason, Signal, Time, Tone};

/// A reject without a reason this long after the first ringing is the client's own timer, ms (interworking §2.4).
const RANG_OUT: u64 = 29_000;
/// Devices that are told one by one that they came too late.
const MAX_LATE: usize = 8;
/// Digits of one text (interworking §8).
const MAX_DIGITS: usize = 32;

/// The JMI element of a message.
pub(crate) fn element(message: &Element) -> Option<&Element> {
    message.children().find(|c| c.ns() == JMI && c.attr("id").is_some())
}

/// Keypad digits typed as text, from clients without a keypad (interworking §8); empty where it is anything else.
pub(crate) fn digits(message: &Element) -> Vec<Tone> {
    let mut bodies = message.children().filter(|c| c.name() == "body");
    let text = bodies.next().map(Element::text).unwrap_or_default().to_ascii_uppercase();
    let keys = text.chars().filter(|c| !matches!(c, ' ' | ','));
    let tones: Vec<Tone> = keys.map(|digit| Tone { digit, duration: 160 }).collect();
    let all = tones.iter().all(|t| "0123456789*#ABCD".contains(t.digit));
    if all && tones.len() <= MAX_DIGITS { tones } else { vec![] }
}

/// The kinds of media that a propose names; audio where it names none that we know.
fn kinds(propose: &Element) -> Vec<Kind> {
    let mut kinds = vec![];
    for description in propose.children().filter(|c| c.is("description", RTP)) {
        let kind = match description.attr("media") {
            Some("video") => Kind::Video,
            _ => Kind::Audio,
        };
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

pub(super) fn hear(session: &mut Session, message: &Element, id: &str, now: Time) -> Hearing {
    let mut heard = Hearing::default();
    let (Some(jmi), Some(from)) = (element(message), message.attr("from")) else {
        if session.state == State::Active {
            heard.signals.extend(digits(message).into_iter().map(Signal::Tone));
        }
        return heard;
    };
    if jmi.attr("id") != Some(&session.sid) || stanza::bare(from) != stanza::bare(&session.peer) {
        return heard;
    }
    match (jmi.name(), session.state) {
        ("propose", State::New) if !session.ours => {
            let kinds = kinds(jmi);
            session.jmi = true;
            session.state = State::Proposed;
            if kinds.is_empty() {
                // No RTP: nothing that we serve (files, say).
                session.state = State::Ended;
                let end = Reason::UnsupportedMedia.into();
                let reject = stanza::with(super::jmi(session, "reject"), reason::element(&end));
                heard.now.push(super::tell(session, &session.peer, reject, id));
                return heard;
            }
            heard.signals.push(Signal::Offer(Media::undescribed(&kinds)));
        }
        ("ringing", State::Proposing) if session.rang.is_none() => {
            session.rang = Some(now);
            heard.signals.push(Signal::Ringing);
        }
        ("proceed", State::Proposing) if stanza::resource(from).is_some() => {
            session.peer = from.to_owned();
            heard.after.push(initiate(session, id));
            heard.keep = true;
        }
        ("proceed", State::Outgoing | State::Active) if session.ours && from != session.peer => {
            // The winner is kept; the others learn it once he has the session (R-CALL-10).
            if session.acked {
                heard.now.push(too_late(session, from, id));
            } else if session.late.len() < MAX_LATE && !session.late.iter().any(|d| d == from) {
                session.late.push(from.to_owned());
            }
        }
        ("proceed", State::Ended) if session.ours => {
            let finish =
                stanza::with(super::jmi(session, "finish"), reason::element(&Reason::Expired.into()));
            heard.now.push(super::tell(session, from, finish, id));
        }
        ("reject", State::Proposing) => {
            session.state = State::Ended;
            heard.signals.push(Signal::End(rejected(session, jmi, now)));
        }
        ("reject", State::Outgoing) if session.ours && from == session.peer => {
            let end = rejected(session, jmi, now);
            heard.after = super::terminate(session, &end, id);
            heard.signals.push(Signal::End(end));
        }
        ("retract", State::Proposed) => {
            session.state = State::Ended;
            heard.signals.push(Signal::End(ended(session, jmi)));
        }
        ("retract", State::Proceeded) => {
            // It crossed our proceed: this client listens to finish only now (R-CALL-17, R-CALL-42).
            session.state = State::Ended;
            heard.after.extend(finish(session, &Reason::Cancelled.into(), id));
            heard.signals.push(Signal::End(ended(session, jmi)));
        }
        (
            "finish",
            State::Proposed | State::Proceeded | State::Incoming | State::Outgoing | State::Active,
        ) if (stanza::resource(&session.peer).is_none() || from == session.peer)
            // It goes on under another id (XEP-0353): a terminate says when this one is over.
            && !jmi.has_child("migrated", JMI) =>
        {
            let end = ended(session, jmi);
            session.state = State::Ended;
            heard.signals.push(Signal::End(end));
        }
        // `accept` is what older clients tell their own devices.
        _ => {}
    }
    heard
}

fn ended(session: &Session, jmi: &Element) -> End {
    let answered = session.state == State::Active;
    reason::end(jmi, When { answered, rang: session.rang.is_some(), caller: !session.ours })
}

/// R-CALL-35: without a reason it is busy, as the XEP says, unless the client's own ring timer ran out.
fn rejected(session: &Session, jmi: &Element, now: Time) -> End {
    if jmi.has_child("tie-break", JMI) {
        // They proposed too, and theirs goes on.
        return Reason::Busy.into();
    }
    if reason::given(jmi) {
        let end = ended(session, jmi);
        return match end.reason {
            Reason::Security => End { reason: Reason::Declined, ..end },
            _ => end,
        };
    }
    match session.rang {
        Some(rang) if now.since(rang) >= RANG_OUT => Reason::NoAnswer.into(),
        _ => Reason::Busy.into(),
    }
}
