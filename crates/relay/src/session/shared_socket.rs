//! The shared socket: WebRTC endpoints are described, and datagrams find theirs by ICE user fragment, check or address.

use super::endpoint::{Early, Endpoint, Link};
use super::plain::Plain;
use super::types::{Event, Local, Refusal, Remote};
use super::webrtc::WebRtc;
use super::worker::Worker;
use crate::ice::{Credentials, Datagram, addressee};
use crate::packet::{Class, classify};
use crate::webrtc;
use signal::Time;
use signal::media::{Dtls, Ice};
use std::net::SocketAddr;

/// Checks kept that come before the peer's description, and their octets.
const EARLY: usize = 8;
const EARLY_OCTETS: usize = 512;
/// Type of a Binding request (RFC 8489 §5).
const REQUEST: [u8; 2] = [0x00, 0x01];
/// Addresses of one endpoint at a time.
const ADDRESSES: usize = 64;
/// Candidates kept that come before the description.
const CANDIDATES: usize = 64;
/// An address in use is not given to another endpoint before its own was silent for this long, ms.
const IN_USE: u64 = 5_000;
/// A peer that closes its association hangs up next; only if it does not, the endpoint is lost, ms.
const CLOSING: u64 = 3_000;
/// STUN and DTLS datagrams that may wait to be sent; further ones are lost, as datagrams may be.
const DATAGRAMS: usize = 4_096;

impl Worker {
    /// Makes an endpoint WebRTC, or tells it more.
    pub(super) fn describe(
        &mut self,
        index: u32,
        remote: &Remote,
        ice: &Ice,
        dtls: &Dtls,
        now: Time,
    ) -> Result<(), Refusal> {
        let Worker { endpoints, host, other, denied, ufrags, .. } = self;
        let Some(end) = endpoints.get_mut(index) else {
            return Ok(());
        };
        if matches!(end.link, Link::WebRtc(_)) {
            return self.renew(index, ice, Some(dtls), remote.fresh.clone(), now);
        }
        // It restarted, and the relay before did not hear of that any more, or could not state it any more.
        let stale = end.inherited.as_ref().is_some_and(|inherited| inherited.restarted(ice));
        let fresh = remote
            .fresh
            .clone()
            .filter(|_| stale)
            .map(|fresh| (fresh, end.local.generation.saturating_add(1)));
        let told = remote.told.clone().filter(|(_, generation)| *generation > end.local.generation);
        if let Some((ours, generation)) = told.or(fresh) {
            ufrags.remove(&end.local.ufrag);
            ufrags.insert(ours.ufrag.clone(), index);
            end.local.renew(ours, generation);
        }
        let local = end.local.credentials();
        let inherited = end.inherited.take();
        let web = WebRtc::new(
            &local,
            (end.local.tie_breaker, end.local.preference),
            (ice, dtls, remote.ours),
            inherited.as_deref(),
            (host, *other, denied),
            now,
        )?;
        let was = std::mem::replace(&mut end.link, Link::WebRtc(Box::new(web)));
        let early = std::mem::take(&mut end.early);
        if std::mem::take(&mut end.sockets) {
            let id = end.id;
            self.closed.push_back(id);
        }
        if let Link::Bundled(carrier) = was {
            self.leave_bundle(index, carrier);
        }
        let Early { checks, candidates } = *early.unwrap_or_default();
        if let Some(Link::WebRtc(web)) = self.endpoints.get_mut(index).map(|end| &mut end.link) {
            candidates.iter().for_each(|candidate| web.transport.candidate(candidate, now));
        }
        for (from, mut check) in checks {
            self.check(index, from, &mut check, now);
        }
        self.flush(index, now);
        Ok(())
    }

    /// Takes a further description of a WebRTC peer; a restart is answered with `fresh` credentials of ours. Both they and those before
    /// lead to the end until the new path works.
    fn renew(
        &mut self,
        index: u32,
        ice: &Ice,
        dtls: Option<&Dtls>,
        fresh: Option<Credentials>,
        now: Time,
    ) -> Result<(), Refusal> {
        let Worker { endpoints, ufrags, .. } = self;
        let Some(end) = endpoints.get_mut(index) else {
            return Ok(());
        };
        let Link::WebRtc(web) = &mut end.link else { return Ok(()) };
        if web.past.as_ref() == Some(&ice.ufrag) {
            // An order from before the restart, given again.
            return Ok(());
        }
        let fresh = fresh.unwrap_or_else(|| end.local.credentials());
        let dtls = dtls.unwrap_or(&web.dtls).clone();
        let restarted = web.describe(&fresh, ice, &dtls, now)?;
        if restarted && fresh.ufrag != end.local.ufrag {
            let kept = web.transport.former().map(str::to_owned);
            let before = [Some(end.local.ufrag.clone()), web.parting.take()];
            before.iter().flatten().filter(|name| kept.as_ref() != Some(*name)).for_each(|name| {
                ufrags.remove(name);
            });
            web.parting = kept;
            ufrags.insert(fresh.ufrag.clone(), index);
            let generation = end.local.generation.saturating_add(1);
            end.local.renew(fresh, generation);
        }
        let session = end.session;
        if restarted {
            self.mark_changed(session, now);
        }
        self.flush(index, now);
        Ok(())
    }

