//! Arriving messages: responses go to the user of their transaction, requests, once validated, to their method.

use super::hearing::is_asked_again;
use super::method::Request;
use super::user_agent::{Arrival, TransactionUser, UserAgent};
use super::{Edge, Flow};
use crate::dialog::State;
use crate::message::{Message, ReadError, read, salvage};
use crate::signal::branch;
use crate::transaction::Key;
use crate::validate;
use bytes::Bytes;
use signal::{Handover, LegRef, Time, Token};

impl Edge {
    /// Takes a datagram, or one framed message of a stream.
    pub fn receive(&mut self, octets: &Bytes, flow: Flow, now: Time) {
        match read(octets) {
            Ok(message) => self.arrive(message, flow, false, now),
            Err(error) => self.refuse_broken(error, octets, flow),
        }
        self.flush(now);
    }

    /// Takes what came of a message that ends the framing of its stream: a request is answered.
    pub fn receive_broken(&mut self, error: ReadError, octets: &Bytes, flow: Flow, now: Time) {
        self.refuse_broken(error, octets, flow);
        self.flush(now);
    }

    fn refuse_broken(&mut self, error: ReadError, octets: &Bytes, flow: Flow) {
        match error {
            ReadError::BrokenRequest(why) => self.broken(octets, flow, 400, why),
            ReadError::Version => self.broken(octets, flow, 505, "Version Not Supported"),
            ReadError::TooLarge => self.broken(octets, flow, 513, "Message Too Large"),
            ReadError::Empty | ReadError::NoSip | ReadError::BrokenResponse => {}
        }
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
        let via = message.stamp(flow.peer);
        let response_flow = flow.answering(via.as_ref());
        self.request(message, response_flow, forwarded, now);
    }

    /// Answers a malformed request without state, if it names a sender.
    fn broken(&mut self, octets: &Bytes, flow: Flow, code: u16, phrase: &str) {
        if let Some(mut request) = salvage(octets) {
            let via = request.stamp(flow.peer);
            let response_flow = flow.answering(via.as_ref());
            self.legs.protocol.refuse_stateless(&request, response_flow, code, phrase, &[]);
        }
    }

    /// Gives a response to the user of its transaction. One without a transaction here may be of another edge, which may have died
    /// with it: the record knows the leg.
    fn response(&mut self, message: Message, flow: Flow, forwarded: bool, now: Time) {
        let ua = &mut self.legs.protocol;
        let asked =
            Key::of_response(&message).and_then(|key| Some((*ua.table.flow(&key)?, *ua.table.user(&key)?)));
        if asked.is_some_and(|(asked, user)| !self.answers_from(asked, user, flow)) {
            return;
        }
        let ua = &mut self.legs.protocol;
        match ua.table.response(&message, now) {
            Ok(None | Some((_, TransactionUser::Former(_)))) => {}
            Ok(Some((key, TransactionUser::Leg(leg)))) => {
                let dialog = self.legs.held().state(leg);
                if dialog.is_some_and(|dialog| Some(dialog.call_id.as_str()) != message.call_id()) {
                    if key.method != "INVITE" {
                        return;
                    }
                    return self.answered_too_late(leg, message, flow, now);
                }
                let ua = &mut self.legs.protocol;
                let again = message.code().is_some_and(is_asked_again);
                let asked = ua.table.asked(&key).filter(|_| again).cloned();
                if key.method == "INVITE" || self.means_something(&message, leg) {
                    let arrival =
                        Arrival { message, flow, no_transaction: false, former: false, asked, forwarded };
                    self.legs.handle_message(leg, arrival, now);
                }
            }
            Err(()) => {
                let tag = message.from().and_then(|from| from.tag().map(str::to_owned));
                let leg = ua.leg_of(tag.as_deref());
                // Nothing is known of other requests of a lost edge.
                let of_invite =
                    message.cseq().is_some_and(|c| c.method == "INVITE") && message.code() != Some(100);
                let former = leg.is_some_and(|leg| self.is_of_former_attempt(leg, &message));
                let arrival = Arrival { message, flow, no_transaction: true, former, asked: None, forwarded };
                if let Some(leg) = leg.filter(|leg| of_invite && !self.is_foreign(*leg, &arrival)) {
                    self.legs.handle_message(leg, arrival, now);
                }
            }
        }
    }

