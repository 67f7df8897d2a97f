//! Routes of calls in a flow, as the orchestrator gathers them.

use crate::Fault;
use media::Profile;
use session::call::Route;
use session::user::Settings;
use signal::{End, Opening, Protocol, Reason};

/// Returns the plan of every flow: one trunk, one component, two aliases.
///
/// # Errors
/// Never; the plan is a good one.
pub fn plan() -> Result<address::Plan, Fault> {
    let component = address::Component { domain: "sip.example.net".into(), users: "example.net".into() };
    let trunk = address::Trunk {
        name: "pbx".into(),
        domain: "sip.example.net".into(),
        host: "192.0.2.9".into(),
        callers: None,
        dial: address::DialRules::default(),
        emergency: address::EmergencyNumbers::default(),
    };
    let alias = |number: &str, jid: &str| address::Alias { number: number.into(), jid: jid.into() };
    let aliases = [alias("2700", "rosa@example.net"), alias("2701", "nils@example.net")];
    address::Plan::new(vec!["im.example.net".into()], vec![component], vec![trunk], &aliases)
        .map_err(|e| Fault(e.to_string()))
}

/// Returns the route to a callee. `direct`: the callee's device is known to take no proposals.
///
/// # Errors
/// The reason to refuse the call with.
pub fn route(
    plan: &address::Plan,
    opening: &Opening,
    direct: bool,
    profile: impl Fn(Protocol) -> Profile,
) -> Result<Route, End> {
    let mut route = plan.route(opening)?;
    if direct && route.protocol == Protocol::Xmpp {
        route.opening.to.address.push_str("/phone");
    }
    Ok(Route {
        profile: profile(route.protocol),
        ipv6: false,
        ring_ms: 60_000,
        unheard: match route.protocol {
            Protocol::Xmpp => Reason::Offline,
            Protocol::Sip => Reason::Timeout,
        },
        unheard_ms: (route.protocol == Protocol::Xmpp).then_some(45_000),
        opening: route.opening,
        settings: Settings::default(),
    })
}

/// Returns the media profile of a party; `trunk`: that of phones.
pub fn profile(trunk: Profile) -> impl Fn(Protocol) -> Profile {
    move |protocol| match protocol {
        Protocol::Sip => trunk,
        Protocol::Xmpp => Profile::Webrtc,
    }
}
