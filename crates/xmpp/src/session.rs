//! A Jingle session (XEP-0166, XEP-0353) as the call record keeps it: whoever holds these octets can act for the leg.

use serde::{Deserialize, Serialize};
use signal::media::{Direction, Trickle};
use signal::{Media, Time};

/// IQs and messages of ours whose answer is remembered.
const MAX_PENDING: usize = 16;

/// Where the leg stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Made for a stanza that is about to be heard or said.
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

/// What a stanza of ours was, whose answer may come.
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
    /// What says the open [`Session::asking`].
    Update,
    /// Anything whose answer changes nothing.
    Notice,
}

/// An offer of the peer's that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Asked {
    /// The session-initiate that follows our proceed.
    Initiate,
    /// content-add of these contents.
    Add(Vec<String>),
    /// content-modify, content-remove: acknowledged already, nothing more to say.
    Change,
    /// hold, unhold: a wish, acknowledged already; tried again when it meets an open offer.
    Hold,
    /// New credentials in a transport-info: ours are said back.
    Restart,
    /// transport-replace: accepted with our transport.
    Replace,
}

/// An offer of ours that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Asking {
    /// hold, unhold, or an empty session-info: done once acknowledged.
    Info,
    /// content-add of these contents: done by content-accept or content-reject.
    Add(Vec<String>),
    /// content-remove: done once acknowledged.
    Remove,
}

/// One leg's Jingle state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Where it stands.
    pub state: State,
    /// It began with a propose.
    pub jmi: bool,
    /// We called.
    pub ours: bool,
    /// Our full JID.
    pub local: String,
    /// The peer: bare until a device has proceeded, then full.
    pub peer: String,
    /// Name of the caller, for the propose.
    pub nick: Option<String>,
    /// Session id, and id of the propose.
    pub sid: String,
    /// Session id for one more propose, should the device that proceeded be gone.
    pub spare: Option<String>,
    /// What we described last.
    pub spoken: Media,
    /// What the peer described last, as it is before hold.
    pub heard: Media,
    /// Names of contents that the responder added (`creator`).
    pub added: Vec<String>,
    /// Candidates that came before their description.
    pub early: Vec<Trickle>,
    /// The peer's open offer.
    pub asked: Option<Asked>,
    /// Our open offer, and what we had described before it.
    pub asking: Option<(Asking, Media)>,
    /// The peer holds us.
    pub holding: bool,
    /// The peer's hold or unhold waits for an open offer to close.
    pub wish: bool,
    /// The peer has restarted ICE and waits for credentials of ours; as a wish, it may have to wait.
    pub renewing: bool,
    /// We told the peer that it is held.
    pub held: bool,
    /// When the peer's first ringing was heard.
    pub rang: Option<Time>,
    /// We said ringing.
    pub ringing: bool,
    /// The peer acknowledged our session-initiate.
    pub acked: bool,
    /// Devices that proceeded after another one.
    pub late: Vec<String>,
    /// Stanzas of ours whose answer is awaited, oldest first.
    pub pending: Vec<(String, Sent)>,
}

impl Session {
    /// A session before its first stanza.
    #[must_use]
    pub fn new(local: String, peer: String, sid: String, ours: bool) -> Session {
        Session {
            state: State::New,
            jmi: false,
            ours,
            local,
            peer,
            nick: None,
            sid,
            spare: None,
            spoken: Media::default(),
            heard: Media::default(),
            added: vec![],
            early: vec![],
            asked: None,
            asking: None,
            holding: false,
            wish: false,
            renewing: false,
            held: false,
            rang: None,
            ringing: false,
            acked: false,
            late: vec![],
            pending: vec![],
        }
    }
    /// Reads what [`Session::to_bytes`] wrote.
    #[must_use]
    pub fn from_bytes(octets: &[u8]) -> Option<Session> {
        postcard::from_bytes(octets).ok()
    }
    /// For the record.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }
    /// A Jingle session exists: session-initiate was said or heard, and no terminate.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Incoming | State::Outgoing | State::Active)
    }
    /// Something waits for an open offer to close.
    #[must_use]
    pub fn wishes(&self) -> bool {
        self.wish || self.renewing
    }
    /// The side of the session that we are.
    #[must_use]
    pub fn role(&self) -> media::jingle::Role {
        if self.ours { media::jingle::Role::Initiator } else { media::jingle::Role::Responder }
    }
    /// The side that the peer is.
    #[must_use]
    pub fn peer_role(&self) -> media::jingle::Role {
        if self.ours { media::jingle::Role::Responder } else { media::jingle::Role::Initiator }
    }
    /// The peer's description as it stands, with its hold in it.
    #[must_use]
    pub fn description(&self) -> Media {
        let mut media = self.heard.clone();
        for content in media.contents.iter_mut().filter(|c| self.holding && !c.rejected) {
            content.direction = Direction::of(content.direction.sends(), false);
        }
        media
    }
    /// What the peer's description comes to as an answer to what we described last (RFC 3264 §6.1).
    #[must_use]
    pub fn agreed(&self) -> Media {
        let mut media = self.description();
        for (content, ours) in media.contents.iter_mut().zip(&self.spoken.contents) {
            let theirs = content.direction;
            content.direction = Direction::of(
                theirs.sends() && ours.direction.receives(),
                theirs.receives() && ours.direction.sends(),
            );
            content.rejected |= ours.rejected;
        }
        media
    }
    /// Remembers a stanza of ours; the oldest is forgotten when there are too many.
    pub fn expect(&mut self, id: &str, sent: Sent) {
        if self.pending.len() >= MAX_PENDING {
            self.pending.remove(0);
        }
        self.pending.push((id.to_owned(), sent));
    }
    /// The stanza of ours that an answer with this id belongs to, once.
    pub fn answered(&mut self, id: &str) -> Option<Sent> {
        let place = self.pending.iter().position(|(known, _)| known == id)?;
        Some(self.pending.remove(place).1)
    }
}
