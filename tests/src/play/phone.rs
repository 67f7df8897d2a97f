//! A SIP phone of text: a flow gives the words that matter, the rest of each message is what its dialog demands.

use crate::{Fault, fault};
use sip::message::{Message, Start};
use std::net::SocketAddr;

/// One phone with one call.
#[derive(Clone, Debug)]
pub struct Phone {
    /// Address and port.
    pub address: SocketAddr,
    tag: String,
    local: String,
    remote: String,
    target: String,
    call_id: String,
    cseq: u32,
    count: u32,
    /// Last INVITE of the phone, with its final response.
    invite: Option<(Message, Option<Message>)>,
    /// Requests that wait for a final answer.
    pending: Vec<Message>,
}

impl Phone {
    /// Returns a phone without a call, which tags its dialog by this name.
    #[must_use]
    pub fn new(address: SocketAddr, tag: &str) -> Phone {
        Phone {
            address,
            tag: tag.into(),
            local: format!("<sip:2041@pbx.example.net>;tag={tag}"),
            remote: String::new(),
            target: String::new(),
            call_id: format!("{tag}-1"),
            cseq: 0,
            count: 0,
            invite: None,
            pending: vec![],
        }
    }

    fn contact(&self) -> String {
        format!("<sip:2041@{}>", self.address)
    }

    /// Returns true if this is the phone's call.
    #[must_use]
    pub fn is_in(&self, call_id: &str) -> bool {
        !self.is_free() && self.call_id == call_id
    }

    /// Returns true if the phone has had no call.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.invite.is_none() && self.remote.is_empty()
    }

    /// Takes a message.
    pub fn receive(&mut self, message: &Message) {
        match &message.start {
            Start::Request { method, .. } => {
                if method == "INVITE" && self.invite.is_none() && self.remote.is_empty() {
                    self.local = format!("{};tag={}", message.text("To").unwrap_or(""), self.tag);
                    self.remote = message.text("From").unwrap_or("").to_owned();
                    self.call_id = message.call_id().unwrap_or("").to_owned();
                }
                if let Some(contact) = message.contact() {
                    self.target = contact.uri.to_string();
                }
                if method != "ACK" && !self.pending.contains(message) {
                    self.pending.push(message.clone());
                }
            }
            Start::Response { code, .. } => {
                let invite = message.cseq().is_some_and(|c| c.method == "INVITE");
                if let Some(contact) = message.contact() {
                    self.target = contact.uri.to_string();
                }
                if *code > 100 && *code < 300 && invite {
                    self.remote = message.text("To").unwrap_or("").to_owned();
                }
                if *code >= 200
                    && invite
                    && let Some((_, answer)) = &mut self.invite
                {
                    *answer = Some(message.clone());
                }
            }
        }
    }

    /// Returns the message that a block of a flow means: a first line (`INVITE sip:…`, `BYE`, `180 Ringing`), headers, a description.
    ///
    /// # Errors
    /// A block that makes no sense now.
    pub fn message(&mut self, block: &[String]) -> Result<Message, Fault> {
        let mut lines = block.iter().map(String::as_str);
        let first = lines.next().unwrap_or("");
        let code = first.split(' ').next().and_then(|w| w.parse::<u16>().ok());
        let mut message = match code {
            Some(code) => self.response(code, first)?,
            None => self.request(first)?,
        };
        let (mut body, mut typed) = (String::new(), false);
        for line in lines {
            match line.split_once(": ").filter(|_| !typed && body.is_empty() && !line.starts_with("v=")) {
                Some((name, value)) => {
                    typed = name == "Content-Type";
                    message.headers.retain(|h| h.name.as_str() != name);
                    message = message.with(name, value.to_owned());
                }
                None => body.extend([line, "\r\n"]),
            }
        }
        if !body.is_empty() {
            let kind = message.text("Content-Type").unwrap_or("application/sdp").to_owned();
            message.headers.retain(|h| h.name.as_str() != "Content-Type");
            message = message.with_body(&kind, body);
        }
        if message.method().as_deref() == Some("INVITE") && message.code().is_none() {
            self.invite = Some((message.clone(), None));
        }
        Ok(message)
    }

    fn response(&mut self, code: u16, first: &str) -> Result<Message, Fault> {
        let phrase = first.split_once(' ').map_or("", |(_, phrase)| phrase);
        let (phrase, method) = match phrase.rsplit_once(" (") {
            Some((phrase, method)) => (phrase, Some(method.trim_end_matches(')'))),
            None => (phrase, None),
        };
        let fits = |m: &&Message| method.is_none_or(|method| m.method().as_deref() == Some(method));
        let Some(request) = self.pending.iter().rev().find(fits).cloned() else {
            return fault(format!("\"{first}\" answers nothing"));
        };
        if code >= 200 {
            self.pending.retain(|m| *m != request);
        }
        Ok(Message::response(&request, code, phrase, &self.tag).with("Contact", self.contact()))
    }

    fn request(&mut self, first: &str) -> Result<Message, Fault> {
        let (method, uri) = first.split_once(' ').unwrap_or((first, ""));
        let invite = self.invite.clone();
        let answer = invite.as_ref().and_then(|(_, answer)| answer.as_ref());
        let refused = answer.and_then(Message::code).is_some_and(|c| c >= 300);
        let (branch, number, uri) = match (method, &invite) {
            ("CANCEL", Some((invite, _))) => (branch(invite), cseq(invite), target(invite)),
            ("ACK", Some((invite, _))) if refused => (branch(invite), cseq(invite), target(invite)),
            _ => {
                self.count += 1;
                let number = match (method, &invite) {
                    ("ACK", Some((invite, _))) => cseq(invite),
                    _ => {
                        self.cseq += 1;
                        self.cseq
                    }
                };
                let uri = if uri.is_empty() { self.target.clone() } else { uri.to_owned() };
                (format!("z9hG4bK-{}-{}", self.tag, self.count), number, uri)
            }
        };
        if uri.is_empty() {
            return fault(format!("{method} needs a URI: there is no dialog yet"));
        }
        if self.remote.is_empty() {
            self.remote = format!("<{uri}>");
        }
        let to = match (method, &invite, answer) {
            ("ACK", _, Some(answer)) => answer.text("To").unwrap_or("").to_owned(),
            ("CANCEL", Some((invite, _)), _) => invite.text("To").unwrap_or("").to_owned(),
            _ => self.remote.clone(),
        };
        Ok(Message::request(method, uri)
            .with("Via", format!("SIP/2.0/UDP {};branch={branch}", self.address))
            .with("Max-Forwards", "70")
            .with("From", self.local.clone())
            .with("To", to)
            .with("Call-ID", self.call_id.clone())
            .with("CSeq", format!("{number} {method}"))
            .with("Contact", self.contact()))
    }
}

fn branch(message: &Message) -> String {
    message.via().and_then(|v| v.branch().map(str::to_owned)).unwrap_or_default()
}

fn cseq(message: &Message) -> u32 {
    message.cseq().map_or(0, |c| c.number)
}

fn target(message: &Message) -> String {
    if let Start::Request { uri, .. } = &message.start { uri.clone() } else { String::new() }
}
