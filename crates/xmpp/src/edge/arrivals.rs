//! Which leg a stanza means, and what is answered without any.

use super::Edge;
use super::leg::{Alarm, Job, Leg};
use super::open::opening;
use crate::disco;
use crate::session::State;
use crate::signal::{is_call, proposal, unknown_session};
use crate::stanza::{self, CLIENT, COMPONENT, DELAY, JINGLE};
use minidom::Element;
use signal::{LegId, LegRef, Reason, Time, Token};

/// Longest session id that is taken (interworking §2.1).
const MAX_SID: usize = 256;
/// A JMI message that was stored longer than this is history, ms (R-CALL-36).
const MAX_AGE: u64 = 60_000;

impl Edge {
    /// A stanza of one of our component links.
    pub fn receive(&mut self, stanza: &Element, now: Time) {
        let (Some(from), Some(to)) = (stanza.attr("from"), stanza.attr("to")) else { return };
        // An answer in a namespace that is no stanza's would break the link.
        if !matches!(stanza.ns().as_str(), COMPONENT | CLIENT) {
            return;
        }
        // And so would one from a domain that is not ours.
        if from.is_empty() || !self.serves(stanza::domain(to)) {
            return;
        }
        match (stanza.name(), stanza.attr("type")) {
            ("iq", Some("result" | "error")) => self.answer(stanza, now),
            ("iq", Some("set")) => match stanza.children().find(|c| c.is("jingle", JINGLE)) {
                Some(jingle) => self.jingle(stanza, jingle, now),
                None => self.other(stanza),
            },
            ("iq", _) => self.other(stanza),
            ("message", Some("error")) => self.answer(stanza, now),
            ("message", kind) => match proposal::element(stanza) {
                Some(jmi) => self.jmi(stanza, jmi, now),
                // Text is not served: its sender shall know.
                None if self.typed(stanza, now) => {}
                None if matches!(kind, None | Some("chat" | "normal"))
                    && stanza.children().any(|c| c.name() == "body") =>
                {
                    self.send(stanza::error(stanza, "cancel", "service-unavailable", None));
                }
                None => {}
            },
            ("presence", _) => {
                if let Some(component) = self.component(stanza::domain(to)) {
                    disco::presence(stanza, component).into_iter().for_each(|p| self.send(p));
                }
            }
            _ => {}
        }
    }

    /// Digits typed as text to the number that one is in a call with are pressed keys (R-DTMF-6).
    fn typed(&mut self, message: &Element, now: Time) -> bool {
        let (from, to) = (message.attr("from").unwrap_or(""), message.attr("to").unwrap_or(""));
        let Some((leg, _)) = self.between(to, from, State::Active) else { return false };
        let pressed = !proposal::digits(message).is_empty();
        if pressed {
            self.job(leg, Job::Hear(message.clone()), now);
        }
        pressed
    }

    fn other(&mut self, iq: &Element) {
        let component = self.component(stanza::domain(iq.attr("to").unwrap_or("")));
        if let Some(reply) = component.map(|component| disco::answer(iq, component)) {
            self.send(reply);
        }
    }

    /// The answer to a stanza of ours.
    fn answer(&mut self, stanza: &Element, now: Time) {
        let awaited = stanza.attr("id").and_then(|id| self.awaited.remove(id)).map(|a| a.leg);
        let named = stanza.attr("to").and_then(stanza::resource).and_then(|r| self.own(r));
        if let Some(leg) = awaited.or(named) {
            self.job(leg, Job::Hear(stanza.clone()), now);
        }
    }

    fn own(&self, text: &str) -> Option<LegRef> {
        Some(self.secret.open(Token::parse(text)?)?.0)
    }

    /// Our own ids carry their leg; the others' are found by who called.
    fn named(&self, from: &str, sid: &str) -> (LegRef, bool) {
        match self.own(sid) {
            Some(leg) => (leg, true),
            None => (LegRef { call: self.secret.call_of_jingle(from, sid), leg: LegId(0) }, false),
        }
    }

    /// Too much is held already to look for a leg that may not exist, or to begin one.
    fn full(&self) -> bool {
        self.legs.len() >= self.config.max_legs.saturating_mul(2)
            || self.pending.len() >= self.config.max_legs.saturating_mul(2)
    }

