//! Up: inputs are heard and committed; verdicts come back.

use crate::{Commit, Hearing, Input, Legs, Membership, Output, Protocol, Reopening, Work};
use signal::{Ask, End, Handover, Heard, LegRef, LegState, Reason, Time, VERDICT_MS, Verdict};

/// Most hearings of an input against a newer record.
const MAX_TRIES: u8 = 3;
/// Most retries of a commit that nobody answers.
const MAX_RETRIES: u32 = 20;
/// Half of the first pause before a retry, ms.
const RETRY: u64 = 250;
/// Most doublings of that pause.
const MAX_DOUBLINGS: u32 = 5;
/// Longest wait for a verdict, ms: the bus gives up before, unless its answer was lost.
const VERDICT: u64 = VERDICT_MS + 3_000;

/// Longest id of a leg on the wire that is told, octets.
const MAX_WIRE_ID: usize = 255;

/// Commit that waits for an answer.
#[derive(Debug)]
pub(crate) struct Pending<P: Protocol> {
    pub(crate) leg: LegRef,
    pub(crate) commit: Commit<P>,
    pub(crate) stage: Stage<P>,
    /// Without an answer by then there is none.
    pub(crate) deadline: Time,
}

/// Stage of a commit that waits.
#[derive(Debug)]
pub(crate) enum Stage<P: Protocol> {
    /// The verdict on a change that was heard, or on a recall.
    Asked(Option<Change<P>>),
    /// Another edge, which may take the message. The leg as recorded, to hear the message here after all.
    Forwarded(LegState),
}

/// Change of a leg that its commit makes true.
#[derive(Debug)]
pub(crate) struct Change<P: Protocol> {
    base: u32,
    state: P::State,
    send_after_commit: Vec<P::Outgoing>,
}

/// Returns the id of a leg on the wire, unless a peer has made it too long to be kept.
pub(crate) fn wire_id<P: Protocol>(state: &P::State) -> Option<String> {
    P::wire_id(state).filter(|id| id.len() <= MAX_WIRE_ID)
}

impl<P: Protocol> Legs<P> {
    /// Hears an input and asks for its commit, if the call or the record must know of it.
    pub(crate) fn hear(&mut self, id: LegRef, mut commit: Commit<P>, now: Time) {
        let Some(leg) = self.held.0.get_mut(&id) else { return };
        let Some(mut state) = leg.state.clone() else {
            return self.ask(id, commit, None, Ask::Recall(id), now);
        };
        if let Some(message) = commit.input.message() {
            match self.protocol.membership(&state, message) {
                Membership::Own => {}
                Membership::Unknown if commit.tries == 0 => {
                    return self.ask(id, commit, None, Ask::Recall(id), now);
                }
                Membership::Unknown | Membership::Foreign => {
                    return self.protocol.disown(id, &state, message);
                }
            }
        }
        let (base, opening) = (leg.revision, leg.opening);
        let event = commit.event.unwrap_or_else(|| self.protocol.event_id(id, &state, base, &commit.input));
        commit.event = Some(event);
        let hearing = Hearing { event, acknowledged: commit.acknowledged, now };
        let mut outcome = self.protocol.hear(&mut leg.for_protocol(id), &mut state, &commit.input, &hearing);
        outcome.send_now.retain(|message| !commit.sent.contains(message));
        outcome.send_after_commit.retain(|message| !commit.sent.contains(message));
        let committed = !outcome.signals.is_empty() || outcome.must_commit;
        if committed {
            commit.sent.extend(outcome.send_now.iter().cloned());
        }
        let cause = commit.input.message();
        self.protocol.send(&mut leg.for_protocol(id), &state, cause, outcome.send_now, now);
        P::pack(&mut state);
        if !committed {
            // Nothing for the call: the change stays here until the next commit carries it. Lost with this edge, it is learnt again.
            let after = outcome.send_after_commit;
            self.protocol.send(&mut leg.for_protocol(id), &state, cause, after, now);
            leg.state = Some(state);
            if opening {
                // Refused before it became a call.
                self.remove(id, now);
            }
            return;
        }
        let heard = Heard {
            leg: id,
            base,
            event,
            signals: outcome.signals,
            dialog: P::encode(&state),
            edge: self.config.instance.clone(),
            opening: cause.filter(|_| opening).and_then(|message| self.protocol.opening(message)),
            wake: P::wake(&state),
            wire_id: opening.then(|| wire_id::<P>(&state)).flatten(),
        };
        let change = Change { base, state, send_after_commit: outcome.send_after_commit };
        self.ask(id, commit, Some(change), Ask::Heard(heard), now);
    }

