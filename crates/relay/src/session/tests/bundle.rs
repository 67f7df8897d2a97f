//! Two contents of a leg on one transport (BUNDLE, RFC 9143), on virtual time.

use super::webrtc::{Client, Net};
use super::*;
use crate::rtcp::{Item, Sender, read};
use crate::webrtc::TransportEvent;
use signal::media::{Ice, Setup};

const AUDIO: &[(u8, &str)] = &[(0, "PCMU")];
/// Where the phone has its picture.
const SCREEN: &str = "192.0.2.30:16500";
const CLIENT: &str = "198.51.100.7:7000";

fn video(remote: Remote, pt: u8, feedback: &[&str]) -> Remote {
    let mut codec = Codec::new(pt, "VP8", 90_000, 1);
    codec.feedback = feedback.iter().map(|line| (*line).to_owned()).collect();
    Remote { codecs: vec![codec], ..remote }
}

/// Description of a content that is bundled with content 0.
fn bundled(remote: Remote) -> Remote {
    Remote { bundled: Some(0), ice: None, dtls: None, address: None, ..remote }
}

fn describe(net: &mut Net) {
    let facts = net.clients[0].remote(AUDIO);
    let now = net.now;
    let mut tell =
        |leg, content, remote: &Remote| net.worker.connect("call", leg, content, remote, now).unwrap();
    tell(0, 0, &remote(phone(), AUDIO));
    tell(0, 1, &video(remote(at(SCREEN), &[]), 99, &["ccm fir"]));
    tell(1, 0, &facts);
    tell(1, 1, &bundled(video(facts.clone(), 96, &["nack", "nack pli"])));
}

/// A phone with sound and picture at ports of their own (leg 0), and a client with both on one transport (leg 1). Gives the ends
/// by content, then by leg.
fn talking() -> (Net, Vec<EndpointId>) {
    let mut worker = worker(Limits::default());
    let ids = allocate(&mut worker, "call", 2);
    let mut client = Client::new("browser", CLIENT, false);
    client.meets(&worker, ids[1], Setup::Passive, Time(0));
    let mut net = Net { now: Time(0), worker, address: shared(), clients: vec![client] };
    describe(&mut net);
    net.run(500);
    assert_eq!(net.events(), [(1, Event::Connected)], "one transport");
    assert_eq!(
        net.clients[0].events.iter().filter(|e| matches!(e, TransportEvent::Connected { .. })).count(),
        1
    );
    (net, ids)
}

#[test]
fn each_packet_finds_its_content_and_all_leave_by_one_transport() {
    let (mut net, ids) = talking();
    let mut closed: Vec<EndpointId> = std::iter::from_fn(|| net.worker.poll_closed()).collect();
    closed.sort();
    assert_eq!(closed, [ids[1], ids[3]], "neither content of the client needs ports");
    for seq in 0..20u16 {
        for (socket, from, theirs, ours) in
            [(Socket::Rtp(ids[0]), phone(), 0, 0), (Socket::Rtp(ids[2]), at(SCREEN), 99, 96)]
        {
            let (by, to, _) = net.give(socket, from, &rtp(theirs, seq, 7 + u32::from(ours))).unwrap();
            assert_eq!((by, to), (Socket::Shared, at(CLIENT)));
            assert_eq!(net.clients[0].heard.pop().unwrap().1, rtp(ours, seq, 7 + u32::from(ours)));
            let back = net.say(0, &rtp(ours, 900 + seq, 50 + u32::from(ours)), false);
            assert_eq!(back, Some((socket, from, rtp(theirs, 900 + seq, 50 + u32::from(ours)))));
        }
    }
    assert_eq!(net.say(0, &rtp(33, 1, 70), false), None, "a number that nobody agreed on");
    let statistics = net.worker.statistics("call").unwrap();
    assert_eq!(statistics.iter().map(|f| f.packets_in).collect::<Vec<_>>(), [20; 4]);
    for (content, dropped) in [(2, 1), (3, 0)] {
        let end = &statistics[content];
        assert_eq!((end.form, end.peer, end.dropped), (Form::Webrtc, Some(at(CLIENT)), dropped));
        assert!(end.suite.is_some());
    }
}

/// RFC 3711 §9.1: under one key no two streams may have one name, whoever chose them.
#[test]
fn streams_of_one_name_get_another_on_the_same_transport() {
    let (mut net, ids) = talking();
    for seq in 0..3 {
        net.give(Socket::Rtp(ids[0]), phone(), &rtp(0, seq, 7)).unwrap();
        net.give(Socket::Rtp(ids[2]), at(SCREEN), &rtp(99, seq, 7)).unwrap();
    }
    let names: Vec<(u8, u32)> = net.clients[0]
        .heard
        .drain(..)
        .map(|(_, packet)| {
            let rtp = crate::packet::rtp(&packet).unwrap();
            (rtp.pt, rtp.ssrc)
        })
        .collect();
    assert_eq!((names[0], names[1].0), ((0, 7), 96));
    assert_ne!(names[1].1, 7);
    assert!(names.chunks(2).all(|pair| pair == &names[..2]), "and keep it: {names:?}");
}

