//! Legs in the edge's memory and the order of their work.

use super::{Edge, Output};
use crate::reason;
use crate::session::{Session, State};
use crate::signal::{proposal, unknown_session};
use crate::stanza::{self, JINGLE};
use minidom::Element;
use signal::{Ask, EffectId, LegRef, Reason, Say, Time};
use std::collections::VecDeque;

/// Most waiting work of one leg.
const MAX_WAITING: usize = 32;
/// Most effects remembered per leg.
pub(super) const MAX_SEEN: usize = 16;
/// Most timers of one leg.
const MAX_TIMERS: usize = 32;
/// Time after which an idle leg leaves the cache, ms; the record brings it back.
const IDLE: u64 = 600_000;
/// The same for an active leg: a call may be silent for hours, yet digits typed as text must find it.
const IDLE_ACTIVE: u64 = 12 * 3_600_000;
/// Most legs indexed between a number of ours and a user.
const MAX_LEGS_OF_PARTIES: usize = 16;
/// Time that an ended leg is kept, ms, so that late stanzas get their answer (R-CALL-5).
const TOMBSTONE: u64 = 60_000;

#[derive(Clone, Debug)]
pub(super) enum Work {
    Hear(Element),
    /// A stanza that is answered already, but not yet in the record.
    Acknowledged(Element),
    Say(Say),
    Timer(Timer),
}

/// Timer of a leg.
#[derive(Clone, Debug)]
pub(super) enum Timer {
    /// Our IQ of this id was not answered.
    Reply(String),
    /// The device that proceeded sent no session-accept in the session of this id.
    Accept(String),
    /// The callee's client did not say that it rings.
    PresumeRinging,
    /// The caller's client gives up soon unless it hears ringing (R-CALL-41).
    RingCaller,
    /// A hold or an ICE restart met an open offer and is tried again.
    DeferredOffer,
    /// Both proposed at once, and ours lost.
    TieBreakLost,
    /// Work that could not be committed is tried again.
    Retry(Box<Work>),
}

#[derive(Debug, Default)]
pub(super) struct Leg {
    pub(super) session: Option<Session>,
    pub(super) revision: u32,
    pub(super) busy: bool,
    pub(super) waiting: VecDeque<Work>,
    pub(super) seen: VecDeque<EffectId>,
    pub(super) timers: Vec<(Time, Timer)>,
    pub(super) idle_at: Time,
    pub(super) deadline: Option<Time>,
    pub(super) opening: bool,
    /// The leg has been Active.
    pub(super) was_active: bool,
    /// Ids of its unanswered stanzas.
    pub(super) pending_iqs: VecDeque<String>,
    pub(super) parties: Option<(String, String)>,
    /// Number of failed commits of its last event.
    pub(super) retries: u8,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) leg: LegRef,
    pub(super) work: Work,
    pub(super) session: Option<Session>,
    pub(super) after: Vec<Element>,
    pub(super) tries: u8,
    /// The stanzas to send at once have been sent.
    pub(super) sent_now: bool,
    /// Deadline of the verdict.
    pub(super) due: Time,
}

impl Work {
    /// Returns true if the sender waits for an answer, or may try again.
    pub(super) fn can_be_refused(&self) -> bool {
        match self {
            // Nobody hangs up twice.
            Work::Hear(stanza) if terminates(stanza) => false,
            Work::Hear(stanza) => {
                stanza.attr("type") == Some("set")
                    || proposal::element(stanza).is_some_and(|j| j.name() == "propose")
            }
            Work::Say(_) => true,
            Work::Acknowledged(_) | Work::Timer(_) => false,
        }
    }
}

fn terminates(stanza: &Element) -> bool {
    let mut jingles = stanza.children().filter(|c| c.is("jingle", JINGLE));
    jingles.any(|jingle| jingle.attr("action") == Some("session-terminate"))
}

impl Leg {
    pub(super) fn is(&self, state: State) -> bool {
        self.session.as_ref().is_some_and(|s| s.state == state)
    }

    /// Returns true if the call goes on, or its end is in no record yet.
    pub(super) fn is_live(&self) -> bool {
        self.busy
            || self.timers.iter().any(|(_, timer)| matches!(timer, Timer::Retry(_)))
            || self.session.as_ref().is_some_and(|s| s.state != State::Ended)
    }
}

impl Edge {
    pub(super) fn enqueue(&mut self, name: LegRef, work: Work, now: Time) {
        let leg = self.legs.entry(name).or_default();
        leg.idle_at = leg.idle_at.max(now + if leg.was_active { IDLE_ACTIVE } else { IDLE });
        if let Work::Say(order) = &work
            && leg.waiting.iter().any(|waits| matches!(waits, Work::Say(other) if other.id == order.id))
        {
            // An order given again while it waits is said once.
            return;
        }
        if leg.busy || !leg.waiting.is_empty() {
            // A full queue refuses what must be answered; the orchestrator repeats its orders.
            // A retry has no other chance.
            if leg.waiting.len() < MAX_WAITING || matches!(work, Work::Timer(Timer::Retry(_))) {
                leg.waiting.push_back(work);
            } else if let Work::Hear(stanza) = work {
                self.refuse(&stanza, Reason::Unavailable);
            }
            return;
        }
        self.run(name, work, 0, false, now);
        self.run_waiting(name, now);
    }

