//! XMPP clients of text: a flow gives the element that matters, the stanza around it follows from what came before.

use crate::{Fault, fault};
use minidom::Element;
use xmpp::stanza::{COMPONENT, JINGLE, JMI};

/// Session id of the calls that clients make.
pub const SID: &str = "5e71217f-6a70-4de3-805b-34589647969f";
const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
const PROPOSALS: &[&str] = &["propose", "ringing", "proceed", "reject", "retract", "finish"];

/// The devices of one user.
#[derive(Clone, Debug)]
pub struct Client {
    bare: String,
    /// JID that spoke to it last.
    peer: String,
    sid: String,
    /// Stanzas that may be answered, oldest first.
    pending: Vec<Element>,
    count: u32,
}

impl Client {
    /// Returns a user without a call.
    #[must_use]
    pub fn new(bare: &str) -> Client {
        Client { bare: bare.into(), peer: String::new(), sid: SID.into(), pending: vec![], count: 0 }
    }

    /// Takes a stanza.
    pub fn receive(&mut self, stanza: &Element) {
        if let Some(from) = stanza.attr("from") {
            from.clone_into(&mut self.peer);
        }
        let ids = stanza.children().find_map(|c| match c.ns().as_str() {
            JINGLE => c.attr("sid"),
            JMI => c.attr("id"),
            _ => None,
        });
        if let Some(sid) = ids {
            sid.clone_into(&mut self.sid);
        }
        if !matches!(stanza.attr("type"), Some("result" | "error")) {
            self.pending.push(stanza.clone());
        }
    }

    /// Returns the stanza that a block means, sent by the device `resource`: `result`, `error CONDITION`, `error CONDITION ADDRESS`, a JMI element, a Jingle
    /// action with its contents, or a whole stanza.
    ///
    /// # Errors
    /// A block that makes no sense now.
    pub fn stanza(&mut self, resource: &str, block: &[String]) -> Result<Element, Fault> {
        let from = format!("{}/{resource}", self.bare);
        let text = block.join("\n");
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["result"] => return self.reply("result", ""),
            ["error", condition, to] => {
                let given = format!("<{condition} xmlns='{STANZA_ERRORS}'>{to}</{condition}>");
                return self.reply("error", &format!("<error type='modify'>{given}</error>"));
            }
            ["error", condition] => {
                let error = format!("<error type='cancel'><{condition} xmlns='{STANZA_ERRORS}'/></error>");
                return self.reply("error", &error);
            }
            _ => {}
        }
        let wrapped = format!("<flow xmlns='{JINGLE}'>{text}</flow>");
        let parsed: Element = match wrapped.parse() {
            Ok(parsed) => parsed,
            Err(error) => return fault(format!("{error} in {text}")),
        };
        let Some(given) = parsed.children().next() else { return fault("no element in this block") };
        let (name, to) = (given.name(), given.attr("to").unwrap_or(&self.peer).to_owned());
        let inner: String = given.children().map(String::from).collect();
        self.count += 1;
        let id = format!("{}-{}", self.bare.split('@').next().unwrap_or(""), self.count);
        let sid = given.attr("sid").or(given.attr("id")).unwrap_or(&self.sid).to_owned();
        let stanza = if ["iq", "message", "presence"].contains(&name) {
            let kind = given.attr("type").unwrap_or("");
            format!(
                "<{name} xmlns='{COMPONENT}' type='{kind}' from='{from}' to='{to}' id='{id}'>{inner}</{name}>"
            )
        } else if PROPOSALS.contains(&name) {
            format!(
                "<message xmlns='{COMPONENT}' type='chat' from='{from}' to='{to}' id='{id}'>\
                 <{name} xmlns='{JMI}' id='{sid}'>{inner}</{name}><store xmlns='urn:xmpp:hints'/></message>"
            )
        } else {
            let initiator =
                if name == "session-initiate" { format!(" initiator='{from}'") } else { String::new() };
            format!(
                "<iq xmlns='{COMPONENT}' type='set' from='{from}' to='{to}' id='{id}'>\
                 <jingle xmlns='{JINGLE}' action='{name}' sid='{sid}'{initiator}>{inner}</jingle></iq>"
            )
        };
        stanza.parse().map_err(|error| Fault(format!("{error} in {stanza}")))
    }

    fn reply(&mut self, kind: &str, inner: &str) -> Result<Element, Fault> {
        let place = self.pending.iter().position(|s| kind == "error" || s.name() == "iq");
        let Some(asked) = place.map(|place| self.pending.remove(place)) else {
            return fault(format!("{kind} answers nothing"));
        };
        let (name, id) = (asked.name(), asked.attr("id").unwrap_or(""));
        let (from, to) = (asked.attr("to").unwrap_or(""), asked.attr("from").unwrap_or(""));
        let reply = format!(
            "<{name} xmlns='{COMPONENT}' type='{kind}' from='{from}' to='{to}' id='{id}'>{inner}</{name}>"
        );
        reply.parse().map_err(|error| Fault(format!("{error} in {reply}")))
    }
}
