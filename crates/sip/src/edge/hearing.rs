//! What a leg's peer said, on its way to the record and back.

use super::arrivals::NO_TRANSACTION;
use super::leg::{Arrival, Job, MAX_TRIES, Pending};
use super::open::{event, opening};
use super::timers::{Alarm, CHANGE, TIMER_C};
use super::{Edge, Flow, Output};
use crate::dialog::{Dialog, Membership, State};
use crate::message::{Message, Start};
use crate::reason;
use crate::signal::{Hearing, Lapse, Wire, challenged, hear, lapse, release};
use signal::{Ask, End, EventId, Handover, Heard, LegRef, LegState, Opening, Reason, Signal, Time, Verdict};
use std::net::IpAddr;

impl Edge {
    pub(super) fn run(&mut self, name: LegRef, job: Job, tries: u8, now: Time) {
        if let Job::Say(order) = job {
            return self.run_say(name, order, now);
        }
        let Some(leg) = self.legs.get_mut(&name) else { return };
        let Some(mut dialog) = leg.dialog.clone() else {
            if let Job::Hear(_) = &job {
                let pending =
                    Pending { leg: name, job, base: 0, dialog: None, after: vec![], tries, state: None };
                self.ask(Ask::Recall(name), pending);
            }
            return;
        };
        let (base, fresh) = (leg.revision, leg.opening);
        if let Job::Hear(arrival) = &job {
            match self.membership(&dialog, arrival) {
                Membership::Own => {}
                Membership::Unknown if tries == 0 => {
                    let state = None;
                    let pending = Pending { leg: name, job, base, dialog: None, after: vec![], tries, state };
                    return self.ask(Ask::Recall(name), pending);
                }
                Membership::Foreign | Membership::Unknown => return self.disown(arrival),
            }
        }
        let (hearing, event) = match &job {
            Job::Hear(arrival) => (self.heard(name, &mut dialog, arrival), event(&arrival.message)),
            Job::Lapse(what) => {
                let label = format!("{what:?} {} {}", dialog.local_cseq, dialog.remote_cseq);
                let branch = self.branch(&[name.to_string().as_bytes(), label.as_bytes()]);
                let event = EventId::of(&[&name.to_string(), &label]);
                (lapse(&mut dialog, *what, &branch), event)
            }
            Job::Say(_) => return,
        };
        let flow = source(&job);
        if let (Job::Hear(arrival), Some(leg)) = (&job, self.legs.get_mut(&name)) {
            leg.accepted.take_if(|_| arrival.message.method().as_deref() == Some("ACK"));
        }
        // Again after a newer record was fetched: transactions make of it the one answer that counts.
        self.perform(name, hearing.now, flow, now);
        if let Job::Hear(arrival) = &job
            && arrival.message.code().is_some_and(|c| c < 200)
        {
            match dialog.state {
                State::Outgoing => self.set(name, Alarm::Final, now + TIMER_C),
                State::Active if dialog.asking.is_some() => self.set(name, Alarm::Change, now + CHANGE),
                _ => {}
            }
        }
        if matches!(job, Job::Lapse(Lapse::Change)) && dialog.asking.is_none() {
            self.give_up(name, now);
        }
        if hearing.signals.is_empty() && !hearing.keep {
            // Nothing for the call: the change stays here until the next commit takes it along. Lost with this edge it is learnt
            // again from the peer's next message.
            if let Some(leg) = self.legs.get_mut(&name) {
                leg.dialog = Some(dialog);
            }
            self.perform(name, hearing.after, flow, now);
            return;
        }
        let opening = match &job {
            Job::Hear(arrival) if fresh => self.opening(&arrival.message, arrival.flow),
            _ => None,
        };
        let heard = Heard {
            leg: name,
            base,
            event,
            signals: hearing.signals,
            dialog: dialog.to_bytes(),
            edge: self.config.instance.clone(),
            opening,
        };
        let (dialog, after) = (Some(dialog), hearing.after);
        self.ask(Ask::Heard(heard), Pending { leg: name, job, base, dialog, after, tries, state: None });
    }

