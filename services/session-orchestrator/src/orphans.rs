//! Orphans: legs that edges still hold of a call that no record knows, as after a store that came back empty (fault A6).
//!
//! One rule: an edge or relay that asks about such a call is the sign. The edge ends its own leg; every edge is given the order to end
//! the others, and every relay to let the session go.

use crate::counters::ORPHANED;
use crate::relays::{Relays, session};
use bus::directory::Directory;
use bus::{Bus, Message};
use proto::wire::WireFormat;
use signal::{EffectId, End, LegId, LegRef, LegState, Order, RecordId, Said, Say, Signal, subjects};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tracing::warn;

/// Legs that are looked for: the two of a call, and those that a transfer adds.
const LEGS: u8 = 4;
/// Time in which an edge answers.
const SAY: Duration = Duration::from_secs(2);
/// Calls that are looked for at once, and the least time for one: a stranger who asks about old calls costs no more.
const AT_ONCE: usize = 64;
const PACE: Duration = Duration::from_secs(1);

/// Ends the legs of calls that no record knows.
#[derive(Clone)]
pub struct Orphans {
    bus: Bus,
    instances: Arc<Directory>,
    relays: Relays,
    looking: Arc<Semaphore>,
}

impl Orphans {
    /// Makes one for the edges of this directory and these relays.
    #[must_use]
    pub fn new(bus: Bus, instances: Arc<Directory>, relays: Relays) -> Orphans {
        Orphans { bus, instances, relays, looking: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Has all edges end the legs that they hold of the call, but for the one that its edge ends itself. Does not wait for that.
    pub fn end(&self, call: RecordId, own: Option<LegId>, end: End) {
        let Ok(permit) = self.looking.clone().try_acquire_owned() else { return };
        let orphans = self.clone();
        tokio::spawn(async move {
            let edges =
                orphans.instances.list_where(|card| matches!(card.kind.as_str(), "sip-edge" | "xmpp-edge"));
            let legs = (0..LEGS).map(LegId).filter(|leg| Some(*leg) != own);
            let orders = legs.flat_map(|leg| edges.iter().map(move |edge| (leg, edge)));
            let ended =
                orders.map(|(leg, edge)| orphans.say(LegRef { record: call, leg }, &edge.instance, &end));
            let ended = futures::future::join_all(ended).await.into_iter().filter(|ended| *ended).count();
            if ended > 0 {
                ORPHANED.increment(ended as u64);
                warn!(call.id = %call, legs = ended, "a call that no record knows was ended: the store has lost it");
                let relays = orphans.relays.silences();
                let released = relays.iter().map(|(relay, _)| async {
                    // Should that fail, the relay ends the session by itself.
                    let _ = orphans.relays.release(&session(relay), call, "").await;
                });
                futures::future::join_all(released).await;
            }
            tokio::time::sleep(PACE).await;
            drop(permit);
        });
    }

    /// Gives one edge the order to end a leg. Returns true if the edge held the leg.
    async fn say(&self, leg: LegRef, edge: &str, end: &End) -> bool {
        // Without a state: an edge that holds the leg goes by its own, any other has nothing to end.
        let state = LegState { leg, revision: 0, dialog: vec![], edge: String::new(), trace: String::new() };
        let id = EffectId { record: leg.record, version: u64::MAX, index: leg.leg.0.into() };
        let order = Order::from(Say { id, state, count: 0, signal: Signal::End(end.clone()), opening: None });
        let message = Message { trace: String::new(), payload: order.encode() };
        let answer = self.bus.request(&subjects::edge(edge), message, SAY).await;
        answer.ok().and_then(|octets| Said::decode(&octets).ok()).is_some_and(|said| said.failed.is_none())
    }
}
