//! Commands of control: sessions are allocated, their endpoints told of their peers, and released.

use super::endpoint::{Endpoint, Link};
use super::plain::Plain;
use super::table::{Leg, Mark, Session};
use super::types::{
    CONTENTS, Deaf, EndpointId, Event, LEGS, Latched, LegRequest, Local, Refusal, Remote, Statistics, Why,
};
use super::worker::{SWEEP_MS, Worker};
use crate::ice::Credentials;
use signal::media::Ice;
use signal::{LegId, Time};

impl Worker {
    /// Makes a session with these legs, or adds to one that is there: legs and contents that it has stay as they are, new ones are
    /// made. `make` binds the sockets of an endpoint, unless its leg needs none ([`Local::rtp_port`] 0). Returns our side of the
    /// endpoints of these legs. A new leg hears nobody: [`Worker::bridge`] follows.
    ///
    /// # Errors
    /// Those of `make`, and [`Refusal::TooManyLegs`]; what was begun is then undone, what was there stays as it was.
    pub fn allocate<E: From<Refusal>>(
        &mut self,
        session: &str,
        trace: &str,
        legs: &[LegRequest],
        now: Time,
        mut make: impl FnMut(EndpointId, &LegRequest, u16) -> Result<Local, E>,
    ) -> Result<Vec<(LegId, u16, Local)>, E> {
        let (at, new) = match self.sessions.named(session) {
            Some(at) => (at, false),
            None => (self.open(session, trace, now), true),
        };
        let mut made = vec![];
        let result = legs.iter().try_for_each(|leg| self.add(at, leg, &mut made, &mut make));
        if let Err(error) = result {
            if new {
                self.close(at);
            } else {
                self.undo(at, &made);
            }
            return Err(error);
        }
        // A content more on legs that are bridged already; it is not connected, so nothing can be refused.
        let _ = self.rebridge(at, now);
        self.mark_changed(at, now);
        let mut locals = self.locals(at);
        locals.retain(|(leg, ..)| legs.iter().any(|asked| asked.leg == *leg));
        Ok(locals)
    }

    /// Returns our side of all endpoints of a session.
    pub(super) fn locals(&self, at: u32) -> Vec<(LegId, u16, Local)> {
        let all = self.sessions.get(at).map(Session::all).unwrap_or_default();
        let all = all.into_iter().filter_map(|index| self.endpoints.get(index));
        all.map(|end| (end.leg, end.content, end.local.clone())).collect()
    }

    /// Tells an endpoint who its peer is; again with other facts is an update.
    ///
    /// # Errors
    /// [`Refusal`]; the endpoint is then as it was.
    pub fn connect(
        &mut self,
        session: &str,
        leg: u32,
        content: u32,
        remote: &Remote,
        now: Time,
    ) -> Result<(), Refusal> {
        let index = self.find(session, leg, content)?;
        if remote.bundled.is_none() {
            self.distinct(index, index, remote)?;
        }
        match (&remote.ice, &remote.dtls, remote.bundled) {
            (_, _, Some(tag)) => self.join_bundle(index, tag, remote)?,
            (Some(ice), Some(dtls), _) => self.describe(index, remote, ice, dtls, now)?,
            _ => self.describe_plain(index, remote, now)?,
        }
        let Worker { endpoints, sounds, .. } = self;
        if let Some(end) = endpoints.get_mut(index) {
            end.set_remote(remote);
            end.since.get_or_insert(now);
            // A track in a codec that is spoken there no more.
            if end.playback.as_ref().is_some_and(|track| end.payload_types >> (track.pt & 0x7f) & 1 == 0) {
                sounds.close(&mut end.playback);
            }
        }
        self.update_member(index);
        self.fit(index, now)?;
        if let Some(session) = self.endpoints.get(index).map(|end| end.session) {
            self.mark_changed(session, now);
        }
        Ok(())
    }

