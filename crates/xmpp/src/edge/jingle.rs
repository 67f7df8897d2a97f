//! Jingle as a protocol of the leg core.

use super::link_buffer::{Link, PendingIq};
use super::service::Waiting;
use super::{Component, Config, Output};
use crate::session::{Session, State};
use crate::signal::{
    Outcome, accept_timeout, hear, presumed_ringing, proposal, reply_timeout, say, take_deferred_offer,
    tie_break_lost,
};
use crate::stanza::{self, JINGLE};
use crate::writer;
use ::edge::{Hearing, Held, Input, LegMut, Protocol, Refusal, Reopening};
use minidom::Element;
use signal::{End, EventId, LegRef, Opening, Reason, Say, Secret, Time, Token};
use std::collections::{HashMap, VecDeque};

/// Time after which an idle leg leaves the cache, ms; the record brings it back.
const IDLE: u64 = 600_000;
/// The same for an active leg: a call may be silent for hours, yet digits typed as text must find it.
const IDLE_ACTIVE: u64 = 12 * 3_600_000;
/// Time that an ended leg is kept, ms, so that late stanzas get their answer (R-CALL-5).
const TOMBSTONE: u64 = 60_000;
/// Pause before a hold that met an open offer is tried again, ms.
const DEFERRED: u64 = 1_000;
/// Most legs indexed between a number of ours and a user.
const MAX_LEGS_OF_PARTIES: usize = 16;
/// Most pairs of parties of whom another edge has told.
const MAX_TOLD: usize = 10_000;

/// Links, unanswered stanzas and indexes: everything of an XMPP edge but its legs.
#[derive(Debug)]
pub(super) struct Jingle {
    pub(super) config: Config,
    pub(super) secret: Secret,
    pub(super) links: HashMap<String, Link>,
    pub(super) pending_iqs: HashMap<String, PendingIq>,
    /// Legs between a number of ours and a user, by their bare JIDs; newest last.
    pub(super) legs_by_parties: HashMap<(String, String), Vec<LegRef>>,
    /// Legs of standing calls that another edge has served, by the same; they are not held until something comes for them.
    pub(super) told: HashMap<(String, String), LegRef>,
    pub(super) out: VecDeque<Element>,
    pub(super) refused: VecDeque<Refusal>,
    pub(super) draining: bool,
    /// Number of texts without an id so far.
    pub(super) unnamed: u64,
    /// Stanzas that wait for the answer of a phone service, by ticket.
    pub(super) services: HashMap<u64, Waiting>,
    pub(super) requests: VecDeque<Output>,
    /// Number of requests for phone services so far.
    pub(super) tickets: u64,
}

/// State of a leg that ends with this edge.
#[derive(Debug, Default)]
pub(super) struct Local {
    parties: Option<(String, String)>,
    /// Ids of its unanswered stanzas, oldest first.
    pub(super) pending_iqs: VecDeque<String>,
}

/// Local event of a leg; all but the last are timers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Our IQ of this id was not answered.
    Reply(String),
    /// The device that proceeded sent no session-accept in the session of this id.
    Accept(String),
    /// The callee's client did not say that it rings.
    PresumeRinging,
    /// A hold or an ICE restart met an open offer and is tried again.
    DeferredOffer,
    /// Both proposed at once, and ours lost.
    TieBreakLost,
}

impl Event {
    /// Returns a name that is the same at every edge.
    fn name(&self) -> (&'static str, &str) {
        match self {
            Event::Reply(id) => ("reply", id),
            Event::Accept(sid) => ("accept", sid),
            Event::PresumeRinging => ("presume ringing", ""),
            Event::DeferredOffer => ("deferred offer", ""),
            Event::TieBreakLost => ("tie-break lost", ""),
        }
    }
}

impl Jingle {
    pub(super) fn component(&self, domain: &str) -> Option<&Component> {
        self.config.components.iter().find(|c| c.domain.eq_ignore_ascii_case(domain))
    }

