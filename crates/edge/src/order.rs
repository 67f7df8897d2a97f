//! Down: orders of the orchestrators.

use crate::commit::wire_id;
use crate::{Legs, Opener, Output, Protocol};
use signal::{EffectId, LegRef, Reason, Said, Say, Time, Wake};

impl<P: Protocol> Legs<P> {
    pub(crate) fn say(&mut self, id: LegRef, order: Say, now: Time) {
        let opens = order.opening.as_ref().filter(|_| order.state.dialog.is_empty());
        let admitted = opens.map_or(Ok(()), |opening| self.admit(id, opening, Opener::Order, now));
        let Some(leg) = self.held.0.get_mut(&id) else { return };
        let mut said = reply(order.id, leg.revision, &self.config.instance);
        if leg.state.is_none() || order.state.revision > leg.revision {
            let recorded = match &order.opening {
                _ if !order.state.dialog.is_empty() => P::decode(&order.state.dialog).ok_or(None),
                Some(opening) => admitted
                    .map_err(|limit| Some(limit.into()))
                    .and_then(|()| self.protocol.open(id, opening).map_err(|reason| Some(reason.into()))),
                None => Err(Some(Reason::Unavailable.into())),
            };
            match recorded {
                Ok(state) => (leg.state, leg.revision) = (Some(state), order.state.revision),
                Err(end) => {
                    self.admission.release(id);
                    self.remove(id, now);
                    // Written by a newer version: left to be given again, to an edge of that one.
                    let Some(end) = end else { return };
                    said.failed = Some(end);
                    return self.out.push_back(Output::Said(said));
                }
            }
        }
        said.base = leg.revision;
        let Some(mut state) = leg.state.clone() else { return };
        said.wire_id = order.opening.as_ref().and_then(|_| wire_id::<P>(&state));
        if !leg.see(order.id) {
            // Carried out before: the state after it is the one that we have.
            said.base = leg.revision.saturating_sub(1);
            (said.dialog, said.wake) = (Some(P::encode(&state)), P::wake(&state));
            return self.out.push_back(Output::Said(said));
        }
        let mut for_protocol = leg.for_protocol(id);
        let outgoing = self.protocol.say(&mut for_protocol, &mut state, &order, now);
        if !self.protocol.send(&mut for_protocol, &state, None, outgoing, now) && order.opening.is_some() {
            said.failed = Some(Reason::Unavailable.into());
        }
        P::pack(&mut state);
        (said.dialog, said.wake) = (Some(P::encode(&state)), P::wake(&state));
        (leg.state, leg.revision) = (Some(state), leg.revision + 1);
        self.out.push_back(Output::Said(said));
    }

    /// Wakes a leg that the record, or its own state here, still shows as it was when it asked for that. A change that is on its way
    /// has its turn first.
    pub(crate) fn wake(&mut self, id: LegRef, order: Wake, now: Time) {
        let Some(leg) = self.held.0.get_mut(&id) else { return };
        if leg.state.is_none() || order.state.revision > leg.revision {
            leg.adopt(&order.state);
            if leg.state.is_none() {
                // Written by a newer version: left to be given again, to an edge of that one.
                return self.remove(id, now);
            }
        }
        let fresh = leg.see(order.id) && leg.revision == order.state.revision;
        self.out.push_back(Output::Said(reply(order.id, leg.revision, &self.config.instance)));
        let (state, mut for_protocol) = leg.split(id);
        let woken =
            state.filter(|_| fresh).and_then(|state| self.protocol.woken(&mut for_protocol, state, now));
        if let Some(event) = woken {
            self.handle_event(id, event, now);
        }
    }
}

/// Returns the reply to an order that leaves a leg of this revision as it is.
fn reply(id: EffectId, base: u32, edge: &str) -> Said {
    Said { id, base, dialog: None, wake: None, edge: edge.to_owned(), failed: None, wire_id: None }
}
