//! Arriving messages: validated, matched to a transaction and a leg, refused if they fit neither.

use super::leg::{Arrival, Leg, Work};
use super::open::opening;
use super::timers::{MAX_EXPIRES, Timer};
use super::{Edge, Flow, Output};
use crate::dialog::Membership;
use crate::message::{Message, ReadError, Start, read, salvage};
use crate::transaction::{Incoming, Key};
use crate::validate;
use bytes::Bytes;
use signal::{CallId, Handover, LegId, LegRef, Time, Token};

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

    /// Takes a message that another edge received and whose transaction is here (see [`Output::Forward`]).
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
            self.refuse_stateless(&request, flow.answering(&request), code, phrase, &[]);
        }
    }

    fn response(&mut self, message: Message, flow: Flow, forwarded: bool, now: Time) {
        let tag = message.from().and_then(|f| f.tag().map(str::to_owned));
        let Some(leg) = self.leg_of(tag.as_deref()) else { return };
        if !self.answers_from(&message, leg, flow) {
            return;
        }
        let challenge = matches!(message.code(), Some(401 | 407));
        let (no_transaction, asked) = match self.table.response(&message, now) {
            Ok(Some(key)) => {
                let asked = self.table.asked(&key).filter(|_| challenge).cloned();
                if message.code().is_some_and(|c| c >= 200) {
                    self.invites.remove(&key);
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
            self.enqueue(leg, Work::Hear(arrival), now);
        }
    }

    /// Returns false for a response from elsewhere than its request went to: it is dropped before it reaches the transaction.
    fn answers_from(&self, message: &Message, leg: LegRef, flow: Flow) -> bool {
        let asked = Key::of_response(message).and_then(|key| self.table.flow(&key));
        let dialog = self.legs.get(&leg).and_then(|leg| leg.dialog.as_ref());
        asked.is_none_or(|asked| asked.peer.ip() == flow.peer.ip())
            || dialog.is_some_and(|dialog| self.accepts_from(dialog, flow.peer.ip()))
    }

    /// Returns true for a message that carries our tag and is certainly not of that leg, which is held here.
    fn is_foreign(&self, leg: LegRef, arrival: &Arrival) -> bool {
        let dialog = self.legs.get(&leg).and_then(|leg| leg.dialog.as_ref());
        dialog.is_some_and(|dialog| self.membership(dialog, arrival) == Membership::Foreign)
    }

    /// Returns the id of the call that an INVITE opens, or a CANCEL gives up. A caller that tries again, or a proxy that
    /// tries another target, keeps Call-ID and From-tag; CSeq and Request-URI tell the calls apart.
    fn call(&self, message: &Message, from_tag: &str, uri: &str) -> CallId {
        let number = message.cseq().map_or(0, |cseq| cseq.number);
        self.secret.call_of_sip(message.call_id().unwrap_or(""), from_tag, number, uri)
    }

    fn leg_of(&self, tag: Option<&str>) -> Option<LegRef> {
        Some(self.secret.open(Token::parse(tag?)?)?.0)
    }

    /// Refuses a request that has no transaction, outside any dialog. A transaction of the same key is another's and stays as
    /// it is.
    fn refuse_stateless(
        &mut self,
        request: &Message,
        flow: Flow,
        code: u16,
        phrase: &str,
        headers: &[(&str, String)],
    ) {
        if request.method().as_deref() != Some("ACK") {
            let response = self.refusal(request, code, phrase, headers);
            self.out.push_back(Output::Send(flow, response.write()));
        }
    }

    fn refusal(&self, request: &Message, code: u16, phrase: &str, headers: &[(&str, String)]) -> Message {
        let tag = self.secret.derive_text("stateless", &[request.call_id().unwrap_or("").as_bytes()], 16);
        let response = Message::response(request, code, phrase, &tag);
        headers.iter().fold(response, |response, (name, value)| response.with(name, value.clone()))
    }

    /// Refuses a request outside any dialog through its transaction.
    pub(super) fn refuse(
        &mut self,
        request: &Message,
        flow: Flow,
        code: u16,
        phrase: &str,
        headers: &[(&str, String)],
        now: Time,
    ) {
        if request.method().as_deref() != Some("ACK") {
            let response = self.refusal(request, code, phrase, headers);
            self.respond(request, &response, flow, now);
        }
    }

    pub(super) fn respond(&mut self, request: &Message, response: &Message, flow: Flow, now: Time) {
        match Key::of_request(request) {
            Some(key) if self.table.state(&key).is_some() => {
                self.table.respond(&key, response, now);
            }
            _ => self.out.push_back(Output::Send(flow, response.write())),
        }
    }

    fn request(&mut self, message: Message, flow: Flow, forwarded: bool, now: Time) {
        let Start::Request { method, uri } = &message.start else { return };
        let (method, uri) = (method.clone(), uri.clone());
        let known = message.to().and_then(|t| self.leg_of(t.tag()));
        let trunk = self.config.trunks.iter().find(|t| t.sends_from(flow.peer.ip()));
        let Some(link) = trunk.map(|t| t.name.clone()).or(known.map(|_| String::new())) else {
            // Strangers cost no state (R-SIP-13).
            return self.refuse_stateless(&message, flow, 403, "Forbidden", &[]);
        };
        if let Err(refusal) = validate::request(&message) {
            let header: Vec<(&str, String)> = refusal.header.into_iter().collect();
            return self.refuse_stateless(&message, flow, refusal.code, refusal.phrase, &header);
        }
        // The INVITE that an ACK or CANCEL belongs to.
        let invite = Key::cancelled_by(&message).filter(|_| matches!(method.as_str(), "ACK" | "CANCEL"));
        let no_transaction = invite.is_some_and(|key| self.table.state(&key).is_none());
        let arrival = Arrival { message, flow, no_transaction, asked: None, forwarded };
        if known.is_some_and(|leg| self.is_foreign(leg, &arrival)) {
            return self.refuse_stateless(&arrival.message, flow, 481, NO_TRANSACTION, &[]);
        }
        match self.table.request(&arrival.message, flow, flow.tcp, now) {
            Incoming::New(_) => {}
            Incoming::Ack => return self.acknowledged(known, arrival, now),
            Incoming::Again | Incoming::Unmatched => return,
            Incoming::Merged => {
                return self.refuse_stateless(&arrival.message, flow, 482, "Loop Detected", &[]);
            }
            Incoming::Full => return self.busy(&arrival.message, flow, now),
        }
        if let Some(leg) = known {
            return self.enqueue(leg, Work::Hear(arrival), now);
        }
        let message = &arrival.message;
        let tagged = message.to().is_some_and(|t| t.tag().is_some());
        let from = message.from();
        let from_tag = from.as_ref().and_then(|f| f.tag()).unwrap_or("");
        let leg = LegRef { call: self.call(message, from_tag, &uri), leg: LegId(0) };
        match method.as_str() {
            "OPTIONS" if self.draining => self.busy(message, flow, now),
            "OPTIONS" => {
                let served = [("Allow", validate::ALLOW.join(", ")), ("Accept", "application/sdp".into())];
                self.refuse(message, flow, 200, "OK", &served, now);
            }
            "CANCEL" => self.enqueue(leg, Work::Hear(arrival), now),
            "INVITE" if !tagged => {
                if self.draining || self.legs.len() >= self.config.max_legs {
                    return self.busy(message, flow, now);
                }
                let (Some(dialog), Some(opening)) =
                    (self.incoming(message, leg, flow, &link), opening(message, &uri, link))
                else {
                    return self.refuse(message, flow, 400, "Missing Contact or user", &[], now);
                };
                if opening.hops == 0 {
                    return self.refuse(message, flow, 483, "Too Many Hops", &[], now);
                }
                if self.legs.contains_key(&leg) {
                    // The same INVITE again by another transaction: never two calls of one id.
                    return self.refuse(message, flow, 482, "Loop Detected", &[], now);
                }
                self.legs.insert(leg, Leg { dialog: Some(dialog), opening: true, ..Leg::default() });
                if let Some(ms) = expires(message) {
                    self.set_timer(leg, Timer::Expiry, now + ms);
                }
                self.enqueue(leg, Work::Hear(arrival), now);
            }
            _ => self.refuse(message, flow, 481, NO_TRANSACTION, &[], now),
        }
    }

    /// Handles the ACK to a 2xx: the 2xx is repeated no more; an answer in the ACK is heard. If the leg is not held here,
    /// another edge may be repeating that 2xx.
    fn acknowledged(&mut self, known: Option<LegRef>, arrival: Arrival, now: Time) {
        let Some(name) = known else { return };
        let dialog = self.legs.get_mut(&name).and_then(|leg| {
            leg.accepted.take_if(|_| leg.dialog.is_some());
            leg.dialog.as_ref()
        });
        if dialog.is_none_or(|d| d.offer_in_2xx.is_some()) {
            self.enqueue(name, Work::Hear(arrival), now);
        }
    }

    /// Refuses a message that carries our tag and turned out not to be of that leg. The leg stays as it is, and no
    /// transaction remains that would absorb the peer's own request of that key.
    pub(super) fn disown(&mut self, arrival: &Arrival) {
        let message = &arrival.message;
        match message.method().as_deref().filter(|_| message.code().is_none()) {
            None | Some("ACK") => return,
            Some(_) => Key::of_request(message).iter().for_each(|key| self.table.remove(key)),
        }
        self.refuse_stateless(message, arrival.flow, 481, NO_TRANSACTION, &[]);
    }

    pub(super) fn busy(&mut self, message: &Message, flow: Flow, now: Time) {
        let retry = [("Retry-After", "5".to_owned())];
        self.refuse(message, flow, 503, "Service Unavailable", &retry, now);
    }
}

/// Reads Expires of an INVITE (§13.3.1), ms; `None` if it is not useful.
fn expires(message: &Message) -> Option<u64> {
    let seconds: u64 = message.text("Expires")?.trim().parse().ok()?;
    Some(seconds.checked_mul(1000)?).filter(|ms| (1..=MAX_EXPIRES).contains(ms))
}
