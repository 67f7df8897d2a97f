//! Nothing is left behind. Alone in its process: it counts the descriptors of all of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod common;

use common::{config, start};
use proto::v1::{ReleaseRequest, StatisticsRequest};
use std::time::Duration;

/// Descriptors of this process, once their number stays: port pairs are bound ahead when there is time.
async fn open() -> usize {
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let (mut open, mut same) = (count(), 0);
    while same < 10 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = count();
        same = if now == open { same + 1 } else { 0 };
        open = now;
    }
    open
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_sessions_leave_no_descriptor_behind() {
    let mut relay = start(config("23200-24199"));
    relay.allocate("first").await;
    let before = open().await;
    for call in 0..200 {
        relay.allocate(&format!("call {call}")).await;
    }
    assert_eq!(open().await, before + 200 * 4);
    for call in 0..200 {
        let release = ReleaseRequest { session: format!("call {call}"), ..ReleaseRequest::default() };
        relay.client.release(release).await.unwrap();
    }
    assert_eq!(open().await, before);
    let all = relay.client.statistics(StatisticsRequest::default()).await.unwrap().into_inner();
    assert_eq!(all.sessions, 1);
    relay.stop().await;
}
