//! Requests outside any call: discovery (XEP-0030), caps (XEP-0115), ping (XEP-0199), version (XEP-0092),
//! and presence as far as call buttons need it.
//!
//! One rule: every number gives the same answer, assigned or not (R-XMPP-8); every IQ gets exactly one.

use crate::commands::{self, COMMANDS, FORMS};
use crate::edge::Component;
use crate::stanza::{self, COMPONENT, element, with};
use base64::Engine;
use minidom::Element;
use sha1::{Digest, Sha1};
use signal::service::Command;

const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
pub(crate) const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
const CAPS: &str = "http://jabber.org/protocol/caps";
const PING: &str = "urn:xmpp:ping";
const VERSION: &str = "jabber:iq:version";
/// Constant URI of this software in caps (XEP-0115 §4).
const NODE: &str = "urn:tandem:gateway";
/// Resource of our users' presence.
const RESOURCE: &str = "phone";

const GATEWAY: &[&str] = &[DISCO_INFO, DISCO_ITEMS, "jid\\20escaping", COMMANDS, PING, VERSION];
/// Features of a SIP user (interworking §11.4). `urn:ietf:rfc:3264` makes clients put all candidates into one stanza.
const PHONE: &[&str] = &[
    DISCO_INFO,
    CAPS,
    "urn:xmpp:jingle:1",
    "urn:xmpp:jingle:apps:rtp:1",
    "urn:xmpp:jingle:apps:rtp:audio",
    "urn:xmpp:jingle:apps:rtp:info:1",
    "urn:xmpp:jingle:apps:rtp:rtcp-fb:0",
    "urn:xmpp:jingle:apps:rtp:rtp-hdrext:0",
    "urn:xmpp:jingle:apps:dtls:0",
    "urn:xmpp:jingle:apps:grouping:0",
    "urn:xmpp:jingle:transports:ice-udp:1",
    "urn:xmpp:jingle:dtmf:0",
    "urn:xmpp:jingle:transfer:0",
    "urn:xmpp:jingle-message:0",
    "urn:ietf:rfc:3264",
    "urn:ietf:rfc:5888",
    PING,
    VERSION,
];
const VIDEO: &str = "urn:xmpp:jingle:apps:rtp:video";

/// Returns category and type of the one identity, and the sorted features.
fn capabilities(user: bool, component: &Component) -> ((&'static str, &'static str), Vec<&'static str>) {
    let mut features = if user { PHONE.to_vec() } else { GATEWAY.to_vec() };
    if user && component.video {
        features.push(VIDEO);
    }
    features.sort_unstable();
    (if user { ("client", "phone") } else { ("gateway", "sip") }, features)
}

/// Returns the verification string of our users' capabilities (XEP-0115 §5.1).
#[must_use]
pub fn caps(component: &Component) -> String {
    let ((category, kind), features) = capabilities(true, component);
    let text = format!("{category}/{kind}//Tandem<{}<", features.join("<"));
    base64::engine::general_purpose::STANDARD.encode(Sha1::digest(text.as_bytes()))
}

/// Answers an IQ that belongs to no call: every get and set once, with an error where it is not served.
#[must_use]
pub fn answer(iq: &Element, component: &Component) -> Element {
    let to = iq.attr("to").unwrap_or("");
    let user = stanza::local(to).is_some();
    let mut children = iq.children();
    let (payload, more) = (children.next(), children.next());
    let (Some(kind @ ("get" | "set")), Some(payload), None) = (iq.attr("type"), payload, more) else {
        return stanza::error(iq, "modify", "bad-request", None);
    };
    let namespace = payload.ns();
    match (kind, payload.name(), namespace.as_str()) {
        ("get", "query", DISCO_INFO) => {
            let node = payload.attr("node");
            if let Some(command) = node.filter(|_| !user).and_then(commands::of_node) {
                return command_info(iq, command);
            }
            let known = user && node == Some(&format!("{NODE}#{}", caps(component)));
            if node.is_some() && !known {
                return stanza::error(iq, "cancel", "item-not-found", None);
            }
            let ((category, kind), features) = capabilities(user, component);
            let mut query = Element::bare("query", DISCO_INFO);
            node.into_iter().for_each(|node| stanza::set(&mut query, "node", node));
            query.append_child(element(
                "identity",
                DISCO_INFO,
                &[("category", category), ("type", kind), ("name", "Tandem")],
            ));
            for feature in features {
                query.append_child(element("feature", DISCO_INFO, &[("var", feature)]));
            }
            with(stanza::result(iq), query)
        }
        ("get", "query", DISCO_ITEMS) if !user && payload.attr("node") == Some(COMMANDS) => {
            let mut query = element("query", DISCO_ITEMS, &[("node", COMMANDS)]);
            let language = commands::language(iq, Some(payload));
            for item in commands::list(to, language) {
                query.append_child(item);
            }
            with(stanza::result(iq), query)
        }
        // Numbers are never listed.
        ("get", "query", DISCO_ITEMS) => with(stanza::result(iq), Element::bare("query", DISCO_ITEMS)),
        ("get", "ping", PING) => stanza::result(iq),
        ("get", "query", VERSION) => {
            let mut name = Element::bare("name", VERSION);
            name.append_text("Tandem");
            let mut version = Element::bare("version", VERSION);
            version.append_text(env!("CARGO_PKG_VERSION"));
            with(stanza::result(iq), with(with(Element::bare("query", VERSION), name), version))
        }
        _ => stanza::error(iq, "cancel", "service-unavailable", None),
    }
}

