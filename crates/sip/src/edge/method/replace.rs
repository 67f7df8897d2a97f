//! INVITE with Replaces: its sender takes the place of the peer of a dialog (RFC 3891 §3; interworking §2.12).

use super::{NO_TRANSACTION, Request};
use crate::edge::Edge;
use crate::signal::Replaces;
use signal::Time;

impl Edge {
    /// Gives the INVITE to the leg whose dialog it names. Its tag names the leg; the leg compares the rest.
    pub(super) fn replace(&mut self, request: Request, now: Time) {
        let Request { arrival, .. } = request;
        let (message, flow) = (&arrival.message, arrival.flow);
        let ua = &mut self.legs.protocol;
        let one = message.text("Replaces").filter(|_| message.all("Replaces").count() == 1);
        let Some(replaces) = one.and_then(Replaces::parse) else {
            return ua.refuse(message, flow, 400, "Not Exactly One Replaces", &[], now);
        };
        match ua.leg_of(Some(&replaces.to_tag)) {
            Some(leg) => self.legs.handle_message(leg, arrival, now),
            None => ua.refuse(message, flow, 481, NO_TRANSACTION, &[], now),
        }
    }
}
