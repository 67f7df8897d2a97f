//! Voicemail boxes: what their servers tell of them, and what their users are told (RFC 3842; interworking §9.1).

use crate::stored::Stored;
use minicbor::{Decode, Encode};

/// Word of a voicemail server, as a SIP edge heard it. Answered by [`Noted`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Notice {
    /// Trunk of the server.
    #[n(0)]
    pub trunk: String,
    /// SIP URI that was told: an address of record.
    #[n(1)]
    pub to: String,
    /// URI of the box (Message-Account).
    #[n(2)]
    pub account: Option<String>,
    /// New and old messages; `None`: new ones, nobody says how many.
    #[n(3)]
    pub counts: Option<(u32, u32)>,
}

/// Answer to a [`Notice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Noted {
    /// The word is stored.
    #[n(0)]
    Stored,
    /// The address is no user's.
    #[n(1)]
    Unknown,
    /// The word cannot be stored now.
    #[n(2)]
    Unavailable,
}

/// Message of the gateway to a user, for the edge that holds the link of the domain of `from`. Any reply means that it is on the link.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Headline {
    /// JID that it comes from.
    #[n(0)]
    pub from: String,
    /// Bare JID of the user.
    #[n(1)]
    pub to: String,
    /// Id of the stanza: the same if it is sent again.
    #[n(2)]
    pub id: String,
    /// Text.
    #[n(3)]
    pub text: String,
}

impl Stored for Notice {
    const NAME: &'static str = "word of a voicemail server";
    const VERSION: u16 = 1;
    const OLDEST: u16 = 1;
}

impl Stored for Noted {
    const NAME: &'static str = "an answer to a voicemail server";
    const VERSION: u16 = 1;
    const OLDEST: u16 = 1;
}

impl Stored for Headline {
    const NAME: &'static str = "a message to a user";
    const VERSION: u16 = 1;
    const OLDEST: u16 = 1;
}
