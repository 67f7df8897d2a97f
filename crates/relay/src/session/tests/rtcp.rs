//! RTCP ends at the relay: each leg has its own, in the words that its peer agreed on (interworking §12.2, §12.3).

use super::webrtc::{Net, connected};
use super::*;
use crate::rtcp::{Block, Item, Sender, middle, read, valid};
use signal::media::{Codec, Suite};

pub(super) fn items(compound: &[u8]) -> Vec<Item> {
    assert!(valid(compound));
    let mut items = vec![];
    read(compound, |item| items.push(item));
    items
}

/// Runs for so long and gives what the ends say meanwhile.
fn run(worker: &mut Worker, now: &mut u64, ms: u64) -> Vec<(Socket, SocketAddr, Vec<u8>)> {
    let mut said = vec![];
    for _ in 0..ms / 10 {
        *now += 10;
        worker.handle_timeout(Time(*now));
        said.extend(departures(worker, *now));
    }
    said
}

/// Every report begins with SR or RR and a name of ours, and no octet of what a peer says of itself crosses.
#[test]
fn what_a_peer_says_of_itself_ends_here_and_each_leg_hears_from_us() {
    let mut worker = worker(Limits::default());
    let (a, b) = call(&mut worker);
    let secret = compound(|w| {
        w.report(7, None, None).name(7, *b"alice@her-laptop").bye(7);
    });
    let said = give(&mut worker, Socket::Rtcp(a), at("192.0.2.30:16401"), 0, &secret);
    assert_eq!(said, None);
    let mut now = 0;
    let said = run(&mut worker, &mut now, 60_000);
    for (socket, to) in
        [(Socket::Rtcp(a), at("192.0.2.30:16401")), (Socket::Rtcp(b), at("198.51.100.7:7001"))]
    {
        let mine: Vec<_> = said.iter().filter(|(by, ..)| *by == socket).collect();
        assert!((10..=30).contains(&mine.len()), "{} reports in a minute", mine.len());
        for (_, target, packet) in mine {
            assert_eq!(*target, to);
            assert_eq!((&packet[..4], packet[9]), (&[0x80, 201, 0, 1][..], 202), "RR, SDES");
            assert!(!packet.windows(5).any(|w| w == b"alice"));
        }
    }
    assert_ne!(said[0].2[8..], said.iter().find(|(by, ..)| *by != said[0].0).unwrap().2[8..], "two parties");
}

#[test]
fn rtcp_has_its_own_port_or_shares_it_and_what_is_no_rtcp_is_dropped() {
    let mut worker = worker(Limits::default());
    let (a, b) = call(&mut worker);
    let mux = Remote { mux: true, ..remote(other(), &[(0, "PCMU")]) };
    worker.connect("call", 1, 0, &mux, Time(0)).unwrap();
    let mut now = 0;
    for (socket, to, _) in run(&mut worker, &mut now, 10_000) {
        let wanted = if socket == Socket::Rtcp(a) { at("192.0.2.30:16401") } else { other() };
        assert!(socket == Socket::Rtcp(a) || socket == Socket::Rtp(b));
        assert_eq!(to, wanted);
    }
    let mut cut = receiver_report(7);
    cut[3] = 9;
    assert_eq!(give(&mut worker, Socket::Rtcp(a), at("192.0.2.30:16401"), now, &cut), None);
    assert_eq!(statistics(&worker)[0].dropped, 1);
}