    fn heard(&self, name: LegRef, dialog: &mut Dialog, arrival: &Arrival) -> Hearing {
        let message = &arrival.message;
        let tag = message.to().and_then(|t| t.tag().map(str::to_owned)).unwrap_or_default();
        let cseq = message.text("CSeq").unwrap_or("");
        let branch = self.branch(&[name.to_string().as_bytes(), cseq.as_bytes(), tag.as_bytes()]);
        let failure = message.code().filter(|c| *c >= 300 && arrival.orphan);
        let ack = failure.and_then(|_| dialog.acknowledge_failure(message));
        let mut hearing =
            self.challenged(dialog, arrival, &branch).unwrap_or_else(|| hear(dialog, message, &branch));
        hearing.now.extend(ack.map(Wire::Direct));
        for signal in &mut hearing.signals {
            seen_from(signal, arrival.flow.peer.ip());
        }
        if message.code().is_none() && hearing.accepted() {
            // Requests of ours follow the peer to where it is now.
            dialog.flow = arrival.flow.to_string();
            dialog.next = self.way_back(arrival.flow);
        }
        hearing
    }

    /// A challenge that we can answer.
    fn challenged(&self, dialog: &mut Dialog, arrival: &Arrival, branch: &str) -> Option<Hearing> {
        let message = &arrival.message;
        if !matches!(message.code(), Some(401 | 407)) {
            return None;
        }
        // Its own trunk's, and nobody else learns what can be made of them.
        let trunk = self.trunk(dialog).filter(|trunk| trunk.owns(arrival.flow.peer.ip()))?;
        let who = trunk.credentials.as_ref()?;
        // Where its transaction has died with another edge, the record has our INVITE.
        let opened = message.cseq().is_some_and(|c| c.method == "INVITE" && c.number == dialog.opened);
        let asked = match &arrival.asked {
            Some(asked) => asked.clone(),
            None if opened => crate::message::read(&dialog.invite.clone().into()).ok()?,
            None => return None,
        };
        let label = message.text("CSeq").unwrap_or("");
        let cnonce = self.secret.derive_text("cnonce", &[dialog.call_id.as_bytes(), label.as_bytes()], 16);
        challenged(dialog, &asked, message, who, &cnonce, branch)
    }

    fn opening(&self, message: &Message, flow: Flow) -> Option<Opening> {
        let Start::Request { uri, .. } = &message.start else { return None };
        let mut trunks = self.config.trunks.iter();
        let trunk = trunks.find(|t| t.sends_from(flow.peer.ip()))?;
        opening(message, uri, trunk.name.clone())
    }

