//! Sending: stanzas of a leg start the timers of their answers.

use super::jingle::{Event, Jingle};
use crate::session::Session;
use crate::signal::proposal;
use crate::stanza::{self, JINGLE};
use ::edge::LegMut;
use minidom::Element;
use signal::Time;

/// Longest wait for the answer to an IQ of ours, ms (interworking §4.4).
const REPLY_TIMEOUT: u64 = 30_000;
/// Longest time from our session-initiate after a proceed to the session-accept, ms (interworking §2.4).
const ACCEPT_TIMEOUT: u64 = 15_000;

impl Jingle {
    /// Sends a stanza of a leg.
    pub(super) fn send_of_leg(
        &mut self,
        leg: &mut LegMut<'_, Self>,
        session: &Session,
        stanza: Element,
        now: Time,
    ) {
        let request = stanza.name() == "iq" && stanza.attr("type") == Some("set");
        let jmi = proposal::element(&stanza).map(Element::name);
        let jingle = stanza.get_child("jingle", JINGLE).filter(|_| request);
        let initiates = jingle.filter(|j| j.attr("action") == Some("session-initiate"));
        if let Some(sid) = initiates.and_then(|j| j.attr("sid")).filter(|_| session.jmi) {
            leg.timers.set(Event::Accept(sid.to_owned()), now + ACCEPT_TIMEOUT);
        }
        if let Some(after) = self.config.presume_ringing
            && (jmi == Some("propose") || initiates.is_some())
        {
            leg.timers.set(Event::PresumeRinging, now + after);
        }
        if request || matches!(jmi, Some("propose" | "proceed")) {
            let id = stanza.attr("id").unwrap_or("").to_owned();
            if request {
                leg.timers.set(Event::Reply(id.clone()), now + REPLY_TIMEOUT);
            }
            self.expect_reply(id, leg, stanza.clone(), now);
        }
        self.send_stanza(stanza);
    }

    /// Sends a stanza, or buffers it while its link is down.
    pub(super) fn send_stanza(&mut self, stanza: Element) {
        if self.is_up(stanza::domain(stanza.attr("from").unwrap_or(""))) {
            self.out.push_back(stanza);
        } else {
            self.buffer(stanza);
        }
    }
}
