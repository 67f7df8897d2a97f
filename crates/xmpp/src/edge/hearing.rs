//! Up: heard stanzas and fired timers go to the record; verdicts come back.

use super::leg::{Pending, Timer, Work};
use super::open::{event, opening};
use super::{Edge, Output};
use crate::reason;
use crate::session::{Session, State};
use crate::signal::{
    Outcome, accept_timeout, hear, presumed_ringing, proposal, reply_timeout, say, take_deferred_offer,
    tie_break_lost, unknown_session,
};
use crate::stanza::{self, JINGLE, JMI};
use crate::writer;
use minidom::Element;
use signal::{Ask, End, EventId, Heard, LegRef, Reason, Signal, Time, Verdict};

/// Most times that a stanza is heard again against a newer record.
const MAX_TRIES: u8 = 3;
/// Most retries of work that cannot be refused, and the first pause between them, ms.
const MAX_RETRIES: u8 = 20;
const RETRY: u64 = 250;
/// Most doublings of that pause.
const MAX_DOUBLINGS: u8 = 5;
/// Longest wait for a verdict, ms: the bus gives up before, unless its answer was lost.
const VERDICT_DEADLINE: u64 = signal::VERDICT_MS + 3_000;
/// Longest wait for the answer to an IQ of ours, ms (interworking §4.4).
const REPLY_TIMEOUT: u64 = 30_000;
/// Longest time from our session-initiate after a proceed to the session-accept, ms (interworking §2.4).
const ACCEPT_TIMEOUT: u64 = 15_000;
/// Longest time until a proposing client hears ringing, ms (R-CALL-41: 5 s).
const RING_CALLER: u64 = 4_500;

