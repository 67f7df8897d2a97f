#[cfg(doc)]
use super::effect::Connect;
use super::leg::Ring;
use super::timeline::Quality;
use crate::user::Settings;
use media::{LocalEnd, Policy, Profile};
use minicbor::{Decode, Encode};
use signal::media::Ice;
use signal::{End, Heard, LegId, Opening, Reason, Said, Time};

/// Event of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A peer said something; `Call::admit` has checked the revision.
    Heard(Heard),
    /// An edge has said what was ordered, or could not.
    Said(LegId, Said),
    /// No edge told in time that it opened this leg: it may be ringing there.
    GivenUp(LegId),
    /// The relay saw something on the end of this leg.
    Media(LegId, MediaEvent),
    /// Another relay has taken over the session.
    RelayChanged(RelayChange),
    /// A relay told new ICE credentials of these ends: their peer has restarted.
    Renewed(LegId, Renewal),
    /// The target of a further leg leads there, or nowhere.
    Routed(LegId, Result<Route, End>),
    /// The relay has given ends to a further leg, by content, or has refused them.
    Allocated(LegId, RelaySession, Result<Vec<LocalEnd>, Reason>),
    /// A relay tells of media that it has carried, by legs and contents.
    Measured(Vec<(LegId, Quality)>),
    /// An operator gives this leg another peer, named in the leg's own protocol.
    Transfer(LegId, String),
    /// The record's deadline has passed.
    Deadline,
    /// An operator or a drain ends the call.
    HangUp(Reason),
}

/// Event of an end at the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum MediaEvent {
    /// ICE and DTLS are up, or plain RTP has latched.
    #[n(0)]
    Connected,
    /// No media for the configured time.
    #[n(1)]
    TimedOut,
    /// ICE found no pair, or consent was lost.
    #[n(2)]
    Unreachable,
    /// The DTLS fingerprint did not match, or the handshake failed.
    #[n(3)]
    Insecure,
}

/// Inputs of placing a call, gathered before the decision.
#[derive(Clone, Debug)]
pub struct Placement {
    /// The event that opened the call: its first signal is an `Offer`.
    pub heard: Heard,
    /// Media profile spoken with the caller.
    pub caller: Profile,
    /// Route to the callee.
    pub route: Route,
    /// Media that is served.
    pub policy: Policy,
    /// The relay session allocated for it.
    pub allocation: Allocation,
    /// W3C traceparent of the call.
    pub trace: String,
}

/// Route to a party that is called.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The party's leg, in the party's protocol.
    pub opening: Opening,
    /// Media profile spoken with the party.
    pub profile: Profile,
    /// True if the party is reached by IPv6.
    pub ipv6: bool,
    /// Longest ringing, ms.
    pub ring_ms: u64,
    /// The reason when the ringing ends and nothing was heard from the party: `Offline` for a device that may be away
    /// (480, cause 20), `Timeout` for a next hop that should have answered.
    pub unheard: Reason,
    /// Longest wait for a sign that the party rings, ms; `None`: as long as it may ring.
    pub unheard_ms: Option<u64>,
    /// True if the caller is to hear what comes from the party's network before the answer.
    pub early_media: bool,
    /// Settings of the party, for the phone services; the default ones of a party who is no XMPP user.
    pub settings: Settings,
    /// True if the party is in another call and wants no second one.
    pub engaged: bool,
}

impl Route {
    /// Returns the limit of the wait for an answer that is asked for now.
    pub(super) fn ring(&self, now: Time) -> Ring {
        let until = now + self.settings.ring_ms().unwrap_or(self.ring_ms).min(self.ring_ms);
        let heard_by = self.unheard_ms.map(|ms| now + ms).filter(|at| *at < until);
        Ring { until, unheard: self.unheard, heard_by }
    }
}

/// Answer of a relay to the request for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// Session at the relay.
    pub session: RelaySession,
    /// Local ends by leg and content.
    pub ends: Vec<(LegId, Vec<LocalEnd>)>,
    /// True if the relay has room to transcode.
    pub transcodes: bool,
}

/// Answer of a relay to an ICE restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The relay; a call that is elsewhere has other ends.
    pub relay: RelaySession,
    /// Ufrags of the peer that the order named ([`Connect::ufrag`]); empty: unasked.
    pub theirs: Vec<String>,
    /// New credentials and candidates by content; empty: unchanged.
    pub ends: Vec<(u16, Ice)>,
}

/// Continuation of a session at another relay, or at the same one restarted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayChange {
    /// The former relay; a call that is not there ignores the event.
    pub from: RelaySession,
    /// True if the former relay still forwards, until every peer knows the new one.
    pub alive: bool,
    /// Allocation of the new relay.
    pub allocation: Allocation,
}

/// Session at a relay, named by the call's id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct RelaySession {
    /// Instance id of the relay.
    #[n(0)]
    pub instance: String,
    /// Control address of the relay.
    #[n(1)]
    pub address: String,
    /// Start time of the relay, milliseconds since the Unix epoch: a restarted one does not have the session.
    #[n(2)]
    pub started_ms: u64,
}
