//! State of a session that must outlive its relay (interworking §12.2, §12.5): taken in slices, given to the relay that resumes it.
//!
//! One rule: what control knows anyway (descriptions, codecs, directions) is not in here; it is told again by
//! [`Worker::connect`]. Here is what only the packets know: keys, indices, numbering, and where the peer was.

use super::endpoint::{Endpoint, Link};
use super::table::{Mark, Session};
use super::types::{AHEAD, EndpointState, FROZEN_MS, Inherited, Keyed, Local, Refusal, Snapshot};
use super::worker::Worker;
use crate::packet::{Continuity, LEAP, Splice};
use crate::srtp::Index;
use crate::webrtc::Association;
use signal::{LegId, Time};

/// Every session is looked at once in this time, ms.
const ROUND_MS: u64 = 1_000;
/// Sessions of a slice: few sessions wake the thread rarely.
const SLICE: u64 = 16;
/// Least and most slices of a round.
const SLICES: (u64, u64) = (4, 40);
/// Changes within this time (both ends connected) go into one snapshot, ms.
const BREATH_MS: u64 = 20;
/// A session that nothing moves is taken again after so long, lest its copy be forgotten, ms.
const REFRESH_MS: u64 = 60_000;

impl EndpointState {
    fn of(end: &Endpoint) -> EndpointState {
        let (association, path) = match &end.link {
            Link::WebRtc(web) => (web.transport.association(), web.transport.pair().map(|pair| pair.remote)),
            Link::Plain(plain) => (plain.association(), None),
            Link::Open | Link::Bundled(_) => (None, None),
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
            outgoing: end.outgoing.as_ref().map(Splice::state),
        }
    }
}

impl Worker {
    /// Takes no snapshots: where everything ends with the process, nothing resumes a session.
    #[must_use]
    pub fn without_snapshots(mut self) -> Worker {
        self.snapshots.off = true;
        self
    }

    /// Marks a session that has changed in what must outlive this relay.
    pub(super) fn mark_changed(&mut self, session: u32, now: Time) {
        if self.snapshots.off {
            return;
        }
        let Some(marked) = self.sessions.get_mut(session) else { return };
        if !std::mem::replace(&mut marked.mark.changed, true) {
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
            if self.sessions.get(session).is_some_and(|session| session.mark.changed) {
                out.extend(self.snapshot(session, now));
            }
        }
        let count = self.sessions.len() as u64;
        let pause = (ROUND_MS / (count / SLICE).clamp(SLICES.0, SLICES.1)).max(ROUND_MS / count.max(1));
        let (looks, indices) = (count * pause / ROUND_MS + 1, self.sessions.indices());
        let mut looked = 0;
        for _ in 0..indices {
            if looked >= looks || out.len() >= most {
                break;
            }
            self.snapshots.cursor = (self.snapshots.cursor + 1) % indices.max(1);
            let at = self.snapshots.cursor;
            let Some(session) = self.sessions.get(at) else { continue };
            looked += 1;
            let mark = session.mark;
            let moved = self.packets(at) != mark.packets || now.since(mark.at) >= REFRESH_MS;
            if moved || mark.changed {
                out.extend(self.snapshot(at, now));
            }
        }
        let next = if self.snapshots.changed.is_empty() { now + pause } else { now + BREATH_MS };
        self.snapshots.at = (count > 0).then_some(next);
        out
    }

    /// Returns the next session that has ended: nobody needs to resume it.
    pub fn poll_ended(&mut self) -> Option<String> {
        self.snapshots.ended.pop_front()
    }