impl Edge {
    /// Takes the answer to an [`Output::Ask`].
    pub fn verdict(&mut self, ticket: u64, verdict: Verdict, now: Time) {
        let Some(Pending { leg: name, work, session, after, tries, sent_now, .. }) =
            self.pending.remove(&ticket)
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
                self.send_all(name, after, now);
                let proposed = self.legs.get(&name).is_some_and(|l| l.is(State::Proposed));
                if proposed && matches!(&work, Work::Hear(_)) {
                    self.set_timer(name, now + RING_CALLER, Timer::RingCaller, now);
                }
            }
            Verdict::Stale(state) | Verdict::Leg(state) if tries < MAX_TRIES => {
                leg.session = Session::from_bytes(&state.dialog);
                leg.revision = state.revision;
                leg.opening = false;
                if leg.session.is_some() {
                    self.run(name, work, tries + 1, sent_now, now);
                } else {
                    self.fail(name, &work, Reason::NotFound.into());
                }
            }
            Verdict::Unavailable if leg.retries < MAX_RETRIES && !work.can_be_refused() => {
                // The peer will not repeat it.
                leg.retries += 1;
                let at = now + (RETRY << leg.retries.min(MAX_DOUBLINGS));
                let work = match work {
                    Work::Hear(iq) if iq.name() == "iq" && iq.attr("type") == Some("set") => {
                        self.send(stanza::result(&iq));
                        Work::Acknowledged(iq)
                    }
                    work => work,
                };
                self.set_timer(name, at, Timer::Retry(Box::new(work)), now);
            }
            Verdict::Stale(_) | Verdict::Leg(_) | Verdict::Unavailable => {
                self.fail(name, &work, Reason::Unavailable.into());
            }
            Verdict::Gone => self.gone(name, work, now),
            Verdict::Refused(end) => self.fail(name, &work, end),
        }
        self.run_waiting(name, now);
    }

    /// Handles a call that no record knows: a session-initiate opens a new one, anything else is late.
    fn gone(&mut self, name: LegRef, work: Work, now: Time) {
        let waiting = self.legs.get_mut(&name).map(|l| std::mem::take(&mut l.waiting)).unwrap_or_default();
        let opening = self.legs.get(&name).is_some_and(|l| l.opening);
        if let Work::Hear(stanza) = &work
            && let Some(jingle) = stanza.children().find(|c| c.is("jingle", JINGLE))
            && let (Some("session-initiate"), Some(sid), false) =
                (jingle.attr("action"), jingle.attr("sid"), opening)
            && self.secret.call_of_jingle(stanza.attr("from").unwrap_or(""), sid) == name.call
        {
            self.remove(name);
            self.begin_call(stanza, name, sid, now);
        } else {
            self.fail(name, &work, Reason::NotFound.into());
            self.remove(name);
        }
        for work in waiting {
            match work {
                Work::Hear(stanza) if self.legs.contains_key(&name) => {
                    self.enqueue(name, Work::Hear(stanza), now)
                }
                Work::Hear(stanza) => self.fail(name, &Work::Hear(stanza), Reason::NotFound.into()),
                Work::Say(order) => self.enqueue(name, Work::Say(order), now),
                Work::Acknowledged(_) | Work::Timer(_) => {}
            }
        }
    }

    /// Answers a stanza that came to nothing.
    fn fail(&mut self, name: LegRef, work: &Work, end: End) {
        let opening = self.legs.get(&name).is_some_and(|l| l.opening);
        if let Work::Hear(stanza) = work
            && stanza.attr("type") != Some("error")
            && stanza.attr("type") != Some("result")
        {
            let propose = proposal::element(stanza).is_some_and(|j| j.name() == "propose");
            match end.reason {
                _ if propose && opening => self.reject(stanza, &end),
                _ if stanza.name() != "iq" => {}
                Reason::NotFound if !opening => self.send(unknown_session(stanza)),
                Reason::Unavailable | Reason::BadRequest => self.refuse(stanza, end.reason),
                _ if opening => self.decline_initiate(stanza, &end),
                other => self.refuse(stanza, other),
            }
        }
        if opening {
            self.remove(name);
        }
    }

    /// Declines a session-initiate: acknowledges it and ends the session (interworking §4.1).
    fn decline_initiate(&mut self, iq: &Element, end: &End) {
        let jingle = iq.children().find(|c| c.is("jingle", JINGLE));
        let sid = jingle.and_then(|j| j.attr("sid")).unwrap_or("");
        self.send(stanza::result(iq));
        let terminate = stanza::element("jingle", JINGLE, &[("action", "session-terminate"), ("sid", sid)]);
        let terminate = stanza::with(terminate, reason::element(end));
        let id = self.secret.derive_text("stanza", &[b"away", sid.as_bytes()], 24);
        let (from, to) = (iq.attr("to").unwrap_or(""), iq.attr("from").unwrap_or(""));
        self.send(stanza::iq(from, to, &id, terminate));
    }

    /// Declines a propose.
    pub(super) fn reject(&mut self, message: &Element, end: &End) {
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

    fn send_reject(&mut self, message: &Element, sid: &str, reject: Element) {
        let id = self.secret.derive_text("stanza", &[b"reject", sid.as_bytes()], 24);
        let (from, to) = (message.attr("to").unwrap_or(""), message.attr("from").unwrap_or(""));
        self.send(stanza::message(from, to, &id, reject));
    }

    pub(super) fn run(&mut self, name: LegRef, work: Work, tries: u8, sent_now: bool, now: Time) {
        let work = if let Work::Timer(Timer::Retry(work)) = work { *work } else { work };
        if let Work::Say(order) = work {
            return self.run_say(name, order, now);
        }
        self.index_parties(name);
        let Some(leg) = self.legs.get_mut(&name) else { return };
        let Some(mut session) = leg.session.clone() else {
            if matches!(work, Work::Hear(_) | Work::Acknowledged(_)) {
                let due = now + VERDICT_DEADLINE;
                let pending = Pending { leg: name, work, session: None, after: vec![], tries, sent_now, due };
                self.ask(Ask::Recall(name), pending);
            }
            return;
        };
        let (base, fresh) = (leg.revision, leg.opening);
        let label = match &work {
            Work::Hear(stanza) | Work::Acknowledged(stanza) => writer::digest(stanza),
            other => format!("{other:?}/{base}"),
        };
        let id = self.secret.derive_text("stanza", &[name.to_string().as_bytes(), label.as_bytes()], 24);
        let (mut outcome, event) = match &work {
            Work::Hear(stanza) | Work::Acknowledged(stanza) => {
                (hear(&mut session, stanza, &id, now), event(stanza))
            }
            Work::Timer(timer) => (fire(&mut session, timer, &id), EventId::of(&[&name.to_string(), &label])),
            Work::Say(_) => return,
        };
        if matches!(work, Work::Acknowledged(_)) {
            outcome.send_now.retain(|stanza| !answers(stanza));
            outcome.send_after_commit.retain(|stanza| !answers(stanza));
        }
        if !sent_now {
            self.send_all(name, outcome.send_now, now);
        }
        if outcome.signals.is_empty() && !outcome.must_commit {
            // Nothing for the call: the change stays here until the next commit carries it.
            if let Some(leg) = self.legs.get_mut(&name) {
                leg.session = Some(session);
            }
            return self.send_all(name, outcome.send_after_commit, now);
        }
        let heard = Heard {
            leg: name,
            base,
            event,
            signals: outcome.signals,
            dialog: session.to_bytes(),
            edge: self.config.instance.clone(),
            opening: match &work {
                Work::Hear(stanza) if fresh => opening(stanza),
                _ => None,
            },
        };
        let pending = Pending {
            leg: name,
            work,
            session: Some(session),
            after: outcome.send_after_commit,
            tries,
            sent_now: true,
            due: now + VERDICT_DEADLINE,
        };
        self.ask(Ask::Heard(heard), pending);
    }

    /// Sends stanzas of a leg and starts the timers of their answers.
    pub(super) fn send_all(&mut self, name: LegRef, stanzas: Vec<Element>, now: Time) {
        for stanza in stanzas {
            let request = stanza.name() == "iq" && stanza.attr("type") == Some("set");
            let jmi = proposal::element(&stanza).map(|j| j.name().to_owned());
            let jmi = jmi.as_deref().unwrap_or("");
            if let Some(id) = stanza.attr("id").filter(|_| request || matches!(jmi, "propose" | "proceed")) {
                let id = id.to_owned();
                if request {
                    self.set_timer(name, now + REPLY_TIMEOUT, Timer::Reply(id.clone()), now);
                }
                self.expect_reply(id, name, stanza.clone(), now);
            }
            let jingle = stanza.get_child("jingle", JINGLE).filter(|_| request);
            let initiates = jingle.filter(|j| j.attr("action") == Some("session-initiate"));
            let initiated = initiates.and_then(|j| j.attr("sid")).map(str::to_owned);
            let initiates = initiated.is_some();
            if let Some(sid) = initiated
                && self.legs.get(&name).and_then(|l| l.session.as_ref()).is_some_and(|s| s.jmi)
            {
                self.set_timer(name, now + ACCEPT_TIMEOUT, Timer::Accept(sid), now);
            }
            if let Some(after) = self.config.presume_ringing.filter(|_| jmi == "propose" || initiates) {
                self.set_timer(name, now + after, Timer::PresumeRinging, now);
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
            self.buffer(stanza);
        }
    }
}

/// Returns true for the answer to an IQ.
fn answers(stanza: &Element) -> bool {
    stanza.name() == "iq" && matches!(stanza.attr("type"), Some("result" | "error"))
}

/// Handles a timer of a leg.
fn fire(session: &mut Session, timer: &Timer, id: &str) -> Outcome {
    match timer {
        Timer::Reply(asked) => reply_timeout(session, asked, id),
        // Another device was asked since; it has a timer of its own.
        Timer::Accept(sid) if session.sid != *sid => Outcome::default(),
        Timer::Accept(_) => accept_timeout(session, id),
        Timer::PresumeRinging => presumed_ringing(session),
        Timer::TieBreakLost => tie_break_lost(session, id),
        Timer::Retry(_) => Outcome::default(),
        Timer::RingCaller => {
            let send_now =
                if session.state == State::Proposed { say(session, &Signal::Ringing, id) } else { vec![] };
            Outcome { send_now, ..Outcome::default() }
        }
        Timer::DeferredOffer => {
            Outcome { signals: take_deferred_offer(session).into_iter().collect(), ..Outcome::default() }
        }
    }
}
