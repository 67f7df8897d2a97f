//! Voicemail servers that tell what their boxes hold (RFC 3842), without a subscription.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod bench;

use bench::*;
use signal::mailbox::{Noted, Notice};

const BODY: &str =
    "Messages-Waiting: yes\r\nMessage-Account: sip:vm-2700@pbx.example\r\nVoice-Message: 2/8 (0/1)\r\n";

fn notify(headers: &str, body: &str) -> String {
    let plain = request("NOTIFY", 1, "<sip:2700@192.0.2.1>", "");
    let message = plain.replace("Content-Length: 0\r\n\r\n", "");
    format!("{message}{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

const SUMMARY: &str = "Event: message-summary\r\nSubscription-State: active\r\nContent-Type: application/simple-message-summary\r\n";

/// R-MWI-1: it is answered once it is stored, and a repeated request is no second one.
#[test]
fn a_server_is_answered_once_somebody_has_noted_it() {
    for (noted, codes) in [(Noted::Stored, ["200"]), (Noted::Unknown, ["404"]), (Noted::Unavailable, ["503"])]
    {
        let mut b = bench("one");
        b.hear(notify(SUMMARY, BODY));
        b.hear(notify(SUMMARY, BODY));
        let [(ticket, notice)] = &b.notices[..] else { panic!("{:?}", b.notices) };
        let expected = Notice {
            trunk: "pbx".into(),
            to: "sip:2700@192.0.2.1".into(),
            account: Some("sip:vm-2700@pbx.example".into()),
            counts: Some((2, 8)),
        };
        assert_eq!(notice, &expected);
        assert!(b.sent.is_empty());
        let ticket = *ticket;
        b.edge.noted(ticket, noted, b.now);
        b.drain();
        assert_eq!(b.codes(), codes);
        b.hear(notify(SUMMARY, BODY));
        assert_eq!((b.codes(), b.notices.len()), (vec![codes[0].to_owned()], 1), "the same answer again");
        b.edge.noted(ticket, noted, b.now);
        b.wait(60_000);
        assert_eq!((b.edge.transactions(), b.sent.len()), (0, 0));
    }
}

/// R-MWI-1, R-SIP-10
#[test]
fn strangers_other_packages_and_other_bodies_are_refused() {
    let header = |b: &Bench, name: &str| b.sent[0].text(name).map(str::to_owned);
    let mut b = bench("one");
    b.hear(notify(&SUMMARY.replace("message-summary\r", "presence\r"), BODY));
    assert_eq!(header(&b, "Allow-Events").as_deref(), Some("message-summary"));
    assert_eq!(b.codes(), ["489"]);
    b.hear(notify("Content-Type: application/simple-message-summary\r\n", BODY));
    assert_eq!(b.codes(), ["489"]);
    b.hear(notify("Event: message-summary;id=7\r\nContent-Type: text/plain\r\n", BODY));
    assert_eq!(header(&b, "Accept").as_deref(), Some("application/simple-message-summary"));
    assert_eq!(b.codes(), ["415"]);
    b.hear(notify(SUMMARY, "Voice-Message: 2/8\r\n"));
    assert_eq!(b.codes(), ["400"]);
    b.hear(notify(SUMMARY, BODY).replace("To: <sip:2700@192.0.2.1>", "To: <sip:2700@192.0.2.1>;tag=x"));
    assert_eq!(b.codes(), ["481"]);
    b.flow = tandem_sip::edge::Flow::udp("203.0.113.9:5060".parse().unwrap());
    b.hear(notify(SUMMARY, BODY));
    assert_eq!(b.codes(), ["403"]);
    assert_eq!((b.notices.len(), b.edge.transactions()), (0, 0));
}
