//! Routing plan (interworking §1.2): built once from the configuration, answers without IO.

use crate::escape::{Unmappable, percent_decode};
use crate::uri::Uri;
use crate::{DialRules, Number, display_name, is_emergency, jid_local, plain_number, sip_user, unescape};
use signal::{End, Opening, Party, Protocol, Reason};
use std::collections::HashMap;

/// Component domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Component {
    /// Domain, `[[xmpp.component]] domain`.
    pub domain: String,
    /// XMPP domain of the users that `[sip] domains` stand for, `[[xmpp.component]] users`; empty = none.
    pub users: String,
}

/// Trunk: a SIP peer that calls come from and go to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trunk {
    /// Name, `[[trunk]] name`.
    pub name: String,
    /// Component domain that the trunk serves, `[[trunk]] domain`.
    pub domain: String,
    /// Host of `[[trunk]] uri`.
    pub host: String,
    /// XMPP domains whose users may call through the trunk, `[[trunk]] callers`; `*` = every domain, `None` = the component's `users`.
    pub callers: Option<Vec<String>>,
    /// Numbers that may be called through the trunk, `[[trunk]] allow` and `deny`.
    pub dial: DialRules,
}

/// Entry of [`Trunk::callers`] for every domain.
const ANY_DOMAIN: &str = "*";

/// Telephone number of an XMPP user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alias {
    /// Number, `[[alias]] number`.
    pub number: String,
    /// Bare JID of the user, `[[alias]] jid`.
    pub jid: String,
}

/// Fault of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} = \"{value}\": {remedy}")]
pub struct PlanError {
    /// Key with the fault.
    pub key: String,
    /// Value of the key.
    pub value: String,
    /// Remedy for the operator.
    pub remedy: String,
}

/// Route of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Opening of the callee's leg: identity to show, target, and outgoing link (trunk name or component domain).
    pub opening: Opening,
    /// Protocol of the callee's leg; selects the edge.
    pub protocol: Protocol,
}

/// Routing plan.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    sip_domains: Vec<String>,
    components: Vec<Component>,
    trunks: Vec<Trunk>,
    jid_of_number: HashMap<String, String>,
    number_of_jid: HashMap<String, String>,
}

impl Plan {
    /// Builds a plan and checks the configuration.
    ///
    /// # Errors
    /// [`PlanError`] for the first fault.
    pub fn new(
        sip_domains: Vec<String>,
        components: Vec<Component>,
        trunks: Vec<Trunk>,
        aliases: &[Alias],
    ) -> Result<Plan, PlanError> {
        let fault = |key: &str, value: &str, remedy: &str| {
            Err(PlanError { key: key.into(), value: value.into(), remedy: remedy.into() })
        };
        let mut plan = Plan {
            sip_domains: sip_domains.iter().map(|d| d.to_lowercase()).collect(),
            components,
            ..Plan::default()
        };
        for mut trunk in trunks {
            if !plan.components.iter().any(|c| c.domain == trunk.domain) {
                return fault("[[trunk]] domain", &trunk.domain, "name the domain of an [[xmpp.component]]");
            }
            if plan.trunks.iter().any(|t| t.domain == trunk.domain) {
                return fault(
                    "[[trunk]] domain",
                    &trunk.domain,
                    "another trunk serves it already; give each trunk a component domain of its own",
                );
            }
            if plan.trunks.iter().any(|t| t.name == trunk.name) {
                return fault("[[trunk]] name", &trunk.name, "name each trunk differently");
            }
            trunk.callers = trunk.callers.map(|domains| domains.iter().map(|d| d.to_lowercase()).collect());
            plan.trunks.push(trunk);
        }
        for alias in aliases {
            let Some(number) = plain_number(&alias.number) else {
                return fault(
                    "[[alias]] number",
                    &alias.number,
                    "write digits, with a leading + for a number in international form",
                );
            };
            if is_emergency(&number) {
                return fault(
                    "[[alias]] number",
                    &alias.number,
                    "an emergency number cannot be somebody's alias",
                );
            }
            let jid = bare(&alias.jid).to_lowercase();
            if !jid.contains('@') {
                return fault("[[alias]] jid", &alias.jid, "write it as user@domain");
            }
            if plan.jid_of_number.insert(number.clone(), jid.clone()).is_some() {
                return fault("[[alias]] number", &alias.number, "it stands twice; keep one");
            }
            plan.number_of_jid.entry(jid).or_insert(number);
        }
        Ok(plan)
    }

    /// Routes a call by the opening of the caller's leg.
    ///
    /// # Errors
    /// Reason with which to refuse the call.
    pub fn route(&self, heard: &Opening) -> Result<Route, End> {
        match heard.from.protocol {
            Protocol::Sip => self.to_xmpp(heard),
            Protocol::Xmpp => self.to_sip(heard),
        }
        .map_err(End::from)
    }

