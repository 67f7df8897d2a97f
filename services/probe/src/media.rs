//! Sound of one end: a socket, the way to the relay (plain, or ICE and DTLS by the relay's own core), a tone that is said, an ear.
//!
//! One rule: an end runs by itself from [`End::plain`] or [`End::secure`] on, and is gone with its value. What became of it is in
//! [`End::state`].

use crate::codec::Codec;
use crate::random;
use crate::reception::Reception;
use crate::report::Fault;
use crate::tone::{Ear, Tone, Windows};
use relay::dtls::Certificate;
use relay::ice::{Config, Credentials, PREFERENCE};
use relay::packet;
use relay::srtp::ROOM;
use relay::webrtc::{Received, Transport, TransportEvent};
use signal::Time;
use signal::media::{Dtls, Fingerprint, Ice};
use sound::codec::{Decoder, Encoder, LONGEST};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

/// Time between two packets.
const FRAME: Duration = Duration::from_millis(20);
/// Ticks of the clock of the transport at which the end began: any number will do.
const START: Time = Time(1_700_000_000_000);
/// Octets of a datagram that are read.
const DATAGRAM: usize = 2_048;
/// Octets of an RTP header without sources and extension (RFC 3550 §5.1).
const HEADER: usize = 12;
/// Orders that may wait.
const ORDERS: usize = 8;

/// Sound to say and to wait for.
#[derive(Clone, Copy, Debug)]
pub struct Talk {
    /// Codec that is said and heard.
    pub codec: Codec,
    /// Tone that is said, Hz.
    pub say: f64,
    /// Tone that is waited for, Hz.
    pub hear: f64,
}

enum Order {
    Peer(SocketAddr),
    Remote(Box<(Ice, Dtls)>),
    Talk(Talk),
}

/// State of an end.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// True once packets may be sent: the peer's address is known, or path and keys are there.
    pub connected: bool,
    /// Verdicts of the ear.
    pub windows: Windows,
    /// Packets that should have come.
    pub expected: u64,
    /// Packets that came.
    pub received: u64,
    /// Loss in parts per million.
    pub loss_ppm: u64,
    /// Jitter in microseconds.
    pub jitter_us: u64,
    /// Packets of other codecs, forged or cut short.
    pub strange: u64,
    /// Why no sound can be exchanged any more.
    pub fault: Option<&'static str>,
}

/// One end.
#[derive(Debug)]
pub struct End {
    /// Address of its socket.
    pub address: SocketAddr,
    /// Source of its packets.
    pub ssrc: u32,
    /// State of it, as it changes.
    pub state: watch::Receiver<State>,
    orders: mpsc::Sender<Order>,
    task: tokio::task::JoinHandle<()>,
}

/// Description of a secure end: what a peer has to know of it.
#[derive(Clone, Debug)]
pub struct Local {
    /// ICE credentials.
    pub credentials: Credentials,
    /// Fingerprint of its certificate.
    pub fingerprint: Fingerprint,
}

impl End {
    /// Opens an end that speaks RTP in the clear.
    ///
    /// # Errors
    /// There is no such address here.
    pub async fn plain(ip: IpAddr) -> Result<End, Fault> {
        let (socket, address) = bind(ip).await?;
        End::open(socket, address, Way::Plain(None))
    }

    /// Opens an end that speaks ICE and DTLS-SRTP. `controlling`: it offers (RFC 8445 §6.1.1).
    ///
    /// # Errors
    /// There is no such address here, or the kernel gives no random octets.
    pub async fn secure(ip: IpAddr, controlling: bool) -> Result<(End, Local), Fault> {
        let (socket, address) = bind(ip).await?;
        let credentials = Credentials { ufrag: random::word::<4>()?, pwd: random::word::<16>()? };
        let certificate = Certificate::generate(START).map_err(library)?;
        let config = Config {
            credentials: credentials.clone(),
            addresses: vec![address],
            controlling,
            tie_breaker: u64::from_be_bytes(random::octets()?),
            preference: PREFERENCE,
        };
        let transport =
            Transport::new(&config, &certificate, Instant::now().into_std(), START).map_err(library)?;
        let local = Local { credentials, fingerprint: certificate.fingerprint() };
        Ok((End::open(socket, address, Way::Secure(Box::new(transport)))?, local))
    }

