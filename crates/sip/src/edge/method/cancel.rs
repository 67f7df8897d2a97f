//! CANCEL: gives up an INVITE that has no final response yet (RFC 3261 §9).

use super::Request;
use crate::edge::Edge;
use signal::Time;

impl Edge {
    pub(super) fn cancel(&mut self, request: Request, now: Time) {
        if request.leg.is_some() {
            return self.in_dialog(request, now);
        }
        let Some(leg) = self.legs.protocol.calling_leg(&request.arrival.message) else { return };
        if self.may_end(&request) && self.begin(&request, now) {
            self.legs.handle_message(leg, request.arrival, now);
        }
    }
}
