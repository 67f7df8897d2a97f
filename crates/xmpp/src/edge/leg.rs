//! A leg in the edge's memory, and how its work is kept in order.

use super::{Edge, Output};
use crate::reason;
use crate::session::{Session, State};
use crate::signal::{proposal, unknown_session};
use crate::stanza::{self, JINGLE};
use minidom::Element;
use signal::{Ask, EffectId, LegRef, Reason, Say, Time};
use std::collections::VecDeque;

/// Events of one leg that wait.
const MAX_WAITING: usize = 32;
/// Effects remembered per leg.
pub(super) const MAX_SEEN: usize = 16;
/// Alarms of one leg.
const MAX_ALARMS: usize = 32;
/// An idle leg leaves the cache after this time, ms; the record brings it back.
const IDLE: u64 = 600_000;
/// While people talk nothing need be said for hours, yet digits typed as text must find their call.
const TALK: u64 = 12 * 3_600_000;
/// Legs remembered between a number of ours and a user.
const MAX_PAIR: usize = 16;
/// An ended leg is kept this long, ms, so that late stanzas get their answer (R-CALL-5).
const TOMBSTONE: u64 = 60_000;

#[derive(Clone, Debug)]
pub(super) enum Job {
    Hear(Element),
    /// Heard before and answered since; only the record does not know it yet.
    Answered(Element),
    Say(Say),
    Alarm(Alarm),
}

/// What a leg waits for.
#[derive(Clone, Debug)]
pub(super) enum Alarm {
    /// The answer to our IQ of this id.
    Reply(String),
    /// The session-accept of the device that proceeded, in the session of this id.
    Establish(String),
    /// The callee's ringing.
    Ringing,
    /// Our own ringing to a caller whose client would give up without (R-CALL-41).
    Ring,
    /// A hold or a restart that met an open offer.
    Wish,
    /// Both proposed at once and ours is taken back.
    Crossed,
    /// What nobody could commit.
    Again(Box<Job>),
}

#[derive(Debug, Default)]
pub(super) struct Leg {
    pub(super) session: Option<Session>,
    pub(super) revision: u32,
    pub(super) busy: bool,
    pub(super) waiting: VecDeque<Job>,
    pub(super) seen: VecDeque<EffectId>,
    pub(super) alarms: Vec<(Time, Alarm)>,
    pub(super) idle: Time,
    pub(super) wake: Option<Time>,
    pub(super) opening: bool,
    /// It was Active when last looked at.
    pub(super) talks: bool,
    /// Ids of its stanzas whose answer is awaited.
    pub(super) ids: VecDeque<String>,
    pub(super) pair: Option<(String, String)>,
    /// Times that its last event could not be committed.
    pub(super) retries: u8,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) leg: LegRef,
    pub(super) job: Job,
    pub(super) session: Option<Session>,
    pub(super) after: Vec<Element>,
    pub(super) tries: u8,
    /// What leaves at once has left.
    pub(super) told: bool,
    /// Without a verdict by then there is none.
    pub(super) due: Time,
}

