//! Names of the bus subjects that signals travel on. Requests unless marked; payloads are `proto::wire`.

use crate::Protocol;

/// Edges to any orchestrator (queue group `orchestrators`): an `Ask`, answered by a `Verdict`.
pub const ASK: &str = "tandem.ask";
/// Relays to any orchestrator (queue group `orchestrators`): a relay event (`relay.proto`), answered by nothing but that it is
/// committed.
pub const RELAY_EVENT: &str = "tandem.relay.event";
/// Published by relays, nobody answers: an end has met its peer (`relay.proto`). No decision waits for it.
pub const RELAY_CONNECTED: &str = "tandem.relay.connected";
/// Published by relays, nobody answers: the peer of an end is to be asked for a picture by signalling (`relay.proto`, RFC 5168).
pub const RELAY_PICTURE: &str = "tandem.relay.picture";
/// Relays to any orchestrator (queue group `orchestrators`): what must outlive them, sealed (`relay.proto`), answered by nothing
/// but that it is stored.
pub const RELAY_STATE: &str = "tandem.relay.state";
/// xmpp-edges to any orchestrator (queue group `orchestrators`): take or renew the lease of a component domain.
pub const CLAIM: &str = "tandem.claim";
/// Published, nobody answers: facts of calls for billing and monitoring.
pub const FACTS: &str = "tandem.facts.call";
/// Facts of users' settings, published without an answer.
pub const USER_FACTS: &str = "tandem.facts.user";

/// A `Handover` for one sip-edge instance; any reply means that it has the message.
#[must_use]
pub fn handover(instance: &str) -> String {
    format!("tandem.handover.{}", plain(instance))
}

/// A `Say` for one edge instance.
#[must_use]
pub fn edge(instance: &str) -> String {
    format!("tandem.edge.{}", plain(instance))
}

/// A `Say` for any edge that can serve the leg: every sip-edge (queue group `edges`), or the xmpp-edge that holds the
/// link of the component domain.
#[must_use]
pub fn say(protocol: Protocol, link: &str) -> String {
    match protocol {
        Protocol::Sip => "tandem.say.sip".into(),
        Protocol::Xmpp => format!("tandem.say.xmpp.{}", plain(link)),
    }
}

/// Subject tokens hold no dot, blank or wildcard.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}
