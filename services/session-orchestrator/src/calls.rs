//! Calls: what edges, relays and deadlines bring, committed and then performed.

use crate::cdr::Cdrs;
use crate::cdr::record::Refusal;
use crate::gather::Gather;
use crate::orphans::Orphans;
use crate::perform::Performer;
use crate::queue::QueueHandle;
use crate::records::Records;
use crate::relays::{Failure, Relays};
use crate::runner::{Loaded, Runner, Step, Unreadable};
use crate::view::{CallView, EndView};
use anyhow::Result;
use session::call::{Admission, CALLER, Call, Event, MediaEvent, RelaySession};
use signal::{End, Heard, LegId, LegRef, Reason, RecordId, Signal, Verdict};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tracing::{Instrument, Span, debug, error, info_span, warn};

mod relocate;

pub use relocate::Relocation;

/// Everything that serves calls; clones share it.
#[derive(Clone)]
pub struct Calls(Arc<Inner>);

struct Inner {
    records: Records<Call, Performer>,
    gather: Arc<Gather>,
    cdrs: Cdrs,
    relays: Relays,
    orphans: Orphans,
    releasing: Arc<Semaphore>,
}

/// Relay sessions that nobody may need are given back after this: whoever places the same call has stored it by then.
const RELEASE_AFTER: Duration = Duration::from_secs(5);
const RELEASE_TRIES: usize = 6;
/// Calls whose relay sessions are being given back at once; those of others end by themselves.
const RELEASING: usize = 1_024;

/// Most records that are looked at for calls that go on.
const MOST: usize = 100_000;
/// Records after which other work has its turn.
const TURN: usize = 16;

impl Calls {
    /// Puts the parts together. Calls that come by `lost` have lost their relay session and are relocated, or end.
    #[must_use]
    pub fn new(
        records: Records<Call, Performer>,
        (gather, cdrs): (Arc<Gather>, Cdrs),
        relays: Relays,
        orphans: Orphans,
        mut lost: mpsc::Receiver<(RecordId, RelaySession)>,
    ) -> Calls {
        let releasing = Arc::new(Semaphore::new(RELEASING));
        let calls = Calls(Arc::new(Inner { records, gather, cdrs, relays, orphans, releasing }));
        let weak = Arc::downgrade(&calls.0);
        tokio::spawn(async move {
            while let Some((call, from)) = lost.recv().await {
                let Some(inner) = weak.upgrade() else { return };
                tokio::spawn(async move { Calls(inner).relocate_or_end(call, from).await });
            }
        });
        calls
    }

    /// Returns what knows who is reached how.
    pub(crate) fn gather(&self) -> &Gather {
        &self.0.gather
    }

    /// Returns the records, for deadlines.
    #[must_use]
    pub fn records(&self) -> &Records<Call, Performer> {
        &self.0.records
    }

    /// Returns the runner, for reads and for what is kept beside the records.
    #[must_use]
    pub fn runner(&self) -> &Runner {
        self.0.records.runner()
    }

