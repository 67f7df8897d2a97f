//! The tables of a worker: sessions by name, their ends by place. A place that is freed gets another generation.

use super::endpoint::{Endpoint, Link};
use super::types::{EndpointId, Local, Refusal};
use super::{LEGS, SWEEP_MS, Session, Slot, Worker, snapshot};
use signal::{LegId, Time};

impl Worker {
    pub(super) fn open(&mut self, name: &str, trace: &str, now: Time) -> u32 {
        let session = Session {
            name: name.into(),
            trace: trace.into(),
            allocated: now,
            met: false,
            ends: [const { vec![] }; LEGS as usize],
            taken: snapshot::SnapshotMark::default(),
        };
        let at = self.free_sessions.pop().unwrap_or_else(|| {
            self.sessions.push(None);
            self.sessions.len() as u32 - 1
        });
        if let Some(place) = self.sessions.get_mut(at as usize) {
            *place = Some(session);
        }
        self.names.insert(name.into(), at);
        self.sweep.get_or_insert(now + SWEEP_MS);
        at
    }

    /// Adds a content: an end on each leg, peers of each other.
    pub(super) fn add<E>(
        &mut self,
        session: u32,
        content: u16,
        make: &mut impl FnMut(EndpointId, LegId) -> Result<Local, E>,
    ) -> Result<(), E> {
        for leg in 0..LEGS {
            let first = self.session(session).and_then(|s| s.ends.get(leg as usize)?.first());
            let cname = first.and_then(|first| self.endpoint(*first)).map(|end| end.local.word());
            let index = self.free_ends.pop().unwrap_or_else(|| {
                self.ends.push(Slot { generation: 0, end: None });
                self.ends.len() as u32 - 1
            });
            let Some(slot) = self.ends.get_mut(index as usize) else { continue };
            let id = EndpointId { index, generation: slot.generation };
            let leg_id = LegId(leg as u8);
            match make(id, leg_id) {
                Ok(local) => {
                    self.ufrags.insert(local.ufrag.clone(), index);
                    let cname = cname.unwrap_or_else(|| local.word());
                    slot.end = Some(Endpoint::new(id, session, leg_id, content, local, cname));
                    // Room for every end on either list: packets need no more.
                    self.rtcp_queue.reserve(self.ends.len().saturating_sub(self.rtcp_queue.len()));
                    self.latched.reserve(self.ends.len().saturating_sub(self.latched.len()));
                }
                Err(error) => {
                    self.free_ends.push(index);
                    return Err(error);
                }
            }
            if let Some(session) = self.sessions.get_mut(session as usize).and_then(Option::as_mut) {
                session.ends[leg as usize].push(index);
            }
        }
        let Some(session) = self.session(session) else { return Ok(()) };
        if let (Some(a), Some(b)) = (session.ends[0].last().copied(), session.ends[1].last().copied())
            && let Some((first, second)) = self.pair(a as usize, b as usize)
        {
            (first.peer, second.peer) = (b as usize, a as usize);
        }
        Ok(())
    }

    /// Takes the contents from `have` on away again.
    pub(super) fn cut(&mut self, session: u32, have: usize) {
        let Some(session) = self.sessions.get_mut(session as usize).and_then(Option::as_mut) else { return };
        let gone: Vec<u32> =
            session.ends.iter_mut().flat_map(|leg| leg.split_off(have.min(leg.len()))).collect();
        gone.into_iter().for_each(|end| self.free(end));
    }

    pub(super) fn close(&mut self, at: u32) {
        let Some(session) = self.sessions.get_mut(at as usize).and_then(Option::take) else { return };
        self.names.remove(&session.name);
        self.free_sessions.push(at);
        session.ends.into_iter().flatten().for_each(|end| self.free(end));
        self.snapshots.forget(session.name, self.names.is_empty());
    }

    pub(super) fn free(&mut self, index: u32) {
        let Some(slot) = self.ends.get_mut(index as usize) else { return };
        let Some(mut end) = slot.end.take() else { return };
        slot.generation = slot.generation.wrapping_add(1);
        self.free_ends.push(index);
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
            if let Some(member) = self.endpoint_mut(member.end) {
                member.link = Link::Open;
            }
        }
        self.unbind(index, &mut end);
        self.stop_sound(&mut end);
    }

    pub(super) fn find(&self, session: &str, leg: u32, content: u32) -> Result<u32, Refusal> {
        let at = self.names.get(session).ok_or_else(|| Refusal::UnknownSession(session.into()))?;
        let session = self.session(*at);
        let end = session.and_then(|s| s.ends.get(leg as usize)?.get(content as usize).copied());
        end.ok_or(Refusal::UnknownEndpoint(leg, content))
    }

    pub(super) fn session(&self, at: u32) -> Option<&Session> {
        self.sessions.get(at as usize)?.as_ref()
    }

    pub(super) fn endpoint(&self, index: u32) -> Option<&Endpoint> {
        self.ends.get(index as usize)?.end.as_ref()
    }

    pub(super) fn endpoint_mut(&mut self, index: u32) -> Option<&mut Endpoint> {
        self.ends.get_mut(index as usize)?.end.as_mut()
    }

    /// The place that an id names, unless it is of an earlier use of it.
    pub(super) fn live(&self, id: EndpointId) -> Option<u32> {
        let slot = self.ends.get(id.index as usize)?;
        (slot.generation == id.generation && slot.end.is_some()).then_some(id.index)
    }

    pub(super) fn pair(&mut self, near: usize, far: usize) -> Option<(&mut Endpoint, &mut Endpoint)> {
        pair(&mut self.ends, near, far)
    }
}

pub(super) fn pair(ends: &mut [Slot], near: usize, far: usize) -> Option<(&mut Endpoint, &mut Endpoint)> {
    let [near, far] = ends.get_disjoint_mut([near, far]).ok()?;
    Some((near.end.as_mut()?, far.end.as_mut()?))
}
