use super::*;
use crate::{Change, Rewrite};
use signal::Referral;

fn trunk(callers: Option<&[&str]>) -> Trunk {
    Trunk {
        name: "pbx".into(),
        domain: "sip.xmpp.example".into(),
        host: "pbx.example".into(),
        callers: callers.map(|domains| domains.iter().map(|d| (*d).to_owned()).collect()),
        ..Trunk::default()
    }
}

fn plan() -> Plan {
    Plan::new(
        vec!["im.pbx.example".into()],
        vec![Component { domain: "sip.xmpp.example".into(), users: "xmpp.example".into() }],
        vec![trunk(None)],
        &[Alias { number: "2700".into(), jid: "rosa@xmpp.example".into() }],
    )
    .unwrap()
}

fn call(from: Party, to: Party, link: &str) -> Result<(String, String, String), Reason> {
    let heard = Opening { from, to, link: link.into(), hops: 70, diverted: None, referral: None };
    plan()
        .route(&heard)
        .map(|r| (r.opening.from.address, r.opening.to.address, r.opening.link))
        .map_err(|e| e.reason)
}

fn from_sip(to: &str) -> Result<String, Reason> {
    call(Party::sip("sip:2041@pbx.example"), Party::sip(to), "pbx").map(|r| r.1)
}

fn from_xmpp(to: &str) -> Result<String, Reason> {
    call(Party::xmpp("rosa@xmpp.example/phone"), Party::xmpp(to), "sip.xmpp.example").map(|r| r.1)
}

#[test]
fn aliases_come_before_domains() {
    assert_eq!(from_sip("sip:2700@gw.pbx.example").as_deref(), Ok("rosa@xmpp.example"));
    assert_eq!(from_sip("tel:2700").as_deref(), Ok("rosa@xmpp.example"));
    assert_eq!(from_sip("sip:27-00@x;user=phone").as_deref(), Ok("rosa@xmpp.example"));
    assert_eq!(
        from_sip("sip:o'hara@IM.pbx.example:5060;transport=udp").as_deref(),
        Ok(r"o\27hara@xmpp.example")
    );
    assert_eq!(from_sip("sip:a%40b:pw@im.pbx.example;x=1?y=2").as_deref(), Ok(r"a\40b@xmpp.example"));
}

/// R-ADDR-12, R-ADDR-13
#[test]
fn unknown_and_forbidden_targets_are_refused() {
    assert_eq!(from_sip("sip:2701@gw.pbx.example"), Err(Reason::NotFound));
    assert_eq!(from_sip("sip:2701@im.pbx.example"), Err(Reason::NotFound), "a number is nobody's name");
    assert_eq!(from_sip("sip:rosa@other.example"), Err(Reason::NotFound));
    assert_eq!(from_sip("sip:%00@im.pbx.example"), Err(Reason::BadRequest));
    assert_eq!(from_sip("sip:112@im.pbx.example"), Err(Reason::Forbidden));
    assert_eq!(from_xmpp("112@sip.xmpp.example"), Err(Reason::Forbidden));
    assert_eq!(from_sip("sip:%31%31%32@im.pbx.example"), Err(Reason::Forbidden));
    assert_eq!(from_sip("sip:112;x=y@im.pbx.example"), Err(Reason::Forbidden));
    for hidden in ["112;x=y", "1-1-2", "112,5", r"112\20", r"112\2f1"] {
        assert_eq!(from_xmpp(&format!("{hidden}@sip.xmpp.example")), Err(Reason::Forbidden), "{hidden}");
    }
    assert_eq!(from_xmpp("2041@nowhere.example"), Err(Reason::NotFound));
    assert_eq!(from_xmpp("anonymous@sip.xmpp.example"), Err(Reason::NotFound), "R-ADDR-14");
    assert_eq!(call(Party::sip("sip:x@y"), Party::sip("sip:2700@z"), "stranger"), Err(Reason::Forbidden));
}

