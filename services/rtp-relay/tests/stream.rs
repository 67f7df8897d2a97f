//! The control API as orchestrators use it: batches over one stream.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod common;

use common::{Phone, config, hear, plain, rtp, rtp_port, start};
use proto::v1::order::Order;
use proto::v1::reply::Reply;
use proto::v1::{self, AllocateRequest, Orders, ReleaseRequest, Replies, StatisticsRequest};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::{Code, Streaming};

struct Stream {
    outward: mpsc::Sender<Orders>,
    inward: Streaming<Replies>,
}

impl Stream {
    async fn open(relay: &mut common::Relay) -> Stream {
        let (outward, messages) = mpsc::channel::<Orders>(8);
        let messages =
            futures::stream::unfold(messages, |mut m| async move { m.recv().await.map(|o| (o, m)) });
        let inward = relay.client.perform(messages).await.unwrap().into_inner();
        Stream { outward, inward }
    }

    async fn say(&self, orders: Vec<(u64, Order)>) {
        let orders = orders.into_iter().map(|(id, order)| v1::Order { id, order: Some(order) }).collect();
        self.outward.send(Orders { orders }).await.unwrap();
    }

    async fn hear(&mut self, count: usize) -> BTreeMap<u64, Reply> {
        let mut replies = BTreeMap::new();
        while replies.len() < count {
            let message = tokio::time::timeout(Duration::from_secs(5), self.inward.message()).await;
            for reply in message.expect("no reply").unwrap().expect("the stream ended").replies {
                assert!(replies.insert(reply.id, reply.reply.unwrap()).is_none(), "{} twice", reply.id);
            }
        }
        replies
    }
}

fn allocate(session: &str, webrtc: Vec<u32>) -> Order {
    let mut request = AllocateRequest::of_two(session, 1);
    request.legs.iter_mut().for_each(|leg| leg.webrtc = webrtc.contains(&leg.leg));
    Order::Allocate(request)
}

fn release(session: &str) -> Order {
    Order::Release(ReleaseRequest { session: session.into(), ..ReleaseRequest::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_performed_in_their_order_over_several_threads_and_answered_by_number() {
    let mut config = config("23500-23699");
    config.relay.threads = 2;
    let mut relay = start(config);
    let mut stream = Stream::open(&mut relay).await;
    let phones: Vec<[Phone; 2]> = (0..8).map(|_| [Phone::new(), Phone::new()]).collect();
    // All of a call in one message: it is allocated before it is connected, whichever thread it is on.
    let mut orders = vec![];
    for (call, [a, b]) in phones.iter().enumerate() {
        let (id, name) = (100 * call as u64, format!("call {call}"));
        orders.push((id, allocate(&name, vec![])));
        orders.push((id + 1, Order::Connect(plain(&name, 0, a.address()))));
        orders.push((id + 2, Order::Connect(plain(&name, 1, b.address()))));
    }
    stream.say(orders).await;
    let replies = stream.hear(24).await;
    for (call, [a, b]) in phones.iter().enumerate() {
        let id = 100 * call as u64;
        let Reply::Allocate(made) = &replies[&id] else { panic!("{:?}", replies[&id]) };
        assert!(matches!((&replies[&(id + 1)], &replies[&(id + 2)]), (Reply::Connect(_), Reply::Connect(_))));
        a.rtp.send_to(&rtp(0, 1, 1), rtp_port(&made.ends[0])).unwrap();
        assert_eq!(hear(&b.rtp).0, rtp(0, 1, 1));
    }
    // What is wrong with one is told for that one.
    let bad = Order::Connect(plain("nobody", 0, phones[0][0].address()));
    let all = Order::Statistics(StatisticsRequest::default());
    stream.say(vec![(1, bad), (2, release("call 3")), (3, allocate("", vec![])), (4, all)]).await;
    let replies = stream.hear(4).await;
    let code = |id: u64| match &replies[&id] {
        Reply::Refused(refused) => Code::from_i32(refused.code as i32),
        other => panic!("{other:?}"),
    };
    assert_eq!((code(1), code(3)), (Code::NotFound, Code::InvalidArgument));
    let Reply::Release(last) = &replies[&2] else { panic!("{:?}", replies[&2]) };
    assert_eq!(last.ends[0].packets_in, 1);
    assert!(matches!(replies[&4], Reply::Statistics(_)));
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_is_performed_though_the_stream_breaks_and_too_much_at_once_is_refused() {
    let mut relay = start(config("23700-23799"));
    let stream = Stream::open(&mut relay).await;
    stream.say(vec![(1, allocate("call", vec![]))]).await;
    let there = async {
        while relay.client.statistics(StatisticsRequest::default()).await.unwrap().into_inner().sessions != 1
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), there).await.expect("it was not allocated");
    drop(stream);
    let mut again = Stream::open(&mut relay).await;
    again.say(vec![(9, allocate("call", vec![]))]).await;
    assert!(matches!(again.hear(1).await[&9], Reply::Allocate(_)), "given again it is the same");
    again.say((0..257).map(|id| (id, release("call"))).collect()).await;
    let refused = again.inward.message().await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("orders: 257"), "{}", refused.message());
    // A stream that nobody closes does not keep the relay.
    let _open = Stream::open(&mut relay).await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leg_that_is_webrtc_for_certain_takes_no_ports_and_cannot_be_plain() {
    let mut relay = start(config("23800-23811"));
    let mut stream = Stream::open(&mut relay).await;
    // Six pairs: one is the ICE port, so five legs can be plain.
    stream.say((0..5).map(|call| (call, allocate(&format!("call {call}"), vec![1]))).collect()).await;
    for (id, reply) in stream.hear(5).await {
        let Reply::Allocate(made) = reply else { panic!("{id}: {reply:?}") };
        assert!(made.ends[0].rtp_port != 0 && made.ends[0].rtcp_port == made.ends[0].rtp_port + 1);
        assert_eq!((made.ends[1].rtp_port, made.ends[1].rtcp_port), (0, 0));
        assert!(made.ends[1].ice.is_some() && made.ends[1].fingerprint.is_some());
    }
    let wrong = Order::Connect(plain("call 0", 1, "127.0.0.1:9".parse().unwrap()));
    let mut other = AllocateRequest::of_two("other", 1);
    other.legs[1].contents = 0;
    stream.say(vec![(1, wrong), (2, Order::Allocate(other)), (3, allocate("full", vec![1]))]).await;
    let replies = stream.hear(3).await;
    let refused = |id: u64| match &replies[&id] {
        Reply::Refused(refused) => (Code::from_i32(refused.code as i32), refused.message.clone()),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(1).0, Code::FailedPrecondition);
    assert!(refused(2).1.starts_with("legs.contents: 0"), "{}", refused(2).1);
    assert_eq!(refused(3).0, Code::ResourceExhausted);
    relay.stop().await;
}