/// SR and RR tell what the relay sent and heard, under the name of the stream that the peer hears.
#[test]
fn reports_tell_what_crossed() {
    let mut worker = worker(Limits::default());
    let (a, b) = call(&mut worker);
    let mut said = vec![];
    let source = Sender { ssrc: 7, ntp: 500 << 32, timestamp: 16_000, packets: 1, octets: 1 };
    let first = compound(|w| {
        w.report(7, Some(&source), None);
    });
    for seq in 0..500u16 {
        let ms = u64::from(seq) * 20;
        worker.handle_timeout(Time(ms));
        // Each tenth of the phone's packets is lost on its way to us; the other side is silent.
        if seq % 10 != 5 {
            give(&mut worker, Socket::Rtp(a), phone(), ms, &rtp(0, seq, 7)).unwrap();
        }
        if seq == 100 {
            give(&mut worker, Socket::Rtcp(a), at("192.0.2.30:16401"), ms, &first);
        }
        said.extend(departures(&mut worker, ms).into_iter().map(|(socket, _, packet)| (ms, socket, packet)));
    }
    let (mut senders, mut blocks) = (vec![], vec![]);
    for (ms, socket, packet) in &said {
        for item in items(packet) {
            match item {
                Item::Sender(sender) if *socket == Socket::Rtcp(b) => senders.push((*ms, sender)),
                Item::Block(block) if *socket == Socket::Rtcp(a) => blocks.push((*ms, block)),
                other => panic!("{other:?} by {socket:?}"),
            }
        }
    }
    assert!(senders.iter().any(|(ms, _)| *ms == 2_000), "hastened by the first report: {senders:?}");
    for (ms, sender) in senders {
        let sent = ms / 20 + 1 - (ms / 20 + 5) / 10;
        assert_eq!((sender.ssrc, u64::from(sender.packets)), (7, sent), "at {ms}");
        assert_eq!(sender.octets, sender.packets * 160);
        if ms >= 2_000 {
            // The source's own clock goes on; 8000 a second.
            let since = ms - 2_000;
            assert_eq!(middle(sender.ntp), (500 << 16) + (since << 16) as u32 / 1_000, "at {ms}");
            assert_eq!(u64::from(sender.timestamp), 16_000 + since * 8);
        }
    }
    let (ms, block) = *blocks.last().unwrap();
    // The newest may be one of those that were lost.
    let newest = ms / 20 - u64::from(ms / 20 % 10 == 5);
    assert_eq!((block.ssrc, u64::from(block.highest), block.jitter), (7, newest, 0));
    assert!((22..=30).contains(&block.fraction), "a tenth of 256: {block:?}");
    assert_eq!(block.lost as u64, (newest + 5) / 10);
    assert_eq!((block.last_report, block.delay), (500 << 16, ((ms - 2_000) * 65_536 / 1_000) as u32));
}

/// Round trip, loss and scores: by what the peer's reports say of ours.
#[test]
fn figures_tell_loss_jitter_round_trip_and_score() {
    let mut worker = worker(Limits::default());
    let (a, b) = call(&mut worker);
    for seq in 0..600u16 {
        let ms = u64::from(seq) * 20;
        worker.handle_timeout(Time(ms));
        give(&mut worker, Socket::Rtp(b), other(), ms, &rtp(0, seq, 9)).unwrap();
        if seq % 20 != 7 {
            give(&mut worker, Socket::Rtp(a), phone(), ms, &rtp(0, seq, 7)).unwrap();
        }
        for (socket, _, packet) in departures(&mut worker, ms) {
            let Some(Item::Sender(sender)) = items(&packet).first().copied() else { continue };
            if socket != Socket::Rtcp(a) {
                continue;
            }
            // The phone has heard the stream of the other side, loses a sixteenth, and answers after 100 ms and two ways of 30 ms.
            let block = Block {
                ssrc: sender.ssrc,
                fraction: 16,
                lost: 5,
                highest: 1,
                jitter: 80,
                last_report: middle(sender.ntp),
                delay: 6_554,
            };
            let answer = compound(|w| {
                w.report(7, None, Some(&block));
            });
            give(&mut worker, Socket::Rtcp(a), at("192.0.2.30:16401"), ms + 160, &answer);
        }
    }
    let [first, second] = &statistics(&worker)[..] else { panic!() };
    assert_eq!((first.lost, first.expected), (30, 600));
    assert!((40_000..=60_000).contains(&first.loss_ppm), "{}", first.loss_ppm);
    assert!(first.round_trip_us.is_some_and(|trip| trip.abs_diff(60_000) < 100), "{first:?}");
    let seen = first.view.unwrap();
    assert_eq!((seen.lost, seen.loss_ppm, seen.jitter_us), (5, 62_500, 10_000));
    assert_eq!(first.codec, "PCMU");
    assert_eq!((second.lost, second.loss_ppm, second.view, second.round_trip_us), (0, 0, None, None));
    assert!(second.mos > Some(430) && first.mos < Some(390), "{:?} {:?}", first.mos, second.mos);
    assert!(first.mos_mean.unwrap().abs_diff(first.mos.unwrap()) < 30);
    assert!(seen.mos.is_some_and(|mos| (340..380).contains(&mos)), "{seen:?}");
    // Each of both streams, each second.
    let histograms = worker.histograms();
    let count = |scale: Scale| histograms.counts[scale as usize].iter().sum::<u64>();
    assert!((20..=24).contains(&count(Scale::Loss)) && count(Scale::Loss) == count(Scale::Mos));
    assert!((5..=12).contains(&count(Scale::RoundTrip)), "{histograms:?}");
}

