//! Next hop of our requests (RFC 3261 §8.1.2, §12.2.1.1), and allowed sources of the peer's messages (§12.2.2).
//!
//! One rule: a peer names the next hop by route or Contact only within its trunk's addresses. Names are not looked up here,
//! and a phone behind NAT writes an unreachable address: requests to both go where the peer's last request came from.

use super::attempt::write_via;
use super::user_agent::{Arrival, UserAgent};
use super::{Flow, Output, Trunk};
use crate::dialog::Dialog;
use crate::message::{Message, Start};
use crate::uri::{NameAddr, Uri, host_port};
use ::edge::Membership;
use address::transport::{NextHop, Transport};
use std::net::{IpAddr, SocketAddr};

/// Most trunks of the past that are kept.
const FORMER: usize = 1_000;

impl UserAgent {
    /// Returns the trunk of a dialog.
    pub(super) fn trunk(&self, dialog: &Dialog) -> Option<&Trunk> {
        self.trunks().find(|trunk| trunk.name == dialog.link)
    }

    /// Iterates over the trunks, and over those of the past that calls may still go on by.
    pub(super) fn trunks(&self) -> impl Iterator<Item = &Trunk> {
        self.config.trunks.iter().chain(&self.former)
    }

    /// Replaces the trunks. Those that are gone serve the calls that they have.
    pub(super) fn set_trunks(&mut self, trunks: Vec<Trunk>) {
        let old = std::mem::replace(&mut self.config.trunks, trunks);
        let current = &self.config.trunks;
        self.former.extend(old);
        self.former.retain(|former| !current.iter().any(|trunk| trunk.name == former.name));
        let over = self.former.len().saturating_sub(FORMER);
        self.former.drain(..over);
        self.name_flows();
    }

    /// Names the trunk in the flows of TLS to its targets: their peers must prove its name.
    pub(super) fn name_flows(&mut self) {
        for trunk in &mut self.config.trunks {
            let id = trunk.id();
            for flow in trunk.targets.iter_mut().flat_map(|target| &mut target.flows) {
                flow.trunk = (flow.transport == Transport::Tls).then_some(id);
            }
        }
    }

    /// Returns true if messages of a dialog may come by this flow: from an address of its trunk, that of its own flow, or any if the
    /// trunk's phones roam; if the trunk has a certificate, by connections that it was shown on.
    pub(super) fn accepts_from(&self, dialog: &Dialog, flow: Flow) -> bool {
        match self.trunk(dialog) {
            Some(trunk) if trunk.certified => flow.trunk == Some(trunk.id()),
            Some(trunk) if trunk.roaming || trunk.owns(flow.peer.ip()) => true,
            _ => Flow::parse(&dialog.flow).is_some_and(|own| own.peer.ip() == flow.peer.ip()),
        }
    }

    /// Returns the membership of a message in a dialog, by content and source (RFC 3261 §12.2.2). A response of a transaction
    /// here was matched with its request before.
    pub(super) fn membership_of(&self, dialog: &Dialog, arrival: &Arrival) -> Membership {
        let message = &arrival.message;
        match message.code() {
            Some(_) if !arrival.no_transaction || arrival.former => Membership::Own,
            _ if !self.accepts_from(dialog, arrival.flow) => Membership::Foreign,
            Some(_) => dialog.membership_of_response(message),
            None if dialog.is_replaced_by(message) => Membership::Own,
            None => dialog.membership_of_request(message),
        }
    }

    /// Tells of a request that is of the dialog but for its source: whoever operates the trunk may have to name that.
    pub(super) fn tell_refused_source(&mut self, dialog: &Dialog, arrival: &Arrival) {
        let (message, source) = (&arrival.message, arrival.flow.peer.ip());
        let own = arrival.is_request() && dialog.membership_of_request(message) == Membership::Own;
        if own && !self.accepts_from(dialog, arrival.flow) {
            self.out.push_back(Output::RefusedSource(dialog.link.clone(), source));
        }
    }

    /// Returns the next hop of a request, and writes its transport into the Via. `response_flow` is the last resort: the flow
    /// of the message that the request follows.
    pub(super) fn next_hop(&self, dialog: &Dialog, request: &mut Message, response_flow: Flow) -> Flow {
        let fallback =
            Flow::parse(&dialog.fallback_flow).or(Flow::parse(&dialog.flow)).unwrap_or(response_flow);
        let flow = self.route_hop(dialog, request, fallback).unwrap_or(fallback);
        let trunk = self.trunk(dialog).filter(|_| flow.transport == Transport::Tls).map(Trunk::id);
        let flow = Flow { trunk, ..flow };
        self.name_transport(request, &flow);
        flow
    }

    /// Writes the transport of a flow into the top Via, with the address that we are reached at by it.
    pub(super) fn name_transport(&self, request: &mut Message, flow: &Flow) {
        if request.via().is_some_and(|via| via.transport != flow.transport.via_name()) {
            write_via(request, flow.transport, &self.config.local(flow).0, None);
        }
    }

    /// Tells of a dialog whose next hop is neither the trunk's nor where the peer spoke from: our requests do not go there.
    pub(super) fn tell_foreign_hop(&mut self, dialog: &Dialog) {
        if let Some(host) = self.foreign_hop(dialog) {
            self.out.push_back(Output::ForeignHop(dialog.link.clone(), host));
        }
    }

    fn foreign_hop(&self, dialog: &Dialog) -> Option<String> {
        // Phones that roam write addresses behind NAT.
        let trunk = self.trunk(dialog).filter(|trunk| !trunk.roaming)?;
        let hop = match dialog.route.first() {
            Some(route) => NameAddr::parse(route)?.uri,
            None => Uri::parse(&dialog.target)?,
        };
        let host = &hop.sip()?.host;
        let known = match host.parse::<IpAddr>() {
            Ok(ip) => {
                let source =
                    Flow::parse(&dialog.flow).is_some_and(|flow| flow.peer.ip() == ip.to_canonical());
                source || trunk.owns(ip)
            }
            Err(_) => trunk
                .targets
                .iter()
                .any(|target| host_port(&target.host).is_some_and(|(own, _)| own == *host)),
        };
        (!known).then(|| host.clone())
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
        let transport = match (hop.secure, hop.transport) {
            (true, _) => Transport::Tls,
            (false, transport) => transport.unwrap_or(fallback.transport),
        };
        // A dialog stays as secure as it began.
        if (transport == Transport::Tls) != (fallback.transport == Transport::Tls) {
            return None;
        }
        let peer = SocketAddr::new(hop.host.parse().ok()?, hop.port.unwrap_or(transport.default_port()));
        let known = fallback.peer.ip() == peer.ip().to_canonical();
        if !known && !self.trunk(dialog).is_some_and(|trunk| trunk.owns(peer.ip())) {
            return None;
        }
        let listen = if transport == Transport::Udp { fallback.listen } else { 0 };
        Some(Flow { listen, local: fallback.local, ..Flow::new(transport, peer) })
    }
}
