//! Messages as they arrive: screened, matched to a transaction and a leg, refused where neither can be.

use super::leg::{IDLE, Job, Leg};
use super::link::within;
use super::open::opening;
use super::{Edge, Flow, Output};
use crate::message::{Message, Start};
use crate::screen;
use crate::transaction::{Incoming, Key};
use signal::{LegId, LegRef, Time, Token};

impl Edge {
    pub(super) fn response(&mut self, message: Message, flow: Flow, now: Time) {
        let delivered = match self.table.response(&message, now) {
            Ok(Some(key)) => {
                if message.code().is_some_and(|c| c >= 200) {
                    self.invites.remove(&key);
                }
                true
            }
            Ok(None) => false,
            // No transaction here: another edge may have died with it, and the record knows the leg.
            Err(()) => true,
        };
        let tag = message.from().and_then(|f| f.tag().map(str::to_owned));
        if delivered && let Some(leg) = self.own(tag.as_deref()) {
            self.job(leg, Job::Hear(message, flow), now);
        }
    }

    pub(super) fn own(&self, tag: Option<&str>) -> Option<LegRef> {
        Some(self.secret.open(Token::parse(tag?)?)?.0)
    }

    /// A response outside any dialog and, after a transaction was made, through it.
    pub(super) fn refuse(
        &mut self,
        request: &Message,
        flow: Flow,
        code: u16,
        phrase: &str,
        header: Option<(&str, String)>,
        now: Time,
    ) {
        if request.method().as_deref() == Some("ACK") {
            return;
        }
        let tag = self.secret.derive_text("stateless", &[request.call_id().unwrap_or("").as_bytes()], 16);
        let mut response = Message::response(request, code, phrase, &tag);
        if let Some((name, value)) = header {
            response = response.with(name, value);
        }
        self.respond(request, &response, flow, now);
    }

    pub(super) fn respond(&mut self, request: &Message, response: &Message, flow: Flow, now: Time) {
        match Key::of_request(request) {
            Some(key) if self.table.state(&key).is_some() => {
                self.table.respond(&key, response, now);
            }
            _ => self.out.push_back(Output::Send(flow, response.write())),
        }
    }

    pub(super) fn request(&mut self, message: Message, flow: Flow, now: Time) {
        let Start::Request { method, uri } = &message.start else { return };
        let (method, uri) = (method.clone(), uri.clone());
        let known = message.to().and_then(|t| self.own(t.tag()));
        let trunk = self.config.trunks.iter().find(|t| t.sources.iter().any(|s| within(flow.peer.ip(), *s)));
        let Some(link) = trunk.map(|t| t.name.clone()).or(known.map(|_| String::new())) else {
            // Strangers cost no state (R-SIP-13).
            return self.refuse(&message, flow, 403, "Forbidden", None, now);
        };
        if let Err(refusal) = screen::request(&message) {
            return self.refuse(&message, flow, refusal.code, refusal.phrase, refusal.header, now);
        }
        match self.table.request(&message, flow, flow.tcp, now) {
            Incoming::New(_) => {}
            Incoming::Ack => {
                if let Some(name) = known
                    && self.legs.get_mut(&name).and_then(|l| l.accepted.take()).is_some()
                {
                    self.wake(name, now + IDLE);
                }
                return;
            }
            Incoming::Again | Incoming::Unmatched => return,
            Incoming::Merged => return self.refuse(&message, flow, 482, "Loop Detected", None, now),
            Incoming::Full => return self.busy(&message, flow, now),
        }
        if let Some(leg) = known {
            return self.job(leg, Job::Hear(message, flow), now);
        }
        let tagged = message.to().is_some_and(|t| t.tag().is_some());
        let from = message.from();
        let from_tag = from.as_ref().and_then(|f| f.tag()).unwrap_or("");
        let call = self.secret.call_of_sip(message.call_id().unwrap_or(""), from_tag);
        let leg = LegRef { call, leg: LegId(0) };
        match method.as_str() {
            "OPTIONS" if self.draining => self.busy(&message, flow, now),
            "OPTIONS" => {
                self.refuse(&message, flow, 200, "OK", Some(("Allow", screen::ALLOW.join(", "))), now)
            }
            "CANCEL" => self.job(leg, Job::Hear(message, flow), now),
            "INVITE" if !tagged => {
                if self.draining || self.legs.len() >= self.config.max_legs {
                    return self.busy(&message, flow, now);
                }
                let (Some(dialog), Some(opening)) =
                    (self.incoming(&message, leg, flow), opening(&message, &uri, link))
                else {
                    return self.refuse(&message, flow, 400, "Missing Contact or user", None, now);
                };
                if opening.hops == 0 {
                    return self.refuse(&message, flow, 483, "Too Many Hops", None, now);
                }
                if self.legs.contains_key(&leg) {
                    // The same dialog-to-be again by another transaction: never two calls of one id.
                    return self.refuse(&message, flow, 482, "Loop Detected", None, now);
                }
                self.legs.insert(leg, Leg { dialog: Some(dialog), opening: true, ..Leg::default() });
                self.job(leg, Job::Hear(message, flow), now);
            }
            _ => self.refuse(&message, flow, 481, "Call/Transaction Does Not Exist", None, now),
        }
    }

    pub(super) fn busy(&mut self, message: &Message, flow: Flow, now: Time) {
        self.refuse(message, flow, 503, "Service Unavailable", Some(("Retry-After", "5".into())), now);
    }
}
