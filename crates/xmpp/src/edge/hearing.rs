//! Up: what was heard goes to the record, and what comes of it.

use super::arrivals::gone;
use super::leg::{Alarm, Job, Pending};
use super::open::{event, opening};
use super::{Edge, Output};
use crate::reason;
use crate::session::{Session, State};
use crate::signal::{Hearing, crossed, hear, presumed_ringing, proposal, say, silence, unestablished, wish};
use crate::stanza::{self, JINGLE, JMI};
use crate::writer;
use minidom::Element;
use signal::{Ask, End, EventId, Heard, LegRef, Reason, Signal, Time, Verdict};

/// Times that a stanza is heard again against a newer record.
const MAX_TRIES: u8 = 3;
/// Times that what cannot be refused is brought to the record again, and the first pause, ms.
const MAX_RETRIES: u8 = 20;
const AGAIN: u64 = 250;
/// The pause doubles so often.
const MAX_DOUBLED: u8 = 5;
/// An ask has its verdict by then, ms: the bus gives up before, unless its answer was lost.
const VERDICT: u64 = signal::VERDICT_MS + 3_000;
/// Our IQ is answered within this time, ms (interworking §4.4).
const REPLY: u64 = 30_000;
/// From our session-initiate after a proceed to the session-accept, ms (interworking §2.4).
const ESTABLISH: u64 = 15_000;
/// A proposing client hears ringing at the latest after this time, ms (R-CALL-41: 5 s).
const RING: u64 = 4_500;

impl Edge {
    /// The answer to an [`Output::Ask`].
    pub fn verdict(&mut self, ticket: u64, verdict: Verdict, now: Time) {
        let Some(Pending { leg: name, job, session, after, tries, told, .. }) = self.pending.remove(&ticket)
        else {
            return;
        };
        let Some(leg) = self.legs.get_mut(&name) else { return };
        leg.busy = false;
        match verdict {
            Verdict::Committed { revision, .. } => {
                leg.revision = revision;
                leg.opening = false;
                leg.retries = 0;
                leg.session = session.or(leg.session.take());
                self.perform(name, after, now);
                let proposed = self.legs.get(&name).is_some_and(|l| l.is(State::Proposed));
                if proposed && matches!(&job, Job::Hear(_)) {
                    self.alarm(name, now + RING, Alarm::Ring, now);
                }
            }
            Verdict::Stale(state) | Verdict::Leg(state) if tries < MAX_TRIES => {
                leg.session = Session::from_bytes(&state.dialog);
                leg.revision = state.revision;
                leg.opening = false;
                if leg.session.is_some() {
                    self.run(name, job, tries + 1, told, now);
                } else {
                    self.fail(name, &job, Reason::NotFound.into());
                }
            }
            Verdict::Unavailable if leg.retries < MAX_RETRIES && !job.can_be_refused() => {
                // The peer will not repeat it.
                leg.retries += 1;
                let at = now + (AGAIN << leg.retries.min(MAX_DOUBLED));
                let job = match job {
                    Job::Hear(iq) if iq.name() == "iq" && iq.attr("type") == Some("set") => {
                        self.send(stanza::result(&iq));
                        Job::Answered(iq)
                    }
                    job => job,
                };
                self.alarm(name, at, Alarm::Again(Box::new(job)), now);
            }
            Verdict::Stale(_) | Verdict::Leg(_) | Verdict::Unavailable => {
                self.fail(name, &job, Reason::Unavailable.into());
            }
            Verdict::Gone => self.gone(name, job, now),
            Verdict::Refused(end) => self.fail(name, &job, end),
        }
        self.next(name, now);
    }

    /// There is no such call: a session-initiate is a new one, anything else is late.
    fn gone(&mut self, name: LegRef, job: Job, now: Time) {
        let waiting = self.legs.get_mut(&name).map(|l| std::mem::take(&mut l.waiting)).unwrap_or_default();
        let opening = self.legs.get(&name).is_some_and(|l| l.opening);
        if let Job::Hear(stanza) = &job
            && let Some(jingle) = stanza.children().find(|c| c.is("jingle", JINGLE))
            && let (Some("session-initiate"), Some(sid), false) =
                (jingle.attr("action"), jingle.attr("sid"), opening)
            && self.secret.call_of_jingle(stanza.attr("from").unwrap_or(""), sid) == name.call
        {
            self.remove(name);
            self.begin(stanza, name, sid, now);
        } else {
            self.fail(name, &job, Reason::NotFound.into());
            self.remove(name);
        }
        for job in waiting {
            match job {
                Job::Hear(stanza) if self.legs.contains_key(&name) => self.job(name, Job::Hear(stanza), now),
                Job::Hear(stanza) => self.fail(name, &Job::Hear(stanza), Reason::NotFound.into()),
                Job::Say(order) => self.job(name, Job::Say(order), now),
                Job::Answered(_) | Job::Alarm(_) => {}
            }
        }
    }