#[test]
fn both_sides_see_an_address_that_they_can_call_back() {
    let (from, to, link) =
        call(Party::sip("sip:2041@pbx.example;tag=x"), Party::sip("sip:2700@gw"), "pbx").unwrap();
    assert_eq!(
        (from.as_str(), to.as_str(), link.as_str()),
        ("2041@sip.xmpp.example", "rosa@xmpp.example", "sip.xmpp.example")
    );
    assert_eq!(from_xmpp(&from).as_deref(), Ok("sip:2041@pbx.example"));
    let (from, ..) =
        call(Party::xmpp("Rosa@xmpp.example/phone"), Party::xmpp("2041@sip.xmpp.example"), "").unwrap();
    assert_eq!(from, "sip:2700@im.pbx.example", "her number, since she has one");
    assert_eq!(from_sip(&from).as_deref(), Ok("rosa@xmpp.example"));
    let (from, ..) =
        call(Party::xmpp("tréma@xmpp.example"), Party::xmpp("2041@sip.xmpp.example"), "").unwrap();
    assert_eq!(from_sip(&from).as_deref(), Ok("tréma@xmpp.example"));
}

/// R-ADDR-7: however a trunk writes a number, with whatever it knows of it.
#[test]
fn b1_a_number_is_found_without_its_parameters() {
    for uri in [
        "sip:2700;npdi;rn=15550100@gw;user=phone",
        "sip:2700;phone-context=+1@gw",
        "sip:2700;phone-context=pbx.example@gw;user=phone",
        "sip:%32%37%30%30;verstat=TN-Validation-Passed@im.pbx.example",
        "tel:2700;phone-context=+1;npdi",
    ] {
        assert_eq!(from_sip(uri).as_deref(), Ok("rosa@xmpp.example"), "{uri}");
    }
    assert_eq!(from_sip("sip:2701;npdi@im.pbx.example"), Err(Reason::NotFound), "a number all the same");
    assert_eq!(from_sip("sip:112;phone-context=+49@gw;user=phone"), Err(Reason::Forbidden));
    assert_eq!(from_sip("tel:112;phone-context=+49"), Err(Reason::Forbidden));
    assert_eq!(from_sip("sip:u;par=v%40d@im.pbx.example").as_deref(), Ok(r"u;par=v\40d@xmpp.example"));
}

#[test]
fn b1_a_context_finds_its_own_number_first() {
    let alias = |number: &str, jid: &str| Alias { number: number.into(), jid: jid.into() };
    let aliases = [alias("2700", "rosa@xmpp.example"), alias("+15552700", "hugo@xmpp.example")];
    let component = Component { domain: "sip.xmpp.example".into(), users: "xmpp.example".into() };
    let plan = Plan::new(vec![], vec![component], vec![trunk(None)], &aliases).unwrap();
    let callee = |to: &str| {
        let (from, to) = (Party::sip("sip:2041@pbx.example"), Party::sip(to));
        plan.route(&Opening { from, to, link: "pbx".into(), hops: 70, diverted: None, referral: None })
            .map(|r| r.opening.to.address)
    };
    assert_eq!(callee("sip:2700;phone-context=+1555@gw").as_deref(), Ok("hugo@xmpp.example"));
    assert_eq!(callee("tel:2700;phone-context=+49").as_deref(), Ok("rosa@xmpp.example"));
}

#[test]
fn b1_callers_are_shown_and_called_back_without_parameters() {
    for (from, shown, called) in [
        ("sip:+15550111;cpc=ordinary;isup-oli=0@c.example", "+15550111", "+15550111"),
        ("sip:+1-555-0111;verstat=TN-Validation-Passed@c.example;user=phone", "+15550111", "+15550111"),
        ("tel:+15550111;verstat=No-TN-Validation", "+15550111", "+15550111"),
        ("sip:2041;phone-context=pbx.example;cpc=test@c.example", "2041", "2041"),
        ("sip:+15550111;ext=22;cpc=ordinary@c.example;user=phone", "+15550111;ext=22", "+15550111;ext=22"),
    ] {
        let (caller, ..) = call(Party::sip(from), Party::sip("sip:2700@gw"), "pbx").unwrap();
        assert_eq!(caller, format!("{shown}@sip.xmpp.example"), "{from}");
        let back = from_xmpp(&caller);
        assert_eq!(back.as_deref(), Ok(format!("sip:{called}@pbx.example").as_str()), "{from}");
    }
    // As a roster may have kept it.
    let old = from_xmpp("+15550111;cpc=ordinary;rn=1@sip.xmpp.example");
    assert_eq!(old.as_deref(), Ok("sip:+15550111@pbx.example"));
    assert_eq!(from_xmpp("u;cpc=x@sip.xmpp.example").as_deref(), Ok("sip:u;cpc=x@pbx.example"));
}

