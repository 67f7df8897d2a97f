//! The tables of a worker: sessions by name, their ends by place. A place that is freed gets another generation.

use super::end::{End, Link};
use super::facts::{EndId, Local, Refusal};
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
            taken: snapshot::Taken::default(),
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
        make: &mut impl FnMut(EndId, LegId) -> Result<Local, E>,
    ) -> Result<(), E> {
        for leg in 0..LEGS {
            let first = self.session(session).and_then(|s| s.ends.get(leg as usize)?.first());
            let cname = first.and_then(|first| self.end(*first)).map(|end| end.local.word());
            let index = self.free_ends.pop().unwrap_or_else(|| {
                self.ends.push(Slot { generation: 0, end: None });
                self.ends.len() as u32 - 1
            });
            let Some(slot) = self.ends.get_mut(index as usize) else { continue };
            let id = EndId { index, generation: slot.generation };
            let leg_id = LegId(leg as u8);
            match make(id, leg_id) {
                Ok(local) => {
                    self.ufrags.insert(local.ufrag.clone(), index);
                    let cname = cname.unwrap_or_else(|| local.word());
                    slot.end = Some(End::new(id, session, leg_id, content, local, cname));
                    // Room for every end on either list: packets need no more.
                    self.speaking.reserve(self.ends.len().saturating_sub(self.speaking.len()));
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
        self.taking.forget(session.name, self.names.is_empty());
    }

    pub(super) fn free(&mut self, index: u32) {
        let Some(slot) = self.ends.get_mut(index as usize) else { return };
        let Some(mut end) = slot.end.take() else { return };
        slot.generation = slot.generation.wrapping_add(1);
        self.free_ends.push(index);
        if end.reports.queued {
            self.speaking.retain(|other| *other != index);
        }
        if end.sockets {
            self.closed.push_back(end.id);
        }
        if let Link::Riding(carrier) = end.link {
            self.dismount(index, carrier);
        }
        for rider in &end.riders {
            if let Some(rider) = self.end_mut(rider.end) {
                rider.link = Link::Open;
            }
        }
        self.unbind(index, &mut end);
        self.hush(&mut end);
    }

    pub(super) fn find(&self, session: &str, leg: u32, content: u32) -> Result<u32, Refusal> {
        let at = self.names.get(session).ok_or_else(|| Refusal::UnknownSession(session.into()))?;
        let session = self.session(*at);
        let end = session.and_then(|s| s.ends.get(leg as usize)?.get(content as usize).copied());
        end.ok_or(Refusal::UnknownEnd(leg, content))
    }

    pub(super) fn session(&self, at: u32) -> Option<&Session> {
        self.sessions.get(at as usize)?.as_ref()
    }

    pub(super) fn end(&self, index: u32) -> Option<&End> {
        self.ends.get(index as usize)?.end.as_ref()
    }

    pub(super) fn end_mut(&mut self, index: u32) -> Option<&mut End> {
        self.ends.get_mut(index as usize)?.end.as_mut()
    }

    /// The place that an id names, unless it is of an earlier use of it.
    pub(super) fn live(&self, id: EndId) -> Option<u32> {
        let slot = self.ends.get(id.index as usize)?;
        (slot.generation == id.generation && slot.end.is_some()).then_some(id.index)
    }

    pub(super) fn pair(&mut self, near: usize, far: usize) -> Option<(&mut End, &mut End)> {
        pair(&mut self.ends, near, far)
    }
}

pub(super) fn pair(ends: &mut [Slot], near: usize, far: usize) -> Option<(&mut End, &mut End)> {
    let [near, far] = ends.get_disjoint_mut([near, far]).ok()?;
    Some((near.end.as_mut()?, far.end.as_mut()?))
}
