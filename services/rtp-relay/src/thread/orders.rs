//! Orders of control, executed between packets.

use super::{Sockets, Thread};
use crate::command::{Command, Denial, Done, Ends, NoRoom, Order, Outcome};
use crate::poll::Poll;
use crate::ports::{NoPort, Pair};
use crate::random;
use relay::ice::{Credentials, PREFERENCE};
use relay::session::{EndpointId, LegRequest, Local, Refusal, Snapshot, Worker};
use signal::{LegId, Time};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use tokio::sync::oneshot;

/// Orders executed before media has its turn again: some hundred microseconds' worth.
const ORDERS: usize = 16;

/// A batch that is being executed.
pub(super) struct Pending {
    orders: std::vec::IntoIter<Order>,
    outcomes: Vec<Outcome>,
    reply: oneshot::Sender<Vec<Outcome>>,
}

impl Thread {
    /// Executes some of the orders; returns true to stop.
    pub(super) fn execute(&mut self, now: Time) -> bool {
        for _ in 0..ORDERS {
            let pending = match self.pending.take() {
                Some(pending) => Some(pending),
                None => match self.parts.commands.try_recv() {
                    Ok(Command::Execute { orders, reply }) => {
                        let outcomes = Vec::with_capacity(orders.len());
                        Some(Pending { orders: orders.into_iter(), outcomes, reply })
                    }
                    Ok(Command::Limits(limits)) => {
                        self.worker.set_limits(limits);
                        None
                    }
                    Ok(Command::Stop) => return true,
                    Err(_) => None,
                },
            };
            let Some(mut pending) = pending else { return false };
            if let Some(order) = pending.orders.next() {
                pending.outcomes.push(self.order(order, now));
                self.close(now);
            }
            if pending.orders.len() > 0 {
                self.pending = Some(pending);
            } else {
                // Who has the answer finds it counted. Who asked may have given up.
                self.count();
                let _ = pending.reply.send(pending.outcomes);
            }
        }
        // More may wait: come back without sleeping.
        self.parts.waker.wake();
        false
    }

    fn order(&mut self, order: Order, now: Time) -> Outcome {
        let worker = &mut self.worker;
        Ok(match order {
            Order::Allocate { session, grow: true, .. } if !worker.knows(&session) => {
                return Err(Refusal::UnknownSession(session).into());
            }
            Order::Allocate { session, trace, legs, bridge, closed, state, .. } => {
                if let Some(closed) = closed.filter(|_| !worker.knows(&session)) {
                    return Err(closed.into());
                }
                Done::Allocated(self.allocate(&session, &trace, &legs, &bridge, state, now)?)
            }
            Order::Bridge { session, pairs } => {
                worker.bridge(&session, &pairs, now)?;
                Done::Updated
            }
            Order::Connect { session, end: (leg, content), mut remote } => {
                remote.fresh = remote.ice.is_some().then(random::credentials);
                worker.connect(&session, leg, content, &remote, now)?;
                told(worker, &session, leg, content)
            }
            Order::Update { session, end: (leg, content), ice, keyframe } => {
                let fresh = (!ice.pwd.is_empty()).then(random::credentials);
                worker.update(&session, leg, content, (&ice, fresh), now)?;
                if keyframe {
                    worker.request_keyframe(&session, leg, content)?;
                }
                told(worker, &session, leg, content)
            }
            Order::Press { session, end: (leg, content), key } => {
                worker.press(&session, leg, content, key, now)?;
                Done::Updated
            }
            Order::Voice { session, end: (leg, content) } => {
                Done::Voice(worker.playback_codec(&session, leg, content)?)
            }
            Order::Play { session, end: (leg, content), track, mode } => {
                worker.play(&session, leg, content, track, mode, now)?;
                Done::Updated
            }
            Order::Leave { session } => {
                worker.hand_over(&session)?;
                Done::Updated
            }
            Order::Freeze { session } => Done::Frozen(Box::new(worker.freeze(&session, now)?)),
            Order::Release { session, legs } if legs.is_empty() => Done::Statistics(worker.release(&session)),
            Order::Release { session, legs } => {
                let released = legs.into_iter().filter_map(|leg| worker.release_leg(&session, leg, now));
                Done::Statistics(Some(released.flatten().collect()))
            }
            Order::Statistics { session } => Done::Statistics(worker.statistics(&session)),
        })
    }

    fn allocate(
        &mut self,
        session: &str,
        trace: &str,
        legs: &[LegRequest],
        bridge: &[(LegId, LegId)],
        state: Option<Box<Snapshot>>,
        now: Time,
    ) -> Result<Ends, Denial> {
        let known = self.worker.knows(session);
        // Repeated, the session has long gone on.
        let state = state.filter(|_| !known);
        let had = |leg: LegId, content: u16| {
            let mut ends = state.iter().flat_map(|state| &state.endpoints);
            ends.find(|end| (end.leg, end.content) == (leg, content)).map(|end| end.rtp_port)
        };
        let (poll, pairs, ports) = (&self.poll, &mut self.pairs, &mut self.parts.ports);
        let address = self.parts.advertise;
        let made = self.worker.allocate::<Denial>(session, trace, legs, now, |id, leg, content| {
            let mut port = 0;
            if !leg.webrtc {
                let same = had(leg.leg, content).and_then(|port| ports.take_port(port));
                let pair = same.map_or_else(|| ports.take(now.0, random::number), Ok);
                let pair = pair.map_err(|NoPort| NoRoom::Ports)?;
                port = pair.port;
                watch(poll, pairs, id, pair).map_err(|port| {
                    ports.give_back(port, now.0);
                    NoRoom::Ports
                })?;
            }
            Ok(local(address, port))
        });
        let made = made?;
        if known {
            return Ok(made);
        }
        // Pairs of legs that it does not have.
        if let Err(refusal) = self.worker.bridge(session, bridge, now) {
            self.worker.release(session);
            return Err(refusal.into());
        }
        Ok(match state {
            Some(state) => self.worker.resume(session, *state, now),
            None => made,
        })
    }
}

/// Returns the reply of an endpoint that was told of its peer.
fn told(worker: &Worker, session: &str, leg: u32, content: u32) -> Done {
    let local = worker.restarted(session, leg, content);
    local.map_or(Done::Updated, |local| Done::Renewed(Box::new(local.clone())))
}

/// Watches the sockets of an endpoint; gives the port back where that fails.
fn watch(poll: &Poll, pairs: &mut Vec<Option<Sockets>>, id: EndpointId, pair: Pair) -> Result<(), u16> {
    let number = u64::from(id.index) << 1;
    let watched = poll
        .add_level(pair.rtp.as_raw_fd(), number)
        .and_then(|()| poll.add(pair.rtcp.as_raw_fd(), number | 1));
    watched.map_err(|_| pair.port)?;
    let place = id.index as usize;
    if pairs.len() <= place {
        pairs.resize_with(place + 1, || None);
    }
    if let Some(held) = pairs.get_mut(place) {
        *held = Some(Sockets { id, pair, peer: None, round: 0 });
    }
    Ok(())
}

/// Our side of a new endpoint, with this port of plain RTP; 0 = none.
fn local(address: IpAddr, port: u16) -> Local {
    let Credentials { ufrag, pwd } = random::credentials();
    Local {
        address,
        rtp_port: port,
        rtcp_port: if port == 0 { 0 } else { port + 1 },
        ufrag,
        pwd,
        generation: 0,
        tie_breaker: random::number().into(),
        // Only who describes itself with an address describes itself with keys.
        crypto: if port == 0 { vec![] } else { random::keys() },
        preference: PREFERENCE,
    }
}
