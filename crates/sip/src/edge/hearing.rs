//! Up: heard messages and timeouts go to the record; verdicts come back.

use super::arrivals::NO_TRANSACTION;
use super::leg::{Arrival, MAX_TRIES, Pending, Work};
use super::open::{event, opening};
use super::timers::{REINVITE, TIMER_C, Timer};
use super::{Edge, Flow, Output};
use crate::dialog::{Dialog, Membership, State};
use crate::message::{Message, Start};
use crate::reason;
use crate::signal::{Outcome, Outgoing, Timeout, answer_challenge, hear, release, timeout};
use signal::{Ask, End, EventId, Handover, Heard, LegRef, LegState, Opening, Reason, Signal, Time, Verdict};
use std::net::IpAddr;

impl Edge {
    pub(super) fn run(&mut self, name: LegRef, work: Work, tries: u8, now: Time) {
        if let Work::Say(order) = work {
            return self.run_say(name, order, now);
        }
        let Some(leg) = self.legs.get_mut(&name) else { return };
        let Some(mut dialog) = leg.dialog.clone() else {
            if let Work::Hear(_) = &work {
                let pending =
                    Pending { leg: name, work, base: 0, dialog: None, after: vec![], tries, state: None };
                self.ask(Ask::Recall(name), pending);
            }
            return;
        };
        let (base, fresh) = (leg.revision, leg.opening);
        if let Work::Hear(arrival) = &work {
            match self.membership(&dialog, arrival) {
                Membership::Own => {}
                Membership::Unknown if tries == 0 => {
                    let state = None;
                    let pending =
                        Pending { leg: name, work, base, dialog: None, after: vec![], tries, state };
                    return self.ask(Ask::Recall(name), pending);
                }
                Membership::Foreign | Membership::Unknown => return self.disown(arrival),
            }
        }
        let (outcome, event) = match &work {
            Work::Hear(arrival) => (self.translate(name, &mut dialog, arrival), event(&arrival.message)),
            Work::Timeout(what) => {
                let label = format!("{what:?} {} {}", dialog.local_cseq, dialog.remote_cseq);
                let branch = self.branch(&[name.to_string().as_bytes(), label.as_bytes()]);
                let event = EventId::of(&[&name.to_string(), &label]);
                (timeout(&mut dialog, *what, &branch), event)
            }
            Work::Say(_) => return,
        };
        let flow = source(&work);
        if let (Work::Hear(arrival), Some(leg)) = (&work, self.legs.get_mut(&name)) {
            leg.accepted.take_if(|_| arrival.message.method().as_deref() == Some("ACK"));
        }
        // Sent again after a newer record was fetched: transactions make one answer of it.
        self.send_all(name, outcome.send_now, flow, now);
        if let Work::Hear(arrival) = &work
            && arrival.message.code().is_some_and(|c| c < 200)
        {
            match dialog.state {
                State::Outgoing => self.set_timer(name, Timer::Final, now + TIMER_C),
                State::Active if dialog.local_offer_cseq.is_some() => {
                    self.set_timer(name, Timer::Reinvite, now + REINVITE)
                }
                _ => {}
            }
        }
        if matches!(work, Work::Timeout(Timeout::Reinvite)) && dialog.local_offer_cseq.is_none() {
            self.cancel_reinvite(name, now);
        }
        if outcome.signals.is_empty() && !outcome.must_commit {
            // Nothing for the call: the change stays here until the next commit. Lost with this edge, it is learnt again from
            // the peer's next message.
            if let Some(leg) = self.legs.get_mut(&name) {
                leg.dialog = Some(dialog);
            }
            self.send_all(name, outcome.send_after_commit, flow, now);
            return;
        }
        let opening = match &work {
            Work::Hear(arrival) if fresh => self.opening(&arrival.message, arrival.flow),
            _ => None,
        };
        let heard = Heard {
            leg: name,
            base,
            event,
            signals: outcome.signals,
            dialog: dialog.to_bytes(),
            edge: self.config.instance.clone(),
            opening,
        };
        let (dialog, after) = (Some(dialog), outcome.send_after_commit);
        self.ask(Ask::Heard(heard), Pending { leg: name, work, base, dialog, after, tries, state: None });
    }