/// Describes a command (XEP-0050 §2.3).
fn command_info(iq: &Element, command: Command) -> Element {
    let node = commands::node(command);
    let mut query = element("query", DISCO_INFO, &[("node", &node)]);
    let title = command.title(commands::language(iq, iq.children().next()));
    let identity = [("category", "automation"), ("type", "command-node"), ("name", title)];
    query.append_child(element("identity", DISCO_INFO, &identity));
    for feature in [COMMANDS, FORMS] {
        query.append_child(element("feature", DISCO_INFO, &[("var", feature)]));
    }
    with(stanza::result(iq), query)
}

/// Answers presence: SIP users are always available and accept every subscription, so that clients show their call buttons.
/// At most two stanzas answer one, and none of them can start a loop.
#[must_use]
pub fn presence(stanza: &Element, component: &Component) -> Vec<Element> {
    let (Some(from), Some(to)) = (stanza.attr("from"), stanza.attr("to")) else { return vec![] };
    if stanza::local(to).is_none() {
        return vec![];
    }
    let user = stanza::bare(to);
    let plain = |kind: &'static str| {
        element("presence", COMPONENT, &[("type", kind), ("from", user), ("to", stanza::bare(from))])
    };
    let available = || {
        let from_user = format!("{user}/{RESOURCE}");
        let ver = caps(component);
        let c = element("c", CAPS, &[("hash", "sha-1"), ("node", NODE), ("ver", &ver)]);
        with(element("presence", COMPONENT, &[("from", &from_user), ("to", from)]), c)
    };
    match stanza.attr("type") {
        Some("subscribe") => vec![plain("subscribed"), available()],
        Some("probe") => vec![available()],
        Some("unsubscribe") => vec![plain("unsubscribed")],
        _ => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component() -> Component {
        Component { domain: "sip.example.net".into(), video: false, users: None }
    }

    fn ask(to: &str, kind: &str, payload: Element) -> Element {
        let iq = element(
            "iq",
            COMPONENT,
            &[("type", kind), ("id", "1"), ("from", "rosa@example.net/a"), ("to", to)],
        );
        answer(&with(iq, payload), &component())
    }

    /// R-XMPP-2: the caps of our presence are the hash of our disco answer, by the algorithm of XEP-0115 §5.1.
    #[test]
    fn caps_name_what_disco_says() {
        let node = format!("{NODE}#{}", caps(&component()));
        let reply =
            ask("2041@sip.example.net/phone", "get", element("query", DISCO_INFO, &[("node", &node)]));
        let query = reply.get_child("query", DISCO_INFO).unwrap();
        let mut text = String::new();
        for identity in query.children().filter(|c| c.name() == "identity") {
            let part = |n: &str| identity.attr(n).unwrap_or("").to_owned();
            text += &format!("{}/{}/{}/{}<", part("category"), part("type"), "", part("name"));
        }
        let mut features: Vec<&str> =
            query.children().filter(|c| c.name() == "feature").map(|c| c.attr("var").unwrap()).collect();
        features.sort_unstable();
        features.iter().for_each(|f| text += &format!("{f}<"));
        let hash = base64::engine::general_purpose::STANDARD.encode(Sha1::digest(text));
        assert_eq!(node, format!("{NODE}#{hash}"));
        assert!(features.contains(&"urn:xmpp:jingle-message:0") && !features.contains(&VIDEO));
    }

    /// R-XMPP-8
    #[test]
    fn every_number_looks_the_same() {
        let query = || Element::bare("query", DISCO_INFO);
        let features =
            |to: &str| String::from(ask(to, "get", query()).get_child("query", DISCO_INFO).unwrap());
        assert_eq!(features("2041@sip.example.net"), features("999999@sip.example.net/x"));
        assert!(features("sip.example.net").contains("gateway"));
    }

    /// R-XMPP-4
    #[test]
    fn every_question_has_an_answer() {
        let kind = |iq: &Element| iq.attr("type").unwrap().to_owned();
        assert_eq!(kind(&ask("sip.example.net", "get", Element::bare("ping", PING))), "result");
        assert_eq!(kind(&ask("1@sip.example.net/x", "get", Element::bare("ping", PING))), "result");
        let other = ask("1@sip.example.net/x", "set", Element::bare("query", "jabber:iq:roster"));
        assert_eq!(stanza::condition(&other).0.as_deref(), Some("service-unavailable"));
        let wrong = ask("1@sip.example.net", "get", element("query", DISCO_INFO, &[("node", "x")]));
        assert_eq!(stanza::condition(&wrong).0.as_deref(), Some("item-not-found"));
    }

    #[test]
    fn subscribers_see_a_phone_that_can_be_called() {
        let from = [("from", "rosa@example.net"), ("to", "2041@sip.example.net"), ("type", "subscribe")];
        let said = presence(&element("presence", COMPONENT, &from), &component());
        assert_eq!(said[0].attr("type"), Some("subscribed"));
        assert!(said[1].attr("type").is_none() && said[1].get_child("c", CAPS).is_some());
        let from = [("from", "rosa@example.net"), ("to", "2041@sip.example.net"), ("type", "error")];
        assert!(presence(&element("presence", COMPONENT, &from), &component()).is_empty());
    }
}
