//! Calls of two plain phones over real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod common;

use common::{Phone, config, hear, plain, rtcp_port, rtp, rtp_port, start, told};
use prost::Message as _;
use proto::v1::{
    AllocateRequest, ConnectRequest, Leg, Pair, RelayEvent, ReleaseRequest, StatisticsRequest, UpdateRequest,
    relay_event,
};
use std::time::Duration;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn two_phones_hear_each_other_octet_by_octet_and_are_counted() {
    let mut relay = start(config("23000-23019"));
    let mut events = relay.bus.subscribe(signal::subjects::RELAY_CONNECTED).await.unwrap();
    let ends = relay.allocate("call").await;
    assert_eq!(ends.iter().map(|e| (e.leg, e.content)).collect::<Vec<_>>(), [(0, 0), (1, 0)]);
    let ice = ends[0].ice.as_ref().unwrap();
    assert!(ice.ufrag.len() >= 4 && ice.pwd.len() >= 22 && ice.candidates.len() == 1 && !ice.lite);
    assert_eq!(ends[0].fingerprint.as_ref().unwrap().digest.len(), 32);
    assert_eq!(relay.allocate("call").await, ends, "asked again");

    let (a, b, stranger) = (Phone::new(), Phone::new(), Phone::new());
    relay.client.connect(plain("call", 0, a.address())).await.unwrap();
    relay.client.connect(plain("call", 1, b.address())).await.unwrap();
    // Nothing that was agreed: it is refused and counted.
    stranger.rtp.send_to(&rtp(8, 1, 66), rtp_port(&ends[0])).unwrap();
    for seq in 0..50 {
        let (there, back) = (rtp(0, seq, 1), rtp(101, 9_000 + seq, 2));
        a.rtp.send_to(&there, rtp_port(&ends[0])).unwrap();
        assert_eq!(hear(&b.rtp), (there, rtp_port(&ends[1])));
        b.rtp.send_to(&back, rtp_port(&ends[1])).unwrap();
        assert_eq!(hear(&a.rtp), (back, rtp_port(&ends[0])));
    }
    let report: Vec<u8> = [0x80c9_0001u32, 1].iter().flat_map(|w| w.to_be_bytes()).collect();
    a.rtcp.send_to(&report, rtcp_port(&ends[0])).unwrap();
    // Each is told by the relay of what it is sent and of what it sends.
    for (phone, end, wanted) in [(&a, &ends[0], (2, 1)), (&b, &ends[1], (1, 2))] {
        let (packet, from) = hear(&phone.rtcp);
        assert_eq!((told(&packet), from), (wanted, rtcp_port(end)));
    }

    let mut connected = vec![];
    for _ in 0..2 {
        let message = tokio::time::timeout(Duration::from_secs(5), events.next()).await.unwrap().unwrap();
        let event = RelayEvent::decode(message.payload).unwrap();
        assert_eq!((event.session.as_str(), event.instance.as_str()), ("call", "relay-1"));
        assert_eq!(event.event(), relay_event::Event::Connected);
        assert_eq!(message.trace, common::TRACE);
        connected.push(event.leg);
    }
    connected.sort_unstable();
    assert_eq!(connected, [0, 1]);

    // Once the peer is known a stranger reaches nobody, not even the relay: the kernel has only one peer for the port.
    stranger.rtp.send_to(&rtp(0, 50, 66), rtp_port(&ends[0])).unwrap();
    a.rtp.send_to(&rtp(0, 50, 1), rtp_port(&ends[0])).unwrap();
    assert_eq!(hear(&b.rtp).0, rtp(0, 50, 1));
    let ask = StatisticsRequest { session: "call".into() };
    let statistics = relay.client.statistics(ask).await.unwrap().into_inner();
    let first = &statistics.ends[0];
    assert_eq!(first.dropped, 1);
    assert_eq!((first.packets_in, first.octets_in), (51, 51 * 172));
    assert_eq!((first.packets_out, first.octets_out), (50, 50 * 172));
    assert_eq!((first.lost, first.form.as_str(), first.security.as_str()), (0, "plain", ""));
    assert_eq!(first.peer, a.address().to_string());
    assert_eq!((first.codec.as_str(), first.expected, &first.seen), ("PCMU", 51, &None));

    let ask = ReleaseRequest { session: "call".into(), ..ReleaseRequest::default() };
    let last = relay.client.release(ask.clone()).await.unwrap().into_inner();
    assert_eq!(last.ends[1].packets_in, 50);
    assert!(relay.client.release(ask).await.unwrap().into_inner().ends.is_empty(), "unknown is fine");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_arguments_name_their_field_and_unknown_sessions_are_not_found() {
    let mut relay = start(config("23020-23039"));
    let with = |change: fn(&mut AllocateRequest)| {
        let mut request = AllocateRequest::of_two("a", 1);
        change(&mut request);
        request
    };
    for (request, field) in [
        (with(|r| r.session.clear()), "session"),
        (with(|r| r.legs.clear()), "legs"),
        (with(|r| r.legs.extend((2..9).map(|leg| Leg { leg, contents: 1, webrtc: true }))), "legs"),
        (with(|r| r.legs[1].leg = 256), "leg"),
        (with(|r| r.legs[1].contents = 9), "legs.contents"),
        (with(|r| r.bridge[0].other = 2), "pairs: leg 2 is not known"),
        (with(|r| r.bridge = vec![Pair::default(); 5]), "pairs"),
    ] {
        let status = relay.client.allocate(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with(field), "{}", status.message());
    }
    relay.allocate("call").await;
    let good = plain("call", 0, "127.0.0.1:9".parse().unwrap());
    let with = |change: fn(&mut ConnectRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    for (request, field) in [
        (with(|r| r.address = "phone:5".into()), "address"),
        (with(|r| r.source = "x".into()), "source"),
        (with(|r| r.rtcp_port = 70_000), "rtcp_port"),
        (with(|r| r.codecs[0].pt = 128), "codecs.pt"),
        (with(|r| r.codecs[0].clock = 0), "codecs.clock"),
        (with(|r| r.leg = 2), "leg"),
        (with(|r| r.dtls = Some(proto::v1::Dtls::default())), "dtls.fingerprints"),
    ] {
        let status = relay.client.connect(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with(field), "{}", status.message());
    }
    let status = relay.client.connect(ConnectRequest { session: "other".into(), ..good }).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let update = UpdateRequest { session: "other".into(), ..UpdateRequest::default() };
    assert_eq!(relay.client.update(update).await.unwrap_err().code(), Code::NotFound);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_relay_says_so_and_a_draining_one_takes_nothing_new_and_leaves_when_empty() {
    // Ten pairs: one is the ICE port, nine are four calls and a spare.
    let mut relay = start(config("23040-23059"));
    for call in 0..4 {
        relay.allocate(&format!("call {call}")).await;
    }
    let ask = |session: &str| AllocateRequest::of_two(session, 1);
    let full = relay.client.allocate(ask("one more")).await.unwrap_err();
    assert_eq!(full.code(), Code::ResourceExhausted);
    assert!(full.message().contains("[relay] ports"), "{}", full.message());
    relay.drain.drain();
    let draining = relay.client.allocate(ask("another")).await.unwrap_err();
    assert_eq!(draining.code(), Code::Unavailable);
    assert_eq!(relay.allocate("call 0").await.len(), 2, "its own calls are served");
    for call in 0..4 {
        assert!(!relay.running.is_finished());
        let release = ReleaseRequest { session: format!("call {call}"), ..ReleaseRequest::default() };
        assert_eq!(relay.client.release(release).await.unwrap().into_inner().ends.len(), 2);
    }
    tokio::time::timeout(Duration::from_secs(5), relay.running).await.unwrap().unwrap().unwrap();
}

/// R-RTP-10 rule 4: a new description lets another address in; the old one is a stranger then.
#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_moves_is_heard_and_answered_where_its_description_says() {
    let mut relay = start(config("23200-23219"));
    let ends = relay.allocate("call").await;
    let (a, b, moved) = (Phone::new(), Phone::new(), Phone::new());
    relay.client.connect(plain("call", 0, a.address())).await.unwrap();
    relay.client.connect(plain("call", 1, b.address())).await.unwrap();
    let speak = |from: &Phone, seq| {
        from.rtp.send_to(&rtp(0, seq, 1), rtp_port(&ends[0])).unwrap();
        assert_eq!(hear(&b.rtp).0, rtp(0, seq, 1));
    };
    (0..10).for_each(|seq| speak(&a, seq));
    relay.client.connect(plain("call", 0, moved.address())).await.unwrap();
    (10..20).for_each(|seq| speak(&moved, seq));
    a.rtp.send_to(&rtp(0, 20, 1), rtp_port(&ends[0])).unwrap();
    speak(&moved, 21);
    b.rtp.send_to(&rtp(0, 5, 2), rtp_port(&ends[1])).unwrap();
    assert_eq!(hear(&moved.rtp).0, rtp(0, 5, 2));
    // A peer whose port is closed for a while costs no packet of the other direction, and is reached when it is back.
    let address = b.address();
    drop(b);
    for seq in 30..40 {
        moved.rtp.send_to(&rtp(0, seq, 1), rtp_port(&ends[0])).unwrap();
    }
    let back = std::net::UdpSocket::bind(address).unwrap();
    back.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    moved.rtp.send_to(&rtp(0, 40, 1), rtp_port(&ends[0])).unwrap();
    // Those before may still be on their way when the port is open again.
    while hear(&back).0 != rtp(0, 40, 1) {}
    back.send_to(&rtp(0, 6, 2), rtp_port(&ends[1])).unwrap();
    assert_eq!(hear(&moved.rtp).0, rtp(0, 6, 2));
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_relay_refuses_with_its_reason_and_serves_what_it_has() {
    let mut config = config("23220-23239");
    // Any CPU at all is too much.
    config.relay.max_load = 0;
    let mut relay = start(config);
    let ask = AllocateRequest::of_two("call", 1);
    let busy = relay.client.allocate(ask).await.unwrap_err();
    assert_eq!(busy.code(), Code::ResourceExhausted);
    assert!(busy.message().contains("[relay] max_load"), "{}", busy.message());
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_threads_share_the_range_and_the_calls() {
    let mut config = config("23100-23199");
    config.relay.threads = 3;
    let mut relay = start(config);
    let mut shared = std::collections::BTreeSet::new();
    for call in 0..12 {
        let name = format!("call {call}");
        let ends = relay.allocate(&name).await;
        shared.insert(ends[0].ice.as_ref().unwrap().candidates[0].address.clone());
        let (a, b) = (Phone::new(), Phone::new());
        relay.client.connect(plain(&name, 0, a.address())).await.unwrap();
        relay.client.connect(plain(&name, 1, b.address())).await.unwrap();
        a.rtp.send_to(&rtp(0, 1, 1), rtp_port(&ends[0])).unwrap();
        assert_eq!(hear(&b.rtp).0, rtp(0, 1, 1));
    }
    assert_eq!(shared.len(), 3, "each thread has its ICE port: {shared:?}");
    let all = loop {
        let all = relay.client.statistics(StatisticsRequest::default()).await.unwrap().into_inner();
        if all.packets == 12 {
            break all;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(all.sessions, 12);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_falls_silent_is_reported() {
    let mut config = config("23060-23079");
    config.relay.media_timeout_s = 1;
    let mut relay = start(config);
    let mut events = relay.bus.serve(signal::subjects::RELAY_EVENT, "orchestrators").await.unwrap();
    let ends = relay.allocate("call").await;
    let (a, b) = (Phone::new(), Phone::new());
    relay.client.connect(plain("call", 0, a.address())).await.unwrap();
    relay.client.connect(plain("call", 1, b.address())).await.unwrap();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let to = rtp_port(&ends[0]);
    let speaking = tokio::spawn(async move {
        for seq in 0.. {
            if stopped.try_recv().is_ok() {
                return;
            }
            a.rtp.send_to(&rtp(0, seq, 1), to).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let silent = loop {
        let request = tokio::time::timeout(Duration::from_secs(10), events.next()).await.unwrap().unwrap();
        let event = RelayEvent::decode(request.message.payload.clone()).unwrap();
        request.reply("").await.unwrap();
        if event.event() == relay_event::Event::TimedOut {
            break event.leg;
        }
    };
    assert_eq!(silent, 1);
    stop.send(()).unwrap();
    speaking.await.unwrap();
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_in_the_directory_and_its_control_port_answers_over_tcp() {
    use bus::directory::Directory;
    let (bus, drain) = (bus::Bus::in_process(), runtime::Drain::default());
    let directory = Directory::watch(&bus, "rtp-relay").await.unwrap();
    let mut config = config("23080-23099");
    (config.relay.region, config.relay.labels) = ("north".into(), vec!["video".into()]);
    let running =
        tokio::spawn(tandem_rtp_relay::run(config, bus, tandem_rtp_relay::Control::Tcp, drain.clone()));
    let card = loop {
        if let Some(card) = directory.list().pop() {
            break card;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((card.instance.as_str(), card.capacity, card.draining), ("relay-1", 4, false));
    assert_eq!(
        (card.region.as_str(), card.labels.as_slice(), card.max_busy),
        ("north", &["video".to_owned()][..], 850)
    );
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", card.address)).unwrap();
    let mut client = {
        let channel = channel.connect().await.unwrap();
        let mut stranger = proto::v1::relay_client::RelayClient::new(channel.clone());
        let refused = stranger.statistics(StatisticsRequest::default()).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        let secret = signal::Secret::new(b"a secret of these tests");
        let pass = |instance| proto::auth::AuthToken::new(&secret, instance, runtime::clock::now_ms);
        // One that another relay was shown opens nothing here (F6).
        let mut other =
            proto::v1::relay_client::RelayClient::with_interceptor(channel.clone(), pass("relay-2"));
        let refused = other.statistics(StatisticsRequest::default()).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        let pass = pass("relay-1");
        proto::v1::relay_client::RelayClient::with_interceptor(channel, pass)
    };
    let request = AllocateRequest::of_two("c", 1);
    client.allocate(request).await.unwrap();
    drain.drain();
    loop {
        let card = directory.list().pop().unwrap();
        if card.draining && card.load == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drain.stop();
    tokio::time::timeout(Duration::from_secs(10), running).await.unwrap().unwrap().unwrap();
    assert!(directory.list().is_empty(), "it said good-bye");
}

/// `tandem drain` reaches the relay: it takes no new call, keeps the old one, and goes when that is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_drains_when_it_is_asked_to() {
    let mut relay = start(config("23400-23419"));
    let relays = bus::directory::Directory::watch(&relay.bus, "rtp-relay").await.unwrap();
    relay.allocate("call").await;
    let draining = async {
        while !relays.find("relay-1").is_some_and(|card| card.draining) {
            bus::directory::ask_to_drain(&relay.bus, "relay-1").await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), draining).await.expect("it does not hear");
    let another = AllocateRequest::of_two("another", 1);
    assert_eq!(relay.client.allocate(another).await.unwrap_err().code(), Code::Unavailable);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!relay.running.is_finished(), "a call lives");
    relay
        .client
        .release(ReleaseRequest { session: "call".into(), ..ReleaseRequest::default() })
        .await
        .unwrap();
    tokio::time::timeout(Duration::from_secs(10), relay.running).await.unwrap().unwrap().unwrap();
}
