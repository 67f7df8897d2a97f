//! Peers that speak ICE and DTLS-SRTP, each behind a socket of its own: the core's own ends, with certificates of any kind.

use crate::control::{Local, Party};
use crate::packet::is_report;
use crate::{Key, now};
use anyhow::{Context, Result, ensure};
use boring::asn1::Asn1Time;
use boring::ec::{EcGroup, EcKey};
use boring::hash::MessageDigest;
use boring::nid::Nid;
use boring::pkey::{PKey, Private};
use boring::rsa::Rsa;
use boring::x509::X509;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Registry, Token};
use proto::v1;
use relay::dtls::Certificate;
use relay::ice::{Config, Credentials};
use relay::webrtc::{Received, Transport};
use signal::Time;
use signal::media::{Dtls, Ice, Setup};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// An association that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(15);

struct Peer {
    end: Transport,
    socket: UdpSocket,
    address: SocketAddr,
    credentials: Credentials,
    /// True for the side that sends the ClientHello.
    active: bool,
    relay: Option<SocketAddr>,
    timer: Option<Time>,
    connected: bool,
}

/// All of them.
pub struct Peers {
    peers: Vec<Peer>,
    fingerprint: v1::Fingerprint,
    first: usize,
    connected: usize,
    /// When which of them wants to be woken.
    timers: BTreeMap<(Time, usize), ()>,
    base: (Instant, Time),
}

/// A certificate whose key is of this kind.
fn certificate(key: Key) -> Result<Certificate> {
    let key: PKey<Private> = match key {
        Key::Rsa => PKey::from_rsa(Rsa::generate(2_048)?)?,
        Key::Ec => PKey::from_ec_key(EcKey::generate(&*EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?)?)?,
    };
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_pubkey(&key)?;
    let (from, to) = (Asn1Time::from_unix(0)?, Asn1Time::from_unix(4_000_000_000)?);
    builder.set_not_before(&from)?;
    builder.set_not_after(&to)?;
    builder.sign(&key, MessageDigest::sha256())?;
    Ok(Certificate::of(builder.build(), key)?)
}

impl Peers {
    /// `calls` peers; their sockets are watched under tokens from `first` on.
    ///
    /// # Errors
    /// Those of the system.
    pub fn new(calls: usize, key: Key, registry: &Registry, first: usize) -> Result<Peers> {
        let certificate = certificate(key)?;
        let base = (now(), Time(1_700_000_000_000));
        let mut peers = Vec::with_capacity(calls);
        for call in 0..calls {
            let mut socket = UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
            registry.register(&mut socket, Token(first + call), Interest::READABLE)?;
            let address = socket.local_addr()?;
            let credentials =
                Credentials { ufrag: format!("peer{call}"), pwd: format!("the-password-of-peer-{call:08}") };
            let config = Config {
                credentials: credentials.clone(),
                addresses: vec![address],
                controlling: false,
                tie_breaker: call as u64,
                preference: 1,
            };
            let end = Transport::new(&config, &certificate, base.0, base.1)?;
            let active = call % 2 == 0;
            let peer = Peer {
                end,
                socket,
                address,
                credentials,
                active,
                relay: None,
                timer: None,
                connected: false,
            };
            peers.push(peer);
        }
        let print = certificate.fingerprint();
        let fingerprint = v1::Fingerprint { hash: print.hash, digest: print.digest };
        Ok(Peers { peers, fingerprint, first, connected: 0, timers: BTreeMap::new(), base })
    }

    fn now(&self) -> Time {
        self.base.1 + u64::try_from(self.base.0.elapsed().as_millis()).unwrap_or(0)
    }

    /// A peer as it describes itself.
    pub fn party(&self, call: usize) -> Party {
        let Peer { credentials, address, active, .. } = &self.peers[call];
        let candidate = v1::Candidate {
            foundation: "1".into(),
            component: 1,
            priority: 126 << 24 | 65_535 << 8 | 255,
            address: address.to_string(),
            kind: v1::CandidateKind::Host.into(),
            ..Default::default()
        };
        let ice = v1::Ice {
            ufrag: credentials.ufrag.clone(),
            pwd: credentials.pwd.clone(),
            candidates: vec![candidate],
            ..Default::default()
        };
        Party::Web { ice, fingerprint: self.fingerprint.clone(), active: *active }
    }

