use super::*;
use crate::{Alias, DialRules};
use signal::DiversionReason;

fn plan(callers: Option<&[&str]>, voicemail: Option<&str>) -> Plan {
    let trunk = |name: &str, domain: &str, host: &str| Trunk {
        name: name.into(),
        domain: domain.into(),
        host: host.into(),
        callers: callers.map(|callers| callers.iter().map(|caller| (*caller).to_owned()).collect()),
        dial: DialRules { allow: vec![], deny: vec!["0900".into()] },
        voicemail: voicemail.map(str::to_owned),
        ..Trunk::default()
    };
    let component = |domain: &str| Component { domain: domain.into(), users: "example.net".into() };
    let alias = |number: &str, jid: &str| Alias { number: number.into(), jid: jid.into() };
    Plan::new(
        vec!["im.example".into()],
        vec![component("sip.example"), component("carrier.example")],
        vec![trunk("pbx", "sip.example", "pbx.example"), trunk("carrier", "carrier.example", "192.0.2.7")],
        &[alias("2700", "rosa@example.net"), alias("2701", "nils@example.net")],
    )
    .unwrap()
}

fn diverted(by: Party) -> Option<Diverted> {
    let diversion = Diversion { party: by, reason: DiversionReason::UserBusy, count: 1, private: false };
    Some(Diverted { history: vec![diversion], mailbox: false })
}

/// Where a phone's call to rosa goes that she diverts there: the callee and the link, or the refusal.
fn by_rosa(plan: &Plan, target: &str) -> Result<(String, String), Reason> {
    let rosa = Party::xmpp("rosa@example.net/phone");
    let heard = Opening {
        from: Party { display: Some("Desk".into()), ..Party::sip("sip:2041@pbx.example") },
        to: Party::xmpp(target),
        link: "sip.example".into(),
        hops: 69,
        diverted: diverted(rosa),
        referral: None,
    };
    let route = plan.divert(&heard).map_err(|end| end.reason)?;
    assert_eq!(route.opening.hops, 68, "R-CALL-28");
    Ok((route.opening.to.address, route.opening.link))
}

/// Where rosa's call goes that the phone of the trunk diverts there.
fn by_phone(plan: &Plan, target: &str) -> Result<(String, String), Reason> {
    let heard = Opening {
        from: Party::xmpp("rosa@example.net/phone"),
        to: Party::sip(target),
        link: "pbx".into(),
        hops: 69,
        diverted: diverted(Party::sip("sip:2041@pbx.example")),
        referral: None,
    };
    let route = plan.divert(&heard).map_err(|end| end.reason)?;
    Ok((route.opening.to.address, route.opening.link))
}

fn to(address: &str, link: &str) -> Result<(String, String), Reason> {
    Ok((address.to_owned(), link.to_owned()))
}

/// R-SVC-2: a number, SIP URI or JID.
#[test]
fn a_user_forwards_to_numbers_uris_and_jids() {
    let plan = plan(None, None);
    for (target, led) in [
        ("2050", to("sip:2050@pbx.example", "pbx")),
        ("+49-30-123", to("sip:+4930123@pbx.example", "pbx")),
        ("tel:+4930123", to("sip:+4930123@pbx.example", "pbx")),
        ("2701", to("nils@example.net", "sip.example")),
        ("tel:2701", to("nils@example.net", "sip.example")),
        ("sip:2701@im.example", to("nils@example.net", "sip.example")),
        ("sip:nils@im.example", to("nils@example.net", "sip.example")),
        ("sip:2050@pbx.example", to("sip:2050@pbx.example", "pbx")),
        ("sip:anna@192.0.2.7", to("sip:anna@192.0.2.7", "carrier")),
        ("sip:2050@elsewhere.example", Err(Reason::NotFound)),
        ("Nils@Example.net", to("nils@example.net", "sip.example")),
        ("xmpp:ann@example.org?call", to("ann@example.org", "sip.example")),
        ("+4930123@carrier.example", to("sip:+4930123@192.0.2.7", "carrier")),
        ("anonymous@sip.example", Err(Reason::NotFound)),
        ("anna", Err(Reason::NotFound)),
        ("mailto:x@y", Err(Reason::NotFound)),
        ("@example.net", Err(Reason::NotFound)),
        ("", Err(Reason::NotFound)),
    ] {
        assert_eq!(by_rosa(&plan, target), led, "{target}");
    }
}

