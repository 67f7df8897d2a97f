//! Routing plan (interworking §1.2): built once from the configuration, answers without IO.

use crate::escape::{Unmappable, percent_decode};
use crate::uri::Uri;
use crate::{
    DialRules, EmergencyNumbers, Number, Rewrites, Role, Way, display_name, jid_local, plain_number,
    sip_user, unescape,
};
use signal::{End, Opening, Party, Protocol, Reason};
use std::collections::HashMap;

mod divert;
mod referred;
mod target;

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
    /// XMPP users and domains that may call through the trunk, `[[trunk]] callers`; `*` = everybody, `None` = the component's `users`.
    pub callers: Option<Vec<String>>,
    /// Numbers that may be called through the trunk, `[[trunk]] allow` and `deny`.
    pub dial: DialRules,
    /// Emergency numbers where the trunk leads, `[[trunk]] country` and `emergency`.
    pub emergency: EmergencyNumbers,
    /// Form of its numbers, `[[rewrite]]`; what comes from it has been rewritten by its edge.
    pub rewrites: Rewrites,
    /// Calls to the trunk tell who calls, `[[trunk]] asserted_identity`.
    pub asserted_identity: bool,
    /// Voicemail box of the users of its domain, `[[trunk]] voicemail` or `[call] voicemail`: a number, SIP URI or JID.
    pub voicemail: Option<String>,
}

