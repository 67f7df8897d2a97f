//! Messages as they arrive: screened, matched to a transaction and a leg, refused where neither can be.

use super::leg::{Arrival, Job, Leg};
use super::open::opening;
use super::timers::{Alarm, MAX_EXPIRES};
use super::{Edge, Flow, Output};
use crate::dialog::Membership;
use crate::message::{Message, ReadError, Start, read, rescue};
use crate::screen;
use crate::transaction::{Incoming, Key};
use bytes::Bytes;
use signal::{CallId, Handover, LegId, LegRef, Time, Token};

/// Phrase of 481.
pub(super) const NO_TRANSACTION: &str = "Call/Transaction Does Not Exist";

impl Edge {
    /// A datagram, or one framed message of a stream.
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

    /// A message that another edge received and whose transaction is here (see [`Output::Hand`]).
    pub fn take(&mut self, handover: &Handover, now: Time) {
        if let Some(flow) = Flow::parse(&handover.source)
            && let Ok(message) = read(&Bytes::copy_from_slice(&handover.message))
        {
            self.arrive(message, flow, true, now);
        }
        self.flush(now);
    }

    fn arrive(&mut self, mut message: Message, flow: Flow, handed: bool, now: Time) {
        if message.code().is_some() {
            return self.response(message, flow, handed, now);
        }
        message.stamp(flow.peer);
        let back = flow.answering(&message);
        self.request(message, back, handed, now);
    }

    /// A request that could not be read is answered without state, if anybody can be told from it.
    fn broken(&mut self, octets: &Bytes, flow: Flow, code: u16, phrase: &str) {
        if let Some(mut request) = rescue(octets) {
            request.stamp(flow.peer);
            self.refuse_stateless(&request, flow.answering(&request), code, phrase, &[]);
        }
    }