    fn open(socket: UdpSocket, address: SocketAddr, way: Way) -> Result<End, Fault> {
        let (orders, inbox) = mpsc::channel(ORDERS);
        let (tell, state) = watch::channel(State::default());
        let ssrc = u32::from_be_bytes(random::octets()?);
        let voice = Voice { ssrc, seq: u16::from_be_bytes(random::octets()?), timestamp: 0, talk: None };
        let runner = Runner { socket, address, way, began: Instant::now(), voice, ears: None, tell };
        let task = tokio::spawn(runner.run(inbox));
        Ok(End { address, ssrc, state, orders, task })
    }

    /// Names the address that RTP in the clear goes to.
    pub async fn peer(&self, address: SocketAddr) {
        // An end that is gone says so in its state.
        let _ = self.orders.send(Order::Peer(address)).await;
    }

    /// Names the peer's ICE and DTLS.
    pub async fn remote(&self, ice: Ice, dtls: Dtls) {
        let _ = self.orders.send(Order::Remote(Box::new((ice, dtls)))).await;
    }

    /// Begins to talk, as soon as there is a way, and to listen.
    pub async fn talk(&self, talk: Talk) {
        let _ = self.orders.send(Order::Talk(talk)).await;
    }

    /// Waits until its state is as wanted.
    ///
    /// # Errors
    /// Sound cannot be exchanged any more.
    pub async fn wait(&mut self, wanted: impl Fn(&State) -> bool) -> Result<State, Fault> {
        let found = self.state.wait_for(|state| state.fault.is_some() || wanted(state)).await;
        let state = found.map(|state| state.clone()).unwrap_or_default();
        match state.fault {
            None if wanted(&state) => Ok(state),
            fault => Err(Fault::new(
                fault.unwrap_or("the end has stopped"),
                "look at the call's media: `tandem call ID`, and at the relay's log",
            )),
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn bind(ip: IpAddr) -> Result<(UdpSocket, SocketAddr), Fault> {
    let opened = UdpSocket::bind((ip, 0)).await;
    opened.and_then(|socket| socket.local_addr().map(|address| (socket, address))).map_err(|error| {
        Fault::new(
            format!("no socket for media at {ip}: {error}"),
            "give an address of this machine with --media",
        )
    })
}

fn library(error: impl std::fmt::Display) -> Fault {
    Fault::new(format!("no end of ICE and DTLS: {error}"), "give an address of an interface with --media")
}

enum Way {
    Plain(Option<SocketAddr>),
    Secure(Box<Transport>),
}

/// Numbers of the stream that is sent.
struct Voice {
    ssrc: u32,
    seq: u16,
    timestamp: u32,
    talk: Option<(Codec, Tone, Encoder)>,
}

/// Parts of an end that listen.
struct Ears {
    codec: Codec,
    decoder: Decoder,
    ear: Ear,
    reception: Reception,
}

struct Runner {
    socket: UdpSocket,
    address: SocketAddr,
    way: Way,
    began: Instant,
    voice: Voice,
    ears: Option<Ears>,
    tell: watch::Sender<State>,
}

impl Runner {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut ticks = tokio::time::interval(FRAME);
        // Behind its time it says what is missing at once: the hearer's buffer is for that.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut buffer = vec![0; DATAGRAM];
        loop {
            let due = match &mut self.way {
                Way::Secure(transport) => transport.deadline(),
                Way::Plain(_) => None,
            };
            let due = due.map(|at| self.began + Duration::from_millis(at.since(START)));
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => {
                    // An ICMP error is that of a packet that was sent before the peer listened.
                    let Ok((length, from)) = received else { continue };
                    self.hear(&mut buffer[..length], from);
                }
                _ = ticks.tick() => self.say().await,
                () = tokio::time::sleep_until(due.unwrap_or(self.began)), if due.is_some() => {
                    let now = self.now();
                    if let Way::Secure(transport) = &mut self.way {
                        transport.tick(now);
                    }
                    // A deadline that stays in the past must not spin.
                    tokio::task::yield_now().await;
                }
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return,
                },
            }
            self.follow().await;
        }
    }