/// Localpart that calls the voicemail box (interworking §9.2), and target of a forward that leads there.
pub const VOICEMAIL: &str = "voicemail";
/// Entry of [`Trunk::callers`] for everybody.
const ANYBODY: &str = "*";

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
            trunk.callers = trunk.callers.map(|callers| callers.iter().map(|c| c.to_lowercase()).collect());
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
            if plan.is_emergency(&number) {
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

    /// Returns true for an emergency number of any trunk: it is nobody's alias.
    fn is_emergency(&self, number: &str) -> bool {
        let of_trunks = self.trunks.iter().any(|trunk| trunk.emergency.contains(number));
        of_trunks || (self.trunks.is_empty() && EmergencyNumbers::default().contains(number))
    }

    /// Routes a call by the opening of the caller's leg.
    ///
    /// # Errors
    /// Reason with which to refuse the call.
    pub fn route(&self, heard: &Opening) -> Result<Route, End> {
        match (&heard.referral, heard.from.protocol) {
            (Some(referral), _) => self.referred(heard, referral),
            (None, Protocol::Sip) => self.to_xmpp(heard),
            (None, Protocol::Xmpp) => self.to_sip(heard),
        }
        .map_err(End::from)
    }

    /// Routes a call from SIP. Lookup order of interworking §1.2: alias, then domain rule.
    fn to_xmpp(&self, heard: &Opening) -> Result<Route, Reason> {
        let (trunk, component) = self.trunk_named(&heard.link)?;
        let target = Uri::parse(&heard.to.address).ok_or(Reason::NotFound)?;
        if dials_emergency(trunk, &String::from_utf8_lossy(&percent_decode(user_host(&target).0))) {
            return Err(Reason::Forbidden);
        }
        let callee = self.jid_named(trunk, component, &target)?.ok_or(Reason::NotFound)?;
        let from = shown_as(&heard.from.address, component);
        self.route_to(heard, from, Party::xmpp(callee), &component.domain)
    }

    /// Returns the user whose voicemail box a server of a trunk tells of, by the address that it tells or by that of the box, and the JID
    /// that calls the box.
    #[must_use]
    pub fn mailbox(&self, trunk: &str, to: &str, account: Option<&str>) -> Option<(String, String)> {
        let (trunk, component) = self.trunk_named(trunk).ok()?;
        let named = |address: &str| self.jid_named(trunk, component, &Uri::parse(address)?).ok()?;
        let jid = named(to).or_else(|| named(account?))?;
        Some((jid, format!("{VOICEMAIL}@{}", component.domain)))
    }

    /// Returns the trunk of this name, and the component that it serves.
    fn trunk_named(&self, name: &str) -> Result<(&Trunk, &Component), Reason> {
        let trunk = self.trunks.iter().find(|t| t.name == name).ok_or(Reason::Forbidden)?;
        Ok((trunk, self.component(trunk)?))
    }

    /// Returns the component whose users a trunk serves.
    fn component(&self, trunk: &Trunk) -> Result<&Component, Reason> {
        self.components.iter().find(|c| c.domain == trunk.domain).ok_or(Reason::NotFound)
    }

    /// Returns the JID that a URI of a trunk's peer stands for, if it stands for one.
    fn jid_named(
        &self,
        trunk: &Trunk,
        component: &Component,
        target: &Uri,
    ) -> Result<Option<String>, Reason> {
        let (user, host) = user_host(target);
        let number = Number::of(target);
        if let Some(jid) = number.as_ref().and_then(|number| self.jid_of(number)) {
            return Ok(Some(jid.clone()));
        }
        let own = self.sip_domains.iter().any(|domain| domain == host);
        if !own || component.users.is_empty() || number.is_some() {
            return Ok(None);
        }
        self.local_jid(trunk, component, user).map(Some)
    }

    /// Returns the JID of a name at a SIP domain of ours.
    fn local_jid(&self, trunk: &Trunk, component: &Component, user: &str) -> Result<String, Reason> {
        let (user, domain) = self.guest(trunk, component, user).unwrap_or((user, component.users.clone()));
        let local = jid_local(user).map_err(|e| match e {
            Unmappable::Malformed => Reason::BadRequest,
            Unmappable::NoJid | Unmappable::TooLong => Reason::NotFound,
        })?;
        Ok(format!("{local}@{domain}"))
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
        if dials_emergency(trunk, &unescape(local)) {
            return Err(Reason::Forbidden);
        }
        let component = self.component(trunk)?;
        let caller = self.may_dial(trunk, component, &heard.from.address)?;
        let from = self.identity(&caller, trunk, component).ok_or(Reason::Loop)?;
        if let Some(user) = voicemail_user(trunk).filter(|_| local == VOICEMAIL) {
            return self.route_to(heard, from, Party::sip(format!("sip:{user}@{}", trunk.host)), &trunk.name);
        }
        if dialled_number(&unescape(local)).is_some_and(|number| !trunk.dial.permit(&number)) {
            return Err(Reason::Forbidden);
        }
        let to = dialled_party(trunk, &dialled_user(local))?;
        self.route_to(heard, from, to, &trunk.name)
    }

    /// Returns the bare JID of an XMPP user who may dial out through a trunk.
    fn may_dial(&self, trunk: &Trunk, component: &Component, jid: &str) -> Result<String, Reason> {
        // R-SIP-11: a component's own JID as the caller means that a message of this gateway came back.
        let caller = bare(jid).to_lowercase();
        let (_, home) = caller.split_once('@').ok_or(Reason::Loop)?;
        if self.components.iter().any(|c| c.domain == home) {
            return Err(Reason::Loop);
        }
        // Toll fraud: only those whom the trunk names may dial out.
        if allows(trunk, component, &caller) { Ok(caller) } else { Err(Reason::Forbidden) }
    }

    /// Returns an XMPP user, by bare JID in lower case, as a trunk is shown them.
    fn identity(&self, jid: &str, trunk: &Trunk, component: &Component) -> Option<Party> {
        let (name, home) = jid.split_once('@')?;
        let own_domain = self.sip_domains.first().unwrap_or(&trunk.host);
        let user = match self.number_of_jid.get(jid) {
            Some(number) => sip_user(number),
            None if home == component.users && plain_number(name).is_none() => sip_user(name),
            // Neither a number of another user nor the name of a local user (interworking §1.2).
            None => format!("{}%40{}", sip_user(name), sip_user(home)),
        };
        let address = format!("sip:{user}@{own_domain}");
        Some(Party::sip(address.as_str()).asserted_as(Some(address)))
    }

    /// Splits a user part that holds a domain, `rosa%40xmpp.example`: the identity that a caller of another domain was shown with.
    fn guest<'a>(&self, trunk: &Trunk, component: &Component, user: &'a str) -> Option<(&'a str, String)> {
        let at = user.find("%40")?;
        let domain = String::from_utf8(percent_decode(&user[at + 3..])).ok()?.to_lowercase();
        let valid = !domain.is_empty() && domain.chars().all(|c| c.is_alphanumeric() || "-.".contains(c));
        let own = self.components.iter().any(|c| c.domain == domain);
        let name = jid_local(&user[..at]).ok()?.to_lowercase();
        (valid && !own && allows(trunk, component, &format!("{name}@{domain}")))
            .then(|| (&user[..at], domain))
    }

    /// Makes the route: the caller's name is what may be shown of it, and networks are told of it as their trunk wants. Refuses a call
    /// without hops left.
    fn route_to(&self, heard: &Opening, from: Party, to: Party, link: &str) -> Result<Route, Reason> {
        let hops = heard.hops.checked_sub(1).filter(|h| *h > 0).ok_or(Reason::Loop)?;
        let protocol = to.protocol;
        let from = Party { display: heard.from.display.as_deref().and_then(display_name), ..from };
        let told = self.trunks.iter().any(|t| t.name == link && t.asserted_identity);
        let from = match told {
            true => from,
            // A signature names the caller, too.
            false if from.is_anonymous() => Party { identity: None, ..from },
            false => from.asserted_as(None),
        };
        let mut diverted = heard.diverted.clone();
        let from = match self.trunks.iter().find(|t| protocol == Protocol::Sip && t.name == link) {
            Some(trunk) => {
                let past = diverted.iter_mut().flat_map(|diverted| &mut diverted.history);
                past.for_each(|diversion| write_calling(trunk, &mut diversion.party));
                let mut from = from;
                write_calling(trunk, &mut from);
                from
            }
            None => from,
        };
        let opening = Opening { from, to, link: link.to_owned(), hops, diverted, referral: None };
        Ok(Route { opening, protocol })
    }
}