pub(super) fn video(pt: u8, feedback: &[&str]) -> Codec {
    let mut codec = Codec::new(pt, "VP8", 90_000, 1);
    codec.feedback = feedback.iter().map(|line| (*line).to_owned()).collect();
    codec
}

/// A video call of two plain ends that agreed on this feedback.
fn video_call(worker: &mut Worker, near: &[&str], far: &[&str]) -> (EndpointId, EndpointId) {
    let ids = allocate(worker, "call", 1);
    for (leg, address, lines) in [(0, phone(), near), (1, other(), far)] {
        let facts = Remote { codecs: vec![video(96, lines)], mux: true, ..remote(address, &[]) };
        worker.connect("call", leg, 0, &facts, Time(0)).unwrap();
    }
    (ids[0], ids[1])
}

/// Pictures of the far side (source 9), so that somebody can miss them: `count` packets from `seq` on.
fn send(worker: &mut Worker, b: EndpointId, ms: u64, seq: u16, count: u16) -> Vec<Vec<u8>> {
    (0..count).map(|n| give(worker, Socket::Rtp(b), other(), ms, &rtp(96, seq + n, 9)).unwrap().2).collect()
}

pub(super) const ALL: &[&str] = &["nack", "nack pli", "ccm fir", "goog-remb", "transport-cc"];

/// R-RTP-4, towards whoever agreed on PLI, on FIR alone, and on neither.
#[test]
fn a_storm_of_requests_is_one_a_second_in_the_words_of_the_other_side() {
    for (far, wanted) in [(ALL, Some(1u8)), (&["ccm fir"], Some(4)), (&["nack"], None)] {
        let mut worker = worker(Limits::default());
        let (a, b) = video_call(&mut worker, ALL, far);
        send(&mut worker, b, 0, 0, 10);
        let (mut asked, mut now) = (vec![], 0);
        for n in 0..3_000u32 {
            now += 1;
            let storm = compound(|w| match n % 2 {
                0 => {
                    w.report(7, None, None).pli(7, 9);
                }
                _ => {
                    w.report(7, None, None).fir(7, 9, n as u8);
                }
            });
            assert_eq!(give(&mut worker, Socket::Rtp(a), phone(), now, &storm), None);
            worker.handle_timeout(Time(now));
            for (socket, to, packet) in departures(&mut worker, now) {
                if items(&packet).contains(&Item::KeyframeRequest { media: 9 }) {
                    assert_eq!((socket, to), (Socket::Rtp(b), other()));
                    // Behind RR or SR and the name: a compound packet, also in haste.
                    let last = packet.len() - if wanted == Some(1) { 12 } else { 20 };
                    assert_eq!((packet[last] & 0x1f, packet[last + 1]), (wanted.unwrap(), 206));
                    asked.push(now);
                }
            }
        }
        let reports = std::iter::from_fn(|| worker.poll_event());
        let told = reports.filter(|r| r.event == Event::KeyframeWanted && r.leg.0 == 1).count();
        if wanted.is_some() {
            assert!((3..=4).contains(&asked.len()), "{asked:?}");
            assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= 1_000), "{asked:?}");
            assert_eq!(told, 0);
        } else {
            assert_eq!((asked.len(), told), (0, 2), "by signalling, every other second");
        }
        // A last request within the second is answered after it, and is not lost.
        let last = compound(|w| {
            w.report(7, None, None).pli(7, 9);
        });
        run(&mut worker, &mut now, 3_000);
        for _ in 0..2 {
            give(&mut worker, Socket::Rtp(a), phone(), now, &last);
            departures(&mut worker, now);
        }
        let later = run(&mut worker, &mut now, 2_500);
        let later =
            later.iter().filter(|(.., p)| items(p).contains(&Item::KeyframeRequest { media: 9 })).count();
        assert_eq!(later, usize::from(wanted.is_some()), "{far:?}");
    }
}

