//! A plain phone and a WebRTC client, over real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod common;

use common::{Phone, Relay, codecs, config, hear, plain, rtcp_port, rtp, rtp_port, start, told};
use prost::Message as _;
use proto::v1;
use proto::v1::{LocalEnd, RelayEvent, ReleaseRequest, StatisticsRequest, relay_event};
use relay::dtls::Certificate;
use relay::ice::{Config, Credentials};
use relay::srtp::ROOM;
use relay::webrtc::{Received, Transport};
use signal::Time;
use signal::media::{Candidate, CandidateKind, Dtls, Fingerprint, Ice, Setup};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

const PWD: &str = "a-password-of-the-browser";

/// A browser on a socket of its own.
struct Browser {
    socket: UdpSocket,
    end: Transport,
    certificate: Certificate,
    started: Instant,
    media: Vec<Vec<u8>>,
    reports: Vec<Vec<u8>>,
}

fn candidate(address: SocketAddr) -> Candidate {
    Candidate {
        foundation: "1".into(),
        component: 1,
        priority: 126 << 24 | 65_535 << 8 | 255,
        address,
        kind: CandidateKind::Host,
        related: None,
        generation: 0,
    }
}

impl Browser {
    fn new(controlling: bool) -> Browser {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let certificate = Certificate::generate(Time(runtime::clock::now_ms())).unwrap();
        let config = Config {
            credentials: Credentials { ufrag: "browser".into(), pwd: PWD.into() },
            addresses: vec![socket.local_addr().unwrap()],
            controlling,
            tie_breaker: 4,
            preference: relay::ice::PREFERENCE,
        };
        let started = runtime::clock::instant();
        let end = Transport::new(&config, &certificate, started, Time(0)).unwrap();
        Browser { socket, end, certificate, started, media: vec![], reports: vec![] }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    fn now(&self) -> Time {
        Time(self.started.elapsed().as_millis() as u64)
    }

    /// Its own description, with the phone's codecs under other payload types.
    fn describes(&self, session: &str, leg: u32, candidates: bool) -> v1::ConnectRequest {
        let candidate = v1::Candidate {
            foundation: "1".into(),
            component: 1,
            priority: 1,
            address: self.address().to_string(),
            ..v1::Candidate::default()
        };
        let fingerprint = self.certificate.fingerprint();
        let mut codecs = codecs();
        codecs[1].pt = 126;
        v1::ConnectRequest {
            address: String::new(),
            mux: true,
            codecs,
            ice: Some(v1::Ice {
                ufrag: "browser".into(),
                pwd: PWD.into(),
                candidates: if candidates { vec![candidate] } else { vec![] },
                ..v1::Ice::default()
            }),
            dtls: Some(v1::Dtls {
                fingerprints: vec![v1::Fingerprint { hash: fingerprint.hash, digest: fingerprint.digest }],
                setup: v1::Setup::Active.into(),
            }),
            ..plain(session, leg, self.address())
        }
    }

    /// Takes the description of the relay's endpoint.
    fn meets(&mut self, end: &LocalEnd) {
        let ice = end.ice.as_ref().unwrap();
        let candidates = ice.candidates.iter().map(|c| candidate(c.address.parse().unwrap())).collect();
        let print = end.fingerprint.as_ref().unwrap();
        let ice =
            Ice { ufrag: ice.ufrag.clone(), pwd: ice.pwd.clone(), candidates, lite: false, trickle: false };
        let fingerprints = vec![Fingerprint { hash: print.hash.clone(), digest: print.digest.clone() }];
        let now = self.now();
        self.end.remote(&ice, &Dtls { fingerprints, setup: Setup::Passive }, now).unwrap();
    }

    /// Lives until `done`, or fails.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Browser) -> bool) {
        let mut buffer = [0; 2_048];
        while !done(self) {
            assert!(self.started.elapsed() < Duration::from_secs(20), "in vain: {what}");
            while let Some(datagram) = self.end.poll_transmit() {
                self.socket.send_to(&datagram.octets, datagram.pair.remote).unwrap();
            }
            if let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
                let (to, now) = (self.address(), self.now());
                match self.end.receive(&mut buffer[..length], from, to, now) {
                    Received::Rtp(length) => self.media.push(buffer[..length].to_vec()),
                    Received::Rtcp(length) => self.reports.push(buffer[..length].to_vec()),
                    Received::Nothing => {}
                }
            }
            let now = self.now();
            if self.end.deadline().is_some_and(|at| at <= now) {
                self.end.tick(now);
            }
        }
    }

    fn say(&mut self, packet: &[u8], rtcp: bool) {
        let mut wire = packet.to_vec();
        wire.resize(packet.len() + ROOM, 0);
        let sealed = if rtcp {
            self.end.protect_rtcp(&mut wire, packet.len())
        } else {
            self.end.protect(&mut wire, packet.len())
        };
        let (length, pair) = sealed.expect("no path yet");
        self.socket.send_to(&wire[..length], pair.remote).unwrap();
    }

    fn hears(&mut self, packet: &[u8]) {
        self.until("media", |browser| !browser.media.is_empty());
        assert_eq!(self.media.remove(0), packet);
    }

    fn hears_a_report(&mut self) -> Vec<u8> {
        self.until("a report", |browser| !browser.reports.is_empty());
        self.reports.remove(0)
    }
}