    fn ask(&mut self, id: LegRef, commit: Commit<P>, change: Option<Change<P>>, ask: Ask, now: Time) {
        let ticket = self.wait(id, commit, Stage::Asked(change), now);
        self.out.push_back(Output::Ask(ticket, ask));
    }

    fn wait(&mut self, id: LegRef, commit: Commit<P>, stage: Stage<P>, now: Time) -> u64 {
        if let Some(leg) = self.held.0.get_mut(&id) {
            leg.busy = true;
        }
        self.tickets += 1;
        self.pending.insert(self.tickets, Pending { leg: id, commit, stage, deadline: now + VERDICT });
        self.tickets
    }

    /// Handles the answer to an [`Output::Ask`]. One that comes too late is ignored.
    pub fn handle_verdict(&mut self, ticket: u64, verdict: Verdict, now: Time) {
        let Some(Pending { stage: Stage::Asked(_), .. }) = self.pending.get(&ticket) else { return };
        let Some(Pending { leg: id, commit, stage: Stage::Asked(change), .. }) = self.pending.remove(&ticket)
        else {
            return;
        };
        let Some(leg) = self.held.0.get_mut(&id) else { return };
        leg.busy = false;
        let renew = commit.input.message().is_some();
        match (verdict, change) {
            (Verdict::Committed { revision, .. }, Some(change)) => {
                leg.opening = false;
                let (state, after) = (change.state, change.send_after_commit);
                let cause = commit.input.message();
                self.protocol.send(&mut leg.for_protocol(id), &state, cause, after, now);
                match revision.checked_sub(change.base) {
                    Some(1) => (leg.state, leg.revision) = (Some(state), revision),
                    // The record had the commit before, and the leg stands where it stood.
                    Some(0) => {}
                    // The record had the commit before, and the leg has moved on since.
                    _ => (leg.state, leg.revision) = (None, 0),
                }
            }
            (Verdict::Stale(state) | Verdict::Leg(state), _) if commit.tries < MAX_TRIES => {
                leg.opening = false;
                self.resume(id, commit, state, now);
            }
            (Verdict::Unavailable, change) if self.must_retry(id, &commit) => {
                self.retry(id, commit, change, now);
            }
            (Verdict::Gone, change) => self.gone(id, commit, change, now),
            (Verdict::Refused(end), change) => self.fail(id, &commit, change, &end, now),
            (_, change) => self.fail(id, &commit, change, &Reason::Unavailable.into(), now),
        }
        self.run_waiting(id, now);
        self.reschedule(id, renew, now);
    }

    /// Handles the answer to an [`Output::Forward`]: a message that the other edge did not take is heard here.
    pub fn handle_forwarded(&mut self, ticket: u64, taken: bool, now: Time) {
        let Some(Pending { stage: Stage::Forwarded(_), .. }) = self.pending.get(&ticket) else { return };
        let Some(Pending { leg: id, mut commit, stage: Stage::Forwarded(state), .. }) =
            self.pending.remove(&ticket)
        else {
            return;
        };
        commit.forwarded = true;
        let Some(leg) = self.held.0.get_mut(&id) else { return };
        leg.busy = false;
        if !taken {
            self.adopt(id, commit, &state, now);
        }
        self.run_waiting(id, now);
        self.forget_blank(id, now);
        self.reschedule(id, !taken, now);
    }

    /// Goes on with the leg as recorded: the message is heard here, or goes to the edge that it belongs to.
    fn resume(&mut self, id: LegRef, commit: Commit<P>, state: LegState, now: Time) {
        let message = commit.input.message().filter(|_| !commit.forwarded);
        let forward = message.and_then(|message| self.protocol.forward(message, &state));
        match forward {
            Some((edge, message)) => self.forward(id, commit, state, edge, message, now),
            None => self.adopt(id, commit, &state, now),
        }
    }

    fn forward(
        &mut self,
        id: LegRef,
        commit: Commit<P>,
        state: LegState,
        edge: String,
        message: Handover,
        now: Time,
    ) {
        let ticket = self.wait(id, commit, Stage::Forwarded(state), now);
        self.out.push_back(Output::Forward(ticket, edge, message));
    }

