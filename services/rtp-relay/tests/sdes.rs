//! Phones that encrypt (SDES), over real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod common;

use common::{Phone, config, hear, plain, rtcp_port, rtp, rtp_port, start};
use proto::v1::{ConnectRequest, Crypto, StatisticsRequest};
use relay::srtp::{Context, ROOM, Suite};
use std::net::SocketAddr;
use tonic::Code;

fn context(line: &Crypto) -> Context {
    let suite = Suite::named(&line.suite).unwrap();
    let (key, salt) = line.key.split_at(suite.lengths().0);
    Context::new(suite, key, salt).unwrap()
}

fn line(suite: Suite, octet: u8) -> Crypto {
    let (key, salt) = suite.lengths();
    Crypto { tag: 1, suite: suite.name().into(), key: vec![octet; key + salt], mki: 0 }
}

fn keyed(session: &str, leg: u32, address: SocketAddr, line: &Crypto) -> ConnectRequest {
    ConnectRequest { crypto: vec![line.clone()], ..plain(session, leg, address) }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_suite_is_served_with_a_key_of_the_end() {
    let mut relay = start(config("23200-23259"));
    for suite in Suite::ALL {
        let session = suite.name();
        let ends = relay.allocate(session).await;
        let names: Vec<_> = ends[0].crypto.iter().map(|line| line.suite.as_str()).collect();
        assert_eq!(names, Suite::ALL.map(Suite::name));
        assert_ne!(ends[0].crypto, ends[1].crypto);
        assert!(!format!("{ends:?}").contains("key"), "keys are not shown");

        let (a, b, theirs) = (Phone::new(), Phone::new(), line(suite, 9));
        relay.client.connect(keyed(session, 0, a.address(), &theirs)).await.unwrap();
        relay.client.connect(plain(session, 1, b.address())).await.unwrap();
        let ours = ends[0].crypto.iter().find(|line| line.suite == suite.name()).unwrap();
        let (mut outward, mut inward) = (context(&theirs), context(ours));
        for seq in 0..20 {
            let (there, back) = (rtp(0, seq, 1), rtp(0, 9_000 + seq, 2));
            let mut wire = [&there[..], &[0; ROOM]].concat();
            let length = outward.protect(&mut wire, there.len()).unwrap();
            a.rtp.send_to(&wire[..length], rtp_port(&ends[0])).unwrap();
            assert_eq!(hear(&b.rtp), (there, rtp_port(&ends[1])));
            b.rtp.send_to(&back, rtp_port(&ends[1])).unwrap();
            let (mut wire, from) = hear(&a.rtp);
            let length = inward.unprotect(&mut wire).unwrap();
            assert_eq!((&wire[..length], from), (&back[..], rtp_port(&ends[0])));
        }
        let report: Vec<u8> = [0x80c9_0001u32, 1].iter().flat_map(|w| w.to_be_bytes()).collect();
        let mut wire = [&report[..], &[0; ROOM]].concat();
        let length = outward.protect_rtcp(&mut wire, report.len()).unwrap();
        a.rtcp.send_to(&wire[..length], rtcp_port(&ends[0])).unwrap();
        // Each leg hears reports of ours, in its own form.
        let (told, from) = hear(&b.rtcp);
        assert!(matches!(told[1], 200 | 201) && from == rtcp_port(&ends[1]), "{told:?}");
        let (mut wire, from) = hear(&a.rtcp);
        let length = inward.unprotect_rtcp(&mut wire).unwrap();
        assert!(matches!(wire[1], 200 | 201) && length < wire.len() && from == rtcp_port(&ends[0]));

        let ask = StatisticsRequest { session: session.into() };
        let statistics = relay.client.statistics(ask).await.unwrap().into_inner().ends;
        assert_eq!((statistics[0].form.as_str(), statistics[0].security.as_str()), ("sdes", suite.name()));
        assert_eq!((statistics[1].form.as_str(), statistics[1].security.as_str()), ("plain", ""));
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_make_no_sense_are_refused_by_their_field() {
    let mut relay = start(config("23260-23279"));
    relay.allocate("call").await;
    let good = line(Suite::AesCm128Sha1_80, 1);
    let of = |lines: Vec<Crypto>| ConnectRequest {
        crypto: lines,
        ..plain("call", 0, "127.0.0.1:9".parse().unwrap())
    };
    for (lines, field) in [
        (vec![good.clone(), good.clone()], "crypto: "),
        (vec![Crypto { suite: "F8_128_HMAC_SHA1_80".into(), ..good.clone() }], "Crypto.suite"),
        (vec![Crypto { key: vec![1; 29], ..good.clone() }], "Crypto.key"),
        (vec![Crypto { mki: 300, ..good.clone() }], "Crypto.mki"),
    ] {
        let status = relay.client.connect(of(lines)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with(field), "{}", status.message());
    }
    relay.client.connect(of(vec![good])).await.unwrap();
    relay.stop().await;
}
