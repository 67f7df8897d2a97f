//! Sending: responses and requests of a leg, and refusals without one.

use super::timers::{REPEAT_PROVISIONAL, REPEAT_RELIABLE, Timer};
use super::user_agent::{Accepted, Arrival, Local, TransactionUser, UserAgent};
use super::{Flow, Output};
use crate::dialog::{Dialog, State};
use crate::message::{Message, Start};
use crate::reason;
use crate::signal::{Outgoing, rseq};
use crate::transaction::{CANCEL_GUARD, Key, T1, TIMEOUT};
use ::edge::{LegMut, Refusal};
use address::transport::Transport;
use signal::{LegRef, Reason, Signal, Time};

/// Size above which a request does not go by UDP, octets, since the MTU of its path is not known (RFC 3261 §18.1.1).
const LARGE: usize = 1_300;

impl UserAgent {
    /// Sends the messages that an event or an order resulted in. Returns false if a request found no room among the
    /// transactions.
    pub(super) fn send_of_leg(
        &mut self,
        leg: &mut LegMut<'_, Self>,
        dialog: &Dialog,
        cause: Option<&Arrival>,
        outgoing: Vec<Outgoing>,
        now: Time,
    ) -> bool {
        let flow = cause.map(|arrival| arrival.flow).or_else(|| Flow::parse(&dialog.flow));
        let Some(response_flow) = flow else { return true };
        let mut room = true;
        for one in outgoing {
            match one {
                Outgoing::Respond(request, response) => {
                    note_provisional(leg, &request, &response, now);
                    self.note_reliable(leg, dialog, (&request, &response), now);
                    self.respond(&request, &response, response_flow, now);
                }
                Outgoing::Accept(request, response) => {
                    note_provisional(leg, &request, &response, now);
                    self.respond(&request, &response, response_flow, now);
                    let octets = response.write();
                    let accepted = Accepted { flow: response_flow, octets, interval: T1, end: now + TIMEOUT };
                    leg.local.accepted = Some(accepted);
                    leg.timers.set(Timer::RepeatAnswer, now + T1);
                }
                // Not before the ACK of our 2xx, or the time for it is over (§15).
                Outgoing::Request(bye)
                    if leg.local.accepted.is_some() && bye.method().as_deref() == Some("BYE") =>
                {
                    leg.local.bye = Some(Box::new(bye));
                }
                Outgoing::Former(dialog, mut request) => {
                    let Some(dialog) = Dialog::from_bytes(&dialog) else { continue };
                    let hop = self.next_hop(&dialog, &mut request, response_flow);
                    let hop = self.way_of_cancelled(&mut request).unwrap_or(hop);
                    let user = TransactionUser::Former(leg.id);
                    self.table.send(request, hop, hop.transport.is_reliable(), user, now);
                }
                Outgoing::Request(_) | Outgoing::Direct(_) => {
                    if dialog.state == State::Cancelled && is_cancel(&one) {
                        leg.timers.set(Timer::Cancelled, now + CANCEL_GUARD);
                    }
                    let (sent, invite) = self.send_request(one, leg.id, dialog, response_flow, now);
                    room &= sent;
                    if let Some(key) = invite {
                        leg.local.invite = Some(key);
                        leg.local.invited.get_or_insert(now);
                        leg.timers.clear(&Timer::Reinvite);
                        self.limit_attempt(leg, dialog, now);
                    }
                }
            }
        }
        room
    }

    /// Ends the repetition of a 2xx, and sends the BYE that waited for that.
    pub(super) fn acknowledged(
        &mut self,
        local: &mut Local,
        leg: LegRef,
        dialog: &Dialog,
        response_flow: Flow,
        now: Time,
    ) {
        local.accepted = None;
        if let Some(bye) = local.bye.take() {
            self.send_request(Outgoing::Request(*bye), leg, dialog, response_flow, now);
        }
    }

    /// Sends a request of a leg, through a transaction unless it is an ACK. Returns true if it found room, and the key of an INVITE.
    pub(super) fn send_request(
        &mut self,
        one: Outgoing,
        leg: LegRef,
        dialog: &Dialog,
        response_flow: Flow,
        now: Time,
    ) -> (bool, Option<Key>) {
        match one {
            Outgoing::Request(mut request) => {
                let hop = self.next_hop(dialog, &mut request, response_flow);
                let hop = self.way_of_cancelled(&mut request).unwrap_or(hop);
                let hop = self.send_larger(&mut request, hop, now);
                let invite = request.method().as_deref() == Some("INVITE");
                let user = TransactionUser::Leg(leg);
                let key = self.table.send(request, hop, hop.transport.is_reliable(), user, now);
                (key.is_some(), key.filter(|_| invite))
            }
            Outgoing::Direct(mut request) => {
                let hop = self.next_hop(dialog, &mut request, response_flow);
                self.out.push_back(Output::Send(hop, request.write()));
                (true, None)
            }
            Outgoing::Respond(..) | Outgoing::Accept(..) | Outgoing::Former(..) => (true, None),
        }
    }

    /// Returns the flow of the INVITE that a CANCEL of ours names, and writes its Via: both go the same way (RFC 3261 §9.1).
    fn way_of_cancelled(&self, request: &mut Message) -> Option<Flow> {
        let branch =
            request.via().filter(|_| request.method().as_deref() == Some("CANCEL"))?.branch()?.to_owned();
        let key = Key { client: true, branch, sent_by: String::new(), method: "INVITE".into() };
        let flow = *self.table.flow(&key)?;
        self.name_transport(request, &flow);
        Some(flow)
    }

