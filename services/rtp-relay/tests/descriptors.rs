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

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_sessions_leave_no_descriptor_behind() {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mut relay = start(config("23200-24199"));
    relay.allocate("first").await;
    let before = open();
    for call in 0..200 {
        relay.allocate(&format!("call {call}")).await;
    }
    assert_eq!(open(), before + 200 * 4);
    for call in 0..200 {
        let release = ReleaseRequest { session: format!("call {call}"), trace: String::new() };
        relay.client.release(release).await.unwrap();
    }
    assert_eq!(open(), before);
    let all = relay.client.statistics(StatisticsRequest::default()).await.unwrap().into_inner();
    assert_eq!(all.sessions, 1);
    relay.stop().await;
}
