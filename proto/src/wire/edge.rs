//! Conversions of the messages between edges and orchestrators.

use super::{WireError, list, number, optional, present, short};
use crate::v1;
use crate::v1::ask::Ask as Asked;
use crate::v1::verdict::Verdict as Given;
use signal::{
    Ask, EffectId, EventId, Handover, Heard, LegId, LegRef, LegState, Opening, Order, RecordId, RecordKind,
    Said, Say, Time, Verdict, Wake,
};

/// Number of signals of one event at most.
const SIGNALS: usize = 32;
/// Longest id of a leg on the wire, octets.
const WIRE_ID: usize = 1_024;
/// Highest number of a leg.
const LAST_LEG: u8 = 31;

fn record(
    kind: u32,
    hash: &[u8],
    (kind_field, hash_field): (&'static str, &'static str),
) -> Result<RecordId, WireError> {
    let known = number(kind, kind_field).ok().and_then(RecordKind::of);
    let kind = known.ok_or_else(|| WireError::new(kind_field, format!("{kind} is not known here")))?;
    let length = |_| WireError::new(hash_field, format!("{} octets, not 10", hash.len()));
    Ok(RecordId { kind, hash: hash.try_into().map_err(length)? })
}

impl From<&LegRef> for v1::LegRef {
    fn from(leg: &LegRef) -> v1::LegRef {
        v1::LegRef {
            record: leg.record.hash.into(),
            leg: leg.leg.0.into(),
            kind: leg.record.kind.number().into(),
        }
    }
}

impl TryFrom<v1::LegRef> for LegRef {
    type Error = WireError;
    fn try_from(leg: v1::LegRef) -> Result<LegRef, WireError> {
        let place: u8 = number(leg.leg, "LegRef.leg")?;
        if place > LAST_LEG {
            return Err(WireError::new("LegRef.leg", format!("{place} is out of range")));
        }
        Ok(LegRef {
            record: record(leg.kind, &leg.record, ("LegRef.kind", "LegRef.record"))?,
            leg: LegId(place),
        })
    }
}

impl From<&EffectId> for v1::EffectId {
    fn from(id: &EffectId) -> v1::EffectId {
        v1::EffectId {
            record: id.record.hash.into(),
            version: id.version,
            index: id.index.into(),
            kind: id.record.kind.number().into(),
        }
    }
}

impl TryFrom<v1::EffectId> for EffectId {
    type Error = WireError;
    fn try_from(id: v1::EffectId) -> Result<EffectId, WireError> {
        Ok(EffectId {
            record: record(id.kind, &id.record, ("EffectId.kind", "EffectId.record"))?,
            version: id.version,
            index: number(id.index, "EffectId.index")?,
        })
    }
}

impl From<&LegState> for v1::LegState {
    fn from(state: &LegState) -> v1::LegState {
        v1::LegState {
            leg: Some(v1::LegRef::from(&state.leg)),
            revision: state.revision,
            dialog: state.dialog.clone(),
            edge: state.edge.clone(),
            trace: state.trace.clone(),
        }
    }
}

impl TryFrom<v1::LegState> for LegState {
    type Error = WireError;
    fn try_from(state: v1::LegState) -> Result<LegState, WireError> {
        Ok(LegState {
            leg: present(state.leg, "LegState.leg")?.try_into()?,
            revision: state.revision,
            dialog: state.dialog,
            edge: state.edge,
            trace: state.trace,
        })
    }
}

impl From<&Opening> for v1::Opening {
    fn from(opening: &Opening) -> v1::Opening {
        v1::Opening {
            from: Some(v1::Party::from(&opening.from)),
            to: Some(v1::Party::from(&opening.to)),
            link: opening.link.clone(),
            hops: opening.hops.into(),
            referral: opening.referral.as_ref().map(v1::Referral::from),
            diverted: opening.diverted.as_ref().map(v1::Diverted::from),
        }
    }
}

impl TryFrom<v1::Opening> for Opening {
    type Error = WireError;
    fn try_from(opening: v1::Opening) -> Result<Opening, WireError> {
        Ok(Opening {
            from: present(opening.from, "Opening.from")?.try_into()?,
            to: present(opening.to, "Opening.to")?.try_into()?,
            link: opening.link,
            hops: number(opening.hops, "Opening.hops")?,
            referral: optional(opening.referral)?,
            diverted: optional(opening.diverted)?,
        })
    }
}

fn wire_id(id: Option<String>, field: &'static str) -> Result<Option<String>, WireError> {
    id.map(|id| short(id, WIRE_ID, field)).transpose()
}

impl<S> From<&Heard<S>> for v1::Heard
where
    for<'a> v1::Signal: From<&'a S>,
{
    fn from(heard: &Heard<S>) -> v1::Heard {
        v1::Heard {
            leg: Some(v1::LegRef::from(&heard.leg)),
            base: heard.base,
            event: heard.event.0,
            signals: heard.signals.iter().map(v1::Signal::from).collect(),
            dialog: heard.dialog.clone(),
            edge: heard.edge.clone(),
            opening: heard.opening.as_ref().map(v1::Opening::from),
            wake: heard.wake.map(|at| at.0),
            wire_id: heard.wire_id.clone(),
        }
    }
}

impl<S: TryFrom<v1::Signal, Error = WireError>> TryFrom<v1::Heard> for Heard<S> {
    type Error = WireError;
    fn try_from(heard: v1::Heard) -> Result<Heard<S>, WireError> {
        Ok(Heard {
            leg: present(heard.leg, "Heard.leg")?.try_into()?,
            base: heard.base,
            event: EventId(heard.event),
            signals: list(heard.signals, SIGNALS, "Heard.signals")?,
            dialog: heard.dialog,
            edge: heard.edge,
            opening: optional(heard.opening)?,
            wake: heard.wake.map(Time),
            wire_id: wire_id(heard.wire_id, "Heard.wire_id")?,
        })
    }
}

