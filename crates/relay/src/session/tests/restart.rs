//! ICE restarts of a client (R-RTP-8, R-RTP-17, RFC 8445 §9), on virtual time.

use super::webrtc::{Net, connected};
use super::*;
use crate::ice::Credentials;
use crate::webrtc::TransportEvent;
use signal::media::{Ice, Setup};

const CODECS: &[(u8, &str)] = &[(0, "PCMU"), (96, "telephone-event")];

fn words(name: &str) -> Credentials {
    Credentials { ufrag: name.into(), pwd: name.repeat(6) }
}

/// The client has restarted under this name and says so; ours would be `fresh`.
fn said(net: &Net, theirs: &str, fresh: &str) -> Remote {
    let mut facts = net.clients[0].remote(CODECS);
    let Credentials { ufrag, pwd } = words(theirs);
    facts.ice = facts.ice.map(|ice| Ice { ufrag, pwd, ..ice });
    Remote { fresh: Some(words(fresh)), ..facts }
}

fn restarts(net: &mut Net, theirs: &str, fresh: &str) {
    net.clients[0].end.restart(&words(theirs), net.now).unwrap();
    let facts = said(net, theirs, fresh);
    net.worker.connect("call", 1, 0, &facts, net.now).unwrap();
}

/// Credentials that the client is answered with: name, number of restarts.
fn answer(net: &Net) -> Option<(String, u32)> {
    net.worker.restarted("call", 1, 0).map(|local| {
        assert_eq!(local.pwd, words(&local.ufrag).pwd);
        (local.ufrag.clone(), local.generation)
    })
}

fn names(net: &Net, end: EndpointId) -> Vec<&str> {
    let mut names: Vec<&str> =
        net.worker.ufrags.iter().filter(|(_, at)| **at == end.index).map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names
}

/// Both hear each other, with keys that are the old ones.
fn talk(net: &mut Net, phones: EndpointId, seq: u16) {
    net.give(Socket::Rtp(phones), phone(), &rtp(0, seq, 7)).expect("to the client");
    assert_eq!(net.clients[0].heard.pop().expect("heard").1, rtp(0, seq, 7));
    assert_eq!(net.say(0, &rtp(0, seq, 9), false).expect("to the phone").2, rtp(0, seq, 9));
}

fn undisturbed(net: &mut Net) {
    let told: Vec<_> = net.events().into_iter().filter(|told| *told != (0, Event::Connected)).collect();
    assert_eq!(told, []);
    let [TransportEvent::Connected { .. }] = net.clients[0].events[..] else {
        panic!("{:?}", net.clients[0].events)
    };
}

/// R-RTP-17.
#[test]
fn a_restart_is_answered_with_new_credentials_and_the_old_path_lasts_until_the_new_one_works() {
    let (mut net, a, b) = connected();
    assert_eq!(answer(&net), None, "those that it was made with");
    restarts(&mut net, "again", "first");
    assert_eq!(answer(&net), Some(("first".into(), 1)));
    // The answer takes long, and the order is given again: consent is kept under the old names all the while.
    for seq in 0..280 {
        net.run(100);
        talk(&mut net, a, seq);
        if seq == 50 {
            let facts = said(&net, "again", "other");
            net.worker.connect("call", 1, 0, &facts, net.now).unwrap();
            assert_eq!(answer(&net), Some(("first".into(), 1)), "the same answer");
        }
    }
    undisturbed(&mut net);
    assert_eq!(names(&net, b), ["first", "ufrag1"]);
    net.clients[0].meets(&net.worker, b, Setup::Passive, net.now);
    net.run(1_000);
    assert_eq!(names(&net, b), ["first"]);
    for seq in 300..700 {
        net.run(100);
        talk(&mut net, a, seq);
    }
    undisturbed(&mut net);
    net.worker.release("call").unwrap();
    assert!(net.worker.ufrags.is_empty());
}

#[test]
fn a_restart_may_come_among_the_candidates_and_late_ones_of_before_do_not_undo_it() {
    let (mut net, a, b) = connected();
    net.clients[0].end.restart(&words("again"), net.now).unwrap();
    let Credentials { ufrag, pwd } = words("again");
    let new =
        Ice { ufrag, pwd, candidates: vec![super::webrtc::host(net.clients[0].address)], ..Ice::default() };
    net.worker.update("call", 1, 0, (&new, Some(words("first"))), net.now).unwrap();
    assert_eq!(answer(&net), Some(("first".into(), 1)));
    let late = net.clients[0].remote(CODECS);
    net.worker.update("call", 1, 0, (late.ice.as_ref().unwrap(), Some(words("wrong"))), net.now).unwrap();
    net.worker.connect("call", 1, 0, &Remote { fresh: Some(words("wrong")), ..late }, net.now).unwrap();
    assert_eq!(answer(&net), Some(("first".into(), 1)));
    net.clients[0].meets(&net.worker, b, Setup::Passive, net.now);
    net.run(1_000);
    assert_eq!(names(&net, b), ["first"]);
    talk(&mut net, a, 1);
    undisturbed(&mut net);
}

