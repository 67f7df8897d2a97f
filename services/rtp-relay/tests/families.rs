//! IPv4 on one leg and IPv6 on the other, over real sockets (R-RTP-13).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod common;

use common::{Phone, config, hear, plain, rtp, start, told};
use std::net::SocketAddr;

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_of_each_family_hears_the_other() {
    let mut config = config("23280-23299");
    config.relay.listen = "::".parse().unwrap();
    config.relay.advertise = "127.0.0.1".parse().ok();
    config.relay.advertise6 = "::1".parse().ok();
    let mut relay = start(config);
    let ends = relay.allocate("call").await;
    assert_eq!((ends[0].address.as_str(), ends[0].other_address.as_str()), ("127.0.0.1", "::1"));
    let candidates = &ends[0].ice.as_ref().unwrap().candidates;
    let addresses: Vec<SocketAddr> = candidates.iter().map(|c| c.address.parse().unwrap()).collect();
    assert!(addresses[0].is_ipv4() && addresses[1].is_ipv6() && addresses[0].port() == addresses[1].port());
    assert!(candidates[0].priority > candidates[1].priority);
    assert_ne!(candidates[0].foundation, candidates[1].foundation);

    let four = |port: u32| SocketAddr::from(([127, 0, 0, 1], port as u16));
    let six = |port: u32| SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port as u16));
    let (a, b) = (Phone::at("127.0.0.1"), Phone::at("::1"));
    relay.client.connect(plain("call", 0, a.address())).await.unwrap();
    relay.client.connect(plain("call", 1, b.address())).await.unwrap();
    for seq in 0..20 {
        let (there, back) = (rtp(0, seq, 1), rtp(0, 9_000 + seq, 2));
        a.rtp.send_to(&there, four(ends[0].rtp_port)).unwrap();
        assert_eq!(hear(&b.rtp), (there, six(ends[1].rtp_port)));
        b.rtp.send_to(&back, six(ends[1].rtp_port)).unwrap();
        assert_eq!(hear(&a.rtp), (back, four(ends[0].rtp_port)));
    }
    let report: Vec<u8> = [0x80c9_0001u32, 1].iter().flat_map(|w| w.to_be_bytes()).collect();
    b.rtcp.send_to(&report, six(ends[1].rtcp_port)).unwrap();
    // Each is told by the relay, in its own family, of what it is sent and of what it sends.
    for (phone, from, wanted) in [(&a, four(ends[0].rtcp_port), (2, 1)), (&b, six(ends[1].rtcp_port), (1, 2))]
    {
        let (packet, by) = hear(&phone.rtcp);
        assert_eq!((told(&packet), by), (wanted, from));
    }
    relay.stop().await;
}
