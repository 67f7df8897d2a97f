//! Incoming stanzas: routed to their leg, or answered without one.

use super::jingle::{Event, Jingle};
use super::open::opening;
use super::{Edge, service};
use crate::disco;
use crate::session::{Session, State};
use crate::signal::{is_call, proposal, typed};
use crate::stanza::{self, CLIENT, COMPONENT, DELAY, JINGLE};
use ::edge::Held;
use minidom::Element;
use signal::{LegId, LegRef, Reason, Time};

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
        if from.is_empty() || !self.legs.protocol.serves(stanza::domain(to)) {
            return;
        }
        match (stanza.name(), stanza.attr("type")) {
            ("iq", Some("result" | "error")) => self.handle_reply(stanza, now),
            ("iq", Some("set")) => match stanza.children().find(|c| c.is("jingle", JINGLE)) {
                Some(jingle) => self.jingle(stanza, jingle, now),
                None => match service::command_of(stanza) {
                    Some(command) => self.legs.protocol.command(stanza, command, now),
                    None => self.legs.protocol.answer_other(stanza),
                },
            },
            ("iq", _) => self.legs.protocol.answer_other(stanza),
            ("message", Some("error")) => self.handle_reply(stanza, now),
            ("message", kind) => match proposal::element(stanza) {
                Some(jmi) => self.jmi(stanza, jmi, now),
                None if self.typed_in_call(stanza, now) => {}
                None if matches!(kind, None | Some("chat" | "normal"))
                    && stanza.children().any(|c| c.name() == "body") =>
                {
                    self.legs.protocol.text(stanza);
                }
                None => {}
            },
            ("presence", kind) => {
                if kind == Some("unavailable") {
                    self.caller_left(stanza, now);
                }
                self.legs.protocol.answer_presence(stanza);
            }
            _ => {}
        }
    }

    /// Takes a text to the number that the sender is in a call with: digits are pressed keys (R-DTMF-6), other words a wish to transfer.
    fn typed_in_call(&mut self, message: &Element, now: Time) -> bool {
        let (from, to) = (message.attr("from").unwrap_or(""), message.attr("to").unwrap_or(""));
        let transfer = typed::transfer(message);
        if transfer.is_none() && typed::digits(message).is_empty() {
            return false;
        }
        let (jingle, held) = self.legs.split();
        let leg = match &transfer {
            Some(_) if jingle.is_service(from, to) => jingle.one_leg_of(held, from, stanza::domain(to)),
            _ => {
                let between = jingle.leg_between(held, to, from, State::Active).map(|(leg, _)| leg);
                // The resource of ours names a leg that another edge has served until now, or its parties do: most clients write to no
                // resource.
                let named = || jingle.leg_of_token(stanza::resource(to)?);
                between.or_else(named).or_else(|| jingle.leg_told(to, from))
            }
        };
        let Some(leg) = leg else {
            return transfer.is_some_and(|words| jingle.refuse_transfer(message, &words));
        };
        let mut message = message.clone();
        if message.attr("id").is_none() {
            // The same words once more are another stanza of the same content.
            jingle.unnamed += 1;
            stanza::set(&mut message, "id", &format!("{}-{}", now.0, jingle.unnamed));
        }
        self.legs.handle_message(leg, message, now);
        true
    }

    /// Takes the unavailable presence of a device whose call is not answered yet.
    fn caller_left(&mut self, presence: &Element, now: Time) {
        let (from, to) = (presence.attr("from").unwrap_or(""), presence.attr("to").unwrap_or(""));
        for leg in self.legs_that_wait(from, to) {
            self.legs.handle_message(leg, presence.clone(), now);
        }
    }

    /// Returns the legs of a device's calls that are not answered yet.
    fn legs_that_wait(&mut self, from: &str, to: &str) -> Vec<LegRef> {
        let (jingle, held) = self.legs.split();
        let waits = |s: &Session| matches!(s.state, State::Proposed | State::Proceeded | State::Incoming);
        let legs = jingle.legs_between(held, to, from);
        legs.filter(|(_, s)| !s.initiator && s.peer == from && waits(s)).map(|(leg, _)| leg).collect()
    }

    /// Handles the answer to a stanza of ours.
    fn handle_reply(&mut self, stanza: &Element, now: Time) {
        let jingle = &mut self.legs.protocol;
        let pending = stanza.attr("id").and_then(|id| jingle.pending_iqs.remove(id)).map(|iq| iq.leg);
        let addressed = || jingle.leg_of_token(stanza.attr("to").and_then(stanza::resource)?);
        if let Some(leg) = pending.or_else(addressed) {
            self.legs.handle_message(leg, stanza.clone(), now);
        }
    }

    fn jingle(&mut self, iq: &Element, jingle: &Element, now: Time) {
        let (from, to) = (iq.attr("from").unwrap_or(""), iq.attr("to").unwrap_or(""));
        let sid = jingle.attr("sid").unwrap_or("");
        if sid.is_empty() && jingle.attr("action") == Some("session-terminate") {
            // Some clients end what they have only proposed without a sid: it can mean but one call.
            if let [leg] = self.legs_that_wait(from, to)[..] {
                let named = self.with_sid(iq, leg);
                return self.legs.handle_message(leg, named, now);
            }
        }
        if sid.is_empty() || sid.len() > MAX_SID {
            return self.legs.protocol.refuse_iq(iq, Reason::BadRequest);
        }
        let (leg, ours) = self.legs.protocol.leg_named(from, sid);
        if self.legs.held().contains(leg) {
            return self.legs.handle_message(leg, iq.clone(), now);
        }
        if self.legs.is_full() {
            return self.legs.protocol.refuse_iq(iq, Reason::Unavailable);
        }
        // Sent to the resource that our proceed came from: the record may know the call.
        let resource = stanza::resource(to);
        let proposed = resource.and_then(|r| self.legs.protocol.leg_of_token(r)) == Some(leg);
        if jingle.attr("action") != Some("session-initiate") || ours || proposed {
            return self.legs.handle_message(leg, iq.clone(), now);
        }
        let room = self.legs.has_room();
        let (jingle, held) = self.legs.split();
        match jingle.direct_call(held, iq, leg, sid) {
            Some(session) if room => self.legs.open(leg, session, iq.clone(), now),
            Some(_) => jingle.refuse_iq(iq, Reason::Unavailable),
            None => {}
        }
    }

    /// Returns the stanza with the sid of this leg.
    fn with_sid(&self, iq: &Element, leg: LegRef) -> Element {
        let mut iq = iq.clone();
        let sid = self.legs.held().state(leg).map(|session| session.sid.clone());
        if let (Some(jingle), Some(sid)) = (iq.get_child_mut("jingle", JINGLE), sid) {
            stanza::set(jingle, "sid", &sid);
        }
        iq
    }

    fn jmi(&mut self, message: &Element, jmi: &Element, now: Time) {
        let (from, to) = (message.attr("from").unwrap_or(""), message.attr("to").unwrap_or(""));
        let id = jmi.attr("id").unwrap_or("");
        if id.is_empty() || id.len() > MAX_SID || is_delayed(message, now) {
            return;
        }
        let (leg, ours) = self.legs.protocol.leg_named(from, id);
        if self.legs.held().contains(leg) {
            return self.legs.handle_message(leg, message.clone(), now);
        }
        match jmi.name() {
            "propose" if !ours && stanza::resource(from).is_some() => {
                let room = self.legs.has_room();
                let (jingle, held) = self.legs.split();
                if jingle.draining || !room || opening(message).is_none() {
                    return jingle.reject(message, &Reason::Unavailable.into());
                }
                if let Some((other, session)) = jingle.leg_between(held, to, from, State::Proposing) {
                    // The lower id wins (R-CALL-13).
                    if session.sid.as_str() < id {
                        return jingle.reject_with_tie_break(message);
                    }
                    self.legs.handle_event(other, Event::TieBreakLost, now);
                }
                let session = self.legs.protocol.incoming(from, to, id, true, leg);
                self.legs.open(leg, session, message.clone(), now);
            }
            // Caller about its own proposal; below, callee about ours.
            "retract" | "finish" => self.legs.handle_message(leg, message.clone(), now),
            "ringing" | "proceed" | "reject" if ours => {
                self.legs.handle_message(leg, message.clone(), now);
            }
            _ => {}
        }
    }
}

