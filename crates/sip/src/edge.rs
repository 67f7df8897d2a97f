//! The edge, sans IO: datagrams and verdicts in, outputs out, one deadline.
//!
//! One rule: one event of a leg at a time. While what was heard waits for its commit, further messages and sayings of that
//! leg queue behind it. The shell owns sockets, the bus and the clock.

use crate::dialog::{Dialog, State};
use crate::message::{Message, ReadError, Start};
use crate::signal::{Hearing, Wire, hear, say};
use crate::transaction::{Incoming, Key, Output as Tx, T1, T2, TIMEOUT, Table};
use crate::{reason, screen};
use bytes::Bytes;
use signal::{
    Ask, EffectId, End, EventId, Heard, LegId, LegRef, Reason, Said, Say, Secret, Signal, Time, Token,
    Verdict,
};
use std::collections::{BTreeSet, HashMap, VecDeque};

mod link;
mod open;

use link::within;
pub use link::{Config, Flow, Output, Trunk};
use open::{event, opening};

/// Events of one leg that wait.
const MAX_WAITING: usize = 16;
/// Effects remembered per leg.
const MAX_SEEN: usize = 16;
/// An idle leg leaves the cache after this time, ms; the record brings it back.
const IDLE: u64 = 600_000;
/// Times that a message is heard again against a newer record.
const MAX_TRIES: u8 = 3;

#[derive(Clone, Debug)]
enum Job {
    Hear(Message, Flow),
    /// Nothing came in answer to our INVITE, or no ACK to our 2xx.
    Silence,
    Say(Say),
}

#[derive(Debug, Default)]
struct Leg {
    dialog: Option<Dialog>,
    revision: u32,
    busy: bool,
    waiting: VecDeque<Job>,
    seen: VecDeque<EffectId>,
    accepted: Option<Accepted>,
    wake: Option<Time>,
    opening: bool,
}

/// A 2xx that waits for its ACK.
#[derive(Debug)]
struct Accepted {
    flow: Flow,
    octets: Bytes,
    next: Time,
    interval: u64,
    end: Time,
}

#[derive(Debug)]
struct Pending {
    leg: LegRef,
    job: Job,
    dialog: Option<Dialog>,
    after: Vec<Wire>,
    tries: u8,
}

/// The edge.
#[derive(Debug)]
pub struct Edge {
    config: Config,
    secret: Secret,
    table: Table<Flow>,
    legs: HashMap<LegRef, Leg>,
    invites: HashMap<Key, LegRef>,
    pending: HashMap<u64, Pending>,
    wakes: BTreeSet<(Time, LegRef)>,
    out: VecDeque<Output>,
    tickets: u64,
    draining: bool,
}

impl Edge {
    /// A new edge.
    #[must_use]
    pub fn new(config: Config, secret: Secret) -> Edge {
        let table = Table::new(config.max_legs.saturating_mul(4));
        Edge {
            config,
            secret,
            table,
            legs: HashMap::new(),
            invites: HashMap::new(),
            pending: HashMap::new(),
            wakes: BTreeSet::new(),
            out: VecDeque::new(),
            tickets: 0,
            draining: false,
        }
    }

    /// No new calls from now on; live ones are served (R-SIP-12).
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Legs held.
    #[must_use]
    pub fn legs(&self) -> usize {
        self.legs.len()
    }

    /// A datagram, or one framed message of a stream.
    pub fn receive(&mut self, octets: &Bytes, flow: Flow, now: Time) {
        match crate::message::read(octets) {
            Ok(message) if message.code().is_some() => self.response(message, flow, now),
            Ok(mut message) => {
                message.stamp(flow.peer);
                self.request(message, flow, now);
            }
            Err(
                ReadError::Empty
                | ReadError::NoSip
                | ReadError::BrokenResponse
                | ReadError::Version
                | ReadError::BrokenRequest(_)
                | ReadError::TooLarge,
            ) => {}
        }
        self.flush(now);
    }

