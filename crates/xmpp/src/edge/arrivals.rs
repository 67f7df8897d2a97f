//! Incoming stanzas: routed to their leg, or answered without one.

use super::Edge;
use super::leg::{Leg, Timer, Work};
use super::open::opening;
use crate::disco;
use crate::session::State;
use crate::signal::{is_call, proposal};
use crate::stanza::{self, CLIENT, COMPONENT, DELAY, JINGLE};
use minidom::Element;
use signal::{LegId, LegRef, Reason, Time, Token};

/// Longest accepted session id (interworking §2.1).
const MAX_SID: usize = 256;
/// Age from which a stored JMI message is ignored, ms (R-CALL-36).
const MAX_AGE: u64 = 60_000;

impl Edge {
    /// Takes a stanza from one of our component links.
    pub fn receive(&mut self, stanza: &Element, now: Time) {
        let (Some(from), Some(to)) = (stanza.attr("from"), stanza.attr("to")) else { return };
        // An answer in a namespace that no stanza has would break the link.
        if !matches!(stanza.ns().as_str(), COMPONENT | CLIENT) {
            return;
        }
        // An answer from a domain that is not ours would do the same.
        if from.is_empty() || !self.serves(stanza::domain(to)) {
            return;
        }
        match (stanza.name(), stanza.attr("type")) {
            ("iq", Some("result" | "error")) => self.handle_reply(stanza, now),
            ("iq", Some("set")) => match stanza.children().find(|c| c.is("jingle", JINGLE)) {
                Some(jingle) => self.jingle(stanza, jingle, now),
                None => self.answer_other(stanza),
            },
            ("iq", _) => self.answer_other(stanza),
            ("message", Some("error")) => self.handle_reply(stanza, now),
            ("message", kind) => match proposal::element(stanza) {
                Some(jmi) => self.jmi(stanza, jmi, now),
                // Text is not served, and its sender is told.
                None if self.digits_from_text(stanza, now) => {}
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

    /// Takes digits typed as text to the number that the sender is in a call with as pressed keys (R-DTMF-6).
    fn digits_from_text(&mut self, message: &Element, now: Time) -> bool {
        let (from, to) = (message.attr("from").unwrap_or(""), message.attr("to").unwrap_or(""));
        let Some((leg, _)) = self.leg_between(to, from, State::Active) else { return false };
        let pressed = !proposal::digits(message).is_empty();
        if pressed {
            self.enqueue(leg, Work::Hear(message.clone()), now);
        }
        pressed
    }

    fn answer_other(&mut self, iq: &Element) {
        let component = self.component(stanza::domain(iq.attr("to").unwrap_or("")));
        if let Some(reply) = component.map(|component| disco::answer(iq, component)) {
            self.send(reply);
        }
    }

    /// Handles the answer to a stanza of ours.
    fn handle_reply(&mut self, stanza: &Element, now: Time) {
        let awaited = stanza.attr("id").and_then(|id| self.pending_iqs.remove(id)).map(|a| a.leg);
        let named = stanza.attr("to").and_then(stanza::resource).and_then(|r| self.leg_of_token(r));
        if let Some(leg) = awaited.or(named) {
            self.enqueue(leg, Work::Hear(stanza.clone()), now);
        }
    }

    fn leg_of_token(&self, text: &str) -> Option<LegRef> {
        Some(self.secret.open(Token::parse(text)?)?.0)
    }

    /// Returns the leg of a session id, and true if the id is ours: our ids carry their leg, others are hashed with their initiator.
    fn leg_named(&self, from: &str, sid: &str) -> (LegRef, bool) {
        match self.leg_of_token(sid) {
            Some(leg) => (leg, true),
            None => (LegRef { call: self.secret.call_of_jingle(from, sid), leg: LegId(0) }, false),
        }
    }

    /// Returns true if too much is held already to recall an unknown leg or to open one.
    fn is_full(&self) -> bool {
        self.legs.len() >= self.config.max_legs.saturating_mul(2)
            || self.pending.len() >= self.config.max_legs.saturating_mul(2)
    }

    fn jingle(&mut self, iq: &Element, jingle: &Element, now: Time) {
        let (from, to) = (iq.attr("from").unwrap_or(""), iq.attr("to").unwrap_or(""));
        let sid = jingle.attr("sid").unwrap_or("");
        if sid.is_empty() || sid.len() > MAX_SID {
            return self.refuse(iq, Reason::BadRequest);
        }
        let (leg, ours) = self.leg_named(from, sid);
        if self.legs.contains_key(&leg) {
            return self.enqueue(leg, Work::Hear(iq.clone()), now);
        }
        if self.is_full() {
            return self.refuse(iq, Reason::Unavailable);
        }
        let initiate = jingle.attr("action") == Some("session-initiate");
        // Sent to the resource that our proceed came from: the record may know the call.
        let proposed = stanza::resource(to).and_then(|r| self.leg_of_token(r)) == Some(leg);
        if initiate && !ours && !proposed {
            return self.begin_call(iq, leg, sid, now);
        }
        self.enqueue(leg, Work::Hear(iq.clone()), now);
    }

    /// Opens a direct call for a session-initiate without a proposal.
    pub(super) fn begin_call(&mut self, iq: &Element, leg: LegRef, sid: &str, now: Time) {
        let (from, to) = (iq.attr("from").unwrap_or(""), iq.attr("to").unwrap_or(""));
        let jingle = iq.children().find(|c| c.is("jingle", JINGLE));
        if !jingle.is_some_and(is_call) || stanza::resource(from).is_none() {
            return self.refuse(iq, Reason::BadRequest);
        }
        if self.draining || self.legs.len() >= self.config.max_legs {
            return self.refuse(iq, Reason::Unavailable);
        }
        // Both called at once: the lower sid wins; the peer decides the same about the other one (R-CALL-4).
        let rival = self.leg_between(to, from, State::Outgoing).filter(|(_, s)| !s.jmi && s.peer == from);
        if rival.is_some_and(|(_, session)| session.sid.as_str() < sid) {
            let error = stanza::error(iq, "cancel", "conflict", Some("tie-break"));
            return self.send(error);
        }
        let session = self.incoming(from, to, sid, false, leg);
        self.legs.insert(leg, Leg { session: Some(session), opening: true, ..Leg::default() });
        self.enqueue(leg, Work::Hear(iq.clone()), now);
        self.forget_unopened(leg);
    }

    fn jmi(&mut self, message: &Element, jmi: &Element, now: Time) {
        let (from, to) = (message.attr("from").unwrap_or(""), message.attr("to").unwrap_or(""));
        let id = jmi.attr("id").unwrap_or("");
        if id.is_empty() || id.len() > MAX_SID || is_delayed(message, now) {
            return;
        }
        let (leg, ours) = self.leg_named(from, id);
        if self.legs.contains_key(&leg) {
            return self.enqueue(leg, Work::Hear(message.clone()), now);
        }
        match jmi.name() {
            "propose" if !ours && stanza::resource(from).is_some() => {
                if self.draining || self.legs.len() >= self.config.max_legs || opening(message).is_none() {
                    return self.reject(message, &Reason::Unavailable.into());
                }
                if let Some((other, session)) = self.leg_between(to, from, State::Proposing) {
                    // The lower id wins (R-CALL-13).
                    if session.sid.as_str() < id {
                        return self.reject_with_tie_break(message);
                    }
                    self.enqueue(other, Work::Timer(Timer::TieBreakLost), now);
                }
                let session = self.incoming(from, to, id, true, leg);
                self.legs.insert(leg, Leg { session: Some(session), opening: true, ..Leg::default() });
                self.enqueue(leg, Work::Hear(message.clone()), now);
                self.forget_unopened(leg);
            }
            // Caller about its own proposal; below, callee about ours.
            "retract" | "finish" if !self.is_full() => self.enqueue(leg, Work::Hear(message.clone()), now),
            "ringing" | "proceed" | "reject" if ours && !self.is_full() => {
                self.enqueue(leg, Work::Hear(message.clone()), now);
            }
            _ => {}
        }
    }

    /// Drops a leg that was refused before it became a call.
    fn forget_unopened(&mut self, name: LegRef) {
        let Some(leg) = self.legs.get(&name) else { return };
        if leg.opening && !leg.busy && (leg.is(State::Ended) || leg.is(State::New)) {
            self.remove(name);
        }
    }
}

/// Returns true for a stored message: those never start, answer or end a call (R-CALL-36).
fn is_delayed(message: &Element, now: Time) -> bool {
    let mut delays = message.children().filter(|c| c.is("delay", DELAY));
    delays.any(|d| d.attr("stamp").and_then(stanza::moment).is_none_or(|at| now.since(Time(at)) > MAX_AGE))
}
