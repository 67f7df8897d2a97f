//! Requests by method: one file each, and one arm in [`Edge::dispatch`].
//!
//! One rule: a request comes here read and validated, not authorised. Its method decides who may send it, and takes a transaction
//! ([`Edge::begin`]) only then: strangers hold no state (R-SIP-13).

use super::user_agent::{Arrival, UserAgent};
use super::{Edge, Flow, Trunk};
use crate::message::{Message, Start};
use crate::transaction::{Incoming, Key};
use ::edge::Membership;
use signal::{LegId, LegRef, Time};

mod ack;
mod cancel;
mod in_dialog;
mod invite;
mod notify;
mod options;
mod refer;
mod replace;

/// Phrase of 481.
pub(super) const NO_TRANSACTION: &str = "Call/Transaction Does Not Exist";

/// Validated request.
#[derive(Debug)]
pub(super) struct Request {
    arrival: Arrival,
    /// Leg that the tag in To names, if it is one of ours.
    leg: Option<LegRef>,
}

impl Request {
    /// `leg`: the leg that the tag in To names.
    pub(super) fn new(arrival: Arrival, leg: Option<LegRef>) -> Request {
        Request { arrival, leg }
    }

    pub(super) fn message(&self) -> &Message {
        &self.arrival.message
    }

    pub(super) fn flow(&self) -> Flow {
        self.arrival.flow
    }

    /// Returns true for a request within a dialog, ours or not.
    fn is_tagged(&self) -> bool {
        self.arrival.message.to().is_some_and(|to| to.tag().is_some())
    }
}

impl Edge {
    /// Gives a request to its method.
    pub(super) fn dispatch(&mut self, request: Request, now: Time) {
        match request.arrival.message.method().as_deref() {
            Some("INVITE") => self.invite(request, now),
            Some("ACK") => self.ack(request, now),
            Some("CANCEL") => self.cancel(request, now),
            Some("OPTIONS") => self.options(request, now),
            Some("REFER") => self.refer(request, now),
            Some("NOTIFY") => self.notify(request, now),
            Some("BYE" | "INFO" | "PRACK" | "UPDATE") => self.in_dialog(request, now),
            // Validation lets no other through.
            _ => self.reject(&request, 501, "Not Implemented"),
        }
    }

    /// Returns true for a request of a trunk, or of one that is gone: its calls may still end; refuses a stranger's.
    fn may_end(&mut self, request: &Request) -> bool {
        self.legs.protocol.is_gone(request.arrival.flow) || self.authorise(request).is_some()
    }

    /// Returns the trunk that a request outside a dialog comes from; refuses a stranger's.
    fn authorise(&mut self, request: &Request) -> Option<String> {
        let trunk = self.legs.protocol.trunk_at(request.arrival.flow).map(|trunk| trunk.name.clone());
        if trunk.is_none() {
            self.reject(request, 403, "Forbidden");
        }
        trunk
    }

    /// Returns the leg of a request within a dialog; refuses one that is of no dialog of ours.
    fn leg_of_dialog(&mut self, request: &Request) -> Option<LegRef> {
        let leg = request.leg.filter(|leg| !self.refuses(*leg, &request.arrival));
        if leg.is_none() && (request.leg.is_some() || self.authorise(request).is_some()) {
            self.reject(request, 481, NO_TRANSACTION);
        }
        leg
    }

    /// Returns true for a message that carries our tag and is certainly not of that leg, which is held here.
    pub(super) fn is_foreign(&self, leg: LegRef, arrival: &Arrival) -> bool {
        let dialog = self.legs.held().state(leg);
        dialog.is_some_and(|d| self.legs.protocol.membership_of(d, arrival) == Membership::Foreign)
    }

    /// Returns true for a request that [`Edge::is_foreign`], and tells of one that only its source makes so.
    fn refuses(&mut self, leg: LegRef, arrival: &Arrival) -> bool {
        let foreign = self.is_foreign(leg, arrival);
        let (ua, held) = self.legs.split();
        if let Some(dialog) = held.state(leg).filter(|_| foreign) {
            ua.tell_refused_source(dialog, arrival);
        }
        foreign
    }

    /// Begins the server transaction of an authorised request. Returns false if there is nothing to serve: a retransmission, a
    /// merged request, no room.
    fn begin(&mut self, request: &Request, now: Time) -> bool {
        let (message, flow) = (&request.arrival.message, request.arrival.flow);
        let ua = &mut self.legs.protocol;
        match ua.table.request(message, flow, flow.transport.is_reliable(), now) {
            Incoming::New(_) => return true,
            Incoming::Merged => ua.refuse_stateless(message, flow, 482, "Loop Detected", &[]),
            Incoming::Full => ua.busy(message, flow, now),
            Incoming::Ack | Incoming::Again | Incoming::Unmatched => {}
        }
        false
    }

    /// Refuses a request that has no transaction.
    pub(super) fn reject(&mut self, request: &Request, code: u16, phrase: &str) {
        let Arrival { message, flow, .. } = &request.arrival;
        self.legs.protocol.refuse_stateless(message, *flow, code, phrase, &[]);
    }
}

impl UserAgent {
    /// Returns the trunk whose calls come from there.
    pub(super) fn trunk_at(&self, flow: Flow) -> Option<&Trunk> {
        self.config.trunks.iter().find(|trunk| trunk.calls_by(&flow))
    }

    /// Returns true if the calls of a trunk that is gone came from there.
    pub(super) fn is_gone(&self, flow: Flow) -> bool {
        self.former.iter().any(|trunk| trunk.calls_by(&flow))
    }

    /// Returns true if a trunk may call from any address.
    pub(super) fn has_open_trunk(&self) -> bool {
        self.config.trunks.iter().any(Trunk::is_open)
    }

    /// Refuses a message that carries our tag and turned out not to be of that leg. The leg stays as it is, and no
    /// transaction remains that would absorb the peer's own request of that key.
    pub(super) fn refuse_foreign(&mut self, arrival: &Arrival) {
        let message = &arrival.message;
        match message.method().as_deref().filter(|_| message.code().is_none()) {
            None | Some("ACK") => return,
            Some(_) => Key::of_request(message).iter().for_each(|key| self.table.remove(key)),
        }
        self.refuse_stateless(message, arrival.flow, 481, NO_TRANSACTION, &[]);
    }

    /// Returns the leg that an INVITE opens, or a CANCEL gives up. A caller that tries again, or a proxy that tries another
    /// target, keeps Call-ID and From-tag; CSeq and Request-URI tell the calls apart.
    fn calling_leg(&self, message: &Message) -> Option<LegRef> {
        let Start::Request { uri, .. } = &message.start else { return None };
        let number = message.cseq().map_or(0, |cseq| cseq.number);
        let from = message.from();
        let from_tag = from.as_ref().and_then(|from| from.tag()).unwrap_or("");
        let record = self.secret.call_of_sip(message.call_id().unwrap_or(""), from_tag, number, uri);
        Some(LegRef { record, leg: LegId(0) })
    }
}