    /// Returns the flow of a request that is to leave by `hop`: TCP instead of UDP if it is large and goes to an address of a trunk that
    /// was not found to be without TCP (RFC 3261 §18.1.1).
    fn send_larger(&self, request: &mut Message, hop: Flow, now: Time) -> Flow {
        let mut flows = self.trunks().flat_map(|trunk| trunk.flows());
        if hop.transport != Transport::Udp
            || request.write().len() <= LARGE
            || !self.failed.may_have_tcp(hop.peer, now)
            || !flows.any(|flow| flow.reaches(&hop))
        {
            return hop;
        }
        let hop = Flow { transport: Transport::Tcp, listen: 0, connection: None, ..hop };
        self.name_transport(request, &hop);
        hop
    }

    /// Sends a large request by UDP after all, since its peer takes no TCP. Returns false for any other request.
    pub(super) fn send_smaller(&mut self, mut request: Message, lost: Flow, leg: LegRef, now: Time) -> bool {
        let udp = self
            .trunks()
            .flat_map(|trunk| trunk.flows())
            .find(|flow| flow.transport == Transport::Udp && flow.peer == lost.peer)
            .copied();
        let Some(flow) = udp.filter(|_| lost.transport == Transport::Tcp && request.write().len() > LARGE)
        else {
            return false;
        };
        self.failed.has_no_tcp(lost.peer, now);
        self.name_transport(&mut request, &flow);
        self.table.send(request, flow, false, TransactionUser::Leg(leg), now).is_some()
    }

    /// Refuses a call that its callee declines with 603 where its trunk wants that.
    pub(super) fn decline(&self, dialog: &Dialog, signal: &Signal, outgoing: &mut [Outgoing]) {
        let declined = matches!(signal, Signal::End(end) if end.reason == Reason::Declined);
        if !declined || !self.trunk(dialog).is_some_and(|trunk| trunk.use_6xx) {
            return;
        }
        for one in outgoing {
            if let Outgoing::Respond(invite, response) = one
                && invite.method().as_deref() == Some("INVITE")
                && let Start::Response { code, phrase } = &mut response.start
                && *code == reason::said(Reason::Declined).0
            {
                (*code, *phrase) = (reason::DECLINE.0, reason::DECLINE.1.to_owned());
            }
        }
    }

    /// Sends a response through the transaction of its request, or without if there is none.
    pub(super) fn respond(&mut self, request: &Message, response: &Message, flow: Flow, now: Time) {
        match Key::of_request(request) {
            Some(key) if self.table.state(&key).is_some() => {
                self.table.respond(&key, response, now);
            }
            _ => self.out.push_back(Output::Send(flow, response.write())),
        }
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
            self.tell_refused(request, flow, code, phrase, headers);
            let response = self.refusal(request, code, phrase, headers);
            self.respond(request, &response, flow, now);
        }
    }

    /// Refuses a request that has no transaction, outside any dialog. A transaction of the same key is another's and stays as
    /// it is.
    pub(super) fn refuse_stateless(
        &mut self,
        request: &Message,
        flow: Flow,
        code: u16,
        phrase: &str,
        headers: &[(&str, String)],
    ) {
        if request.method().as_deref() != Some("ACK") {
            self.tell_refused(request, flow, code, phrase, headers);
            let response = self.refusal(request, code, phrase, headers);
            self.out.push_back(Output::Send(flow, response.write()));
        }
    }

    /// Tells of a refusal: the Warning says more than the phrase.
    fn tell_refused(
        &mut self,
        request: &Message,
        flow: Flow,
        code: u16,
        phrase: &str,
        headers: &[(&str, String)],
    ) {
        // A challenge is the way to be served.
        if code < 300 || code == 401 {
            return;
        }
        let warning = headers.iter().find(|(name, _)| *name == "Warning");
        self.out.push_back(Output::Refused(Refusal {
            link: self.trunk_at(flow).map_or_else(String::new, |trunk| trunk.name.clone()),
            peer: flow.peer.to_string(),
            message: request.method().as_deref().unwrap_or("").to_owned(),
            status: code.to_string(),
            cause: warning.map_or(phrase, |(_, text)| text).to_owned(),
        }));
    }

    fn refusal(&self, request: &Message, code: u16, phrase: &str, headers: &[(&str, String)]) -> Message {
        let tag = self.secret.derive_text("stateless", &[request.call_id().unwrap_or("").as_bytes()], 16);
        let response = Message::response(request, code, phrase, &tag);
        headers.iter().fold(response, |response, (name, value)| response.with(name, value.clone()))
    }

    /// Refuses a request while nobody can be served.
    pub(super) fn busy(&mut self, message: &Message, flow: Flow, now: Time) {
        let retry = [("Retry-After", "5".to_owned())];
        self.refuse(message, flow, 503, "Service Unavailable", &retry, now);
    }
}

fn is_cancel(one: &Outgoing) -> bool {
    matches!(one, Outgoing::Request(request) if request.method().as_deref() == Some("CANCEL"))
}

/// Remembers a provisional response, to repeat it until the final one.
fn note_provisional(leg: &mut LegMut<'_, UserAgent>, request: &Message, response: &Message, now: Time) {
    let Some(code) = response.code().filter(|_| request.method().as_deref() == Some("INVITE")) else {
        return;
    };
    if code >= 200 {
        leg.local.last_provisional = None;
    } else if code > 100 {
        leg.local.last_provisional = Some((request.clone(), response.clone()));
        let pause = if rseq(response).is_some() { REPEAT_RELIABLE } else { REPEAT_PROVISIONAL };
        leg.timers.set(Timer::RepeatProvisional, now + pause);
    }
}