impl<S> From<&Ask<S>> for v1::Ask
where
    for<'a> v1::Signal: From<&'a S>,
{
    fn from(ask: &Ask<S>) -> v1::Ask {
        let ask = match ask {
            Ask::Heard(heard) => Asked::Heard(heard.into()),
            Ask::Recall(leg) => Asked::Recall(leg.into()),
        };
        v1::Ask { ask: Some(ask) }
    }
}

impl<S: TryFrom<v1::Signal, Error = WireError>> TryFrom<v1::Ask> for Ask<S> {
    type Error = WireError;
    fn try_from(ask: v1::Ask) -> Result<Ask<S>, WireError> {
        Ok(match present(ask.ask, "Ask.ask")? {
            Asked::Heard(heard) => Ask::Heard(heard.try_into()?),
            Asked::Recall(leg) => Ask::Recall(leg.try_into()?),
        })
    }
}

impl From<&Verdict> for v1::Verdict {
    fn from(verdict: &Verdict) -> v1::Verdict {
        let verdict = match verdict {
            Verdict::Committed { revision, trace } => {
                Given::Committed(v1::Committed { revision: *revision, trace: trace.clone() })
            }
            Verdict::Stale(state) => Given::Stale(state.into()),
            Verdict::Leg(state) => Given::Leg(state.into()),
            Verdict::Gone => Given::Gone(v1::Nothing {}),
            Verdict::Refused(end) => Given::Refused(end.into()),
            Verdict::Unavailable => Given::Unavailable(v1::Nothing {}),
        };
        v1::Verdict { verdict: Some(verdict) }
    }
}

impl TryFrom<v1::Verdict> for Verdict {
    type Error = WireError;
    fn try_from(verdict: v1::Verdict) -> Result<Verdict, WireError> {
        Ok(match present(verdict.verdict, "Verdict.verdict")? {
            Given::Committed(done) => Verdict::Committed { revision: done.revision, trace: done.trace },
            Given::Stale(state) => Verdict::Stale(state.try_into()?),
            Given::Leg(state) => Verdict::Leg(state.try_into()?),
            Given::Gone(v1::Nothing {}) => Verdict::Gone,
            Given::Refused(end) => Verdict::Refused(end.try_into()?),
            Given::Unavailable(v1::Nothing {}) => Verdict::Unavailable,
        })
    }
}

impl<S> From<&Say<S>> for v1::Say
where
    for<'a> v1::Signal: From<&'a S>,
{
    fn from(say: &Say<S>) -> v1::Say {
        v1::Say {
            id: Some(v1::EffectId::from(&say.id)),
            state: Some(v1::LegState::from(&say.state)),
            count: say.count,
            signal: Some(v1::Signal::from(&say.signal)),
            opening: say.opening.as_ref().map(v1::Opening::from),
            wake: false,
        }
    }
}

impl<S: TryFrom<v1::Signal, Error = WireError>> TryFrom<v1::Say> for Say<S> {
    type Error = WireError;
    fn try_from(say: v1::Say) -> Result<Say<S>, WireError> {
        Ok(Say {
            id: present(say.id, "Say.id")?.try_into()?,
            state: present(say.state, "Say.state")?.try_into()?,
            count: say.count,
            signal: present(say.signal, "Say.signal")?.try_into()?,
            opening: optional(say.opening)?,
        })
    }
}

impl<S> From<&Order<S>> for v1::Say
where
    for<'a> v1::Signal: From<&'a S>,
{
    fn from(order: &Order<S>) -> v1::Say {
        match order {
            Order::Say(say) => say.into(),
            Order::Wake(Wake { id, state }) => {
                v1::Say { id: Some(id.into()), state: Some(state.into()), wake: true, ..v1::Say::default() }
            }
        }
    }
}

impl<S: TryFrom<v1::Signal, Error = WireError>> TryFrom<v1::Say> for Order<S> {
    type Error = WireError;
    fn try_from(order: v1::Say) -> Result<Order<S>, WireError> {
        if !order.wake {
            return Ok(Order::Say(order.try_into()?));
        }
        Ok(Order::Wake(Wake {
            id: present(order.id, "Say.id")?.try_into()?,
            state: present(order.state, "Say.state")?.try_into()?,
        }))
    }
}

impl From<&Said> for v1::Said {
    fn from(said: &Said) -> v1::Said {
        v1::Said {
            id: Some(v1::EffectId::from(&said.id)),
            base: said.base,
            dialog: said.dialog.clone(),
            wake: said.wake.map(|at| at.0),
            edge: said.edge.clone(),
            failed: said.failed.as_ref().map(v1::End::from),
            wire_id: said.wire_id.clone(),
        }
    }
}

impl TryFrom<v1::Said> for Said {
    type Error = WireError;
    fn try_from(said: v1::Said) -> Result<Said, WireError> {
        Ok(Said {
            id: present(said.id, "Said.id")?.try_into()?,
            base: said.base,
            dialog: said.dialog,
            wake: said.wake.map(Time),
            edge: said.edge,
            failed: optional(said.failed)?,
            wire_id: wire_id(said.wire_id, "Said.wire_id")?,
        })
    }
}

impl From<&Handover> for v1::Handover {
    fn from(handover: &Handover) -> v1::Handover {
        v1::Handover { source: handover.source.clone(), message: handover.message.clone() }
    }
}

impl TryFrom<v1::Handover> for Handover {
    type Error = WireError;
    fn try_from(handover: v1::Handover) -> Result<Handover, WireError> {
        Ok(Handover { source: handover.source, message: handover.message })
    }
}
