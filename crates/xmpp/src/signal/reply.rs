//! What the answer to a stanza of ours means, or its absence.

use super::{Hearing, finish, propose, terminate, too_late};
use crate::reason;
use crate::session::{Asking, Sent, Session, State};
use crate::stanza;
use minidom::Element;
use signal::{End, Reason, Signal};

pub(super) fn hear(session: &mut Session, stanza: &Element, id: &str) -> Hearing {
    // An answer counts only from whom we asked, or from that user's server.
    let from = stanza.attr("from").unwrap_or("");
    if from != session.peer && from != stanza::bare(&session.peer) && from != stanza::domain(&session.peer) {
        return Hearing::default();
    }
    let Some(sent) = stanza.attr("id").and_then(|id| session.answered(id)) else { return Hearing::default() };
    if stanza.attr("type") == Some("error") {
        let (condition, jingle) = stanza::condition(stanza);
        let why = reason::bounced(condition.as_deref(), jingle.as_deref());
        return failed(session, sent, why, jingle.as_deref() == Some("unknown-session"), id);
    }
    let mut heard = Hearing::default();
    match sent {
        Sent::Initiate => {
            session.acked = true;
            let late = std::mem::take(&mut session.late);
            heard.now = late
                .iter()
                .enumerate()
                .map(|(n, device)| too_late(session, device, &format!("{id}{n}")))
                .collect();
        }
        Sent::Update => heard.signals.extend(done(session)),
        Sent::Propose | Sent::Proceed | Sent::Accept | Sent::Notice => {}
    }
    heard
}

/// Our open offer is settled by its acknowledgement alone, unless contents were added.
fn done(session: &mut Session) -> Option<Signal> {
    if let Some((Asking::Add(_), _)) | None = session.asking {
        return None;
    }
    session.asking = None;
    Some(Signal::Updated(session.agreed()))
}

fn failed(session: &mut Session, sent: Sent, why: Reason, unknown: bool, id: &str) -> Hearing {
    let mut heard = Hearing::default();
    let early = matches!(session.state, State::Proposing | State::Outgoing | State::Proceeded);
    match sent {
        _ if session.state == State::Ended => {}
        Sent::Propose if session.state == State::Proposing => {
            session.state = State::Ended;
            heard.signals.push(Signal::End(why.into()));
        }
        Sent::Proceed if session.state == State::Proceeded => {
            // The caller's client has given up and told nobody (R-CALL-41).
            session.state = State::Ended;
            heard.signals.push(Signal::End(Reason::Connectivity.into()));
        }
        Sent::Initiate if why == Reason::Offline && session.jmi && session.spare.is_some() => {
            // The device is gone, the user perhaps not: asked once more (interworking §2.4).
            session.sid = session.spare.take().unwrap_or_default();
            session.peer = stanza::bare(&session.peer).to_owned();
            (session.acked, session.late) = (false, vec![]);
            heard.after.push(propose(session, id));
            heard.keep = true;
        }
        Sent::Initiate | Sent::Accept => {
            session.state = State::Ended;
            // Both called at once and ours lost (XEP-0166 §7.2.16).
            let why = if why == Reason::Glare { Reason::Busy } else { why };
            let reason = if early { why } else { Reason::Connectivity };
            heard.after.extend(finish(session, &reason.into(), id));
            heard.signals.push(Signal::End(reason.into()));
        }
        Sent::Update | Sent::Notice if unknown => {
            session.state = State::Ended;
            heard.signals.push(Signal::End(End::from(Reason::Connectivity)));
        }
        Sent::Update => {
            if let Some((Asking::Add(_), before)) = &session.asking {
                session.spoken = before.clone();
                session.asking = None;
                heard.signals.push(Signal::Refused(why));
            } else {
                // The call goes on (R-CALL-40): the relay does what the client did not want to know.
                heard.signals.extend(done(session));
            }
        }
        Sent::Propose | Sent::Proceed | Sent::Notice => {}
    }
    heard
}

pub(super) fn missing(session: &mut Session, sent: Sent, id: &str) -> Hearing {
    match sent {
        Sent::Initiate | Sent::Accept if session.is_open() => {
            let end = End::from(Reason::Timeout);
            Hearing {
                now: terminate(session, &end, id),
                signals: vec![Signal::End(end)],
                ..Hearing::default()
            }
        }
        Sent::Update => failed(session, sent, Reason::Timeout, false, id),
        _ => Hearing::default(),
    }
}