    fn response(&mut self, message: Message, flow: Flow, now: Time) {
        let delivered = match self.table.response(&message, now) {
            Ok(Some(key)) => {
                if message.code().is_some_and(|c| c >= 200) {
                    self.invites.remove(&key);
                }
                true
            }
            Ok(None) => false,
            // No transaction here: another edge may have died with it, and the record knows the leg.
            Err(()) => true,
        };
        let tag = message.from().and_then(|f| f.tag().map(str::to_owned));
        if delivered && let Some(leg) = self.own(tag.as_deref()) {
            self.job(leg, Job::Hear(message, flow), now);
        }
    }

    fn own(&self, tag: Option<&str>) -> Option<LegRef> {
        Some(self.secret.open(Token::parse(tag?)?)?.0)
    }

    /// A response outside any dialog and, after a transaction was made, through it.
    fn refuse(
        &mut self,
        request: &Message,
        flow: Flow,
        code: u16,
        phrase: &str,
        header: Option<(&str, String)>,
        now: Time,
    ) {
        if request.method().as_deref() == Some("ACK") {
            return;
        }
        let tag = self.secret.derive_text("stateless", &[request.call_id().unwrap_or("").as_bytes()], 16);
        let mut response = Message::response(request, code, phrase, &tag);
        if let Some((name, value)) = header {
            response = response.with(name, value);
        }
        self.respond(request, &response, flow, now);
    }

    fn respond(&mut self, request: &Message, response: &Message, flow: Flow, now: Time) {
        match Key::of_request(request) {
            Some(key) if self.table.state(&key).is_some() => {
                self.table.respond(&key, response, now);
            }
            _ => self.out.push_back(Output::Send(flow, response.write())),
        }
    }

    fn request(&mut self, message: Message, flow: Flow, now: Time) {
        let Start::Request { method, uri } = &message.start else { return };
        let (method, uri) = (method.clone(), uri.clone());
        let known = message.to().and_then(|t| self.own(t.tag()));
        let trunk = self.config.trunks.iter().find(|t| t.sources.iter().any(|s| within(flow.peer.ip(), *s)));
        let Some(link) = trunk.map(|t| t.name.clone()).or(known.map(|_| String::new())) else {
            // Strangers cost no state (R-SIP-13).
            return self.refuse(&message, flow, 403, "Forbidden", None, now);
        };
        if let Err(refusal) = screen::request(&message) {
            return self.refuse(&message, flow, refusal.code, refusal.phrase, refusal.header, now);
        }
        match self.table.request(&message, flow, flow.tcp, now) {
            Incoming::New(_) => {}
            Incoming::Ack => {
                if let Some(name) = known
                    && self.legs.get_mut(&name).and_then(|l| l.accepted.take()).is_some()
                {
                    self.wake(name, now + IDLE);
                }
                return;
            }
            Incoming::Again | Incoming::Unmatched => return,
            Incoming::Merged => return self.refuse(&message, flow, 482, "Loop Detected", None, now),
            Incoming::Full => return self.busy(&message, flow, now),
        }
        if let Some(leg) = known {
            return self.job(leg, Job::Hear(message, flow), now);
        }
        let tagged = message.to().is_some_and(|t| t.tag().is_some());
        let from = message.from();
        let from_tag = from.as_ref().and_then(|f| f.tag()).unwrap_or("");
        let call = self.secret.call_of_sip(message.call_id().unwrap_or(""), from_tag);
        let leg = LegRef { call, leg: LegId(0) };
        match method.as_str() {
            "OPTIONS" if self.draining => self.busy(&message, flow, now),
            "OPTIONS" => {
                self.refuse(&message, flow, 200, "OK", Some(("Allow", screen::ALLOW.join(", "))), now)
            }
            "CANCEL" => self.job(leg, Job::Hear(message, flow), now),
            "INVITE" if !tagged => {
                if self.draining || self.legs.len() >= self.config.max_legs {
                    return self.busy(&message, flow, now);
                }
                let (Some(dialog), Some(opening)) =
                    (self.incoming(&message, leg, flow), opening(&message, &uri, link))
                else {
                    return self.refuse(&message, flow, 400, "Missing Contact or user", None, now);
                };
                if opening.hops == 0 {
                    return self.refuse(&message, flow, 483, "Too Many Hops", None, now);
                }
                if self.legs.contains_key(&leg) {
                    // The same dialog-to-be again by another transaction: never two calls of one id.
                    return self.refuse(&message, flow, 482, "Loop Detected", None, now);
                }
                self.legs.insert(leg, Leg { dialog: Some(dialog), opening: true, ..Leg::default() });
                self.job(leg, Job::Hear(message, flow), now);
            }
            _ => self.refuse(&message, flow, 481, "Call/Transaction Does Not Exist", None, now),
        }
    }

