//! Gathers before the decision all that placing a call needs: where it goes, and a relay session.

use crate::counters::Lines;
use crate::relays::{AllocationRequest, LegRequest, Relays};
use crate::users::{Users, bare_jid};
use address::{Alias, Component, DialRules, Plan, Trunk};
use media::{Policy, Profile};
use runtime::Config;
use runtime::config::{EarlyMedia, Fault, NextHop, Srtp, TrunkConfig};
use session::call::{CALLEE, CALLER, MAX_CONTENTS, Placement, RelaySession, Route};
use session::mailbox::Announcement;
use session::user::Settings;
use signal::mailbox::Notice;
use signal::{End, Heard, Opening, Party, Protocol, Reason, RecordId, Signal};
use std::collections::{HashMap, HashSet};
use std::net::Ipv6Addr;
use std::sync::{Arc, PoisonError, RwLock};
use tracing::warn;

/// Knows who is reached how, by the configuration in force.
pub struct Gather {
    rules: RwLock<Arc<Rules>>,
    users: Users,
    lines: Arc<Lines>,
}

/// Rules of a configuration.
#[derive(Clone)]
struct Rules {
    plan: Plan,
    /// Trunks that are called by IPv6: what is offered them is of it.
    ipv6: HashSet<String>,
    /// Trunks that are heard before they answer.
    early_media: HashSet<String>,
    /// How media is spoken with each trunk.
    trunks: HashMap<String, Profile>,
    /// Networks that the media of trunks may come from beside what they describe.
    media_networks: HashMap<String, Arc<[String]>>,
    /// Voicemail boxes by component domain.
    voicemail: HashMap<String, String>,
    ring_ms: u64,
    /// Longest wait for a device that rings, ms.
    unheard_ms: u64,
    policy: Policy,
}

impl Rules {
    fn new(config: &Config) -> Result<Rules, Fault> {
        let components = config.xmpp.component.iter().map(|c| Component {
            domain: c.domain.to_lowercase(),
            users: c.users.clone().unwrap_or_default().to_lowercase(),
        });
        let (mut trunks, mut ipv6, mut early_media) = (vec![], HashSet::new(), HashSet::new());
        for trunk in &config.trunk {
            let hop = trunk.next_hop()?;
            if hop.host.parse::<Ipv6Addr>().is_ok() {
                ipv6.insert(trunk.name.clone());
            }
            if trunk.early_media == EarlyMedia::Early {
                early_media.insert(trunk.name.clone());
            }
            trunks.push(Trunk {
                name: trunk.name.clone(),
                domain: trunk.domain.to_lowercase(),
                host: NextHop { port: None, ..hop }.to_string(),
                callers: config.callers(trunk),
                dial: dial_rules(trunk),
                emergency: trunk.emergency()?,
                asserted_identity: trunk.asserted_identity,
                rewrites: config.rewrites(&trunk.name)?,
                voicemail: trunk.voicemail.clone().or_else(|| config.call.voicemail.clone()),
            });
        }
        let voicemail = trunks.iter().filter_map(|t: &Trunk| Some((t.domain.clone(), t.voicemail.clone()?)));
        let voicemail = voicemail.collect();
        let aliases: Vec<Alias> =
            config.alias.iter().map(|a| Alias { number: a.number.clone(), jid: a.jid.clone() }).collect();
        let plan = Plan::new(config.sip.domains.clone(), components.collect(), trunks, &aliases);
        let plan =
            plan.map_err(|error| Fault::new(&error.key, format!("\"{}\"", error.value), error.remedy))?;
        let mut media_networks = HashMap::new();
        for trunk in config.trunk.iter().filter(|trunk| !trunk.media_networks.is_empty()) {
            trunk.media_networks()?;
            media_networks.insert(trunk.name.clone(), trunk.media_networks.clone().into());
        }
        let trunks = config.trunk.iter().map(|trunk| (trunk.name.clone(), spoken(trunk.srtp))).collect();
        let ring_ms = config.call.ring_s.saturating_mul(1_000);
        let unheard_ms = config.call.unheard_s.saturating_mul(1_000);
        let policy = Policy { transcode: true, music: config.call.hold_music.clone(), ..Policy::default() };
        Ok(Rules { plan, ipv6, early_media, trunks, media_networks, voicemail, ring_ms, unheard_ms, policy })
    }

    /// Keeps what was known of the media of trunks that are gone.
    fn after(mut self, old: &Rules) -> Rules {
        for (name, profile) in &old.trunks {
            if self.trunks.contains_key(name) {
                continue;
            }
            self.trunks.insert(name.clone(), *profile);
            self.ipv6.extend(old.ipv6.get(name).cloned());
            if let Some(networks) = old.media_networks.get(name) {
                self.media_networks.insert(name.clone(), networks.clone());
            }
        }
        self
    }