    /// Calls with something on its way here.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.0.records.busy()
    }

    /// An edge heard something: the verdict says *committed* only once it is stored.
    pub async fn heard(&self, heard: Heard, trace: &str) -> Verdict {
        let signals: Vec<&str> = heard.signals.iter().map(signal::Signal::name).collect();
        let span = info_span!(
            "call.hear",
            otel.name = format!("hear {}", signals.join(" ")),
            call.id = %heard.leg.record,
            leg.id = heard.leg.leg.0,
            otel.kind = "server",
            otel.status_code = tracing::field::Empty,
            otel.status_description = tracing::field::Empty,
            call.reason = tracing::field::Empty,
            sip.status = tracing::field::Empty,
        );
        runtime::trace::adopt(&span, trace);
        for signal in &heard.signals {
            if let Signal::End(end) = signal {
                bus::trace::ended(&span, end);
            }
        }
        let (leg, base) = (heard.leg, heard.base);
        let end = heard.signals.iter().find_map(|signal| match signal {
            Signal::End(end) => Some(end.clone()),
            _ => None,
        });
        let verdict = self.hear(heard, span.clone()).instrument(span.clone()).await;
        match &verdict {
            // It was committed before.
            Ok(Verdict::Gone) if base > 0 => {
                self.0.orphans.end(leg.record, Some(leg.leg), end.unwrap_or(Reason::Unavailable.into()));
            }
            Ok(Verdict::Refused(end)) => bus::trace::ended(&span, end),
            Err(error) => bus::trace::failed(&span, &error.to_string()),
            Ok(_) => {}
        }
        verdict.unwrap_or_else(|error| {
            error!(%error, "an event could not be committed");
            Verdict::Unavailable
        })
    }

    async fn hear(&self, heard: Heard, span: Span) -> Result<Verdict> {
        let call = heard.leg.record;
        let queue = self.0.records.queue(call);
        let _held = queue.commit.lock().await;
        let opens = heard.opening.is_some();
        let mut answer = None;
        // A call that opens is seldom there already: nobody looks for it, its first save finds out.
        if !opens || self.0.records.is_known(&queue) {
            answer = self.0.records.commit(call, &queue, |loaded| admit(loaded, &heard)).await?;
        }
        if answer.is_none() && opens {
            answer = match self.place(heard.clone(), span, &queue).await? {
                Placed::Here(verdict) => Some(verdict),
                // Whoever asks again, or another orchestrator, may have placed it before.
                placed => {
                    let known = self.0.records.commit(call, &queue, |loaded| admit(loaded, &heard)).await?;
                    match (known, placed) {
                        (None, Placed::Refused(end)) => Some(self.refused(call, &heard, end).await),
                        (known, _) => known,
                    }
                }
            };
        }
        Ok(answer.unwrap_or(Verdict::Gone))
    }

    /// Returns the verdict on a call that is not taken, once that is counted and its records are written.
    async fn refused(&self, call: RecordId, heard: &Heard, end: End) -> Verdict {
        debug!(call.id = %call, reason = ?end.reason, "the call is not taken");
        let lines = self.0.gather.lines();
        if let Some(opening) = &heard.opening {
            lines.of(opening).refused(end.reason);
            if self.0.cdrs.are_kept() {
                let trace = runtime::trace::parent_of(&Span::current());
                let now = self.0.records.now();
                let refusal = Refusal { id: call, heard, opening, end: &end, trace: &trace, now };
                self.0.cdrs.write_refused(&refusal, lines).await;
            }
        }
        Verdict::Refused(end)
    }

    async fn place(&self, heard: Heard, span: Span, queue: &QueueHandle<Call>) -> Result<Placed> {
        let (id, event, opening) = (heard.leg.record, heard.event, heard.opening.clone());
        let trace = runtime::trace::parent_of(&span);
        let verdict = Verdict::Committed { revision: heard.base + 1, trace: trace.clone() };
        let mut maybe_allocated = vec![];
        let placement =
            self.0.gather.placement(heard, trace.clone(), &self.0.relays, &mut maybe_allocated).await;
        if !maybe_allocated.is_empty() {
            self.release_later(id, maybe_allocated, trace.clone());
        }
        let placement = match placement {
            Ok(placement) => placement,
            Err(end) => return Ok(Placed::Refused(end)),
        };
        let session = placement.allocation.session.clone();
        let now = self.0.records.now();
        let placed = match Call::place(placement, now) {
            Err(end) => Placed::Refused(end),
            Ok((call, effects)) => match self.0.records.runner().create(id, call, effects, now).await {
                Ok(Ok(loaded)) => {
                    opening.iter().for_each(|opening| self.0.gather.lines().of(opening).placed.increment(1));
                    self.0.records.enqueue(queue, loaded);
                    return Ok(Placed::Here(verdict));
                }
                // The same relay gave both of us the same session: it is in use.
                Ok(Err(Some(other))) if other.machine.relay.as_ref() == Some(&session) => {
                    return Ok(Placed::Elsewhere);
                }
                Ok(Err(_)) => Placed::Elsewhere,
                // No answer does not mean that it was not stored.
                Err(error) => {
                    warn!(%error, call.id = %id, "whether a call was stored is not known");
                    let found = self.stored(id).await;
                    if let Some(loaded) = found
                        && loaded.machine.leg(LegId(0)).is_some_and(|leg| leg.events.contains(&event))
                    {
                        self.0.records.enqueue(queue, loaded);
                        return Ok(Placed::Here(verdict));
                    }
                    self.release_later(id, vec![session], trace);
                    return Ok(Placed::Here(Verdict::Unavailable));
                }
            },
        };
        // What was allocated is not needed; the relay ends orphans by itself should this fail.
        if self.0.relays.release(&session, id, &trace).await.is_err() {
            warn!(call.id = %id, relay = session.instance, "a relay session was left to its own end");
        }
        Ok(placed)
    }

    /// The record of a call, from a store that has just not answered.
    async fn stored(&self, call: RecordId) -> Option<Loaded<Call>> {
        for pause in [0, 200, 400] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            if let Ok(found) = self.0.records.runner().load::<Call>(call).await {
                return found;
            }
        }
        None
    }

    /// Gives back, later, what a relay may hold for a call, unless the call uses it by then. Should that fail for long, the relay
    /// ends it by itself.
    fn release_later(&self, call: RecordId, mut sessions: Vec<RelaySession>, trace: String) {
        let Ok(permit) = self.0.releasing.clone().try_acquire_owned() else { return };
        let calls = self.clone();
        tokio::spawn(async move {
            for _ in 0..RELEASE_TRIES {
                tokio::time::sleep(RELEASE_AFTER).await;
                let Ok(found) = calls.0.records.runner().load::<Call>(call).await else { continue };
                let in_use = found.and_then(|loaded| loaded.machine.relay);
                let mut left = vec![];
                for session in sessions.drain(..).filter(|session| in_use.as_ref() != Some(session)) {
                    if calls.0.relays.release(&session, call, &trace).await == Err(Failure::Later) {
                        left.push(session);
                    }
                }
                sessions = left;
                if sessions.is_empty() {
                    break;
                }
            }
            drop(permit);
        });
    }

    /// The leg as recorded.
    pub async fn recall(&self, leg: LegRef) -> Verdict {
        match self.load(leg.record).await {
            Ok(Some(call)) => call.state(leg.leg).map_or(Verdict::Gone, Verdict::Leg),
            Ok(None) => {
                // A message that may open a call is asked about too: as leg 0.
                if leg.leg != CALLER {
                    self.0.orphans.end(leg.record, Some(leg.leg), Reason::Unavailable.into());
                }
                Verdict::Gone
            }
            Err(error) => {
                error!(%error, "a leg could not be recalled");
                Verdict::Unavailable
            }
        }
    }

    /// A relay saw something on an end. False: there is no such call.
    ///
    /// # Errors
    /// The event could not be committed; the relay must tell it again.
    pub async fn media(&self, call: RecordId, leg: LegId, event: MediaEvent, relay: &str) -> Result<bool> {
        let queue = self.0.records.queue(call);
        let _held = queue.commit.lock().await;
        // What a relay sees that the call has left is no matter of the call's.
        let step = |loaded: &Loaded<Call>| match &loaded.machine.relay {
            Some(session) if session.instance != relay => Step::Leave(()),
            _ => Step::Decide { events: vec![Event::Media(leg, event)], done: vec![], answer: () },
        };
        let known = self.0.records.commit(call, &queue, step).await?.is_some();
        if !known {
            self.0.orphans.end(call, None, Reason::MediaFailed.into());
        }
        Ok(known)
    }

    /// Calls as operators see them, at most `limit`, and the number of records that cannot be read; those that ended in the last minute
    /// are still among them.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn list(&self, limit: usize) -> Result<(Vec<CallView>, usize)> {
        let (mut views, mut unreadable) = (vec![], 0);
        let see = |call: Option<Call>| {
            unreadable += usize::from(call.is_none());
            views.extend(call.map(|call| CallView::of(&call)));
            ControlFlow::Continue(())
        };
        self.each(limit, see).await?;
        views.sort_by_key(|view| view.placed_ms);
        Ok((views, unreadable))
    }

    /// Shows the calls that go on to `see`, until it has seen enough.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn standing(&self, mut see: impl FnMut(Call) -> ControlFlow<()>) -> Result<()> {
        let standing = |call: Option<Call>| match call.filter(|call| call.ended.is_none()) {
            Some(call) => see(call),
            None => ControlFlow::Continue(()),
        };
        self.each(MOST, standing).await
    }

    /// Shows the records of calls to `see`, at most `limit`, until it has seen enough. One that cannot be read is `None`.
    async fn each(&self, limit: usize, mut see: impl FnMut(Option<Call>) -> ControlFlow<()>) -> Result<()> {
        let ids = self.0.records.runner().store().list("call", limit).await?;
        for ids in ids.chunks(TURN) {
            // Asked together: the store answers them in one round trip.
            let loads = ids.iter().map(|id| async {
                let Some(id) = RecordId::parse(id) else { return Ok(Some(None)) };
                match self.load(id).await {
                    Ok(call) => Ok(call.map(Some)),
                    Err(error) if Unreadable::of(&error).is_some() => Ok(Some(None)),
                    Err(error) => Err(error),
                }
            });
            for call in futures::future::try_join_all(loads).await?.into_iter().flatten() {
                if see(call).is_break() {
                    return Ok(());
                }
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// One call as operators see it, with what its relay tells of the media.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn show(&self, id: RecordId) -> Result<Option<CallView>> {
        let Some(call) = self.load(id).await? else { return Ok(None) };
        let mut view = CallView::of(&call);
        if let (Some(session), None) = (&call.relay, call.ended) {
            // The call is shown whether its relay answers or not.
            let figures = self.0.relays.figures(session, id).await.unwrap_or_default();
            view.media = figures.iter().map(EndView::of).collect();
        }
        Ok(Some(view))
    }

    async fn load(&self, id: RecordId) -> Result<Option<Call>> {
        self.0.records.load(id).await
    }

    /// An operator gives a leg another peer, whose address is in the words of the leg's protocol. `None`: there is no such call.
    ///
    /// # Errors
    /// The event could not be committed.
    pub async fn transfer(&self, call: RecordId, leg: LegId, to: &str) -> Result<Option<Result<(), Reason>>> {
        let step = |loaded: &Loaded<Call>| match loaded.machine.check_transfer(leg) {
            Ok(()) => {
                let events = vec![Event::Transfer(leg, to.to_owned())];
                Step::Decide { events, done: vec![], answer: Ok(()) }
            }
            Err(reason) => Step::Leave(Err(reason)),
        };
        self.0.records.step(call, step).await
    }

    /// An operator ends a call. False: there is none, or it could not be committed.
    pub async fn hang_up(&self, call: RecordId) -> bool {
        self.end(call, Reason::Normal).await
    }

    /// Ends a call on both sides with a reason. False: there is none, or it could not be committed.
    pub async fn end(&self, call: RecordId, reason: Reason) -> bool {
        self.0.records.event(call, Event::HangUp(reason)).await.unwrap_or_else(|error| {
            error!(%error, call.id = %call, "an event could not be committed");
            false
        })
    }
}

/// Returns the step that an event heard by an edge takes.
pub fn admit(loaded: &Loaded<Call>, heard: &Heard) -> Step<Event, Verdict> {
    match loaded.machine.admit(heard) {
        Admission::Decide(answer) => {
            Step::Decide { events: vec![Event::Heard(heard.clone())], done: vec![], answer }
        }
        Admission::Leave(answer) => Step::Leave(answer),
    }
}

/// Outcome of placing a call.
enum Placed {
    /// Decided here.
    Here(Verdict),
    /// Another orchestrator was faster with the same call.
    Elsewhere,
    /// Not taken, unless it is there already.
    Refused(End),
}
