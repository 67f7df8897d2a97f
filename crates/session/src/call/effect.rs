use super::event::RelaySession;
use serde::{Deserialize, Serialize};
use signal::media::{Codec, Direction, Ice, Transport};
use signal::{End, LegId, Opening, Signal};

/// What a decision causes. Stored with the record under an id, performed, then cleared; performing twice is harmless.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Effect {
    /// Order an edge to say this.
    Say {
        /// To whose peer.
        leg: LegId,
        /// How many were said to this leg before.
        count: u32,
        /// What.
        signal: Signal,
        /// With the signal that opens the leg.
        opening: Option<Opening>,
    },
    /// Tell the relay who is at an end and what they agreed.
    Connect(Connect),
    /// Further candidates of the peer at an end.
    Candidates {
        /// The end.
        leg: LegId,
        /// The content's place.
        content: u16,
        /// What came.
        ice: Ice,
    },
    /// Let the party at an end hear a sound, over and over until there is live media; `None`: no more.
    Play {
        /// The end.
        leg: LegId,
        /// The content's place.
        content: u16,
        /// A file's name in the relay's sounds.
        sound: Option<String>,
    },
    /// Tell the relay that another one goes on with the session.
    Leave(RelaySession),
    /// Give the relay session back.
    Release(RelaySession),
    /// A fact for billing and monitoring.
    Record(Fact),
    /// Ask the relay whether it still has the session.
    Probe,
    /// The peer at these ends has restarted ICE: tell the relay as by `Connect`, and the call what credentials the ends answer
    /// with ([`super::Event::Renewed`]).
    Restart {
        /// The leg.
        leg: LegId,
        /// Its ends, by content.
        ends: Vec<Connect>,
    },
}

impl Effect {
    /// The variant's name as logs and spans show it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Effect::Say { .. } => "say",
            Effect::Connect(_) => "connect",
            Effect::Candidates { .. } => "candidates",
            Effect::Play { .. } => "play",
            Effect::Leave(_) => "leave",
            Effect::Release(_) => "release",
            Effect::Record(_) => "record",
            Effect::Probe => "probe",
            Effect::Restart { .. } => "restart",
        }
    }
}

/// One content of one end of the relay session, as both sides agreed it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connect {
    /// The end.
    pub leg: LegId,
    /// The content's place.
    pub content: u16,
    /// Where and how the peer receives.
    pub remote: Transport,
    /// The content whose transport carries this one too (BUNDLE, RFC 9143); `remote` means nothing then.
    #[serde(default)]
    pub bundled: Option<u16>,
    /// The payload numbers in use on this leg.
    pub codecs: Vec<Codec>,
    /// From the peer's view: whether it sends and receives.
    pub direction: Direction,
    /// We opened this leg: ICE controlling (RFC 8445 §6.1.1), and the peer chose the DTLS role.
    pub ours: bool,
}

impl Connect {
    /// The peer's, empty without ICE.
    #[must_use]
    pub fn ufrag(&self) -> String {
        self.remote.ice.as_ref().map(|ice| ice.ufrag.clone()).unwrap_or_default()
    }
}

/// A fact of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fact {
    /// Somebody calls somebody.
    Placed {
        /// Who, in their own protocol's words.
        from: String,
        /// Whom.
        to: String,
    },
    /// It was answered.
    Answered,
    /// It is over.
    Ended {
        /// Why.
        end: End,
        /// Milliseconds from answer to end; `None` = never answered.
        talked_ms: Option<u64>,
    },
}