    fn now(&self) -> Time {
        START + u64::try_from(self.began.elapsed().as_millis()).unwrap_or(0)
    }

    fn obey(&mut self, order: Order) {
        let now = self.now();
        match (order, &mut self.way) {
            (Order::Peer(address), Way::Plain(peer)) => *peer = Some(address),
            (Order::Remote(remote), Way::Secure(transport)) => {
                if transport.remote(&remote.0, &remote.1, now).is_err() {
                    self.fail("the relay's ICE or DTLS description makes no sense");
                }
            }
            (Order::Talk(talk), _) => self.begin(talk),
            (Order::Peer(_) | Order::Remote(_), _) => {}
        }
    }

    fn begin(&mut self, Talk { codec, say, hear }: Talk) {
        let rate = codec.kind.rate();
        let (Ok(encoder), Ok(decoder)) = (Encoder::new(codec.kind, rate, 5), Decoder::new(codec.kind, rate))
        else {
            return self.fail("no state for a codec could be made");
        };
        self.voice.talk = Some((codec, Tone::new(say, rate), encoder));
        let (ear, reception) = (Ear::new(hear, rate), Reception::default());
        self.ears = Some(Ears { codec, decoder, ear, reception });
    }

    fn fail(&mut self, fault: &'static str) {
        self.tell.send_modify(|state| state.fault = Some(fault));
    }

    /// Sends what ICE and DTLS have to send, and tells what became of them.
    async fn follow(&mut self) {
        let mut events = vec![];
        let connected = match &mut self.way {
            Way::Plain(peer) => peer.is_some(),
            Way::Secure(transport) => {
                while let Some(datagram) = transport.poll_transmit() {
                    // Lost is as good as late.
                    let _ = self.socket.send_to(&datagram.octets, datagram.pair.remote).await;
                }
                events.extend(std::iter::from_fn(|| transport.poll_event()));
                transport.pair().is_some()
            }
        };
        for event in events {
            match event {
                TransportEvent::Insecure => {
                    self.fail("the relay's certificate is not the one that was signalled")
                }
                TransportEvent::Unreachable => {
                    self.fail("no path to the relay was found by ICE, or no DTLS over it")
                }
                TransportEvent::Closed => self.fail("the relay closed the DTLS association"),
                TransportEvent::Connected { .. }
                | TransportEvent::Disconnected
                | TransportEvent::Restored => {}
            }
        }
        self.tell.send_if_modified(|state| {
            let changed = state.connected != connected;
            state.connected = connected;
            changed
        });
    }

    /// Sends the next 20 ms of the tone, if there is a way.
    async fn say(&mut self) {
        let Some((codec, tone, encoder)) = &mut self.voice.talk else { return };
        let mut frame = vec![0; codec.frame()];
        tone.fill(&mut frame);
        let mut packet = vec![0; HEADER + sound::PAYLOAD + ROOM];
        let length = encoder.encode(&frame, &mut packet[HEADER..HEADER + sound::PAYLOAD]);
        packet[0] = 0x80;
        let (pt, marker) = (codec.pt, self.voice.timestamp == 0);
        let (seq, timestamp, ssrc) = (self.voice.seq, self.voice.timestamp, self.voice.ssrc);
        packet::rewrite(&mut packet, &packet::Rtp { pt, marker, seq, timestamp, ssrc, header: HEADER });
        let length = HEADER + length;
        let (length, to) = match &mut self.way {
            Way::Plain(Some(peer)) => (length, *peer),
            Way::Secure(transport) => match transport.protect(&mut packet, length) {
                Some((length, pair)) => (length, pair.remote),
                None => return,
            },
            Way::Plain(None) => return,
        };
        self.voice.seq = self.voice.seq.wrapping_add(1);
        self.voice.timestamp = self.voice.timestamp.wrapping_add(codec.kind.clock() / 50);
        let _ = self.socket.send_to(&packet[..length], to).await;
    }

