use minicbor::{Decode, Encode};

/// Reason why a call ended or an offer was refused, independent of the protocol.
///
/// Each edge maps reasons to and from its own codes in one table (interworking §4): `crates/sip/src/reason.rs`,
/// `crates/xmpp/src/reason.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Reason {
    /// Normal clearing of an established call: BYE; `success`. Q.850 16.
    #[n(0)]
    Normal,
    /// Caller cancelled before the answer: CANCEL, 487; `cancel`.
    #[n(1)]
    Cancelled,
    /// Another device or branch answered the call: `Reason: SIP;cause=200`.
    #[n(2)]
    AnsweredElsewhere,
    /// Callee is busy: 486, 600; `busy`. Q.850 17.
    #[n(3)]
    Busy,
    /// Callee declined: 603, 480 with cause 21; `decline`.
    #[n(4)]
    Declined,
    /// Callee did not answer while ringing: 480 with cause 19; `timeout`.
    #[n(5)]
    NoAnswer,
    /// Callee has no device online: 480 with cause 20; `gone`.
    #[n(6)]
    Offline,
    /// Address does not exist: 404, 484, 604; `item-not-found`, `gone`. Q.850 1.
    #[n(7)]
    NotFound,
    /// Address has changed permanently: 410; `gone`. Q.850 22.
    #[n(8)]
    Gone,
    /// No response from the next hop: 408, 504; `timeout`. Q.850 102.
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
    /// ICE or network failure of one call: 480 with cause 41; `connectivity-error`. Also 502, 503 and 430 of a far server.
    #[n(16)]
    Connectivity,
    /// Gateway cannot serve any call now: 503 with Retry-After; `connectivity-error`. Q.850 42.
    #[n(17)]
    Unavailable,
    /// Loop or too many hops: 482, 483.
    #[n(18)]
    Loop,
    /// Offer collided with an open offer: 491; `conflict` with `tie-break`.
    #[n(19)]
    Glare,
    /// Session timer expired: `expired`.
    #[n(20)]
    Expired,
    /// Malformed message: 400; `bad-request`.
    #[n(21)]
    BadRequest,
    /// Method or feature not implemented: 405, 501; `feature-not-implemented`.
    #[n(22)]
    NotImplemented,
    /// Any other reason: 500; `general-error`. Q.850 31 or 41.
    #[n(23)]
    General,
    /// More calls than a limit of ours allows: 480 with cause 34; `busy`. Another call may be served.
    #[n(24)]
    Congestion,
    /// Callee takes no anonymous calls: 433 (RFC 5079); `decline`. Q.850 21.
    #[n(25)]
    AnonymityDisallowed,
}

impl Reason {
    /// All reasons, each at the place of its number.
    pub const ALL: [Reason; 26] = [
        Reason::Normal,
        Reason::Cancelled,
        Reason::AnsweredElsewhere,
        Reason::Busy,
        Reason::Declined,
        Reason::NoAnswer,
        Reason::Offline,
        Reason::NotFound,
        Reason::Gone,
        Reason::Timeout,
        Reason::Forbidden,
        Reason::IncompatibleMedia,
        Reason::UnsupportedMedia,
        Reason::UnsupportedTransport,
        Reason::Security,
        Reason::MediaFailed,
        Reason::Connectivity,
        Reason::Unavailable,
        Reason::Loop,
        Reason::Glare,
        Reason::Expired,
        Reason::BadRequest,
        Reason::NotImplemented,
        Reason::General,
        Reason::Congestion,
        Reason::AnonymityDisallowed,
    ];
}

/// End of a leg: a [`Reason`] with the code and text of the peer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct End {
    /// Neutral reason; decisions use nothing else.
    #[n(0)]
    pub reason: Reason,
    /// SIP status as received, for a peer of the same protocol and for logs.
    #[n(1)]
    pub sip: Option<u16>,
    /// Text for humans, at most 200 characters, passed to the other side if its protocol has a place for it.
    #[n(2)]
    pub text: Option<String>,
}

impl From<Reason> for End {
    fn from(reason: Reason) -> End {
        End { reason, sip: None, text: None }
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn every_reason_is_at_its_place() {
        for (number, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number, "{reason:?}");
        }
        assert_eq!(Reason::ALL.last(), Some(&Reason::AnonymityDisallowed), "the one that was added last");
    }
}