/// Both ways, whatever an edge has heard.
#[test]
fn f13_names_are_shown_as_they_may_be() {
    let long = "\u{202e}".to_owned() + &"x".repeat(28_000) + "\u{85}";
    let xmpp = (Party::xmpp("rosa@xmpp.example/phone"), Party::xmpp("2041@sip.xmpp.example"));
    for (from, to) in [(Party::sip("sip:2041@pbx.example"), Party::sip("sip:2700@gw")), xmpp] {
        let from = Party { display: Some(long.clone()), ..from };
        let heard = Opening { from, to, link: "pbx".into(), hops: 70, diverted: None, referral: None };
        let shown = plan().route(&heard).map(|route| route.opening.from.display);
        assert_eq!(shown.ok().flatten(), Some("x".repeat(crate::MAX_DISPLAY_NAME)));
    }
}

/// R-ADDR-14, R-SIP-11
#[test]
fn anonymous_callers_and_loops() {
    let (from, ..) =
        call(Party::sip("sip:anonymous@anonymous.invalid"), Party::sip("sip:2700@gw"), "pbx").unwrap();
    assert_eq!(from, "anonymous@sip.xmpp.example");
    assert_eq!(
        call(Party::xmpp("2041@sip.xmpp.example/gw-1"), Party::xmpp("2050@sip.xmpp.example"), ""),
        Err(Reason::Loop)
    );
    let tired = Opening {
        from: Party::sip("sip:a@b"),
        to: Party::sip("sip:2700@gw"),
        link: "pbx".into(),
        hops: 1,
        diverted: None,
        referral: None,
    };
    assert_eq!(plan().route(&tired).map_err(|e| e.reason).err(), Some(Reason::Loop));
}

fn out(callers: Option<&[&str]>, from: &str) -> Result<String, Reason> {
    let plan = Plan { trunks: vec![trunk(callers)], ..plan() };
    let (from, to) = (Party::xmpp(from), Party::xmpp("2041@sip.xmpp.example"));
    let heard = Opening { from, to, link: String::new(), hops: 70, diverted: None, referral: None };
    plan.route(&heard).map(|r| r.opening.from.address).map_err(|e| e.reason)
}

/// Toll fraud: federated users dial out by a trunk only where it names their domain.
#[test]
fn a_trunk_serves_the_domains_that_it_names() {
    assert_eq!(out(None, "2700@evil.example/x"), Err(Reason::Forbidden));
    assert_eq!(out(Some(&[]), "rosa@xmpp.example"), Err(Reason::Forbidden));
    assert_eq!(out(Some(&["other.example"]), "rosa@xmpp.example"), Err(Reason::Forbidden));
    assert_eq!(out(None, "rosa@xmpp.example/x").as_deref(), Ok("sip:2700@im.pbx.example"));
    for open in ["*", "evil.example"] {
        let open: &[&str] = &[open];
        assert!(out(Some(open), "rosa@evil.example").is_ok());
    }
    let mut plan = plan();
    plan.components[0].users.clear();
    let heard = Opening {
        from: Party::xmpp("x@/y"),
        to: Party::xmpp("2041@sip.xmpp.example"),
        link: String::new(),
        hops: 70,
        diverted: None,
        referral: None,
    };
    assert_eq!(plan.route(&heard).map_err(|e| e.reason), Err(Reason::Forbidden), "no users, nobody");
}

