//! Screening by source, before anything is parsed: trunks have their own way into the edge, strangers another one with a budget.
//!
//! One rule: no number of strangers' messages delays a message of a trunk. A stranger is an address that no trunk names, without a
//! trunk's certificate; phones of a roaming trunk and hosts beyond a trunk's proxy are served as such, within the budget. Start at
//! [`Ways`].

use crate::Input;
use crate::counters;
use bytes::Bytes;
use sip::edge::{Flow, Target, Trunk};
use sip::message::ReadError;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Most messages of trunks that wait for the edge.
const QUEUE: usize = 4_096;
/// Most messages of strangers that wait for it.
const STRANGERS: usize = 256;
/// Number of strangers' messages that are read a second.
const RATE: u32 = 500;
/// Budget of a quiet second.
const FULL: Duration = Duration::from_secs(1);

/// Ways into the edge for the tasks of its sockets.
#[derive(Clone, Debug)]
pub struct Ways {
    trunks: mpsc::Sender<Input>,
    strangers: mpsc::Sender<Input>,
    /// Trunks without their credentials.
    known: Arc<RwLock<Vec<Trunk>>>,
}

/// Ends of the ways, at the edge.
#[derive(Debug)]
pub struct Arrivals {
    trunks: mpsc::Receiver<Input>,
    strangers: mpsc::Receiver<Input>,
    budget: Budget,
}

/// Makes both ways.
#[must_use]
pub fn ways() -> (Ways, Arrivals) {
    let (trunks, of_trunks) = mpsc::channel(QUEUE);
    let (strangers, of_strangers) = mpsc::channel(STRANGERS);
    let ways = Ways { trunks, strangers, known: Arc::default() };
    (ways, Arrivals { trunks: of_trunks, strangers: of_strangers, budget: Budget::new(RATE, Instant::now()) })
}

impl Ways {
    /// Sets the trunks whose addresses are known.
    pub fn set_trunks(&self, trunks: &[Trunk]) {
        let addresses = |trunk: &Trunk| Trunk { credentials: None, inbound: None, ..trunk.clone() };
        let known = trunks.iter().map(addresses).collect();
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// Sets the targets of a trunk, whose name has been looked up.
    pub fn set_targets(&self, trunk: &str, targets: &[Target]) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(trunk) = known.iter_mut().find(|known| known.name == trunk) {
            trunk.targets = targets.to_vec();
        }
    }

    /// Returns true for an address of a trunk.
    #[must_use]
    pub fn knows(&self, ip: IpAddr) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().any(|trunk| trunk.owns(ip))
    }

    /// Returns true for a flow of a trunk: by its address, or by the certificate of its peer.
    #[must_use]
    pub fn is_of_trunk(&self, flow: &Flow) -> bool {
        flow.trunk.is_some() || self.knows(flow.peer.ip())
    }

    /// Hands over a datagram; copies and keeps nothing of one that finds no room. `local` is asked for our address towards a trunk.
    /// Returns false once the edge is gone.
    pub fn datagram(&self, flow: Flow, octets: &[u8], local: impl FnOnce() -> Option<IpAddr>) -> bool {
        let known = self.knows(flow.peer.ip());
        // Only trunks call in, and only their calls name an address of ours.
        let flow = Flow { local: known.then(local).flatten(), ..flow };
        let way = if known { &self.trunks } else { &self.strangers };
        match way.try_reserve() {
            Ok(room) => room.send(Input::Message(flow, Bytes::copy_from_slice(octets))),
            Err(mpsc::error::TrySendError::Full(())) => counters::MESSAGES_DROPPED.increment(1),
            Err(mpsc::error::TrySendError::Closed(())) => return false,
        }
        true
    }

    /// Hands over a message of a stream; a full way makes its connection wait. Returns false once the edge is gone.
    pub async fn message(&self, flow: Flow, octets: Bytes) -> bool {
        self.of(&flow).send(Input::Message(flow, octets)).await.is_ok()
    }

    /// Hands over what has ended the framing of a stream. Returns false once the edge is gone.
    pub async fn broken(&self, flow: Flow, error: ReadError, octets: Bytes) -> bool {
        self.of(&flow).send(Input::Broken(flow, error, octets)).await.is_ok()
    }

    /// Tells the edge something of its sockets or trunks. Returns false once the edge is gone.
    pub async fn tell(&self, input: Input) -> bool {
        self.trunks.send(input).await.is_ok()
    }

    fn of(&self, flow: &Flow) -> &mpsc::Sender<Input> {
        if self.is_of_trunk(flow) { &self.trunks } else { &self.strangers }
    }
}