    /// Returns true if the link of this domain is up.
    pub(super) fn is_up(&self, domain: &str) -> bool {
        self.links.get(&domain.to_ascii_lowercase()).is_some_and(|link| link.up)
    }

    pub(super) fn serves(&self, domain: &str) -> bool {
        self.component(domain).is_some()
    }

    pub(super) fn leg_of_token(&self, text: &str) -> Option<LegRef> {
        Some(self.secret.open(Token::parse(text)?)?.0)
    }

    /// Indexes the leg by its two parties.
    fn index_parties(&mut self, leg: &mut LegMut<'_, Self>, session: &Session) {
        if leg.local.parties.is_some() {
            return;
        }
        let parties = (stanza::bare(&session.local).to_owned(), stanza::bare(&session.peer).to_owned());
        let legs = self.legs_by_parties.entry(parties.clone()).or_default();
        if legs.len() >= MAX_LEGS_OF_PARTIES {
            legs.remove(0);
        }
        legs.push(leg.id);
        leg.local.parties = Some(parties);
    }

    /// Takes legs of standing calls that another edge has served, each with an address of ours and the user's.
    pub(super) fn tell_legs(&mut self, legs: impl IntoIterator<Item = (LegRef, String, String)>) {
        for (leg, us, them) in legs {
            let parties = (stanza::bare(&us).to_owned(), stanza::bare(&them).to_owned());
            if self.told.len() < MAX_TOLD || self.told.contains_key(&parties) {
                self.told.insert(parties, leg);
            }
        }
    }

    /// Returns the leg between a number of ours and a user that another edge has served.
    pub(super) fn leg_told(&self, us: &str, them: &str) -> Option<LegRef> {
        self.told.get(&(stanza::bare(us).to_owned(), stanza::bare(them).to_owned())).copied()
    }

    /// Returns the leg of the one call of a user by a component domain; `None` if there is none, or more than one.
    pub(super) fn one_leg_of(&self, held: &Held<Self>, user: &str, domain: &str) -> Option<LegRef> {
        let user = stanza::bare(user);
        let of_user = |(us, them): &(String, String)| them == user && stanza::domain(us) == domain;
        let active = |leg: &LegRef| held.state(*leg).is_some_and(|session| session.state == State::Active);
        let ours = self.legs_by_parties.iter().filter(|(parties, _)| of_user(parties));
        let ours = ours.flat_map(|(_, legs)| legs).copied().filter(active);
        let told = self.told.iter().filter(|(parties, leg)| of_user(parties) && !held.contains(**leg));
        let mut legs = ours.chain(told.map(|(_, leg)| *leg));
        legs.next().filter(|_| legs.next().is_none())
    }

    /// Returns the legs between a number of ours and a user that are held, the newest first.
    pub(super) fn legs_between<'a>(
        &self,
        held: &'a Held<Self>,
        us: &str,
        them: &str,
    ) -> impl Iterator<Item = (LegRef, &'a Session)> {
        let parties = (stanza::bare(us).to_owned(), stanza::bare(them).to_owned());
        let legs = self.legs_by_parties.get(&parties).into_iter().flatten().rev();
        legs.filter_map(move |name| Some((*name, held.state(*name)?)))
    }

    /// Returns the newest leg between a number of ours and a user in this state, preferably one with this very device.
    pub(super) fn leg_between<'a>(
        &self,
        held: &'a Held<Self>,
        us: &str,
        them: &str,
        state: State,
    ) -> Option<(LegRef, &'a Session)> {
        let sessions = self.legs_between(held, us, them);
        let mut found = sessions.filter(|(_, session)| session.state == state).peekable();
        let newest = found.peek().copied();
        found.find(|(_, session)| session.peer == them).or(newest)
    }
}

impl Protocol for Jingle {
    const MAX_WAITING: usize = 32;

    type State = Session;
    type Local = Local;
    type Message = Element;
    type Event = Event;
    type Timer = Event;
    type Outgoing = Element;