    /// Returns the route by the plan alone, with default settings of the callee. `diverts`: see [`Gather::route`].
    fn lead(&self, opening: &Opening, diverts: bool) -> Result<Route, End> {
        let route = if diverts { self.plan.divert(opening)? } else { self.plan.route(opening)? };
        Ok(Route {
            profile: self.profile(route.protocol, &route.opening.link),
            ipv6: self.ipv6.contains(&route.opening.link),
            ring_ms: self.ring_ms,
            engaged: false,
            // A silent device may be away; a silent next hop should have answered (R-CALL-12).
            unheard: match route.protocol {
                Protocol::Xmpp => Reason::Offline,
                Protocol::Sip => Reason::Timeout,
            },
            // Exchanges take their time to find a phone, and announce without a ring; a device says so at once.
            unheard_ms: (route.protocol == Protocol::Xmpp).then_some(self.unheard_ms),
            early_media: route.protocol == Protocol::Sip && self.early_media.contains(&route.opening.link),
            opening: route.opening,
            settings: Settings::default(),
        })
    }

    /// Returns how media is spoken on a leg: trunks speak as they are told to; Jingle clients speak nothing but DTLS-SRTP.
    fn profile(&self, protocol: Protocol, link: &str) -> Profile {
        match protocol {
            Protocol::Sip => self.trunks.get(link).copied().unwrap_or(Profile::Plain),
            Protocol::Xmpp => Profile::Webrtc,
        }
    }
}

impl Gather {
    /// From the configuration.
    ///
    /// # Errors
    /// A fault of the configuration, with key, value and remedy.
    pub fn new(config: &Config, users: Users) -> Result<Gather, Fault> {
        let rules = RwLock::new(Arc::new(Rules::new(config)?));
        Ok(Gather { rules, users, lines: Arc::new(Lines::new(config)) })
    }

    /// Looks at a configuration as [`Gather::new`] does.
    ///
    /// # Errors
    /// As [`Gather::new`].
    pub fn check(config: &Config) -> Result<(), Fault> {
        Rules::new(config).map(drop)
    }

    /// Takes another configuration for calls that begin from now on. What is known of the media of trunks that are gone stays, for
    /// calls that go on.
    ///
    /// # Errors
    /// As [`Gather::new`]; nothing has changed then.
    pub fn replace(&self, config: &Config) -> Result<(), Fault> {
        let new = Rules::new(config)?.after(&self.rules());
        self.lines.extend(config);
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        Ok(())
    }

    fn rules(&self) -> Arc<Rules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the metrics of calls.
    #[must_use]
    pub fn lines(&self) -> &Arc<Lines> {
        &self.lines
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
        let rules = self.rules();
        let mut route = rules.lead(opening, false)?;
        let contents = match heard.signals.first() {
            Some(Signal::Offer(media)) => media.contents.len().clamp(1, MAX_CONTENTS),
            _ => return Err(Reason::BadRequest.into()),
        };
        let mut shown = route.opening.clone();
        let caller = rules.profile(opening.from.protocol, &opening.link);
        let leg = |leg, profile| LegRequest { leg, contents, webrtc: profile == Profile::Webrtc };
        let legs = vec![leg(CALLER, caller), leg(CALLEE, route.profile)];
        let request = AllocationRequest { legs, bridge: vec![(CALLER, CALLEE)] };
        let (allocation, settings, ()) = tokio::join!(
            relays.allocate(heard.leg.record, &request, &trace, maybe_allocated),
            self.settings(&rules, &route.opening),
            self.withhold(heard.leg.record, opening, &mut shown),
        );
        let allocation = allocation.map_err(End::from)?;
        route.engaged = self.engage(heard.leg.record, &shown.to, &settings).await;
        (route.settings, route.opening) = (settings, shown);
        Ok(Placement { heard, caller, route, policy: rules.policy.clone(), allocation, trace })
    }

    /// Returns where a further leg of a call leads. `diverts`: the last party of its history wants it there.
    ///
    /// # Errors
    /// The reason to refuse it with.
    pub async fn route(&self, call: RecordId, opening: &Opening, diverts: bool) -> Result<Route, End> {
        let rules = self.rules();
        let mut route = rules.lead(opening, diverts)?;
        route.settings = self.settings(&rules, &route.opening).await;
        route.engaged = self.engage(call, &route.opening.to, &route.settings).await;
        self.withhold(call, opening, &mut route.opening).await;
        Ok(route)
    }