    /// Makes an endpoint plain, or tells it more.
    fn describe_plain(&mut self, index: u32, remote: &Remote, now: Time) -> Result<(), Refusal> {
        let denied = remote.address.filter(|to| !to.ip().is_unspecified() && self.refuses(*to));
        let kept = denied.map(|_| Remote { address: None, ..remote.clone() });
        let remote = kept.as_ref().unwrap_or(remote);
        let Worker { endpoints, host, latched, .. } = self;
        let Some(end) = endpoints.get_mut(index) else { return Ok(()) };
        let Endpoint { link, local, early, sockets, inherited, .. } = end;
        let (mut before, mut association) = (None, None);
        match link {
            Link::Plain(plain) => {
                before = plain.described();
                plain.describe(remote, &local.crypto)?;
            }
            Link::Open if *sockets => {
                let kept = inherited.as_ref().and_then(|inherited| inherited.keyed.clone());
                *link = Link::Plain(Plain::new(remote, &local.crypto, kept)?);
                association = inherited.take().and_then(|inherited| inherited.association);
            }
            Link::Open | Link::WebRtc(_) | Link::Bundled(_) => return Err(Refusal::NoPorts),
        }
        *early = None;
        if let Link::Plain(plain) = link {
            // A description may have unlocked it.
            if let Some(peer) = plain.relocked() {
                latched.push_back(Latched { end: end.id, peer });
            }
            if let Some(dtls) = &remote.dtls {
                plain.associate(&host.certificate, dtls, (association, before), now)?;
            }
        }
        self.follow_handshake(index, None, now);
        if let Some(from) = denied
            && self.endpoints.get_mut(index).is_some_and(|end| !std::mem::replace(&mut end.told_deaf, true))
        {
            self.report(index, Event::Deaf(Deaf { from, expected: None, why: Why::Denied }));
        }
        Ok(())
    }

    /// Gives further candidates of a connected peer, or its ICE restart: see [`Remote::fresh`].
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn update(
        &mut self,
        session: &str,
        leg: u32,
        content: u32,
        (ice, fresh): (&Ice, Option<Credentials>),
        now: Time,
    ) -> Result<(), Refusal> {
        let index = self.find(session, leg, content)?;
        self.trickle(index, ice, fresh, now)
    }

