//! The protocol of the tests.

use crate::{Expiry, Hearing, Held, Input, LegMut, Membership, Outcome, Protocol, Reopening};
use signal::{End, EventId, Handover, LegRef, LegState, Opening, Reason, Say, Signal, Time, Tone};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Opens a call.
    Call,
    /// A digit; its sender waits for the answer.
    Digit(u8),
    /// Something that the call need not know, answered at once.
    Note,
    /// A digit that is received at once and taken after the commit.
    Receipt(u8),
    /// The end; nobody hangs up twice.
    Bye,
    /// One of many of its kind.
    Progress,
    /// Belongs to the edge that the record names.
    Elsewhere,
    /// A digit of a party that joined, which a leg knows once it rings.
    Joined,
    /// Of nobody here.
    Foreign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer fell silent.
    Silence,
    /// The lifetime of a leg that rings is over.
    Expired,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// Sends the last message again.
    Repeat,
    Silence,
}

/// State of a leg: number of things heard or said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub count: u8,
    pub over: bool,
    pub rings: bool,
}

#[derive(Debug, Default)]
pub struct Toy {
    pub sent: Vec<String>,
    /// Number of legs whose local state was used and not removed.
    pub locals: usize,
    /// Nothing finds room.
    pub no_room: bool,
    /// Messages for legs that no record knows open calls.
    pub reopens: bool,
    /// Legs are kept beyond their lifetime.
    pub keeps: bool,
    /// A repeated message is due again at once.
    pub eager: bool,
    /// Legs see to their own timers.
    pub awake: bool,
}

impl Protocol for Toy {
    const MAX_WAITING: usize = 4;
    type State = State;
    type Local = bool;
    type Message = Message;
    type Event = Event;
    type Timer = Timer;
    type Outgoing = String;

    fn decode(octets: &[u8]) -> Option<State> {
        let [count, over, rings] = octets else { return None };
        Some(State { count: *count, over: *over > 0, rings: *rings > 0 })
    }

    fn encode(state: &State) -> Vec<u8> {
        vec![state.count, u8::from(state.over), u8::from(state.rings)]
    }

    fn end(state: &mut State) {
        state.over = true;
    }

    fn is_over(state: &State) -> bool {
        state.over
    }

    fn event_id(&self, leg: LegRef, state: &State, revision: u32, input: &Input<Self>) -> EventId {
        let label = match input {
            Input::Message(message) => format!("{message:?}"),
            Input::Event(event) => format!("{event:?} {revision} {}", state.count),
        };
        EventId::of(&[&leg.to_string(), &label])
    }

    fn opening(&self, message: &Message) -> Option<Opening> {
        (*message == Message::Call).then(super::opening)
    }

    fn membership(&self, state: &State, message: &Message) -> Membership {
        match message {
            Message::Foreign => Membership::Foreign,
            Message::Joined if !state.rings => Membership::Unknown,
            _ => Membership::Own,
        }
    }

    fn disown(&mut self, _: LegRef, _: &State, message: &Message) {
        self.sent.push(format!("{message:?} is not of this leg"));
    }

    fn hear(
        &mut self,
        leg: &mut LegMut<'_, Self>,
        state: &mut State,
        input: &Input<Self>,
        hearing: &Hearing,
    ) -> Outcome<String> {
        if !std::mem::replace(leg.local, true) {
            self.locals += 1;
        }
        let mut outcome = Outcome::default();
        let answer = |text: String| if hearing.acknowledged { vec![] } else { vec![text] };
        if state.over {
            outcome.send_now = answer("over".into());
            return outcome;
        }
        state.count += 1;
        match input {
            Input::Message(Message::Call) => {
                outcome.signals.push(Signal::Ringing);
                outcome.send_after_commit.push("welcome".into());
            }
            Input::Message(Message::Digit(n)) => {
                outcome.signals.push(Signal::Tone(Tone { digit: '1', duration: 100 }));
                outcome.send_after_commit = answer(format!("took {n}"));
            }
            Input::Message(Message::Receipt(n)) => {
                outcome.signals.push(Signal::Ringing);
                // What is sent at once names the state, as an open offer would.
                outcome.send_now.push(format!("received {n}"));
                if state.rings {
                    outcome.send_now.push("still ringing".into());
                }
                outcome.send_after_commit.push(format!("took {n}"));
            }
            Input::Message(Message::Joined) => {
                outcome.signals.push(Signal::Tone(Tone { digit: '2', duration: 100 }));
                outcome.send_after_commit = answer("took it".into());
            }
            Input::Message(Message::Note | Message::Elsewhere | Message::Progress | Message::Foreign) => {
                outcome.send_now.push("noted".into());
            }
            Input::Message(Message::Bye) => {
                state.over = true;
                outcome.signals.push(Signal::End(Reason::Normal.into()));
                outcome.send_after_commit = answer("goodbye".into());
            }
            Input::Event(Event::Silence | Event::Expired) => {
                state.over = true;
                outcome.signals.push(Signal::End(Reason::Timeout.into()));
                outcome.send_now.push("are you there?".into());
                outcome.send_after_commit.push("too late".into());
            }
        }
        outcome
    }