    fn response(&mut self, message: Message, flow: Flow, handed: bool, now: Time) {
        let tag = message.from().and_then(|f| f.tag().map(str::to_owned));
        let Some(leg) = self.own(tag.as_deref()) else { return };
        if !self.answers_from(&message, leg, flow) {
            return;
        }
        let challenge = matches!(message.code(), Some(401 | 407));
        let (orphan, asked) = match self.table.response(&message, now) {
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
        // Answers to BYE, CANCEL and INFO say nothing to a call, but a challenge wants its answer.
        if message.cseq().is_none_or(|c| c.method != "INVITE") && asked.is_none()
            || orphan && message.code() == Some(100)
        {
            return;
        }
        let arrival = Arrival { message, flow, orphan, asked, handed };
        if !self.is_foreign(leg, &arrival) {
            self.job(leg, Job::Hear(arrival), now);
        }
    }

    /// Returns false for a response that comes from elsewhere than its request went to: it is dropped before its transaction
    /// hears of it.
    fn answers_from(&self, message: &Message, leg: LegRef, flow: Flow) -> bool {
        let asked = Key::of_response(message).and_then(|key| self.table.flow(&key));
        let dialog = self.legs.get(&leg).and_then(|leg| leg.dialog.as_ref());
        asked.is_none_or(|asked| asked.peer.ip() == flow.peer.ip())
            || dialog.is_some_and(|dialog| self.accepts_from(dialog, flow.peer.ip()))
    }

    /// Returns true for a message that is certainly not of a leg that is held here, though it carries our tag.
    fn is_foreign(&self, leg: LegRef, arrival: &Arrival) -> bool {
        let dialog = self.legs.get(&leg).and_then(|leg| leg.dialog.as_ref());
        dialog.is_some_and(|dialog| self.membership(dialog, arrival) == Membership::Foreign)
    }

    /// The call that an INVITE opens, or a CANCEL gives up. A caller that tries again, or a proxy that tries another target,
    /// keeps Call-ID and From-tag; CSeq and Request-URI tell the calls apart.
    fn call(&self, message: &Message, from_tag: &str, uri: &str) -> CallId {
        let number = message.cseq().map_or(0, |cseq| cseq.number);
        self.secret.call_of_sip(message.call_id().unwrap_or(""), from_tag, number, uri)
    }

    fn own(&self, tag: Option<&str>) -> Option<LegRef> {
        Some(self.secret.open(Token::parse(tag?)?)?.0)
    }

    /// A response outside any dialog to a request that has no transaction. One of the same name may be another's: it is not
    /// touched.
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

    /// A response outside any dialog through the transaction of its request.
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

    fn request(&mut self, message: Message, flow: Flow, handed: bool, now: Time) {
        let Start::Request { method, uri } = &message.start else { return };
        let (method, uri) = (method.clone(), uri.clone());
        let known = message.to().and_then(|t| self.own(t.tag()));
        let trunk = self.config.trunks.iter().find(|t| t.sends_from(flow.peer.ip()));
        let Some(link) = trunk.map(|t| t.name.clone()).or(known.map(|_| String::new())) else {
            // Strangers cost no state (R-SIP-13).
            return self.refuse_stateless(&message, flow, 403, "Forbidden", &[]);
        };
        if let Err(refusal) = screen::request(&message) {
            let header: Vec<(&str, String)> = refusal.header.into_iter().collect();
            return self.refuse_stateless(&message, flow, refusal.code, refusal.phrase, &header);
        }
        // The INVITE that an ACK or CANCEL belongs to.
        let invite = Key::cancelled_by(&message).filter(|_| matches!(method.as_str(), "ACK" | "CANCEL"));
        let orphan = invite.is_some_and(|key| self.table.state(&key).is_none());
        let arrival = Arrival { message, flow, orphan, asked: None, handed };
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
            return self.job(leg, Job::Hear(arrival), now);
        }
        let message = &arrival.message;
        let tagged = message.to().is_some_and(|t| t.tag().is_some());
        let from = message.from();
        let from_tag = from.as_ref().and_then(|f| f.tag()).unwrap_or("");
        let leg = LegRef { call: self.call(message, from_tag, &uri), leg: LegId(0) };
        match method.as_str() {
            "OPTIONS" if self.draining => self.busy(message, flow, now),
            "OPTIONS" => {
                let served = [("Allow", screen::ALLOW.join(", ")), ("Accept", "application/sdp".into())];
                self.refuse(message, flow, 200, "OK", &served, now);
            }
            "CANCEL" => self.job(leg, Job::Hear(arrival), now),
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
                    // The same dialog-to-be again by another transaction: never two calls of one id.
                    return self.refuse(message, flow, 482, "Loop Detected", &[], now);
                }
                self.legs.insert(leg, Leg { dialog: Some(dialog), opening: true, ..Leg::default() });
                if let Some(ms) = expires(message) {
                    self.set(leg, Alarm::Expiry, now + ms);
                }
                self.job(leg, Job::Hear(arrival), now);
            }
            _ => self.refuse(message, flow, 481, NO_TRANSACTION, &[], now),
        }
    }

    /// The ACK to a 2xx: the 2xx is said no more; an answer in it is heard. Where the leg is not held, another edge may be
    /// saying that 2xx.
    fn acknowledged(&mut self, known: Option<LegRef>, arrival: Arrival, now: Time) {
        let Some(name) = known else { return };
        let dialog = self.legs.get_mut(&name).and_then(|leg| {
            leg.accepted.take_if(|_| leg.dialog.is_some());
            leg.dialog.as_ref()
        });
        if dialog.is_none_or(|d| d.offered.is_some()) {
            self.job(name, Job::Hear(arrival), now);
        }
    }

    /// Refuses a message that carries our tag and turned out not to be of its leg. The leg learns nothing of it, and no transaction
    /// is left that the leg's own request of that name would meet.
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

/// Expires of an INVITE (§13.3.1), ms; none where it says nothing useful.
fn expires(message: &Message) -> Option<u64> {
    let seconds: u64 = message.text("Expires")?.trim().parse().ok()?;
    Some(seconds.checked_mul(1000)?).filter(|ms| (1..=MAX_EXPIRES).contains(ms))
}
