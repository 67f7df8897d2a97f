//! Answers to stanzas of ours, and their absence.

use super::{Outcome, finish, propose, terminate, too_late};
use crate::reason;
use crate::session::{LocalOffer, Sent, Session, State};
use crate::stanza;
use minidom::Element;
use signal::{End, Reason, Signal};

pub(super) fn hear(session: &mut Session, stanza: &Element, id: &str) -> Outcome {
    // An answer counts only from the peer, its bare JID or its server.
    let from = stanza.attr("from").unwrap_or("");
    if from != session.peer && from != stanza::bare(&session.peer) && from != stanza::domain(&session.peer) {
        return Outcome::default();
    }
    let Some(sent) = stanza.attr("id").and_then(|id| session.answered(id)) else { return Outcome::default() };
    if stanza.attr("type") == Some("error") {
        let (condition, jingle) = stanza::condition(stanza);
        let why = reason::bounced(condition.as_deref(), jingle.as_deref());
        let mut outcome = failed(session, sent, why, jingle.as_deref() == Some("unknown-session"), id);
        if let (Sent::Propose | Sent::Initiate, Some(to)) = (sent, stanza::redirection(stanza)) {
            let ends = |signal: &&mut Signal| matches!(signal, Signal::End(_));
            let ends = outcome.signals.iter_mut().filter(ends);
            ends.for_each(|end| *end = Signal::Redirect(to.clone(), vec![]));
        }
        return outcome;
    }
    let mut outcome = Outcome::default();
    match sent {
        Sent::Initiate => {
            session.initiate_acked = true;
            let late = std::mem::take(&mut session.late_devices);
            outcome.send_now = late
                .iter()
                .enumerate()
                .map(|(n, device)| too_late(session, device, &format!("{id}{n}")))
                .collect();
        }
        Sent::Update => outcome.signals.extend(offer_acknowledged(session)),
        Sent::Propose | Sent::Proceed | Sent::Accept | Sent::Notice => {}
    }
    outcome
}

/// Closes our open offer on its acknowledgement; a content-add waits for content-accept.
fn offer_acknowledged(session: &mut Session) -> Option<Signal> {
    if let Some((LocalOffer::Add(_), _)) | None = session.local_offer {
        return None;
    }
    session.local_offer = None;
    Some(Signal::Updated(session.agreed()))
}

fn failed(session: &mut Session, sent: Sent, why: Reason, unknown: bool, id: &str) -> Outcome {
    let mut outcome = Outcome::default();
    let early = matches!(session.state, State::Proposing | State::Outgoing | State::Proceeded);
    match sent {
        _ if session.state == State::Ended => {}
        Sent::Propose if session.state == State::Proposing => {
            session.state = State::Ended;
            outcome.signals.push(Signal::End(why.into()));
        }
        Sent::Proceed if session.state == State::Proceeded => {
            // The caller's client has given up without a word (R-CALL-41).
            session.state = State::Ended;
            outcome.signals.push(Signal::End(Reason::Connectivity.into()));
        }
        Sent::Initiate if why == Reason::Offline && session.jmi && session.spare_sid.is_some() => {
            // The device is gone, the user perhaps not: propose once more (interworking §2.4). What rings by the old id is told.
            let peer = stanza::bare(&session.peer);
            let retract =
                stanza::with(super::jmi(session, "retract"), reason::element(&Reason::Expired.into()));
            let retract = super::jmi_message(session, peer, retract, &format!("{id}o"));
            outcome.send_after_commit.push(retract);
            session.sid = session.spare_sid.take().unwrap_or_default();
            session.peer = stanza::bare(&session.peer).to_owned();
            (session.initiate_acked, session.late_devices) = (false, vec![]);
            outcome.send_after_commit.push(propose(session, id));
            outcome.must_commit = true;
        }
        Sent::Initiate | Sent::Accept => {
            // Our session-initiate lost the tie-break (XEP-0166 §7.2.16).
            let why = if why == Reason::Glare { Reason::Busy } else { why };
            let reason = if early { why } else { Reason::Connectivity };
            // A session that the peer has begun is open there until it is terminated (XEP-0166 §6.7), whatever it disliked.
            outcome.send_after_commit = if sent == Sent::Accept && !unknown {
                terminate(session, &reason.into(), id)
            } else {
                session.state = State::Ended;
                finish(session, &reason.into(), id).into_iter().collect()
            };
            outcome.signals.push(Signal::End(reason.into()));
        }
        Sent::Update | Sent::Notice if unknown => {
            session.state = State::Ended;
            outcome.signals.push(Signal::End(End::from(Reason::Connectivity)));
        }
        Sent::Update => {
            if let Some((LocalOffer::Add(_) | LocalOffer::Remove, previous)) = &session.local_offer {
                // Undone, whoever asked for it; after a tie-break (why: glare) it is asked for again.
                session.local_description = previous.clone();
                session.local_offer = None;
                outcome.signals.push(Signal::Refused(why));
            } else {
                // The call goes on (R-CALL-40): the relay applies the change without the client.
                outcome.signals.extend(offer_acknowledged(session));
            }
        }
        Sent::Propose | Sent::Proceed | Sent::Notice => {}
    }
    outcome
}

pub(super) fn timed_out(session: &mut Session, sent: Sent, id: &str) -> Outcome {
    match sent {
        // The session runs, or the relay sees that it does not: only its result was lost. A peer that knows it not says so.
        Sent::Initiate | Sent::Accept if session.state == State::Active => {
            let ping = super::info(session, None, id, Sent::Notice);
            Outcome { send_now: vec![ping], must_commit: true, ..Outcome::default() }
        }
        Sent::Initiate | Sent::Accept if session.is_open() => {
            let end = End::from(Reason::Timeout);
            Outcome {
                send_now: terminate(session, &end, id),
                signals: vec![Signal::End(end)],
                ..Outcome::default()
            }
        }
        Sent::Update => failed(session, sent, Reason::Timeout, false, id),
        _ => Outcome::default(),
    }
}