    fn open(&mut self, _: LegRef, opening: &Opening) -> Result<State, Reason> {
        if opening.link == "nowhere" { Err(Reason::Connectivity) } else { Ok(State::default()) }
    }

    fn say(&mut self, leg: &mut LegMut<'_, Self>, state: &mut State, order: &Say, _: Time) -> Vec<String> {
        if !std::mem::replace(leg.local, true) {
            self.locals += 1;
        }
        state.count += 1;
        vec![format!("order {}", order.id.version)]
    }

    fn send(
        &mut self,
        _: &mut LegMut<'_, Self>,
        _: &State,
        _: Option<&Message>,
        outgoing: Vec<String>,
        _: Time,
    ) -> bool {
        if !self.no_room {
            self.sent.extend(outgoing);
        }
        !self.no_room
    }

    fn fire(
        &mut self,
        leg: &mut LegMut<'_, Self>,
        _: Option<&State>,
        timer: Timer,
        now: Time,
    ) -> Option<Event> {
        match timer {
            Timer::Repeat => {
                self.sent.push("repeated".into());
                leg.timers.set(Timer::Repeat, now + if self.eager { 0 } else { 100 });
                None
            }
            Timer::Silence => Some(Event::Silence),
        }
    }

    fn wake(state: &State) -> Option<Time> {
        (state.rings && !state.over).then_some(Time(1_000 + u64::from(state.count)))
    }

    fn woken(&mut self, _: &mut LegMut<'_, Self>, _: &State, _: Time) -> Option<Event> {
        (!self.awake).then_some(Event::Silence)
    }

    fn lifetime(&self, state: &State) -> u64 {
        if state.over { 32_000 } else { 600_000 }
    }

    fn expire(&mut self, _: &mut LegMut<'_, Self>, state: &State) -> Expiry<Event> {
        match state {
            _ if self.keeps => Expiry::Keep,
            State { rings: true, over: false, .. } => Expiry::Hear(Event::Expired),
            _ => Expiry::Forget,
        }
    }

    fn can_refuse(&self, message: &Message) -> bool {
        *message != Message::Bye
    }

    fn can_drop(&self, message: &Message) -> bool {
        *message == Message::Progress
    }

    fn refuse(&mut self, _: LegRef, message: &Message, end: &End, opening: bool, _: Time) {
        let call = if opening { " call" } else { "" };
        self.sent.push(format!("no{call} {message:?}: {:?}", end.reason));
    }

    fn acknowledge(&mut self, _: LegRef, _: Option<&State>, message: &Message, _: Time) {
        self.sent.push(format!("will do {message:?}"));
    }

    fn forward(&self, message: &Message, leg: &LegState) -> Option<(String, Handover)> {
        let away = matches!(message, Message::Elsewhere | Message::Digit(9)) && !leg.edge.is_empty();
        away.then(|| (leg.edge.clone(), Handover { source: "here".into(), message: vec![] }))
    }

    fn reopen(&mut self, held: &Held<Self>, leg: LegRef, message: &Message) -> Reopening<State> {
        assert!(!held.contains(leg));
        match message {
            Message::Call if self.reopens => Reopening::Opened(State::default()),
            _ => Reopening::Unknown,
        }
    }

    fn removed(&mut self, _: LegRef, local: bool) {
        self.locals -= usize::from(local);
    }
}