/// A client that hurries restarts before the last restart has come to anything.
#[test]
fn of_many_restarts_the_last_counts_and_the_path_before_them_all_is_kept() {
    let (mut net, a, b) = connected();
    for n in 0..20u16 {
        restarts(&mut net, &format!("again{n}"), &format!("fresh{n}"));
        net.run(100);
        talk(&mut net, a, n);
        assert_eq!(names(&net, b), [&*format!("fresh{n}"), "ufrag1"]);
    }
    net.clients[0].meets(&net.worker, b, Setup::Passive, net.now);
    net.run(1_000);
    assert_eq!((names(&net, b), answer(&net)), (vec!["fresh19"], Some(("fresh19".into(), 20))));
    talk(&mut net, a, 50);
    undisturbed(&mut net);
}

#[test]
fn a_restart_that_makes_no_sense_changes_nothing() {
    let (mut net, a, b) = connected();
    let mut facts = said(&net, "again", "first");
    facts.ice.as_mut().unwrap().pwd = "short".into();
    assert!(matches!(net.worker.connect("call", 1, 0, &facts, net.now), Err(Refusal::Ice(_))));
    assert_eq!((names(&net, b), answer(&net)), (vec!["ufrag1"], None));
    net.run(50_000);
    talk(&mut net, a, 1);
    undisturbed(&mut net);
}

/// R-RTP-16: whoever goes on for a relay has the credentials that the client was told last, and a restart that this one never
/// heard of is one there.
#[test]
fn another_relay_goes_on_with_the_credentials_of_a_restart() {
    // What the client was told may have come to the orchestrators but not into the state.
    for (heard, told) in [(true, None), (false, None), (false, Some((words("first"), 1)))] {
        let (mut net, ..) = connected();
        let kept = |net: &mut Net| {
            let [(_, snapshot)] = &net.worker.poll_snapshots(net.now + 2_000, 64)[..] else { panic!() };
            snapshot.clone()
        };
        let before = kept(&mut net);
        restarts(&mut net, "again", "first");
        let after = kept(&mut net);
        assert_ne!(before, after, "a restart is stated");
        let certificate = net.worker.host.certificate.clone();
        let there = at("203.0.113.2:30000");
        net.worker = Worker::new(Limits::default(), Host { certificate, ..base(there) });
        let ids = allocate(&mut net.worker, "call", 1);
        net.worker.resume("call", if heard { after } else { before }, net.now);
        net.worker
            .connect("call", 0, 0, &remote(phone(), &[(0, "PCMU"), (101, "telephone-event")]), net.now)
            .unwrap();
        let facts = Remote { told: told.clone(), ..said(&net, "again", "second") };
        net.worker.connect("call", 1, 0, &facts, net.now).unwrap();
        let ours = if heard || told.is_some() { "first" } else { "second" };
        assert_eq!((answer(&net), names(&net, ids[1])), (Some((ours.into(), 1)), vec![ours]));
        net.address = there;
        let local = net.worker.endpoints.get(ids[1].index).unwrap().local.clone();
        let ice = Ice {
            ufrag: local.ufrag,
            pwd: local.pwd,
            candidates: vec![super::webrtc::host(there)],
            ..Ice::default()
        };
        let dtls = signal::media::Dtls {
            fingerprints: vec![net.worker.host.certificate.fingerprint()],
            setup: Setup::Passive,
        };
        net.clients[0].end.remote(&ice, &dtls, net.now).unwrap();
        net.run(1_000);
        assert_eq!(net.events(), [(1, Event::Resumed)]);
        assert!(net.say(0, &rtp(0, 2_000, 9), false).is_some());
    }
}

/// A client that wanders on and on is still heard where it has come to.
#[test]
fn of_many_addresses_those_heard_of_last_and_the_one_in_use_are_kept() {
    let (mut net, a, b) = connected();
    for generation in 0..4u16 {
        restarts(&mut net, &format!("again{generation}"), &format!("fresh{generation}"));
        net.clients[0].meets(&net.worker, b, Setup::Passive, net.now);
        net.run(1_000);
        let mut check = loop {
            net.now = net.now + 50;
            net.clients[0].end.tick(net.now);
            let sent = net.clients[0].end.poll_transmit().map(|sent| sent.octets);
            if let Some(check) = sent.filter(|octets| octets.starts_with(&[0, 1])) {
                break check;
            }
        };
        let length = check.len();
        check.resize(length + crate::srtp::ROOM, 0);
        for host in 1..=50 {
            let from = at(&format!("198.51.100.{host}:{}", 9_000 + generation));
            let arrival = Arrival(net.now.0 * 1_000);
            net.worker.handle_datagram(Socket::Shared, from, arrival, &mut check.clone(), length);
            assert_eq!(net.worker.addressed(from, &[128; 40]), Some(b.index), "{from}");
        }
        assert!(net.worker.addresses.len() <= 64, "{}", net.worker.addresses.len());
        talk(&mut net, a, generation);
    }
    net.worker.release("call").unwrap();
    assert!(net.worker.addresses.is_empty());
}
