//! Bus subjects between edges, orchestrators and relays. Each carries requests unless marked as published; payloads are `proto::wire`.

use crate::Protocol;

/// Subject from edges to any orchestrator (queue group `orchestrators`): an `Ask`, answered by a `Verdict`.
pub const ASK: &str = "tandem.ask";
/// Subject from relays to any orchestrator (queue group `orchestrators`): a relay event (`relay.proto`). The reply is empty and means
/// that the event is committed.
pub const RELAY_EVENT: &str = "tandem.relay.event";
/// Subject published by relays: an end is connected to its peer (`relay.proto`). No decision waits for it.
pub const RELAY_CONNECTED: &str = "tandem.relay.connected";
/// Subject published by relays: the peer of an end needs a keyframe request by signalling (`relay.proto`, RFC 5168).
pub const RELAY_KEYFRAME: &str = "tandem.relay.keyframe";
/// Subject from relays to any orchestrator (queue group `orchestrators`): sealed state that must outlive a relay (`relay.proto`). The
/// reply is empty and means that the state is stored.
pub const RELAY_STATE: &str = "tandem.relay.state";
/// Subject from xmpp-edges to any orchestrator (queue group `orchestrators`): takes or renews the lease of a component domain.
pub const CLAIM: &str = "tandem.claim";
/// Subject from xmpp-edges to any orchestrator (queue group `orchestrators`): names the legs of standing calls of a component domain, to an
/// edge that has come to hold its link.
pub const LEGS: &str = "tandem.legs";
/// Subject from xmpp-edges to any orchestrator (queue group `orchestrators`): a request for a phone service ([`crate::service`]).
pub const SERVICE: &str = "tandem.service";
/// Subject from sip-edges to any orchestrator (queue group `orchestrators`): a [`crate::mailbox::Notice`], answered by a
/// [`crate::mailbox::Noted`].
pub const MAILBOX: &str = "tandem.mailbox";
/// Subject published by orchestrators: facts of calls for billing and monitoring.
pub const FACTS: &str = "tandem.facts.call";
/// Subjects of call detail records, which a stream of JetStream keeps.
pub const CDRS: &str = "tandem.cdr.>";
/// Records of calls.
pub const CDR_CALL: &str = "tandem.cdr.call";
/// Records of legs.
pub const CDR_LEG: &str = "tandem.cdr.leg";
/// Facts of users' settings, published without an answer.
pub const USER_FACTS: &str = "tandem.facts.user";

/// Returns the subject of a `Handover` to one sip-edge instance; any reply means that the instance has the message.
#[must_use]
pub fn handover(instance: &str) -> String {
    format!("tandem.handover.{}", plain(instance))
}

/// Returns the subject of a question to the xmpp-edge whose link of the component domain is up; any reply means that there is one.
#[must_use]
pub fn link(domain: &str) -> String {
    format!("tandem.link.{}", plain(domain))
}

/// Returns the subject of a [`crate::mailbox::Headline`] to the xmpp-edge whose link of the component domain is up; any reply means that it
/// is on the link.
#[must_use]
pub fn headline(domain: &str) -> String {
    format!("tandem.headline.{}", plain(domain))
}

/// Returns the subject of a `Say` to one edge instance.
#[must_use]
pub fn edge(instance: &str) -> String {
    format!("tandem.edge.{}", plain(instance))
}

/// Returns the subject of a `Say` to any edge that can serve the leg: every sip-edge (queue group `edges`), or the xmpp-edge that holds
/// the link of the component domain.
#[must_use]
pub fn say(protocol: Protocol, link: &str) -> String {
    match protocol {
        Protocol::Sip => "tandem.say.sip".into(),
        Protocol::Xmpp => format!("tandem.say.xmpp.{}", plain(link)),
    }
}

/// Replaces the characters that a subject token must not hold, such as dot, blank and wildcards.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}