    fn adopt(&mut self, id: LegRef, mut commit: Commit<P>, state: &LegState, now: Time) {
        let Some(leg) = self.held.0.get_mut(&id) else { return };
        leg.adopt(state);
        if leg.state.is_none() {
            // Written by a newer version: an edge of that one serves the leg.
            return self.fail(id, &commit, None, &Reason::Unavailable.into(), now);
        }
        commit.tries += 1;
        self.hear(id, commit, now);
    }

    fn must_retry(&self, id: LegRef, commit: &Commit<P>) -> bool {
        let room = self.held.0.get(&id).is_some_and(|leg| leg.retrying.len() < P::MAX_WAITING);
        let refusable = commit.input.message().is_some_and(|message| self.protocol.can_refuse(message));
        room && !refusable && commit.retries < MAX_RETRIES
    }

    /// Lets a commit be tried again later. The sender of a message has the answer at once; what an event sends leaves at once.
    fn retry(&mut self, id: LegRef, mut commit: Commit<P>, change: Option<Change<P>>, now: Time) {
        let Some(leg) = self.held.0.get_mut(&id) else { return };
        match (&commit.input, change) {
            (Input::Message(message), _) if !commit.acknowledged => {
                self.protocol.acknowledge(id, leg.state.as_ref(), message, now);
                commit.acknowledged = true;
            }
            (Input::Event(_), Some(change)) => {
                let after = change.send_after_commit;
                commit.sent.extend(after.iter().cloned());
                self.protocol.send(&mut leg.for_protocol(id), &change.state, None, after, now);
            }
            _ => {}
        }
        commit.retries += 1;
        commit.tries = 0;
        leg.retrying.push((now + (RETRY << commit.retries.min(MAX_DOUBLINGS)), commit));
    }

    /// Handles a call that no record knows. The leg that we hold is over; one that we do not hold may be opened by the message.
    fn gone(&mut self, id: LegRef, commit: Commit<P>, change: Option<Change<P>>, now: Time) {
        let Some(leg) = self.held.0.get_mut(&id) else { return };
        if leg.state.is_some() {
            self.fail(id, &commit, change, &Reason::NotFound.into(), now);
            if let Some(state) = self.held.0.get_mut(&id).and_then(|leg| leg.state.as_mut()) {
                P::end(state);
            }
            return;
        }
        let waiting = std::mem::take(&mut leg.waiting);
        self.remove(id, now);
        if let Input::Message(message) = commit.input
            && !commit.acknowledged
        {
            match self.protocol.reopen(&self.held, id, &message) {
                Reopening::Opened(state) if self.has_room() => self.open(id, state, message, now),
                Reopening::Opened(_) => {
                    self.protocol.refuse(id, &message, &Reason::Unavailable.into(), true, now);
                }
                Reopening::Answered => {}
                Reopening::Unknown => {
                    self.protocol.refuse(id, &message, &Reason::NotFound.into(), false, now);
                }
            }
        }
        for work in waiting {
            match work {
                // An order brings the leg along.
                Work::Order(order) => self.handle_order(order, now),
                Work::Hear(commit) if self.held.contains(id) => {
                    self.enqueue(id, Work::Hear(commit), true, now)
                }
                Work::Hear(Commit { input: Input::Message(message), acknowledged: false, .. }) => {
                    self.protocol.refuse(id, &message, &Reason::NotFound.into(), false, now);
                }
                Work::Hear(_) => {}
            }
        }
    }

    /// Answers a message that came to nothing. An event has its effect here all the same, since it will not come again.
    fn fail(&mut self, id: LegRef, commit: &Commit<P>, change: Option<Change<P>>, end: &End, now: Time) {
        let Some(leg) = self.held.0.get_mut(&id) else { return };
        let opening = leg.opening;
        match (&commit.input, change) {
            (Input::Message(message), _) if !commit.acknowledged => {
                self.protocol.refuse(id, message, end, opening, now);
            }
            (Input::Event(_), Some(change)) => {
                let after = change.send_after_commit;
                self.protocol.send(&mut leg.for_protocol(id), &change.state, None, after, now);
                leg.state = Some(change.state);
            }
            _ => {}
        }
        if opening {
            self.remove(id, now);
        } else {
            self.forget_blank(id, now);
        }
    }

    /// Forgets a leg that nothing is known of.
    fn forget_blank(&mut self, id: LegRef, now: Time) {
        if self.held.0.get(&id).is_some_and(|leg| leg.is_blank() && !leg.has_work()) {
            self.remove(id, now);
        }
    }
}