    /// Answers a stanza that came to nothing.
    fn fail(&mut self, name: LegRef, job: &Job, end: End) {
        let opening = self.legs.get(&name).is_some_and(|l| l.opening);
        if let Job::Hear(stanza) = job
            && stanza.attr("type") != Some("error")
            && stanza.attr("type") != Some("result")
        {
            let propose = proposal::element(stanza).is_some_and(|j| j.name() == "propose");
            match end.reason {
                _ if propose && opening => self.reject(stanza, &end),
                _ if stanza.name() != "iq" => {}
                Reason::NotFound if !opening => self.send(gone(stanza)),
                Reason::Unavailable | Reason::BadRequest => self.refuse(stanza, end.reason),
                _ if opening => self.turn_away(stanza, &end),
                other => self.refuse(stanza, other),
            }
        }
        if opening {
            self.remove(name);
        }
    }

    /// A call that is not taken: its session-initiate is acknowledged and the session ended (interworking §4.1).
    fn turn_away(&mut self, iq: &Element, end: &End) {
        let jingle = iq.children().find(|c| c.is("jingle", JINGLE));
        let sid = jingle.and_then(|j| j.attr("sid")).unwrap_or("");
        self.send(stanza::result(iq));
        let terminate = stanza::element("jingle", JINGLE, &[("action", "session-terminate"), ("sid", sid)]);
        let terminate = stanza::with(terminate, reason::element(end));
        let id = self.secret.derive_text("stanza", &[b"away", sid.as_bytes()], 24);
        let (from, to) = (iq.attr("to").unwrap_or(""), iq.attr("from").unwrap_or(""));
        self.send(stanza::iq(from, to, &id, terminate));
    }

    /// The same for a propose.
    pub(super) fn reject(&mut self, message: &Element, end: &End) {
        let sid = proposal::element(message).and_then(|j| j.attr("id")).unwrap_or("");
        let reject = stanza::with(stanza::element("reject", JMI, &[("id", sid)]), reason::element(end));
        self.send_reject(message, sid, reject);
    }

    /// A propose that crossed ours and lost (XEP-0353 §7.3).
    pub(super) fn tie_break(&mut self, message: &Element) {
        let sid = proposal::element(message).and_then(|j| j.attr("id")).unwrap_or("");
        let reject = stanza::with(
            stanza::element("reject", JMI, &[("id", sid)]),
            reason::element(&Reason::Expired.into()),
        );
        self.send_reject(message, sid, stanza::with(reject, Element::bare("tie-break", JMI)));
    }

    fn send_reject(&mut self, message: &Element, sid: &str, reject: Element) {
        let id = self.secret.derive_text("stanza", &[b"reject", sid.as_bytes()], 24);
        let (from, to) = (message.attr("to").unwrap_or(""), message.attr("from").unwrap_or(""));
        self.send(stanza::message(from, to, &id, reject));
    }