impl Arrivals {
    /// Waits for the next input: a trunk's if there is one, a stranger's within the budget. Cancel safe.
    pub async fn next(&mut self) -> Input {
        loop {
            let wait = self.budget.wait(Instant::now());
            tokio::select! {
                biased;
                Some(input) = self.trunks.recv() => return input,
                Some(input) = self.strangers.recv(), if wait.is_zero() => {
                    self.budget.take(Instant::now());
                    return input;
                }
                () = tokio::time::sleep(wait), if !wait.is_zero() => {}
                else => std::future::pending().await,
            }
        }
    }

    /// Takes an input that waits already: those of trunks first.
    pub fn try_next(&mut self) -> Option<Input> {
        self.trunks.try_recv().ok().or_else(|| {
            let now = Instant::now();
            let input = self.budget.wait(now).is_zero().then(|| self.strangers.try_recv().ok())??;
            self.budget.take(now);
            Some(input)
        })
    }
}

/// Budget for what strangers may have done (a token bucket, in time): empty at the moment that `paid` tells, or full a second after
/// it.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Time that one of them takes from the budget.
    cost: Duration,
    paid: Instant,
}

impl Budget {
    /// Makes a full budget of so many a second.
    pub(crate) fn new(rate: u32, now: Instant) -> Budget {
        Budget { cost: FULL / rate, paid: now.checked_sub(FULL).unwrap_or(now) }
    }

    /// Returns the time until the next one may be had.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        (self.paid + self.cost).saturating_duration_since(now)
    }

    pub(crate) fn take(&mut self, now: Instant) {
        let earliest = now.checked_sub(FULL).unwrap_or(now);
        self.paid = self.paid.max(earliest) + self.cost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn trunk() -> Trunk {
        Trunk {
            name: "pbx".into(),
            targets: vec![],
            sources: vec![(IpAddr::from([192, 0, 2, 0]), 24)],
            networks: vec![],
            certified: false,
            roaming: false,
            credentials: None,
            inbound: None,
            rewrites: sip::edge::Rewrites::default(),
            trusted: false,
            use_6xx: false,
            session_expires: 0,
        }
    }

    fn flow(host: [u8; 4]) -> Flow {
        Flow::udp(SocketAddr::from((host, 5060)))
    }

    fn is_of(input: &Input, host: [u8; 4]) -> bool {
        matches!(input, Input::Message(from, _) if from.peer.ip() == IpAddr::from(host))
    }

    const TRUNK: [u8; 4] = [192, 0, 2, 9];
    const STRANGER: [u8; 4] = [203, 0, 113, 66];

    /// However many messages of strangers came before, the trunk's is next; and theirs never fill its queue.
    #[tokio::test(start_paused = true)]
    async fn f3_a_trunk_does_not_wait_for_strangers() {
        let (ways, mut arrivals) = ways();
        ways.set_trunks(&[trunk()]);
        for _ in 0..10_000 {
            assert!(ways.datagram(flow(STRANGER), b"OPTIONS", || None));
        }
        assert!(ways.datagram(flow(TRUNK), b"INVITE", || None));
        assert!(is_of(&arrivals.next().await, TRUNK));
        let mut read = 0;
        while let Some(input) = arrivals.try_next() {
            assert!(is_of(&input, STRANGER));
            read += 1;
        }
        assert_eq!(read, STRANGERS, "what found no room is gone");
    }

    /// Strangers are read at a bounded rate, a burst of a second's worth at once.
    #[tokio::test(start_paused = true)]
    async fn f3_strangers_have_a_budget() {
        let (ways, mut arrivals) = ways();
        ways.set_trunks(&[trunk()]);
        let began = Instant::now();
        let mut read = 0;
        while began.elapsed() < Duration::from_secs(3) {
            while ways.strangers.capacity() > 0 {
                ways.datagram(flow(STRANGER), b"OPTIONS", || None);
            }
            let _ = tokio::time::timeout(Duration::from_secs(1), arrivals.next()).await.unwrap();
            read += 1;
        }
        let most = 4 * RATE;
        assert!((most - 5..=most + 5).contains(&read), "{read} in three seconds and the burst before them");
        // One of a trunk needs no budget.
        assert!(ways.datagram(flow(TRUNK), b"INVITE", || None));
        assert!(is_of(&arrivals.try_next().unwrap(), TRUNK));
    }

    #[tokio::test(start_paused = true)]
    async fn an_edge_that_is_gone_is_told() {
        let (ways, arrivals) = ways();
        drop(arrivals);
        assert!(
            !ways.datagram(flow(TRUNK), b"BYE", || None) && !ways.message(flow(STRANGER), Bytes::new()).await
        );
    }
}