/// Of one compound packet each content takes what is its own; what is asked is asked of the right side, by the one transport.
#[test]
fn reports_and_requests_find_their_content() {
    let (mut net, ids) = talking();
    for seq in 0..10 {
        net.give(Socket::Rtp(ids[0]), phone(), &rtp(0, seq, 7)).unwrap();
        net.give(Socket::Rtp(ids[2]), at(SCREEN), &rtp(99, seq, 8)).unwrap();
        net.say(0, &rtp(0, seq, 50), false).unwrap();
        net.say(0, &rtp(96, seq, 51), false).unwrap();
    }
    // One more picture leaves and is lost on its way.
    super::give(&mut net.worker, Socket::Rtp(ids[2]), at(SCREEN), net.now.0, &rtp(99, 10, 8)).unwrap();
    let asked = compound(|w| {
        let sender = Sender { ssrc: 51, ntp: 500 << 32, timestamp: 16_000, packets: 1, octets: 1 };
        w.report(51, Some(&sender), None).name(51, *b"client-of-a-test").pli(51, 8).nack(51, 8, &[(10, 0)]);
    });
    net.say(0, &asked, true);
    let said = net.departures();
    let to_screen: Vec<&Vec<u8>> =
        said.iter().filter(|(to, _)| *to == at("192.0.2.30:16501")).map(|(_, packet)| packet).collect();
    let mut wanted = vec![];
    to_screen.iter().for_each(|packet| read(packet, |item| wanted.push(item)));
    assert!(wanted.iter().any(|item| matches!(item, Item::KeyframeRequest { media: 8 })), "{wanted:?}");
    assert!(said.iter().all(|(to, _)| *to != at("192.0.2.30:16401")), "nobody asks the microphone: {said:?}");
    let again: Vec<&Vec<u8>> = said.iter().filter(|(to, _)| *to == at(CLIENT)).map(|(_, p)| p).collect();
    assert_eq!(again, [&rtp(96, 10, 8)], "what is kept is sent again");
    // Both contents' own reports reach the client by the one transport, under the names of their streams.
    let mut told = vec![];
    for _ in 0..1_000 {
        net.run(10);
        for (to, packet) in net.departures() {
            if to == at(CLIENT) {
                read(&packet, |item| {
                    if let Item::Sender(sender) = item {
                        told.push(sender.ssrc);
                    }
                });
            }
        }
    }
    told.sort_unstable();
    told.dedup();
    assert_eq!(told, [7, 8]);
}

#[test]
fn what_cannot_share_is_refused_and_changes_nothing() {
    let mut worker = worker(Limits::default());
    allocate(&mut worker, "call", 3);
    let of = |tag, codecs: &[(u8, &str)]| Remote { bundled: Some(tag), ..remote(phone(), codecs) };
    let mut tell = |content, remote: &Remote| worker.connect("call", 0, content, remote, Time(0));
    let bundle = |why: &str| Err(Refusal::Bundle(why.into()));
    assert_eq!(tell(0, &of(0, AUDIO)), bundle("the leg has no other content 0"));
    assert_eq!(tell(0, &of(9, AUDIO)), bundle("the leg has no other content 9"));
    tell(0, &remote(phone(), AUDIO)).unwrap();
    assert_eq!(tell(1, &of(0, &[(96, "a"), (0, "b")])), bundle("payload number 0 is another content's"));
    tell(1, &of(0, &[(96, "a")])).unwrap();
    tell(1, &of(0, &[(97, "a")])).unwrap();
    assert_eq!(tell(2, &of(1, &[(98, "a")])), bundle("content 1 has no transport of its own"));
    assert_eq!(tell(2, &of(0, &[(97, "a")])), bundle("payload number 97 is another content's"));
    assert_eq!(tell(0, &remote(phone(), &[(97, "b")])), bundle("payload number 97 is another content's"));
    assert_eq!(tell(0, &of(2, AUDIO)), Err(Refusal::NoPorts));
    assert_eq!(tell(1, &remote(phone(), &[(96, "a")])), Err(Refusal::NoPorts), "its ports are gone");
    tell(2, &remote(other(), &[(97, "a")])).unwrap();
}

