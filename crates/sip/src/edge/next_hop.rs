//! Next hop of our requests (RFC 3261 §8.1.2, §12.2.1.1), and allowed sources of the peer's messages (§12.2.2).
//!
//! One rule: a peer names the next hop by route or Contact only within its trunk's addresses. Names are not looked up here,
//! and a phone behind NAT writes an unreachable address: requests to both go where the peer's last request came from.

use super::user_agent::{Arrival, UserAgent};
use super::{Flow, Output, Trunk};
use crate::dialog::Dialog;
use crate::message::{Message, Start};
use crate::uri::{NameAddr, Uri};
use ::edge::Membership;
use address::transport::{NextHop, Transport};
use std::net::{IpAddr, SocketAddr};

impl UserAgent {
    /// Returns the trunk of a dialog.
    pub(super) fn trunk(&self, dialog: &Dialog) -> Option<&Trunk> {
        self.config.trunks.iter().find(|trunk| trunk.name == dialog.link)
    }

    /// Returns true if messages of a dialog may come from this address: its trunk's, its flow's, or any if the trunk's phones
    /// roam.
    pub(super) fn accepts_from(&self, dialog: &Dialog, ip: IpAddr) -> bool {
        let trunk = self.trunk(dialog).is_some_and(|trunk| trunk.roaming || trunk.owns(ip));
        trunk || Flow::parse(&dialog.flow).is_some_and(|flow| flow.peer.ip() == ip)
    }

    /// Returns the membership of a message in a dialog, by content and source (RFC 3261 §12.2.2). A response of a transaction
    /// here was matched with its request before.
    pub(super) fn membership_of(&self, dialog: &Dialog, arrival: &Arrival) -> Membership {
        let message = &arrival.message;
        match message.code() {
            Some(_) if !arrival.no_transaction => Membership::Own,
            _ if !self.accepts_from(dialog, arrival.flow.peer.ip()) => Membership::Foreign,
            Some(_) => dialog.membership_of_response(message),
            None => dialog.membership_of_request(message),
        }
    }

    /// Tells of a request that is of the dialog but for its source: whoever operates the trunk may have to name that.
    pub(super) fn tell_refused_source(&mut self, dialog: &Dialog, arrival: &Arrival) {
        let (message, source) = (&arrival.message, arrival.flow.peer.ip());
        let own = arrival.is_request() && dialog.membership_of_request(message) == Membership::Own;
        if own && !self.accepts_from(dialog, source) {
            self.out.push_back(Output::RefusedSource(dialog.link.clone(), source));
        }
    }

    /// Returns the next hop of a request, and writes its transport into the Via. `response_flow` is the last resort: the flow
    /// of the message that the request follows.
    pub(super) fn next_hop(&self, dialog: &Dialog, request: &mut Message, response_flow: Flow) -> Flow {
        let fallback =
            Flow::parse(&dialog.fallback_flow).or(Flow::parse(&dialog.flow)).unwrap_or(response_flow);
        let flow = self.route_hop(dialog, request, fallback).unwrap_or(fallback);
        write_transport(request, flow.transport);
        flow
    }

    /// Returns the flow that the top route names, else the Request-URI; a strict router's URI is the Request-URI.
    fn route_hop(&self, dialog: &Dialog, request: &Message, fallback: Flow) -> Option<Flow> {
        let Start::Request { uri, .. } = &request.start else { return None };
        // The request that opens a dialog, and its CANCEL, go to the trunk.
        request.to()?.tag()?;
        let routes = if dialog.strict().is_some() { vec![] } else { request.list("Route") };
        let hop = match routes.first() {
            Some(route) => NameAddr::parse(route)?.uri,
            None => Uri::parse(uri)?,
        };
        let hop = NextHop::of(hop.sip()?).ok()?;
        let peer = SocketAddr::new(hop.host.parse().ok()?, hop.port());
        let known = fallback.peer.ip() == peer.ip().to_canonical();
        if !known && !self.trunk(dialog).is_some_and(|trunk| trunk.owns(peer.ip())) {
            return None;
        }
        let transport = hop.transport.unwrap_or(fallback.transport);
        let listen = if transport == Transport::Udp { fallback.listen } else { 0 };
        Some(Flow { listen, ..Flow::new(transport, peer) })
    }
}

/// Writes the transport into the top Via.
fn write_transport(request: &mut Message, transport: Transport) {
    let wanted = transport.via_name();
    let Some(mut via) = request.via().filter(|via| via.transport != wanted) else { return };
    via.transport = wanted.to_owned();
    if let Some(header) = request.headers.iter_mut().find(|h| h.name.as_str() == "Via") {
        header.value = via.to_string().into();
    }
}
