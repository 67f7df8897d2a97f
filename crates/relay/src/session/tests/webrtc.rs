//! A plain phone and a WebRTC client, on virtual time.

use super::*;
use crate::ice::{Config, Credentials};
use crate::webrtc::{Received, TransportEvent};
use signal::media::{Candidate, CandidateKind, Dtls, Fingerprint, Ice, Setup};

/// A browser: an end of its own behind one socket.
pub(super) struct Client {
    pub end: crate::webrtc::Transport,
    pub address: SocketAddr,
    certificate: Certificate,
    ufrag: String,
    pub events: Vec<TransportEvent>,
    pub heard: Vec<(Received, Vec<u8>)>,
}

pub(super) fn host(address: SocketAddr) -> Candidate {
    Candidate {
        foundation: "1".into(),
        component: 1,
        priority: crate::ice::priority(crate::ice::PREFERENCE),
        address,
        kind: CandidateKind::Host,
        related: None,
        generation: 0,
    }
}

impl Client {
    #[allow(clippy::disallowed_methods, reason = "a base for the standard clock; it is not looked at again")]
    pub fn new(name: &str, address: &str, controlling: bool) -> Client {
        let certificate = Certificate::generate(Time(0)).unwrap();
        let credentials = Credentials { ufrag: name.into(), pwd: name.repeat(8) };
        let address = at(address);
        let preference = crate::ice::PREFERENCE;
        let config =
            Config { credentials, addresses: vec![address], controlling, tie_breaker: 3, preference };
        let end = crate::webrtc::Transport::new(&config, &certificate, Instant::now(), Time(0)).unwrap();
        Client { end, address, certificate, ufrag: name.into(), events: vec![], heard: vec![] }
    }

    /// Takes the description of the relay's endpoint.
    pub fn meets(&mut self, worker: &Worker, end: EndpointId, setup: Setup, now: Time) {
        let local = &worker.endpoints.get(end.index).unwrap().local;
        let ice = Ice {
            ufrag: local.ufrag.clone(),
            pwd: local.pwd.clone(),
            candidates: std::iter::once(shared()).chain(worker.other).map(host).collect(),
            ..Ice::default()
        };
        let fingerprints = vec![worker.host.certificate.fingerprint()];
        self.end.remote(&ice, &Dtls { fingerprints, setup }, now).unwrap();
    }

    /// Its own description.
    pub fn remote(&self, codecs: &[(u8, &str)]) -> Remote {
        let ice = Ice {
            ufrag: self.ufrag.clone(),
            pwd: self.ufrag.repeat(8),
            candidates: vec![host(self.address)],
            ..Ice::default()
        };
        let dtls = Dtls { fingerprints: vec![self.certificate.fingerprint()], setup: Setup::Active };
        Remote {
            mux: true,
            ice: Some(ice),
            dtls: Some(dtls),
            ours: true,
            ..super::remote(self.address, codecs)
        }
    }
}

/// The wire between a worker and its clients.
pub(super) struct Net {
    pub now: Time,
    pub worker: Worker,
    /// The worker's ICE port.
    pub address: SocketAddr,
    pub clients: Vec<Client>,
}

impl Net {
    /// Delivers what is on its way, as long as anything moves within so many milliseconds.
    pub fn run(&mut self, ms: u64) {
        let until = self.now + ms;
        while self.now < until {
            loop {
                let mut moved = false;
                while let Some(datagram) = self.worker.poll_datagram() {
                    moved = true;
                    let to = self.clients.iter_mut().find(|c| c.address == datagram.pair.remote);
                    let Some(client) = to else { continue };
                    let mut octets = datagram.octets;
                    client.end.receive(&mut octets, datagram.pair.local, client.address, self.now);
                }
                for at in 0..self.clients.len() {
                    while let Some(datagram) = self.clients[at].end.poll_transmit() {
                        moved = true;
                        let from = self.clients[at].address;
                        let mut octets = datagram.octets;
                        let length = octets.len();
                        octets.resize(length + crate::srtp::ROOM, 0);
                        let arrival = Arrival(self.now.0 * 1_000);
                        self.worker.handle_datagram(Socket::Shared, from, arrival, &mut octets, length);
                    }
                    let client = &mut self.clients[at];
                    client.events.extend(std::iter::from_fn(|| client.end.poll_event()));
                }
                if !moved {
                    break;
                }
            }
            self.now = self.now + 5;
            self.worker.handle_timeout(self.now);
            for client in &mut self.clients {
                if client.end.deadline().is_some_and(|at| at <= self.now) {
                    client.end.tick(self.now);
                }
            }
        }
    }