    /// Takes the number of an XMPP user who wants that out of what a callee is shown (R-SVC-4): as the caller, and as the one who asked
    /// for the call.
    async fn withhold(&self, call: RecordId, heard: &Opening, shown: &mut Opening) {
        if self.withholds(call, &heard.from).await {
            shown.from = shown.from.clone().withheld(&shown.link);
        }
        if let (Some(heard), Some(shown)) = (&heard.referral, &mut shown.referral)
            && self.withholds(call, &heard.by).await
        {
            shown.by = Party::anonymous();
        }
    }

    /// Returns true for an XMPP user who withholds the number, or whose settings cannot be read: it is not told by accident.
    async fn withholds(&self, call: RecordId, party: &Party) -> bool {
        let Some(jid) = bare_jid(&party.address).filter(|_| party.protocol == Protocol::Xmpp) else {
            return false;
        };
        let Ok(settings) = self.users.settings(&jid).await else { return true };
        self.note_engaged(call, &jid, &settings).await;
        settings.withhold_caller_id
    }

    /// Returns true if a callee without call waiting is in another call; else the user is noted to be in this one.
    async fn engage(&self, call: RecordId, callee: &Party, settings: &Settings) -> bool {
        let Some(jid) = bare_jid(&callee.address).filter(|_| settings.no_call_waiting) else { return false };
        let engaged = self.users.is_engaged(&jid, call).await.unwrap_or_else(|error| {
            warn!(%error, "the calls of a user cannot be read");
            false
        });
        if !engaged {
            self.note_engaged(call, &jid, settings).await;
        }
        engaged
    }

    /// Notes that a user without call waiting takes part in a call.
    async fn note_engaged(&self, call: RecordId, jid: &str, settings: &Settings) {
        if settings.no_call_waiting
            && let Err(error) = self.users.engage(jid, call).await
        {
            warn!(%error, "the calls of a user cannot be noted");
        }
    }

    /// Returns the settings of a callee who is an XMPP user, with the configured box of one who has no other. A call goes on without them
    /// rather than not at all.
    async fn settings(&self, rules: &Rules, opening: &Opening) -> Settings {
        let mut settings = self.own_settings(&opening.to).await;
        if opening.to.protocol == Protocol::Xmpp {
            settings.settle_voicemail(rules.voicemail.get(&opening.link).map(String::as_str));
        }
        settings
    }

    async fn own_settings(&self, callee: &Party) -> Settings {
        let Some(jid) = bare_jid(&callee.address).filter(|_| callee.protocol == Protocol::Xmpp) else {
            return Settings::default();
        };
        self.users.settings(&jid).await.unwrap_or_else(|error| {
            warn!(%error, "the settings of a user cannot be read");
            Settings::default()
        })
    }

    /// Returns the user whose box a voicemail server tells of, by bare JID, and what the user is told; `None`: nobody here.
    #[must_use]
    pub fn mailbox(&self, notice: &Notice) -> Option<(String, Announcement)> {
        let (jid, mailbox) =
            self.rules().plan.mailbox(&notice.trunk, &notice.to, notice.account.as_deref())?;
        Some((bare_jid(&jid)?, Announcement { mailbox, counts: notice.counts }))
    }

    /// Returns the networks that media of a leg may come from beside what its peer describes.
    pub fn media_networks(&self, protocol: Protocol, link: &str) -> Arc<[String]> {
        let rules = self.rules();
        let networks = rules.media_networks.get(link).filter(|_| protocol == Protocol::Sip);
        networks.cloned().unwrap_or_default()
    }
}

/// Returns the rules of a trunk; one without `deny` denies premium rates.
fn dial_rules(trunk: &TrunkConfig) -> DialRules {
    let deny = trunk.deny.clone().unwrap_or_else(|| DialRules::default().deny);
    DialRules { allow: trunk.allow.clone(), deny }
}