/// Interworking §1.2: the identity of a guest is neither a number nor a local user, and can be called back.
#[test]
fn a_guest_has_an_identity_of_its_own() {
    for (from, identity) in [
        ("2700@evil.example", "sip:2700%40evil.example@im.pbx.example"),
        ("rosa@evil.example", "sip:rosa%40evil.example@im.pbx.example"),
        ("2700@xmpp.example", "sip:2700%40xmpp.example@im.pbx.example"),
        ("hugo@xmpp.example", "sip:hugo@im.pbx.example"),
    ] {
        assert_eq!(out(Some(&["*"]), from).as_deref(), Ok(identity));
    }
    let plan = Plan { trunks: vec![trunk(Some(&["evil.example"]))], ..plan() };
    let back = |to: &str| {
        let (from, to) = (Party::sip("sip:2041@pbx.example"), Party::sip(to));
        let route =
            plan.route(&Opening { from, to, link: "pbx".into(), hops: 70, diverted: None, referral: None });
        route.map(|r| r.opening.to.address).map_err(|e| e.reason)
    };
    assert_eq!(back("sip:2700%40evil.example@im.pbx.example").as_deref(), Ok("2700@evil.example"));
    assert_eq!(back("sip:a%40b.example@im.pbx.example").as_deref(), Ok(r"a\40b.example@xmpp.example"));
}

/// R-ADDR-16: `#` is no character of a user part.
#[test]
fn a_code_that_is_allowed_is_escaped() {
    let dial = DialRules { allow: vec!["*21".into()], deny: vec![] };
    let plan = Plan { trunks: vec![Trunk { dial, ..trunk(None) }], ..plan() };
    let (from, to) = (Party::xmpp("rosa@xmpp.example/a"), Party::xmpp("*21#@sip.xmpp.example"));
    let route = plan
        .route(&Opening {
            from,
            to,
            link: "sip.xmpp.example".into(),
            hops: 70,
            diverted: None,
            referral: None,
        })
        .unwrap();
    assert_eq!(route.opening.to.address, "sip:*21%23@pbx.example");
}

#[test]
fn faults_name_key_value_and_remedy() {
    let bad = Plan::new(
        vec![],
        vec![],
        vec![Trunk { name: "pbx".into(), domain: "sip.x".into(), ..Trunk::default() }],
        &[],
    );
    assert_eq!(
        bad.unwrap_err().to_string(),
        "[[trunk]] domain = \"sip.x\": name the domain of an [[xmpp.component]]"
    );
    for (number, jid) in [("rosa", "rosa@x"), ("112", "rosa@x"), ("2700", "rosa")] {
        assert!(
            Plan::new(vec![], vec![], vec![], &[Alias { number: number.into(), jid: jid.into() }]).is_err(),
            "{number} {jid}"
        );
    }
}

/// A user of XMPP dials no code of the exchange and no premium rate, unless the trunk allows it; names have no rules.
#[test]
fn f8_numbers_that_a_trunk_denies_are_not_dialled() {
    let plan = plan();
    let dial = |local: &str| {
        let from = Party::xmpp("rosa@xmpp.example/a");
        let to = Party::xmpp(format!("{local}@sip.xmpp.example"));
        let opening =
            Opening { from, to, link: "sip.xmpp.example".into(), hops: 70, diverted: None, referral: None };
        plan.route(&opening).map(|route| route.opening.to.address).map_err(|end| end.reason)
    };
    for denied in ["*21*0123456#", "+19005551234", "0900-123", "2041*1", "*21;x=y", "09001;ext=2"] {
        assert_eq!(dial(denied), Err(Reason::Forbidden), "{denied}");
    }
    for permitted in ["2041", "+4930123456", "nils", "conference#1"] {
        assert!(dial(permitted).is_ok(), "{permitted}");
    }
}

