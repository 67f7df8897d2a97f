//! A Jingle session (XEP-0166, XEP-0353) as the call record keeps it: any edge that holds these octets can act for the leg.

use serde::{Deserialize, Serialize};
use signal::media::{Direction, Trickle};
use signal::{Media, Time};

/// Most stanzas of ours whose answer is remembered.
const MAX_PENDING: usize = 16;

/// State of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Created for the first stanza, which is still to be heard or said.
    New,
    /// The peer's propose waits for our proceed or reject.
    Proposed,
    /// We said proceed; the peer's session-initiate is awaited.
    Proceeded,
    /// The peer's session-initiate waits for our session-accept.
    Incoming,
    /// Our propose waits for a device to proceed.
    Proposing,
    /// Our session-initiate waits for the peer's session-accept.
    Outgoing,
    /// Accepted.
    Active,
    /// Terminated, rejected, retracted, finished or failed.
    Ended,
}

/// Kind of a stanza of ours that may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sent {
    /// JMI propose: only an error comes back.
    Propose,
    /// JMI proceed: only an error comes back.
    Proceed,
    /// session-initiate
    Initiate,
    /// session-accept
    Accept,
    /// Stanza that carries the open [`Session::local_offer`].
    Update,
    /// Stanza whose answer changes nothing.
    Notice,
}

/// Open offer of the peer's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RemoteOffer {
    /// The session-initiate that follows our proceed.
    Initiate,
    /// content-add of these contents.
    Add(Vec<String>),
    /// content-modify or content-remove: acknowledged already, no further answer.
    Change,
    /// hold or unhold: acknowledged already; deferred while another offer is open.
    Hold,
    /// ICE restart (new credentials in a transport-info): answered with new ones of ours.
    Restart,
    /// transport-replace: answered with our transport.
    Replace,
}

/// Open offer of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LocalOffer {
    /// hold, unhold, or an empty session-info: closed by its acknowledgement.
    Info,
    /// content-add of these contents: closed by content-accept or content-reject.
    Add(Vec<String>),
    /// content-remove: closed by its acknowledgement.
    Remove,
}

/// Jingle state of one leg.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// State of the session.
    pub state: State,
    /// The session began with a propose.
    pub jmi: bool,
    /// We are the initiator.
    pub initiator: bool,
    /// Our full JID.
    pub local: String,
    /// Peer's JID: bare until a device has proceeded, then full.
    pub peer: String,
    /// Caller's display name, for the propose.
    pub nick: Option<String>,
    /// Session id, and id of the propose.
    pub sid: String,
    /// Session id of a second propose, in case the device that proceeded is gone.
    pub spare_sid: Option<String>,
    /// Our last description.
    pub local_description: Media,
    /// Peer's last description, before its hold is applied.
    pub remote_description: Media,
    /// Names of contents whose `creator` is the responder.
    pub responder_contents: Vec<String>,
    /// Candidates received before their description.
    pub early_candidates: Vec<Trickle>,
    /// Peer's open offer.
    pub remote_offer: Option<RemoteOffer>,
    /// Our open offer, and our description before it (to roll back to).
    pub local_offer: Option<(LocalOffer, Media)>,
    /// The peer holds us.
    pub remote_hold: bool,
    /// The peer's hold or unhold waits until the open offer closes.
    pub deferred_hold: bool,
    /// The peer's ICE restart waits until the open offer closes.
    pub ice_restart_pending: bool,
    /// We told the peer that it is on hold.
    pub local_hold: bool,
    /// Time of the peer's first ringing.
    pub remote_ringing: Option<Time>,
    /// We sent ringing.
    pub local_ringing: bool,
    /// The peer acknowledged our session-initiate.
    pub initiate_acked: bool,
    /// Devices that proceeded after another device had.
    pub late_devices: Vec<String>,
    /// Unanswered stanzas of ours by id, oldest first.
    pub pending: Vec<(String, Sent)>,
}

impl Session {
    /// Creates a session before its first stanza.
    #[must_use]
    pub fn new(local: String, peer: String, sid: String, initiator: bool) -> Session {
        Session {
            state: State::New,
            jmi: false,
            initiator,
            local,
            peer,
            nick: None,
            sid,
            spare_sid: None,
            local_description: Media::default(),
            remote_description: Media::default(),
            responder_contents: vec![],
            early_candidates: vec![],
            remote_offer: None,
            local_offer: None,
            remote_hold: false,
            deferred_hold: false,
            ice_restart_pending: false,
            local_hold: false,
            remote_ringing: None,
            local_ringing: false,
            initiate_acked: false,
            late_devices: vec![],
            pending: vec![],
        }
    }
    /// Reads what [`Session::to_bytes`] wrote.
    #[must_use]
    pub fn from_bytes(octets: &[u8]) -> Option<Session> {
        postcard::from_bytes(octets).ok()
    }
    /// Serialises the session for the record.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }
    /// Returns true from the session-initiate to the session-terminate.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Incoming | State::Outgoing | State::Active)
    }
    /// Returns true if an offer of the peer's waits until the open one closes.
    #[must_use]
    pub fn has_deferred_offer(&self) -> bool {
        self.deferred_hold || self.ice_restart_pending
    }
    /// Returns our side of the session.
    #[must_use]
    pub fn role(&self) -> media::jingle::Role {
        if self.initiator { media::jingle::Role::Initiator } else { media::jingle::Role::Responder }
    }
    /// Returns the peer's side of the session.
    #[must_use]
    pub fn peer_role(&self) -> media::jingle::Role {
        if self.initiator { media::jingle::Role::Responder } else { media::jingle::Role::Initiator }
    }
    /// Returns the peer's description with its hold applied.
    #[must_use]
    pub fn description(&self) -> Media {
        let mut media = self.remote_description.clone();
        for content in media.contents.iter_mut().filter(|c| self.remote_hold && !c.rejected) {
            content.direction = Direction::of(content.direction.sends(), false);
        }
        media
    }
    /// Returns the peer's description as an answer to our last one (RFC 3264 §6.1).
    #[must_use]
    pub fn agreed(&self) -> Media {
        let mut media = self.description();
        for (content, ours) in media.contents.iter_mut().zip(&self.local_description.contents) {
            let theirs = content.direction;
            content.direction = Direction::of(
                theirs.sends() && ours.direction.receives(),
                theirs.receives() && ours.direction.sends(),
            );
            content.rejected |= ours.rejected;
        }
        media
    }
    /// Remembers a stanza of ours that may be answered; forgets the oldest when there are too many.
    pub fn expect(&mut self, id: &str, sent: Sent) {
        if self.pending.len() >= MAX_PENDING {
            self.pending.remove(0);
        }
        self.pending.push((id.to_owned(), sent));
    }
    /// Takes the stanza of ours that an answer with this id belongs to.
    pub fn answered(&mut self, id: &str) -> Option<Sent> {
        let index = self.pending.iter().position(|(known, _)| known == id)?;
        Some(self.pending.remove(index).1)
    }
}
