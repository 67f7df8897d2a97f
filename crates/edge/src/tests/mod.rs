//! Leg core on virtual time with a protocol of a few words: each guarantee has a test that fails without it.

mod commits;
mod limits;
mod memory;
mod orders;
mod toy;
mod wake;
mod walk;

use crate::{Config, Legs, Limits, Output};
use signal::{
    Ask, EffectId, End, Handover, Heard, LegId, LegRef, LegState, Opening, Party, Reason, RecordId, Said,
    Say, Signal, Time, Verdict, Wake,
};
use toy::{Message, State, Toy};

pub(super) const MAX_LEGS: usize = 10;

/// Leg core with a scripted orchestrator.
pub(super) struct Bench {
    pub legs: Legs<Toy>,
    pub now: Time,
    pub asks: Vec<(u64, Ask)>,
    pub said: Vec<Said>,
    pub forwarded: Vec<(u64, String, Handover)>,
}

pub(super) fn leg(number: u8) -> LegRef {
    LegRef { record: RecordId::call([number; 10]), leg: LegId(0) }
}

pub(super) fn state(id: LegRef, revision: u32, state: State) -> LegState {
    let dialog = <Toy as crate::Protocol>::encode(&state);
    LegState { leg: id, revision, dialog, edge: String::new(), trace: String::new() }
}

pub(super) fn committed(revision: u32) -> Verdict {
    Verdict::Committed { revision, trace: String::new() }
}

pub(super) fn opening() -> Opening {
    Opening {
        from: Party::sip("sip:a@b"),
        to: Party::sip("sip:c@d"),
        link: "trunk".into(),
        hops: 70,
        diverted: None,
        referral: None,
    }
}

pub(super) fn bench() -> Bench {
    limited(vec![])
}

pub(super) fn limited(limits: Vec<(String, Limits)>) -> Bench {
    let config = Config { instance: "one".into(), max_legs: MAX_LEGS, limits };
    let legs = Legs::new(Toy::default(), config);
    Bench { legs, now: Time(1_000_000), asks: vec![], said: vec![], forwarded: vec![] }
}

impl Bench {
    pub fn drain(&mut self) {
        while let Some(output) = self.legs.poll_output() {
            match output {
                Output::Ask(ticket, ask) => self.asks.push((ticket, ask)),
                Output::Said(said) => self.said.push(said),
                Output::Forward(ticket, edge, message) => self.forwarded.push((ticket, edge, message)),
            }
        }
    }

    pub fn open(&mut self, id: LegRef) {
        self.legs.open(id, State::default(), Message::Call, self.now);
        self.drain();
    }

    /// A leg that is in the record with revision 1.
    pub fn opened(&mut self, id: LegRef) {
        self.open(id);
        let (ticket, heard) = self.heard();
        assert!(heard.opening.is_some() && heard.base == 0);
        self.verdict(ticket, committed(1));
        assert_eq!(self.sent(), ["welcome"]);
    }

    pub fn message(&mut self, id: LegRef, message: Message) {
        self.legs.handle_message(id, message, self.now);
        self.drain();
    }

    pub fn verdict(&mut self, ticket: u64, verdict: Verdict) {
        self.legs.handle_verdict(ticket, verdict, self.now);
        self.drain();
    }

    pub fn wait(&mut self, ms: u64) {
        self.now = self.now + ms;
        self.legs.handle_timeout(self.now);
        self.drain();
    }

    pub fn heard(&mut self) -> (u64, Heard) {
        match self.asks.remove(0) {
            (ticket, Ask::Heard(heard)) => (ticket, heard),
            other => panic!("not heard: {other:?}"),
        }
    }

    pub fn recalled(&mut self) -> u64 {
        match self.asks.remove(0) {
            (ticket, Ask::Recall(_)) => ticket,
            other => panic!("not recalled: {other:?}"),
        }
    }

    pub fn sent(&mut self) -> Vec<String> {
        std::mem::take(&mut self.legs.protocol.sent)
    }

    pub fn order(&mut self, number: u64, state: LegState, opening: Option<Opening>) {
        let id = EffectId { record: state.leg.record, version: number, index: 0 };
        let signal = Signal::End(End::from(Reason::Normal));
        self.legs.handle_order(Say { id, state, count: 0, signal, opening }, self.now);
        self.drain();
    }

    pub fn wake(&mut self, number: u64, state: LegState) {
        let id = EffectId { record: state.leg.record, version: number, index: 0 };
        self.legs.handle_order(Wake { id, state }, self.now);
        self.drain();
    }

    /// Nothing is kept any more, and nothing will happen.
    pub fn is_empty(&self) -> bool {
        self.legs.held().is_empty()
            && self.legs.asks() == 0
            && self.legs.poll_timeout().is_none()
            && self.legs.protocol.locals == 0
    }
}