    fn busy(&mut self, message: &Message, flow: Flow, now: Time) {
        self.refuse(message, flow, 503, "Service Unavailable", Some(("Retry-After", "5".into())), now);
    }

    /// An order of an orchestrator; yields one [`Output::Said`].
    pub fn say(&mut self, order: Say, now: Time) {
        self.job(order.state.leg, Job::Say(order), now);
        self.flush(now);
    }

    /// The answer to an [`Output::Ask`].
    pub fn verdict(&mut self, ticket: u64, verdict: Verdict, now: Time) {
        let Some(pending) = self.pending.remove(&ticket) else { return };
        let Pending { leg: name, job, dialog, after, tries } = pending;
        let Some(leg) = self.legs.get_mut(&name) else { return };
        leg.busy = false;
        match verdict {
            Verdict::Committed { revision, .. } => {
                leg.revision = revision;
                leg.opening = false;
                leg.dialog = dialog.or(leg.dialog.take());
                let flow = if let Job::Hear(_, flow) = &job { Some(*flow) } else { None };
                self.perform(name, after, flow, now);
            }
            Verdict::Stale(state) | Verdict::Leg(state) if tries < MAX_TRIES => {
                leg.dialog = Dialog::from_bytes(&state.dialog);
                leg.revision = state.revision;
                leg.opening = false;
                if leg.dialog.is_some() {
                    self.run(name, job, tries + 1, now);
                } else {
                    self.fail(name, &job, Reason::NotFound.into(), now);
                }
            }
            Verdict::Stale(_) | Verdict::Leg(_) | Verdict::Unavailable => {
                self.fail(name, &job, Reason::Unavailable.into(), now);
            }
            Verdict::Gone => {
                self.fail(name, &job, Reason::NotFound.into(), now);
                self.forget(name, now);
            }
            Verdict::Refused(end) => self.fail(name, &job, end, now),
        }
        self.next(name, now);
        self.flush(now);
    }

    /// Answers a request that came to nothing.
    fn fail(&mut self, name: LegRef, job: &Job, end: End, now: Time) {
        let Some(opening) = self.legs.get(&name).map(|l| l.opening) else { return };
        if let Job::Hear(message, flow) = job
            && message.code().is_none()
        {
            let (code, phrase, _) = match end.reason {
                Reason::NotFound if !opening => (481, "Call/Transaction Does Not Exist", 0),
                other => reason::said(other),
            };
            let retry = (code == 503).then(|| ("Retry-After", "5".to_owned()));
            self.refuse(message, *flow, code, phrase, retry, now);
        }
        if opening {
            self.forget(name, now);
        }
    }

    /// The leg's memory ends once nothing of it can be on its way any more.
    fn forget(&mut self, name: LegRef, now: Time) {
        if let Some(leg) = self.legs.get_mut(&name) {
            if let Some(dialog) = &mut leg.dialog {
                dialog.state = State::Ended;
            }
            leg.opening = false;
            self.wake(name, now + TIMEOUT);
        }
    }

    fn wake(&mut self, name: LegRef, at: Time) {
        let Some(leg) = self.legs.get_mut(&name) else { return };
        if let Some(old) = leg.wake.replace(at) {
            self.wakes.remove(&(old, name));
        }
        self.wakes.insert((at, name));
    }

    fn job(&mut self, name: LegRef, job: Job, now: Time) {
        if self.legs.entry(name).or_default().wake.is_none() {
            self.wake(name, now + IDLE);
        }
        let Some(leg) = self.legs.get_mut(&name) else { return };
        if leg.busy || !leg.waiting.is_empty() {
            // A full queue drops: the peer or the orchestrator repeats.
            if leg.waiting.len() < MAX_WAITING {
                leg.waiting.push_back(job);
            }
            return;
        }
        self.run(name, job, 0, now);
        self.next(name, now);
    }

