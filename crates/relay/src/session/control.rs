//! Commands of control: sessions are allocated, their endpoints told of their peers, and released.

use super::endpoint::{Endpoint, Link};
use super::plain::Plain;
use super::table::{Mark, Session};
use super::types::{CONTENTS, EndpointId, LEGS, Latched, Local, Refusal, Remote, Statistics};
use super::worker::{SWEEP_MS, Worker};
use crate::ice::Credentials;
use signal::media::Ice;
use signal::{LegId, Time};

impl Worker {
    /// Makes a session with `contents` contents on both legs, or gives the ends that it has; a session that has fewer grows.
    /// `make` binds the sockets of an end, unless its leg needs none ([`Local::rtp_port`] 0).
    ///
    /// # Errors
    /// Those of `make`; a session begun is then undone, one that was there stays as it was.
    pub fn allocate<E>(
        &mut self,
        session: &str,
        trace: &str,
        contents: u32,
        now: Time,
        mut make: impl FnMut(EndpointId, LegId) -> Result<Local, E>,
    ) -> Result<Vec<(LegId, u16, Local)>, E> {
        let (at, new) = match self.sessions.named(session) {
            Some(at) => (at, false),
            None => (self.open(session, trace, now), true),
        };
        let have = self.sessions.get(at).map_or(0, |session| session.endpoints[0].len() as u32);
        for content in have..contents.min(CONTENTS) {
            if let Err(error) = self.add(at, content as u16, &mut make) {
                if new {
                    self.close(at);
                } else {
                    self.cut(at, have as usize);
                }
                return Err(error);
            }
        }
        self.mark_changed(at, now);
        Ok(self.locals(at))
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
            (None, Some(_), _) => return Err(Refusal::DtlsWithoutIce),
            (_, None, _) => self.describe_plain(index, remote)?,
        }
        if let Some(end) = self.endpoints.get_mut(index) {
            end.set_remote(remote);
        }
        self.update_member(index);
        self.connect_pair(index, now)?;
        if let Some(session) = self.endpoints.get(index).map(|end| end.session) {
            self.mark_changed(session, now);
        }
        Ok(())
    }

    /// Makes an endpoint plain, or tells it more.
    fn describe_plain(&mut self, index: u32, remote: &Remote) -> Result<(), Refusal> {
        let Some(end) = self.endpoints.get_mut(index) else { return Ok(()) };
        let Endpoint { link, local, early, sockets, inherited, .. } = end;
        match link {
            Link::Plain(plain) => plain.describe(remote, &local.crypto)?,
            Link::Open if *sockets => {
                let kept = inherited.as_ref().and_then(|inherited| inherited.keyed.clone());
                *link = Link::Plain(Plain::new(remote, &local.crypto, kept)?);
                *inherited = None;
            }
            Link::Open | Link::WebRtc(_) | Link::Bundled(_) => return Err(Refusal::NoPorts),
        }
        *early = None;
        // A description may have unlocked it.
        if let Link::Plain(plain) = link
            && let Some(peer) = plain.relocked()
        {
            self.latched.push_back(Latched { end: end.id, peer });
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

    /// Hands a session over to another relay, which goes on with it: packets are still forwarded, but no path is checked or
    /// nominated any more, lest the peer come back to one that it has left; and nothing is played any more, since that one plays it.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn hand_over(&mut self, session: &str) -> Result<(), Refusal> {
        let at = self.sessions.find(session)?;
        for index in self.sessions.get(at).map(Session::all).unwrap_or_default() {
            self.stop_playback(index);
            if let Some(Link::WebRtc(web)) = self.endpoints.get_mut(index).map(|end| &mut end.link) {
                web.leaving = true;
            }
        }
        Ok(())
    }

    /// Fits both sides to each other once both are connected.
    fn connect_pair(&mut self, index: u32, now: Time) -> Result<(), Refusal> {
        let Some(peer) = self.endpoints.get(index).map(|end| end.peer) else { return Ok(()) };
        let Some((near, far)) = self.endpoints.pair(index, peer) else { return Ok(()) };
        if near.is_open() || far.is_open() {
            return Ok(());
        }
        near.fit(far, now);
        far.fit(near, now);
        let session = near.session;
        if let Some(session) = self.sessions.get_mut(session) {
            session.established = true;
        }
        self.begin_reports(index, now);
        self.begin_reports(peer, now);
        self.transcode(index, peer, now)?;
        self.transcode(peer, index, now)
    }

    /// Releases a session and returns its last statistics; `None` when it is not known.
    pub fn release(&mut self, session: &str) -> Option<Vec<Statistics>> {
        let statistics = self.statistics(session)?;
        let at = self.sessions.named(session)?;
        self.close(at);
        Some(statistics)
    }

    fn open(&mut self, name: &str, trace: &str, now: Time) -> u32 {
        self.sweep.get_or_insert(now + SWEEP_MS);
        self.sessions.insert(Session {
            name: name.into(),
            trace: trace.into(),
            allocated: now,
            established: false,
            endpoints: [const { vec![] }; LEGS as usize],
            mark: Mark::default(),
        })
    }

    /// Adds a content: an endpoint on each leg, peers of each other.
    fn add<E>(
        &mut self,
        session: u32,
        content: u16,
        make: &mut impl FnMut(EndpointId, LegId) -> Result<Local, E>,
    ) -> Result<(), E> {
        for leg in 0..LEGS {
            let first = self.sessions.get(session).and_then(|s| s.endpoint(leg, 0));
            let cname = first.and_then(|first| self.endpoints.get(first)).map(|end| end.local.word());
            let id = self.endpoints.reserve();
            let leg_id = LegId(leg as u8);
            match make(id, leg_id) {
                Ok(local) => {
                    self.ufrags.insert(local.ufrag.clone(), id.index);
                    let cname = cname.unwrap_or_else(|| local.word());
                    self.endpoints.insert(Endpoint::new(id, session, leg_id, content, local, cname));
                    // Room for every endpoint on either list: packets need no more.
                    let all = self.endpoints.len();
                    self.rtcp_queue.reserve(all.saturating_sub(self.rtcp_queue.len()));
                    self.latched.reserve(all.saturating_sub(self.latched.len()));
                }
                Err(error) => {
                    self.endpoints.give_back(id);
                    return Err(error);
                }
            }
            if let Some(session) = self.sessions.get_mut(session) {
                session.endpoints[leg as usize].push(id.index);
            }
        }
        let Some(session) = self.sessions.get(session) else { return Ok(()) };
        if let (Some(a), Some(b)) =
            (session.endpoints[0].last().copied(), session.endpoints[1].last().copied())
            && let Some((first, second)) = self.endpoints.pair(a, b)
        {
            (first.peer, second.peer) = (b, a);
        }
        Ok(())
    }

    /// Takes the contents from `have` on away again.
    fn cut(&mut self, session: u32, have: usize) {
        let Some(session) = self.sessions.get_mut(session) else { return };
        let gone: Vec<u32> =
            session.endpoints.iter_mut().flat_map(|leg| leg.split_off(have.min(leg.len()))).collect();
        gone.into_iter().for_each(|end| self.free(end));
    }

    /// Ends a session.
    pub(super) fn close(&mut self, at: u32) {
        let Some(session) = self.sessions.remove(at) else { return };
        session.all().into_iter().for_each(|end| self.free(end));
        self.snapshots.forget(session.name, self.sessions.is_empty());
    }

    fn free(&mut self, index: u32) {
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
