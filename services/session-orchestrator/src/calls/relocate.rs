//! A call goes on at another relay: what its relay has left is given to another, then the call decides.

use super::Calls;
use crate::counters;
use crate::relays::{AllocationRequest, LegRequest};
use crate::runner::{Loaded, Step};
use anyhow::Result;
use media::Profile;
use session::Machine;
use session::call::{Call, Event, MediaEvent, RelayChange, RelaySession};
use signal::{LegId, RecordId};
use std::time::Duration;
use tracing::{Instrument, error, info_span, warn};

/// A call that no relay takes for so long is over, and how often it is tried.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(400);

/// Outcome of an attempt to move a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relocation {
    /// The call goes on elsewhere.
    Moved,
    /// The call is not at that relay (any more).
    Elsewhere,
    /// No relay takes it now.
    NoRelay,
    /// Nothing is left of its session: it cannot go on.
    Nothing,
}

impl Calls {
    /// Moves a call that is at `from` to another relay. `alive`: `from` still forwards, and nothing is lost should this fail.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn relocate(&self, call: RecordId, from: &RelaySession, alive: bool) -> Result<Relocation> {
        let span = info_span!(
            "call.move",
            call.id = %call,
            relay = from.instance,
            otel.status_code = tracing::field::Empty,
            otel.status_description = tracing::field::Empty,
        );
        let outcome = self.try_relocate(call, from, alive, &span).instrument(span.clone()).await;
        match &outcome {
            Ok(Relocation::NoRelay | Relocation::Nothing) | Err(_) => {
                bus::trace::failed(&span, "the call goes on nowhere");
            }
            Ok(Relocation::Moved | Relocation::Elsewhere) => {}
        }
        outcome
    }

    async fn try_relocate(
        &self,
        call: RecordId,
        from: &RelaySession,
        alive: bool,
        span: &tracing::Span,
    ) -> Result<Relocation> {
        let name = call.to_string();
        let (loaded, kept) = tokio::join!(
            self.0.records.runner().load::<Call>(call),
            self.0.records.runner().store().kept(&from.instance, &name)
        );
        let (loaded, kept) = (loaded?, kept?);
        let Some(loaded) = loaded.filter(|loaded| is_at(&loaded.machine, from)) else {
            return Ok(Relocation::Elsewhere);
        };
        let Some(state) = kept else { return Ok(Relocation::Nothing) };
        runtime::trace::adopt(span, &loaded.machine.trace);
        let trace = runtime::trace::parent_of(span);
        let (request, mut maybe_allocated) = (request(&loaded.machine), vec![]);
        // A relay that still forwards tells where it is and stays with that: no gap is heard (R-RTP-7).
        let exact = if alive { self.0.relays.freeze(from, call, &trace).await } else { None };
        let state = exact.map_or(state, Into::into);
        let allocation =
            self.0.relays.resume(from, call, &request, &state, &trace, &mut maybe_allocated).await;
        if !maybe_allocated.is_empty() {
            self.release_later(call, maybe_allocated, trace.clone());
        }
        let Some(allocation) = allocation else { return Ok(Relocation::NoRelay) };
        let session = allocation.session.clone();
        let to = RelayChange { from: from.clone(), alive, allocation };
        let queue = self.0.records.queue(call);
        let _held = queue.commit.lock().await;
        let step = |loaded: &Loaded<Call>| {
            if is_at(&loaded.machine, from) {
                Step::Decide { events: vec![Event::RelayChanged(to.clone())], done: vec![], answer: true }
            } else {
                Step::Leave(false)
            }
        };
        if self.0.records.commit(call, &queue, step).await? == Some(true) {
            if alive { &counters::MOVED_DRAINED } else { &counters::MOVED_LOST }.increment(1);
            return Ok(Relocation::Moved);
        }
        // Another orchestrator was faster, or the call has ended: unless it is the same relay's, the session is not needed.
        self.release_later(call, vec![session], trace);
        Ok(Relocation::Elsewhere)
    }

    /// [`Calls::relocate`] from a relay that has lost the session, until it goes on or cannot.
    pub async fn relocate_or_end(&self, call: RecordId, from: RelaySession) {
        for _ in 0..TRIES {
            match self.relocate(call, &from, false).await {
                Ok(Relocation::Moved | Relocation::Elsewhere) => return,
                Ok(Relocation::Nothing) => break,
                Ok(Relocation::NoRelay) => {}
                Err(error) => warn!(%error, call.id = %call, "a call cannot be moved yet"),
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.unreachable(call, &from).await;
    }

    /// The media of a call is lost: never in silence (R-RTP-16).
    pub async fn unreachable(&self, call: RecordId, from: &RelaySession) {
        let queue = self.0.records.queue(call);
        let _held = queue.commit.lock().await;
        let step = |loaded: &Loaded<Call>| {
            if !is_at(&loaded.machine, from) {
                return Step::Leave(());
            }
            let leg = loaded.machine.legs.iter().find(|leg| !leg.phase.is_over());
            let event = Event::Media(leg.map_or(LegId(0), |leg| leg.id), MediaEvent::Unreachable);
            Step::Decide { events: vec![event], done: vec![], answer: () }
        };
        if let Err(error) = self.0.records.commit(call, &queue, step).await {
            error!(%error, call.id = %call, "an event could not be committed");
        }
    }

    /// Returns true if a call's media is at a relay of this name, whenever that was started.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn belongs(&self, call: RecordId, instance: &str) -> Result<bool> {
        let loaded = self.0.records.runner().load::<Call>(call).await?;
        Ok(loaded.is_some_and(|l| l.machine.relay.is_some_and(|relay| relay.instance == instance)))
    }

    /// Returns true if a call's media is at this relay.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn at(&self, call: RecordId, relay: &RelaySession) -> Result<bool> {
        let loaded = self.0.records.runner().load::<Call>(call).await?;
        Ok(loaded.is_some_and(|loaded| is_at(&loaded.machine, relay)))
    }
}

/// Returns the request for the ends that a call has.
fn request(call: &Call) -> AllocationRequest {
    let held = call.legs.iter().filter(|leg| !leg.phase.is_over() && !leg.ends.is_empty());
    let legs: Vec<LegRequest> = held
        .map(|leg| LegRequest {
            leg: leg.id,
            contents: leg.ends.len(),
            webrtc: leg.profile == Profile::Webrtc,
        })
        .collect();
    let (one, other) = call.bridge;
    let both = [one, other].iter().all(|id| legs.iter().any(|leg| leg.leg == *id));
    AllocationRequest { legs, bridge: if both { vec![(one, other)] } else { vec![] } }
}

fn is_at(call: &Call, relay: &RelaySession) -> bool {
    let at =
        |session: &RelaySession| session.instance == relay.instance && session.started_ms == relay.started_ms;
    call.ended.is_none() && call.relay.as_ref().is_some_and(at) && call.deadline().is_some()
}