    fn hear(&mut self, datagram: &mut [u8], from: SocketAddr) {
        let now = self.now();
        let length = match &mut self.way {
            Way::Plain(_) if packet::classify(datagram) == packet::Class::Rtp => datagram.len(),
            Way::Plain(_) => return,
            Way::Secure(transport) => match transport.receive(datagram, from, self.address, now) {
                Received::Rtp(length) => length,
                Received::Rtcp(_) | Received::Nothing => return,
            },
        };
        let at_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let Some(ears) = &mut self.ears else { return };
        let packet = &datagram[..length];
        let read =
            packet::rtp(packet).and_then(|rtp| packet::payload(packet, &rtp).map(|payload| (rtp, payload)));
        let taken = match read {
            Some((rtp, payload)) if rtp.pt == ears.codec.pt => {
                ears.reception.packet(&rtp, ears.codec.kind.clock(), at_us);
                let mut samples = [0; LONGEST];
                let count = ears.decoder.decode(payload, &mut samples);
                ears.ear.listen(&samples[..count.min(LONGEST)]);
                true
            }
            Some(_) | None => false,
        };
        let (windows, reception) = (ears.ear.heard(), ears.reception.clone());
        self.tell.send_modify(|state| {
            state.strange += u64::from(!taken);
            state.windows = windows;
            (state.expected, state.received) = (reception.expected(), reception.received());
            (state.loss_ppm, state.jitter_us) = (reception.loss_ppm(), reception.jitter_us());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signal::media::{Candidate, CandidateKind, Setup};

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const SOON: Duration = Duration::from_secs(10);

    fn talk(name: &str, say: f64, hear: f64) -> Talk {
        Talk { codec: Codec::named(name).unwrap(), say, hear }
    }

    async fn heard(end: &mut End) -> State {
        tokio::time::timeout(SOON, end.wait(|state| state.windows.good >= 3)).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn two_plain_ends_hear_each_other_and_only_their_tones() {
        let (mut a, b) = (End::plain(HERE).await.unwrap(), End::plain(HERE).await.unwrap());
        a.peer(b.address).await;
        b.peer(a.address).await;
        a.talk(talk("PCMU", 440.0, 660.0)).await;
        // It waits for a tone that nobody says.
        b.talk(talk("PCMU", 660.0, 880.0)).await;
        let state = heard(&mut a).await;
        assert!(state.connected && state.received > 10 && state.strange == 0, "{state:?}");
        let deaf = b.state.borrow().clone();
        assert!(deaf.received > 10 && deaf.windows.good == 0, "{deaf:?}");
    }

    #[tokio::test]
    async fn two_secure_ends_meet_and_hear_each_other() {
        let (mut a, of_a) = End::secure(HERE, true).await.unwrap();
        let (mut b, of_b) = End::secure(HERE, false).await.unwrap();
        let describe = |local: &Local, address, setup| {
            let candidate = Candidate {
                foundation: "1".into(),
                component: 1,
                priority: relay::ice::priority(PREFERENCE),
                address,
                kind: CandidateKind::Host,
                related: None,
                generation: 0,
            };
            let Credentials { ufrag, pwd } = local.credentials.clone();
            let ice = Ice { ufrag, pwd, candidates: vec![candidate], lite: false, trickle: false };
            (ice, Dtls { fingerprints: vec![local.fingerprint.clone()], setup })
        };
        let (ice, dtls) = describe(&of_b, b.address, Setup::Active);
        a.remote(ice, dtls).await;
        let (ice, dtls) = describe(&of_a, a.address, Setup::Passive);
        b.remote(ice, dtls).await;
        a.talk(talk("opus", 440.0, 660.0)).await;
        b.talk(talk("opus", 660.0, 440.0)).await;
        heard(&mut a).await;
        heard(&mut b).await;
    }
}