    pub(super) fn run_waiting(&mut self, name: LegRef, now: Time) {
        while let Some(leg) = self.legs.get_mut(&name)
            && !leg.busy
            && let Some(work) = leg.waiting.pop_front()
        {
            self.run(name, work, 0, false, now);
        }
        self.schedule(name, now);
    }

    pub(super) fn ask(&mut self, ask: Ask, pending: Pending) {
        if let Some(leg) = self.legs.get_mut(&pending.leg) {
            leg.busy = true;
        }
        self.tickets += 1;
        self.pending.insert(self.tickets, pending);
        self.out.push_back(Output::Ask(self.tickets, ask));
    }

    /// Answers an IQ get or set with an error; nothing else is answered (R-CODE-7).
    pub(super) fn refuse(&mut self, stanza: &Element, reason: Reason) {
        if stanza.name() == "iq" && matches!(stanza.attr("type"), Some("get" | "set")) {
            let (kind, condition) = reason::condition(reason);
            let error = stanza::error(stanza, kind, condition, None);
            self.send(error);
        }
    }

    pub(super) fn set_timer(&mut self, name: LegRef, at: Time, timer: Timer, now: Time) {
        if let Some(leg) = self.legs.get_mut(&name) {
            if leg.timers.len() >= MAX_TIMERS {
                leg.timers.remove(0);
            }
            leg.timers.push((at, timer));
        }
        self.schedule(name, now);
    }

    /// Sets the leg's next deadline.
    pub(super) fn schedule(&mut self, name: LegRef, now: Time) {
        let Some(leg) = self.legs.get_mut(&name) else { return };
        if leg.is(State::Active) && !leg.was_active {
            leg.was_active = true;
            leg.idle_at = leg.idle_at.max(now + IDLE_ACTIVE);
        }
        if leg.is(State::Ended) {
            leg.idle_at = leg.idle_at.min(now + TOMBSTONE);
        }
        let at = leg.timers.iter().map(|(at, _)| *at).chain([leg.idle_at]).min().unwrap_or(leg.idle_at);
        if leg.deadline != Some(at) {
            if let Some(old) = leg.deadline.replace(at) {
                self.deadlines.remove(&(old, name));
            }
            self.deadlines.insert((at, name));
        }
    }

    /// Forgets the leg.
    pub(super) fn remove(&mut self, name: LegRef) {
        let Some(leg) = self.legs.remove(&name) else { return };
        if let Some(at) = leg.deadline {
            self.deadlines.remove(&(at, name));
        }
        for id in &leg.pending_iqs {
            self.pending_iqs.remove(id);
        }
        if let Some(pair) = leg.parties
            && let Some(legs) = self.legs_by_parties.get_mut(&pair)
        {
            legs.retain(|leg| *leg != name);
            if legs.is_empty() {
                self.legs_by_parties.remove(&pair);
            }
        }
        for work in leg.waiting {
            if let Work::Hear(stanza) = work
                && stanza.attr("type") == Some("set")
            {
                self.send(unknown_session(&stanza));
            }
        }
    }

    /// Indexes the leg by its two parties.
    pub(super) fn index_parties(&mut self, name: LegRef) {
        let Some(leg) = self.legs.get_mut(&name) else { return };
        if let (Some(session), None) = (&leg.session, &leg.parties) {
            let pair = (stanza::bare(&session.local).to_owned(), stanza::bare(&session.peer).to_owned());
            leg.parties = Some(pair.clone());
            let legs = self.legs_by_parties.entry(pair).or_default();
            if legs.len() >= MAX_LEGS_OF_PARTIES {
                legs.remove(0);
            }
            legs.push(name);
        }
    }

    /// Returns the newest leg between a number of ours and a user in this state, preferably one with this very device.
    pub(super) fn leg_between(&self, us: &str, them: &str, state: State) -> Option<(LegRef, &Session)> {
        let pair = (stanza::bare(us).to_owned(), stanza::bare(them).to_owned());
        let legs = self.legs_by_parties.get(&pair)?.iter().rev();
        let sessions = legs.filter_map(|name| Some((*name, self.legs.get(name)?.session.as_ref()?)));
        let mut found = sessions.filter(|(_, session)| session.state == state).peekable();
        let last = found.peek().copied();
        found.find(|(_, session)| session.peer == them).or(last)
    }
}
