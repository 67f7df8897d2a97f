use super::event::RelaySession;
use minicbor::{Decode, Encode};
use signal::media::{Codec, Direction, Ice, Ssrc, Transport};
use signal::{DiversionReason, End, LegId, Opening, Signal, Tone};

/// Effect of a decision. Stored with the record under an id, performed, then cleared; performing twice is harmless.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Effect {
    /// Order an edge to say this.
    #[n(0)]
    Say {
        /// Leg whose peer hears the signal.
        #[n(0)]
        leg: LegId,
        /// Number of signals said to this leg before.
        #[n(1)]
        count: u32,
        /// The signal.
        #[n(2)]
        signal: Signal,
        /// Parties, with the signal that opens the leg.
        #[n(3)]
        opening: Option<Opening>,
    },
    /// Tell the relay the peer of an end and what both agreed.
    #[n(1)]
    Connect(#[n(0)] Connect),
    /// Further candidates of the peer at an end.
    #[n(2)]
    Candidates {
        /// The end.
        #[n(0)]
        leg: LegId,
        /// Index of the content.
        #[n(1)]
        content: u16,
        /// Candidates of the peer.
        #[n(2)]
        ice: Ice,
    },
    /// Play a sound to the party at an end, over and over until there is live media; `None` stops it.
    #[n(3)]
    Play {
        /// The end.
        #[n(0)]
        leg: LegId,
        /// Index of the content.
        #[n(1)]
        content: u16,
        /// A file's name in the relay's sounds.
        #[n(2)]
        sound: Option<String>,
    },
    /// Tell the relay that another one continues the session.
    #[n(4)]
    Leave(#[n(0)] RelaySession),
    /// Give the relay session back.
    #[n(5)]
    Release(#[n(0)] RelaySession),
    /// A fact for billing and monitoring.
    #[n(6)]
    Record(#[n(0)] Fact),
    /// Probe the relay for the session.
    #[n(7)]
    Probe,
    /// Tell the relay, as by `Connect`, that the peer at these ends has restarted ICE; its answer brings the new credentials
    /// ([`super::Event::Renewed`]).
    #[n(8)]
    Restart {
        /// The leg.
        #[n(0)]
        leg: LegId,
        /// Its ends, by content.
        #[n(1)]
        ends: Vec<Connect>,
    },
    /// Find out where the target of a further leg leads now ([`super::Event::Routed`]).
    #[n(9)]
    Route {
        /// The leg.
        #[n(0)]
        leg: LegId,
        /// Parties in the words of the leg that wants the target.
        #[n(1)]
        opening: Opening,
        /// True if the last party of its history has diverted the call there, in the words of that one's leg.
        #[cbor(n(2), default)]
        diverts: bool,
    },
    /// Ask the relay for the ends of a further leg ([`super::Event::Allocated`]).
    #[n(10)]
    Allocate {
        /// The leg.
        #[n(0)]
        leg: LegId,
        /// Number of its contents.
        #[n(1)]
        contents: u8,
        /// True if it is WebRTC for certain, and needs no ports of its own.
        #[n(2)]
        webrtc: bool,
    },
    /// Tell the relay the two legs that hear each other; no other leg hears anybody.
    #[n(11)]
    Bridge {
        /// The one.
        #[n(0)]
        one: LegId,
        /// The other.
        #[n(1)]
        other: LegId,
    },
    /// Give the ends of a leg back while the call goes on.
    #[n(12)]
    ReleaseLeg(#[n(0)] LegId),
    /// Order an edge to wake a leg that asked for it.
    #[n(13)]
    Wake {
        /// The leg.
        #[n(0)]
        leg: LegId,
    },
    /// Say a key to the party at an end within its media (telephone-event, RFC 4733).
    #[n(14)]
    Press {
        /// The end.
        #[n(0)]
        leg: LegId,
        /// Index of the content.
        #[n(1)]
        content: u16,
        /// The key.
        #[n(2)]
        tone: Tone,
    },
    /// Write the call detail record.
    #[n(19)]
    Cdr,
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
            Effect::Route { .. } => "route",
            Effect::Allocate { .. } => "allocate",
            Effect::Bridge { .. } => "bridge",
            Effect::ReleaseLeg(_) => "release leg",
            Effect::Wake { .. } => "wake",
            Effect::Press { .. } => "press",
            Effect::Cdr => "cdr",
        }
    }
}

/// One content of one end of the relay session, as both sides agreed it.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Connect {
    /// The end.
    #[n(0)]
    pub leg: LegId,
    /// Index of the content.
    #[n(1)]
    pub content: u16,
    /// Transport of the peer.
    #[n(2)]
    pub remote: Transport,
    /// The content whose transport carries this one too (BUNDLE, RFC 9143); `remote` means nothing then.
    #[n(3)]
    pub bundled: Option<u16>,
    /// The payload numbers in use on this leg.
    #[n(4)]
    pub codecs: Vec<Codec>,
    /// Direction from the peer's view.
    #[n(5)]
    pub direction: Direction,
    /// We opened this leg: ICE controlling (RFC 8445 §6.1.1), and the peer chose the DTLS role.
    #[n(6)]
    pub ours: bool,
    /// Source that the peer is told: packets to it have this SSRC.
    #[n(7)]
    pub ssrc: Option<Ssrc>,
}

impl Connect {
    /// Returns the peer's ufrag, empty without ICE.
    #[must_use]
    pub fn ufrag(&self) -> String {
        self.remote.ice.as_ref().map(|ice| ice.ufrag.clone()).unwrap_or_default()
    }
}

/// A fact of a call.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Fact {
    /// A call was placed.
    #[n(0)]
    Placed {
        /// Caller in their own protocol's address form.
        #[n(0)]
        from: String,
        /// Callee in their own protocol's address form.
        #[n(1)]
        to: String,
    },
    /// The call was answered.
    #[n(1)]
    Answered,
    /// The call is over.
    #[n(2)]
    Ended {
        /// Reason of the end.
        #[n(0)]
        end: End,
        /// Milliseconds from answer to end; `None` = never answered.
        #[n(1)]
        talked_ms: Option<u64>,
    },
    /// A target has taken the place of a leg.
    #[n(3)]
    Transferred {
        /// The target, in its own protocol's address form.
        #[n(0)]
        to: String,
    },
    /// A callee has had the call sent on.
    #[n(4)]
    Diverted {
        /// The callee, in its own protocol's address form.
        #[n(0)]
        from: String,
        /// The target, as the callee named it.
        #[n(1)]
        to: String,
        /// The reason.
        #[n(2)]
        reason: DiversionReason,
    },
}
