//! Interface between the leg core and a protocol.

use crate::{Held, LegMut};
use signal::{End, EventId, Handover, LegRef, LegState, Opening, Reason, Say, Signal, Time};
use std::fmt::Debug;

/// Protocol of an edge: translates between its own messages and signals, and sends.
///
/// The leg core calls these functions; none of them may wait. A protocol keeps nothing of a leg but [`Protocol::State`], which the
/// record keeps, and [`Protocol::Local`], which ends with this edge.
pub trait Protocol: Sized {
    /// Most work of one leg that waits.
    const MAX_WAITING: usize;

    /// State of a leg that every edge can continue from: a SIP dialog, a Jingle session. The record keeps it as octets.
    type State: Clone + Debug;
    /// State of a leg that lives and dies with this edge: transactions, ids of unanswered requests.
    type Local: Default + Debug;
    /// Message of a peer, as received.
    type Message: Debug;
    /// Local event of a leg that may mean something to the call, such as a missing answer.
    type Event: Debug;
    /// Timer of a leg. Setting a timer that is equal to a running one moves it.
    type Timer: PartialEq + Debug;
    /// Message to a peer.
    type Outgoing: Clone + PartialEq + Debug;

    /// Reads a state from the record; `None` if the octets make no sense.
    fn decode(octets: &[u8]) -> Option<Self::State>;

    /// Writes a state for the record.
    fn encode(state: &Self::State) -> Vec<u8>;

    /// Puts a state into the form in which it waits for the next message: it should take little memory.
    fn pack(_state: &mut Self::State) {}

    /// Marks a state as over: its call is in no record any more.
    fn end(state: &mut Self::State);

    /// Returns true for a state whose call is over: it counts against no limit.
    fn is_over(state: &Self::State) -> bool;

    /// Returns the id of an input: equal at every edge that hears it, so that it commits once.
    fn event_id(&self, leg: LegRef, state: &Self::State, revision: u32, input: &Input<Self>) -> EventId;

    /// Returns the id of a leg on the wire ([`signal::Heard::wire_id`]); a long one is told to nobody.
    fn wire_id(_state: &Self::State) -> Option<String> {
        None
    }

    /// Reads caller and callee from a message that opens a call.
    fn opening(&self, message: &Self::Message) -> Option<Opening>;

    /// Returns the membership of a message in the dialog that its leg holds: a message may carry the name of a leg and be of
    /// somebody else.
    fn membership(&self, _state: &Self::State, _message: &Self::Message) -> Membership {
        Membership::Own
    }

    /// Refuses a message that is not of its leg. Nothing of the leg changes.
    fn disown(&mut self, _leg: LegRef, _state: &Self::State, _message: &Self::Message) {}

    /// Translates an input, up. `state` is a copy that the core keeps, commits or drops. The same input is heard again, against
    /// the newer state, when its commit was stale.
    fn hear(
        &mut self,
        leg: &mut LegMut<'_, Self>,
        state: &mut Self::State,
        input: &Input<Self>,
        hearing: &Hearing,
    ) -> Outcome<Self::Outgoing>;

    /// Creates the state of a leg that an order opens.
    ///
    /// # Errors
    /// The reason why no call can go there.
    fn open(&mut self, leg: LegRef, opening: &Opening) -> Result<Self::State, Reason>;

    /// Translates an order, down. Deterministic: another edge makes the same messages of the same order and state.
    fn say(
        &mut self,
        leg: &mut LegMut<'_, Self>,
        state: &mut Self::State,
        order: &Say,
        now: Time,
    ) -> Vec<Self::Outgoing>;

    /// Sends messages of a leg. `cause` is the message that they answer. Returns false if one found no room.
    fn send(
        &mut self,
        leg: &mut LegMut<'_, Self>,
        state: &Self::State,
        cause: Option<&Self::Message>,
        outgoing: Vec<Self::Outgoing>,
        now: Time,
    ) -> bool;

    /// Handles a timer that is due, whatever else the leg waits for: sends again, and returns the event to be heard, if any.
    fn fire(
        &mut self,
        leg: &mut LegMut<'_, Self>,
        state: Option<&Self::State>,
        timer: Self::Timer,
        now: Time,
    ) -> Option<Self::Event>;

