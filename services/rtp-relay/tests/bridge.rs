//! Three phones at one session over the control API: a third leg is opened in a running call, the bridge moves, a leg is released.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod common;

use common::{Phone, Relay, config, hear, plain, rtp, rtp_port, start};
use proto::v1::order::Order as Asked;
use proto::v1::reply::Reply as Answer;
use proto::v1::{
    AllocateRequest, BridgeRequest, Leg, LocalEnd, Order, Orders, Pair, ReleaseRequest, StatisticsRequest,
};
use std::net::UdpSocket;
use std::time::Duration;
use tonic::Code;

fn third() -> AllocateRequest {
    let legs = vec![Leg { leg: 2, contents: 1, webrtc: false }];
    AllocateRequest { session: "call".into(), legs, grow: true, ..AllocateRequest::default() }
}

fn bridge(pairs: &[(u32, u32)]) -> BridgeRequest {
    let pairs = pairs.iter().map(|(one, other)| Pair { one: *one, other: *other }).collect();
    BridgeRequest { session: "call".into(), pairs, ..BridgeRequest::default() }
}

async fn connect(relay: &mut Relay, leg: u32, phone: &Phone) {
    relay.client.connect(plain("call", leg, phone.address())).await.unwrap();
}

/// Sequence number and SSRC of what one phone hears of another.
fn said(from: (&Phone, &LocalEnd), packet: &[u8], to: &Phone) -> (u16, u32) {
    from.0.rtp.send_to(packet, rtp_port(from.1)).unwrap();
    let (heard, _) = hear(&to.rtp);
    assert_eq!(heard[12..], packet[12..]);
    let header = relay::packet::rtp(&heard).unwrap();
    (header.seq, header.ssrc)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_leg_is_opened_bridged_and_released_in_a_running_call() {
    let mut relay = start(config("23600-23619"));
    assert_eq!(relay.client.allocate(third()).await.unwrap_err().code(), Code::NotFound, "grows nothing");
    let ends = relay.allocate("call").await;
    let phones = [Phone::new(), Phone::new(), Phone::new()];
    for leg in [0, 1] {
        connect(&mut relay, leg, &phones[leg as usize]).await;
    }
    for seq in 0..20 {
        assert_eq!(said((&phones[1], &ends[1]), &rtp(0, seq, 11), &phones[0]), (seq, 11));
    }

    let made = relay.client.allocate(third()).await.unwrap().into_inner().ends;
    let [end] = &made[..] else { panic!("{made:?}") };
    assert_eq!((end.leg, relay.client.allocate(third()).await.unwrap().into_inner().ends), (2, made.clone()));
    connect(&mut relay, 2, &phones[2]).await;
    for seq in 20..40 {
        phones[2].rtp.send_to(&rtp(0, seq, 12), rtp_port(end)).unwrap();
        assert_eq!(said((&phones[1], &ends[1]), &rtp(0, seq, 11), &phones[0]), (seq, 11));
    }
    relay.client.bridge(bridge(&[(2, 0)])).await.unwrap();
    for seq in 40..60 {
        // Who is heard by nobody reaches nobody.
        phones[1].rtp.send_to(&rtp(0, seq, 11), rtp_port(&ends[1])).unwrap();
        assert_eq!(said((&phones[2], end), &rtp(0, 700 + seq, 12), &phones[0]), (seq, 11), "one stream");
        assert_eq!(said((&phones[0], &ends[0]), &rtp(0, seq, 10), &phones[2]), (seq, 10));
    }
    let refused = relay.client.bridge(bridge(&[(0, 1), (1, 2)])).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "pairs: leg 1 is in two places"));
    let other = BridgeRequest { session: "other".into(), ..bridge(&[]) };
    assert_eq!(relay.client.bridge(other).await.unwrap_err().code(), Code::NotFound);

    // In the stream of batches orders of one session keep their order: the bridge moves, then the leg goes.
    let release = ReleaseRequest { session: "call".into(), legs: vec![0], ..ReleaseRequest::default() };
    let orders = [Asked::Bridge(bridge(&[(1, 2)])), Asked::Release(release)];
    let orders = (1..).zip(orders).map(|(id, order)| Order { id, order: Some(order) }).collect();
    let messages = futures::stream::iter([Orders { orders }]);
    let mut replies = relay.client.perform(messages).await.unwrap().into_inner();
    let replies = replies.message().await.unwrap().unwrap().replies;
    let [Some(Answer::Bridge(_)), Some(Answer::Release(last))] = [&replies[0].reply, &replies[1].reply]
    else {
        panic!("{replies:?}")
    };
    assert_eq!((last.ends.len(), last.ends[0].leg, last.ends[0].packets_out), (1, 0, 60));
    for seq in 60..80 {
        let (heard, ssrc) = said((&phones[1], &ends[1]), &rtp(0, seq, 11), &phones[2]);
        assert_eq!((heard, ssrc), (seq, 10), "the stream that it has heard from the beginning");
    }
    // Its ports are closed.
    let rebound = UdpSocket::bind(rtp_port(&ends[0]));
    assert!(rebound.is_ok(), "{rebound:?}");
    let ask = StatisticsRequest { session: "call".into() };
    let left = relay.client.statistics(ask.clone()).await.unwrap().into_inner().ends;
    assert_eq!(
        left.iter().map(|end| (end.leg, end.lost, end.dropped)).collect::<Vec<_>>(),
        [(1, 0, 0), (2, 700, 0)]
    );
    tokio::time::sleep(Duration::from_millis(100)).await;
    relay
        .client
        .release(ReleaseRequest { session: "call".into(), ..ReleaseRequest::default() })
        .await
        .unwrap();
    assert_eq!(relay.client.statistics(ask).await.unwrap().into_inner().sessions, 0);
    relay.stop().await;
}