    pub(super) fn run(&mut self, name: LegRef, job: Job, tries: u8, told: bool, now: Time) {
        let job = if let Job::Alarm(Alarm::Again(job)) = job { *job } else { job };
        if let Job::Say(order) = job {
            return self.run_say(name, order, now);
        }
        self.pair(name);
        let Some(leg) = self.legs.get_mut(&name) else { return };
        let Some(mut session) = leg.session.clone() else {
            if matches!(job, Job::Hear(_) | Job::Answered(_)) {
                let due = now + VERDICT;
                let pending = Pending { leg: name, job, session: None, after: vec![], tries, told, due };
                self.ask(Ask::Recall(name), pending);
            }
            return;
        };
        let (base, fresh) = (leg.revision, leg.opening);
        let label = match &job {
            Job::Hear(stanza) | Job::Answered(stanza) => writer::digest(stanza),
            other => format!("{other:?}/{base}"),
        };
        let id = self.secret.derive_text("stanza", &[name.to_string().as_bytes(), label.as_bytes()], 24);
        let (mut hearing, event) = match &job {
            Job::Hear(stanza) | Job::Answered(stanza) => {
                (hear(&mut session, stanza, &id, now), event(stanza))
            }
            Job::Alarm(alarm) => (ring(&mut session, alarm, &id), EventId::of(&[&name.to_string(), &label])),
            Job::Say(_) => return,
        };
        if matches!(job, Job::Answered(_)) {
            hearing.now.retain(|stanza| !answers(stanza));
            hearing.after.retain(|stanza| !answers(stanza));
        }
        if !told {
            self.perform(name, hearing.now, now);
        }
        if hearing.signals.is_empty() && !hearing.keep {
            // Nothing for the call: the change stays here until the next commit takes it along.
            if let Some(leg) = self.legs.get_mut(&name) {
                leg.session = Some(session);
            }
            return self.perform(name, hearing.after, now);
        }
        let heard = Heard {
            leg: name,
            base,
            event,
            signals: hearing.signals,
            dialog: session.to_bytes(),
            edge: self.config.instance.clone(),
            opening: match &job {
                Job::Hear(stanza) if fresh => opening(stanza),
                _ => None,
            },
        };
        let pending = Pending {
            leg: name,
            job,
            session: Some(session),
            after: hearing.after,
            tries,
            told: true,
            due: now + VERDICT,
        };
        self.ask(Ask::Heard(heard), pending);
    }

    /// Puts stanzas of a leg on the wire, and waits for their answers.
    pub(super) fn perform(&mut self, name: LegRef, stanzas: Vec<Element>, now: Time) {
        for stanza in stanzas {
            let request = stanza.name() == "iq" && stanza.attr("type") == Some("set");
            let jmi = proposal::element(&stanza).map(|j| j.name().to_owned());
            let jmi = jmi.as_deref().unwrap_or("");
            if let Some(id) = stanza.attr("id").filter(|_| request || matches!(jmi, "propose" | "proceed")) {
                let id = id.to_owned();
                if request {
                    self.alarm(name, now + REPLY, Alarm::Reply(id.clone()), now);
                }
                self.await_answer(id, name, stanza.clone(), now);
            }
            let jingle = stanza.get_child("jingle", JINGLE).filter(|_| request);
            let initiates = jingle.filter(|j| j.attr("action") == Some("session-initiate"));
            let initiated = initiates.and_then(|j| j.attr("sid")).map(str::to_owned);
            let initiates = initiated.is_some();
            if let Some(sid) = initiated
                && self.legs.get(&name).and_then(|l| l.session.as_ref()).is_some_and(|s| s.jmi)
            {
                self.alarm(name, now + ESTABLISH, Alarm::Establish(sid), now);
            }
            if let Some(after) = self.config.presume_ringing.filter(|_| jmi == "propose" || initiates) {
                self.alarm(name, now + after, Alarm::Ringing, now);
            }
            self.send(stanza);
        }
    }

    pub(super) fn send(&mut self, stanza: Element) {
        let domain = stanza::domain(stanza.attr("from").unwrap_or(""));
        let up = self.is_up(domain);
        if up {
            self.out.push_back(Output::Send(stanza));
        } else {
            self.hold(stanza);
        }
    }
}

/// It is the answer to an IQ.
fn answers(stanza: &Element) -> bool {
    stanza.name() == "iq" && matches!(stanza.attr("type"), Some("result" | "error"))
}

/// What an alarm means.
fn ring(session: &mut Session, alarm: &Alarm, id: &str) -> Hearing {
    match alarm {
        Alarm::Reply(asked) => silence(session, asked, id),
        // The device of another session was asked since, and has its own time.
        Alarm::Establish(sid) if session.sid != *sid => Hearing::default(),
        Alarm::Establish(_) => unestablished(session, id),
        Alarm::Ringing => presumed_ringing(session),
        Alarm::Crossed => crossed(session, id),
        Alarm::Again(_) => Hearing::default(),
        Alarm::Ring => {
            let now =
                if session.state == State::Proposed { say(session, &Signal::Ringing, id) } else { vec![] };
            Hearing { now, ..Hearing::default() }
        }
        Alarm::Wish => Hearing { signals: wish(session).into_iter().collect(), ..Hearing::default() },
    }
}
