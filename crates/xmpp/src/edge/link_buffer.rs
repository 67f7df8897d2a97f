//! Stanzas buffered while a component link is down, and sent again once it is back (interworking §11.1).

use super::Edge;
use super::jingle::Jingle;
use crate::session::State;
use crate::signal::proposal;
use crate::stanza::{self, JINGLE};
use ::edge::LegMut;
use minidom::Element;
use signal::{LegRef, Time};
use std::collections::VecDeque;

/// Most stanzas buffered for a link that is down; the oldest are dropped.
const MAX_BUFFERED: usize = 1_024;
/// Longest outage, ms, after which the buffer is still sent.
const MAX_DOWN: u64 = 30_000;
/// Time before an outage, ms, in which a propose or proceed may have been lost.
const UNCERTAIN: u64 = 2_000;
/// Most unanswered stanzas of one leg.
const MAX_AWAITED: usize = 32;

/// Link of a component domain.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) up: bool,
    down: Time,
    buffered: VecDeque<Element>,
}

/// Unanswered stanza of ours: an IQ, or a message that an error may answer.
#[derive(Debug)]
pub(super) struct PendingIq {
    pub(super) leg: LegRef,
    stanza: Element,
    sent: Time,
}

impl PendingIq {
    /// Returns true for a message, which only an error answers.
    pub(super) fn is_message(&self) -> bool {
        self.stanza.name() == "message"
    }
}

impl Edge {
    /// Takes the news that the link of a component domain is up or down. It starts as down.
    pub fn linked(&mut self, domain: &str, up: bool, now: Time) {
        let jingle = &mut self.legs.protocol;
        let Some(link) = jingle.links.get_mut(&domain.to_ascii_lowercase()) else { return };
        if link.up == up {
            return;
        }
        link.up = up;
        if !up {
            link.down = now;
            return;
        }
        let (down, buffered) = (link.down, std::mem::take(&mut link.buffered));
        if now.since(down) > MAX_DOWN {
            return;
        }
        let pending = self.legs.protocol.pending_iqs.values();
        let mut resend: Vec<&PendingIq> = pending
            .filter(|a| stanza::domain(a.stanza.attr("from").unwrap_or("")).eq_ignore_ascii_case(domain))
            // A message has no answer, so it is repeated only if it may have been lost.
            .filter(|a| a.stanza.name() == "iq" || a.sent + UNCERTAIN >= down)
            .filter(|a| self.is_needed(a))
            .collect();
        resend.sort_by_key(|a| (a.sent, a.stanza.attr("id").map(str::to_owned)));
        let resend: Vec<Element> = resend.into_iter().map(|a| a.stanza.clone()).collect();
        self.legs.protocol.out.extend(resend.into_iter().chain(buffered));
    }

    /// Returns true if the leg is still in the state in which the stanza was sent: no phone rings for a call that is over.
    fn is_needed(&self, awaited: &PendingIq) -> bool {
        let Some(session) = self.legs.held().state(awaited.leg) else { return false };
        let stands = |state, sid: Option<&str>| session.state == state && sid == Some(&session.sid);
        if let Some(jmi) = proposal::element(&awaited.stanza) {
            let state = if jmi.name() == "propose" { State::Proposing } else { State::Proceeded };
            return stands(state, jmi.attr("id"));
        }
        let Some(jingle) = awaited.stanza.get_child("jingle", JINGLE) else { return true };
        match jingle.attr("action") {
            Some("session-initiate") => stands(State::Outgoing, jingle.attr("sid")),
            Some("session-terminate") => true,
            _ => session.state != State::Ended,
        }
    }
}

impl Jingle {
    pub(super) fn buffer(&mut self, stanza: Element) {
        let awaited = stanza.attr("id").is_some_and(|id| self.pending_iqs.contains_key(id));
        let domain = stanza::domain(stanza.attr("from").unwrap_or("")).to_ascii_lowercase();
        let Some(link) = self.links.get_mut(&domain).filter(|_| !awaited) else { return };
        if link.buffered.len() >= MAX_BUFFERED {
            link.buffered.pop_front();
        }
        link.buffered.push_back(stanza);
    }

    pub(super) fn expect_reply(
        &mut self,
        id: String,
        leg: &mut LegMut<'_, Self>,
        stanza: Element,
        now: Time,
    ) {
        if leg.local.pending_iqs.len() >= MAX_AWAITED
            && let Some(old) = leg.local.pending_iqs.pop_front()
        {
            self.pending_iqs.remove(&old);
        }
        leg.local.pending_iqs.push_back(id.clone());
        self.pending_iqs.insert(id, PendingIq { leg: leg.id, stanza, sent: now });
    }
}
