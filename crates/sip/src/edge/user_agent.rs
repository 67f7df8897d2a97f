//! SIP as a protocol of the leg core.

use super::attempt::Failed;
use super::open::tell_past;
use super::reliable::Repeated;
use super::timers::{GLARE_LOST, REINVITE_LOST, Timer};
use super::{Config, Flow, Output, Trunk};
use crate::dialog::{Dialog, State};
use crate::message::Message;
use crate::signal::{Outcome, Outgoing, Timeout, put_off, refer, say};
use crate::transaction::{Key, TIMEOUT, Table};
use ::edge::{Expiry, Hearing, Input, LegMut, Membership, Protocol};
use bytes::Bytes;
use signal::{End, EventId, Handover, LegRef, LegState, Opening, Reason, Say, Secret, Time};
use std::collections::{HashMap, VecDeque};

/// Time after which an idle leg leaves the cache, ms; the record brings it back.
const IDLE: u64 = 600_000;

/// Longest pause after a 491, ms (§14.1).
const LONGEST_PAUSE: u64 = 4_000;

/// Transactions and trunks: everything of a SIP edge but its legs.
#[derive(Debug)]
pub(super) struct UserAgent {
    pub(super) config: Config,
    /// Trunks that are gone, whose calls may go on.
    pub(super) former: Vec<Trunk>,
    pub(super) secret: Secret,
    pub(super) table: Table<Flow, TransactionUser>,
    pub(super) failed: Failed,
    pub(super) out: VecDeque<Output>,
    /// Words of voicemail servers that are not answered yet.
    pub(super) notices: HashMap<u64, Arrival>,
    /// Number of those so far.
    pub(super) tickets: u64,
    pub(super) draining: bool,
    /// Calls can be served now: somebody decides, and the other side is linked.
    pub(super) serving: bool,
}

/// User of a client transaction (RFC 3261 §17): it hears the responses and that none came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransactionUser {
    /// Leg.
    Leg(LegRef),
    /// Dialog of a leg that another one has replaced: nobody hears.
    Former(LegRef),
}

/// Message for a leg.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) message: Message,
    pub(super) flow: Flow,
    /// Its transaction is not here: another edge may hold it, or may have died with it.
    pub(super) no_transaction: bool,
    /// Answers an attempt of our INVITE that was given up here.
    pub(super) former: bool,
    /// Our request that it answers, if its transaction is here.
    pub(super) asked: Option<Message>,
    /// Another edge forwarded it to us: it is not forwarded again.
    pub(super) forwarded: bool,
}

impl Arrival {
    pub(super) fn is_request(&self) -> bool {
        self.message.code().is_none()
    }

    pub(super) fn is_provisional(&self) -> bool {
        self.message.code().is_some_and(|code| code < 200)
    }
}

/// State of a leg that ends with this edge.
#[derive(Debug, Default)]
pub(super) struct Local {
    pub(super) accepted: Option<Accepted>,
    /// Our BYE, which waits for that ACK (§15).
    pub(super) bye: Option<Box<Message>>,
    /// Our last provisional response, and the INVITE that it answers.
    pub(super) last_provisional: Option<(Message, Message)>,
    /// Transaction of our last INVITE.
    pub(super) invite: Option<Key>,
    /// Time of our first INVITE, until its caller is told that it rings.
    pub(super) invited: Option<Time>,
    /// Flows that our first INVITE was sent by in vain.
    pub(super) tried: Vec<Flow>,
    /// Branches of those.
    pub(super) former: Vec<String>,
    /// Our provisional response that waits for its PRACK.
    pub(super) repeated: Option<Box<Repeated>>,
}

/// 2xx that waits for its ACK.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) flow: Flow,
    pub(super) octets: Bytes,
    pub(super) interval: u64,
    pub(super) end: Time,
}

impl UserAgent {
    pub(super) fn branch(&self, parts: &[&[u8]]) -> String {
        format!("z9hG4bK{}", self.secret.derive_text("branch", parts, 24))
    }
}

impl Protocol for UserAgent {
    const MAX_WAITING: usize = 16;

    type State = Dialog;
    type Local = Local;
    type Message = Arrival;
    type Event = Timeout;
    type Timer = Timer;
    type Outgoing = Outgoing;

    fn decode(octets: &[u8]) -> Option<Dialog> {
        Dialog::from_bytes(octets)
    }

    fn encode(dialog: &Dialog) -> Vec<u8> {
        dialog.to_bytes()
    }

    fn end(dialog: &mut Dialog) {
        dialog.state = State::Ended;
    }

    fn is_over(dialog: &Dialog) -> bool {
        matches!(dialog.state, State::Ended | State::Cancelled)
    }

    fn event_id(&self, leg: LegRef, dialog: &Dialog, _: u32, input: &Input<Self>) -> EventId {
        match input {
            Input::Message(arrival) => super::open::event(&arrival.message),
            Input::Event(timeout) => EventId::of(&[&leg.to_string(), &timeout.label(dialog)]),
        }
    }

    fn wire_id(dialog: &Dialog) -> Option<String> {
        Some(dialog.call_id.clone())
    }

    fn opening(&self, arrival: &Arrival) -> Option<Opening> {
        self.opening_of(&arrival.message, arrival.flow)
    }

    fn membership(&self, dialog: &Dialog, arrival: &Arrival) -> Membership {
        self.membership_of(dialog, arrival)
    }

