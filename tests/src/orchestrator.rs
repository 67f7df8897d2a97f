//! An orchestrator on virtual time: the runner, commit queues and admission of the real one over a store in memory, without bus or relays.
//!
//! One rule: it decides and stores as production does, and performs nothing. Whoever drives it takes the effects that wait
//! ([`Orchestrator::waiting`]), performs them on its own edges and relays, and says what came of each; so a test may perform in any
//! order that lanes allow, lose an order, or drop the whole orchestrator between save and perform. Several may share a store.

use crate::{Fault, fault};
use orchestrator::calls::admit;
use orchestrator::queue::{Deferral, Performed, QueueHandle, Queues};
use orchestrator::records::{DEFER_MS, is_over};
use orchestrator::runner::{Loaded, Runner, Step, expired};
use session::call::{Call, Effect, Event, Lane, Placement};
use session::{Entry, Machine, StoredEffect};
use signal::{EffectId, End, Heard, LegId, LegRef, LegState, RecordId, Said, Say, Time, Verdict, Wake};
use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use store::Store;

/// Number of records that are looked at in one go.
const LIMIT: usize = 64;
/// Records are looked at so often, ms.
const LOOK_MS: u64 = 250;
/// A due record that was taken is due again after this, ms.
const LEASE_MS: u64 = 2_000;

/// One orchestrator.
pub struct Orchestrator {
    runner: Runner,
    queues: Queues<Call>,
    busy: BTreeMap<RecordId, Work>,
    /// Flushes that were begun: their times, and the queues whose outcomes wait.
    flushes: VecDeque<(Time, QueueHandle<Call>)>,
    /// Calls as stored, with the events that wait for a commit.
    unsaved: BTreeMap<RecordId, (Call, Vec<(Event, Time)>)>,
    decisions: VecDeque<Decision>,
}

/// One decision, as stored.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The event.
    pub event: Event,
    /// The call before it; `None` if it was placed by the event.
    pub before: Option<Call>,
    /// The call after it.
    pub after: Call,
    /// The effects, in order.
    pub effects: Vec<Effect>,
    /// Version of the record that holds it.
    pub version: u64,
}

/// An effect to be performed, with the record as it stood when its batch was taken.
pub struct Order {
    /// The record.
    pub record: Arc<Loaded<Call>>,
    /// The effect.
    pub entry: Entry<Effect>,
    /// The leg that it is said to, as the last order of its lane left it.
    state: Option<LegState>,
}

type DynStep<'a, A> = Box<dyn FnMut(&Loaded<Call>) -> Step<Event, A> + 'a>;

/// A batch that is being performed.
struct Work {
    queue: QueueHandle<Call>,
    record: Arc<Loaded<Call>>,
    waiting: Vec<Entry<Effect>>,
    states: BTreeMap<LegId, LegState>,
    tried: Vec<(EffectId, Lane)>,
    done: Vec<EffectId>,
    events: Vec<Event>,
}

impl Orchestrator {
    /// An orchestrator on this store.
    #[must_use]
    pub fn new(store: Store) -> Orchestrator {
        Orchestrator {
            runner: Runner::new(store),
            queues: Queues::default(),
            busy: BTreeMap::new(),
            flushes: VecDeque::new(),
            unsaved: BTreeMap::new(),
            decisions: VecDeque::new(),
        }
    }

    /// Commits what an edge heard, or places the call that it opens.
    ///
    /// # Errors
    /// The record cannot be read or stored.
    pub fn hear(
        &mut self,
        heard: Heard,
        now: Time,
        gather: impl FnOnce(Heard) -> Result<Placement, End>,
    ) -> Result<Verdict, Fault> {
        let call = heard.leg.record;
        if let Some(verdict) = self.commit(call, now, |loaded| admit(loaded, &heard))? {
            return Ok(verdict);
        }
        if heard.opening.is_none() {
            return Ok(Verdict::Gone);
        }
        let placed = gather(heard.clone()).and_then(|placement| Call::place(placement, now));
        let (machine, effects) = match placed {
            Ok(placed) => placed,
            Err(end) => return Ok(Verdict::Refused(end)),
        };
        let verdict = Verdict::Committed { revision: heard.base + 1, trace: machine.trace.clone() };
        let created = ready(self.runner.create(call, machine.clone(), effects.clone(), now))?;
        let Ok(loaded) = created.map_err(unreadable)? else {
            // Another orchestrator placed the same call meanwhile; what was gathered for it here is not needed.
            let verdict = self.commit(call, now, |loaded| admit(loaded, &heard))?;
            return Ok(verdict.unwrap_or(Verdict::Gone));
        };
        let version = loaded.version;
        let event = Event::Heard(heard);
        self.decisions.push_back(Decision { event, before: None, after: machine, effects, version });
        self.enqueue(self.queues.open(call), loaded);
        Ok(verdict)
    }