    /// A peer learns of the relay's end.
    ///
    /// # Errors
    /// The relay's description makes no sense.
    pub fn meet(&mut self, call: usize, local: &Local) -> Result<()> {
        let now = self.now();
        let peer = &mut self.peers[call];
        let ice = local.ice.clone().context("an end without ICE")?;
        let ice = Ice::try_from(ice).map_err(|error| anyhow::anyhow!("{}: {}", error.field, error.why))?;
        let print = local.fingerprint.clone().context("an end without fingerprint")?;
        peer.relay = ice.candidates.first().map(|candidate| candidate.address);
        let setup = if peer.active { Setup::Passive } else { Setup::Active };
        let dtls = Dtls { fingerprints: vec![print.into()], setup };
        peer.end.remote(&ice, &dtls, now)?;
        self.follow(call);
        Ok(())
    }

    /// Sends what a peer has to send, and notes when it wants to be woken.
    fn follow(&mut self, call: usize) {
        let peer = &mut self.peers[call];
        while let Some(datagram) = peer.end.poll_transmit() {
            // Lost is as good as late.
            let _ = peer.socket.send_to(&datagram.octets, datagram.pair.remote);
        }
        if !peer.connected && peer.end.pair().is_some() {
            peer.connected = true;
            self.connected += 1;
        }
        let timer = peer.end.deadline();
        if timer != peer.timer {
            if let Some(at) = peer.timer {
                self.timers.remove(&(at, call));
            }
            if let Some(at) = timer {
                self.timers.insert((at, call), ());
            }
            peer.timer = timer;
        }
    }

    fn tick(&mut self) {
        let now = self.now();
        while let Some(((at, call), ())) = self.timers.first_key_value()
            && *at <= now
        {
            let (at, call) = (*at, *call);
            self.timers.remove(&(at, call));
            self.peers[call].timer = None;
            self.peers[call].end.tick(now);
            self.follow(call);
            if self.peers[call].timer.is_some_and(|at| at <= now) {
                // Never now: it would be woken for ever.
                self.timers.remove(&(self.peers[call].timer.unwrap_or(at), call));
                self.timers.insert((now + 1, call), ());
                self.peers[call].timer = Some(now + 1);
            }
        }
    }

    /// Runs until the first `wanted` of them have keys and a path.
    ///
    /// # Errors
    /// Not within [`PATIENCE`].
    pub fn run(&mut self, poll: &mut Poll, events: &mut Events, wanted: usize) -> Result<()> {
        let began = now();
        while self.connected < wanted {
            ensure!(began.elapsed() < PATIENCE, "{} of {wanted} have one", self.connected);
            self.turn(poll, events);
        }
        Ok(())
    }

    /// Runs for so long.
    pub fn rest(&mut self, poll: &mut Poll, events: &mut Events, time: Duration) {
        let began = now();
        while began.elapsed() < time {
            self.turn(poll, events);
        }
    }

    /// Takes what has come within a millisecond, and what is due.
    fn turn(&mut self, poll: &mut Poll, events: &mut Events) {
        let mut buffer = [0u8; 2_048];
        let _ = poll.poll(events, Some(Duration::from_millis(1)));
        let tokens: Vec<usize> = events.iter().map(|event| event.token().0).collect();
        for token in tokens {
            if let Some(call) = token.checked_sub(self.first) {
                self.hear(call, &mut buffer, |_| {});
            }
        }
        self.tick();
    }

    /// Protects and sends a packet; false when it may not or cannot be sent.
    pub fn say(&mut self, call: usize, buffer: &mut [u8], length: usize) -> bool {
        let peer = &mut self.peers[call];
        let Some((length, pair)) = peer.end.protect(buffer, length) else { return false };
        peer.socket.send_to(&buffer[..length], pair.remote).is_ok()
    }

    /// Takes what came at a peer's socket: each RTP packet opened, or `None` for one that cannot be.
    pub fn hear(&mut self, call: usize, buffer: &mut [u8], mut with: impl FnMut(Option<&[u8]>)) {
        let now = self.now();
        let Some(peer) = self.peers.get_mut(call) else { return };
        let mut other = false;
        while let Ok((length, from)) = peer.socket.recv_from(buffer) {
            let media = buffer[0] >> 6 == 2 && !is_report(&buffer[..length]);
            match peer.end.receive(&mut buffer[..length], from, peer.address, now) {
                Received::Rtp(length) => with(Some(&buffer[..length])),
                Received::Nothing if media => with(None),
                Received::Rtcp(_) | Received::Nothing => other = true,
            }
        }
        if other {
            self.follow(call);
        }
        self.tick();
    }
}