fn spoken(srtp: Srtp) -> Profile {
    match srtp {
        Srtp::Off => Profile::Plain,
        Srtp::Optional => Profile::BestEffort,
        Srtp::Required => Profile::Sdes,
        Srtp::Dtls => Profile::Dtls,
        Srtp::Osrtp => Profile::Osrtp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Records;
    use crate::runner::Runner;
    use crate::users::Announcer;
    use runtime::config::load::read;
    use signal::{Diversion, DiversionReason, Diverted, Secret, Time};

    const OLD: &str = r#"
        [[xmpp.component]]
        domain = "sip.example.net"
        server = "a:1"
        users = "example.net"
        [[trunk]]
        name = "pbx"
        uri = "sip:[2001:db8::9]"
        domain = "sip.example.net"
        srtp = "required"
        media_networks = ["203.0.113.0/24"]
        [[alias]]
        number = "2700"
        jid = "rosa@example.net"
    "#;

    fn rules(text: &str) -> Rules {
        Rules::new(&read(text, []).unwrap()).unwrap()
    }

    fn called(rules: &Rules, link: &str, number: &str) -> Result<String, Reason> {
        let opening = Opening {
            from: Party::sip("sip:1@pbx"),
            to: Party::sip(format!("sip:{number}@gw")),
            link: link.into(),
            hops: 9,
            diverted: None,
            referral: None,
        };
        rules.lead(&opening, false).map(|route| route.opening.to.address).map_err(|end| end.reason)
    }

    /// R-SVC-4: a user who withholds the number is anonymous to the trunk, and to whoever else the call goes to.
    #[tokio::test]
    async fn a_withheld_number_is_not_told() {
        let records =
            Records::new(Runner::new(store::Store::in_memory()), Announcer(bus::Bus::in_process()), || {
                Time(1_000)
            });
        let users = Users::new(records, Secret::new(b"test"));
        let withhold = Settings { withhold_caller_id: true, ..Settings::default() };
        users.set("rosa@example.net", withhold).await.unwrap();
        let gather = Gather::new(&read(OLD, []).unwrap(), users).unwrap();
        let opening = |from: &str, to: &str, diverted| Opening {
            from: Party::xmpp(from),
            to: Party::xmpp(to),
            link: "sip.example.net".into(),
            hops: 70,
            diverted,
            referral: None,
        };
        let call = RecordId::call([1; 10]);
        let shown = async |opening: Opening, diverts| {
            let route = gather.route(call, &opening, diverts).await.unwrap();
            route.opening.from
        };
        let told = shown(opening("nils@example.net/phone", "2041@sip.example.net", None), false).await;
        assert_eq!(told.address, "sip:nils@[2001:db8::9]");
        let rosa = "rosa@example.net/phone";
        assert_eq!(shown(opening(rosa, "2041@sip.example.net", None), false).await, Party::anonymous());
        let by = Diversion {
            party: Party::xmpp("nils@example.net"),
            reason: DiversionReason::UserBusy,
            count: 1,
            private: false,
        };
        let diverted = || Some(Diverted { history: vec![by.clone()], mailbox: false });
        assert_eq!(shown(opening(rosa, "2041", diverted()), true).await, Party::anonymous());
        let user = shown(opening(rosa, "tom@example.net", diverted()), true).await;
        assert_eq!(user, Party::xmpp("anonymous@sip.example.net"));
    }

    #[test]
    fn a_trunk_has_the_configured_box_or_one_of_its_own() {
        let boxed = |text: &str| rules(text).voicemail.get("sip.example.net").cloned();
        assert_eq!(boxed(OLD), None);
        let call = format!("{OLD}[call]\nvoicemail = \"*97\"\n");
        assert_eq!(boxed(&call).as_deref(), Some("*97"));
        let own = call.replace("srtp = ", "voicemail = \"sip:vm@[2001:db8::9]\"\nsrtp = ");
        assert_eq!(boxed(&own).as_deref(), Some("sip:vm@[2001:db8::9]"));
    }

    #[test]
    fn a14_calls_begin_by_the_new_rules_and_go_on_by_the_old_ones() {
        let old = rules(OLD);
        assert_eq!(called(&old, "pbx", "2700").as_deref(), Ok("rosa@example.net"));
        let text = OLD
            .replace("\"pbx\"", "\"carrier\"")
            .replace("required", "off")
            .replace("2001:db8::9", "::ffff:192.0.2.1");
        let text =
            text.replace("2700", "2701").replace("media_networks", "networks") + "[call]\nring_s = 7\n";
        let new = rules(&text).after(&old);
        assert_eq!(called(&new, "pbx", "2701"), Err(Reason::Forbidden));
        assert_eq!(called(&new, "carrier", "2700"), Err(Reason::NotFound));
        assert_eq!(called(&new, "carrier", "2701").as_deref(), Ok("rosa@example.net"));
        assert_eq!(new.ring_ms, 7_000);
        let of = |trunk: &str| (new.profile(Protocol::Sip, trunk), new.media_networks.contains_key(trunk));
        assert_eq!((of("pbx"), of("carrier")), ((Profile::Sdes, true), (Profile::Plain, false)));
        assert!(new.ipv6.contains("pbx"));
        // A trunk that stays is as the new configuration has it.
        let changed =
            rules(&OLD.replace("required", "dtls").replace("media_networks", "networks")).after(&old);
        assert_eq!(changed.profile(Protocol::Sip, "pbx"), Profile::Dtls);
        assert!(changed.media_networks.is_empty());
    }
}