    fn next(&mut self, name: LegRef, now: Time) {
        while let Some(leg) = self.legs.get_mut(&name)
            && !leg.busy
            && let Some(job) = leg.waiting.pop_front()
        {
            self.run(name, job, 0, now);
        }
    }

    fn ask(&mut self, leg: LegRef, ask: Ask, job: Job, dialog: Option<Dialog>, after: Vec<Wire>, tries: u8) {
        if let Some(leg) = self.legs.get_mut(&leg) {
            leg.busy = true;
        }
        self.tickets += 1;
        self.pending.insert(self.tickets, Pending { leg, job, dialog, after, tries });
        self.out.push_back(Output::Ask(self.tickets, ask));
    }

    fn run(&mut self, name: LegRef, job: Job, tries: u8, now: Time) {
        if let Job::Say(order) = job {
            return self.run_say(name, order, now);
        }
        let Some(leg) = self.legs.get_mut(&name) else { return };
        let Some(mut dialog) = leg.dialog.clone() else {
            return self.ask(name, Ask::Recall(name), job, None, vec![], tries);
        };
        let (base, fresh) = (leg.revision, leg.opening);
        let (hearing, event, flow) = match &job {
            Job::Hear(message, flow) => {
                let branch = self
                    .branch(&[name.to_string().as_bytes(), message.text("CSeq").unwrap_or("").as_bytes()]);
                let hearing = hear(&mut dialog, message, &branch);
                (hearing, event(message), Some(*flow))
            }
            _ => (self.silence(name, &mut dialog), EventId::of(&[&name.to_string(), "silence"]), None),
        };
        if tries == 0 {
            self.perform(name, hearing.now, flow, now);
        }
        if hearing.signals.is_empty() {
            // Nothing for the call: the change stays here until the next commit takes it along.
            if let Some(leg) = self.legs.get_mut(&name) {
                leg.dialog = Some(dialog);
            }
            self.perform(name, hearing.after, flow, now);
            return;
        }
        let opening = match &job {
            Job::Hear(message, flow) if fresh => {
                let link =
                    self.config.trunks.iter().find(|t| t.sources.iter().any(|s| within(flow.peer.ip(), *s)));
                let uri = if let Start::Request { uri, .. } = &message.start { uri.as_str() } else { "" };
                link.and_then(|t| opening(message, uri, t.name.clone()))
            }
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
        self.ask(name, Ask::Heard(heard), job, Some(dialog), hearing.after, tries);
    }

    fn silence(&self, name: LegRef, dialog: &mut Dialog) -> Hearing {
        let mut hearing = Hearing::default();
        let end = End::from(Reason::Timeout);
        match dialog.state {
            State::Outgoing => hearing.signals.push(Signal::End(end)),
            State::Active => {
                hearing.now = say(
                    dialog,
                    &Signal::End(end.clone()),
                    &self.branch(&[name.to_string().as_bytes(), b"bye"]),
                );
                hearing.signals.push(Signal::End(end));
            }
            _ => {}
        }
        dialog.state = State::Ended;
        hearing
    }

    fn branch(&self, parts: &[&[u8]]) -> String {
        format!("z9hG4bK{}", self.secret.derive_text("branch", parts, 24))
    }

    fn run_say(&mut self, name: LegRef, order: Say, now: Time) {
        let fresh = match (&order.opening, order.state.dialog.is_empty()) {
            (Some(opening), true) => self.outgoing(name, opening),
            _ => Dialog::from_bytes(&order.state.dialog),
        };
        let Some(leg) = self.legs.get_mut(&name) else { return };
        if leg.dialog.is_none() || order.state.revision > leg.revision {
            leg.dialog = fresh;
            leg.revision = order.state.revision;
        }
        let base = leg.revision;
        let mut said =
            Said { id: order.id, base, dialog: None, edge: self.config.instance.clone(), failed: None };
        let Some(mut dialog) = leg.dialog.clone() else {
            self.legs.remove(&name);
            said.failed = Some(Reason::Unavailable.into());
            return self.out.push_back(Output::Said(said));
        };
        if leg.seen.contains(&order.id) {
            said.dialog = Some(dialog.to_bytes());
            said.base = base.saturating_sub(1);
            return self.out.push_back(Output::Said(said));
        }
        if leg.seen.len() >= MAX_SEEN {
            leg.seen.pop_front();
        }
        leg.seen.push_back(order.id);
        let branch = self.branch(&[&order.id.to_bytes()]);
        let wires = say(&mut dialog, &order.signal, &branch);
        said.dialog = Some(dialog.to_bytes());
        if let Some(leg) = self.legs.get_mut(&name) {
            leg.dialog = Some(dialog);
            leg.revision = base + 1;
        }
        self.perform(name, wires, None, now);
        self.out.push_back(Output::Said(said));
    }

    fn perform(&mut self, name: LegRef, wires: Vec<Wire>, source: Option<Flow>, now: Time) {
        let stored = self.legs.get(&name).and_then(|l| Flow::parse(&l.dialog.as_ref()?.flow));
        let Some(flow) = stored.or(source) else { return };
        for wire in wires {
            match wire {
                Wire::Respond(request, response) => {
                    self.respond(&request, &response, source.unwrap_or(flow), now);
                }
                Wire::Accept(request, response) => {
                    self.respond(&request, &response, source.unwrap_or(flow), now);
                    let accepted = Accepted {
                        flow,
                        octets: response.write(),
                        next: now + T1,
                        interval: T1,
                        end: now + TIMEOUT,
                    };
                    if let Some(leg) = self.legs.get_mut(&name) {
                        leg.accepted = Some(accepted);
                    }
                    self.wake(name, now + T1);
                }
                Wire::Request(request) => {
                    let invite = request.method().as_deref() == Some("INVITE");
                    if let Some(key) = self.table.send(request, flow, flow.tcp, now)
                        && invite
                    {
                        self.invites.insert(key, name);
                    }
                }
                Wire::Direct(request) => self.out.push_back(Output::Send(flow, request.write())),
            }
        }
        // A cancelled INVITE that never gets its final response is over too (§9.1: 64*T1).
        let dialog = self.legs.get(&name).and_then(|l| l.dialog.as_ref());
        let ended = dialog.is_some_and(|d| matches!(d.state, State::Ended | State::Cancelled));
        if ended {
            self.wake(name, now + TIMEOUT);
        }
    }

    /// Timers that are due.
    pub fn tick(&mut self, now: Time) {
        self.table.tick(now);
        while let Some((at, name)) = self.wakes.first().copied().filter(|(at, _)| *at <= now) {
            self.wakes.remove(&(at, name));
            let Some(leg) = self.legs.get_mut(&name) else { continue };
            leg.wake = None;
            let is = |states: &[State]| leg.dialog.as_ref().is_some_and(|d| states.contains(&d.state));
            let open = is(&[State::Incoming, State::Outgoing]);
            if !leg.busy && !open && (is(&[State::Ended]) || leg.accepted.is_none()) {
                self.legs.remove(&name);
                continue;
            }
            let Some(accepted) = leg.accepted.as_mut() else {
                self.wake(name, now + IDLE);
                continue;
            };
            if now >= accepted.end {
                // Nobody acknowledged: hang up (§13.3.1.4).
                leg.accepted = None;
                self.job(name, Job::Silence, now);
                continue;
            }
            self.out.push_back(Output::Send(accepted.flow, accepted.octets.clone()));
            accepted.interval = (accepted.interval * 2).min(T2);
            accepted.next = now + accepted.interval;
            let next = accepted.next.min(accepted.end);
            self.wake(name, next);
        }
        self.flush(now);
    }

    /// When to tick next.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        [self.table.deadline(), self.wakes.first().map(|w| w.0)].into_iter().flatten().min()
    }

    /// What to do next.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn flush(&mut self, now: Time) {
        while let Some(output) = self.table.poll() {
            match output {
                Tx::Send(flow, octets) => self.out.push_back(Output::Send(flow, octets)),
                Tx::TimedOut(key) => {
                    if let Some(leg) = self.invites.remove(&key) {
                        self.job(leg, Job::Silence, now);
                    }
                }
            }
        }
    }
}
