//! Attempts of an INVITE of ours: one address of the trunk after another (RFC 3263 §4.3).
//!
//! One rule: the next attempt is the same INVITE with another branch, and what names us in it is what its own flow wants. It leaves once
//! the record knows of it, so that any edge acknowledges, cancels and answers the right one.

use super::timers::Timer;
use super::user_agent::UserAgent;
use super::{Flow, Trunk};
use crate::dialog::{Dialog, State};
use crate::message::{Message, read};
use crate::signal::{Outcome, Outgoing, branch};
use crate::transaction::State as Waiting;
use crate::uri::NameAddr;
use ::edge::LegMut;
use address::locate::order;
use address::transport::Transport;
use signal::{LegRef, Time};
use std::collections::HashMap;
use std::net::SocketAddr;

/// Time after which an address that has said nothing at all is passed over, ms, if there is another one: four INVITEs by UDP.
pub(super) const SILENCE: u64 = 4_000;
/// Time for which an address that failed is tried last, ms.
const DOWN: u64 = 30_000;
/// Longest Retry-After of a 503 that is minded, ms (R-CODE-6).
const MAX_RETRY_AFTER: u64 = 300_000;
/// Time for which a peer that has no TCP is not asked for it again, ms.
const NO_TCP: u64 = 600_000;
/// Most addresses remembered.
const MAX: usize = 1_024;

/// Addresses that failed, with the time until which that is minded.
#[derive(Debug)]
pub(super) struct Failed {
    down: HashMap<(Transport, SocketAddr), Time>,
    no_tcp: HashMap<SocketAddr, Time>,
    /// Time of the present input.
    pub(super) now: Time,
}

impl Default for Failed {
    fn default() -> Failed {
        Failed { down: HashMap::new(), no_tcp: HashMap::new(), now: Time(0) }
    }
}

impl Failed {
    fn is_down(&self, flow: &Flow, now: Time) -> bool {
        self.down.get(&(flow.transport, flow.peer)).is_some_and(|until| *until > now)
    }

    fn mark(&mut self, flow: &Flow, until: Time, now: Time) {
        if self.down.len() >= MAX {
            self.down.retain(|_, until| *until > now);
        }
        if self.down.len() < MAX {
            self.down.insert((flow.transport, flow.peer), until);
        }
    }

    /// Remembers that a peer takes no TCP.
    pub(super) fn has_no_tcp(&mut self, peer: SocketAddr, now: Time) {
        if self.no_tcp.len() >= MAX {
            self.no_tcp.retain(|_, until| *until > now);
        }
        if self.no_tcp.len() < MAX {
            self.no_tcp.insert(peer, now + NO_TCP);
        }
    }

    /// Returns true unless the peer was found to take no TCP.
    pub(super) fn may_have_tcp(&self, peer: SocketAddr, now: Time) -> bool {
        self.no_tcp.get(&peer).is_none_or(|until| *until <= now)
    }
}

/// Cause of the end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nothing came, or nothing could be sent.
    Unreached,
    /// 503, with its Retry-After in ms.
    Unavailable(Option<u64>),
}

impl UserAgent {
    /// Returns the flows of a trunk in the order in which a call tries them: services by priority and weight, drawn from the id of the
    /// leg so that every edge has the same order; those that failed a short while ago come last.
    pub(super) fn attempts(&self, leg: LegRef, trunk: &Trunk, now: Time) -> Vec<Flow> {
        let mut targets: Vec<_> = trunk.targets.iter().filter(|target| !target.flows.is_empty()).collect();
        if targets.len() > 1 {
            // Answers of DNS come in any order.
            targets.sort_by_key(|target| {
                let first = target.flows.first();
                (target.priority, target.weight, first.map(|flow| (flow.peer, flow.transport.name())))
            });
            let (name, mut drawn) = (leg.to_string(), 0_u8);
            let services: Vec<_> = targets.iter().map(|target| (target.priority, target.weight)).collect();
            let order = order(&services, |most| {
                drawn = drawn.wrapping_add(1);
                let [a, b, c, d, ..] = self.secret.derive("service", &[name.as_bytes(), &[drawn]]);
                let sum = u64::from(most) + 1;
                u32::try_from(u64::from(u32::from_be_bytes([a, b, c, d])) % sum).unwrap_or(0)
            });
            targets = order.into_iter().filter_map(|at| targets.get(at).copied()).collect();
        }
        let flows = targets.into_iter().flat_map(|target| target.flows.iter().copied());
        let (down, up): (Vec<Flow>, Vec<Flow>) = flows.partition(|flow| self.failed.is_down(flow, now));
        up.into_iter().chain(down).collect()
    }