    /// A packet of the worker's goes where it is sent; clients decrypt it.
    pub fn give(
        &mut self,
        socket: Socket,
        from: SocketAddr,
        packet: &[u8],
    ) -> Option<(Socket, SocketAddr, Vec<u8>)> {
        let out = super::give(&mut self.worker, socket, from, self.now.0, packet)?;
        if let Some(client) = self.clients.iter_mut().find(|c| c.address == out.1) {
            let mut wire = out.2.clone();
            let ours = self.worker.facing(client.address);
            let received = client.end.receive(&mut wire, ours, client.address, self.now);
            let (Received::Rtp(length) | Received::Rtcp(length)) = received else { return Some(out) };
            wire.truncate(length);
            client.heard.push((received, wire));
        }
        Some(out)
    }

    /// Packets that the endpoints send by themselves; those to clients decrypted.
    pub(super) fn departures(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut said = vec![];
        for (_, to, mut wire) in super::departures(&mut self.worker, self.now.0) {
            if let Some(client) = self.clients.iter_mut().find(|client| client.address == to) {
                let read = client.end.receive(&mut wire, shared(), client.address, self.now);
                let (Received::Rtp(length) | Received::Rtcp(length)) = read else {
                    panic!("a client cannot read what it is sent: {:?}", client.end.dropped())
                };
                wire.truncate(length);
            }
            said.push((to, wire));
        }
        said
    }

    /// A client speaks; gives what leaves at the other end.
    pub fn say(&mut self, client: usize, packet: &[u8], rtcp: bool) -> Option<(Socket, SocketAddr, Vec<u8>)> {
        let mut wire = packet.to_vec();
        wire.resize(packet.len() + crate::srtp::ROOM, 0);
        let Client { end, address, .. } = &mut self.clients[client];
        let protected = if rtcp {
            end.protect_rtcp(&mut wire, packet.len())
        } else {
            end.protect(&mut wire, packet.len())
        };
        wire.truncate(protected.unwrap().0);
        let from = *address;
        self.give(Socket::Shared, from, &wire)
    }

    pub fn events(&mut self) -> Vec<(u8, Event)> {
        std::iter::from_fn(|| self.worker.poll_event()).map(|r| (r.leg.0, r.event)).collect()
    }
}

/// A call from a phone (leg 0) to a client (leg 1) that is not connected yet.
pub(super) fn begun() -> (Net, EndpointId, EndpointId) {
    begun_with(worker(Limits::default()), "198.51.100.7:7000")
}

fn begun_with(mut worker: Worker, client: &str) -> (Net, EndpointId, EndpointId) {
    let ids = allocate(&mut worker, "call", 1);
    worker
        .connect("call", 0, 0, &remote(phone(), &[(0, "PCMU"), (101, "telephone-event")]), Time(0))
        .unwrap();
    let mut client = Client::new("browser", client, false);
    client.meets(&worker, ids[1], Setup::Passive, Time(0));
    (Net { now: Time(0), worker, address: shared(), clients: vec![client] }, ids[0], ids[1])
}

pub(super) fn connected() -> (Net, EndpointId, EndpointId) {
    connect(begun())
}

fn connect((mut net, a, b): (Net, EndpointId, EndpointId)) -> (Net, EndpointId, EndpointId) {
    let mut facts = net.clients[0].remote(&[(0, "PCMU"), (96, "telephone-event")]);
    facts.dtls.as_mut().unwrap().setup = Setup::Active;
    net.worker.connect("call", 1, 0, &facts, Time(0)).unwrap();
    net.run(500);
    assert_eq!(net.events(), [(1, Event::Connected)]);
    (net, a, b)
}

/// R-RTP-13: the client finds the relay in its own family, whatever the phone's is.
#[test]
fn families_may_differ() {
    for client in ["198.51.100.7:7000", "[2001:db8::7]:7000"] {
        let worker = worker(Limits::default()).with_other(at("[2001:db8::1]:30000"));
        let (mut net, a, _) = connect(begun_with(worker, client));
        for seq in 0..20 {
            let (_, to, _) = net.give(Socket::Rtp(a), phone(), &rtp(0, seq, 7)).unwrap();
            assert_eq!(to, at(client));
            assert_eq!(net.clients[0].heard.pop().unwrap().1, rtp(0, seq, 7));
            let back = rtp(0, 900 + seq, 9);
            assert_eq!(net.say(0, &back, false), Some((Socket::Rtp(a), phone(), back)));
        }
    }
}

