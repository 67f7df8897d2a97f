//! Refusals: answers to stanzas that came to nothing.

use super::jingle::Jingle;
use crate::reason;
use crate::signal::{proposal, unknown_session};
use crate::stanza::{self, JINGLE, JMI};
use ::edge::Refusal;
use minidom::Element;
use signal::{End, Reason};

impl Jingle {
    /// Answers a stanza of a leg that came to nothing. `opening`: it was to open a call.
    pub(super) fn refuse_of_leg(&mut self, stanza: &Element, end: &End, opening: bool) {
        let propose = proposal::element(stanza).is_some_and(|jmi| jmi.name() == "propose");
        match end.reason {
            _ if matches!(stanza.attr("type"), Some("error" | "result")) => {}
            _ if propose && opening => self.reject(stanza, end),
            Reason::NotFound if stanza.name() == "message" => self.refuse_message(stanza),
            _ if stanza.name() != "iq" => {}
            Reason::NotFound if !opening => self.send_stanza(unknown_session(stanza)),
            Reason::Unavailable | Reason::BadRequest => self.refuse_iq(stanza, end.reason),
            _ if opening => self.decline_initiate(stanza, end),
            other => self.refuse_iq(stanza, other),
        }
    }

    /// Answers a message about a call that is no more: a device that proceeds waits, and so does whoever typed a digit.
    fn refuse_message(&mut self, message: &Element) {
        match proposal::element(message) {
            Some(jmi) if jmi.name() == "proceed" => {
                let sid = jmi.attr("id").unwrap_or("");
                let id = self.secret.derive_text("stanza", &[b"expired", sid.as_bytes()], 24);
                let finish = proposal::expired(message.attr("to").unwrap_or(""), message, &id);
                finish.into_iter().for_each(|finish| self.send_stanza(finish));
            }
            Some(_) => {}
            None => self.refuse_text(message),
        }
    }

    /// Answers a text, which is not served.
    pub(super) fn refuse_text(&mut self, message: &Element) {
        self.send_stanza(stanza::error(message, "cancel", "service-unavailable", None));
    }

    /// Answers an IQ get or set with an error; nothing else is answered (R-CODE-7).
    pub(super) fn refuse_iq(&mut self, stanza: &Element, reason: Reason) {
        if stanza.name() == "iq" && matches!(stanza.attr("type"), Some("get" | "set")) {
            let (kind, condition) = reason::condition(reason);
            self.tell_refused(stanza, &reason.into());
            self.send_stanza(stanza::error(stanza, kind, condition, None));
        }
    }

    /// Declines a session-initiate: acknowledges it and ends the session (interworking §4.1).
    fn decline_initiate(&mut self, iq: &Element, end: &End) {
        self.tell_refused(iq, end);
        let jingle = iq.children().find(|c| c.is("jingle", JINGLE));
        let sid = jingle.and_then(|j| j.attr("sid")).unwrap_or("");
        self.send_stanza(stanza::result(iq));
        let terminate = stanza::element("jingle", JINGLE, &[("action", "session-terminate"), ("sid", sid)]);
        let terminate = stanza::with(terminate, reason::element(end));
        let id = self.secret.derive_text("stanza", &[b"away", sid.as_bytes()], 24);
        let (from, to) = (iq.attr("to").unwrap_or(""), iq.attr("from").unwrap_or(""));
        self.send_stanza(stanza::iq(from, to, &id, terminate));
    }

    /// Declines a propose.
    pub(super) fn reject(&mut self, message: &Element, end: &End) {
        self.tell_refused(message, end);
        let sid = proposal::element(message).and_then(|j| j.attr("id")).unwrap_or("");
        let reject = stanza::with(stanza::element("reject", JMI, &[("id", sid)]), reason::element(end));
        self.send_reject(message, sid, reject);
    }

    /// Rejects a propose that lost the tie-break against ours (XEP-0353 §7.3).
    pub(super) fn reject_with_tie_break(&mut self, message: &Element) {
        let sid = proposal::element(message).and_then(|j| j.attr("id")).unwrap_or("");
        let reject = stanza::with(
            stanza::element("reject", JMI, &[("id", sid)]),
            reason::element(&Reason::Expired.into()),
        );
        self.send_reject(message, sid, stanza::with(reject, Element::bare("tie-break", JMI)));
    }

    /// Tells of a refusal.
    fn tell_refused(&mut self, stanza: &Element, end: &End) {
        let jingle = stanza.children().find(|c| c.is("jingle", JINGLE)).and_then(|c| c.attr("action"));
        let message = proposal::element(stanza).map(Element::name).or(jingle).unwrap_or(stanza.name());
        // Names of a peer's choice are no label of a counter.
        let message = if message.len() <= 24 { message } else { stanza.name() };
        self.refused.push_back(Refusal {
            link: stanza.attr("to").map_or("", stanza::domain).to_owned(),
            peer: stanza.attr("from").unwrap_or("").to_owned(),
            message: message.to_owned(),
            status: reason::condition(end.reason).1.to_owned(),
            cause: end.text.clone().unwrap_or_else(|| format!("{:?}", end.reason)),
        });
    }

    fn send_reject(&mut self, message: &Element, sid: &str, reject: Element) {
        let id = self.secret.derive_text("stanza", &[b"reject", sid.as_bytes()], 24);
        let (from, to) = (message.attr("to").unwrap_or(""), message.attr("from").unwrap_or(""));
        self.send_stanza(stanza::message(from, to, &id, reject));
    }
}
