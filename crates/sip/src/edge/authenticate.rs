//! Credentials of the calls that come in: a trunk may have to show them, beside its source or in place of it (RFC 3261 §22).

use super::method::Request;
use super::user_agent::UserAgent;
use super::{Edge, Flow, Trunk};
use crate::digest::server::{Proof, challenge, check, username};
use crate::message::{Message, Start};
use signal::Time;

/// Decision about the sender of a call.
enum Sender {
    Trunk(String),
    /// A challenge is to be answered; `true`: the last answer was too old.
    Unproven(bool),
    Refused(&'static str),
}

impl Edge {
    /// Returns the trunk that a call comes from; challenges or refuses another sender.
    pub(super) fn authenticate(&mut self, request: &Request, now: Time) -> Option<String> {
        match self.sender(request, now) {
            Sender::Trunk(name) => return Some(name),
            Sender::Unproven(stale) => self.challenge(request, stale, now),
            Sender::Refused(why) => self.reject(request, 403, why),
        }
        None
    }

    fn sender(&self, request: &Request, now: Time) -> Sender {
        let (ua, message) = (&self.legs.protocol, request.message());
        let by_source = ua.trunk_at(request.flow());
        if let Some(trunk) = by_source.filter(|trunk| trunk.inbound.is_none()) {
            return Sender::Trunk(trunk.name.clone());
        }
        if by_source.is_none() && !ua.has_open_trunk() {
            return Sender::Refused("Forbidden");
        }
        let Some(shown) = message.all("Authorization").next() else { return Sender::Unproven(false) };
        let Some((trunk, who)) =
            ua.trunk_of(message, request.flow()).and_then(|trunk| Some((trunk, trunk.inbound.as_ref()?)))
        else {
            return Sender::Refused("Wrong Credentials");
        };
        let Start::Request { method, uri } = &message.start else { return Sender::Refused("Forbidden") };
        let call_id = message.call_id().unwrap_or("");
        match check(&ua.secret, shown, (method, uri), call_id, who, now) {
            Proof::Right => Sender::Trunk(trunk.name.clone()),
            Proof::Stale => Sender::Unproven(true),
            Proof::Wrong => Sender::Refused("Wrong Credentials"),
        }
    }

    fn challenge(&mut self, request: &Request, stale: bool, now: Time) {
        let ua = &mut self.legs.protocol;
        let call_id = request.message().call_id().unwrap_or("");
        let values = challenge(&ua.secret, &ua.config.advertise, call_id, stale, now);
        let headers: Vec<_> = values.into_iter().map(|value| ("WWW-Authenticate", value)).collect();
        ua.refuse_stateless(request.message(), request.flow(), 401, "Unauthorized", &headers);
    }
}

impl UserAgent {
    /// Returns the trunk that calls from there belong to: that of the source, or the open one that the credentials name.
    pub(super) fn trunk_of(&self, message: &Message, flow: Flow) -> Option<&Trunk> {
        self.trunk_at(flow).or_else(|| {
            let name = username(message.all("Authorization").next()?)?;
            let named = |trunk: &&Trunk| trunk.inbound.as_ref().is_some_and(|who| who.username == name);
            self.config.trunks.iter().filter(|trunk| trunk.is_open()).find(named)
        })
    }
}
