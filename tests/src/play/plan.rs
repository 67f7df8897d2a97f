//! Routes of calls in a flow, as the orchestrator gathers them.

use crate::Fault;
use media::{Policy, Profile};
use session::call::Route;
use signal::{End, Opening, Protocol, Reason};

/// Returns the plan of every flow: one trunk, one component, one alias.
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
    };
    let alias = address::Alias { number: "2700".into(), jid: "rosa@example.net".into() };
    address::Plan::new(vec!["im.example.net".into()], vec![component], vec![trunk], &[alias])
        .map_err(|e| Fault(e.to_string()))
}

/// Returns the route of a call. `direct`: the callee's device is known to take no proposals;
/// `trunk`: the media profile of phones.
///
/// # Errors
/// The reason to refuse it with.
pub fn route(plan: &address::Plan, opening: &Opening, direct: bool, trunk: Profile) -> Result<Route, End> {
    let mut route = plan.route(opening)?;
    if direct && route.protocol == Protocol::Xmpp {
        route.opening.to.address.push_str("/phone");
    }
    let profile = |protocol| match protocol {
        Protocol::Sip => trunk,
        Protocol::Xmpp => Profile::Webrtc,
    };
    Ok(Route {
        caller: profile(opening.from.protocol),
        callee: profile(route.protocol),
        // As far as the relay can.
        policy: Policy { transcode: true, ..Policy::default() },
        ring_ms: 60_000,
        unheard: match route.protocol {
            Protocol::Xmpp => Reason::Offline,
            Protocol::Sip => Reason::Timeout,
        },
        opening: route.opening,
    })
}