    fn decode(octets: &[u8]) -> Option<Session> {
        Session::from_bytes(octets)
    }

    fn encode(session: &Session) -> Vec<u8> {
        session.to_bytes()
    }

    fn pack(session: &mut Session) {
        session.pack();
    }

    fn end(session: &mut Session) {
        session.state = State::Ended;
    }

    /// A stanza is known by its whole content.
    fn is_over(session: &Session) -> bool {
        session.state == State::Ended
    }

    fn event_id(&self, leg: LegRef, _: &Session, revision: u32, input: &Input<Self>) -> EventId {
        match input {
            Input::Message(stanza) => EventId::of(&[&writer::digest(stanza)]),
            Input::Event(event) => {
                let (name, id) = event.name();
                EventId::of(&[&leg.to_string(), name, id, &revision.to_string()])
            }
        }
    }

    fn wire_id(session: &Session) -> Option<String> {
        Some(session.sid.clone())
    }

    fn opening(&self, stanza: &Element) -> Option<Opening> {
        super::open::opening(stanza)
    }

    fn hear(
        &mut self,
        leg: &mut LegMut<'_, Self>,
        session: &mut Session,
        input: &Input<Self>,
        hearing: &Hearing,
    ) -> Outcome {
        self.index_parties(leg, session);
        let label = hearing.event.0.to_be_bytes();
        let id = self.secret.derive_text("stanza", &[leg.id.to_string().as_bytes(), &label], 24);
        let stanza = match input {
            Input::Message(stanza) => stanza,
            Input::Event(event) => return hear_event(session, event, &id),
        };
        if matches!(stanza.attr("type"), Some("result" | "error"))
            && let Some(answered) = stanza.attr("id")
        {
            leg.timers.clear(&Event::Reply(answered.to_owned()));
            leg.local.pending_iqs.retain(|id| id != answered);
        }
        let mut outcome = hear(session, stanza, &id, hearing.now);
        stop_idle_timers(leg, session);
        if hearing.acknowledged {
            outcome.send_now.retain(|stanza| !is_reply(stanza));
            outcome.send_after_commit.retain(|stanza| !is_reply(stanza));
        }
        outcome
    }

    fn open(&mut self, leg: LegRef, opening: &Opening) -> Result<Session, Reason> {
        // A new call cannot wait for a link that is down.
        let up = self.is_up(&opening.link);
        self.outgoing(leg, opening).filter(|_| up).ok_or(Reason::Unavailable)
    }

    fn say(
        &mut self,
        leg: &mut LegMut<'_, Self>,
        session: &mut Session,
        order: &Say,
        now: Time,
    ) -> Vec<Element> {
        self.index_parties(leg, session);
        let id = self.secret.derive_text("stanza", &[&order.id.to_bytes()], 24);
        let stanzas = say(session, &order.signal, &id);
        if session.has_deferred_offer() {
            leg.timers.set(Event::DeferredOffer, now + DEFERRED);
        }
        stanzas
    }

    fn send(
        &mut self,
        leg: &mut LegMut<'_, Self>,
        session: &Session,
        _: Option<&Element>,
        stanzas: Vec<Element>,
        now: Time,
    ) -> bool {
        for stanza in stanzas {
            self.send_of_leg(leg, session, stanza, now);
        }
        // A propose or proceed that the session has gone beyond is not sent again.
        leg.local.pending_iqs.retain(|id| {
            let message = self.pending_iqs.get(id).is_some_and(PendingIq::is_message);
            let needed = !message || session.pending.iter().any(|(known, _)| known == id);
            if !needed {
                self.pending_iqs.remove(id);
            }
            needed
        });
        stop_idle_timers(leg, session);
        true
    }

    fn fire(
        &mut self,
        leg: &mut LegMut<'_, Self>,
        _: Option<&Session>,
        timer: Event,
        _: Time,
    ) -> Option<Event> {
        if let Event::Reply(unanswered) = &timer {
            self.pending_iqs.remove(unanswered);
            leg.local.pending_iqs.retain(|id| id != unanswered);
        }
        Some(timer)
    }

