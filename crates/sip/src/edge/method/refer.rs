//! REFER: asks us to give the peer of its dialog another one (RFC 3515; interworking §2.12). `signal/refer.rs` translates it.

use super::Request;
use crate::edge::Edge;
use crate::signal::Replaces;
use crate::signal::refer::refer_to;
use signal::Time;

impl Edge {
    /// Nobody is called at the wish of somebody who is in no call with us.
    pub(super) fn refer(&mut self, request: Request, now: Time) {
        if !request.is_tagged() {
            if self.authorise(&request).is_some() {
                self.reject(&request, 403, "Outside a Dialog");
            }
            return;
        }
        let Some(leg) = self.leg_of_dialog(&request) else { return };
        let replaced = refer_to(request.message()).ok().and_then(|target| target.replaces);
        let ua = &self.legs.protocol;
        let ours = |replaces: Replaces| {
            [&replaces.to_tag, &replaces.from_tag].into_iter().any(|tag| ua.leg_of(Some(tag)).is_some())
        };
        if replaced.as_deref().and_then(Replaces::parse).is_some_and(ours) {
            // Two calls of this gateway are two records; no party moves from one to the other.
            return self.reject(&request, 501, "Both Calls Are of This Gateway");
        }
        if self.begin(&request, now) {
            self.legs.handle_message(leg, request.arrival, now);
        }
    }
}
