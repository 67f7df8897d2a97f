use super::event::RelaySession;
use serde::{Deserialize, Serialize};
use signal::media::{Codec, Direction, Ice, Transport};
use signal::{End, LegId, Opening, Signal};

/// Effect of a decision. Stored with the record under an id, performed, then cleared; performing twice is harmless.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Effect {
    /// Order an edge to say this.
    Say {
        /// Leg whose peer hears the signal.
        leg: LegId,
        /// Number of signals said to this leg before.
        count: u32,
        /// The signal.
        signal: Signal,
        /// Parties, with the signal that opens the leg.
        opening: Option<Opening>,
    },
    /// Tell the relay the peer of an end and what both agreed.
    Connect(Connect),
    /// Further candidates of the peer at an end.
    Candidates {
        /// The end.
        leg: LegId,
        /// Index of the content.
        content: u16,
        /// Candidates of the peer.
        ice: Ice,
    },
    /// Play a sound to the party at an end, over and over until there is live media; `None` stops it.
    Play {
        /// The end.
        leg: LegId,
        /// Index of the content.
        content: u16,
        /// A file's name in the relay's sounds.
        sound: Option<String>,
    },
    /// Tell the relay that another one continues the session.
    Leave(RelaySession),
    /// Give the relay session back.
    Release(RelaySession),
    /// A fact for billing and monitoring.
    Record(Fact),
    /// Probe the relay for the session.
    Probe,
    /// Tell the relay, as by `Connect`, that the peer at these ends has restarted ICE; its answer brings the new credentials
    /// ([`super::Event::Renewed`]).
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
    /// Index of the content.
    pub content: u16,
    /// Transport of the peer.
    pub remote: Transport,
    /// The content whose transport carries this one too (BUNDLE, RFC 9143); `remote` means nothing then.
    #[serde(default)]
    pub bundled: Option<u16>,
    /// The payload numbers in use on this leg.
    pub codecs: Vec<Codec>,
    /// Direction from the peer's view.
    pub direction: Direction,
    /// We opened this leg: ICE controlling (RFC 8445 §6.1.1), and the peer chose the DTLS role.
    pub ours: bool,
}

impl Connect {
    /// Returns the peer's ufrag, empty without ICE.
    #[must_use]
    pub fn ufrag(&self) -> String {
        self.remote.ice.as_ref().map(|ice| ice.ufrag.clone()).unwrap_or_default()
    }
}

/// A fact of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fact {
    /// A call was placed.
    Placed {
        /// Caller in their own protocol's address form.
        from: String,
        /// Callee in their own protocol's address form.
        to: String,
    },
    /// The call was answered.
    Answered,
    /// The call is over.
    Ended {
        /// Reason of the end.
        end: End,
        /// Milliseconds from answer to end; `None` = never answered.
        talked_ms: Option<u64>,
    },
}
