use minicbor::{Decode, Encode};

/// Why a call ended or an offer was refused, in no protocol's words.
///
/// Each edge maps it to and from its own codes in one table (interworking §4): `crates/sip/src/reason.rs`,
/// `crates/xmpp/src/reason.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Reason {
    /// Normal clearing of an established call: BYE; `success`. Q.850 16.
    #[n(0)]
    Normal,
    /// The caller gave up before the answer: CANCEL, 487; `cancel`.
    #[n(1)]
    Cancelled,
    /// Another device or branch took the call: `Reason: SIP;cause=200`.
    #[n(2)]
    AnsweredElsewhere,
    /// 486, 600; `busy`. Q.850 17.
    #[n(3)]
    Busy,
    /// The callee said no: 603, 480 with cause 21; `decline`.
    #[n(4)]
    Declined,
    /// It rang and nobody came: 480 with cause 19; `timeout`.
    #[n(5)]
    NoAnswer,
    /// The callee has no device on line: 480 with cause 20; `gone`.
    #[n(6)]
    Offline,
    /// Nobody has this address: 404, 484, 604; `item-not-found`, `gone`. Q.850 1.
    #[n(7)]
    NotFound,
    /// The address has moved for good: 410; `gone`. Q.850 22.
    #[n(8)]
    Gone,
    /// The next hop did not answer at all: 408, 504; `timeout`. Q.850 102.
    #[n(9)]
    Timeout,
    /// Not allowed: 403, 401 after failed credentials; `forbidden`.
    #[n(10)]
    Forbidden,
    /// No codec in common: 488; `incompatible-parameters`. Q.850 88.
    #[n(11)]
    IncompatibleMedia,
    /// Kind of media or application not served: 415, 488; `unsupported-applications`. Q.850 79.
    #[n(12)]
    UnsupportedMedia,
    /// Transport not served: 488; `unsupported-transports`. Q.850 65.
    #[n(13)]
    UnsupportedTransport,
    /// No encryption, wrong fingerprint: 488, 493; `security-error`. Q.850 57.
    #[n(14)]
    Security,
    /// Media stopped or never came: `media-error`, `failed-application`.
    #[n(15)]
    MediaFailed,
    /// ICE or network failure of one call: 480 with cause 41; `connectivity-error`. Said by a far server: 502, 503, 430.
    #[n(16)]
    Connectivity,
    /// The gateway can serve nobody now: 503 with Retry-After; `connectivity-error`. Q.850 42.
    #[n(17)]
    Unavailable,
    /// 482, 483.
    #[n(18)]
    Loop,
    /// An offer met an open offer: 491; `conflict` with `tie-break`.
    #[n(19)]
    Glare,
    /// The session's own timer ran out: `expired`.
    #[n(20)]
    Expired,
    /// A message that makes no sense: 400; `bad-request`.
    #[n(21)]
    BadRequest,
    /// Method or feature not there: 405, 501; `feature-not-implemented`.
    #[n(22)]
    NotImplemented,
    /// Anything else: 500; `general-error`. Q.850 31 or 41.
    #[n(23)]
    General,
}

/// The end of a leg: a [`Reason`] with what the peer said in its own words.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct End {
    /// The neutral reason; the only part that decisions look at.
    #[n(0)]
    pub reason: Reason,
    /// The SIP status or Q.850-bearing code exactly as it came, for a peer of the same protocol and for logs.
    #[n(1)]
    pub sip: Option<u16>,
    /// Human text, at most 200 characters, shown to the other side where its protocol has a place for it.
    #[n(2)]
    pub text: Option<String>,
}

impl From<Reason> for End {
    fn from(reason: Reason) -> End {
        End { reason, sip: None, text: None }
    }
}