    fn lifetime(&self, session: &Session) -> u64 {
        match session.state {
            State::Ended => TOMBSTONE,
            State::Active => IDLE_ACTIVE,
            _ => IDLE,
        }
    }

    /// Nobody hangs up twice; any other IQ set and a propose may be tried again.
    fn can_refuse(&self, stanza: &Element) -> bool {
        let mut jingles = stanza.children().filter(|c| c.is("jingle", JINGLE));
        let terminates = jingles.any(|jingle| jingle.attr("action") == Some("session-terminate"));
        let proposes = || proposal::element(stanza).is_some_and(|jmi| jmi.name() == "propose");
        !terminates && (stanza.attr("type") == Some("set") || proposes())
    }

    fn refuse(&mut self, _: LegRef, stanza: &Element, end: &End, opening: bool, _: Time) {
        self.refuse_of_leg(stanza, end, opening);
    }

    fn acknowledge(&mut self, _: LegRef, _: Option<&Session>, stanza: &Element, _: Time) {
        if stanza.name() == "iq" && stanza.attr("type") == Some("set") {
            self.send_stanza(stanza::result(stanza));
        }
    }

    fn reopen(&mut self, held: &Held<Self>, leg: LegRef, stanza: &Element) -> Reopening<Session> {
        let Some(jingle) = stanza.children().find(|c| c.is("jingle", JINGLE)) else {
            return Reopening::Unknown;
        };
        let (from, sid) = (stanza.attr("from").unwrap_or(""), jingle.attr("sid").unwrap_or(""));
        let initiates = jingle.attr("action") == Some("session-initiate");
        if !initiates || self.secret.call_of_jingle(from, sid) != leg.record {
            return Reopening::Unknown;
        }
        // It was sent to the resource that a proceed of ours came from, and that call is no more: a direct call.
        self.direct_call(held, stanza, leg, sid).map_or(Reopening::Answered, Reopening::Opened)
    }

    fn removed(&mut self, leg: LegRef, local: Local) {
        for id in &local.pending_iqs {
            self.pending_iqs.remove(id);
        }
        if let Some(parties) = local.parties
            && let Some(legs) = self.legs_by_parties.get_mut(&parties)
        {
            legs.retain(|known| *known != leg);
            if legs.is_empty() {
                self.legs_by_parties.remove(&parties);
            }
        }
    }
}

/// Stops the timers from which nothing can come any more: most calls go on before they are due, and nobody is woken for them.
fn stop_idle_timers(leg: &mut LegMut<'_, Jingle>, session: &Session) {
    let waits_for_ringing = session.remote_ringing.is_none();
    leg.timers.retain(|timer| match timer {
        Event::Accept(sid) => session.state == State::Outgoing && session.sid == *sid,
        Event::PresumeRinging => {
            waits_for_ringing && matches!(session.state, State::Proposing | State::Outgoing)
        }
        Event::Reply(_) | Event::DeferredOffer | Event::TieBreakLost => true,
    });
}

fn hear_event(session: &mut Session, event: &Event, id: &str) -> Outcome {
    match event {
        Event::Reply(unanswered) => reply_timeout(session, unanswered, id),
        // Another device was asked since; it has a timer of its own.
        Event::Accept(sid) if session.sid != *sid => Outcome::default(),
        Event::Accept(_) => accept_timeout(session, id),
        Event::PresumeRinging => presumed_ringing(session),
        Event::TieBreakLost => tie_break_lost(session, id),
        Event::DeferredOffer => {
            Outcome { signals: take_deferred_offer(session).into_iter().collect(), ..Outcome::default() }
        }
    }
}

/// Returns true for the answer to an IQ.
fn is_reply(stanza: &Element) -> bool {
    stanza.name() == "iq" && matches!(stanza.attr("type"), Some("result" | "error"))
}
