//! Legs: each is one party's side of a call.

use super::feature::Forwarding;
use super::timeline::Timeline;
use media::{LocalEnd, Profile};
use minicbor::{Decode, Encode};
use signal::{EventId, Heard, LegId, Media, Opening, Party, Protocol, Reason, Time};

/// Events of a leg that are remembered to tell a repetition.
const REMEMBERED: usize = 12;

/// Notice of the relay's address to a leg's peer after the media has moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub enum AddressNotice {
    /// The peer knows the address.
    #[default]
    #[n(0)]
    Current,
    /// The address has changed; the peer is told as soon as no offer is open.
    #[n(1)]
    Due {
        /// Number of notices that the peer refused.
        #[n(0)]
        tries: u8,
        /// Earliest time of the next notice.
        #[n(1)]
        after: Time,
    },
    /// An update with the new address waits for its answer.
    #[n(2)]
    Sent {
        /// As in `Due`.
        #[n(0)]
        tries: u8,
    },
}

/// Role of a leg in its call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Role {
    /// Placed the call.
    #[default]
    #[n(0)]
    Caller,
    /// Was called, at first or in place of another callee.
    #[n(1)]
    Callee,
    /// Is called to take the place of another leg (the transfer target of RFC 5589); has its role once it answers.
    #[n(2)]
    Target,
}

/// Limit of the wait for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Ring {
    /// End of the wait.
    #[n(0)]
    pub until: Time,
    /// Reason if nothing was heard by then.
    #[n(1)]
    pub unheard: Reason,
    /// End of the wait for a first sign that the party rings, if that comes earlier.
    #[n(2)]
    pub heard_by: Option<Time>,
}

/// One party's side of a call.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Leg {
    /// Id of the leg.
    #[n(0)]
    pub id: LegId,
    /// Parties of the leg in its own protocol.
    #[n(1)]
    pub opening: Opening,
    /// True if the peer opened the leg.
    #[n(2)]
    pub inbound: bool,
    /// Phase of the leg.
    #[n(3)]
    pub phase: Phase,
    /// Offer/answer state (JSEP, RFC 9429 §3.2).
    #[n(4)]
    pub signaling: Signaling,
    /// Side that made the last answered offer; the other description is its answer.
    #[n(5)]
    pub offerer: Offerer,
    /// Description that the peer gave last.
    #[n(6)]
    pub remote_description: Option<Media>,
    /// Description that we gave last.
    #[n(7)]
    pub local_description: Option<Media>,
    /// Description that the open offer would replace: the remote one under their offer, ours under ours. A refusal brings it back
    /// (RFC 3264 §8: as if the offer had never been made).
    #[n(8)]
    pub rollback: Option<Media>,
    /// Media profile spoken with the peer.
    #[n(9)]
    pub profile: Profile,
    /// Local ends at the relay, by content.
    #[n(10)]
    pub ends: Vec<LocalEnd>,
    /// State of the notice of these ends to the peer.
    #[n(11)]
    pub address_notice: AddressNotice,
    /// True once the end has met the peer since the last move.
    #[n(12)]
    pub met: bool,
    /// Number of signals said so far.
    #[n(13)]
    pub count: u32,
    /// The edge crate's own serialised state.
    #[cbor(n(14), with = "minicbor::bytes")]
    pub dialog: Vec<u8>,
    /// Number of changes of `dialog`.
    #[n(15)]
    pub revision: u32,
    /// Edge that holds the open transaction.
    #[n(16)]
    pub edge: String,
    /// Events already committed, newest last.
    #[n(17)]
    pub events: Vec<EventId>,
    /// Role in the call.
    #[cbor(n(18), default)]
    pub role: Role,
    /// Leg that hears this one once it answers; `None` for a leg that is or was part of the bridge.
    #[n(19)]
    pub partner: Option<LegId>,
    /// Limit of the wait for the answer of a leg that we open.
    #[n(20)]
    pub ring: Option<Ring>,
    /// True if the peer is reached by IPv6: ends with addresses of both families are offered with that one.
    #[cbor(n(21), default)]
    pub ipv6: bool,
    /// Time at which the leg's edge wants it woken.
    #[n(22)]
    pub wake: Option<Time>,
    /// Time at which the peer is settled on codecs that its hearer has; `None` = it is.
    #[n(23)]
    pub settle: Option<Time>,
    /// Forwarding around a leg that is called; `None` if there is none.
    #[n(24)]
    pub forwarding: Option<Forwarding>,
    /// Leg that asked for this one as its target, and hears of it.
    #[n(25)]
    pub referrer: Option<LegId>,
    /// Time at which a leg is hung up that was replaced at its own wish, unless it hangs up before; outside the bridge.
    #[n(26)]
    pub leave_by: Option<Time>,
    /// True if the caller is to hear what comes from the peer before its answer.
    #[cbor(n(31), default)]
    pub early_media: bool,
    /// Course of the leg, for its call detail record.
    #[cbor(n(32), default)]
    pub timeline: Timeline,
}