    /// The answer to an [`Output::Ask`].
    pub fn verdict(&mut self, ticket: u64, verdict: Verdict, now: Time) {
        let Some(pending) = self.pending.remove(&ticket) else { return };
        let name = pending.leg;
        let Some(leg) = self.legs.get_mut(&name) else { return };
        leg.busy = false;
        match verdict {
            Verdict::Committed { revision, .. } => {
                leg.opening = false;
                // Another revision: it was committed before, and the leg has moved on since; the record has it.
                (leg.dialog, leg.revision) = match pending.dialog {
                    Some(dialog) if revision == pending.base + 1 => (Some(dialog), revision),
                    _ => (None, 0),
                };
                self.perform(name, pending.after, source(&pending.job), now);
            }
            Verdict::Stale(state) | Verdict::Leg(state) if pending.tries < MAX_TRIES => {
                leg.opening = false;
                self.resume(name, pending.job, state, pending.tries, now);
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
                    self.drop_leg(name, now);
                }
            }
            Verdict::Refused(end) => self.fail(pending, end, now),
        }
        self.next(name, now);
        self.flush(now);
    }

    /// The leg as recorded has come: the message goes on here, or to the edge that holds its transaction.
    fn resume(&mut self, name: LegRef, job: Job, state: LegState, tries: u8, now: Time) {
        if let Job::Hear(arrival) = &job
            && arrival.orphan
            && !arrival.handed
            && !state.edge.is_empty()
            && state.edge != self.config.instance
        {
            let source = arrival.flow.to_string();
            let handover = Handover { source, message: arrival.message.write().to_vec() };
            let edge = state.edge.clone();
            let (dialog, after, state) = (None, vec![], Some(state));
            let ticket = self.await_answer(Pending { leg: name, job, base: 0, dialog, after, tries, state });
            return self.out.push_back(Output::Hand(ticket, edge, handover));
        }
        self.adopt(name, &state);
        if self.legs.get(&name).is_some_and(|leg| leg.dialog.is_some()) {
            return self.run(name, job, tries + 1, now);
        }
        let pending = Pending { leg: name, job, base: 0, dialog: None, after: vec![], tries, state: None };
        self.fail(pending, Reason::NotFound.into(), now);
    }

    fn adopt(&mut self, name: LegRef, state: &LegState) {
        let leg =
            self.legs.get_mut(&name).filter(|leg| leg.dialog.is_none() || state.revision > leg.revision);
        if let Some(leg) = leg {
            (leg.dialog, leg.revision) = (Dialog::from_bytes(&state.dialog), state.revision);
        }
    }

    /// The answer to an [`Output::Hand`]: whether the other edge took the message. If not, it is heard here.
    pub fn handed(&mut self, ticket: u64, taken: bool, now: Time) {
        let Some(pending) = self.pending.remove(&ticket) else { return };
        let name = pending.leg;
        if let Some(leg) = self.legs.get_mut(&name) {
            leg.busy = false;
            let unheld = leg.dialog.is_none() && leg.waiting.is_empty();
            match (pending.state, pending.job) {
                (Some(state), Job::Hear(arrival)) if !taken => {
                    let job = Job::Hear(Arrival { handed: true, ..arrival });
                    self.resume(name, job, state, pending.tries, now);
                }
                _ if unheld => self.drop_leg(name, now),
                _ => {}
            }
        }
        self.next(name, now);
        self.flush(now);
    }

    /// Answers a request that came to nothing; a silence takes effect here all the same, since its timer is spent.
    fn fail(&mut self, pending: Pending, end: End, now: Time) {
        let (name, flow) = (pending.leg, source(&pending.job));
        let Some(leg) = self.legs.get_mut(&name) else { return };
        let opening = leg.opening;
        match pending.job {
            Job::Hear(arrival) if arrival.message.code().is_none() => {
                let (code, phrase, _) = match end.reason {
                    Reason::NotFound if !opening => (481, NO_TRANSACTION, 0),
                    other => reason::said(other),
                };
                let retry = (code == 503).then(|| ("Retry-After", "5".to_owned()));
                let why = opening.then(|| ("Reason", reason::header(end.reason)));
                let headers: Vec<(&str, String)> = retry.into_iter().chain(why).collect();
                self.refuse(&arrival.message, arrival.flow, code, phrase, &headers, now);
            }
            Job::Hear(arrival) if end.reason == Reason::NotFound => self.stray(name, &arrival, now),
            Job::Lapse(_) => {
                leg.dialog = pending.dialog.or(leg.dialog.take());
                self.perform(name, pending.after, flow, now);
            }
            Job::Hear(_) | Job::Say(_) => {}
        }
        if opening {
            self.drop_leg(name, now);
        }
    }

    /// A 2xx to an INVITE of a call that no record knows any more: to the peer it is a call, so it is ended.
    fn stray(&mut self, name: LegRef, arrival: &Arrival, now: Time) {
        let message = &arrival.message;
        let (Some(cseq), Some(call_id)) = (message.cseq(), message.call_id()) else { return };
        let ip = arrival.flow.peer.ip();
        let trunk = self.config.trunks.iter().any(|trunk| trunk.roaming || trunk.owns(ip));
        if !trunk || !message.code().is_some_and(|c| (200..300).contains(&c)) {
            return;
        }
        let mut dialog = self.dialog(State::Active, name, arrival.flow, call_id.to_owned(), "");
        dialog.local = message.text("From").unwrap_or("").to_owned();
        let branch = self.branch(&[name.to_string().as_bytes(), b"stray"]);
        self.perform(name, release(&dialog, message, cseq.number, &branch).into(), Some(arrival.flow), now);
    }
}

/// Notes whom media may come from if the description names an address behind NAT (interworking §12.6).
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

fn source(job: &Job) -> Option<Flow> {
    if let Job::Hear(arrival) = job { Some(arrival.flow) } else { None }
}
