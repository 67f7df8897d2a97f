//! Vocabulary of presence (interworking §5): watcher and presentity are the parties of the leg's opening.

use minicbor::{Decode, Encode};

/// Signal of a subscription, on a leg of its record.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum PresenceSignal {
    /// SUBSCRIBE (RFC 6665); presence of type subscribe (RFC 6121 §3.1).
    #[n(0)]
    Subscribe,
    /// First NOTIFY with the state active; presence of type subscribed.
    #[n(1)]
    Subscribed,
    /// SUBSCRIBE with Expires 0; presence of type unsubscribe.
    #[n(2)]
    Unsubscribe,
    /// NOTIFY of a subscription that was rejected; presence of type unsubscribed.
    #[n(3)]
    Unsubscribed,
    /// NOTIFY with an open tuple (RFC 3863); presence without type.
    #[n(4)]
    Available {
        /// Availability.
        #[n(0)]
        show: Show,
        /// Note, in the presentity's words; at most [`MAX_STATUS`] octets.
        #[n(1)]
        status: Option<String>,
    },
    /// NOTIFY with closed tuples alone; presence of type unavailable.
    #[n(5)]
    Unavailable {
        /// As in `Available`.
        #[n(0)]
        status: Option<String>,
    },
}

/// Longest note, octets.
pub const MAX_STATUS: usize = 4_096;

/// Availability (RFC 6121 §4.7.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Show {
    /// No show element.
    #[default]
    #[n(0)]
    Online,
    /// chat
    #[n(1)]
    Chat,
    /// away
    #[n(2)]
    Away,
    /// xa
    #[n(3)]
    ExtendedAway,
    /// dnd
    #[n(4)]
    DoNotDisturb,
}

impl PresenceSignal {
    /// Returns the variant's name for logs, spans and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            PresenceSignal::Subscribe => "subscribe",
            PresenceSignal::Subscribed => "subscribed",
            PresenceSignal::Unsubscribe => "unsubscribe",
            PresenceSignal::Unsubscribed => "unsubscribed",
            PresenceSignal::Available { .. } => "available",
            PresenceSignal::Unavailable { .. } => "unavailable",
        }
    }
}
