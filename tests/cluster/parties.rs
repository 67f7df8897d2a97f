//! Phones and clients on one thread: each sends a packet every 100 ms, and notes when it last heard the other.

use relay::dtls::Certificate;
use relay::ice::{Config, Credentials, PREFERENCE, priority};
use relay::packet;
use relay::srtp::ROOM;
use relay::webrtc::{Received, Transport};
use signal::Time;
use signal::media::{Candidate, CandidateKind, Dtls, Fingerprint, Ice};
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Orders that the edges have received.
pub enum Order {
    /// The client's peer is there.
    Meet(usize, Ice, Dtls),
    /// A further address of the client's peer.
    Trickle(usize, Ice),
    /// The phone's peer is there.
    Phone(usize, SocketAddr),
}

/// Sound that one party has heard.
#[derive(Clone, Copy)]
pub struct Hearing {
    pub packets: u64,
    pub last: Instant,
    /// The longest silence since [`Parties::begin`].
    pub gap: Duration,
    /// Packets that never came since then, or came late.
    pub lost: u64,
    /// The number that is to come next.
    next: Option<u16>,
}

/// All of them. Places: the phone of call `n` is `2 n`, its client `2 n + 1`.
pub struct Parties {
    pub orders: Sender<Order>,
    pub phones: Vec<SocketAddr>,
    pub clients: Vec<(Ice, Fingerprint)>,
    heard: Arc<Mutex<Vec<Hearing>>>,
}

struct Call {
    phone: UdpSocket,
    relay: Option<SocketAddr>,
    client: UdpSocket,
    address: SocketAddr,
    end: Transport,
    met: bool,
}

impl Parties {
    pub fn start(calls: usize) -> Parties {
        let certificate = Certificate::generate(Time(runtime::clock::now_ms())).unwrap();
        let started = runtime::clock::instant();
        let (orders, given) = channel();
        let nothing = Hearing { packets: 0, last: started, gap: Duration::ZERO, lost: 0, next: None };
        let heard = Arc::new(Mutex::new(vec![nothing; 2 * calls]));
        let (mut all, mut phones, mut clients) = (vec![], vec![], vec![]);
        for call in 0..calls {
            let socket = || {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.set_nonblocking(true).unwrap();
                socket
            };
            let (phone, client) = (socket(), socket());
            let address = client.local_addr().unwrap();
            let credentials =
                Credentials { ufrag: format!("user{call}"), pwd: format!("password-{call:0>20}") };
            let candidate = Candidate {
                foundation: "1".into(),
                component: 1,
                priority: priority(PREFERENCE),
                address,
                kind: CandidateKind::Host,
                related: None,
                generation: 0,
            };
            let ice = Ice {
                ufrag: credentials.ufrag.clone(),
                pwd: credentials.pwd.clone(),
                candidates: vec![candidate],
                ..Ice::default()
            };
            let config = Config {
                credentials,
                addresses: vec![address],
                controlling: false,
                tie_breaker: call as u64,
                preference: PREFERENCE,
            };
            let end = Transport::new(&config, &certificate, started, Time(0)).unwrap();
            phones.push(phone.local_addr().unwrap());
            clients.push((ice, certificate.fingerprint()));
            all.push(Call { phone, relay: None, client, address, end, met: false });
        }
        let noted = heard.clone();
        std::thread::spawn(move || run(all, started, &given, &noted));
        Parties { orders, phones, clients, heard }
    }

    /// Silences count from now on.
    pub fn begin(&self) {
        for party in self.heard.lock().unwrap().iter_mut() {
            (party.gap, party.lost) = (Duration::ZERO, 0);
        }
    }

    /// Sound that each has heard, with the silence that goes on.
    pub fn heard(&self) -> Vec<Hearing> {
        let heard = self.heard.lock().unwrap().clone();
        heard.into_iter().map(|h| Hearing { gap: h.gap.max(h.last.elapsed()), ..h }).collect()
    }

