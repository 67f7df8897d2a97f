//! A Jingle session (XEP-0166, XEP-0353) as the call record keeps it: any edge that holds these octets can act for the leg.

use minicbor::{Decode, Encode};
use signal::media::{Direction, Trickle};
use signal::{Media, Packed, Stored, Time, stored};

/// Most stanzas of ours whose answer is remembered.
const MAX_PENDING: usize = 16;
/// Most user fragments of ended generations that are remembered.
const MAX_FORMER: usize = 4;

/// State of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum State {
    /// Created for the first stanza, which is still to be heard or said.
    #[n(0)]
    New,
    /// The peer's propose waits for our proceed or reject.
    #[n(1)]
    Proposed,
    /// We said proceed; the peer's session-initiate is awaited.
    #[n(2)]
    Proceeded,
    /// The peer's session-initiate waits for our session-accept.
    #[n(3)]
    Incoming,
    /// Our propose waits for a device to proceed.
    #[n(4)]
    Proposing,
    /// Our session-initiate waits for the peer's session-accept.
    #[n(5)]
    Outgoing,
    /// Accepted.
    #[n(6)]
    Active,
    /// Terminated, rejected, retracted, finished or failed.
    #[n(7)]
    Ended,
}

/// Kind of a stanza of ours that may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Sent {
    /// JMI propose: only an error comes back.
    #[n(0)]
    Propose,
    /// JMI proceed: only an error comes back.
    #[n(1)]
    Proceed,
    /// session-initiate
    #[n(2)]
    Initiate,
    /// session-accept
    #[n(3)]
    Accept,
    /// Stanza that carries the open [`Session::local_offer`].
    #[n(4)]
    Update,
    /// Stanza whose answer changes nothing.
    #[n(5)]
    Notice,
}

/// Open offer of the peer's.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum RemoteOffer {
    /// The session-initiate that follows our proceed.
    #[n(0)]
    Initiate,
    /// content-add of these contents.
    #[n(1)]
    Add(#[n(0)] Vec<String>),
    /// content-modify or content-remove: acknowledged already, no further answer.
    #[n(2)]
    Change,
    /// hold or unhold: acknowledged already; deferred while another offer is open.
    #[n(3)]
    Hold,
    /// ICE restart (new credentials in a transport-info): answered with new ones of ours.
    #[n(4)]
    Restart,
    /// transport-replace: answered with our transport.
    #[n(5)]
    Replace,
}

/// Open offer of ours.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum LocalOffer {
    /// hold, unhold, or an empty session-info: closed by its acknowledgement.
    #[n(0)]
    Info,
    /// content-add of these contents: closed by content-accept or content-reject.
    #[n(1)]
    Add(#[n(0)] Vec<String>),
    /// content-remove: closed by its acknowledgement.
    #[n(2)]
    Remove,
}

/// Jingle state of one leg.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Session {
    /// State of the session.
    #[n(0)]
    pub state: State,
    /// The session began with a propose.
    #[n(1)]
    pub jmi: bool,
    /// We are the initiator.
    #[n(2)]
    pub initiator: bool,
    /// Our full JID.
    #[n(3)]
    pub local: String,
    /// Peer's JID: bare until a device has proceeded, then full.
    #[n(4)]
    pub peer: String,
    /// Caller's display name, for the propose.
    #[n(5)]
    pub nick: Option<String>,
    /// Session id, and id of the propose.
    #[n(6)]
    pub sid: String,
    /// Session id of a second propose, in case the device that proceeded is gone.
    #[n(7)]
    pub spare_sid: Option<String>,
    /// Our last description.
    #[n(8)]
    pub local_description: Packed<Media>,
    /// Peer's last description, before its hold is applied.
    #[n(9)]
    pub remote_description: Packed<Media>,
    /// Names of contents whose `creator` is the responder.
    #[n(10)]
    pub responder_contents: Vec<String>,
    /// Candidates received before their description.
    #[n(11)]
    pub early_candidates: Vec<Trickle>,
    /// Peer's open offer.
    #[n(12)]
    pub remote_offer: Option<RemoteOffer>,
    /// Our open offer, and our description before it (to roll back to).
    #[n(13)]
    pub local_offer: Option<(LocalOffer, Packed<Media>)>,
    /// The peer holds us.
    #[n(14)]
    pub remote_hold: bool,
    /// The peer's hold or unhold waits until the open offer closes.
    #[n(15)]
    pub deferred_hold: bool,
    /// The peer's ICE restart waits until the open offer closes.
    #[n(16)]
    pub ice_restart_pending: bool,
    /// We told the peer that it is on hold.
    #[n(17)]
    pub local_hold: bool,
    /// Time of the peer's first ringing.
    #[n(18)]
    pub remote_ringing: Option<Time>,
    /// We sent ringing.
    #[n(19)]
    pub local_ringing: bool,
    /// The peer acknowledged our session-initiate.
    #[n(20)]
    pub initiate_acked: bool,
    /// Devices that proceeded after another device had.
    #[n(21)]
    pub late_devices: Vec<String>,
    /// Unanswered stanzas of ours by id, oldest first.
    #[n(22)]
    pub pending: Vec<(String, Sent)>,
    /// User fragments of the peer that restarts have replaced, oldest first.
    #[n(23)]
    pub former_ufrags: Option<Vec<String>>,
}

impl Stored for Session {
    const NAME: &'static str = "a Jingle session";
    const VERSION: u16 = 2;
    const OLDEST: u16 = 1;
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
            local_description: Packed::default(),
            remote_description: Packed::default(),
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
            former_ufrags: None,
        }
    }
    /// Reads what [`Session::to_bytes`] wrote.
    #[must_use]
    pub fn from_bytes(octets: &[u8]) -> Option<Session> {
        stored::decode(octets).ok()
    }
    /// Keeps descriptions as octets: between two messages nobody looks at them.
    pub fn pack(&mut self) {
        self.local_description.pack();
        self.remote_description.pack();
        if let Some((_, previous)) = &mut self.local_offer {
            previous.pack();
        }
    }
    /// Serialises the session for the record.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        stored::encode(self)
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
        let mut media = Media::clone(&self.remote_description);
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
    /// Forgets a propose or proceed of ours once the session has gone beyond it: an error that answers it changes nothing.
    pub fn forget_answered(&mut self) {
        let (proposing, proceeded) = (self.state == State::Proposing, self.state == State::Proceeded);
        self.pending.retain(|(_, sent)| match sent {
            Sent::Propose => proposing,
            Sent::Proceed => proceeded,
            _ => true,
        });
    }
    /// Remembers that a user fragment of the peer is not in use any more.
    pub fn forget_ufrag(&mut self, ufrag: &str) {
        let former = self.former_ufrags.get_or_insert_default();
        if former.len() >= MAX_FORMER {
            former.remove(0);
        }
        former.push(ufrag.to_owned());
    }
    /// Returns true for a user fragment of the peer that a restart has replaced.
    #[must_use]
    pub fn is_former(&self, ufrag: &str) -> bool {
        self.former_ufrags.iter().flatten().any(|former| former == ufrag)
    }
    /// Takes the stanza of ours that an answer with this id belongs to.
    pub fn answered(&mut self, id: &str) -> Option<Sent> {
        let index = self.pending.iter().position(|(known, _)| known == id)?;
        Some(self.pending.remove(index).1)
    }
}