/// A call from a phone to a browser, connected.
async fn call(relay: &mut Relay, session: &str, leg: u32, trickle: bool) -> (Vec<LocalEnd>, Phone, Browser) {
    let ends = relay.allocate(session).await;
    let phone = Phone::new();
    // Who opens a leg controls its ICE: leg 0 is the caller's.
    let mut browser = Browser::new(leg == 0);
    relay.client.connect(plain(session, 1 - leg, phone.address())).await.unwrap();
    browser.meets(&ends[leg as usize]);
    relay.client.connect(browser.describes(session, leg, !trickle)).await.unwrap();
    if trickle {
        let ice = browser.describes(session, leg, true).ice;
        let update = v1::UpdateRequest { session: session.into(), leg, ice, ..v1::UpdateRequest::default() };
        relay.client.update(update).await.unwrap();
    }
    let browser = connected(relay, session, leg, browser).await;
    (ends, phone, browser)
}

/// Lives until both sides have a path and keys.
async fn connected(relay: &mut Relay, session: &str, leg: u32, mut browser: Browser) -> Browser {
    let browser = tokio::task::spawn_blocking(move || {
        browser.until("a path and keys", |browser| browser.end.pair().is_some());
        browser
    });
    let mut browser = browser.await.unwrap();
    // The relay's side may have its path a moment later; the browser's checks go on meanwhile.
    loop {
        let ask = StatisticsRequest { session: session.into() };
        let statistics = relay.client.statistics(ask).await.unwrap().into_inner();
        if !statistics.ends[leg as usize].peer.is_empty() {
            return browser;
        }
        let mut turns = 0;
        browser.until("the relay's path", |_| {
            turns += 1;
            turns > 2
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_and_a_browser_hear_each_other_and_rtcp_is_muxed() {
    let mut relay = start(config("24200-24219"));
    let mut events = relay.bus.subscribe(signal::subjects::RELAY_CONNECTED).await.unwrap();
    let (ends, phone, mut browser) = call(&mut relay, "call", 1, false).await;
    let message = tokio::time::timeout(Duration::from_secs(5), events.next()).await.unwrap().unwrap();
    let event = RelayEvent::decode(message.payload).unwrap();
    assert_eq!((event.leg, event.event()), (1, relay_event::Event::Connected));
    UdpSocket::bind(rtp_port(&ends[1])).expect("the plain ports of the browser's end are closed");

    let spoken = tokio::task::spawn_blocking(move || {
        let report: Vec<u8> = [0x80c9_0001u32, 1].iter().flat_map(|w| w.to_be_bytes()).collect();
        for seq in 0..50 {
            phone.rtp.send_to(&rtp(101, seq, 1), rtp_port(&ends[0])).unwrap();
            browser.hears(&rtp(126, seq, 1));
            browser.say(&rtp(126, 7_000 + seq, 2), false);
            assert_eq!(hear(&phone.rtp), (rtp(101, 7_000 + seq, 2), rtp_port(&ends[0])));
        }
        // Each hears of its own stream and of the other's, from us: RTCP of the peers ends at the relay.
        phone.rtcp.send_to(&report, rtcp_port(&ends[0])).unwrap();
        browser.say(&report, true);
        assert_eq!(told(&hear(&phone.rtcp).0), (2, 1));
        assert_eq!(told(&browser.hears_a_report()), (1, 2));
        browser
    });
    let browser = spoken.await.unwrap();
    let ask = StatisticsRequest { session: "call".into() };
    let statistics = relay.client.statistics(ask).await.unwrap().into_inner();
    let end = &statistics.ends[1];
    assert_eq!((end.packets_in, end.packets_out, end.dropped, end.lost), (50, 50, 0, 0));
    assert_eq!((end.form.as_str(), end.peer.as_str()), ("webrtc", browser.address().to_string().as_str()));
    assert!(end.security.contains("AES"), "{}", end.security);
    let release = ReleaseRequest { session: "call".into(), ..ReleaseRequest::default() };
    relay.client.release(release).await.unwrap();
    relay.stop().await;
}

/// R-RTP-17, over the control API: the credentials that a restart is answered with, and sound all the while.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_answered_with_new_credentials() {
    let mut relay = start(config("24250-24269"));
    let (ends, phone, mut browser) = call(&mut relay, "call", 1, false).await;
    let before = ends[1].ice.clone().unwrap();
    let under = |browser: &Browser, ufrag: &str| {
        let mut facts = browser.describes("call", 1, true);
        facts.ice.as_mut().unwrap().ufrag = ufrag.into();
        facts
    };
    let generations = |ice: &v1::Ice| ice.candidates.iter().map(|c| c.generation).collect::<Vec<_>>();
    let told = relay.client.connect(under(&browser, "browser")).await.unwrap().into_inner();
    assert_eq!(told.ice, None, "nothing has changed");
    for (generation, ufrag) in [(1, "again"), (2, "once-more")] {
        let words = Credentials { ufrag: ufrag.into(), pwd: PWD.into() };
        let now = browser.now();
        browser.end.restart(&words, now).unwrap();
        let facts = under(&browser, ufrag);
        let ice = match generation {
            1 => relay.client.connect(facts.clone()).await.unwrap().into_inner().ice,
            _ => {
                let ice = facts.ice.clone();
                let update = v1::UpdateRequest { session: "call".into(), leg: 1, ice, ..Default::default() };
                relay.client.update(update).await.unwrap().into_inner().ice
            }
        };
        let ice = ice.expect("new credentials");
        assert!(ice.ufrag != before.ufrag && ice.pwd != before.pwd && ice.pwd.len() >= 22, "{}", ice.ufrag);
        assert_eq!(generations(&ice), [generation]);
        assert_eq!(ice.candidates[0].address, before.candidates[0].address);
        let again = relay.client.connect(facts).await.unwrap().into_inner().ice;
        assert_eq!(again.as_ref(), Some(&ice), "asked again, the same");
        // The client has not heard of it yet, then it has.
        let end = LocalEnd { ice: Some(ice), ..ends[1].clone() };
        let (to, rtp_socket) = (rtp_port(&ends[0]), phone.rtp.try_clone().unwrap());
        let spoken = tokio::task::spawn_blocking(move || {
            let talk = |browser: &mut Browser, seq: u16| {
                rtp_socket.send_to(&rtp(0, seq, 1), to).unwrap();
                browser.hears(&rtp(0, seq, 1));
                browser.say(&rtp(0, seq, 2), false);
                assert_eq!(hear(&rtp_socket).0, rtp(0, seq, 2));
            };
            talk(&mut browser, 10 * generation as u16);
            browser.meets(&end);
            browser.until("the new path", |browser| browser.end.former().is_none());
            talk(&mut browser, 10 * generation as u16 + 1);
            browser
        });
        browser = spoken.await.unwrap();
    }
    relay.stop().await;
}

/// R-RTP-17, at a relay whose state is older than the restart: the end goes by what its peer was told elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_answers_to_the_credentials_that_its_peer_was_told() {
    let mut relay = start(config("24270-24289"));
    let ends = relay.allocate("call").await;
    let (phone, mut browser) = (Phone::new(), Browser::new(false));
    relay.client.connect(plain("call", 0, phone.address())).await.unwrap();
    let allocated = ends[1].ice.clone().unwrap();
    let mut told =
        v1::Ice { ufrag: "elsewhere".into(), pwd: "a-password-told-elsewhere".into(), ..allocated };
    told.candidates.iter_mut().for_each(|candidate| candidate.generation = 2);
    browser.meets(&LocalEnd { ice: Some(told.clone()), ..ends[1].clone() });
    let facts = v1::ConnectRequest { told: Some(told.clone()), ..browser.describes("call", 1, true) };
    for _ in 0..2 {
        let ice = relay.client.connect(facts.clone()).await.unwrap().into_inner().ice.unwrap();
        assert_eq!((&ice.ufrag, &ice.pwd), (&told.ufrag, &told.pwd), "asked again, the same");
        assert_eq!(ice.candidates[0].generation, 2);
    }
    let (to, mut browser) = (rtp_port(&ends[0]), connected(&mut relay, "call", 1, browser).await);
    let spoken = tokio::task::spawn_blocking(move || {
        browser.say(&rtp(0, 1, 2), false);
        assert_eq!(hear(&phone.rtp).0, rtp(0, 1, 2));
        phone.rtp.send_to(&rtp(0, 1, 1), to).unwrap();
        browser.hears(&rtp(0, 1, 1));
    });
    spoken.await.unwrap();
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_browsers_share_the_port_call_in_either_direction_and_trickle() {
    let mut relay = start(config("24220-24249"));
    let mut calls = vec![];
    for (session, leg, trickle) in [("a", 0, false), ("b", 1, true), ("c", 1, false)] {
        calls.push(call(&mut relay, session, leg, trickle).await);
    }
    let shared = |end: &LocalEnd| end.ice.as_ref().unwrap().candidates[0].address.clone();
    assert!(calls.iter().all(|(ends, ..)| shared(&ends[0]) == shared(&calls[0].0[1])));
    let spoken = tokio::task::spawn_blocking(move || {
        for (number, (ends, phone, browser)) in calls.iter_mut().enumerate() {
            let plain = &ends[usize::from(number == 0)];
            let ssrc = number as u32 + 1;
            phone.rtp.send_to(&rtp(0, 1, ssrc), rtp_port(plain)).unwrap();
            browser.hears(&rtp(0, 1, ssrc));
            browser.say(&rtp(0, 9, ssrc + 100), false);
            assert_eq!(hear(&phone.rtp).0, rtp(0, 9, ssrc + 100));
        }
    });
    spoken.await.unwrap();
    relay.stop().await;
}
