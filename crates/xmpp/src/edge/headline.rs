//! Messages of the gateway to users, such as that of new voice messages (interworking §9.1).

use super::Edge;
use crate::stanza::{self, COMPONENT, HINTS, element, with};
use minidom::Element;
use signal::mailbox::Headline;

impl Edge {
    /// Tells a user something by a message of type headline (RFC 6121 §5.2.2).
    pub fn headline(&mut self, headline: &Headline) {
        let attributes = [
            ("type", "headline"),
            ("from", headline.from.as_str()),
            ("to", headline.to.as_str()),
            ("id", headline.id.as_str()),
        ];
        let mut body = Element::bare("body", COMPONENT);
        body.append_text(stanza::clean(&headline.text));
        let message = with(element("message", COMPONENT, &attributes), body);
        // Servers keep no headline for those who are off line unless they are asked to (XEP-0334 §4.4).
        self.legs.protocol.send_stanza(with(message, Element::bare("store", HINTS)));
    }
}
