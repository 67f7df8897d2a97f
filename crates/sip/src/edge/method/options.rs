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
        if self.authorise(&request).is_none() {
            return;
        }
        // Without a transaction (RFC 3261 §8.2.7): the answer to a repeated one is the same, and pings of a trunk hold nothing.
        let (message, flow) = (&request.arrival.message, request.arrival.flow);
        let ua = &mut self.legs.protocol;
        if ua.draining || !ua.serving {
            let retry = [("Retry-After", "5".to_owned())];
            return ua.refuse_stateless(message, flow, 503, "Service Unavailable", &retry);
        }
        let served = [
            ("Allow", validate::allowed()),
            ("Accept", "application/sdp".into()),
            ("Supported", validate::SUPPORTED.join(", ")),
        ];
        ua.refuse_stateless(message, flow, 200, "OK", &served);
    }
}
