//! An edge and the peer behind it, as far as one leg goes.

use signal::{EffectId, End, LegId, Reason, Said, Signal, Time};
use std::collections::BTreeMap;

/// The knowledge that an edge and its peer have of a leg.
#[derive(Default)]
pub struct Side {
    pub revision: u32,
    /// Orders that were carried out, with their reply: an edge that gets one again says the same again.
    said: BTreeMap<EffectId, Said>,
    /// Signals that the peer was told and may react to, oldest first.
    pub told: Vec<Signal>,
    /// The peer has yet to describe its media.
    pub undescribed: bool,
    pub answered: bool,
    /// The peer knows of the leg.
    pub opened: bool,
    /// The peer was offered a call that it has not answered.
    pub rings: bool,
    /// The last word was an end, from either side.
    pub gone: bool,
    /// The edge reported that it could not say the end.
    pub lost: bool,
}

impl Side {
    /// The side of the party that opened the call.
    pub fn caller(undescribed: bool) -> Side {
        Side { revision: 1, undescribed, opened: true, ..Side::default() }
    }

    /// Says something to the peer, and wants to be woken at a time; `fails`: it does not get through.
    pub fn say(
        &mut self,
        id: EffectId,
        leg: LegId,
        signal: &Signal,
        wake: Option<Time>,
        fails: bool,
    ) -> Said {
        if let Some(said) = self.said.get(&id) {
            return said.clone();
        }
        let base = self.revision;
        let (dialog, edge) = (Some(vec![leg.0, 1]), "edge-b".into());
        let mut said = Said { id, base, dialog, wake, edge, failed: None, wire_id: None };
        if fails || !self.opened && !matches!(signal, Signal::Offer(_)) {
            // Nothing has left.
            self.lost |= self.opened && matches!(signal, Signal::End(_));
            (said.dialog, said.failed) = (None, Some(End::from(Reason::Connectivity)));
            return said;
        }
        self.revision += 1;
        match signal {
            // An end that came before found nobody.
            Signal::Offer(_) => (self.opened, self.rings) = (true, true),
            Signal::End(_) => self.gone = true,
            Signal::Answer(_) => self.answered = true,
            _ => {}
        }
        self.told.push(signal.clone());
        self.said.insert(id, said.clone());
        said
    }

    /// Returns true if nobody is left at this leg who believes in the call.
    pub fn is_over(&self) -> bool {
        self.gone || self.lost || !self.opened
    }
}