/// Phase of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Phase {
    /// An offer was made, by them or by us; nothing more.
    #[n(0)]
    Calling,
    /// Ringing, told by the peer or to the peer.
    #[n(1)]
    Ringing,
    /// Answered, but its media is still to be described (after a propose or an offerless INVITE).
    #[n(2)]
    Answered,
    /// Both descriptions are known.
    #[n(3)]
    Active,
    /// They left, or we told them to go.
    #[n(4)]
    Over,
    /// The route to the target is awaited; no edge knows of the leg.
    #[n(5)]
    Routing,
    /// The ends at the relay are awaited; no edge knows of the leg.
    #[n(6)]
    Allocating,
}

impl Phase {
    /// Returns true if nothing more is said to the leg.
    #[must_use]
    pub fn is_over(self) -> bool {
        self == Phase::Over
    }

    /// Returns true between the offer and the answer.
    #[must_use]
    pub fn is_early(self) -> bool {
        matches!(self, Phase::Calling | Phase::Ringing)
    }

    /// Returns true before the offer.
    #[must_use]
    pub fn is_unopened(self) -> bool {
        matches!(self, Phase::Routing | Phase::Allocating)
    }
}

/// Offer/answer state of a leg: one offer at a time (RFC 3264 §4, RFC 9429 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Signaling {
    /// No offer is open.
    #[n(0)]
    Stable,
    /// Our offer waits for its answer.
    #[n(1)]
    HaveLocalOffer,
    /// Their offer waits for our answer.
    #[n(2)]
    HaveRemoteOffer,
    /// Their offer restarts ICE; the answer waits for the relay's new credentials.
    #[n(3)]
    RestartPending,
}

/// The side of a leg that made its last answered offer: the other description is the answer (RFC 3264 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Offerer {
    /// We offered; the remote description is the answer.
    #[n(0)]
    Local,
    /// The peer offered; the local description is the answer.
    #[n(1)]
    Remote,
}

impl Leg {
    /// Makes a leg that has said and heard nothing.
    pub(super) fn new(id: LegId, role: Role, inbound: bool, opening: Opening, profile: Profile) -> Leg {
        Leg {
            id,
            opening,
            inbound,
            phase: if inbound { Phase::Calling } else { Phase::Routing },
            signaling: if inbound { Signaling::HaveRemoteOffer } else { Signaling::HaveLocalOffer },
            offerer: if inbound { Offerer::Remote } else { Offerer::Local },
            remote_description: None,
            local_description: None,
            rollback: None,
            profile,
            ends: vec![],
            address_notice: AddressNotice::Current,
            met: false,
            count: 0,
            dialog: vec![],
            revision: 0,
            edge: String::new(),
            events: vec![],
            role,
            partner: None,
            ring: None,
            ipv6: false,
            wake: None,
            settle: None,
            referrer: None,
            leave_by: None,
            forwarding: None,
            early_media: false,
            timeline: Timeline::default(),
        }
    }

