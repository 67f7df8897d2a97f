//! OPTIONS: says what is served here, and that somebody is (RFC 3261 §11).

use super::Request;
use crate::edge::Edge;
use crate::validate;
use signal::Time;

impl Edge {
    pub(super) fn options(&mut self, request: Request, now: Time) {
        if request.leg.is_some() {
            return self.in_dialog(request, now);
        }
        if self.authorise(&request).is_none() || !self.begin(&request, now) {
            return;
        }
        let (message, flow) = (&request.arrival.message, request.arrival.flow);
        let ua = &mut self.legs.protocol;
        if ua.draining {
            return ua.busy(message, flow, now);
        }
        let served = [
            ("Allow", validate::ALLOW.join(", ")),
            ("Accept", "application/sdp".into()),
            ("Supported", validate::SUPPORTED.join(", ")),
        ];
        ua.refuse(message, flow, 200, "OK", &served, now);
    }
}
