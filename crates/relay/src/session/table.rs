//! The tables of a worker: endpoints by index, sessions by name, and which of these are to be stated next. An index that is freed
//! gets another generation.

use super::endpoint::{Endpoint, Link};
use super::types::{EndpointId, Refusal};
use signal::{LegId, Time};
use std::collections::{HashMap, VecDeque};

/// Names of ended sessions that may wait to be fetched.
const ENDED: usize = 4_096;

/// All endpoints of a worker.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    endpoint: Option<Endpoint>,
}

impl Endpoints {
    pub fn get(&self, index: u32) -> Option<&Endpoint> {
        self.slots.get(index as usize)?.endpoint.as_ref()
    }

    pub fn get_mut(&mut self, index: u32) -> Option<&mut Endpoint> {
        self.slots.get_mut(index as usize)?.endpoint.as_mut()
    }

    /// Returns two different endpoints.
    pub fn pair(&mut self, near: u32, far: u32) -> Option<(&mut Endpoint, &mut Endpoint)> {
        let [near, far] = self.slots.get_disjoint_mut([near as usize, far as usize]).ok()?;
        Some((near.endpoint.as_mut()?, far.endpoint.as_mut()?))
    }

    /// Returns an endpoint and the one that it hears, if there is one.
    pub fn with_peer(
        &mut self,
        index: u32,
        peer: Option<u32>,
    ) -> Option<(&mut Endpoint, Option<&mut Endpoint>)> {
        match peer {
            Some(peer) => self.pair(index, peer).map(|(near, far)| (near, Some(far))),
            None => self.get_mut(index).map(|near| (near, None)),
        }
    }

    /// Returns the index that an id names, unless the id is of an earlier use of it.
    pub fn live(&self, id: EndpointId) -> Option<u32> {
        let slot = self.slots.get(id.index as usize)?;
        (slot.generation == id.generation && slot.endpoint.is_some()).then_some(id.index)
    }

    /// Takes a free index: [`Endpoints::insert`] or [`Endpoints::give_back`] follows.
    pub fn reserve(&mut self) -> EndpointId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, endpoint: None });
            self.slots.len() as u32 - 1
        });
        EndpointId { index, generation: self.slots.get(index as usize).map_or(0, |slot| slot.generation) }
    }

    pub fn insert(&mut self, endpoint: Endpoint) {
        if let Some(slot) = self.slots.get_mut(endpoint.id.index as usize) {
            slot.endpoint = Some(endpoint);
        }
    }

    /// Frees an index that was reserved in vain.
    pub fn give_back(&mut self, id: EndpointId) {
        self.free.push(id.index);
    }

    pub fn remove(&mut self, index: u32) -> Option<Endpoint> {
        let slot = self.slots.get_mut(index as usize)?;
        let endpoint = slot.endpoint.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        Some(endpoint)
    }

    /// Number of indices ever in use at a time.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns the index of the endpoint whose transport carries this one: its own, as a rule.
    pub fn carrier(&self, index: u32) -> u32 {
        match self.get(index).map(|endpoint| &endpoint.link) {
            Some(Link::Bundled(carrier)) => *carrier,
            _ => index,
        }
    }

    /// Returns true if another stream on the transport of `index` has this SSRC, in either direction: two under one would share
    /// SRTP keystream (RFC 3711 §9.1), or be taken for one.
    pub fn has_ssrc(&self, index: u32, ssrc: u32) -> bool {
        let carrier = self.carrier(index);
        let members = self.get(carrier).map_or(&[][..], |carrier| &carrier.members);
        let all = std::iter::once(carrier).chain(members.iter().map(|member| member.endpoint));
        all.filter_map(|index| self.get(index)).any(|endpoint| {
            let said = endpoint.outgoing.as_ref().filter(|_| endpoint.id.index != index);
            endpoint.reception.source() == Some(ssrc) || said.is_some_and(|said| said.ssrc() == ssrc)
        })
    }
}

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    pub name: String,
    pub trace: String,
    pub allocated: Time,
    /// Both sides of some content were connected, or one side where nobody is to hear anybody.
    pub established: bool,
    /// By number.
    pub legs: Vec<Leg>,
    /// Legs that hear each other; each is in one pair at most.
    pub bridge: Vec<(LegId, LegId)>,
    /// Until when it keeps to the numbering that it stated for another relay.
    pub frozen: Option<Time>,
    pub mark: Mark,
}

