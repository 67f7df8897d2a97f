//! INVITE: opens a leg, or offers a change within a dialog (RFC 3261 §13, §14).

use super::Request;
use crate::edge::Edge;
use crate::edge::open::opening;
use crate::message::Start;
use crate::privacy::is_unmet;
use signal::Time;

impl Edge {
    pub(super) fn invite(&mut self, request: Request, now: Time) {
        if request.is_tagged() {
            return self.in_dialog(request, now);
        }
        if let Some(link) = self.authenticate(&request, now)
            && self.begin(&request, now)
        {
            if request.message().all("Replaces").next().is_some() {
                return self.replace(request, now);
            }
            self.open_leg(request, &link, now);
        }
    }

    fn open_leg(&mut self, request: Request, link: &str, now: Time) {
        let Request { arrival, .. } = request;
        let (message, flow) = (&arrival.message, arrival.flow);
        let Start::Request { uri, .. } = &message.start else { return };
        let Some(leg) = self.legs.protocol.calling_leg(message) else { return };
        let (room, held) = (self.legs.has_room(), self.legs.held().contains(leg));
        let ua = &mut self.legs.protocol;
        if ua.draining || !room {
            return ua.busy(message, flow, now);
        }
        if is_unmet(message) {
            return ua.refuse(message, flow, 500, "Privacy Not Available", &[], now);
        }
        let trunk = ua.config.trunks.iter().find(|trunk| trunk.name == link);
        let (Some(dialog), Some(opening)) = (
            ua.incoming(message, (leg, 0), flow, link),
            trunk.and_then(|trunk| opening(message, uri, trunk)),
        ) else {
            return ua.refuse(message, flow, 400, "Missing Contact or user", &[], now);
        };
        if opening.hops == 0 {
            return ua.refuse(message, flow, 483, "Too Many Hops", &[], now);
        }
        if held {
            // The same INVITE again by another transaction: never two calls of one id.
            return ua.refuse(message, flow, 482, "Loop Detected", &[], now);
        }
        ua.tell_foreign_hop(&dialog);
        self.legs.open(leg, dialog, arrival, now);
    }
}
