//! Conversions of signals of any vocabulary: those of calls in `signal.rs`, the others here.

use super::{WireError, present, short, unknown};
use crate::v1;
use crate::v1::message_signal::Signal as Messaged;
use crate::v1::presence_signal::Signal as Present;
use crate::v1::signal::Signal as Said;
use signal::message::MAX_BODY;
use signal::presence::MAX_STATUS;
use signal::{AnySignal, InstantMessage, MessageSignal, PresenceSignal, Show, Signal};

/// Longest id and content type of a message, octets.
const NAME: usize = 1_024;

impl From<&AnySignal> for v1::Signal {
    fn from(signal: &AnySignal) -> v1::Signal {
        match signal {
            AnySignal::Call(signal) => signal.into(),
            AnySignal::Message(signal) => v1::Signal { signal: Some(Said::Message(signal.into())) },
            AnySignal::Presence(signal) => v1::Signal { signal: Some(Said::Presence(signal.into())) },
        }
    }
}

impl TryFrom<v1::Signal> for AnySignal {
    type Error = WireError;
    fn try_from(signal: v1::Signal) -> Result<AnySignal, WireError> {
        Ok(match signal.signal {
            Some(Said::Message(signal)) => AnySignal::Message(signal.try_into()?),
            Some(Said::Presence(signal)) => AnySignal::Presence(signal.try_into()?),
            call => AnySignal::Call(Signal::try_from(v1::Signal { signal: call })?),
        })
    }
}

impl From<&MessageSignal> for v1::MessageSignal {
    fn from(signal: &MessageSignal) -> v1::MessageSignal {
        let signal = match signal {
            MessageSignal::Send(InstantMessage { id, content_type, body }) => {
                let (id, content_type, body) = (id.clone(), content_type.clone(), body.clone());
                Messaged::Send(v1::InstantMessage { id, content_type, body })
            }
            MessageSignal::Accepted => Messaged::Accepted(v1::Nothing {}),
            MessageSignal::Delivered => Messaged::Delivered(v1::Nothing {}),
            MessageSignal::Failed(end) => Messaged::Failed(end.into()),
        };
        v1::MessageSignal { signal: Some(signal) }
    }
}

impl TryFrom<v1::MessageSignal> for MessageSignal {
    type Error = WireError;
    fn try_from(signal: v1::MessageSignal) -> Result<MessageSignal, WireError> {
        Ok(match present(signal.signal, "MessageSignal.signal")? {
            Messaged::Send(message) => MessageSignal::Send(InstantMessage {
                id: short(message.id, NAME, "InstantMessage.id")?,
                content_type: short(message.content_type, NAME, "InstantMessage.content_type")?,
                body: short(message.body, MAX_BODY, "InstantMessage.body")?,
            }),
            Messaged::Accepted(v1::Nothing {}) => MessageSignal::Accepted,
            Messaged::Delivered(v1::Nothing {}) => MessageSignal::Delivered,
            Messaged::Failed(end) => MessageSignal::Failed(end.try_into()?),
        })
    }
}

impl From<&PresenceSignal> for v1::PresenceSignal {
    fn from(signal: &PresenceSignal) -> v1::PresenceSignal {
        let signal = match signal {
            PresenceSignal::Subscribe => Present::Subscribe(v1::Nothing {}),
            PresenceSignal::Subscribed => Present::Subscribed(v1::Nothing {}),
            PresenceSignal::Unsubscribe => Present::Unsubscribe(v1::Nothing {}),
            PresenceSignal::Unsubscribed => Present::Unsubscribed(v1::Nothing {}),
            PresenceSignal::Available { show, status } => Present::Available(v1::Available {
                show: v1::Show::from(*show).into(),
                status: status.clone(),
            }),
            PresenceSignal::Unavailable { status } => {
                Present::Unavailable(v1::Unavailable { status: status.clone() })
            }
        };
        v1::PresenceSignal { signal: Some(signal) }
    }
}

impl TryFrom<v1::PresenceSignal> for PresenceSignal {
    type Error = WireError;
    fn try_from(signal: v1::PresenceSignal) -> Result<PresenceSignal, WireError> {
        let status =
            |text: Option<String>, field| text.map(|text| short(text, MAX_STATUS, field)).transpose();
        Ok(match present(signal.signal, "PresenceSignal.signal")? {
            Present::Subscribe(v1::Nothing {}) => PresenceSignal::Subscribe,
            Present::Subscribed(v1::Nothing {}) => PresenceSignal::Subscribed,
            Present::Unsubscribe(v1::Nothing {}) => PresenceSignal::Unsubscribe,
            Present::Unsubscribed(v1::Nothing {}) => PresenceSignal::Unsubscribed,
            Present::Available(available) => PresenceSignal::Available {
                show: show(available.show)?,
                status: status(available.status, "Available.status")?,
            },
            Present::Unavailable(unavailable) => {
                PresenceSignal::Unavailable { status: status(unavailable.status, "Unavailable.status")? }
            }
        })
    }
}

impl From<Show> for v1::Show {
    fn from(show: Show) -> v1::Show {
        match show {
            Show::Online => v1::Show::Online,
            Show::Chat => v1::Show::Chat,
            Show::Away => v1::Show::Away,
            Show::ExtendedAway => v1::Show::ExtendedAway,
            Show::DoNotDisturb => v1::Show::DoNotDisturb,
        }
    }
}

fn show(value: i32) -> Result<Show, WireError> {
    match v1::Show::try_from(value) {
        Ok(v1::Show::Online) => Ok(Show::Online),
        Ok(v1::Show::Chat) => Ok(Show::Chat),
        Ok(v1::Show::Away) => Ok(Show::Away),
        Ok(v1::Show::ExtendedAway) => Ok(Show::ExtendedAway),
        Ok(v1::Show::DoNotDisturb) => Ok(Show::DoNotDisturb),
        Ok(v1::Show::Unspecified) | Err(_) => Err(unknown("Available.show", value)),
    }
}