/// R-ADDR-13: which numbers are, is said by the trunk that a call comes from or goes to.
#[test]
fn c13_emergency_numbers_are_those_of_the_trunk() {
    let plan = |emergency: EmergencyNumbers, number: &str| {
        let component = Component { domain: "sip.xmpp.example".into(), users: "xmpp.example".into() };
        let alias = Alias { number: number.into(), jid: "rosa@xmpp.example".into() };
        Plan::new(vec![], vec![component], vec![Trunk { emergency, ..trunk(None) }], &[alias])
    };
    let germany = || EmergencyNumbers::of_country("DE").unwrap();
    for number in ["110", "112"] {
        assert_eq!(plan(germany(), number).unwrap_err().key, "[[alias]] number", "{number}");
    }
    // A desk with a number that is an emergency number elsewhere is called, both ways.
    let desk = plan(germany(), "911").unwrap();
    let route = |plan: &Plan, from: Party, to: Party| {
        let heard = Opening { from, to, link: "pbx".into(), hops: 70, diverted: None, referral: None };
        plan.route(&heard).map(|route| route.opening.to.address).map_err(|end| end.reason)
    };
    let (phone, rosa) = (|| Party::sip("sip:2041@pbx.example"), || Party::xmpp("rosa@xmpp.example/a"));
    assert_eq!(route(&desk, phone(), Party::sip("sip:911@gw")).as_deref(), Ok("rosa@xmpp.example"));
    let called = route(&desk, rosa(), Party::xmpp("999@sip.xmpp.example"));
    assert_eq!(called.as_deref(), Ok("sip:999@pbx.example"));
    for number in ["110", "112", "1-1-0", "112;x=y", "112,5"] {
        let to = Party::xmpp(format!("{number}@sip.xmpp.example"));
        assert_eq!(route(&desk, rosa(), to), Err(Reason::Forbidden), "{number}");
    }
    assert_eq!(route(&desk, phone(), Party::sip("tel:112")), Err(Reason::Forbidden));
    // Numbers of the operator's take the place of a country's.
    let own = plan(EmergencyNumbers::of(&["0112"]), "112").unwrap();
    assert_eq!(route(&own, rosa(), Party::xmpp("0112@sip.xmpp.example")), Err(Reason::Forbidden));
    assert_eq!(route(&own, phone(), Party::sip("sip:112@gw")).as_deref(), Ok("rosa@xmpp.example"));
    // Nobody said where the trunk leads.
    for number in ["110", "112", "118", "911", "999", "000"] {
        assert!(plan(EmergencyNumbers::default(), number).is_err(), "{number}");
        assert_eq!(from_xmpp(&format!("{number}@sip.xmpp.example")), Err(Reason::Forbidden), "{number}");
    }
}

#[test]
fn f8_a_trunk_serves_the_users_that_it_names() {
    let only: &[&str] = &["rosa@xmpp.example", "evil.example"];
    assert_eq!(out(Some(only), "rosa@xmpp.example/x").as_deref(), Ok("sip:2700@im.pbx.example"));
    assert_eq!(out(Some(only), "hugo@xmpp.example/x"), Err(Reason::Forbidden));
    assert_eq!(out(Some(only), "rosa@other.example"), Err(Reason::Forbidden));
    assert!(out(Some(only), "anybody@evil.example").is_ok());
    assert_eq!(out(Some(&["xmpp.example"]), "rosa@sub.xmpp.example"), Err(Reason::Forbidden));
    // A guest who may call is called back, and no other one.
    let plan = Plan { trunks: vec![trunk(Some(&["ann@guest.example"]))], ..plan() };
    let back = |to: &str| {
        let (from, to) = (Party::sip("sip:2041@pbx.example"), Party::sip(to));
        let route =
            plan.route(&Opening { from, to, link: "pbx".into(), hops: 70, diverted: None, referral: None });
        route.map(|route| route.opening.to.address).map_err(|end| end.reason)
    };
    assert_eq!(back("sip:ann%40guest.example@im.pbx.example").as_deref(), Ok("ann@guest.example"));
    let other = back("sip:bob%40guest.example@im.pbx.example");
    assert_eq!(other.as_deref(), Ok(r"bob\40guest.example@xmpp.example"));
}

fn referred(plan: &Plan, from: &Party, to: Party, by: Party) -> Result<(String, String), Reason> {
    let link = if to.protocol == Protocol::Sip { "pbx" } else { "sip.xmpp.example" };
    let referral = Some(Referral { by, replaces: None });
    let heard = Opening { from: from.clone(), to, link: link.into(), hops: 70, diverted: None, referral };
    let route = plan.route(&heard).map_err(|end| end.reason)?;
    Ok((route.opening.from.address, route.opening.to.address))
}

