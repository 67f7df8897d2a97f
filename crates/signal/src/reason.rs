use serde::{Deserialize, Serialize};

/// Why a call ended or an offer was refused, in no protocol's words.
///
/// Each edge maps it to and from its own codes in one table (interworking §4): `crates/sip/src/reason.rs`,
/// `crates/xmpp/src/reason.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// Normal clearing of an established call: BYE; `success`. Q.850 16.
    Normal,
    /// The caller gave up before the answer: CANCEL, 487; `cancel`.
    Cancelled,
    /// Another device or branch took the call: `Reason: SIP;cause=200`.
    AnsweredElsewhere,
    /// 486, 600; `busy`. Q.850 17.
    Busy,
    /// The callee said no: 603, 480 with cause 21; `decline`.
    Declined,
    /// It rang and nobody came: 480 with cause 19; `timeout`.
    NoAnswer,
    /// The callee has no device on line: 480 with cause 20; `gone`.
    Offline,
    /// Nobody has this address: 404, 484, 604; `item-not-found`, `gone`. Q.850 1.
    NotFound,
    /// The address has moved for good: 410; `gone`. Q.850 22.
    Gone,
    /// The next hop did not answer at all: 408, 504; `timeout`. Q.850 102.
    Timeout,
    /// Not allowed: 403, 401 after failed credentials; `forbidden`.
    Forbidden,
    /// No codec in common: 488; `incompatible-parameters`. Q.850 88.
    IncompatibleMedia,
    /// Kind of media or application not served: 415, 488; `unsupported-applications`. Q.850 79.
    UnsupportedMedia,
    /// Transport not served: 488; `unsupported-transports`. Q.850 65.
    UnsupportedTransport,
    /// No encryption, wrong fingerprint: 488, 493; `security-error`. Q.850 57.
    Security,
    /// Media stopped or never came: `media-error`, `failed-application`.
    MediaFailed,
    /// ICE or network failure of one call: 480 with cause 41; `connectivity-error`. Said by a far server: 502, 503, 430.
    Connectivity,
    /// The gateway can serve nobody now: 503 with Retry-After; `connectivity-error`. Q.850 42.
    Unavailable,
    /// 482, 483.
    Loop,
    /// An offer met an open offer: 491; `conflict` with `tie-break`.
    Glare,
    /// The session's own timer ran out: `expired`.
    Expired,
    /// A message that makes no sense: 400; `bad-request`.
    BadRequest,
    /// Method or feature not there: 405, 501; `feature-not-implemented`.
    NotImplemented,
    /// Anything else: 500; `general-error`. Q.850 31 or 41.
    General,
}

/// The end of a leg: a [`Reason`] with what the peer said in its own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The neutral reason; the only part that decisions look at.
    pub reason: Reason,
    /// The SIP status or Q.850-bearing code exactly as it came, for a peer of the same protocol and for logs.
    pub sip: Option<u16>,
    /// Human text, at most 200 characters, shown to the other side where its protocol has a place for it.
    pub text: Option<String>,
}

impl From<Reason> for End {
    fn from(reason: Reason) -> End {
        End { reason, sip: None, text: None }
    }
}
