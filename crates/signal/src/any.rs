//! Signals of any vocabulary, as edges and orchestrators exchange them. What serves calls alone takes [`Signal`] out of them.

use crate::{Ask, Heard, LegRef, MessageSignal, Order, PresenceSignal, RecordKind, Say, Signal};

/// Signal of any vocabulary: the kind of the record that a leg belongs to tells which one is spoken on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnySignal {
    /// Signal of a call.
    Call(Signal),
    /// Signal about a message.
    Message(MessageSignal),
    /// Signal of a subscription to presence.
    Presence(PresenceSignal),
}

impl AnySignal {
    /// Returns the variant's name for logs, spans and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            AnySignal::Call(signal) => signal.name(),
            AnySignal::Message(signal) => signal.name(),
            AnySignal::Presence(signal) => signal.name(),
        }
    }

    /// Returns the signal of a call; `None` for one of another vocabulary.
    #[must_use]
    pub fn of_call(self) -> Option<Signal> {
        match self {
            AnySignal::Call(signal) => Some(signal),
            AnySignal::Message(_) | AnySignal::Presence(_) => None,
        }
    }
}

impl Ask<AnySignal> {
    /// Returns the ask about a call; `None` for one about another kind of record, or in another vocabulary.
    #[must_use]
    pub fn of_call(self) -> Option<Ask> {
        match self {
            Ask::Heard(heard) => {
                let signals = heard.signals.into_iter().map(AnySignal::of_call).collect::<Option<_>>()?;
                is_call(heard.leg).then_some(Ask::Heard(Heard {
                    signals,
                    leg: heard.leg,
                    base: heard.base,
                    event: heard.event,
                    dialog: heard.dialog,
                    edge: heard.edge,
                    opening: heard.opening,
                    wake: heard.wake,
                    wire_id: heard.wire_id,
                }))
            }
            Ask::Recall(leg) => is_call(leg).then_some(Ask::Recall(leg)),
        }
    }
}

impl Order<AnySignal> {
    /// Returns the order about a leg of a call; `None` for one about another kind of record, or in another vocabulary.
    #[must_use]
    pub fn of_call(self) -> Option<Order> {
        let call = is_call(self.state().leg);
        let order = match self {
            Order::Say(Say { id, state, count, signal, opening }) => {
                Order::Say(Say { id, state, count, signal: signal.of_call()?, opening })
            }
            Order::Wake(wake) => Order::Wake(wake),
        };
        call.then_some(order)
    }
}

fn is_call(leg: LegRef) -> bool {
    leg.record.kind == RecordKind::Call
}