    /// Returns true if it comes to be so in time.
    pub fn becomes(&self, within: Duration, what: impl Fn(&[Hearing]) -> bool) -> bool {
        let begun = runtime::clock::instant();
        while !what(&self.heard()) {
            if begun.elapsed() > within {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    pub fn until(&self, within: Duration, what: impl Fn(&[Hearing]) -> bool) {
        if !self.becomes(within, what) {
            let heard = self.heard();
            let deaf = heard.iter().filter(|h| h.packets == 0).count();
            panic!("{deaf} of {} parties hear nothing", heard.len());
        }
    }
}

fn run(mut calls: Vec<Call>, started: Instant, given: &Receiver<Order>, heard: &Mutex<Vec<Hearing>>) {
    let (mut buffer, mut seq) = ([0u8; 2_048], 0u16);
    let mut next = started;
    loop {
        let now = Time(started.elapsed().as_millis() as u64);
        while let Ok(order) = given.try_recv() {
            match order {
                Order::Phone(call, address) => calls[call].relay = Some(address),
                Order::Meet(call, ice, dtls) => calls[call].end.remote(&ice, &dtls, now).unwrap(),
                Order::Trickle(call, ice) => {
                    ice.candidates.iter().for_each(|c| calls[call].end.candidate(c, now));
                }
            }
        }
        let speaks = runtime::clock::instant() >= next;
        if speaks {
            (next, seq) = (next + Duration::from_millis(100), seq.wrapping_add(1));
        }
        let mut came = vec![];
        for (place, call) in calls.iter_mut().enumerate() {
            while let Ok((length, _)) = call.phone.recv_from(&mut buffer) {
                came.extend(heard_of(&buffer[..length], 1, place).map(|number| (2 * place, number)));
            }
            while let Ok((length, from)) = call.client.recv_from(&mut buffer) {
                if let Received::Rtp(length) =
                    call.end.receive(&mut buffer[..length], from, call.address, now)
                    && let Some(number) = heard_of(&buffer[..length], 0, place)
                {
                    came.push((2 * place + 1, number));
                }
            }
            if call.end.deadline().is_some_and(|at| at <= now) {
                call.end.tick(now);
            }
            while let Some(datagram) = call.end.poll_transmit() {
                let _ = call.client.send_to(&datagram.octets, datagram.pair.remote);
            }
            while call.end.poll_event().is_some() {
                call.met = true;
            }
            if speaks {
                if let Some(relay) = call.relay {
                    let _ = call.phone.send_to(&speech(0, place, seq), relay);
                }
                let mut wire = speech(1, place, seq);
                let length = wire.len();
                wire.resize(length + ROOM, 0);
                if let Some((length, pair)) = call.end.protect(&mut wire, length) {
                    let _ = call.client.send_to(&wire[..length], pair.remote);
                }
            }
        }
        let mut heard = heard.lock().unwrap();
        let at = runtime::clock::instant();
        for (place, number) in came {
            let party = &mut heard[place];
            let gap = at.duration_since(party.last);
            // One that comes late or twice counts as one that did not come.
            party.lost += match number.wrapping_sub(party.next.unwrap_or(number)) {
                ahead @ 0..0x8000 => u64::from(ahead),
                _ => 1,
            };
            party.next = Some(number.wrapping_add(1));
            (party.packets, party.last, party.gap) = (party.packets + 1, at, party.gap.max(gap));
        }
        drop(heard);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The number of a packet, if this side of this call has sent it.
fn heard_of(packet: &[u8], side: usize, call: usize) -> Option<u16> {
    let payload = packet.get(packet::rtp(packet)?.header..)?;
    let (sound_of, number) = payload.split_at_checked(158)?;
    (*sound_of == sound(side, call)).then_some(u16::from_be_bytes(number.try_into().ok()?))
}

/// 20 ms of G.711 that only this side of this call sends, but for its number.
fn sound(side: usize, call: usize) -> Vec<u8> {
    (0..158).map(|n| (n ^ call ^ (call >> 8) << 4 ^ side << 7) as u8).collect()
}

fn speech(side: usize, call: usize, seq: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(seq.to_be_bytes());
    packet.extend((u32::from(seq) * 800).to_be_bytes());
    packet.extend(((call * 2 + side) as u32 + 1_000).to_be_bytes());
    packet.extend(sound(side, call));
    packet.extend(seq.to_be_bytes());
    packet
}
