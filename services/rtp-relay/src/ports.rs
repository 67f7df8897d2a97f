//! Port pairs of one worker: even RTP, odd RTCP, drawn at random and rested before they are used again (R-RTP-15).

use crate::udp;
use anyhow::{Context, bail};
use runtime::config::RelayConfig;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// How long a pair rests, milliseconds: late packets of the old call are then over.
const REST_MS: u64 = 30_000;
/// Pairs tried for one end before it is given up.
const TRIES: usize = 32;
/// Pairs that are bound before anybody asks for them.
const SPARE: usize = 64;

/// Two bound sockets.
#[derive(Debug)]
pub struct Pair {
    /// Even port.
    pub rtp: UdpSocket,
    /// The next one.
    pub rtcp: UdpSocket,
    /// The even port.
    pub port: u16,
}

/// No pair could be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no port left")]
pub struct NoPort;

/// The free pairs of one worker.
#[derive(Debug)]
pub struct Ports {
    address: IpAddr,
    free: Vec<u16>,
    resting: VecDeque<(u64, u16)>,
    /// Bound, in the order in which they were drawn.
    spare: VecDeque<Pair>,
}

impl Ports {
    /// How many pairs are free or rest.
    #[must_use]
    pub fn len(&self) -> usize {
        self.free.len() + self.resting.len() + self.spare.len()
    }

    /// No pair is left, not even a resting one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A bound pair; `random` is any number. A pair that another program holds is left to rest.
    ///
    /// # Errors
    /// [`NoPort`]
    pub fn take(&mut self, now_ms: u64, random: impl FnMut() -> u32) -> Result<Pair, NoPort> {
        match self.spare.pop_front() {
            Some(pair) => Ok(pair),
            None => self.draw(now_ms, random),
        }
    }

    /// Pairs can be bound for whoever comes next.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.spare.len() < SPARE && !self.free.is_empty()
    }

    /// Binds one more, for whoever comes next; false when none can be had.
    pub fn prepare(&mut self, now_ms: u64, random: impl FnMut() -> u32) -> bool {
        match self.draw(now_ms, random) {
            Ok(pair) => self.spare.push_back(pair),
            Err(NoPort) => return false,
        }
        true
    }

    fn draw(&mut self, now_ms: u64, mut random: impl FnMut() -> u32) -> Result<Pair, NoPort> {
        while self.resting.front().is_some_and(|(until, _)| *until <= now_ms) {
            self.free.extend(self.resting.pop_front().map(|(_, port)| port));
        }
        for _ in 0..TRIES {
            if self.free.is_empty() {
                break;
            }
            let port = self.free.swap_remove(random() as usize % self.free.len());
            match bind(self.address, port) {
                Ok(pair) => return Ok(pair),
                Err(error) => {
                    tracing::warn!(port, %error, "[relay] ports: a port pair is taken by another program");
                    self.give_back(port, now_ms);
                }
            }
        }
        Err(NoPort)
    }

    /// This very pair, if it is free: a session that was here before this process goes on where its peers send to.
    pub fn take_port(&mut self, port: u16) -> Option<Pair> {
        if let Some(place) = self.spare.iter().position(|pair| pair.port == port) {
            return self.spare.remove(place);
        }
        let place = self.free.iter().position(|free| *free == port)?;
        let pair = bind(self.address, port).ok()?;
        self.free.swap_remove(place);
        Some(pair)
    }

    /// Takes a closed pair back; it rests first.
    pub fn give_back(&mut self, port: u16, now_ms: u64) {
        self.resting.push_back((now_ms + REST_MS, port));
    }
}

fn bind(address: IpAddr, port: u16) -> std::io::Result<Pair> {
    let rtp = udp::bind(SocketAddr::new(address, port))?;
    let rtcp = udp::bind(SocketAddr::new(address, port + 1))?;
    Ok(Pair { rtp, rtcp, port })
}

/// Ports of one worker: the socket that all its ICE endpoints share, and its part of the range.
pub type Share = (UdpSocket, Ports);

