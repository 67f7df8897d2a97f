//! What placing a call needs, gathered before the decision: where it goes, and a relay session.

use crate::relays::{AllocationRequest, Relays};
use address::{Alias, Component, Plan, Trunk};
use anyhow::Result;
use media::{LocalEnd, Policy, Profile};
use runtime::Config;
use runtime::config::Srtp;
use session::call::{Placement, RelaySession, Route};
use signal::{End, Heard, Protocol, Reason, Signal};
use std::collections::{HashMap, HashSet};

/// Contents of an offer that get a relay end; further ones are refused.
const MAX_CONTENTS: usize = 4;

/// Knows who is reached how.
pub struct Gather {
    plan: Plan,
    /// Trunks that are called by IPv6: what is offered them is of it.
    ipv6: HashSet<String>,
    /// How media is spoken with each trunk.
    trunks: HashMap<String, Profile>,
    ring_ms: u64,
    policy: Policy,
}

impl Gather {
    /// From the configuration.
    ///
    /// # Errors
    /// A fault of the configuration, with key, value and remedy.
    pub fn new(config: &Config) -> Result<Gather> {
        let components = config.xmpp.component.iter().map(|c| Component {
            domain: c.domain.to_lowercase(),
            users: c.users.clone().unwrap_or_default().to_lowercase(),
        });
        let trunks = config.trunk.iter().map(|t| Trunk {
            name: t.name.clone(),
            domain: t.domain.to_lowercase(),
            host: host_of(&t.uri).to_owned(),
            callers: t.callers.clone(),
        });
        let aliases: Vec<Alias> =
            config.alias.iter().map(|a| Alias { number: a.number.clone(), jid: a.jid.clone() }).collect();
        let plan = Plan::new(config.sip.domains.clone(), components.collect(), trunks.collect(), &aliases)?;
        let ipv6 = config.trunk.iter().filter(|trunk| host_of(&trunk.uri).starts_with('['));
        let ipv6 = ipv6.map(|trunk| trunk.name.clone()).collect();
        let trunks = config.trunk.iter().map(|trunk| (trunk.name.clone(), spoken(trunk.srtp))).collect();
        let ring_ms = config.call.ring_s.saturating_mul(1_000);
        let policy = Policy { transcode: true, music: config.call.hold_music.clone(), ..Policy::default() };
        Ok(Gather { plan, ipv6, trunks, ring_ms, policy })
    }

    /// Everything that placing the call of `heard` needs. `maybe_allocated`: see [`Relays::allocate`].
    ///
    /// # Errors
    /// The reason to refuse it with.
    pub async fn placement(
        &self,
        heard: Heard,
        trace: String,
        relays: &Relays,
        maybe_allocated: &mut Vec<RelaySession>,
    ) -> Result<Placement, End> {
        let Some(opening) = &heard.opening else { return Err(Reason::BadRequest.into()) };
        let route = self.route(opening)?;
        let contents = match heard.signals.first() {
            Some(Signal::Offer(media)) => media.contents.len().clamp(1, MAX_CONTENTS),
            _ => return Err(Reason::BadRequest.into()),
        };
        let webrtc = [route.caller, route.callee].map(|profile| profile == Profile::Webrtc);
        let allocation = relays
            .allocate(heard.leg.record, &AllocationRequest { contents, webrtc }, &trace, maybe_allocated)
            .await;
        let mut allocation = allocation.map_err(End::from)?;
        if self.ipv6.contains(&route.opening.link) {
            allocation.ends.iter_mut().skip(1).flatten().for_each(LocalEnd::prefer_ipv6);
        }
        Ok(Placement { heard, route, allocation, trace })
    }

    fn route(&self, opening: &signal::Opening) -> Result<Route, End> {
        let route = self.plan.route(opening)?;
        Ok(Route {
            caller: self.profile(opening.from.protocol, &opening.link),
            callee: self.profile(route.protocol, &route.opening.link),
            policy: self.policy.clone(),
            ring_ms: self.ring_ms,
            // A silent device may be away; a silent next hop should have answered (R-CALL-12).
            unheard: match route.protocol {
                Protocol::Xmpp => Reason::Offline,
                Protocol::Sip => Reason::Timeout,
            },
            opening: route.opening,
        })
    }

    /// Trunks speak as they are told to; Jingle clients speak nothing but DTLS-SRTP.
    fn profile(&self, protocol: Protocol, link: &str) -> Profile {
        match protocol {
            Protocol::Sip => self.trunks.get(link).copied().unwrap_or(Profile::Plain),
            Protocol::Xmpp => Profile::Webrtc,
        }
    }
}

fn spoken(srtp: Srtp) -> Profile {
    match srtp {
        Srtp::Off => Profile::Plain,
        Srtp::Optional => Profile::BestEffort,
        Srtp::Required => Profile::Sdes,
    }
}

/// The host of `sip:user@host:port;parameters`.
fn host_of(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let rest = rest.split_once('@').map_or(rest, |(_, rest)| rest);
    let rest = rest.split([';', '?']).next().unwrap_or(rest);
    if rest.starts_with('[') {
        return rest.split_once(']').map_or(rest, |(host, _)| &rest[..=host.len()]);
    }
    rest.split(':').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::host_of;

    #[test]
    fn the_host_of_a_trunk_is_cut_out_of_its_uri() {
        for (uri, host) in [
            ("sip:127.0.0.1:5070;transport=udp", "127.0.0.1"),
            ("sip:pbx.example", "pbx.example"),
            ("sip:gw@pbx.example:5060", "pbx.example"),
            ("sip:[2001:db8::1]:5060", "[2001:db8::1]"),
        ] {
            assert_eq!(host_of(uri), host);
        }
    }
}