    /// Returns a leg as recorded.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn recall(&self, leg: LegRef) -> Result<Verdict, Fault> {
        let ahead = self.queues.open(leg.record).ahead();
        let call = ahead.map_or_else(|| self.call(leg.record), |ahead| Ok(Some(ahead.machine.clone())))?;
        Ok(call.and_then(|call| call.state(leg.leg)).map_or(Verdict::Gone, Verdict::Leg))
    }

    /// Decides on an event that no edge heard. False: there is no such call.
    ///
    /// # Errors
    /// The record cannot be read or stored.
    pub fn decide(&mut self, call: RecordId, event: &Event, now: Time) -> Result<bool, Fault> {
        let step = |_: &Loaded<Call>| Step::Decide { events: vec![event.clone()], done: vec![], answer: () };
        Ok(self.commit(call, now, step)?.is_some())
    }

    /// Looks at the records that are due: forgets those that are over, performs what was left behind, tells machines of their
    /// deadline.
    ///
    /// # Errors
    /// A record cannot be read or stored.
    pub fn tick(&mut self, now: Time) -> Result<(), Fault> {
        while self.flushes.front().is_some_and(|(at, _)| *at <= now)
            && let Some((_, queue)) = self.flushes.pop_front()
        {
            self.flush(&queue, now)?;
        }
        let due = ready(self.runner.store().due("call", now.0, LEASE_MS, LIMIT))?.map_err(unreadable)?;
        for call in due.iter().filter_map(|id| RecordId::parse(id)) {
            let queue = self.queues.open(call);
            self.flush(&queue, now)?;
            let found = ready(self.runner.load::<Call>(call))?.map_err(unreadable)?;
            let version = found.as_ref().map_or(0, |loaded| loaded.version);
            let Some(loaded) = found.filter(|loaded| !is_over(loaded, now)) else {
                ready(self.runner.forget::<Call>(call, version))?.map_err(unreadable)?;
                continue;
            };
            let expired = expired(&loaded.machine, now);
            self.enqueue(queue, loaded);
            if expired {
                self.decide(call, &Event::Deadline, now)?;
            }
        }
        Ok(())
    }

    /// The next moment at which [`Orchestrator::tick`] has something to do.
    ///
    /// # Errors
    /// A record cannot be read.
    pub fn deadline(&self, now: Time) -> Result<Option<Time>, Fault> {
        let mut next = self.flushes.front().map(|(at, _)| *at);
        for call in self.calls()? {
            let Some(loaded) = self.load(call)? else { continue };
            let redrive = (!loaded.outbox.is_empty()).then_some(now + LOOK_MS);
            next = [next, loaded.machine.deadline(), redrive].into_iter().flatten().min();
        }
        Ok(next)
    }

    /// Ids of all calls that are stored.
    ///
    /// # Errors
    /// Never: a store in memory answers.
    pub fn calls(&self) -> Result<Vec<RecordId>, Fault> {
        let mut ids = ready(self.runner.store().list("call", usize::MAX))?.map_err(unreadable)?;
        ids.sort();
        Ok(ids.iter().filter_map(|id| RecordId::parse(id)).collect())
    }

    /// A call as stored.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn call(&self, call: RecordId) -> Result<Option<Call>, Fault> {
        Ok(self.load(call)?.map(|loaded| loaded.machine))
    }

    /// A record as stored.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn load(&self, call: RecordId) -> Result<Option<Loaded<Call>>, Fault> {
        ready(self.runner.load::<Call>(call))?.map_err(unreadable)
    }

    /// The oldest decision that was not returned yet.
    pub fn decision(&mut self) -> Option<Decision> {
        self.decisions.pop_front()
    }

    /// Ids of the effects that may be performed now: the first of each lane, oldest first.
    #[must_use]
    pub fn waiting(&self) -> Vec<EffectId> {
        let mut ids: Vec<EffectId> = self.busy.values().flat_map(Work::heads).collect();
        ids.sort_by_key(|id| (id.version, id.index));
        ids
    }

    /// The order for an effect that waits.
    #[must_use]
    pub fn order(&self, id: EffectId) -> Option<Order> {
        let work = self.busy.get(&id.record)?;
        let entry = work.waiting.iter().find(|entry| entry.id == id)?.clone();
        let state = match &entry.effect {
            Effect::Say { leg, .. } | Effect::Wake { leg } => {
                work.states.get(leg).cloned().or_else(|| work.record.machine.state(*leg))
            }
            _ => None,
        };
        Some(Order { record: work.record.clone(), entry, state })
    }

    /// An effect was performed, or given up, and this came of it. The call hears it when its batch is over.
    ///
    /// # Errors
    /// The record cannot be read or stored.
    pub fn performed(&mut self, id: EffectId, events: Vec<Event>, now: Time) -> Result<(), Fault> {
        if let Some(work) = self.busy.get_mut(&id.record) {
            work.waiting.retain(|entry| entry.id != id);
            work.done.push(id);
            for event in &events {
                work.note(event);
            }
            work.events.extend(events);
        }
        self.finish(id.record, now)
    }

    /// An effect could not be performed: it and what waits behind it in its lane stay in the record.
    ///
    /// # Errors
    /// The record cannot be read or stored.
    pub fn failed(&mut self, id: EffectId, now: Time) -> Result<(), Fault> {
        if let Some(work) = self.busy.get_mut(&id.record) {
            let stuck = work.waiting.iter().find(|entry| entry.id == id).map(|entry| entry.effect.lane());
            work.waiting.retain(|entry| Some(entry.effect.lane()) != stuck);
        }
        self.finish(id.record, now)
    }

    /// Commits what came of a batch that nothing waits in any more, and takes the next one.
    fn finish(&mut self, call: RecordId, now: Time) -> Result<(), Fault> {
        let Some(Work { queue, tried, done, events, .. }) =
            self.busy.remove(&call).and_then(|work| self.unless_waiting(call, work))
        else {
            return Ok(());
        };
        if !done.is_empty() {
            let performed = Performed { done: done.clone(), events: events.clone() };
            self.clear_outbox(&queue, performed, now)?;
        }
        queue.tried(&tried, &done);
        self.begin(queue);
        Ok(())
    }

    fn clear_outbox(
        &mut self,
        queue: &QueueHandle<Call>,
        performed: Performed<Event>,
        now: Time,
    ) -> Result<(), Fault> {
        let latest = queue.latest();
        let deferred = queue.defer(&performed, now);
        if deferred == Deferral::Begins {
            self.flushes.push_back((now + DEFER_MS, queue.clone()));
        }
        let Performed { done, events } = performed;
        if let (Deferral::Waits | Deferral::Begins, Some(latest)) = (deferred, latest) {
            let stored = || (latest.loaded.machine.clone(), vec![]);
            let (_, unsaved) = self.unsaved.entry(queue.record()).or_insert_with(stored);
            unsaved.extend(events.into_iter().map(|event| (event, now)));
            return Ok(());
        }
        let step = |_: &Loaded<Call>| Step::Decide { events: events.clone(), done: done.clone(), answer: () };
        self.commit(queue.record(), now, step).map(drop)
    }

    /// Saves the outcomes that wait for a commit, if there are any.
    fn flush(&mut self, queue: &QueueHandle<Call>, now: Time) -> Result<(), Fault> {
        if queue.begin_flush() {
            let step = |_: &Loaded<Call>| Step::Decide { events: vec![], done: vec![], answer: () };
            self.commit(queue.record(), now, step)?;
        }
        Ok(())
    }

    fn unless_waiting(&mut self, call: RecordId, work: Work) -> Option<Work> {
        if work.waiting.is_empty() {
            return Some(work);
        }
        self.busy.insert(call, work);
        None
    }

    fn commit<A>(
        &mut self,
        call: RecordId,
        now: Time,
        mut step: impl FnMut(&Loaded<Call>) -> Step<Event, A>,
    ) -> Result<Option<A>, Fault> {
        let queue = self.queues.open(call);
        let latest = queue.latest();
        let mut step: DynStep<'_, A> = match &latest {
            Some(latest) => Box::new(latest.with_unsaved(|| now, &mut step)),
            None => Box::new(&mut step),
        };
        let (mut decided, mut looks) = (None, 0);
        let watched = |loaded: &Loaded<Call>| {
            looks += 1;
            let step = step(loaded);
            if let Step::Decide { events, .. } = &step {
                decided = Some((loaded.machine.clone(), events.clone(), looks));
            }
            step
        };
        let last = latest.as_ref().map(|latest| &*latest.loaded);
        let stepped = ready(self.runner.step(call, last, || now, watched))?;
        if !matches!(stepped, Ok(Some(_))) {
            queue.forget_unsaved();
            self.unsaved.remove(&call);
        }
        let Some(outcome) = stepped.map_err(unreadable)? else { return Ok(None) };
        if let Some(loaded) = outcome.stored {
            let (mut machine, events, looks) =
                decided.unwrap_or_else(|| (loaded.machine.clone(), vec![], looks));
            let mut events: Vec<_> = events.into_iter().map(|event| (event, now)).collect();
            // Where the record was not old, what was not saved had been applied before.
            if let Some((stored, mut unsaved)) = self.unsaved.remove(&call).filter(|_| looks == 1) {
                unsaved.append(&mut events);
                (machine, events) = (stored, unsaved);
            }
            self.note(machine, events, &loaded)?;
            self.enqueue(queue, loaded);
        }
        Ok(Some(outcome.answer))
    }

    /// Notes decisions one by one. They are decided once more for that, and must come to the same.
    fn note(
        &mut self,
        mut machine: Call,
        events: Vec<(Event, Time)>,
        stored: &Loaded<Call>,
    ) -> Result<(), Fault> {
        for (event, at) in events {
            let (after, effects) = machine.clone().decide(event.clone(), at);
            let before = Some(std::mem::replace(&mut machine, after.clone()));
            self.decisions.push_back(Decision { event, before, after, effects, version: stored.version });
        }
        if machine == stored.machine {
            Ok(())
        } else {
            fault("decided twice, a call comes to something else")
        }
    }

    fn enqueue(&mut self, queue: QueueHandle<Call>, loaded: Loaded<Call>) {
        if queue.put(Arc::new(loaded)) {
            self.begin(queue);
        }
    }

    fn begin(&mut self, queue: QueueHandle<Call>) {
        let Some((record, waiting)) = queue.take() else { return };
        let tried = waiting.iter().map(|entry| (entry.id, entry.effect.lane())).collect();
        let work = Work {
            queue,
            record: record.clone(),
            waiting,
            states: BTreeMap::new(),
            tried,
            done: vec![],
            events: vec![],
        };
        self.busy.insert(record.machine.id, work);
    }
}