    /// Routes a call from SIP. Lookup order of interworking §1.2: alias, then domain rule.
    fn to_xmpp(&self, heard: &Opening) -> Result<Route, Reason> {
        let trunk = self.trunks.iter().find(|t| t.name == heard.link).ok_or(Reason::Forbidden)?;
        let component = self.components.iter().find(|c| c.domain == trunk.domain).ok_or(Reason::NotFound)?;
        let target = Uri::parse(&heard.to.address).ok_or(Reason::NotFound)?;
        let (user, host) = user_host(&target);
        let number = Number::of(&target);
        if dials_emergency(&String::from_utf8_lossy(&percent_decode(user))) {
            return Err(Reason::Forbidden);
        }
        let callee = match number.as_ref().and_then(|number| self.jid_of(number)) {
            Some(jid) => jid.clone(),
            None if self.sip_domains.iter().any(|domain| domain == host)
                && !component.users.is_empty()
                && number.is_none() =>
            {
                let (user, domain) =
                    self.guest(trunk, component, user).unwrap_or((user, component.users.clone()));
                let local = jid_local(user).map_err(|e| match e {
                    Unmappable::Malformed => Reason::BadRequest,
                    Unmappable::NoJid | Unmappable::TooLong => Reason::NotFound,
                })?;
                format!("{local}@{domain}")
            }
            None => return Err(Reason::NotFound),
        };
        // R-ADDR-14: `anonymous` cannot be called back.
        let local = caller_local(&heard.from.address).unwrap_or_else(|| "anonymous".to_owned());
        let from = Party::xmpp(format!("{local}@{}", component.domain));
        self.route_to(heard, from, Party::xmpp(callee), &component.domain)
    }

    /// Returns the JID that has a number. The context of a local number counts where the plan knows the two together.
    fn jid_of(&self, number: &Number) -> Option<&String> {
        let global = number.globalized().and_then(|global| self.jid_of_number.get(&global));
        global.or_else(|| self.jid_of_number.get(&number.digits))
    }

    /// Routes a call from XMPP: the component domain selects the trunk.
    fn to_sip(&self, heard: &Opening) -> Result<Route, Reason> {
        let target = bare(&heard.to.address);
        let (local, domain) = target.split_once('@').ok_or(Reason::NotFound)?;
        let trunk = self.trunks.iter().find(|t| t.domain == domain).ok_or(Reason::NotFound)?;
        if local == "anonymous" {
            return Err(Reason::NotFound);
        }
        if dials_emergency(&unescape(local)) {
            return Err(Reason::Forbidden);
        }
        // R-SIP-11: a component's own JID as the caller means that a message of this gateway came back.
        let caller = bare(&heard.from.address).to_lowercase();
        let (name, home) = caller.split_once('@').ok_or(Reason::Loop)?;
        if self.components.iter().any(|c| c.domain == home) {
            return Err(Reason::Loop);
        }
        let component = self.components.iter().find(|c| c.domain == trunk.domain).ok_or(Reason::NotFound)?;
        // Toll fraud: only users of the domains that the trunk names may dial out.
        if !allows(trunk, component, home) {
            return Err(Reason::Forbidden);
        }
        if dialled_number(&unescape(local)).is_some_and(|number| !trunk.dial.permit(&number)) {
            return Err(Reason::Forbidden);
        }
        let user = Number::parse(local).map_or_else(|| sip_user(local), |number| sip_user(&number.dialled()));
        let to = Party::sip(format!("sip:{user}@{}", trunk.host));
        let own_domain = self.sip_domains.first().unwrap_or(&trunk.host);
        let identity = match self.number_of_jid.get(&caller) {
            Some(number) => sip_user(number),
            None if home == component.users && plain_number(name).is_none() => sip_user(name),
            // Neither a number of another user nor the name of a local user (interworking §1.2).
            None => format!("{}%40{}", sip_user(name), sip_user(home)),
        };
        let from = Party::sip(format!("sip:{identity}@{own_domain}"));
        self.route_to(heard, from, to, &trunk.name)
    }