    /// Hands a session over to another relay, which goes on with it: packets are still forwarded as long as their
    /// numbers are those that the other one would give them, but no path is checked or nominated any more, lest the peer come back to one that it has left; and nothing is played any more, since that one plays it.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn hand_over(&mut self, session: &str) -> Result<(), Refusal> {
        let at = self.sessions.find(session)?;
        self.sessions.get_mut(at).into_iter().for_each(|session| session.frozen = None);
        for index in self.sessions.get(at).map(Session::all).unwrap_or_default() {
            self.stop_playback(index);
            self.endpoints.get_mut(index).into_iter().for_each(|end| end.freeze(true));
            if let Some(Link::WebRtc(web)) = self.endpoints.get_mut(index).map(|end| &mut end.link) {
                web.leaving = true;
            }
        }
        Ok(())
    }

    /// Releases a session and returns its last statistics; `None` when it is not known.
    pub fn release(&mut self, session: &str) -> Option<Vec<Statistics>> {
        let statistics = self.statistics(session)?;
        let at = self.sessions.named(session)?;
        self.close(at);
        Some(statistics)
    }

    /// Releases one leg of a session and returns its last statistics, none when the leg is not known; `None` when the session is not.
    /// The last leg takes the session with it.
    pub fn release_leg(&mut self, session: &str, leg: LegId, now: Time) -> Option<Vec<Statistics>> {
        let mut statistics = self.statistics(session)?;
        statistics.retain(|end| end.leg == leg);
        let at = self.sessions.named(session)?;
        let session = self.sessions.get_mut(at)?;
        let Some(gone) = session.remove_leg(leg) else { return Some(vec![]) };
        let last = session.legs.is_empty();
        gone.endpoints.into_iter().for_each(|index| self.free(index));
        if last {
            self.close(at);
        } else {
            self.mark_changed(at, now);
        }
        Some(statistics)
    }

    fn open(&mut self, name: &str, trace: &str, now: Time) -> u32 {
        self.sweep.get_or_insert(now + SWEEP_MS);
        self.sessions.insert(Session {
            name: name.into(),
            trace: trace.into(),
            allocated: now,
            established: false,
            legs: vec![],
            bridge: vec![],
            frozen: None,
            mark: Mark::default(),
        })
    }

    /// Adds what a session does not have of a leg; the new endpoints are added to `made`.
    fn add<E: From<Refusal>>(
        &mut self,
        at: u32,
        leg: &LegRequest,
        made: &mut Vec<u32>,
        make: &mut impl FnMut(EndpointId, &LegRequest, u16) -> Result<Local, E>,
    ) -> Result<(), E> {
        let Some(session) = self.sessions.get_mut(at) else { return Ok(()) };
        if session.leg(leg.leg).is_none() {
            if session.legs.len() >= LEGS as usize {
                return Err(Refusal::TooManyLegs.into());
            }
            session.legs.push(Leg { id: leg.leg, endpoints: vec![] });
            session.legs.sort_by_key(|leg| leg.id);
        }
        let first = session.endpoint(leg.leg, 0);
        let mut cname = first.and_then(|first| self.endpoints.get(first)).map(|end| end.local.word());
        let have = session.leg(leg.leg).map_or(0, |leg| leg.endpoints.len()) as u32;
        for content in have..leg.contents.min(CONTENTS) {
            let id = self.endpoints.reserve();
            let local = match make(id, leg, content as u16) {
                Ok(local) => local,
                Err(error) => {
                    self.endpoints.give_back(id);
                    return Err(error);
                }
            };
            made.push(id.index);
            self.ufrags.insert(local.ufrag.clone(), id.index);
            let cname = *cname.get_or_insert_with(|| local.word());
            self.endpoints.insert(Endpoint::new(id, at, leg.leg, content as u16, local, cname));
            // Room for every endpoint on either list: packets need no more.
            let all = self.endpoints.len();
            self.rtcp_queue.reserve(all.saturating_sub(self.rtcp_queue.len()));
            self.latched.reserve(all.saturating_sub(self.latched.len()));
            let session = self.sessions.get_mut(at);
            let leg = session.and_then(|session| session.legs.iter_mut().find(|other| other.id == leg.leg));
            leg.into_iter().for_each(|leg| leg.endpoints.push(id.index));
        }
        Ok(())
    }

    /// Takes endpoints that were just made away again, and legs that have none.
    fn undo(&mut self, at: u32, made: &[u32]) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        session.legs.iter_mut().for_each(|leg| leg.endpoints.retain(|index| !made.contains(index)));
        session.legs.retain(|leg| !leg.endpoints.is_empty());
        made.iter().for_each(|index| self.free(*index));
    }

    /// Ends a session.
    pub(super) fn close(&mut self, at: u32) {
        let Some(session) = self.sessions.remove(at) else { return };
        session.all().into_iter().for_each(|end| self.free(end));
        self.snapshots.forget(session.name, self.sessions.is_empty());
    }

    fn free(&mut self, index: u32) {
        self.part(index);
        let Some(mut end) = self.endpoints.remove(index) else { return };
        if end.reports.queued {
            self.rtcp_queue.retain(|other| *other != index);
        }
        if end.sockets {
            self.closed.push_back(end.id);
        }
        if let Link::Bundled(carrier) = end.link {
            self.leave_bundle(index, carrier);
        }
        for member in &end.members {
            if let Some(member) = self.endpoints.get_mut(member.endpoint) {
                member.link = Link::Open;
            }
        }
        self.unbind(index, &mut end);
        self.stop_sound(&mut end);
    }
}
