//! The links: what is held while one is down, and what is said again once it is back (interworking §11.1).

use super::{Edge, Output};
use crate::session::State;
use crate::signal::proposal;
use crate::stanza::{self, JINGLE};
use minidom::Element;
use signal::{LegRef, Time};
use std::collections::VecDeque;

/// Stanzas held for a link that is down; older ones give way.
const MAX_HELD: usize = 1_024;
/// A link that stays down longer than this, ms, makes what was held worthless.
const MAX_DOWN: u64 = 30_000;
/// A propose or proceed sent so shortly before the loss may not have arrived, ms.
const UNCERTAIN: u64 = 2_000;
/// Stanzas of one leg whose answer is awaited.
const MAX_AWAITED: usize = 32;

/// The link of a component domain.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) up: bool,
    down: Time,
    held: VecDeque<Element>,
}

/// A stanza of ours whose answer has not come.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) leg: LegRef,
    stanza: Element,
    sent: Time,
}

impl Edge {
    /// The link of a component domain is there, or lost. Before the first call it is lost.
    pub fn linked(&mut self, domain: &str, up: bool, now: Time) {
        let Some(link) = self.links.get_mut(&domain.to_ascii_lowercase()) else { return };
        if link.up == up {
            return;
        }
        link.up = up;
        if !up {
            link.down = now;
            return;
        }
        let (down, held) = (link.down, std::mem::take(&mut link.held));
        if now.since(down) > MAX_DOWN {
            return;
        }
        let mut again: Vec<&Awaited> = self
            .awaited
            .values()
            .filter(|a| stanza::domain(a.stanza.attr("from").unwrap_or("")).eq_ignore_ascii_case(domain))
            // A message has no answer to wait for: it is repeated only if it may have been lost.
            .filter(|a| a.stanza.name() == "iq" || a.sent + UNCERTAIN >= down)
            .filter(|a| self.is_needed(a))
            .collect();
        again.sort_by_key(|a| (a.sent, a.stanza.attr("id").map(str::to_owned)));
        let again: Vec<Element> = again.into_iter().map(|a| a.stanza.clone()).collect();
        self.out.extend(again.into_iter().chain(held).map(Output::Send));
    }

    /// The leg is still where this stanza was said: no phone shall ring for a call that is over.
    fn is_needed(&self, awaited: &Awaited) -> bool {
        let leg = self.legs.get(&awaited.leg);
        let Some(session) = leg.and_then(|leg| leg.session.as_ref()) else { return false };
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

    pub(super) fn hold(&mut self, stanza: Element) {
        let awaited = stanza.attr("id").is_some_and(|id| self.awaited.contains_key(id));
        let domain = stanza::domain(stanza.attr("from").unwrap_or("")).to_ascii_lowercase();
        let Some(link) = self.links.get_mut(&domain).filter(|_| !awaited) else { return };
        if link.held.len() >= MAX_HELD {
            link.held.pop_front();
        }
        link.held.push_back(stanza);
    }

    pub(super) fn await_answer(&mut self, id: String, leg: LegRef, stanza: Element, now: Time) {
        if let Some(leg) = self.legs.get_mut(&leg) {
            if leg.ids.len() >= MAX_AWAITED
                && let Some(old) = leg.ids.pop_front()
            {
                self.awaited.remove(&old);
            }
            leg.ids.push_back(id.clone());
        }
        self.awaited.insert(id, Awaited { leg, stanza, sent: now });
    }
}