/// R-CALL-25: a phone names somebody of its exchange, or of ours; the party that stays calls, by its own rules.
#[test]
fn a_phone_gives_its_peer_another_one() {
    let (plan, rosa, desk) =
        (plan(), Party::xmpp("rosa@xmpp.example/phone"), Party::sip("sip:2041@pbx.example"));
    let to = |to: &str| referred(&plan, &rosa, Party::sip(to), desk.clone());
    let own = |to: &str| Ok(("sip:2700@im.pbx.example".to_owned(), to.to_owned()));
    assert_eq!(to("sip:2050@pbx.example"), own("sip:2050@pbx.example"));
    assert_eq!(to("sip:2050@192.0.2.1"), own("sip:2050@pbx.example"), "its exchange by another name");
    assert_eq!(to("sip:o'hara@pbx.example"), own("sip:o'hara@pbx.example"));
    assert_eq!(to("tel:+49-30-123"), own("sip:+4930123@pbx.example"));
    // Somebody on XMPP is called as if her number had called.
    let told = ("2700@sip.xmpp.example".to_owned(), "nils@xmpp.example".to_owned());
    assert_eq!(to("sip:nils@im.pbx.example"), Ok(told));
    for (target, reason) in [
        ("sip:112@pbx.example", Reason::Forbidden),
        ("sip:0900123@pbx.example", Reason::Forbidden),
        ("sip:%30900123@pbx.example", Reason::Forbidden),
        ("sip:*21*0900123%23@pbx.example", Reason::Forbidden),
        ("sip:pbx.example", Reason::NotFound),
    ] {
        assert_eq!(to(target), Err(reason), "{target}");
    }
    // Nobody dials out through others who may not do so alone.
    let stranger = Party::xmpp("mallory@elsewhere.example/x");
    let wanted = Party::sip("sip:2050@pbx.example");
    assert_eq!(referred(&plan, &stranger, wanted.clone(), desk.clone()), Err(Reason::Forbidden));
    let ours = Party::xmpp("2041@sip.xmpp.example");
    assert_eq!(referred(&plan, &ours, wanted.clone(), desk.clone()), Err(Reason::Loop));
    // Another trunk, by its host.
    let mut plan = plan;
    plan.trunks.push(Trunk {
        name: "carrier".into(),
        domain: "carrier.xmpp.example".into(),
        host: "192.0.2.7".into(),
        ..trunk(Some(&["xmpp.example"]))
    });
    let domain = Component { domain: "carrier.xmpp.example".into(), users: String::new() };
    plan.components.push(domain);
    let far = Party::sip("sip:2050@192.0.2.7");
    let led = referred(&plan, &rosa, far.clone(), desk.clone());
    assert_eq!(led, Ok(("sip:2700@im.pbx.example".to_owned(), "sip:2050@192.0.2.7".to_owned())));
    // Two phones, after a transfer before.
    let other = Party::sip("sip:2042@pbx.example");
    assert_eq!(referred(&plan, &other, far, desk.clone()), Err(Reason::Forbidden), "from trunk to trunk");
    let both = referred(&plan, &other, wanted, desk).unwrap();
    assert_eq!(both, ("sip:2042@pbx.example".to_owned(), "sip:2050@pbx.example".to_owned()));
}

/// R-CALL-25: a client names a phone or another user; she must be allowed to dial, though the phone is who calls.
#[test]
fn a_client_gives_its_peer_another_one() {
    let (plan, rosa, desk) =
        (plan(), Party::xmpp("rosa@xmpp.example/phone"), Party::sip("sip:2041@pbx.example"));
    let to = |to: &str| referred(&plan, &desk, Party::xmpp(to), rosa.clone());
    let phone = ("sip:2041@pbx.example".to_owned(), "sip:2050@pbx.example".to_owned());
    assert_eq!(to("2050@sip.xmpp.example/x"), Ok(phone));
    let nils = ("2041@sip.xmpp.example".to_owned(), "nils@xmpp.example".to_owned());
    assert_eq!(to("Nils@xmpp.example"), Ok(nils));
    for (target, reason) in [
        ("112@sip.xmpp.example", Reason::Forbidden),
        ("0900123@sip.xmpp.example", Reason::Forbidden),
        ("anonymous@sip.xmpp.example", Reason::NotFound),
        ("nils@elsewhere.example", Reason::NotFound),
        ("sip.xmpp.example", Reason::NotFound),
    ] {
        assert_eq!(to(target), Err(reason), "{target}");
    }
    let stranger = Party::xmpp("mallory@elsewhere.example/x");
    let wanted = Party::xmpp("2050@sip.xmpp.example");
    assert_eq!(referred(&plan, &desk, wanted, stranger), Err(Reason::Forbidden));
}

