//! Routes of calls in a flow, as the orchestrator gathers them.

use crate::{Fault, fault};
use media::Profile;
use session::call::Route;
use session::user::{CallerRule, Settings};
use signal::{End, Opening, Protocol, Reason};
use std::collections::BTreeMap;

/// Settings of users, by bare JID.
pub type Users = BTreeMap<String, Settings>;

/// Reads settings of users: `rosa busy=2050 no_answer_s=20 dnd; nils always=rosa@example.net`.
///
/// # Errors
/// A word that is no setting.
pub fn users(text: &str) -> Result<Users, Fault> {
    let mut users = Users::new();
    for user in text.split(';') {
        let mut words = user.split_whitespace();
        let Some(name) = words.next() else { continue };
        let mut settings = Settings::default();
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let (target, forward) = (Some(value.to_owned()), &mut settings.forward);
            match key {
                "always" => forward.always = target,
                "busy" => forward.busy = target,
                "no_answer" => forward.no_answer = target,
                "offline" => forward.offline = target,
                "no_answer_s" => forward.no_answer_s = value.parse().ok(),
                "voicemail" => settings.voicemail = target,
                "blocked" => settings.blocked.push(value.to_owned()),
                "dnd" => settings.do_not_disturb = true,
                "engaged" => settings.no_call_waiting = true,
                "withhold" => settings.withhold_caller_id = true,
                "reject_anonymous" => settings.reject_anonymous = true,
                "caller" => {
                    let (caller, target) = value.split_once('>').unwrap_or((value, ""));
                    let rule = CallerRule { callers: vec![caller.into()], target: target.into() };
                    forward.callers.push(rule);
                }
                _ => return fault(format!("{word} is no setting")),
            }
        }
        settings.check().map_err(|invalid| Fault(format!("{name}: {invalid}")))?;
        users.insert(format!("{name}@example.net"), settings);
    }
    Ok(users)
}

/// Returns the plan of every flow: one trunk, one component, two aliases.
///
/// # Errors
/// Never; the plan is a good one.
pub fn plan(voicemail: Option<&str>, asserted_identity: bool) -> Result<address::Plan, Fault> {
    let component = address::Component { domain: "sip.example.net".into(), users: "example.net".into() };
    let trunk = address::Trunk {
        name: "pbx".into(),
        domain: "sip.example.net".into(),
        host: "192.0.2.9".into(),
        callers: None,
        dial: address::DialRules::default(),
        emergency: address::EmergencyNumbers::default(),
        asserted_identity,
        rewrites: address::Rewrites::default(),
        voicemail: voicemail.map(str::to_owned),
    };
    let alias = |number: &str, jid: &str| address::Alias { number: number.into(), jid: jid.into() };
    let aliases = [alias("2700", "rosa@example.net"), alias("2701", "nils@example.net")];
    address::Plan::new(vec!["im.example.net".into()], vec![component], vec![trunk], &aliases)
        .map_err(|e| Fault(e.to_string()))
}

/// Returns the route to a callee. `diverts`: the last party of its history wants the call there. `direct`: the callee's device is known to take no proposals. `early`:
/// trunks are heard before they answer.
///
/// # Errors
/// The reason to refuse the call with.
pub fn route(
    (plan, voicemail): (&address::Plan, Option<&str>),
    (opening, diverts): (&Opening, bool),
    users: &Users,
    (direct, early): (bool, bool),
    profile: impl Fn(Protocol) -> Profile,
) -> Result<Route, End> {
    let mut route = if diverts { plan.divert(opening)? } else { plan.route(opening)? };
    let caller = opening.from.address.split('/').next().unwrap_or_default();
    if users.get(caller).is_some_and(|settings| settings.withhold_caller_id) {
        route.opening.from = route.opening.from.withheld(&route.opening.link);
    }
    let mut settings = users.get(&route.opening.to.address).cloned().unwrap_or_default();
    if route.protocol == Protocol::Xmpp {
        settings.settle_voicemail(voicemail);
    }
    if direct && route.protocol == Protocol::Xmpp {
        route.opening.to.address.push_str("/phone");
    }
    Ok(Route {
        profile: profile(route.protocol),
        ipv6: false,
        // Without call waiting the user is in another call.
        engaged: settings.no_call_waiting,
        ring_ms: 60_000,
        unheard: match route.protocol {
            Protocol::Xmpp => Reason::Offline,
            Protocol::Sip => Reason::Timeout,
        },
        unheard_ms: (route.protocol == Protocol::Xmpp).then_some(45_000),
        early_media: early && route.protocol == Protocol::Sip,
        opening: route.opening,
        settings,
    })
}

/// Returns the media profile of a party; `trunk`: that of phones.
pub fn profile(trunk: Profile) -> impl Fn(Protocol) -> Profile {
    move |protocol| match protocol {
        Protocol::Sip => trunk,
        Protocol::Xmpp => Profile::Webrtc,
    }
}