#[test]
fn missed_packets_are_sent_again_as_they_were_and_others_asked_for() {
    for far in [ALL, &["nack pli"], &[]] {
        let mut worker = worker(Limits::default());
        let (a, b) = video_call(&mut worker, ALL, far);
        // Before it, another source: the stream is numbered on from there.
        give(&mut worker, Socket::Rtp(b), other(), 0, &rtp(96, 40_000, 5)).unwrap();
        let sent = send(&mut worker, b, 0, 100, 50);
        let first = crate::packet::rtp(&sent[0]).unwrap().seq;
        assert_eq!(first, 40_001);
        // The phone misses two that were sent, and one that never came here.
        let nack = compound(|w| {
            w.report(7, None, None).nack(7, 5, &[(first + 3, 1 << 9), (first + 60, 0)]);
        });
        give(&mut worker, Socket::Rtp(a), phone(), 20, &nack);
        let said = departures(&mut worker, 20);
        let again: Vec<_> = said.iter().filter(|(_, to, _)| *to == phone()).map(|d| d.2.clone()).collect();
        assert_eq!(again, [sent[3].clone(), sent[13].clone()]);
        let asked: Vec<_> =
            said.iter().filter(|(_, to, _)| *to == other()).flat_map(|d| items(&d.2)).collect();
        let asked: Vec<_> = asked
            .into_iter()
            .filter(|i| matches!(i, Item::Nack { .. } | Item::KeyframeRequest { .. }))
            .collect();
        let wanted = match far.len() {
            // Who keeps none sends a picture that needs none; by signalling, where RTCP does not serve.
            0 => vec![],
            1 => vec![Item::KeyframeRequest { media: 9 }],
            _ => vec![Item::Nack { media: 9, first: 160, mask: 0 }],
        };
        assert_eq!(asked, wanted, "in the source's numbers");
        let reports = std::iter::from_fn(|| worker.poll_event());
        let told = reports.filter(|r| r.event == Event::KeyframeWanted && r.leg.0 == 1).count();
        assert_eq!(told, usize::from(far.is_empty()));
        // At once again: not so soon. Too old: never.
        give(&mut worker, Socket::Rtp(a), phone(), 22, &nack);
        assert!(departures(&mut worker, 22).iter().all(|(_, to, _)| *to == other()));
        give(&mut worker, Socket::Rtp(a), phone(), 600, &nack);
        assert!(departures(&mut worker, 600).iter().all(|(_, to, _)| *to == other()));
        // A stream that we do not send is none of ours.
        let foreign = compound(|w| {
            w.report(7, None, None).nack(7, 9, &[(first + 3, 0)]).pli(7, 12_345);
        });
        give(&mut worker, Socket::Rtp(a), phone(), 700, &foreign);
        assert_eq!(departures(&mut worker, 700), []);
    }
}

#[test]
fn estimates_reach_only_who_agreed_on_them() {
    for (far, wanted) in [(ALL, vec![Item::Estimate { bits: 262_143 }]), (&["nack", "nack pli"], vec![])] {
        let mut worker = worker(Limits::default());
        let (a, b) = video_call(&mut worker, ALL, far);
        send(&mut worker, b, 0, 0, 2);
        // REMB, and a transport-wide report (205/15), which ends here whatever was agreed: no header extension crosses.
        let mut packet = compound(|w| {
            w.report(7, None, None).estimate(7, 9, 262_143);
        });
        packet.extend([0x8f, 205, 0, 4, 0, 0, 0, 7, 0, 0, 0, 9, 0, 1, 0, 1, 0, 0, 0, 0]);
        give(&mut worker, Socket::Rtp(a), phone(), 5, &packet);
        let said: Vec<_> = departures(&mut worker, 5).iter().flat_map(|d| items(&d.2)).collect();
        let said: Vec<_> = said.into_iter().filter(|i| matches!(i, Item::Estimate { .. })).collect();
        assert_eq!(said, wanted);
    }
}

