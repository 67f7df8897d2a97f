//! State of a session that must outlive its relay (interworking §12.2, §12.5): taken in slices, given to the relay that resumes it.
//!
//! One rule: what control knows anyway (descriptions, codecs, directions) is not in here; it is told again by
//! [`Worker::connect`]. Here is what only the packets know: keys, indices, numbering, and where the peer was.

use super::endpoint::{Endpoint, Link};
use super::types::Local;
use super::{LEGS, Worker};
use crate::packet::{Splice, Spliced};
use crate::srtp::Index;
use crate::webrtc::Association;
use signal::media::{Crypto, Ice, Suite};
use signal::{LegId, Time};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Sequence numbers left out by a relay that resumes: more than the dead one may have sent since its last snapshot (interworking §12.2).
pub const AHEAD: u32 = 1_000;
/// Every session is looked at once in this time, ms.
const ROUND_MS: u64 = 1_000;
/// Slices of a round.
const SLICES: u64 = 40;
/// Changes within this time (both ends connected) go into one snapshot, ms.
const BREATH_MS: u64 = 20;
/// A session that nothing moves is taken again after so long, lest its copy be forgotten, ms.
const REFRESH_MS: u64 = 60_000;
/// Names of ended sessions that may wait to be fetched.
const GONE: usize = 4_096;

/// A session as another relay can go on with it. Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// When it was taken.
    pub at: Time,
    /// Its ends.
    pub ends: Vec<EndpointState>,
}

/// One end of a [`Snapshot`].
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointState {
    /// The leg.
    pub leg: LegId,
    /// The content's place.
    pub content: u16,
    /// Our ICE user fragment, as the peer knows it.
    pub ufrag: String,
    /// Its password.
    pub pwd: String,
    /// How often the two were replaced.
    pub generation: u32,
    /// The peer's ICE user fragment that they answer; empty: none was known.
    pub theirs: String,
    /// ICE local preference of our candidate.
    pub preference: u16,
    /// Our port of plain RTP: whoever has the same address takes the same one.
    pub rtp_port: u16,
    /// Our keys of SDES, one a suite: none unless the peer may have been told of them.
    pub crypto: Vec<Crypto>,
    /// How far they got.
    pub keyed: Option<Keyed>,
    /// DTLS role, keys and indices.
    pub association: Option<Association>,
    /// Where the peer's ICE was.
    pub path: Option<SocketAddr>,
    /// The stream from this end as the other end's peer sees it.
    pub splice: Option<Spliced>,
}

impl std::fmt::Debug for EndpointState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndpointState")
            .field("leg", &self.leg)
            .field("content", &self.content)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// SDES as it stands at an end. Secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Keyed {
    /// The peer's line.
    pub theirs: Crypto,
    /// Of each suite of ours that was used: how far each source got that we send.
    pub outward: Vec<(Suite, Vec<Index>)>,
    /// How far each source got that we receive.
    pub inward: Vec<Index>,
}

impl std::fmt::Debug for Keyed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyed").field("theirs", &self.theirs).finish_non_exhaustive()
    }
}

/// State of another relay that an endpoint resumes once it is connected.
#[derive(Debug)]
pub(super) struct Inherited {
    pub keyed: Option<Keyed>,
    pub association: Option<Association>,
    pub path: Option<SocketAddr>,
    /// The peer's ufrag then; empty: none was known.
    pub theirs: String,
}

impl Inherited {
    /// The peer has other credentials now.
    pub fn restarted(&self, ice: &Ice) -> bool {
        !self.theirs.is_empty() && self.theirs != ice.ufrag
    }
}

/// Which sessions are to be taken next.
#[derive(Debug, Default)]
pub(super) struct SnapshotQueue {
    /// Sessions that have changed, oldest first.
    changed: VecDeque<u32>,
    /// Where the round has come to.
    cursor: u32,
    at: Option<Time>,
    gone: VecDeque<String>,
}

/// Mark of a session's last snapshot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SnapshotMark {
    changed: bool,
    at: Time,
    packets: u64,
}

impl SnapshotQueue {
    /// When [`Worker::poll_snapshots`] is wanted next.
    pub fn deadline(&self) -> Option<Time> {
        self.at
    }

    /// A session has gone, the last one perhaps.
    pub fn forget(&mut self, name: String, last: bool) {
        if self.gone.len() < GONE {
            self.gone.push_back(name);
        }
        if last {
            self.changed.clear();
            self.at = None;
        }
    }
}

impl EndpointState {
    fn of(end: &Endpoint) -> EndpointState {
        let (association, path) = match &end.link {
            Link::WebRtc(web) => (web.transport.association(), web.transport.pair().map(|pair| pair.remote)),
            Link::Open | Link::Plain(_) | Link::Bundled(_) => (None, None),
        };
        let keyed = if let Link::Plain(plain) = &end.link { plain.state() } else { None };
        // Who described itself and took none of them has no use for them.
        let told = matches!(end.link, Link::Open) || keyed.is_some();
        // Not connected yet here either.
        let inherited = end.inherited.as_deref();
        let theirs = match &end.link {
            Link::WebRtc(web) => web.theirs(),
            _ => inherited.map_or("", |inherited| &inherited.theirs),
        };
        EndpointState {
            leg: end.leg,
            content: end.content,
            ufrag: end.local.ufrag.clone(),
            pwd: end.local.pwd.clone(),
            generation: end.local.generation,
            theirs: theirs.into(),
            preference: end.local.preference,
            rtp_port: end.local.rtp_port,
            crypto: if told { end.local.crypto.clone() } else { vec![] },
            keyed: keyed.or_else(|| inherited?.keyed.clone()),
            association: association.or_else(|| inherited?.association.clone()),
            path: path.or_else(|| inherited?.path),
            splice: end.splice.as_ref().map(Splice::state),
        }
    }
}