    /// Takes over the ends that a relay gave.
    pub(super) fn set_ends(&mut self, mut ends: Vec<LocalEnd>) {
        if self.ipv6 {
            ends.iter_mut().for_each(LocalEnd::prefer_ipv6);
        }
        if self.profile == Profile::Webrtc {
            // Keys that nobody will use are not kept.
            ends.iter_mut().for_each(|end| end.crypto.clear());
        }
        self.ipv6 |= ends.iter().any(|end| end.address.is_ipv6());
        self.ends = ends;
    }

    /// Returns the end of the wait for the answer of a leg that we open.
    pub(super) fn waits_until(&self) -> Option<Time> {
        let ring = self.ring.filter(|_| self.phase.is_early() || self.phase.is_unopened())?;
        Some(ring.heard_by.filter(|_| self.phase != Phase::Ringing).unwrap_or(ring.until))
    }

    /// Returns the party of the leg, as its own protocol names it.
    #[must_use]
    pub fn party(&self) -> &Party {
        if self.inbound { &self.opening.from } else { &self.opening.to }
    }

    /// Returns the party that the leg talks to, as the leg's protocol names it.
    #[must_use]
    pub fn other_party(&self) -> &Party {
        if self.inbound { &self.opening.to } else { &self.opening.from }
    }

    /// Returns the protocol of the leg: a caller speaks it as `from`, a callee as `to`.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.party().protocol
    }

    /// Returns offer and answer of the last completed exchange, by either side.
    #[must_use]
    pub fn agreed(&self) -> Option<(&Media, &Media)> {
        let (mut remote, mut local) = (self.remote_description.as_ref(), self.local_description.as_ref());
        match self.signaling {
            Signaling::HaveRemoteOffer => remote = self.rollback.as_ref(),
            Signaling::HaveLocalOffer => local = self.rollback.as_ref(),
            Signaling::Stable | Signaling::RestartPending => {}
        }
        match self.offerer {
            Offerer::Local => local.zip(remote),
            Offerer::Remote => remote.zip(local),
        }
    }

    /// Returns the positions of the contents in use.
    pub(super) fn live(&self) -> Vec<usize> {
        self.agreed().map_or_else(Vec::new, |(offer, answer)| media::live(offer, answer))
    }

    /// Returns the contents in use as the peer describes them, with the codecs that both have agreed to.
    pub(super) fn agreed_media(&self) -> Option<Media> {
        let (offer, answer) = self.agreed()?;
        let mut media = if self.offerer == Offerer::Local { answer } else { offer }.clone();
        media::narrow(&mut media, answer);
        let live = media::live(offer, answer);
        let mut places = 0..;
        media.contents.retain(|_| places.next().is_some_and(|place| live.contains(&place)));
        Some(media)
    }

    /// Returns [`Leg::agreed_media`] with no other codecs than those in use.
    pub(super) fn in_use(&self) -> Option<Media> {
        let mut media = self.agreed_media()?;
        let agreed = media.clone();
        media::keep_in_use(&mut media, &agreed);
        Some(media)
    }

    /// Returns our description as a new offer that changes no codec: it has as many contents as before (RFC 3264 §8), and no other
    /// codecs than those in use.
    pub(super) fn offer_again(&self) -> Option<Media> {
        let mut ours = self.local_description.clone()?;
        if let Some((_, answer)) = self.agreed() {
            media::keep_in_use(&mut ours, answer);
            for (content, answered) in ours.contents.iter_mut().zip(&answer.contents) {
                content.rejected |= answered.rejected;
            }
        }
        for content in &mut ours.contents {
            // A new offer says actpass again; the role once agreed stays (RFC 8842 §5.2).
            if let Some(dtls) = &mut content.transport.dtls {
                dtls.setup = signal::media::Setup::ActPass;
            }
        }
        Some(ours)
    }

    /// Takes over the edge's state after an event.
    pub(super) fn note(&mut self, heard: &Heard) {
        self.dialog.clone_from(&heard.dialog);
        self.revision = heard.base + 1;
        self.edge.clone_from(&heard.edge);
        self.wake = heard.wake;
        if let Some(id) = &heard.wire_id {
            self.timeline.wire_id = Some(id.clone());
        }
        if self.events.len() >= REMEMBERED {
            self.events.remove(0);
        }
        self.events.push(heard.event);
    }
}