impl Order {
    /// The order that an edge gets; `None` if the effect is none for an edge.
    #[must_use]
    pub fn of_edge(&self) -> Option<signal::Order> {
        let (id, state) = (self.entry.id, self.state.clone()?);
        match self.entry.effect.clone() {
            Effect::Say { count, signal, opening, .. } => {
                Some(Say { id, state, count, signal, opening }.into())
            }
            Effect::Wake { .. } => Some(Wake { id, state }.into()),
            _ => None,
        }
    }
}

impl Work {
    fn heads(&self) -> impl Iterator<Item = EffectId> {
        let mut lanes = vec![];
        let head = |entry: &&Entry<Effect>| {
            let lane = entry.effect.lane();
            let first = !lanes.contains(&lane);
            lanes.push(lane);
            first
        };
        self.waiting.iter().filter(head).map(|entry| entry.id).collect::<Vec<_>>().into_iter()
    }

    /// The next order of a lane builds on what an edge said.
    fn note(&mut self, event: &Event) {
        let Event::Said(leg, Said { dialog: Some(dialog), base, edge, .. }) = event else { return };
        if let Some(mut state) = self.record.machine.state(*leg) {
            (state.dialog, state.revision) = (dialog.clone(), base + 1);
            state.edge.clone_from(edge);
            self.states.insert(*leg, state);
        }
    }
}

/// Drives a future that never waits, as everything over a store in memory.
fn ready<F: Future>(future: F) -> Result<F::Output, Fault> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => fault("a store in memory keeps nobody waiting"),
    }
}

fn unreadable(error: impl std::fmt::Display) -> Fault {
    Fault(format!("{error:#}"))
}
