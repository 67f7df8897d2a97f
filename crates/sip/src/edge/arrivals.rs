//! Arriving messages: validated, matched to a transaction and a leg, refused if they fit neither.

use super::open::opening;
use super::user_agent::{Arrival, UserAgent};
use super::{Edge, Flow};
use crate::message::{Message, ReadError, Start, read, salvage};
use crate::transaction::{Incoming, Key};
use crate::validate;
use ::edge::{Membership, Protocol};
use bytes::Bytes;
use signal::{Handover, LegId, LegRef, RecordId, Time, Token};

/// Phrase of 481.
pub(super) const NO_TRANSACTION: &str = "Call/Transaction Does Not Exist";

impl Edge {
    /// Takes a datagram, or one framed message of a stream.
    pub fn receive(&mut self, octets: &Bytes, flow: Flow, now: Time) {
        match read(octets) {
            Ok(message) => self.arrive(message, flow, false, now),
            Err(ReadError::BrokenRequest(why)) => self.broken(octets, flow, 400, why),
            Err(ReadError::Version) => self.broken(octets, flow, 505, "Version Not Supported"),
            Err(ReadError::TooLarge) => self.broken(octets, flow, 513, "Message Too Large"),
            Err(ReadError::Empty | ReadError::NoSip | ReadError::BrokenResponse) => {}
        }
        self.flush(now);
    }

    /// Takes a message that another edge received and whose transaction is here (see [`super::Output::Forward`]).
    pub fn receive_forwarded(&mut self, handover: &Handover, now: Time) {
        if let Some(flow) = Flow::parse(&handover.source)
            && let Ok(message) = read(&Bytes::copy_from_slice(&handover.message))
        {
            self.arrive(message, flow, true, now);
        }
        self.flush(now);
    }

    fn arrive(&mut self, mut message: Message, flow: Flow, forwarded: bool, now: Time) {
        if message.code().is_some() {
            return self.response(message, flow, forwarded, now);
        }
        message.stamp(flow.peer);
        let response_flow = flow.answering(&message);
        self.request(message, response_flow, forwarded, now);
    }

    /// Answers a malformed request without state, if it names a sender.
    fn broken(&mut self, octets: &Bytes, flow: Flow, code: u16, phrase: &str) {
        if let Some(mut request) = salvage(octets) {
            request.stamp(flow.peer);
            self.legs.protocol.refuse_stateless(&request, flow.answering(&request), code, phrase, &[]);
        }
    }

    fn response(&mut self, message: Message, flow: Flow, forwarded: bool, now: Time) {
        let tag = message.from().and_then(|f| f.tag().map(str::to_owned));
        let Some(leg) = self.legs.protocol.leg_of(tag.as_deref()) else { return };
        if !self.answers_from(&message, leg, flow) {
            return;
        }
        let challenge = matches!(message.code(), Some(401 | 407));
        let ua = &mut self.legs.protocol;
        let (no_transaction, asked) = match ua.table.response(&message, now) {
            Ok(Some(key)) => {
                let asked = ua.table.asked(&key).filter(|_| challenge).cloned();
                if message.code().is_some_and(|c| c >= 200) {
                    ua.invites.remove(&key);
                }
                (false, asked)
            }
            Ok(None) => return,
            // No transaction here: another edge may hold it or have died with it, and the record knows the leg.
            Err(()) => (true, None),
        };
        // Answers to BYE, CANCEL and INFO mean nothing to a call, but a challenge needs its answer.
        if message.cseq().is_none_or(|c| c.method != "INVITE") && asked.is_none()
            || no_transaction && message.code() == Some(100)
        {
            return;
        }
        let arrival = Arrival { message, flow, no_transaction, asked, forwarded };
        if !self.is_foreign(leg, &arrival) {
            self.legs.handle_message(leg, arrival, now);
        }
    }

    /// Returns false for a response from elsewhere than its request went to: it is dropped before it reaches the transaction.
    fn answers_from(&self, message: &Message, leg: LegRef, flow: Flow) -> bool {
        let ua = &self.legs.protocol;
        let asked = Key::of_response(message).and_then(|key| ua.table.flow(&key));
        let dialog = self.legs.held().state(leg);
        asked.is_none_or(|asked| asked.peer.ip() == flow.peer.ip())
            || dialog.is_some_and(|dialog| ua.accepts_from(dialog, flow.peer.ip()))
    }

    /// Returns true for a message that carries our tag and is certainly not of that leg, which is held here.
    fn is_foreign(&self, leg: LegRef, arrival: &Arrival) -> bool {
        let dialog = self.legs.held().state(leg);
        dialog.is_some_and(|d| self.legs.protocol.membership(d, arrival) == Membership::Foreign)
    }