    /// Takes further candidates of the peer, or its restart.
    pub(super) fn trickle(
        &mut self,
        index: u32,
        ice: &Ice,
        fresh: Option<Credentials>,
        now: Time,
    ) -> Result<(), Refusal> {
        let Some(end) = self.endpoints.get_mut(index) else { return Ok(()) };
        match &mut end.link {
            Link::WebRtc(web) if !ice.pwd.is_empty() && ice.ufrag != web.ufrag => {
                return self.renew(index, ice, None, fresh, now);
            }
            Link::WebRtc(web) => {
                ice.candidates.iter().for_each(|candidate| web.transport.candidate(candidate, now))
            }
            Link::Open => {
                let early = end.early.get_or_insert_default();
                let room = CANDIDATES.saturating_sub(early.candidates.len());
                early.candidates.extend(ice.candidates.iter().take(room).cloned());
            }
            // A client may name any content of the bundle.
            Link::Bundled(carrier) => {
                let carrier = *carrier;
                return if carrier == index { Ok(()) } else { self.trickle(carrier, ice, fresh, now) };
            }
            // A phone that tries ICE on its own.
            Link::Plain(_) => {}
        }
        self.flush(index, now);
        Ok(())
    }

    /// Returns the credentials of an endpoint once it has restarted ICE: its own; those
    /// of the end that carries it, if one does.
    #[must_use]
    pub fn restarted(&self, session: &str, leg: u32, content: u32) -> Option<&Local> {
        let index = self.endpoints.carrier(self.find(session, leg, content).ok()?);
        self.endpoints.get(index).map(|end| &end.local).filter(|local| local.generation > 0)
    }

    /// Returns the endpoint that a datagram on the shared socket is for.
    pub(super) fn addressed(&self, from: SocketAddr, datagram: &[u8]) -> Option<u32> {
        if classify(datagram) == Class::Stun
            && let Some(ufrag) = addressee(datagram)
        {
            return self.ufrags.get(ufrag).copied();
        }
        if let Some(index) = self.checks.answered(datagram) {
            return Some(index);
        }
        self.addresses.get(&from).copied()
    }

    /// Takes STUN and DTLS for an endpoint: everything on the shared socket that is not media.
    pub(super) fn check(&mut self, index: u32, from: SocketAddr, datagram: &mut [u8], now: Time) {
        let to = self.facing(from);
        let Some(end) = self.endpoints.get_mut(index) else { return };
        match &mut end.link {
            Link::WebRtc(web) => {
                let before = web.transport.dropped().stranger;
                web.transport.receive(datagram, from, to, now);
                if classify(datagram) == Class::Stun && web.transport.dropped().stranger == before {
                    self.bind(index, from, now);
                }
                self.flush(index, now);
            }
            Link::Open if datagram.len() <= EARLY_OCTETS => {
                let early = end.early.get_or_insert_default();
                if early.checks.len() < EARLY {
                    early.checks.push((from, datagram.to_vec()));
                }
            }
            _ => {}
        }
    }

    /// Binds an address that an authentic check came from: other datagrams from there are for this endpoint.
    fn bind(&mut self, index: u32, from: SocketAddr, now: Time) {
        let holder = self.addresses.get(&from).copied();
        if holder == Some(index) || holder.is_some_and(|holder| self.uses(holder, from, now)) {
            return;
        }
        let Some(Link::WebRtc(web)) = self.endpoints.get_mut(index).map(|end| &mut end.link) else { return };
        // A peer that wanders leaves many behind: the oldest that is not in use gives way.
        let used = web.transport.pair().map(|pair| pair.remote);
        let full = web.addresses.len() >= ADDRESSES;
        let oldest = web.addresses.iter().position(|address| Some(*address) != used).filter(|_| full);
        let left = oldest.map(|place| web.addresses.remove(place));
        web.addresses.push(from);
        self.addresses.insert(from, index);
        if let Some(left) = left.filter(|left| self.addresses.get(left) == Some(&index)) {
            self.addresses.remove(&left);
        }
    }