/// INFO picture_fast_update (RFC 5168) of the other side comes by control.
#[test]
fn a_keyframe_is_requested_by_control_too() {
    let mut worker = worker(Limits::default());
    let (_, b) = video_call(&mut worker, &[], ALL);
    send(&mut worker, b, 0, 0, 2);
    worker.request_keyframe("call", 1, 0).unwrap();
    worker.request_keyframe("call", 1, 0).unwrap();
    let said = departures(&mut worker, 5);
    assert_eq!(
        said.iter()
            .filter(|d| items(&d.2) == [Item::Block(block_of(&d.2)), Item::KeyframeRequest { media: 9 }])
            .count(),
        1
    );
    assert!(
        worker.request_keyframe("call", 2, 0).is_err() && worker.request_keyframe("no call", 0, 0).is_err()
    );
}

/// After a move to another relay, and after a hold, frames are missing that later ones depend on.
#[test]
fn a_keyframe_is_requested_after_a_break() {
    let mut first = worker(Limits::default());
    let (_, b) = video_call(&mut first, ALL, ALL);
    send(&mut first, b, 0, 0, 10);
    let taken = first.poll_snapshots(Time(2_000), 64);
    let mut next = worker(Limits::default());
    allocate(&mut next, "call", 1);
    next.resume("call", taken[0].1.clone(), Time(2_000));
    let connect = |next: &mut Worker, leg, address, direction| {
        let facts = Remote { codecs: vec![video(96, ALL)], mux: true, ..remote(phone(), &[]) };
        next.connect("call", leg, 0, &Remote { address, direction, ..facts }, Time(2_000)).unwrap();
    };
    let (_, b) = (connect(&mut next, 0, None, Direction::Both), next.find("call", 1, 0).unwrap());
    connect(&mut next, 1, Some(other()), Direction::Both);
    let b = next.endpoints.get(b).unwrap().id;
    let asked = |next: &mut Worker, ms| {
        let said = departures(next, ms);
        said.iter().filter(|(.., packet)| items(packet).contains(&Item::KeyframeRequest { media: 9 })).count()
    };
    // There is no way to the receiver yet: what is lost now is part of the break.
    assert_eq!(give(&mut next, Socket::Rtp(b), other(), 2_010, &rtp(96, 20, 9)), None);
    assert_eq!(asked(&mut next, 2_010), 0);
    connect(&mut next, 0, Some(phone()), Direction::Both);
    send(&mut next, b, 2_020, 21, 2);
    assert_eq!(asked(&mut next, 2_020), 1);
    connect(&mut next, 0, Some(phone()), Direction::Send);
    connect(&mut next, 0, Some(phone()), Direction::Both);
    assert_eq!(asked(&mut next, 5_000), 0, "before it goes on");
    send(&mut next, b, 5_000, 30, 2);
    assert_eq!(asked(&mut next, 5_000), 1);
}

fn block_of(compound: &[u8]) -> Block {
    items(compound).iter().find_map(|i| if let Item::Block(b) = i { Some(*b) } else { None }).unwrap()
}

#[test]
fn sound_has_no_feedback_whatever_a_peer_asks_for() {
    let mut worker = worker(Limits::default());
    let (a, b) = call(&mut worker);
    give(&mut worker, Socket::Rtp(b), other(), 0, &rtp(0, 1, 9)).unwrap();
    let packet = compound(|w| {
        w.report(7, None, None).nack(7, 9, &[(0, 0xffff)]).pli(7, 9).fir(7, 9, 1).estimate(7, 9, 1);
    });
    for n in 0..1_000 {
        give(&mut worker, Socket::Rtcp(a), at("192.0.2.30:16401"), n, &packet);
    }
    assert_eq!(departures(&mut worker, 1_000), []);
    assert!(worker.poll_event().is_none_or(|r| r.event != Event::KeyframeWanted));
}