    /// Hears a response to our INVITE whose dialog another one has replaced meanwhile: whoever answers is hung up on.
    fn answered_too_late(&mut self, leg: LegRef, message: Message, flow: Flow, now: Time) {
        let arrival =
            Arrival { message, flow, no_transaction: false, former: false, asked: None, forwarded: false };
        self.legs.protocol.unknown_2xx(leg, &arrival, now);
    }

    /// Returns true for a response to an attempt of a leg's INVITE that was given up here: its branch is known to nobody else.
    fn is_of_former_attempt(&mut self, leg: LegRef, message: &Message) -> bool {
        let branch = branch(message);
        let local = self.legs.held_mut().local_mut(leg);
        local.is_some_and(|local| local.former.contains(&branch))
    }

    /// Returns false for a response from elsewhere than its request went to: it is dropped before it reaches the transaction.
    fn answers_from(&self, asked: Flow, user: TransactionUser, flow: Flow) -> bool {
        let (TransactionUser::Leg(leg) | TransactionUser::Former(leg)) = user;
        let dialog = self.legs.held().state(leg);
        asked.peer.ip() == flow.peer.ip()
            || dialog.is_some_and(|dialog| self.legs.protocol.accepts_from(dialog, flow))
    }

    /// Returns true for a response to a request other than INVITE that its leg must hear: a challenge, a failure while the dialog is
    /// active, the 2xx to a refresh of the session.
    fn means_something(&self, message: &Message, leg: LegRef) -> bool {
        match message.code() {
            Some(401 | 407) => true,
            Some(300..) => self.is_active(leg),
            Some(200..) => message.method().as_deref() == Some("UPDATE") && self.is_active(leg),
            _ => false,
        }
    }

    /// Returns true if a leg is held here whose dialog is active, or is not known now.
    pub(super) fn is_active(&self, leg: LegRef) -> bool {
        let held = self.legs.held();
        held.contains(leg) && held.state(leg).is_none_or(|dialog| dialog.state == State::Active)
    }

    /// Validates a request and gives it to its method. A stranger is told no more than that it is one, and its request is not looked
    /// at any further (R-SIP-13).
    fn request(&mut self, message: Message, flow: Flow, forwarded: bool, now: Time) {
        let ua = &mut self.legs.protocol;
        let leg = message.to().and_then(|to| ua.leg_of(to.tag()));
        let may_go_on = match message.method().as_deref() {
            Some("INVITE") => ua.has_open_trunk(),
            Some("ACK" | "CANCEL") => ua.is_gone(flow),
            _ => false,
        };
        if leg.is_none() && ua.trunk_at(flow).is_none() && !may_go_on {
            return ua.refuse_stateless(&message, flow, 403, "Forbidden", &[]);
        }
        if let Err(refusal) = validate::request(&message) {
            let header: Vec<(&str, String)> = refusal.header.into_iter().collect();
            return ua.refuse_stateless(&message, flow, refusal.code, refusal.phrase, &header);
        }
        // The INVITE that an ACK or CANCEL belongs to.
        let belongs = matches!(message.method().as_deref(), Some("ACK" | "CANCEL"));
        let invite = Key::cancelled_by(&message).filter(|_| belongs);
        let mut no_transaction = invite.is_some_and(|key| ua.table.state(&key).is_none());
        // The provisional response that a PRACK belongs to is repeated by the edge that has the leg (RFC 3262 §3).
        if message.method().as_deref() == Some("PRACK") {
            no_transaction = leg.is_some_and(|leg| !self.legs.held().contains(leg));
        }
        let arrival = Arrival { message, flow, no_transaction, former: false, asked: None, forwarded };
        self.dispatch(Request::new(arrival, leg), now);
    }
}

impl UserAgent {
    pub(super) fn leg_of(&self, tag: Option<&str>) -> Option<LegRef> {
        Some(self.secret.open(Token::parse(tag?)?)?.0)
    }
}
