//! Descriptions that cannot be served, in INVITEs and in answers to ours.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod bench;

use bench::*;
use signal::*;

fn secure(profile: &str) -> String {
    SDP.replace("RTP/AVP", profile)
}

/// Keys are not spoken yet: without a plain line there is nothing to take.
#[test]
fn an_offer_of_secure_media_alone_is_488() {
    for profile in ["RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVPF"] {
        let mut b = bench("one");
        b.hear(request("INVITE", 1, TO, &secure(profile)));
        assert_eq!(b.codes(), ["488"], "{profile}");
        assert!(b.asks.is_empty());
    }
}

#[test]
fn a_plain_line_beside_a_secure_one_is_taken() {
    let mut b = bench("one");
    let both = format!("{SDP}m=audio 4002 RTP/SAVP 0\r\n");
    b.hear(request("INVITE", 1, TO, &both));
    let heard = b.commit(1);
    let [Signal::Offer(media)] = heard.signals.as_slice() else { panic!("{heard:?}") };
    assert_eq!(media.contents.iter().map(|c| c.rejected).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn an_answer_of_secure_media_ends_the_call() {
    let mut b = bench("one");
    called(&mut b);
    let invite = b.sent.remove(0);
    b.hear(answer(&invite, 200, &secure("RTP/SAVP")));
    let heard = b.commit(2);
    assert!(matches!(heard.signals.as_slice(), [Signal::End(e)] if e.reason == Reason::IncompatibleMedia));
    assert_eq!(b.codes(), ["ACK", "BYE"]);
}

/// A change that offers secure media alone leaves the session as it was (RFC 3261 §14.2).
#[test]
fn a_change_to_secure_media_is_488() {
    let mut b = bench("one");
    let (_, _, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    b.hear(request("INVITE", 2, &to, &secure("RTP/SAVP")));
    assert_eq!(b.codes(), ["488"]);
}