/// Divides the range among the threads, each with one shared port and its own pairs.
///
/// # Errors
/// The operator's fault in one line: the key, the value, the remedy.
pub fn divide(config: &RelayConfig) -> anyhow::Result<Vec<Share>> {
    let (address, range, workers) = (config.listen, &config.ports, config.threads.max(1));
    let (first, last) = config.port_range()?;
    let pairs: Vec<u16> = (first..last).filter(|port| port % 2 == 0).collect();
    if pairs.len() < 3 * workers {
        bail!(
            "[relay] ports: {range:?} is too small for {workers} thread(s); give at least 6 ports a thread"
        );
    }
    // Another program may hold some of the range; only when it holds too much is that a fault.
    let mut error = None;
    let mut free = vec![];
    for port in &pairs {
        match bind(address, *port) {
            Ok(_) => free.push(*port),
            Err(e) if e.kind() == std::io::ErrorKind::AddrNotAvailable => {
                return Err(e).context(format!(
                    "[relay] listen: \"{address}\" is not an address of this host; set it to one that is"
                ));
            }
            Err(e) => error = Some(e),
        }
    }
    if free.len() < 3 * workers {
        let why = error.map(|e| e.to_string()).unwrap_or_default();
        bail!(
            "[relay] ports: {range:?}: {} of {} port pairs are taken on {address} ({why}); give a range that nothing else uses",
            pairs.len() - free.len(),
            pairs.len()
        );
    }
    if free.len() < pairs.len() {
        let taken = pairs.len() - free.len();
        tracing::warn!(taken, of = pairs.len(), "[relay] ports: {range:?}: other programs hold part of it");
    }
    let mut shares: Vec<Vec<u16>> = vec![vec![]; workers];
    // By its place in the range: a thread that is started anew has its ports again, whatever other programs took meanwhile.
    for port in free {
        shares[usize::from((port - first) / 2) % workers].push(port);
    }
    let share = |mut free: Vec<u16>| {
        let port = free
            .pop()
            .with_context(|| format!("[relay] ports: {range:?}: other programs leave a thread none"))?;
        let shared = udp::bind(SocketAddr::new(address, port)).context("the ICE port")?;
        udp::widen(&shared);
        Ok((shared, Ports { address, free, resting: VecDeque::new(), spare: VecDeque::new() }))
    };
    shares.into_iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(ports: &str) -> RelayConfig {
        RelayConfig { ports: ports.into(), ..RelayConfig::default() }
    }

    #[test]
    fn faults_name_the_key_the_value_and_the_remedy() {
        let few = divide(&config("22000-22003")).unwrap_err().to_string();
        assert!(few.starts_with("[relay] ports: \"22000-22003\"") && few.contains("at least 6"), "{few}");
        let none = divide(&config("22000")).unwrap_err().to_string();
        assert!(none.starts_with("[relay] ports: \"22000\""), "{none}");
        let foreign = RelayConfig { listen: "192.0.2.1".parse().unwrap(), ..config("22010-22029") };
        let foreign = format!("{:#}", divide(&foreign).unwrap_err());
        assert!(foreign.starts_with("[relay] listen: \"192.0.2.1\""), "{foreign}");
    }

    #[test]
    fn a_taken_range_is_told_and_a_freed_one_is_used() {
        let held: Vec<_> =
            (22_030..22_040).map(|port| UdpSocket::bind(("127.0.0.1", port)).unwrap()).collect();
        let taken = divide(&config("22030-22039")).unwrap_err().to_string();
        assert!(taken.starts_with("[relay] ports: \"22030-22039\": 5 of 5"), "{taken}");
        drop(held);
        assert_eq!(divide(&config("22030-22039")).unwrap()[0].1.len(), 4);
    }

    /// R-RTP-15
    #[test]
    fn pairs_rest_before_they_are_used_again_and_run_out() {
        let (_shared, mut ports) = divide(&config("22040-22047")).unwrap().remove(0);
        let pairs: Vec<_> = (0..3).map(|n| ports.take(0, || n).unwrap()).collect();
        assert!(pairs.iter().all(|p| p.port % 2 == 0));
        assert_eq!(ports.take(0, || 0).unwrap_err(), NoPort);
        assert!(!ports.is_short() && !ports.prepare(0, || 0));
        let port = pairs[1].port;
        drop(pairs);
        ports.give_back(port, 1_000);
        assert!(ports.take(30_999, || 0).is_err());
        assert!(ports.prepare(31_000, || 0));
        assert_eq!(ports.take(31_001, || 0).unwrap().port, port, "bound before");
    }

    /// Bound ahead or not: who is started anew goes on where its peers send to.
    #[test]
    fn a_session_has_its_old_pair_again() {
        let config = RelayConfig { threads: 2, ..config("22200-22399") };
        let mut first = divide(&config).unwrap();
        let ports: Vec<u16> = first
            .iter_mut()
            .flat_map(|(_, ports)| [0, 7].map(|n| ports.take(0, || n).unwrap().port))
            .collect();
        let shared: Vec<u16> = first.iter().map(|(shared, _)| shared.local_addr().unwrap().port()).collect();
        drop(first);
        // Another program has taken one of them.
        let taken = (22_200..22_400).find(|port| port % 2 == 0 && !ports.contains(port)).unwrap();
        let _taken = UdpSocket::bind(("127.0.0.1", taken)).unwrap();
        let mut second = divide(&config).unwrap();
        assert_eq!(second.iter().map(|(s, _)| s.local_addr().unwrap().port()).collect::<Vec<_>>(), shared);
        for (at, port) in ports.iter().enumerate() {
            let (_, share) = &mut second[at / 2];
            // One of them was bound ahead.
            while at % 2 == 1 && share.is_short() {
                assert!(share.prepare(0, || 3));
            }
            let all = share.len();
            assert_eq!(share.take_port(*port).map(|pair| pair.port), Some(*port));
            assert_eq!(share.take_port(*port).map(|pair| pair.port), None, "in use");
            assert_eq!(share.len(), all - 1);
        }
    }

    #[test]
    fn no_more_pairs_are_bound_ahead_than_are_worth_it() {
        let (_shared, mut ports) = divide(&config("22050-22199")).unwrap().remove(0);
        let all = ports.len();
        let mut turn = 0;
        while ports.is_short() {
            turn += 7;
            assert!(ports.prepare(0, || turn));
        }
        assert_eq!((ports.spare.len(), ports.len()), (SPARE, all));
    }
}