    fn jingle(&mut self, iq: &Element, jingle: &Element, now: Time) {
        let (from, to) = (iq.attr("from").unwrap_or(""), iq.attr("to").unwrap_or(""));
        let sid = jingle.attr("sid").unwrap_or("");
        if sid.is_empty() || sid.len() > MAX_SID {
            return self.refuse(iq, Reason::BadRequest);
        }
        let (leg, ours) = self.named(from, sid);
        if self.legs.contains_key(&leg) {
            return self.job(leg, Job::Hear(iq.clone()), now);
        }
        if self.full() {
            return self.refuse(iq, Reason::Unavailable);
        }
        let initiate = jingle.attr("action") == Some("session-initiate");
        // Sent to the resource that our proceed came from: the record knows the call, perhaps.
        let proposed = stanza::resource(to).and_then(|r| self.own(r)) == Some(leg);
        if initiate && !ours && !proposed {
            return self.begin(iq, leg, sid, now);
        }
        self.job(leg, Job::Hear(iq.clone()), now);
    }

    /// A session-initiate of nobody we know of is a direct call.
    pub(super) fn begin(&mut self, iq: &Element, leg: LegRef, sid: &str, now: Time) {
        let (from, to) = (iq.attr("from").unwrap_or(""), iq.attr("to").unwrap_or(""));
        let jingle = iq.children().find(|c| c.is("jingle", JINGLE));
        if !jingle.is_some_and(is_call) || stanza::resource(from).is_none() {
            return self.refuse(iq, Reason::BadRequest);
        }
        if self.draining || self.legs.len() >= self.config.max_legs {
            return self.refuse(iq, Reason::Unavailable);
        }
        // Both called at once: the lower sid goes on; the peer says the same of the other one (R-CALL-4).
        let crossing = self.between(to, from, State::Outgoing).filter(|(_, s)| !s.jmi && s.peer == from);
        if crossing.is_some_and(|(_, session)| session.sid.as_str() < sid) {
            let error = stanza::error(iq, "cancel", "conflict", Some("tie-break"));
            return self.send(error);
        }
        let session = self.incoming(from, to, sid, false, leg);
        self.legs.insert(leg, Leg { session: Some(session), opening: true, ..Leg::default() });
        self.job(leg, Job::Hear(iq.clone()), now);
        self.forget_unopened(leg);
    }

    fn jmi(&mut self, message: &Element, jmi: &Element, now: Time) {
        let (from, to) = (message.attr("from").unwrap_or(""), message.attr("to").unwrap_or(""));
        let id = jmi.attr("id").unwrap_or("");
        if id.is_empty() || id.len() > MAX_SID || is_history(message, now) {
            return;
        }
        let (leg, ours) = self.named(from, id);
        if self.legs.contains_key(&leg) {
            return self.job(leg, Job::Hear(message.clone()), now);
        }
        match jmi.name() {
            "propose" if !ours && stanza::resource(from).is_some() => {
                if self.draining || self.legs.len() >= self.config.max_legs || opening(message).is_none() {
                    return self.reject(message, &Reason::Unavailable.into());
                }
                if let Some((other, session)) = self.between(to, from, State::Proposing) {
                    // R-CALL-13: the lower id goes on.
                    if session.sid.as_str() < id {
                        return self.tie_break(message);
                    }
                    self.job(other, Job::Alarm(Alarm::Crossed), now);
                }
                let session = self.incoming(from, to, id, true, leg);
                self.legs.insert(leg, Leg { session: Some(session), opening: true, ..Leg::default() });
                self.job(leg, Job::Hear(message.clone()), now);
                self.forget_unopened(leg);
            }
            // What a caller says of its own proposal, and a callee of ours.
            "retract" | "finish" if !self.full() => self.job(leg, Job::Hear(message.clone()), now),
            "ringing" | "proceed" | "reject" if ours && !self.full() => {
                self.job(leg, Job::Hear(message.clone()), now);
            }
            _ => {}
        }
    }

    /// What was refused before it became a call leaves nothing behind.
    fn forget_unopened(&mut self, name: LegRef) {
        let Some(leg) = self.legs.get(&name) else { return };
        if leg.opening && !leg.busy && (leg.is(State::Ended) || leg.is(State::New)) {
            self.remove(name);
        }
    }
}

/// Stored messages never start, answer or end a call (R-CALL-36).
fn is_history(message: &Element, now: Time) -> bool {
    let mut delays = message.children().filter(|c| c.is("delay", DELAY));
    delays.any(|d| d.attr("stamp").and_then(stanza::moment).is_none_or(|at| now.since(Time(at)) > MAX_AGE))
}

/// An answer to a session that is gone.
pub(super) fn gone(iq: &Element) -> Element {
    unknown_session(iq)
}
