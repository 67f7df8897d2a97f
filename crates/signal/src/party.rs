use minicbor::{Decode, Encode};

/// Protocol of a party; selects its edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Protocol {
    /// Served by the sip-edge.
    #[n(0)]
    Sip,
    /// Served by the xmpp-edge.
    #[n(1)]
    Xmpp,
}

impl Protocol {
    /// Returns `"sip"` or `"xmpp"`, for bus subjects, metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Sip => "sip",
            Protocol::Xmpp => "xmpp",
        }
    }
}

/// Party of a call, named in its own protocol.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Party {
    /// Protocol of `address`.
    #[n(0)]
    pub protocol: Protocol,
    /// Address. SIP: an address of record (`sip:2041@pbx.example`, no parameters) or `tel:+49…`; XMPP: a JID, bare or full.
    #[n(1)]
    pub address: String,
    /// Display name; unverified.
    #[n(2)]
    pub display: Option<String>,
}

impl Party {
    /// Makes a SIP party without display name.
    #[must_use]
    pub fn sip(address: impl Into<String>) -> Party {
        Party { protocol: Protocol::Sip, address: address.into(), display: None }
    }

    /// Makes an XMPP party without display name.
    #[must_use]
    pub fn xmpp(address: impl Into<String>) -> Party {
        Party { protocol: Protocol::Xmpp, address: address.into(), display: None }
    }
}