impl Jingle {
    fn answer_other(&mut self, iq: &Element) {
        let component = self.component(stanza::domain(iq.attr("to").unwrap_or("")));
        if let Some(reply) = component.map(|component| disco::answer(iq, component)) {
            self.send_stanza(reply);
        }
    }

    fn answer_presence(&mut self, presence: &Element) {
        if let Some(component) = self.component(stanza::domain(presence.attr("to").unwrap_or(""))) {
            disco::presence(presence, component).into_iter().for_each(|p| self.send_stanza(p));
        }
    }

    /// Returns the leg of a session id, and true if the id is ours: our ids carry their leg, others are hashed with their initiator.
    fn leg_named(&self, from: &str, sid: &str) -> (LegRef, bool) {
        match self.leg_of_token(sid) {
            Some(leg) => (leg, true),
            None => (LegRef { record: self.secret.call_of_jingle(from, sid), leg: LegId(0) }, false),
        }
    }

    /// Returns the session of a direct call, for a session-initiate without a proposal; `None` if that is refused here.
    pub(super) fn direct_call(
        &mut self,
        held: &Held<Self>,
        iq: &Element,
        leg: LegRef,
        sid: &str,
    ) -> Option<Session> {
        let (from, to) = (iq.attr("from").unwrap_or(""), iq.attr("to").unwrap_or(""));
        let jingle = iq.children().find(|c| c.is("jingle", JINGLE));
        if !jingle.is_some_and(is_call) || stanza::resource(from).is_none() {
            self.refuse_iq(iq, Reason::BadRequest);
            return None;
        }
        if self.draining {
            self.refuse_iq(iq, Reason::Unavailable);
            return None;
        }
        // Both called at once: the lower sid wins; the peer decides the same about the other one (R-CALL-4).
        let rival =
            self.leg_between(held, to, from, State::Outgoing).filter(|(_, s)| !s.jmi && s.peer == from);
        if rival.is_some_and(|(_, session)| session.sid.as_str() < sid) {
            self.send_stanza(stanza::error(iq, "cancel", "conflict", Some("tie-break")));
            return None;
        }
        Some(self.incoming(from, to, sid, false, leg))
    }
}

/// Returns true for a stored message: those never start, answer or end a call (R-CALL-36).
fn is_delayed(message: &Element, now: Time) -> bool {
    let mut delays = message.children().filter(|c| c.is("delay", DELAY));
    delays.any(|d| d.attr("stamp").and_then(stanza::moment).is_none_or(|at| now.since(Time(at)) > MAX_AGE))
}