impl Job {
    /// Its sender waits for an answer, or may try again.
    pub(super) fn can_be_refused(&self) -> bool {
        match self {
            // Nobody hangs up twice.
            Job::Hear(stanza) if terminates(stanza) => false,
            Job::Hear(stanza) => {
                stanza.attr("type") == Some("set")
                    || proposal::element(stanza).is_some_and(|j| j.name() == "propose")
            }
            Job::Say(_) => true,
            Job::Answered(_) | Job::Alarm(_) => false,
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

    /// Its call goes on, or its end is in no record yet.
    pub(super) fn is_live(&self) -> bool {
        self.busy
            || self.alarms.iter().any(|(_, alarm)| matches!(alarm, Alarm::Again(_)))
            || self.session.as_ref().is_some_and(|s| s.state != State::Ended)
    }
}

impl Edge {
    pub(super) fn job(&mut self, name: LegRef, job: Job, now: Time) {
        let leg = self.legs.entry(name).or_default();
        leg.idle = leg.idle.max(now + if leg.talks { TALK } else { IDLE });
        if let Job::Say(order) = &job
            && leg.waiting.iter().any(|waits| matches!(waits, Job::Say(other) if other.id == order.id))
        {
            // Given again while it waits, it is said once.
            return;
        }
        if leg.busy || !leg.waiting.is_empty() {
            // A full queue answers what must be answered; the orchestrator repeats what it said.
            // What comes again cannot come yet again.
            if leg.waiting.len() < MAX_WAITING || matches!(job, Job::Alarm(Alarm::Again(_))) {
                leg.waiting.push_back(job);
            } else if let Job::Hear(stanza) = job {
                self.refuse(&stanza, Reason::Unavailable);
            }
            return;
        }
        self.run(name, job, 0, false, now);
        self.next(name, now);
    }

    pub(super) fn next(&mut self, name: LegRef, now: Time) {
        while let Some(leg) = self.legs.get_mut(&name)
            && !leg.busy
            && let Some(job) = leg.waiting.pop_front()
        {
            self.run(name, job, 0, false, now);
        }
        self.rest(name, now);
    }

    pub(super) fn ask(&mut self, ask: Ask, pending: Pending) {
        if let Some(leg) = self.legs.get_mut(&pending.leg) {
            leg.busy = true;
        }
        self.tickets += 1;
        self.pending.insert(self.tickets, pending);
        self.out.push_back(Output::Ask(self.tickets, ask));
    }

    /// An IQ that came to nothing gets its error; nothing else is answered (R-CODE-7).
    pub(super) fn refuse(&mut self, stanza: &Element, reason: Reason) {
        if stanza.name() == "iq" && matches!(stanza.attr("type"), Some("get" | "set")) {
            let (kind, condition) = reason::condition(reason);
            let error = stanza::error(stanza, kind, condition, None);
            self.send(error);
        }
    }

    pub(super) fn alarm(&mut self, name: LegRef, at: Time, alarm: Alarm, now: Time) {
        if let Some(leg) = self.legs.get_mut(&name) {
            if leg.alarms.len() >= MAX_ALARMS {
                leg.alarms.remove(0);
            }
            leg.alarms.push((at, alarm));
        }
        self.rest(name, now);
    }

    /// Sets when the leg is looked at next.
    pub(super) fn rest(&mut self, name: LegRef, now: Time) {
        let Some(leg) = self.legs.get_mut(&name) else { return };
        if leg.is(State::Active) && !leg.talks {
            leg.talks = true;
            leg.idle = leg.idle.max(now + TALK);
        }
        if leg.is(State::Ended) {
            leg.idle = leg.idle.min(now + TOMBSTONE);
        }
        let at = leg.alarms.iter().map(|(at, _)| *at).chain([leg.idle]).min().unwrap_or(leg.idle);
        if leg.wake != Some(at) {
            if let Some(old) = leg.wake.replace(at) {
                self.wakes.remove(&(old, name));
            }
            self.wakes.insert((at, name));
        }
    }

    /// Nothing of the leg is kept.
    pub(super) fn remove(&mut self, name: LegRef) {
        let Some(leg) = self.legs.remove(&name) else { return };
        if let Some(at) = leg.wake {
            self.wakes.remove(&(at, name));
        }
        for id in &leg.ids {
            self.awaited.remove(id);
        }
        if let Some(pair) = leg.pair
            && let Some(legs) = self.pairs.get_mut(&pair)
        {
            legs.retain(|leg| *leg != name);
            if legs.is_empty() {
                self.pairs.remove(&pair);
            }
        }
        for job in leg.waiting {
            if let Job::Hear(stanza) = job
                && stanza.attr("type") == Some("set")
            {
                self.send(unknown_session(&stanza));
            }
        }
    }

    /// Notes between whom the leg is.
    pub(super) fn pair(&mut self, name: LegRef) {
        let Some(leg) = self.legs.get_mut(&name) else { return };
        if let (Some(session), None) = (&leg.session, &leg.pair) {
            let pair = (stanza::bare(&session.local).to_owned(), stanza::bare(&session.peer).to_owned());
            leg.pair = Some(pair.clone());
            let legs = self.pairs.entry(pair).or_default();
            if legs.len() >= MAX_PAIR {
                legs.remove(0);
            }
            legs.push(name);
        }
    }

    /// The last leg between a number of ours and a user that is in this state; one with this very device goes before.
    pub(super) fn between(&self, us: &str, them: &str, state: State) -> Option<(LegRef, &Session)> {
        let pair = (stanza::bare(us).to_owned(), stanza::bare(them).to_owned());
        let legs = self.pairs.get(&pair)?.iter().rev();
        let sessions = legs.filter_map(|name| Some((*name, self.legs.get(name)?.session.as_ref()?)));
        let mut found = sessions.filter(|(_, session)| session.state == state).peekable();
        let last = found.peek().copied();
        found.find(|(_, session)| session.peer == them).or(last)
    }
}