/// Returns true if the user of a bare JID may call through the trunk.
fn allows(trunk: &Trunk, component: &Component, jid: &str) -> bool {
    let home = jid.rsplit('@').next().unwrap_or_default();
    match &trunk.callers {
        Some(callers) => callers.iter().any(|caller| caller == ANYBODY || caller == home || caller == jid),
        None => !home.is_empty() && home == component.users,
    }
}

/// Returns true if the decoded user part dials an emergency number of the trunk, with or without a suffix (`112;x=y`, `112,5`;
/// R-ADDR-13).
fn dials_emergency(trunk: &Trunk, user: &str) -> bool {
    dialled_number(user).is_some_and(|number| trunk.emergency.contains(&number))
}

/// Returns the party that a user part dials at a trunk, in the trunk's form; no rule makes a number of what may not be dialled.
fn dialled_party(trunk: &Trunk, user: &str) -> Result<Party, Reason> {
    let address = format!("sip:{user}@{}", trunk.host);
    let rewritten = trunk.rewrites.address(Way::To, Role::Called, &address);
    if rewritten != address {
        let number = Uri::parse(&rewritten).as_ref().and_then(Number::of).ok_or(Reason::General)?;
        if trunk.emergency.contains(&number.digits) || trunk.dial.forbid(&number.digits) {
            return Err(Reason::Forbidden);
        }
    }
    Ok(Party::sip(rewritten))
}

/// Writes the number of who calls, or has sent a call on, in the form of a trunk.
fn write_calling(trunk: &Trunk, party: &mut Party) {
    if party.protocol != Protocol::Sip {
        return;
    }
    let write = |address: &str| trunk.rewrites.address(Way::To, Role::Calling, address);
    party.address = write(&party.address);
    if let Some(asserted) = party.identity.as_mut().and_then(|identity| identity.asserted.as_mut()) {
        *asserted = write(asserted);
    }
}

/// Returns the user part that a localpart dials.
fn dialled_user(local: &str) -> String {
    Number::parse(local).map_or_else(|| sip_user(local), |number| sip_user(&number.dialled()))
}

/// Returns the user part by which a trunk reaches its voicemail box; `None` if it has none, or one that is no number and no SIP URI.
fn voicemail_user(trunk: &Trunk) -> Option<String> {
    let target = trunk.voicemail.as_deref()?;
    match Uri::parse(target) {
        Some(uri) => Some(user_host(&uri).0.to_owned()).filter(|user| !user.is_empty()),
        None => plain_number(target).map(|number| sip_user(&number)),
    }
}

/// Returns a caller from SIP as XMPP users are shown them. R-ADDR-14: `anonymous` cannot be called back.
fn shown_as(address: &str, component: &Component) -> Party {
    let local = caller_local(address).unwrap_or_else(|| "anonymous".to_owned());
    Party::xmpp(format!("{local}@{}", component.domain))
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
#[path = "plan_tests.rs"]
mod tests;