fn heard(to: &str) -> Opening {
    let (from, to) = (Party::xmpp("rosa@xmpp.example/phone"), Party::xmpp(to));
    Opening { from, to, link: "sip.xmpp.example".into(), hops: 70, diverted: None, referral: None }
}

/// R-SVC-4, R-SIP-8: who calls is told to trunks that want it, and a signature of somebody unnamed to nobody else.
#[test]
fn networks_are_told_who_calls_as_their_trunk_wants() {
    let route = |asserted_identity, opening: &Opening, diverts| {
        let plan = Plan { trunks: vec![Trunk { asserted_identity, ..trunk(None) }], ..plan() };
        let route = if diverts { plan.divert(opening) } else { plan.route(opening) };
        route.unwrap().opening.from
    };
    let shown = route(false, &heard("2041@sip.xmpp.example"), false);
    assert_eq!(shown.identity, None);
    let told = route(true, &heard("2041@sip.xmpp.example"), false);
    assert_eq!(told.identity.unwrap().asserted.as_deref(), Some(shown.address.as_str()));
    let signed = signal::Identity::of(Some("sip:+4930@pbx".into()), vec!["a.b.c".into()], None);
    let forwarded = |from: Party| {
        let by = signal::Diversion {
            party: Party::xmpp("rosa@xmpp.example"),
            reason: signal::DiversionReason::Unconditional,
            count: 1,
            private: false,
        };
        let diverted = Some(signal::Diverted { history: vec![by], mailbox: false });
        let from = Party { identity: signed.clone(), ..from };
        Opening { from, to: Party::xmpp("2050"), diverted, ..heard("") }
    };
    let of = |told: bool, from: Party| {
        let identity = route(told, &forwarded(from), true).identity;
        identity.map(|identity| (identity.asserted.is_some(), identity.signed.len()))
    };
    assert_eq!(of(true, Party::sip("sip:2041@pbx")), Some((true, 1)));
    assert_eq!(of(false, Party::sip("sip:2041@pbx")), Some((false, 1)), "a signature goes on");
    assert_eq!(of(true, Party::anonymous()), Some((true, 1)));
    assert_eq!(of(false, Party::anonymous()), None, "it would name the caller");
}

/// Interworking §1.3: numbers leave in the form of the trunk, and no rule makes a number of what may not be dialled.
#[test]
fn numbers_leave_in_the_form_of_the_trunk() {
    let front = |strip, prefix: &str| Change::Front { strip, prefix: prefix.into() };
    let rule = |role, pattern, change| Rewrite::new(Way::To, role, pattern, change).unwrap();
    let rewrites = Rewrites(vec![
        rule(Role::Called, r"^\+49", front(3, "0")),
        rule(Role::Called, "^9", front(1, "")),
        rule(Role::Calling, "^", front(0, "+4930555")),
    ]);
    let trunks = vec![Trunk { rewrites, asserted_identity: true, ..trunk(None) }];
    let plan = Plan { trunks, ..plan() };
    let dialled = |local: &str| {
        let route = plan.route(&heard(&format!("{local}@sip.xmpp.example")));
        route.map(|route| (route.opening.to.address, route.opening.from)).map_err(|end| end.reason)
    };
    let host = &plan.trunks[0].host;
    let user = |local: &str| dialled(local).map(|(to, _)| to.replace(&format!("@{host}"), ""));
    assert_eq!(user("+4930123"), Ok("sip:030123".into()));
    assert_eq!(user("92041"), Ok("sip:2041".into()));
    assert_eq!(user("2041"), Ok("sip:2041".into()));
    for forbidden in ["9112", "+49900123", "9*21*1"] {
        assert_eq!(user(forbidden), Err(Reason::Forbidden), "{forbidden}");
    }
    let (_, from) = dialled("2041").unwrap();
    assert_eq!(from.address, "sip:+49305552700@im.pbx.example");
    assert_eq!(from.identity.unwrap().asserted, Some(from.address));
}