    fn request(&mut self, message: Message, flow: Flow, forwarded: bool, now: Time) {
        let Start::Request { method, .. } = &message.start else { return };
        let cancels = matches!(method.as_str(), "ACK" | "CANCEL");
        let ua = &mut self.legs.protocol;
        let known = message.to().and_then(|t| ua.leg_of(t.tag()));
        let trunk = ua.config.trunks.iter().find(|t| t.sends_from(flow.peer.ip()));
        let Some(link) = trunk.map(|t| t.name.clone()).or(known.map(|_| String::new())) else {
            // Strangers cost no state (R-SIP-13).
            return ua.refuse_stateless(&message, flow, 403, "Forbidden", &[]);
        };
        if let Err(refusal) = validate::request(&message) {
            let header: Vec<(&str, String)> = refusal.header.into_iter().collect();
            return ua.refuse_stateless(&message, flow, refusal.code, refusal.phrase, &header);
        }
        // The INVITE that an ACK or CANCEL belongs to.
        let invite = Key::cancelled_by(&message).filter(|_| cancels);
        let no_transaction = invite.is_some_and(|key| ua.table.state(&key).is_none());
        let arrival = Arrival { message, flow, no_transaction, asked: None, forwarded };
        let foreign = known.is_some_and(|leg| self.is_foreign(leg, &arrival));
        let ua = &mut self.legs.protocol;
        if foreign {
            return ua.refuse_stateless(&arrival.message, flow, 481, NO_TRANSACTION, &[]);
        }
        match ua.table.request(&arrival.message, flow, flow.transport.is_reliable(), now) {
            Incoming::New(_) => match known {
                Some(leg) => self.legs.handle_message(leg, arrival, now),
                None => self.request_outside_dialog(arrival, link, now),
            },
            Incoming::Ack => self.acknowledged(known, arrival, now),
            Incoming::Again | Incoming::Unmatched => {}
            Incoming::Merged => ua.refuse_stateless(&arrival.message, flow, 482, "Loop Detected", &[]),
            Incoming::Full => ua.busy(&arrival.message, flow, now),
        }
    }

    fn request_outside_dialog(&mut self, arrival: Arrival, link: String, now: Time) {
        let (message, flow) = (&arrival.message, arrival.flow);
        let Start::Request { method, uri } = &message.start else { return };
        let tagged = message.to().is_some_and(|t| t.tag().is_some());
        let ua = &mut self.legs.protocol;
        let leg = LegRef { record: ua.call(message, uri), leg: LegId(0) };
        match method.as_str() {
            "OPTIONS" if ua.draining => ua.busy(message, flow, now),
            "OPTIONS" => {
                let served = [("Allow", validate::ALLOW.join(", ")), ("Accept", "application/sdp".into())];
                ua.refuse(message, flow, 200, "OK", &served, now);
            }
            "CANCEL" => self.legs.handle_message(leg, arrival, now),
            "INVITE" if !tagged => self.invite(leg, arrival, link, now),
            _ => ua.refuse(message, flow, 481, NO_TRANSACTION, &[], now),
        }
    }

    /// Opens a leg for an INVITE.
    fn invite(&mut self, leg: LegRef, arrival: Arrival, link: String, now: Time) {
        let (room, held) = (self.legs.has_room(), self.legs.held().contains(leg));
        let (message, flow) = (&arrival.message, arrival.flow);
        let Start::Request { uri, .. } = &message.start else { return };
        let ua = &mut self.legs.protocol;
        if ua.draining || !room {
            return ua.busy(message, flow, now);
        }
        let (Some(dialog), Some(opening)) =
            (ua.incoming(message, leg, flow, &link), opening(message, uri, link))
        else {
            return ua.refuse(message, flow, 400, "Missing Contact or user", &[], now);
        };
        if opening.hops == 0 {
            return ua.refuse(message, flow, 483, "Too Many Hops", &[], now);
        }
        if held {
            // The same INVITE again by another transaction: never two calls of one id.
            return ua.refuse(message, flow, 482, "Loop Detected", &[], now);
        }
        self.legs.open(leg, dialog, arrival, now);
    }

    /// Handles the ACK to a 2xx: the 2xx is repeated no more; an answer in the ACK is heard. If the leg is not held here,
    /// another edge may be repeating that 2xx.
    fn acknowledged(&mut self, known: Option<LegRef>, arrival: Arrival, now: Time) {
        let Some(leg) = known else { return };
        let dialog = self.legs.held().state(leg);
        let answers = dialog.is_none_or(|dialog| dialog.offer_in_2xx.is_some());
        if dialog.is_some()
            && let Some(local) = self.legs.held_mut().local_mut(leg)
        {
            local.accepted = None;
        }
        if answers {
            self.legs.handle_message(leg, arrival, now);
        }
    }
}

impl UserAgent {
    /// Returns the id of the call that an INVITE opens, or a CANCEL gives up. A caller that tries again, or a proxy that
    /// tries another target, keeps Call-ID and From-tag; CSeq and Request-URI tell the calls apart.
    fn call(&self, message: &Message, uri: &str) -> RecordId {
        let number = message.cseq().map_or(0, |cseq| cseq.number);
        let from = message.from();
        let from_tag = from.as_ref().and_then(|f| f.tag()).unwrap_or("");
        self.secret.call_of_sip(message.call_id().unwrap_or(""), from_tag, number, uri)
    }

    fn leg_of(&self, tag: Option<&str>) -> Option<LegRef> {
        Some(self.secret.open(Token::parse(tag?)?)?.0)
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
}
