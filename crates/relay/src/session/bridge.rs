//! The bridge of a session: which legs hear each other. It may change while packets flow.
//!
//! One rule: a stream belongs to its hearer. Whoever is heard, the hearer's stream keeps its SSRC, its sequence numbers and its
//! timestamps ([`crate::packet::Splice`]); endpoints, latches, keys and reports are each leg's own and know nothing of the bridge.

use super::table::{Leg, Session};
use super::types::Refusal;
use super::worker::Worker;
use signal::{LegId, Time};

impl Worker {
    /// Bridges legs: content by content, the two of each pair hear each other from now on, and a leg in no pair hears nobody. Asked
    /// again, it changes nothing.
    ///
    /// # Errors
    /// [`Refusal::Bridge`]: the bridge is then as it was. [`Refusal::Full`]: codecs do not meet and there is no room to transcode; the
    /// bridge has changed, and the pair hears nothing until this is asked again.
    pub fn bridge(&mut self, session: &str, pairs: &[(LegId, LegId)], now: Time) -> Result<(), Refusal> {
        let at = self.sessions.find(session)?;
        let Some(session) = self.sessions.get_mut(at) else { return Ok(()) };
        let both = |(one, other): &(LegId, LegId)| [*one, *other];
        for (place, leg) in pairs.iter().flat_map(both).enumerate() {
            if session.leg(leg).is_none() {
                return Err(Refusal::Bridge(leg.0, "is not known"));
            }
            if pairs.iter().flat_map(both).skip(place + 1).any(|other| other == leg) {
                return Err(Refusal::Bridge(leg.0, "is in two places"));
            }
        }
        session.bridge = pairs.to_vec();
        self.mark_changed(at, now);
        self.rebridge(at, now)
    }

    /// Makes the endpoints of a session hear those that its bridge names.
    pub(super) fn rebridge(&mut self, at: u32, now: Time) -> Result<(), Refusal> {
        let Some(session) = self.sessions.get(at) else { return Ok(()) };
        let wanted = |leg: &Leg| {
            let (id, endpoints) = (leg.id, leg.endpoints.iter().zip(0..));
            let peers = endpoints.map(move |(index, content)| (*index, session.bridged(id, content)));
            peers.collect::<Vec<_>>()
        };
        let wanted: Vec<(u32, Option<u32>)> = session.legs.iter().flat_map(wanted).collect();
        for (index, peer) in &wanted {
            if self.endpoints.get(*index).is_some_and(|end| end.peer != *peer) {
                self.part(*index);
            }
        }
        let pairs = wanted.into_iter().filter_map(|(index, peer)| Some((index, peer?)));
        let mut done = Ok(());
        for (index, peer) in pairs.filter(|(index, peer)| index < peer) {
            if let Some((one, other)) = self.endpoints.pair(index, peer) {
                (one.peer, other.peer) = (Some(peer), Some(index));
            }
            done = done.and(self.fit(index, now));
        }
        done
    }

    /// Ends that the endpoint at `index` and its peer hear each other.
    pub(super) fn part(&mut self, index: u32) {
        let Worker { endpoints, sounds, .. } = self;
        let Some(peer) = endpoints.get(index).and_then(|end| end.peer) else { return };
        if let Some((near, far)) = endpoints.pair(index, peer) {
            near.part(far);
            far.part(near);
            sounds.close(&mut near.stream);
            sounds.close(&mut far.stream);
        }
    }

    /// Fits an endpoint and the one that it is bridged with to each other, once both are connected.
    pub(super) fn fit(&mut self, index: u32, now: Time) -> Result<(), Refusal> {
        let Some(end) = self.endpoints.get(index).filter(|end| !end.is_open()) else { return Ok(()) };
        let (session, peer) = (end.session, end.peer);
        let Some(session) = self.sessions.get_mut(session) else { return Ok(()) };
        let Some(peer) = peer else {
            session.established |= session.bridge.is_empty();
            self.begin_reports(index, now);
            return Ok(());
        };
        let Some((near, far)) = self.endpoints.pair(index, peer) else { return Ok(()) };
        if far.is_open() {
            return Ok(());
        }
        near.fit(far, now);
        far.fit(near, now);
        session.established = true;
        self.begin_reports(index, now);
        self.begin_reports(peer, now);
        self.transcode(index, peer, now)?;
        self.transcode(peer, index, now)
    }
}

impl Session {
    /// Removes a leg, and the pair that it was in.
    pub(super) fn remove_leg(&mut self, leg: LegId) -> Option<Leg> {
        let place = self.legs.iter().position(|other| other.id == leg)?;
        self.bridge.retain(|(one, other)| *one != leg && *other != leg);
        Some(self.legs.remove(place))
    }
}
