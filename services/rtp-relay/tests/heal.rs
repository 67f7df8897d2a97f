//! Over real sockets, which the kernel connects: a lock that heals, keys that are pressed, a planned move without a gap.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod common;

use common::{Phone, config, hear, plain, rtp, rtp_port, start};
use proto::v1::{AllocateRequest, Key, UpdateRequest};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// Speaks into an end until the other phone hears it; panics when it never does.
fn until_heard(from: &UdpSocket, to: SocketAddr, at: &Phone, seq: &mut u16, ssrc: u32) {
    at.rtp.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut buffer = [0; 2_048];
    for _ in 0..300 {
        *seq += 1;
        from.send_to(&rtp(0, *seq, ssrc), to).unwrap();
        if at.rtp.recv_from(&mut buffer).is_ok() {
            at.rtp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            return;
        }
    }
    panic!("{seq} packets were not heard");
}

#[tokio::test(flavor = "multi_thread")]
async fn f9_a_lock_heals_though_the_kernel_filters() {
    let mut relay = start(config("25100-25119"));
    let ends = relay.allocate("call").await;
    let (a, b, sprayer) = (Phone::new(), Phone::new(), Phone::new());
    relay.client.connect(plain("call", 0, a.address())).await.unwrap();
    relay.client.connect(plain("call", 1, b.address())).await.unwrap();
    let (near, mut seq) = (rtp_port(&ends[0]), 0);
    for _ in 0..10 {
        until_heard(&sprayer.rtp, near, &b, &mut seq, 66);
    }
    // The phone itself comes: it is heard at once, and the sprayer no more.
    a.rtp.send_to(&rtp(0, 500, 1), near).unwrap();
    assert_eq!(hear(&b.rtp).0[12..], rtp(0, 500, 1)[12..]);
    for n in 501..510 {
        sprayer.rtp.send_to(&rtp(0, n + 1_000, 66), near).unwrap();
        a.rtp.send_to(&rtp(0, n, 1), near).unwrap();
        assert_eq!(hear(&b.rtp).0[12..], rtp(0, n, 1)[12..]);
    }
    // The phone's NAT gives it another port: the same stream is heard again after some seconds of silence.
    let mut seq = 510;
    until_heard(&sprayer.rtp, near, &b, &mut seq, 1);
    let back = rtp(0, 1, 2);
    b.rtp.send_to(&back, rtp_port(&ends[1])).unwrap();
    assert_eq!(hear(&sprayer.rtp).0[12..], back[12..]);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e8_a_key_is_said_as_telephone_event_once() {
    let mut relay = start(config("25120-25139"));
    let ends = relay.allocate("call").await;
    let (a, b) = (Phone::new(), Phone::new());
    relay.client.connect(plain("call", 0, a.address())).await.unwrap();
    relay.client.connect(plain("call", 1, b.address())).await.unwrap();
    let press = |digit: &str, id| UpdateRequest {
        session: "call".into(),
        leg: 1,
        key: Some(Key { digit: digit.into(), duration_ms: 100, id }),
        ..UpdateRequest::default()
    };
    for (digit, id) in [("7", 1), ("7", 1), ("#", 2)] {
        relay.client.update(press(digit, id)).await.unwrap();
    }
    let mut said = vec![];
    while said.len() < 14 {
        let (packet, from) = hear(&b.rtp);
        assert_eq!((packet[1] & 0x7f, from), (101, rtp_port(&ends[1])));
        said.push((packet[12], packet[13] & 0x80 != 0, u16::from_be_bytes([packet[14], packet[15]])));
    }
    for (said, code) in said.chunks(7).zip([7, 11]) {
        assert!(said.iter().all(|(event, ..)| *event == code), "{said:?}");
        assert!(said.windows(2).all(|pair| pair[0].2 <= pair[1].2));
        assert_eq!(said[4..], [(code, true, 800); 3]);
    }
    let wrong = relay.client.update(press("xy", 3)).await.unwrap_err();
    assert_eq!(wrong.message(), "key.digit: one character");
    relay.stop().await;
}

/// A drain: the old relay forwards until its peers have moved.
#[tokio::test(flavor = "multi_thread")]
async fn a11_a_frozen_session_goes_on_elsewhere_without_a_gap() {
    let (mut first, mut second) = (start(config("25140-25159")), start(config("25160-25179")));
    let ends = first.allocate("call").await;
    let (a, b) = (Phone::new(), Phone::new());
    for (leg, phone) in [(0, &a), (1, &b)] {
        first.client.connect(plain("call", leg, phone.address())).await.unwrap();
    }
    let mut heard = vec![];
    let mut say = |end: SocketAddr, seqs: std::ops::Range<u16>| {
        for seq in seqs {
            a.rtp.send_to(&rtp(0, seq, 7), end).unwrap();
            heard.push(relay::packet::rtp(&hear(&b.rtp).0).unwrap().seq);
        }
    };
    say(rtp_port(&ends[0]), 100..120);
    let freeze = UpdateRequest { session: "call".into(), freeze: true, ..UpdateRequest::default() };
    let state = first.client.update(freeze).await.unwrap().into_inner().state;
    say(rtp_port(&ends[0]), 120..130);
    let request = AllocateRequest { state, ..AllocateRequest::of_two("call", 1) };
    let ends = second.client.allocate(request).await.unwrap().into_inner().ends;
    for (leg, phone) in [(0, &a), (1, &b)] {
        second.client.connect(plain("call", leg, phone.address())).await.unwrap();
    }
    say(rtp_port(&ends[0]), 130..150);
    assert_eq!(heard, (100..150).collect::<Vec<_>>());
    first.stop().await;
    second.stop().await;
}
