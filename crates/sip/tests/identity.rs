//! Identity of callers towards our users, and of our users towards trunks.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod bench;

use bench::*;
use signal::*;
use tandem_sip::digest::Credentials;
use tandem_sip::edge::Trunk;
use tandem_sip::message::Message;

fn caller(headers: &str) -> (Option<String>, String) {
    let mut b = bench("one");
    let invite = request("INVITE", 1, TO, SDP);
    let named = invite.replace("From: <", "From: \"Front desk\" <");
    b.hear(named.replace("Max-Forwards", &format!("{headers}Max-Forwards")));
    let from = b.heard().1.opening.unwrap().from;
    (from.display, from.address)
}

/// R-SIP-8: RFC 3325 §9.3, RFC 3323 §4.2.
#[test]
fn callers_who_want_to_stay_unnamed_do() {
    let asserted = "P-Asserted-Identity: \"Boss\" <sip:+4930111@pbx.example>\r\n";
    let shown = |name: &str, address: &str| (Some(name.to_owned()), address.to_owned());
    assert_eq!(caller(asserted), shown("Boss", "sip:+4930111@pbx.example"));
    assert_eq!(caller(&format!("{asserted}Privacy: none\r\n")), shown("Boss", "sip:+4930111@pbx.example"));
    for wish in ["id", "user", "header", "ID;critical", "session; id"] {
        let headers = format!("{asserted}Privacy: {wish}\r\n");
        assert_eq!(caller(&headers), (None, "sip:anonymous@anonymous.invalid".into()), "{wish}");
    }
    assert_eq!(caller("Privacy: id\r\n").1, "sip:anonymous@anonymous.invalid");
    assert_eq!(
        caller("P-Asserted-Identity: <sip:+4930111@pbx.example>\r\n"),
        shown("Front desk", "sip:+4930111@pbx.example"),
        "the number is asserted, the name is not"
    );
}

fn challenge(request: &Message, nonce: &str, more: &str) -> String {
    let line = format!("WWW-Authenticate: Digest realm=\"pbx\", nonce=\"{nonce}\", qop=\"auth\"{more}\r\n");
    answer(request, 401, "").replace("Content-Length", &(line + "Content-Length"))
}

fn known(b: &Bench, name: &str, peer: &str) -> Trunk {
    let mut flow = b.flow;
    flow.peer = peer.parse().unwrap();
    let password = format!("of {name}");
    Trunk {
        name: name.into(),
        sources: vec![(flow.peer.ip(), 32)],
        credentials: Some(Credentials { username: name.into(), password }),
        inbound: None,
        use_6xx: false,
        session_expires: 0,
        ..trunk(flow)
    }
}

/// Another who answers in its place is not heard, and learns nothing that could be tried on the trunk's password.
#[test]
fn credentials_are_the_trunk_s_own_and_go_nowhere_else() {
    for (from, met) in [("192.0.2.9:5060", true), ("192.0.2.77:5060", false), ("203.0.113.5:5060", false)] {
        let mut b = bench("one");
        let other = known(&b, "other", "192.0.2.77:5060");
        let own = known(&b, "pbx", "192.0.2.9:5060");
        b.edge.set_trunks(vec![other, own]);
        called(&mut b);
        let invite = b.sent.remove(0);
        b.flow.peer = from.parse().unwrap();
        b.hear(challenge(&invite, "n1", ""));
        assert_eq!(b.asks.len(), usize::from(met), "{from}");
        if met {
            assert!(b.commit(2).signals.is_empty());
        }
        let again = b.sent.iter().find(|m| m.text("Authorization").is_some());
        assert_eq!((again.is_some(), b.sent.is_empty()), (met, !met), "{from}");
        assert!(again.is_none_or(|m| m.text("Authorization").unwrap().contains("username=\"pbx\"")));
    }
}

/// A trunk that finds every nonce stale is not asked for ever.
#[test]
fn a_stale_nonce_is_answered_once() {
    let mut b = bench("one");
    let own = known(&b, "pbx", "192.0.2.9:5060");
    b.edge.set_trunks(vec![own]);
    called(&mut b);
    for (revision, more) in [(2, ""), (3, ", stale=true")] {
        let invite = b.sent.pop().unwrap();
        b.hear(challenge(&invite, &format!("n{revision}"), more));
        assert!(b.commit(revision).signals.is_empty());
    }
    let invite = b.sent.pop().unwrap();
    assert_eq!(invite.cseq().unwrap().number, 3);
    b.hear(challenge(&invite, "n4", ", stale=true"));
    let signals = b.commit(4).signals;
    assert!(matches!(signals.as_slice(), [Signal::End(e)] if e.reason == Reason::Security), "{signals:?}");
}