    fn translate(&self, name: LegRef, dialog: &mut Dialog, arrival: &Arrival) -> Outcome {
        let message = &arrival.message;
        let tag = message.to().and_then(|t| t.tag().map(str::to_owned)).unwrap_or_default();
        let cseq = message.text("CSeq").unwrap_or("");
        let branch = self.branch(&[name.to_string().as_bytes(), cseq.as_bytes(), tag.as_bytes()]);
        let failure = message.code().filter(|c| *c >= 300 && arrival.no_transaction);
        let ack = failure.and_then(|_| dialog.acknowledge_failure(message));
        let mut outcome =
            self.answer_challenge(dialog, arrival, &branch).unwrap_or_else(|| hear(dialog, message, &branch));
        outcome.send_now.extend(ack.map(Outgoing::Direct));
        for signal in &mut outcome.signals {
            seen_from(signal, arrival.flow.peer.ip());
        }
        if message.code().is_none() && outcome.accepted() {
            // Our requests follow the peer to its present address.
            dialog.flow = arrival.flow.to_string();
            dialog.fallback_flow = self.return_flow(arrival.flow);
        }
        outcome
    }

    /// Answers a challenge, if we can.
    fn answer_challenge(&self, dialog: &mut Dialog, arrival: &Arrival, branch: &str) -> Option<Outcome> {
        let message = &arrival.message;
        if !matches!(message.code(), Some(401 | 407)) {
            return None;
        }
        // Credentials of its own trunk; nobody else sees an answer made with them.
        let trunk = self.trunk(dialog).filter(|trunk| trunk.owns(arrival.flow.peer.ip()))?;
        let who = trunk.credentials.as_ref()?;
        // If its transaction died with another edge, the record has our INVITE.
        let opened = message.cseq().is_some_and(|c| c.method == "INVITE" && c.number == dialog.invite_cseq);
        let asked = match &arrival.asked {
            Some(asked) => asked.clone(),
            None if opened => crate::message::read(&dialog.invite.clone().into()).ok()?,
            None => return None,
        };
        let label = message.text("CSeq").unwrap_or("");
        let cnonce = self.secret.derive_text("cnonce", &[dialog.call_id.as_bytes(), label.as_bytes()], 16);
        answer_challenge(dialog, &asked, message, who, &cnonce, branch)
    }

    fn opening(&self, message: &Message, flow: Flow) -> Option<Opening> {
        let Start::Request { uri, .. } = &message.start else { return None };
        let mut trunks = self.config.trunks.iter();
        let trunk = trunks.find(|t| t.sends_from(flow.peer.ip()))?;
        opening(message, uri, trunk.name.clone())
    }

    /// Takes the answer to an [`Output::Ask`].
    pub fn verdict(&mut self, ticket: u64, verdict: Verdict, now: Time) {
        let Some(pending) = self.pending.remove(&ticket) else { return };
        let name = pending.leg;
        let Some(leg) = self.legs.get_mut(&name) else { return };
        leg.busy = false;
        match verdict {
            Verdict::Committed { revision, .. } => {
                leg.opening = false;
                // Another revision: committed before, and the leg has changed since; the record has it.
                (leg.dialog, leg.revision) = match pending.dialog {
                    Some(dialog) if revision == pending.base + 1 => (Some(dialog), revision),
                    _ => (None, 0),
                };
                self.send_all(name, pending.after, source(&pending.work), now);
            }
            Verdict::Stale(state) | Verdict::Leg(state) if pending.tries < MAX_TRIES => {
                leg.opening = false;
                self.resume(name, pending.work, state, pending.tries, now);
            }
            Verdict::Stale(_) | Verdict::Leg(_) | Verdict::Unavailable => {
                self.fail(pending, Reason::Unavailable.into(), now);
            }
            Verdict::Gone => {
                let held = leg.dialog.is_some();
                self.fail(pending, Reason::NotFound.into(), now);
                if held {
                    self.forget(name, now);
                } else {
                    self.remove_leg(name, now);
                }
            }
            Verdict::Refused(end) => self.fail(pending, end, now),
        }
        self.run_waiting(name, now);
        self.flush(now);
    }

    /// Goes on with the leg as recorded, here or at the edge that holds the message's transaction.
    fn resume(&mut self, name: LegRef, work: Work, state: LegState, tries: u8, now: Time) {
        if let Work::Hear(arrival) = &work
            && arrival.no_transaction
            && !arrival.forwarded
            && !state.edge.is_empty()
            && state.edge != self.config.instance
        {
            let source = arrival.flow.to_string();
            let handover = Handover { source, message: arrival.message.write().to_vec() };
            let edge = state.edge.clone();
            let (dialog, after, state) = (None, vec![], Some(state));
            let ticket = self.await_answer(Pending { leg: name, work, base: 0, dialog, after, tries, state });
            return self.out.push_back(Output::Forward(ticket, edge, handover));
        }
        self.adopt(name, &state);
        if self.legs.get(&name).is_some_and(|leg| leg.dialog.is_some()) {
            return self.run(name, work, tries + 1, now);
        }
        let pending = Pending { leg: name, work, base: 0, dialog: None, after: vec![], tries, state: None };
        self.fail(pending, Reason::NotFound.into(), now);
    }