    /// Returns the flow that an INVITE of ours tries next.
    fn next_attempt(&self, leg: LegRef, tried: &[Flow], dialog: &Dialog, now: Time) -> Option<Flow> {
        let current = Flow::parse(&dialog.flow)?;
        let trunk = self.trunk(dialog).filter(|trunk| trunk.flows().nth(1).is_some())?;
        let attempts = self.attempts(leg, trunk, now);
        attempts.into_iter().find(|flow| !flow.reaches(&current) && !tried.iter().any(|t| t.reaches(flow)))
    }

    /// Sets the timer of an attempt whose address may be silent, if another one is left.
    pub(super) fn limit_attempt(&self, leg: &mut LegMut<'_, Self>, dialog: &Dialog, now: Time) {
        let first = dialog.state == State::Outgoing;
        if first && self.next_attempt(leg.id, &leg.local.tried, dialog, now).is_some() {
            leg.timers.set(Timer::Silence, now + SILENCE);
        }
    }

    /// Ends the transaction of an attempt that nobody has answered, if another address is left. Returns true if so.
    pub(super) fn give_up_attempt(&mut self, leg: &LegMut<'_, Self>, dialog: &Dialog, now: Time) -> bool {
        let Some(key) = leg.local.invite.as_ref() else { return false };
        let silent = dialog.state == State::Outgoing && self.table.state(key) == Some(Waiting::Calling);
        let over = silent && self.next_attempt(leg.id, &leg.local.tried, dialog, now).is_some();
        if over {
            self.table.abandon(key);
        }
        over
    }

    /// Makes the next attempt of an INVITE whose present one has failed; `None` if no address is left, or the caller was told something
    /// of this one already.
    pub(super) fn fail_over(
        &mut self,
        leg: &mut LegMut<'_, Self>,
        dialog: &mut Dialog,
        failure: Failure,
        now: Time,
    ) -> Option<Outcome> {
        if dialog.state != State::Outgoing {
            return None;
        }
        let current = Flow::parse(&dialog.flow)?;
        let until = match failure {
            Failure::Unreached => Some(DOWN),
            Failure::Unavailable(retry) => retry.map(|ms| ms.min(MAX_RETRY_AFTER)),
        };
        if let Some(ms) = until {
            self.failed.mark(&current, now + ms, now);
        }
        if dialog.ringing || !dialog.early_sdp.is_empty() {
            return None;
        }
        if !leg.local.tried.iter().any(|tried| tried.reaches(&current)) {
            leg.local.tried.push(current);
        }
        let next = self.next_attempt(leg.id, &leg.local.tried, dialog, now)?;
        let mut invite = read(&dialog.invite.clone().into()).ok()?;
        let former = branch(&invite);
        if !leg.local.former.contains(&former) {
            leg.local.former.push(former);
        }
        let branch = self.branch(&[leg.id.to_string().as_bytes(), b"attempt", next.to_string().as_bytes()]);
        let user = NameAddr::parse(&dialog.contact).and_then(|contact| contact.uri.sip()?.user.clone());
        dialog.flow = next.to_string();
        dialog.sent_by = self.config.local(&next).0;
        dialog.contact = self.contact_of(user.as_deref(), &next);
        write_via(&mut invite, next.transport, &dialog.sent_by, Some(&branch));
        for header in invite.headers.iter_mut().filter(|header| header.name.as_str() == "Contact") {
            header.value = dialog.contact.clone().into();
        }
        dialog.invite = invite.write().to_vec();
        (dialog.proceeding, dialog.forks, dialog.reliable) = (false, vec![], None);
        Some(Outcome {
            send_after_commit: vec![Outgoing::Request(invite)],
            must_commit: true,
            ..Outcome::default()
        })
    }
}

/// Writes transport and sent-by, and the branch if it is another one, into the top Via.
pub(super) fn write_via(request: &mut Message, transport: Transport, sent_by: &str, branch: Option<&str>) {
    let Some(mut via) = request.via() else { return };
    transport.via_name().clone_into(&mut via.transport);
    if let Some((host, port)) = crate::uri::host_port(sent_by) {
        (via.host, via.port) = (host, port);
    }
    if let Some(branch) = branch {
        for (name, value) in &mut via.params {
            if name == "branch" {
                *value = Some(branch.to_owned());
            }
        }
    }
    if let Some(header) = request.headers.iter_mut().find(|header| header.name.as_str() == "Via") {
        header.value = via.to_string().into();
    }
}