    /// Resumes a session of another relay, just allocated here: the same names, keys and numbering. An endpoint that was not known
    /// there stays as it is. So does a bridge that was ordered here; else it is the one of there. Returns our side of the endpoints as it is now.
    pub fn resume(&mut self, session: &str, snapshot: Snapshot, now: Time) -> Vec<(LegId, u16, Local)> {
        let Some(at) = self.sessions.named(session) else { return vec![] };
        let Snapshot { at: taken, endpoints, bridge, exact } = snapshot;
        // A content that rides on the transport of another one has its keys there.
        let keyed = |state: &EndpointState| state.keyed.is_some() || state.association.is_some();
        let keyed: Vec<LegId> =
            endpoints.iter().filter(|state| keyed(state)).map(|state| state.leg).collect();
        for state in endpoints {
            let Ok(index) = self.find(session, state.leg.0.into(), state.content.into()) else { continue };
            let Some(end) = self.endpoints.get_mut(index).filter(|end| end.is_open()) else { continue };
            let old = std::mem::replace(&mut end.local.ufrag, state.ufrag.clone());
            (end.local.pwd, end.local.generation) = (state.pwd, state.generation);
            end.local.preference = state.preference.saturating_add(1);
            let continuity = match (exact, keyed.contains(&state.leg)) {
                (true, _) => Continuity::Exact,
                (false, false) => Continuity::Clear,
                (false, true) => Continuity::Unknown,
            };
            let resume = |outgoing| Splice::resume(outgoing, continuity, taken.0);
            end.outgoing = state.outgoing.map(resume);
            // Packets came while no relay forwarded them.
            end.gap = !exact;
            if end.sockets && !state.crypto.is_empty() {
                end.local.crypto = state.crypto;
            }
            let inherited = Inherited {
                keyed: state.keyed.map(|keyed| keyed_ahead(keyed, exact)),
                association: state.association.map(|association| ahead(association, exact)),
                path: state.path,
                theirs: state.theirs,
            };
            end.inherited = Some(Box::new(inherited));
            self.ufrags.remove(&old);
            self.ufrags.insert(state.ufrag, index);
        }
        if let Some(session) = self.sessions.get_mut(at).filter(|session| session.bridge.is_empty()) {
            let known =
                |(one, other): &(LegId, LegId)| [one, other].iter().all(|leg| session.leg(**leg).is_some());
            session.bridge = bridge.into_iter().filter(known).collect();
        }
        // None is connected yet, so nothing can be refused.
        let _ = self.rebridge(at, now);
        self.mark_changed(at, now);
        self.locals(at)
    }

    /// Returns the state of a session for a relay that is to go on with it while this one still forwards. From now on, and until it is
    /// handed over or [`FROZEN_MS`] have passed, no packet leaves here that the other one would number otherwise: one that follows a
    /// break or another source is lost.
    ///
    /// # Errors
    /// [`Refusal::UnknownSession`]
    pub fn freeze(&mut self, session: &str, now: Time) -> Result<Snapshot, Refusal> {
        let at = self.sessions.find(session)?;
        if let Some(held) = self.sessions.get_mut(at) {
            held.frozen = Some(now + FROZEN_MS);
            for index in held.all() {
                self.endpoints.get_mut(index).into_iter().for_each(|end| end.freeze(true));
            }
        }
        let (_, snapshot) =
            self.snapshot(at, now).ok_or_else(|| Refusal::UnknownSession(session.to_owned()))?;
        Ok(Snapshot { exact: true, ..snapshot })
    }

    /// Ends what [`Worker::freeze`] began and nothing came of.
    pub(super) fn thaw(&mut self, at: u32, now: Time) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        if session.frozen.take_if(|until| *until <= now).is_some() {
            for index in session.all() {
                self.endpoints.get_mut(index).into_iter().for_each(|end| end.freeze(false));
            }
        }
    }

    fn snapshot(&mut self, session: u32, now: Time) -> Option<(String, Snapshot)> {
        let packets = self.packets(session);
        let held = self.sessions.get_mut(session)?;
        held.mark = Mark { changed: false, at: now, packets };
        let (name, all, bridge) = (held.name.clone(), held.all(), held.bridge.clone());
        let all = all.into_iter().filter_map(|index| self.endpoints.get(index));
        let endpoints = all.map(EndpointState::of).collect();
        Some((name, Snapshot { at: now, endpoints, bridge, exact: false }))
    }

    /// Number of packets that came in or left at its endpoints.
    fn packets(&self, session: u32) -> u64 {
        let all = self.sessions.get(session).into_iter().flat_map(Session::iter);
        all.filter_map(|index| self.endpoints.get(index))
            .map(|end| end.count.packets_in + end.count.packets_out)
            .sum()
    }
}

/// The keys are used for the first time where the other relay cannot have come to; with an `exact` state the stream goes on where it is.
fn ahead(association: Association, exact: bool) -> Association {
    Association { outward: beyond(&association.outward, exact), ..association }
}

/// As [`ahead`].
fn keyed_ahead(keyed: Keyed, exact: bool) -> Keyed {
    let outward = keyed.outward.iter().map(|(suite, indices)| (*suite, beyond(indices, exact))).collect();
    Keyed { outward, ..keyed }
}

fn beyond(indices: &[Index], exact: bool) -> Vec<Index> {
    // The stream itself leaps as far, or farther.
    let packets = if exact { 0 } else { u32::from(LEAP.0) - 1 };
    indices.iter().map(|index| index.ahead(packets, AHEAD)).collect()
}