    fn adopt(&mut self, name: LegRef, state: &LegState) {
        let leg =
            self.legs.get_mut(&name).filter(|leg| leg.dialog.is_none() || state.revision > leg.revision);
        if let Some(leg) = leg {
            (leg.dialog, leg.revision) = (Dialog::from_bytes(&state.dialog), state.revision);
        }
    }

    /// Takes the answer to an [`Output::Forward`]. A message that the other edge did not take is heard here.
    pub fn forward_result(&mut self, ticket: u64, taken: bool, now: Time) {
        let Some(pending) = self.pending.remove(&ticket) else { return };
        let name = pending.leg;
        if let Some(leg) = self.legs.get_mut(&name) {
            leg.busy = false;
            let unheld = leg.dialog.is_none() && leg.waiting.is_empty();
            match (pending.state, pending.work) {
                (Some(state), Work::Hear(arrival)) if !taken => {
                    let work = Work::Hear(Arrival { forwarded: true, ..arrival });
                    self.resume(name, work, state, pending.tries, now);
                }
                _ if unheld => self.remove_leg(name, now),
                _ => {}
            }
        }
        self.run_waiting(name, now);
        self.flush(now);
    }

    /// Answers a request that came to nothing; a timeout takes effect here all the same, since its timer is spent.
    fn fail(&mut self, pending: Pending, end: End, now: Time) {
        let (name, flow) = (pending.leg, source(&pending.work));
        let Some(leg) = self.legs.get_mut(&name) else { return };
        let opening = leg.opening;
        match pending.work {
            Work::Hear(arrival) if arrival.message.code().is_none() => {
                let (code, phrase, _) = match end.reason {
                    Reason::NotFound if !opening => (481, NO_TRANSACTION, 0),
                    other => reason::said(other),
                };
                let retry = (code == 503).then(|| ("Retry-After", "5".to_owned()));
                let why = opening.then(|| ("Reason", reason::header(end.reason)));
                let headers: Vec<(&str, String)> = retry.into_iter().chain(why).collect();
                self.refuse(&arrival.message, arrival.flow, code, phrase, &headers, now);
            }
            Work::Hear(arrival) if end.reason == Reason::NotFound => self.unknown_2xx(name, &arrival, now),
            Work::Timeout(_) => {
                leg.dialog = pending.dialog.or(leg.dialog.take());
                self.send_all(name, pending.after, flow, now);
            }
            Work::Hear(_) | Work::Say(_) => {}
        }
        if opening {
            self.remove_leg(name, now);
        }
    }

    /// Ends a call that no record knows any more, but that the peer has just answered with a 2xx.
    fn unknown_2xx(&mut self, name: LegRef, arrival: &Arrival, now: Time) {
        let message = &arrival.message;
        let (Some(cseq), Some(call_id)) = (message.cseq(), message.call_id()) else { return };
        let ip = arrival.flow.peer.ip();
        let trunk = self.config.trunks.iter().any(|trunk| trunk.roaming || trunk.owns(ip));
        if !trunk || !message.code().is_some_and(|c| (200..300).contains(&c)) {
            return;
        }
        let mut dialog = self.dialog(State::Active, name, arrival.flow, call_id.to_owned(), "");
        dialog.local = message.text("From").unwrap_or("").to_owned();
        let branch = self.branch(&[name.to_string().as_bytes(), b"unknown_2xx"]);
        self.send_all(name, release(&dialog, message, cseq.number, &branch).into(), Some(arrival.flow), now);
    }
}

/// Notes the source address of the signalling if the description names an address behind NAT (interworking §12.6).
fn seen_from(signal: &mut Signal, ip: IpAddr) {
    let (Signal::Offer(media)
    | Signal::Progress(Some(media))
    | Signal::Answer(media)
    | Signal::Update(media)
    | Signal::Updated(media)) = signal
    else {
        return;
    };
    for transport in media.contents.iter_mut().map(|content| &mut content.transport) {
        transport.source = transport.ip().is_some_and(|named| named != ip).then_some(ip);
    }
}

fn source(work: &Work) -> Option<Flow> {
    if let Work::Hear(arrival) = work { Some(arrival.flow) } else { None }
}