    /// Takes the datagrams, events and next timeout of a WebRTC endpoint over to the worker.
    pub(super) fn flush(&mut self, index: u32, now: Time) {
        let Worker { endpoints, datagrams, timers, checks, ufrags, .. } = self;
        let Some(end) = endpoints.get_mut(index) else { return };
        let Link::WebRtc(web) = &mut end.link else { return };
        if web.transport.former().is_none()
            && let Some(name) = web.parting.take()
        {
            ufrags.remove(&name);
        }
        while let Some(datagram) = web.transport.poll_transmit() {
            if web.leaving && datagram.octets.starts_with(&REQUEST) {
                continue;
            }
            if datagrams.len() < DATAGRAMS {
                checks.sent(index, &datagram.octets);
                datagrams.push_back(datagram);
            }
        }
        let (mut happened, mut keyed) = ([None; 4], false);
        for place in &mut happened {
            let Some(event) = web.transport.poll_event() else { break };
            match event {
                webrtc::TransportEvent::Connected { suite } => {
                    (web.suite, web.closed, keyed) = (Some(suite), None, true);
                    if !std::mem::replace(&mut web.announced, true) {
                        *place = Some(if web.resumed { Event::Resumed } else { Event::Connected });
                    }
                }
                webrtc::TransportEvent::Unreachable => *place = Some(Event::Unreachable),
                webrtc::TransportEvent::Insecure => *place = Some(Event::Insecure),
                webrtc::TransportEvent::Closed => web.closed = Some(now),
                webrtc::TransportEvent::Disconnected | webrtc::TransportEvent::Restored => {}
            }
        }
        // Never now: a worker that is woken for nothing would not sleep.
        let deadline = web.transport.deadline().map(|at| at.max(now + 1));
        if deadline != web.timer {
            if let Some(at) = web.timer {
                timers.remove(&(at, index));
            }
            if let Some(at) = deadline {
                timers.insert((at, index));
            }
            web.timer = deadline;
        }
        for event in happened.into_iter().flatten() {
            self.report(index, event);
        }
        if keyed && let Some(session) = self.endpoints.get(index).map(|end| end.session) {
            self.mark_changed(session, now);
        }
    }

    /// Runs the timers that are due.
    pub(super) fn run_timers(&mut self, now: Time) {
        while let Some((at, index)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, index));
            match self.endpoints.get_mut(index).map(|end| &mut end.link) {
                Some(Link::WebRtc(web)) => {
                    web.timer = None;
                    web.transport.tick(now);
                    self.flush(index, now);
                }
                Some(Link::Plain(plain)) => {
                    plain.timer = None;
                    let change = plain.tick(now);
                    self.follow_handshake(index, change, now);
                }
                _ => {}
            }
        }
    }

    /// An end goes: nothing leads to it any more. Its peer hears by signalling that the call is over; a close_notify that came
    /// sooner would look like a fault.
    pub(super) fn unbind(&mut self, index: u32, end: &mut Endpoint) {
        self.ufrags.remove(&end.local.ufrag);
        if let Link::Plain(Plain { timer: Some(at), .. }) = &end.link {
            self.timers.remove(&(*at, index));
        }
        let Link::WebRtc(web) = &mut end.link else { return };
        if let Some(name) = &web.parting {
            self.ufrags.remove(name);
        }
        for address in &web.addresses {
            if self.addresses.get(address) == Some(&index) {
                self.addresses.remove(address);
            }
        }
        if let Some(at) = web.timer {
            self.timers.remove(&(at, index));
        }
    }

    /// Returns the next STUN or DTLS datagram to send by the shared socket.
    pub fn poll_datagram(&mut self) -> Option<Datagram> {
        self.datagrams.pop_front()
    }

    /// Returns true if media of the endpoint at `index`, or of its members, comes from this address.
    fn uses(&self, index: u32, address: SocketAddr, now: Time) -> bool {
        let Some(end) = self.endpoints.get(index) else { return false };
        let Link::WebRtc(web) = &end.link else { return false };
        let members = end.members.iter().filter_map(|member| self.endpoints.get(member.endpoint)?.heard);
        web.transport.pair().is_some_and(|pair| pair.remote == address)
            && end.heard.into_iter().chain(members).any(|heard| now.since(heard) < IN_USE)
    }
}

impl Local {
    /// ICE credentials.
    fn credentials(&self) -> Credentials {
        Credentials { ufrag: self.ufrag.clone(), pwd: self.pwd.clone() }
    }

    /// Others take their place.
    fn renew(&mut self, fresh: Credentials, generation: u32) {
        (self.ufrag, self.pwd, self.generation) = (fresh.ufrag, fresh.pwd, generation);
    }
}

impl Endpoint {
    /// The peer closed its association and did not hang up; told once.
    pub fn abandoned(&mut self, now: Time) -> bool {
        let closed = match &mut self.link {
            Link::WebRtc(web) => &mut web.closed,
            Link::Plain(plain) => &mut plain.closed,
            Link::Open | Link::Bundled(_) => return false,
        };
        closed.take_if(|at| now.since(*at) >= CLOSING).is_some()
    }
}