/// One leg of a session.
#[derive(Debug)]
pub(super) struct Leg {
    pub id: LegId,
    /// Indices of its endpoints, by content.
    pub endpoints: Vec<u32>,
}

/// Mark of a session's last snapshot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    /// The session has changed since.
    pub changed: bool,
    pub at: Time,
    /// Packets in and out until then.
    pub packets: u64,
}

impl Session {
    /// Returns one leg.
    pub fn leg(&self, leg: LegId) -> Option<&Leg> {
        self.legs.iter().find(|other| other.id == leg)
    }

    /// Returns the index of one endpoint.
    pub fn endpoint(&self, leg: LegId, content: u32) -> Option<u32> {
        self.leg(leg)?.endpoints.get(content as usize).copied()
    }

    /// Returns the index of the endpoint that one of `leg` is bridged with.
    pub fn bridged(&self, leg: LegId, content: u32) -> Option<u32> {
        let other = self.bridge.iter().find_map(|(one, other)| match leg {
            leg if leg == *one => Some(*other),
            leg if leg == *other => Some(*one),
            _ => None,
        });
        self.endpoint(other?, content)
    }

    /// Returns the indices of all endpoints, by leg, then by content.
    pub fn all(&self) -> Vec<u32> {
        self.iter().collect()
    }

    /// As [`Session::all`].
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.legs.iter().flat_map(|leg| &leg.endpoints).copied()
    }
}

/// All sessions of a worker.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    names: HashMap<String, u32>,
    list: Vec<Option<Session>>,
    free: Vec<u32>,
}

impl Sessions {
    pub fn get(&self, at: u32) -> Option<&Session> {
        self.list.get(at as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, at: u32) -> Option<&mut Session> {
        self.list.get_mut(at as usize)?.as_mut()
    }

    /// Returns the index of the session of this name.
    pub fn named(&self, name: &str) -> Option<u32> {
        self.names.get(name).copied()
    }

    /// Returns the index of the session of this name.
    ///
    /// # Errors
    /// [`Refusal::UnknownSession`]
    pub fn find(&self, name: &str) -> Result<u32, Refusal> {
        self.named(name).ok_or_else(|| Refusal::UnknownSession(name.into()))
    }

    /// Number of sessions.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Number of indices ever in use at a time.
    pub fn indices(&self) -> u32 {
        self.list.len() as u32
    }

    pub fn insert(&mut self, session: Session) -> u32 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.list.push(None);
            self.list.len() as u32 - 1
        });
        self.names.insert(session.name.clone(), at);
        if let Some(place) = self.list.get_mut(at as usize) {
            *place = Some(session);
        }
        at
    }

    pub fn remove(&mut self, at: u32) -> Option<Session> {
        let session = self.list.get_mut(at as usize)?.take()?;
        self.names.remove(&session.name);
        self.free.push(at);
        Some(session)
    }
}

/// Sessions whose state is to be taken next.
#[derive(Debug, Default)]
pub(super) struct SnapshotQueue {
    /// True if nobody keeps snapshots.
    pub off: bool,
    /// Sessions that have changed, oldest first.
    pub changed: VecDeque<u32>,
    /// Where the round has come to.
    pub cursor: u32,
    /// When the next slice is due.
    pub at: Option<Time>,
    /// Sessions that have ended.
    pub ended: VecDeque<String>,
}

impl SnapshotQueue {
    /// A session has ended, the last one perhaps.
    pub fn forget(&mut self, name: String, last: bool) {
        if self.ended.len() < ENDED && !self.off {
            self.ended.push_back(name);
        }
        if last {
            self.changed.clear();
            self.at = None;
        }
    }
}