/// Between a phone's two ports and a client's one, encrypted on one side only.
#[test]
fn a_client_is_told_in_srtcp_what_a_phone_is_told_in_the_clear() {
    let (mut net, a, _) = connected();
    let Net { clients, .. } = &net;
    let client = clients[0].address;
    for seq in 0..300u16 {
        net.run(20);
        net.give(Socket::Rtp(a), phone(), &rtp(0, seq, 7)).unwrap();
        net.say(0, &rtp(0, seq, 9), false).unwrap();
        if seq % 50 == 0 {
            assert_eq!(net.say(0, &receiver_report(9), true), None);
            assert_eq!(net.give(Socket::Rtcp(a), at("192.0.2.30:16401"), &receiver_report(7)), None);
        }
        for (to, packet) in net.departures() {
            let (ours, theirs) = if to == client { (7, 9) } else { (9, 7) };
            assert!(to == client || to == at("192.0.2.30:16401"));
            let [Item::Sender(sender), Item::Block(block)] = items(&packet)[..] else { panic!() };
            assert_eq!((sender.ssrc, block.ssrc), (ours, theirs));
            assert_eq!((block.lost, block.fraction), (0, 0));
        }
    }
    let statistics = net.worker.statistics("call").unwrap();
    assert_eq!((statistics[0].dropped, statistics[1].dropped), (0, 0));
}

/// The same to a phone whose keys came by signalling: reports are sealed, and a packet that is sent again is the same packet.
#[test]
fn a_phone_that_encrypts_is_told_in_srtcp_and_sent_again_what_it_missed() {
    for suite in Suite::ALL {
        let mut worker = worker(Limits::default());
        let (a, b, mut secure) = sdes::call(&mut worker, suite);
        let near = Remote { codecs: vec![video(96, ALL)], ..secure.remote(phone()) };
        worker.connect("call", 0, 0, &near, Time(0)).unwrap();
        let far = Remote { codecs: vec![video(96, ALL)], ..remote(other(), &[]) };
        worker.connect("call", 1, 0, &far, Time(0)).unwrap();
        let sent = send(&mut worker, b, 0, 100, 20);
        for (seq, wire) in (100..).zip(&sent).filter(|(seq, _)| *seq != 107) {
            assert_eq!(secure.open(wire.clone()), Some(rtp(96, seq, 9)), "{suite:?}");
        }
        let nack = secure.seal(&compound(|w| {
            w.report(7, None, None).name(7, [b'x'; 16]).nack(7, 9, &[(107, 0)]);
        }));
        let rtcp = at("192.0.2.30:16401");
        assert_eq!(give(&mut worker, Socket::Rtcp(a), rtcp, 30, &nack), None);
        let again: Vec<_> = departures(&mut worker, 30).into_iter().map(|said| said.2).collect();
        assert_eq!(again, [sent[7].clone()]);
        assert_eq!(secure.open(again[0].clone()), Some(rtp(96, 107, 9)));
        let mut now = 30;
        let said = run(&mut worker, &mut now, 12_000);
        let told: Vec<_> = said.into_iter().filter(|(_, to, _)| *to == rtcp).collect();
        assert!(!told.is_empty());
        for (socket, _, wire) in told {
            assert_eq!(socket, Socket::Rtcp(a));
            // Its own last octets are no report: they are the index and the tag.
            assert!(!valid(&wire));
            assert!(items(&secure.open(wire).expect("under its key")).len() <= 1);
        }
        assert_eq!(statistics(&worker)[0].dropped, 0);
    }
}

/// Hostile RTCP from the right address: nothing of it leaves, and the endpoints keep their bounds.
#[test]
fn hostile_reports_are_bounded() {
    let mut worker = worker(Limits::default());
    let (a, b) = video_call(&mut worker, ALL, ALL);
    send(&mut worker, b, 0, 0, 300);
    let mut octets = 0;
    for n in 0..2_000u16 {
        let items: Vec<(u16, u16)> = (0..40).map(|i| (n.wrapping_mul(40).wrapping_add(i), 0xffff)).collect();
        let packet = compound(|w| {
            w.report(7, None, None).nack(7, 9, &items).pli(7, 9).estimate(7, 9, u64::MAX);
        });
        let now = 10 + u64::from(n / 100);
        give(&mut worker, Socket::Rtp(a), phone(), now, &packet);
        let said = departures(&mut worker, now);
        assert!(said.len() <= 66, "{}", said.len());
        octets += said.iter().map(|d| d.2.len()).sum::<usize>();
        assert!(worker.rtcp_queue.is_empty());
    }
    // 2,000 packets of 240 octets came; what is sent again is sent every 10 ms at most.
    assert!(octets < 2_000 * 240 + 3 * 300 * 172, "{octets}");
}
