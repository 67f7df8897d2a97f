#[cfg(doc)]
use super::effect::Connect;
use media::{LocalEnd, Policy, Profile};
use serde::{Deserialize, Serialize};
use signal::media::Ice;
use signal::{Heard, LegId, Opening, Reason, Said};

/// What can happen to a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A peer said something; the runner has checked its revision with `Call::admit`.
    Heard(Heard),
    /// An edge has said what we ordered (or could not).
    Said(LegId, Said),
    /// Nobody told in time whether this leg was opened: it may be ringing there.
    GivenUp(LegId),
    /// The relay saw something on the end of this leg.
    Media(LegId, MediaEvent),
    /// Another relay has taken the session of one that is gone, or that wants to go.
    Moved(Move),
    /// A relay told the ICE of these ends of a leg, which are others than before: their peer has restarted.
    Renewed(LegId, Renewal),
    /// The record's deadline has passed.
    Deadline,
    /// An operator or a drain ends the call.
    HangUp(Reason),
}

/// What a relay tells of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MediaEvent {
    /// ICE and DTLS are up, or plain RTP has latched.
    Connected,
    /// No media for the configured time.
    TimedOut,
    /// ICE found no pair, or consent was lost.
    Unreachable,
    /// The DTLS fingerprint did not match, or the handshake failed.
    Insecure,
}

/// Everything that placing a call needs, gathered before the decision.
#[derive(Clone, Debug)]
pub struct Placement {
    /// The event that opened the call: its first signal is an `Offer`.
    pub heard: Heard,
    /// Where it goes.
    pub route: Route,
    /// The relay session allocated for it.
    pub grant: Grant,
    /// W3C traceparent of the call.
    pub trace: String,
}

/// Where a call goes and under what rules.
#[derive(Clone, Debug)]
pub struct Route {
    /// The callee's leg, in the callee's protocol.
    pub opening: Opening,
    /// How media is spoken with the caller.
    pub caller: Profile,
    /// How media is spoken with the callee.
    pub callee: Profile,
    /// What media is served.
    pub policy: Policy,
    /// How long it may ring, ms.
    pub ring_ms: u64,
    /// The reason when the deadline passes and nothing was heard from the callee: `Offline` for a device that may be
    /// away (480, cause 20), `Timeout` for a next hop that should have answered.
    pub unheard: Reason,
}

/// What a relay allocated: the answer to `Allocate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Where it lives.
    pub session: RelaySession,
    /// Local ends by leg: `ends[leg][content]`.
    pub ends: Vec<Vec<LocalEnd>>,
    /// It has room to turn one codec into another.
    pub transcodes: bool,
}

/// What a relay answers an ICE restart with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// Which relay; a call that is elsewhere has other ends.
    pub relay: RelaySession,
    /// The peer's ufrags that it was asked about ([`Connect::ufrag`]); empty: nobody waits for this.
    pub theirs: Vec<String>,
    /// Credentials and candidates by content; empty: it keeps those that it had.
    pub ends: Vec<(u16, Ice)>,
}

/// A relay session that goes on at another relay, or at the same one started anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Where it was; a call that is not there (any more) does not move.
    pub from: RelaySession,
    /// That relay still forwards, and is to do so until everybody knows the new one.
    pub alive: bool,
    /// What the other one allocated for it.
    pub grant: Grant,
}

/// A relay session; its id is the call's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelaySession {
    /// Instance id of the relay.
    pub instance: String,
    /// Its control address.
    pub address: String,
    /// When that relay was started, milliseconds since the Unix epoch: one that was started anew knows nothing of it.
    pub started_ms: u64,
}