impl Worker {
    /// A session has changed in what must outlive this relay.
    pub(super) fn mark_changed(&mut self, session: u32, now: Time) {
        let Some(taken) = self.sessions.get_mut(session as usize).and_then(Option::as_mut) else { return };
        if !std::mem::replace(&mut taken.taken.changed, true) {
            self.snapshots.changed.push_back(session);
        }
        let soon = now + BREATH_MS;
        self.snapshots.at = Some(self.snapshots.at.map_or(soon, |at| at.min(soon)));
    }

    /// Takes the next slice, at most `most` sessions: those that have changed first, then those of the round that packets have
    /// moved. Bounded work; see [`Worker::poll_timeout`] for when to come again.
    pub fn poll_snapshots(&mut self, now: Time, most: usize) -> Vec<(String, Snapshot)> {
        if self.snapshots.at.is_none_or(|at| at > now) {
            return vec![];
        }
        let mut out = vec![];
        while out.len() < most
            && let Some(session) = self.snapshots.changed.pop_front()
        {
            if self.session(session).is_some_and(|s| s.taken.changed) {
                out.extend(self.snapshot(session, now));
            }
        }
        let count = self.names.len() as u64;
        let pause = (ROUND_MS / SLICES).max(ROUND_MS / count.max(1));
        let (looks, places) = (count * pause / ROUND_MS + 1, self.sessions.len() as u32);
        let mut looked = 0;
        for _ in 0..places {
            if looked >= looks || out.len() >= most {
                break;
            }
            self.snapshots.cursor = (self.snapshots.cursor + 1) % places.max(1);
            let at = self.snapshots.cursor;
            let Some(session) = self.session(at) else { continue };
            looked += 1;
            let taken = session.taken;
            let moved = self.packets(at) != taken.packets || now.since(taken.at) >= REFRESH_MS;
            if moved || taken.changed {
                out.extend(self.snapshot(at, now));
            }
        }
        let next = if self.snapshots.changed.is_empty() { now + pause } else { now + BREATH_MS };
        self.snapshots.at = (count > 0).then_some(next);
        out
    }

    /// The next session that has ended: nobody needs to go on with it.
    pub fn poll_ended(&mut self) -> Option<String> {
        self.snapshots.gone.pop_front()
    }

    /// A session that was just allocated goes on where another relay's had come to: the same names, keys and numbering. An end
    /// that nobody knew there stays as it is. Gives the ends as they are now.
    pub fn resume(&mut self, session: &str, snapshot: Snapshot, now: Time) -> Vec<(LegId, u16, Local)> {
        let Some(at) = self.names.get(session).copied() else { return vec![] };
        for state in snapshot.ends {
            let Ok(index) = self.find(session, state.leg.0.into(), state.content.into()) else { continue };
            let Some(end) = self.endpoint_mut(index).filter(|end| end.is_open()) else { continue };
            let old = std::mem::replace(&mut end.local.ufrag, state.ufrag.clone());
            (end.local.pwd, end.local.generation) = (state.pwd, state.generation);
            end.local.preference = state.preference.saturating_add(1);
            end.splice = state.splice.map(|splice| Splice::resume(splice, AHEAD));
            if end.sockets && !state.crypto.is_empty() {
                end.local.crypto = state.crypto;
            }
            let inherited = Inherited {
                keyed: state.keyed.map(keyed_ahead),
                association: state.association.map(ahead),
                path: state.path,
                theirs: state.theirs,
            };
            end.inherited = Some(Box::new(inherited));
            self.ufrags.remove(&old);
            self.ufrags.insert(state.ufrag, index);
        }
        self.mark_changed(at, now);
        let ends = self.session(at).map(|s| s.ends.concat()).unwrap_or_default();
        let ends = ends.iter().filter_map(|end| self.endpoint(*end));
        ends.map(|end| (end.leg, end.content, end.local.clone())).collect()
    }

    fn snapshot(&mut self, session: u32, now: Time) -> Option<(String, Snapshot)> {
        let packets = self.packets(session);
        let held = self.sessions.get_mut(session as usize).and_then(Option::as_mut)?;
        held.taken = SnapshotMark { changed: false, at: now, packets };
        let (name, ends) = (held.name.clone(), held.ends.concat());
        let ends = ends.iter().filter_map(|end| self.endpoint(*end)).map(EndpointState::of).collect();
        Some((name, Snapshot { at: now, ends }))
    }

    /// Packets that came in or left at its ends.
    fn packets(&self, session: u32) -> u64 {
        let ends = (0..LEGS as usize).flat_map(|leg| self.session(session).map(|s| s.ends[leg].iter()));
        ends.flatten()
            .filter_map(|end| self.endpoint(*end))
            .map(|e| e.count.packets_in + e.count.packets_out)
            .sum()
    }
}

/// The keys are used for the first time where the other relay cannot have come to.
fn ahead(association: Association) -> Association {
    Association { outward: beyond(&association.outward), ..association }
}

/// As [`ahead`].
fn keyed_ahead(keyed: Keyed) -> Keyed {
    let outward = keyed.outward.iter().map(|(suite, indices)| (*suite, beyond(indices))).collect();
    Keyed { outward, ..keyed }
}

fn beyond(indices: &[Index]) -> Vec<Index> {
    indices.iter().map(|index| index.ahead(AHEAD - 1)).collect()
}