#[test]
fn plain_contents_share_a_port_too() {
    let mut worker = worker(Limits::default());
    let ids = allocate(&mut worker, "call", 2);
    let mut tell =
        |leg, content, remote: &Remote| worker.connect("call", leg, content, remote, Time(0)).unwrap();
    tell(0, 0, &remote(phone(), AUDIO));
    tell(0, 1, &video(remote(at(SCREEN), &[]), 99, &[]));
    // The member is described first: its carrier follows.
    tell(1, 1, &bundled(video(remote(other(), &[]), 96, &[])));
    tell(1, 0, &Remote { mux: true, ..remote(other(), AUDIO) });
    for seq in 0..5 {
        let ms = u64::from(seq) * 20;
        for (end, from, theirs, ours) in [(0, phone(), 0, 0), (2, at(SCREEN), 99, 96)] {
            let there = give(&mut worker, Socket::Rtp(ids[end]), from, ms, &rtp(theirs, seq, 7 + end as u32));
            assert_eq!(there, Some((Socket::Rtp(ids[1]), other(), rtp(ours, seq, 7 + end as u32))));
            let back = give(&mut worker, Socket::Rtp(ids[1]), other(), ms, &rtp(ours, seq, 50 + end as u32));
            assert_eq!(back, Some((Socket::Rtp(ids[end]), from, rtp(theirs, seq, 50 + end as u32))));
        }
    }
    worker.release("call").unwrap();
    let closed = std::iter::from_fn(|| worker.poll_closed()).count();
    assert_eq!(closed, 4, "each once");
}

/// A client may name any content of the bundle when it trickles.
#[test]
fn candidates_for_a_bundled_content_are_its_carriers() {
    let mut worker = worker(Limits::default());
    allocate(&mut worker, "call", 2);
    let client = Client::new("browser", CLIENT, false);
    let mut net = Net { now: Time(0), worker, address: shared(), clients: vec![client] };
    let mut facts = net.clients[0].remote(AUDIO);
    let candidates = std::mem::take(&mut facts.ice.as_mut().unwrap().candidates);
    net.worker.connect("call", 1, 0, &facts, Time(0)).unwrap();
    net.worker.connect("call", 1, 1, &bundled(video(facts, 96, &[])), Time(0)).unwrap();
    assert!(net.worker.poll_datagram().is_none(), "nowhere to go yet");
    net.worker.update("call", 1, 1, (&Ice { candidates, ..Ice::default() }, None), Time(0)).unwrap();
    let checked = (5..500).find_map(|ms| {
        net.worker.handle_timeout(Time(ms));
        net.worker.poll_datagram()
    });
    assert_eq!(checked.map(|datagram| datagram.pair.remote), Some(at(CLIENT)));
}

/// A client that answers a later offer without the group has a transport for each content.
#[test]
fn a_bundled_content_may_get_a_transport_of_its_own() {
    let (mut net, ids) = talking();
    let mut second = Client::new("again", "198.51.100.7:7002", false);
    second.meets(&net.worker, ids[3], Setup::Passive, net.now);
    let facts = video(second.remote(&[]), 96, &[]);
    net.clients.push(second);
    net.worker.connect("call", 1, 1, &facts, net.now).unwrap();
    net.run(500);
    assert_eq!(net.events(), [(1, Event::Connected)]);
    let (_, to, _) = net.give(Socket::Rtp(ids[2]), at(SCREEN), &rtp(99, 1, 8)).unwrap();
    assert_eq!(to, at("198.51.100.7:7002"));
    assert_eq!(net.say(1, &rtp(96, 1, 9), false).unwrap().1, at(SCREEN));
    assert_eq!(net.say(0, &rtp(96, 2, 9), false), None, "no longer the carrier's");
}

/// R-RTP-16 for both contents: the association is one, and so is the path.
#[test]
fn another_relay_goes_on_with_both_contents() {
    let (mut net, ids) = talking();
    for seq in 0..50 {
        net.now = net.now + 20;
        net.give(Socket::Rtp(ids[0]), phone(), &rtp(0, seq, 7)).unwrap();
        net.give(Socket::Rtp(ids[2]), at(SCREEN), &rtp(99, seq, 8)).unwrap();
    }
    net.clients[0].heard.clear();
    let taken = net.worker.poll_snapshots(net.now + 2_000, 64);
    let there = at("203.0.113.2:30000");
    let certificate = net.worker.host.certificate.clone();
    let mut worker = Worker::new(Limits::default(), Host { certificate, ..base(there) });
    let ids = allocate(&mut worker, "call", 2);
    worker.resume("call", taken[0].1.clone(), net.now);
    (net.worker, net.address) = (worker, there);
    describe(&mut net);
    net.clients[0].end.candidate(
        &signal::media::Candidate {
            priority: crate::ice::priority(crate::ice::PREFERENCE + 1),
            ..super::webrtc::host(there)
        },
        net.now,
    );
    net.run(1_000);
    assert_eq!(net.events(), [(1, Event::Resumed)]);
    let leaps = crate::packet::LEAP;
    for (end, from, theirs, ours, name, leap) in
        [(0, phone(), 0, 0, 7, leaps.0), (2, at(SCREEN), 99, 96, 8, leaps.1)]
    {
        net.give(Socket::Rtp(ids[end]), from, &rtp(theirs, 60, name)).unwrap();
        let (_, heard) = net.clients[0].heard.pop().expect("opened by the client: no new keys");
        let heard = crate::packet::rtp(&heard).unwrap();
        assert_eq!((heard.pt, heard.ssrc, heard.seq), (ours, name, 49 + leap));
        let back = net.say(0, &rtp(ours, 1, 50 + name), false).unwrap();
        assert_eq!((back.0, back.1), (Socket::Rtp(ids[end]), from));
    }
}