    fn disown(&mut self, _: LegRef, dialog: &Dialog, arrival: &Arrival) {
        self.tell_refused_source(dialog, arrival);
        self.refuse_foreign(arrival);
    }

    fn hear(
        &mut self,
        leg: &mut LegMut<'_, Self>,
        dialog: &mut Dialog,
        input: &Input<Self>,
        hearing: &Hearing,
    ) -> Outcome {
        match input {
            Input::Message(arrival) => self.hear_message(leg, dialog, arrival, hearing),
            Input::Event(timeout) => self.hear_timeout(leg, dialog, *timeout, hearing.now),
        }
    }

    fn open(&mut self, leg: LegRef, opening: &Opening) -> Result<Dialog, Reason> {
        self.outgoing(leg, opening).ok_or(Reason::Connectivity)
    }

    fn say(
        &mut self,
        leg: &mut LegMut<'_, Self>,
        dialog: &mut Dialog,
        order: &Say,
        now: Time,
    ) -> Vec<Outgoing> {
        // Another edge, whose clock may be another one, has drawn the end of the pause.
        let quiet = dialog.quiet_until.map(|until| until.min(now + LONGEST_PAUSE));
        if let Some(until) = quiet.filter(|until| *until > now)
            && put_off(dialog, &order.signal)
        {
            dialog.local_offer_by = Some(until + GLARE_LOST);
            leg.timers.set(Timer::Glare, until);
            return vec![];
        }
        let branch = self.branch(&[&order.id.to_bytes()]);
        let (open, refresh) = (dialog.local_offer_cseq, dialog.session_timer.refresh_cseq);
        let mut outgoing = say(dialog, &order.signal, &branch);
        if let Some(opening) = &order.opening {
            tell_past(dialog, opening, &mut outgoing);
        }
        self.decline(dialog, &order.signal, &mut outgoing);
        if let Some(referral) = order.opening.as_ref().and_then(|opening| opening.referral.as_ref()) {
            refer(dialog, referral, &mut outgoing);
        }
        if dialog.local_offer_cseq != open {
            dialog.local_offer_by = Some(now + REINVITE_LOST);
        }
        self.set_times(dialog, refresh, now);
        outgoing
    }

    fn send(
        &mut self,
        leg: &mut LegMut<'_, Self>,
        dialog: &Dialog,
        cause: Option<&Arrival>,
        outgoing: Vec<Outgoing>,
        now: Time,
    ) -> bool {
        self.send_of_leg(leg, dialog, cause, outgoing, now)
    }

    fn fire(
        &mut self,
        leg: &mut LegMut<'_, Self>,
        dialog: Option<&Dialog>,
        timer: Timer,
        now: Time,
    ) -> Option<Timeout> {
        self.fire_timer(leg, dialog, timer, now)
    }

    fn wake(dialog: &Dialog) -> Option<Time> {
        UserAgent::wake_of(dialog)
    }

    fn woken(&mut self, leg: &mut LegMut<'_, Self>, dialog: &Dialog, now: Time) -> Option<Timeout> {
        self.wake_leg(leg, dialog, now)
    }

    /// A leg that is over stays until none of its messages can be under way any more. A cancelled INVITE that never gets its
    /// final response is over too (RFC 3261 §9.1: 64·T1).
    fn lifetime(&self, dialog: &Dialog) -> u64 {
        if matches!(dialog.state, State::Ended | State::Cancelled) { TIMEOUT } else { IDLE }
    }

    fn expire(&mut self, leg: &mut LegMut<'_, Self>, dialog: &Dialog) -> Expiry<Timeout> {
        match dialog.state {
            _ if leg.local.accepted.is_some() => Expiry::Keep,
            State::Incoming => Expiry::Hear(Timeout::Decision),
            State::Outgoing => Expiry::Hear(Timeout::Final),
            _ => Expiry::Forget,
        }
    }

    /// Nobody hangs up or gives up twice, and a final response is not sent again once its transaction is over.
    fn can_refuse(&self, arrival: &Arrival) -> bool {
        match arrival.message.method().as_deref() {
            Some(method) if arrival.is_request() => !matches!(method, "ACK" | "BYE" | "CANCEL"),
            _ => arrival.is_provisional(),
        }
    }

    fn can_drop(&self, arrival: &Arrival) -> bool {
        arrival.is_provisional()
    }

    fn refuse(&mut self, leg: LegRef, arrival: &Arrival, end: &End, opening: bool, now: Time) {
        self.refuse_of_leg(leg, arrival, end, opening, now);
    }

    fn acknowledge(&mut self, _: LegRef, _: Option<&Dialog>, arrival: &Arrival, now: Time) {
        if matches!(arrival.message.method().as_deref(), Some("BYE" | "CANCEL")) && arrival.is_request() {
            self.refuse(&arrival.message, arrival.flow, 200, "OK", &[], now);
        }
    }

    fn forward(&self, arrival: &Arrival, leg: &LegState) -> Option<(String, Handover)> {
        let elsewhere = arrival.no_transaction && !arrival.forwarded;
        let away = elsewhere && !leg.edge.is_empty() && leg.edge != self.config.instance;
        let message =
            || Handover { source: arrival.flow.to_string(), message: arrival.message.write().to_vec() };
        away.then(|| (leg.edge.clone(), message()))
    }

    fn removed(&mut self, _: LegRef, local: Local) {
        // Nobody would hear the answer to its INVITE.
        if let Some(key) = local.invite {
            self.table.abandon(&key);
        }
    }
}
