//! Calls: what edges, relays and deadlines bring, committed and then performed.

use crate::desk::{Desks, Seat};
use crate::gather::Gather;
use crate::perform::{Performed, Performer, lane};
use crate::relays::Relays;
use crate::runner::{Loaded, Runner, Step, expired};
use crate::view::CallView;
use anyhow::Result;
use session::Machine;
use session::call::{Admission, Call, Event, MediaEvent};
use signal::{CallId, End, Heard, LegId, LegRef, Reason, Time, Verdict};
use std::sync::Arc;
use tracing::{Instrument, Span, debug, error, info_span, warn};

/// Everything that serves calls; clones share it.
#[derive(Clone)]
pub struct Calls(Arc<Inner>);

struct Inner {
    runner: Runner,
    desks: Desks,
    gather: Gather,
    relays: Relays,
    performer: Performer,
    now: fn() -> Time,
}

impl Calls {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        runner: Runner,
        gather: Gather,
        relays: Relays,
        performer: Performer,
        now: fn() -> Time,
    ) -> Calls {
        Calls(Arc::new(Inner { runner, desks: Desks::default(), gather, relays, performer, now }))
    }

    /// Where records are.
    #[must_use]
    pub fn runner(&self) -> &Runner {
        &self.0.runner
    }

    /// Calls with something on its way here.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.0.desks.busy()
    }

    /// An edge heard something: the verdict says *committed* only once it is stored.
    pub async fn heard(&self, heard: Heard, trace: &str) -> Verdict {
        let signals: Vec<&str> = heard.signals.iter().map(signal::Signal::name).collect();
        let span = info_span!(
            "call.hear",
            otel.name = format!("hear {}", signals.join(" ")),
            call.id = %heard.leg.call,
            leg.id = heard.leg.leg.0,
        );
        runtime::trace::adopt(&span, trace);
        self.hear(heard, span.clone()).instrument(span).await.unwrap_or_else(|error| {
            error!(%error, "an event could not be committed");
            Verdict::Unavailable
        })
    }

    async fn hear(&self, heard: Heard, span: Span) -> Result<Verdict> {
        let call = heard.leg.call;
        let desk = self.0.desks.open(call);
        let _held = desk.commit.lock().await;
        let mut answer = self.commit(call, &desk, |loaded| admit(loaded, &heard)).await?;
        if answer.is_none() && heard.opening.is_some() {
            answer = match self.place(heard.clone(), span, &desk).await? {
                Placed::Here(verdict) => Some(verdict),
                Placed::Elsewhere => self.commit(call, &desk, |loaded| admit(loaded, &heard)).await?,
            };
        }
        Ok(answer.unwrap_or(Verdict::Gone))
    }

    async fn place(&self, heard: Heard, span: Span, desk: &Seat) -> Result<Placed> {
        let (id, revision) = (heard.leg.call, heard.base + 1);
        let trace = runtime::trace::parent_of(&span);
        let placement = match self.0.gather.placement(heard, trace.clone(), &self.0.relays).await {
            Ok(placement) => placement,
            Err(end) => return Ok(refused(id, end)),
        };
        metrics::counter!("tandem_calls_placed_total").increment(1);
        let session = placement.grant.session.clone();
        let now = (self.0.now)();
        let placed = match Call::place(placement, now) {
            Err(end) => refused(id, end),
            Ok((call, effects)) => match self.0.runner.create(id, call, effects, now).await? {
                Ok(loaded) => {
                    self.enqueue(id, desk, &loaded);
                    return Ok(Placed::Here(Verdict::Committed { revision, trace }));
                }
                // The same relay gave both of us the same session: it is in use.
                Err(Some(other)) if other.machine.relay.as_ref() == Some(&session) => {
                    return Ok(Placed::Elsewhere);
                }
                Err(_) => Placed::Elsewhere,
            },
        };
        // What was allocated is not needed; the relay ends orphans by itself should this fail.
        if self.0.relays.release(&session, id, &trace).await.is_err() {
            warn!(call.id = %id, relay = session.instance, "a relay session was left to its own end");
        }
        Ok(placed)
    }

    /// The leg as recorded.
    pub async fn recall(&self, leg: LegRef) -> Verdict {
        match self.0.runner.load::<Call>(leg.call).await {
            Ok(Some(loaded)) => loaded.machine.state(leg.leg).map_or(Verdict::Gone, Verdict::Leg),
            Ok(None) => Verdict::Gone,
            Err(error) => {
                error!(%error, "a leg could not be recalled");
                Verdict::Unavailable
            }
        }
    }

    /// A relay saw something on an end.
    pub async fn media(&self, call: CallId, leg: LegId, event: MediaEvent) {
        if event != MediaEvent::Connected {
            self.event(call, Event::Media(leg, event)).await;
        }
    }

    /// Calls as operators see them, at most `limit`; those that ended in the last minute are still among them.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn list(&self, limit: usize) -> Result<Vec<CallView>> {
        let mut views = vec![];
        for id in self.0.runner.store().list("call", limit).await? {
            let Some(id) = CallId::parse(&id) else { continue };
            views.extend(self.show(id).await?);
        }
        views.sort_by_key(|view| view.placed_ms);
        Ok(views)
    }

    /// One call as operators see it.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn show(&self, id: CallId) -> Result<Option<CallView>> {
        Ok(self.0.runner.load::<Call>(id).await?.map(|loaded| CallView::of(&loaded.machine)))
    }

    /// An operator ends a call. False: there is none.
    pub async fn hang_up(&self, call: CallId) -> bool {
        self.event(call, Event::HangUp(Reason::Normal)).await
    }

    async fn event(&self, call: CallId, event: Event) -> bool {
        let desk = self.0.desks.open(call);
        let _held = desk.commit.lock().await;
        let outcome = self
            .commit(call, &desk, |_| Step::Decide { events: vec![event.clone()], done: vec![], answer: () })
            .await;
        match outcome {
            Ok(found) => found.is_some(),
            Err(error) => {
                error!(%error, call.id = %call, "an event could not be committed");
                false
            }
        }
    }

    /// A record is due: its deadline has passed, or its outbox was left behind by an orchestrator that died.
    pub async fn due(&self, call: CallId) -> Result<()> {
        let desk = self.0.desks.open(call);
        let _held = desk.commit.lock().await;
        self.look(call, &desk).await
    }

    async fn look(&self, call: CallId, desk: &Seat) -> Result<()> {
        let now = (self.0.now)();
        let Some(loaded) = self.0.runner.load::<Call>(call).await? else { return Ok(()) };
        if loaded.machine.finished(now) {
            self.0.runner.forget::<Call>(call, loaded.version).await?;
            return Ok(());
        }
        self.enqueue(call, desk, &loaded);
        if expired(&loaded.machine, now) {
            self.commit(call, desk, |_| Step::Decide {
                events: vec![Event::Deadline],
                done: vec![],
                answer: (),
            })
            .await?;
        }
        Ok(())
    }

    /// One step on the record, under the desk's commit lock; what follows is put on the desk. `None`: no such call.
    async fn commit<A>(
        &self,
        call: CallId,
        desk: &Seat,
        step: impl FnMut(&Loaded<Call>) -> Step<Event, A>,
    ) -> Result<Option<A>> {
        let Some(outcome) = self.0.runner.step(call, self.0.now, step).await? else { return Ok(None) };
        if let Some(loaded) = &outcome.stored {
            self.enqueue(call, desk, loaded);
        }
        Ok(Some(outcome.answer))
    }

    fn enqueue(&self, call: CallId, desk: &Seat, loaded: &Loaded<Call>) {
        if desk.put(loaded) {
            let (calls, desk) = (self.clone(), desk.clone());
            tokio::spawn(async move { calls.work(call, desk).await });
        }
    }

    /// The performer of one desk: performs what waits and commits what came of it, until nothing waits.
    async fn work(&self, call: CallId, desk: Seat) {
        while let Some((machine, batch)) = desk.take() {
            let tried: Vec<_> = batch.iter().map(|entry| (entry.id, lane(&entry.effect))).collect();
            let performed = self.0.performer.perform(&machine, batch).await;
            if let Err(error) = self.conclude(call, &desk, &performed).await {
                error!(%error, call.id = %call, "effects stay in the record");
            }
            desk.tried(&tried, &performed.done);
        }
    }

    /// What was performed leaves the outbox, and the call hears what came of it.
    async fn conclude(&self, call: CallId, desk: &Seat, performed: &Performed) -> Result<()> {
        if performed.done.is_empty() && performed.events.is_empty() {
            return Ok(());
        }
        let _held = desk.commit.lock().await;
        self.commit(call, desk, |_| Step::Decide {
            events: performed.events.clone(),
            done: performed.done.clone(),
            answer: (),
        })
        .await
        .map(drop)
    }
}

