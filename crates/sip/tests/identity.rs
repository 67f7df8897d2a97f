//! Identity of callers towards our users, and of our users towards trunks.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod bench;

use bench::*;
use signal::*;
use tandem_sip::digest::Credentials;
use tandem_sip::edge::{Rewrites, Trunk};
use tandem_sip::message::Message;

fn caller(headers: &str) -> (Option<String>, String) {
    caller_of(headers, true)
}

fn caller_of(headers: &str, trusted: bool) -> (Option<String>, String) {
    let mut b = bench("one");
    let own = Trunk { trusted, ..trunk(b.flow) };
    b.edge.set_trunks(vec![own]);
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
    assert_eq!(
        caller_of(asserted, false),
        shown("Front desk", "sip:2041@pbx.example"),
        "not a trusted trunk"
    );
    assert_eq!(caller("Privacy: id\r\n").1, "sip:anonymous@anonymous.invalid");
    assert_eq!(
        caller("P-Asserted-Identity: <sip:+4930111@pbx.example>\r\n"),
        shown("Front desk", "sip:+4930111@pbx.example"),
        "the number is asserted, the name is not"
    );
}

/// RFC 3323 §4.2: a wish that cannot be met and is critical fails the call.
#[test]
fn a_critical_wish_that_is_not_known_is_refused() {
    for (wish, codes) in
        [("id;critical", vec!["100"]), ("tempo", vec!["100"]), ("tempo;critical", vec!["500"])]
    {
        let mut b = bench("one");
        b.hear(with(request("INVITE", 1, TO, SDP), &format!("Privacy: {wish}")));
        assert_eq!(b.codes(), codes, "{wish}");
    }
}

/// R-SVC-4: From says nothing, and P-Asserted-Identity is there for a trunk that the plan tells who calls.
#[test]
fn a_caller_who_withholds_the_number_is_anonymous_in_every_header() {
    let invite = |from: Party| {
        let mut b = bench("one");
        let leg = LegRef { record: Secret::new(b"test").call_of_jingle("rosa@x/1", "s"), leg: LegId(1) };
        let (link, to) = ("pbx".into(), Party::sip("sip:2041@pbx.example"));
        let opening = Opening { from, to, link, hops: 69, diverted: None, referral: None };
        b.say(state(leg, 0, vec![]), 1, Signal::Offer(media()), Some(opening));
        b.sent.remove(0)
    };
    let rosa = || Party::sip("sip:2700@im.example");
    let told = rosa().asserted_as(Some("sip:2700@im.example".into()));
    let hidden = invite(told.clone().withheld(""));
    assert!(hidden.text("From").unwrap().starts_with("\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag="));
    assert_eq!(hidden.text("Privacy"), Some("id"));
    assert_eq!(hidden.text("P-Asserted-Identity"), Some("<sip:2700@im.example>"));
    assert!(hidden.text("Contact").unwrap().starts_with("<sip:anonymous@"));
    let untold = invite(rosa().withheld(""));
    assert_eq!(untold.text("P-Asserted-Identity"), None);
    assert!(!String::from_utf8_lossy(&untold.write()).contains("2700"), "nowhere");
    let open = invite(told);
    assert_eq!(
        (open.text("Privacy"), open.text("P-Asserted-Identity")),
        (None, Some("<sip:2700@im.example>"))
    );
}

/// Interworking §1.3: numbers of a trunk come in its form, and are heard in ours.
#[test]
fn numbers_are_heard_in_one_form() {
    use address::{Change, Rewrite, Role, Way};
    let rule = |role, pattern, strip, prefix: &str| {
        Rewrite::new(Way::From, role, pattern, Change::Front { strip, prefix: prefix.into() }).unwrap()
    };
    let rewrites = Rewrites(vec![
        rule(Role::Called, "^27", 0, "+4930555"),
        rule(Role::Called, "^00", 2, "+"),
        rule(Role::Calling, "^0[1-9]", 1, "+49"),
    ]);
    let mut b = bench("one");
    let own = Trunk { rewrites, ..trunk(b.flow) };
    b.edge.set_trunks(vec![own]);
    let headers =
        "P-Asserted-Identity: <sip:030123@pbx.example>\r\nDiversion: <sip:030999@pbx.example>;reason=away";
    b.hear(with(request("INVITE", 1, TO, SDP), headers));
    let opening = b.commit(1).opening.unwrap();
    assert_eq!(opening.to.address, "sip:+49305552700@192.0.2.1");
    assert_eq!(opening.from.address, "sip:+4930123@pbx.example");
    assert_eq!(opening.from.identity.unwrap().asserted.as_deref(), Some("sip:+4930123@pbx.example"));
    assert_eq!(opening.diverted.unwrap().history[0].party.address, "sip:+4930999@pbx.example");
    let (_, said) = called(&mut b);
    assert!(said.failed.is_none());
    let invite = b.sent.pop().unwrap();
    let moved = answer(&invite, 302, "").replace("<sip:2041@192.0.2.9>", "<sip:004940123@pbx.example>");
    b.hear(moved);
    let signals = b.heard().1.signals;
    assert_eq!(signals, [Signal::Redirect("sip:+4940123@pbx.example".into(), vec![])]);
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
        rewrites: tandem_sip::edge::Rewrites::default(),
        trusted: false,
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