#[test]
fn a_phone_and_a_client_hear_each_other_and_the_plain_ports_are_given_back() {
    let (mut net, a, b) = connected();
    assert_eq!(net.worker.poll_closed(), Some(b));
    assert_eq!(net.worker.poll_closed(), None);
    for seq in 0..20u16 {
        let packet = rtp(101, seq, 7);
        let (socket, to, wire) = net.give(Socket::Rtp(a), phone(), &packet).unwrap();
        assert_eq!((socket, to), (Socket::Shared, at("198.51.100.7:7000")));
        assert_ne!(wire[12..172], packet[12..172], "protected");
        let (received, heard) = net.clients[0].heard.pop().unwrap();
        assert_eq!((received, &heard), (Received::Rtp(172), &rtp(96, seq, 7)), "with the client's number");
        assert_eq!(
            net.say(0, &rtp(96, 900 + seq, 9), false),
            Some((Socket::Rtp(a), phone(), rtp(101, 900 + seq, 9)))
        );
    }
    let statistics = net.worker.statistics("call").unwrap();
    assert_eq!(
        (statistics[1].form, statistics[1].packets_in, statistics[1].packets_out),
        (Form::Webrtc, 20, 20)
    );
    assert_eq!((statistics[1].peer, statistics[1].dropped), (Some(at("198.51.100.7:7000")), 0));
    assert!(statistics[1].suite.is_some() && statistics[0].suite.is_none());
}

/// A peer answers our check while it waits for our description; its own checks come later.
#[test]
fn an_answer_may_be_the_first_thing_that_comes_from_an_address() {
    let (mut net, _, b) = begun();
    let facts = net.clients[0].remote(&[(0, "PCMU")]);
    net.worker.connect("call", 1, 0, &facts, Time(0)).unwrap();
    let Net { worker, clients, .. } = &mut net;
    let check = worker.poll_datagram().unwrap();
    let client = &mut clients[0];
    client.end.receive(&mut check.octets.clone(), shared(), client.address, Time(0));
    let answers = std::iter::from_fn(|| client.end.poll_transmit()).filter(|d| d.octets.starts_with(&[1, 1]));
    let mut answer = answers.map(|d| d.octets).next().unwrap();
    assert_eq!(worker.addressed(client.address, &answer), Some(b.index));
    assert_eq!(
        worker.addressed(client.address, &[128; 40]),
        None,
        "other things need an authentic check first"
    );
    let length = answer.len();
    answer.resize(length + crate::srtp::ROOM, 0);
    worker.handle_datagram(Socket::Shared, client.address, Arrival(0), &mut answer, length);
    assert_eq!(worker.addressed(client.address, &[128; 40]), Some(b.index));
}

#[test]
fn checks_and_candidates_that_come_before_the_description_are_not_lost() {
    let (mut net, ..) = begun();
    net.run(20);
    let mut facts = net.clients[0].remote(&[(0, "PCMU")]);
    let candidates = std::mem::take(&mut facts.ice.as_mut().unwrap().candidates);
    let trickled = Ice { candidates, ..Ice::default() };
    net.worker.update("call", 1, 0, (&trickled, None), net.now).unwrap();
    // The client stays silent from now on: only what was kept can lead to it.
    net.worker.connect("call", 1, 0, &facts, net.now).unwrap();
    let mut sent = vec![];
    while let Some(datagram) = net.worker.poll_datagram() {
        sent.push((datagram.pair.remote, datagram.octets[1]));
    }
    assert!(sent.contains(&(at("198.51.100.7:7000"), 1)), "a kept check was answered: {sent:?}");
    net.run(500);
    assert_eq!(net.events(), [(1, Event::Connected)]);
}

/// R-RTP-5.
#[test]
fn another_certificate_than_the_described_one_is_reported_and_gets_no_media() {
    let (mut net, a, _) = begun();
    let mut facts = net.clients[0].remote(&[(0, "PCMU")]);
    facts.dtls.as_mut().unwrap().fingerprints =
        vec![Fingerprint { hash: "sha-256".into(), digest: vec![1; 32] }];
    net.worker.connect("call", 1, 0, &facts, Time(0)).unwrap();
    net.run(500);
    assert_eq!(net.events(), [(1, Event::Insecure)]);
    assert_eq!(net.give(Socket::Rtp(a), phone(), &rtp(0, 1, 7)), None);
}