    /// Splits a user part that holds a domain, `rosa%40xmpp.example`: the identity that a caller of another domain was shown with.
    fn guest<'a>(&self, trunk: &Trunk, component: &Component, user: &'a str) -> Option<(&'a str, String)> {
        let at = user.find("%40")?;
        let domain = String::from_utf8(percent_decode(&user[at + 3..])).ok()?.to_lowercase();
        let valid = !domain.is_empty() && domain.chars().all(|c| c.is_alphanumeric() || "-.".contains(c));
        let own = self.components.iter().any(|c| c.domain == domain);
        (valid && !own && allows(trunk, component, &domain)).then(|| (&user[..at], domain))
    }

    /// Makes the route: the caller's name is what may be shown of it. Refuses a call without hops left.
    fn route_to(&self, heard: &Opening, from: Party, to: Party, link: &str) -> Result<Route, Reason> {
        let hops = heard.hops.checked_sub(1).filter(|h| *h > 0).ok_or(Reason::Loop)?;
        let protocol = to.protocol;
        let from = Party { display: heard.from.display.as_deref().and_then(display_name), ..from };
        Ok(Route { opening: Opening { from, to, link: link.to_owned(), hops }, protocol })
    }
}

/// Returns true if users of the domain `home` may call through the trunk.
fn allows(trunk: &Trunk, component: &Component, home: &str) -> bool {
    match &trunk.callers {
        Some(domains) => domains.iter().any(|d| d == ANY_DOMAIN || d == home),
        None => !home.is_empty() && home == component.users,
    }
}

/// Returns true if the decoded user part dials an emergency number, with or without a suffix (`112;x=y`, `112,5`; R-ADDR-13).
fn dials_emergency(user: &str) -> bool {
    dialled_number(user).is_some_and(|number| is_emergency(&number))
}

/// Returns the number that a decoded user part dials, without what follows it.
fn dialled_number(user: &str) -> Option<String> {
    let dialled = user.split([';', ',', '?', '/', '&', '=', '$', ':', '@']).next().unwrap_or(user);
    plain_number(dialled)
}

/// Returns user and host of a SIP URI, or the number of a tel URI, escaped as they stand there (R-ADDR-16).
fn user_host(uri: &Uri) -> (&str, &str) {
    match uri {
        Uri::Sip(uri) => (uri.user.as_deref().unwrap_or(""), &uri.host),
        Uri::Tel(number, _) => (number, ""),
        Uri::Other(_) => ("", ""),
    }
}

/// Returns the localpart that a caller from SIP is shown by; `None` for one without a name that can be called back.
fn caller_local(address: &str) -> Option<String> {
    let uri = Uri::parse(address)?;
    let (user, host) = user_host(&uri);
    if user.is_empty() || host.ends_with("anonymous.invalid") {
        return None;
    }
    match Number::of(&uri) {
        Some(number) => Some(number.dialled()),
        None => jid_local(user).ok(),
    }
}

fn bare(jid: &str) -> &str {
    jid.split('/').next().unwrap_or(jid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trunk(callers: Option<&[&str]>) -> Trunk {
        Trunk {
            name: "pbx".into(),
            domain: "sip.xmpp.example".into(),
            host: "pbx.example".into(),
            callers: callers.map(|domains| domains.iter().map(|d| (*d).to_owned()).collect()),
            dial: DialRules::default(),
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
        let heard = Opening { from, to, link: link.into(), hops: 70 };
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
            plan.route(&Opening { from, to, link: "pbx".into(), hops: 70 }).map(|r| r.opening.to.address)
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
            (
                "sip:+15550111;ext=22;cpc=ordinary@c.example;user=phone",
                "+15550111;ext=22",
                "+15550111;ext=22",
            ),
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
            let heard = Opening { from, to, link: "pbx".into(), hops: 70 };
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
        };
        assert_eq!(plan().route(&tired).map_err(|e| e.reason).err(), Some(Reason::Loop));
    }

    fn out(callers: Option<&[&str]>, from: &str) -> Result<String, Reason> {
        let plan = Plan { trunks: vec![trunk(callers)], ..plan() };
        let (from, to) = (Party::xmpp(from), Party::xmpp("2041@sip.xmpp.example"));
        let heard = Opening { from, to, link: String::new(), hops: 70 };
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
            let route = plan.route(&Opening { from, to, link: "pbx".into(), hops: 70 });
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
        let route = plan.route(&Opening { from, to, link: "sip.xmpp.example".into(), hops: 70 }).unwrap();
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
                Plan::new(vec![], vec![], vec![], &[Alias { number: number.into(), jid: jid.into() }])
                    .is_err(),
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
            let opening = Opening { from, to, link: "sip.xmpp.example".into(), hops: 70 };
            plan.route(&opening).map(|route| route.opening.to.address).map_err(|end| end.reason)
        };
        for denied in ["*21*0123456#", "+19005551234", "0900-123", "2041*1", "*21;x=y", "09001;ext=2"] {
            assert_eq!(dial(denied), Err(Reason::Forbidden), "{denied}");
        }
        for permitted in ["2041", "+4930123456", "nils", "conference#1"] {
            assert!(dial(permitted).is_ok(), "{permitted}");
        }
    }
}