    /// Returns the time at which a leg in this state is to be woken: for a timer of the leg that must outlive this edge.
    fn wake(_state: &Self::State) -> Option<Time> {
        None
    }

    /// Returns the event to be heard, if any, of a leg that is woken.
    fn woken(
        &mut self,
        _leg: &mut LegMut<'_, Self>,
        _state: &Self::State,
        _now: Time,
    ) -> Option<Self::Event> {
        None
    }

    /// Returns how long a leg in this state is kept after its last message or order, ms.
    fn lifetime(&self, state: &Self::State) -> u64;

    /// Decides about a leg whose lifetime is over.
    fn expire(&mut self, _leg: &mut LegMut<'_, Self>, _state: &Self::State) -> Expiry<Self::Event> {
        Expiry::Forget
    }

    /// Returns true if refusing this message loses nothing: its sender waits for an answer and may try again. Any other message is
    /// committed again and again when no orchestrator answers.
    fn can_refuse(&self, message: &Self::Message) -> bool;

    /// Returns true for a message that another one will follow: it is dropped while much of its leg waits.
    fn can_drop(&self, _message: &Self::Message) -> bool {
        false
    }

    /// Answers a message that came to nothing. `opening`: it was to open a call.
    fn refuse(&mut self, leg: LegRef, message: &Self::Message, end: &End, opening: bool, now: Time);

    /// Answers a message that will be committed later, so that its sender need not wait for that.
    fn acknowledge(&mut self, leg: LegRef, state: Option<&Self::State>, message: &Self::Message, now: Time);

    /// Returns the edge that a message of a recalled leg belongs to, and the form in which it travels there; `None`: this edge.
    fn forward(&self, _message: &Self::Message, _leg: &LegState) -> Option<(String, Handover)> {
        None
    }

    /// Decides about a message for a leg that no record knows: it may open a call after all.
    fn reopen(
        &mut self,
        _held: &Held<Self>,
        _leg: LegRef,
        _message: &Self::Message,
    ) -> Reopening<Self::State> {
        Reopening::Unknown
    }

    /// Cleans up after a leg that is no longer held.
    fn removed(&mut self, leg: LegRef, local: Self::Local);
}

/// Membership of a message in a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// The message is of this dialog.
    Own,
    /// The message may be of this dialog as the record knows it.
    Unknown,
    /// The message is not of this dialog.
    Foreign,
}

/// Input of a leg that may mean something to its call.
#[derive(Debug)]
pub enum Input<P: Protocol> {
    /// Message of the peer.
    Message(P::Message),
    /// Local event.
    Event(P::Event),
}

impl<P: Protocol> Input<P> {
    /// Returns the message.
    pub fn message(&self) -> Option<&P::Message> {
        match self {
            Input::Message(message) => Some(message),
            Input::Event(_) => None,
        }
    }
}

/// Circumstances in which an input is heard.
#[derive(Clone, Copy, Debug)]
pub struct Hearing {
    /// Id of the input: ids on the wire may be derived from it.
    pub event: EventId,
    /// The sender has its answer already, by [`Protocol::acknowledge`].
    pub acknowledged: bool,
    /// Time.
    pub now: Time,
}

/// Outcome of an input.
#[derive(Debug)]
pub struct Outcome<M> {
    /// Signals for the call.
    pub signals: Vec<Signal>,
    /// Messages to send at once.
    pub send_now: Vec<M>,
    /// Messages to send after the commit: they promise something.
    pub send_after_commit: Vec<M>,
    /// Commits the state before `send_after_commit` even without signals.
    pub must_commit: bool,
}

impl<M> Default for Outcome<M> {
    fn default() -> Self {
        Outcome { signals: vec![], send_now: vec![], send_after_commit: vec![], must_commit: false }
    }
}

/// Decision about a leg whose lifetime is over.
#[derive(Debug)]
pub enum Expiry<E> {
    /// The leg leaves the cache; the record brings it back.
    Forget,
    /// The leg stays for another lifetime.
    Keep,
    /// The event is heard, and the leg stays for another lifetime.
    Hear(E),
}

/// Decision about a message for a leg that no record knows.
#[derive(Debug)]
pub enum Reopening<S> {
    /// The message opens a call with this state.
    Opened(S),
    /// The protocol has answered the message.
    Answered,
    /// The message is refused.
    Unknown,
}