#[test]
fn a_client_that_never_answers_is_unreachable() {
    let (mut net, ..) = begun();
    let facts = net.clients[0].remote(&[(0, "PCMU")]);
    net.clients.clear();
    net.worker.connect("call", 1, 0, &facts, Time(0)).unwrap();
    net.run(31_000);
    assert_eq!(net.events(), [(1, Event::Unreachable)]);
}

#[test]
fn several_clients_share_the_port_and_strangers_reach_nobody() {
    let mut net = Net { now: Time(0), worker: worker(Limits::default()), address: shared(), clients: vec![] };
    for (name, address) in [("alice", "198.51.100.1:7000"), ("robert", "198.51.100.2:7000")] {
        let controlling = name == "alice";
        if net.clients.is_empty() {
            allocate(&mut net.worker, "call", 1);
        }
        let leg = net.clients.len() as u32;
        let index = net.worker.find("call", leg, 0).unwrap();
        let end = net.worker.endpoints.get(index).unwrap().id;
        let mut client = Client::new(name, address, controlling);
        client.meets(&net.worker, end, Setup::Passive, Time(0));
        let facts = Remote { ours: !controlling, ..client.remote(&[(0, "PCMU")]) };
        net.clients.push(client);
        net.worker.connect("call", leg, 0, &facts, Time(0)).unwrap();
    }
    net.run(500);
    let mut reports = net.events();
    reports.sort_by_key(|(leg, _)| *leg);
    assert_eq!(reports, [(0, Event::Connected), (1, Event::Connected)]);
    net.say(0, &rtp(0, 1, 7), false).unwrap();
    assert_eq!(net.clients[1].heard.pop().unwrap().1, rtp(0, 1, 7));
    net.say(1, &rtp(0, 50, 8), false).unwrap();
    assert_eq!(net.clients[0].heard.pop().unwrap().1, rtp(0, 50, 8));
    // Forged media from a client's own address, and anything from elsewhere.
    assert_eq!(net.give(Socket::Shared, at("198.51.100.1:7000"), &rtp(0, 2, 7)), None);
    assert_eq!(net.give(Socket::Shared, at("203.0.113.66:9"), &rtp(0, 3, 7)), None);
    let statistics = net.worker.statistics("call").unwrap();
    assert_eq!((statistics[0].dropped, statistics[1].dropped), (1, 0));
    net.worker.release("call").unwrap();
    assert!(net.worker.ufrags.is_empty() && net.worker.addresses.is_empty() && net.worker.timers.is_empty());
}

#[test]
fn a_client_that_closes_and_does_not_hang_up_is_lost_after_a_while() {
    let (mut net, ..) = connected();
    net.clients[0].end.close();
    net.run(2_000);
    assert_eq!(net.events(), [], "a hang-up may be on its way");
    net.run(4_000);
    assert_eq!(net.events(), [(1, Event::Unreachable)]);
}

#[test]
fn a_restart_by_the_client_keeps_the_keys() {
    let (mut net, a, b) = connected();
    let credentials = Credentials { ufrag: "again".into(), pwd: "again".repeat(5) };
    net.clients[0].end.restart(&credentials, net.now).unwrap();
    net.clients[0].meets(&net.worker, b, Setup::Passive, net.now);
    let mut facts = net.clients[0].remote(&[(0, "PCMU"), (96, "telephone-event")]);
    let ice = facts.ice.as_mut().unwrap();
    (ice.ufrag, ice.pwd) = (credentials.ufrag, credentials.pwd);
    net.worker.connect("call", 1, 0, &facts, net.now).unwrap();
    net.run(2_000);
    assert_eq!(net.events(), []);
    net.give(Socket::Rtp(a), phone(), &rtp(0, 1, 7)).unwrap();
    assert_eq!(net.clients[0].heard.pop().unwrap().1, rtp(0, 1, 7));
    assert_eq!(net.say(0, &rtp(0, 5, 9), false).unwrap().2, rtp(0, 5, 9));
}

#[test]
fn a_webrtc_end_does_not_become_plain() {
    let (mut net, ..) = connected();
    let refused = net.worker.connect("call", 1, 0, &remote(phone(), &[(0, "PCMU")]), net.now);
    assert_eq!(refused, Err(Refusal::NoPorts));
}