fn admit(loaded: &Loaded<Call>, heard: &Heard) -> Step<Event, Verdict> {
    let call = &loaded.machine;
    let leg = heard.leg.leg;
    let committed = |revision| Verdict::Committed { revision, trace: call.trace.clone() };
    match call.admit(heard) {
        Admission::Fresh => Step::Decide {
            events: vec![Event::Heard(heard.clone())],
            done: vec![],
            answer: committed(heard.base + 1),
        },
        Admission::Seen => Step::Leave(call.leg(leg).map_or(Verdict::Gone, |leg| committed(leg.revision))),
        Admission::Stale => Step::Leave(call.state(leg).map_or(Verdict::Gone, Verdict::Stale)),
        Admission::Over | Admission::Unknown => Step::Leave(Verdict::Gone),
    }
}

/// What became of a call that was to be placed.
enum Placed {
    /// Decided here.
    Here(Verdict),
    /// Another orchestrator was faster with the same call.
    Elsewhere,
}

fn refused(call: CallId, end: End) -> Placed {
    debug!(call.id = %call, reason = ?end.reason, "the call is not taken");
    metrics::counter!("tandem_calls_refused_total", "reason" => format!("{:?}", end.reason)).increment(1);
    Placed::Here(Verdict::Refused(end))
}