/// R-CALL-27
#[test]
fn a_trunk_redirects_to_itself_whatever_host_it_names_and_to_users() {
    let plan = plan(None, None);
    for (target, led) in [
        ("sip:2050@pbx.example:5070;transport=tcp", to("sip:2050@pbx.example", "pbx")),
        ("sip:2050@10.0.0.5", to("sip:2050@pbx.example", "pbx")),
        ("sip:anna@10.0.0.5", Err(Reason::NotFound)),
        ("sip:09001@pbx.example", Err(Reason::Forbidden)),
        ("tel:2050", to("sip:2050@pbx.example", "pbx")),
        ("xmpp:nils@example.net", to("nils@example.net", "sip.example")),
        ("sip:2701@im.example", to("nils@example.net", "sip.example")),
    ] {
        assert_eq!(by_phone(&plan, target), led, "{target}");
    }
}

#[test]
fn nobody_forwards_to_where_they_may_not_call() {
    let open = plan(None, None);
    for target in
        ["09001234", "sip:0900%31@pbx.example", "112", "sip:112@pbx.example", "112@sip.example", "*21#"]
    {
        assert_eq!(by_rosa(&open, target), Err(Reason::Forbidden), "{target}");
    }
    let closed = plan(Some(&["ann@example.net"]), None);
    assert_eq!(by_rosa(&closed, "2050"), Err(Reason::Forbidden));
    assert_eq!(by_rosa(&closed, "nils@example.net"), to("nils@example.net", "sip.example"));
}

/// R-SVC-3, interworking §9.2: the configured box needs no rule of its own, and everybody reaches it.
#[test]
fn the_configured_box_is_reached_by_everybody() {
    for (target, led) in [
        ("*97", to("sip:*97@pbx.example", "pbx")),
        ("sip:vm@pbx.example", to("sip:vm@pbx.example", "pbx")),
        ("sip:vm@192.0.2.7", to("sip:vm@192.0.2.7", "carrier")),
        ("box@example.org", to("box@example.org", "sip.example")),
    ] {
        assert_eq!(by_rosa(&plan(Some(&[]), Some(target)), target), led, "{target}");
    }
    assert_eq!(by_rosa(&plan(None, Some("*97")), "*98"), Err(Reason::Forbidden));
    let calls = |voicemail| {
        let heard = Opening {
            from: Party::xmpp("rosa@example.net/phone"),
            to: Party::xmpp("voicemail@sip.example"),
            link: "sip.example".into(),
            hops: 70,
            diverted: None,
            referral: None,
        };
        plan(None, voicemail).route(&heard).map(|route| route.opening.to.address).map_err(|end| end.reason)
    };
    assert_eq!(calls(Some("sip:*97@pbx.example")).as_deref(), Ok("sip:*97@pbx.example"));
    assert_eq!(calls(None).as_deref(), Ok("sip:voicemail@pbx.example"));
}

/// R-CALL-28: the callee sees the caller, and each diverting party in its own words.
#[test]
fn caller_and_history_are_named_in_the_words_of_the_callee() {
    let plan = plan(None, None);
    let heard = Opening {
        from: Party { display: Some("Desk".into()), ..Party::sip("sip:anonymous@anonymous.invalid") },
        to: Party::xmpp("2050"),
        link: "sip.example".into(),
        hops: 69,
        diverted: diverted(Party::xmpp("rosa@example.net/phone")),
        referral: None,
    };
    let opening = plan.divert(&heard).unwrap().opening;
    assert_eq!(opening.from.address, "sip:anonymous@anonymous.invalid");
    assert_eq!(opening.diverted, diverted(Party::sip("sip:2700@im.example")));
    let opening =
        plan.divert(&Opening { to: Party::xmpp("nils@example.net"), ..heard.clone() }).unwrap().opening;
    assert_eq!(opening.from.address, "anonymous@sip.example");
    assert_eq!(opening.diverted, heard.diverted, "to be said in SIP later, if at all");
    let guest = Opening { diverted: diverted(Party::xmpp("ann@example.org")), ..heard.clone() };
    assert_eq!(plan.divert(&guest).map_err(|end| end.reason), Err(Reason::Forbidden));
    assert_eq!(
        plan.divert(&Opening { diverted: None, ..heard.clone() }).unwrap_err().reason,
        Reason::General
    );
    assert_eq!(plan.divert(&Opening { hops: 1, ..heard }).unwrap_err().reason, Reason::Loop);
}
