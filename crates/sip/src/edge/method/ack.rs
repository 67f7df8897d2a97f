//! ACK: ends the repetition of a final response to INVITE (RFC 3261 §13.3.1.4, §17.2.1). It is never answered.

use super::Request;
use crate::edge::Edge;
use crate::transaction::Incoming;
use signal::Time;

impl Edge {
    /// An ACK to a failure belongs to the transaction. One to a 2xx is the dialog's: the 2xx is repeated no more; an answer in the
    /// ACK is heard. If the leg is not held here, another edge may be repeating that 2xx.
    pub(super) fn ack(&mut self, request: Request, now: Time) {
        let Request { arrival, leg } = request;
        let allowed = match leg {
            Some(leg) => !self.refuses(leg, &arrival),
            None => {
                self.legs.protocol.trunk_at(arrival.flow).is_some()
                    || self.legs.protocol.is_gone(arrival.flow)
            }
        };
        if !allowed {
            return;
        }
        let reliable = arrival.flow.transport.is_reliable();
        let matched = self.legs.protocol.table.request(&arrival.message, arrival.flow, reliable, now);
        let (Incoming::Ack, Some(leg)) = (matched, leg) else { return };
        let dialog = self.legs.held().state(leg);
        let answers = dialog.is_none_or(|dialog| dialog.offer_in_2xx.is_some());
        if dialog.is_some()
            && let Some(mut local) = self.legs.held_mut().local_mut(leg).map(std::mem::take)
        {
            let (ua, held) = self.legs.split();
            if let Some(dialog) = held.state(leg) {
                ua.acknowledged(&mut local, leg, dialog, arrival.flow, now);
            }
            if let Some(place) = self.legs.held_mut().local_mut(leg) {
                *place = local;
            }
        }
        if answers {
            self.legs.handle_message(leg, arrival, now);
        }
    }
}
