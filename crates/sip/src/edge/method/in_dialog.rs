//! BYE, INFO, PRACK and UPDATE: requests within a dialog, which its leg hears (`signal/request.rs` translates them).

use super::Request;
use crate::edge::Edge;
use signal::Time;

impl Edge {
    pub(super) fn in_dialog(&mut self, request: Request, now: Time) {
        if let Some(leg) = self.leg_of_dialog(&request)
            && self.begin(&request, now)
        {
            self.legs.handle_message(leg, request.arrival, now);
        }
    }
}
