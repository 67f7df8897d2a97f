use minicbor::{Decode, Encode};

/// Which edge a party is reached through.
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
    /// `"sip"` or `"xmpp"`: used in bus subjects, metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Sip => "sip",
            Protocol::Xmpp => "xmpp",
        }
    }
}

/// One end of a call as its own protocol names it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Party {
    /// The protocol that `address` belongs to.
    #[n(0)]
    pub protocol: Protocol,
    /// SIP: an address of record (`sip:2041@pbx.example`, no parameters) or `tel:+49…`; XMPP: a JID, bare or full.
    #[n(1)]
    pub address: String,
    /// Display name; never part of the address and never trusted.
    #[n(2)]
    pub display: Option<String>,
}

impl Party {
    /// A SIP party without a display name.
    #[must_use]
    pub fn sip(address: impl Into<String>) -> Party {
        Party { protocol: Protocol::Sip, address: address.into(), display: None }
    }

    /// An XMPP party without a display name.
    #[must_use]
    pub fn xmpp(address: impl Into<String>) -> Party {
        Party { protocol: Protocol::Xmpp, address: address.into(), display: None }
    }
}
