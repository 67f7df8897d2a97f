//! Routes of calls that somebody else asked for: a party of a call is given another peer (RFC 3515, XEP-0251; interworking §2.12).
//!
//! One rule: the party that stays is the caller, and what it may not dial itself nobody makes it dial; neither may the one who asks.

use super::{
    Component, Plan, Route, Trunk, bare, dialled_number, dialled_party, dialled_user, dials_emergency,
    shown_as, user_host,
};
use crate::escape::percent_decode;
use crate::uri::Uri;
use crate::{Number, sip_user};
use signal::{Opening, Party, Protocol, Reason, Referral};

/// Target of a transfer.
enum Target<'a> {
    /// User part of a SIP URI at a trunk.
    Phone(&'a Trunk, &'a Component, String),
    /// Bare JID, and the component that calls it.
    User(&'a Component, String),
}

impl Plan {
    /// Routes a call to a target that is named in the words of the leg that asks: by a SIP URI, or by a JID.
    pub(super) fn referred(&self, heard: &Opening, referral: &Referral) -> Result<Route, Reason> {
        let target = match heard.to.protocol {
            Protocol::Sip => self.named_by_phone(heard)?,
            Protocol::Xmpp => self.named_by_client(heard)?,
        };
        match target {
            Target::Phone(trunk, component, user) => {
                let dialled = String::from_utf8_lossy(&percent_decode(&user)).into_owned();
                if dials_emergency(trunk, &dialled) {
                    return Err(Reason::Forbidden);
                }
                let shown = |party: &Party| match party.protocol {
                    Protocol::Sip => {
                        // A signature is of the call that was made first.
                        let asserted = party.identity.as_ref().and_then(|identity| identity.asserted.clone());
                        Ok(Party::sip(party.address.clone()).asserted_as(asserted))
                    }
                    Protocol::Xmpp => {
                        let caller = self.may_dial(trunk, component, &party.address)?;
                        self.identity(&caller, trunk, component).ok_or(Reason::Loop)
                    }
                };
                let (from, by) = (shown(&heard.from)?, shown(&referral.by)?);
                if dialled_number(&dialled).is_some_and(|number| !trunk.dial.permit(&number)) {
                    return Err(Reason::Forbidden);
                }
                let to = dialled_party(trunk, &user)?;
                let mut route = self.route_to(heard, from, to, &trunk.name)?;
                // The dialog of a Replaces is one between the peers of the trunk (RFC 5589 §7).
                let replaces = referral.replaces.clone().filter(|_| heard.to.protocol == Protocol::Sip);
                route.opening.referral = Some(Referral { by: by.asserted_as(None), replaces });
                Ok(route)
            }
            // Somebody who is called anew is in no dialog that could be replaced.
            Target::User(..) if referral.replaces.is_some() => Err(Reason::NotImplemented),
            Target::User(component, jid) => {
                let from = match heard.from.protocol {
                    Protocol::Sip => shown_as(&heard.from.address, component),
                    Protocol::Xmpp => self.known_as(component, &heard.from.address)?,
                };
                self.route_to(heard, from, Party::xmpp(jid), &component.domain)
            }
        }
    }

    /// Reads the target that a phone names. Its host is the phone's name of its exchange: what is nobody here is a user there.
    fn named_by_phone(&self, heard: &Opening) -> Result<Target<'_>, Reason> {
        let (trunk, component) = self.trunk_named(&heard.link)?;
        let target = Uri::parse(&heard.to.address).ok_or(Reason::NotFound)?;
        if let Some(jid) = self.jid_named(trunk, component, &target)? {
            return Ok(Target::User(component, jid));
        }
        let user = match Number::of(&target) {
            Some(number) => sip_user(&number.dialled()),
            None => user_host(&target).0.to_owned(),
        };
        if user.is_empty() { Err(Reason::NotFound) } else { Ok(Target::Phone(trunk, component, user)) }
    }

    /// Reads the target that a client names: a JID of a component's domain is a phone, another one a user whom its component serves.
    fn named_by_client(&self, heard: &Opening) -> Result<Target<'_>, Reason> {
        let target = bare(&heard.to.address).to_lowercase();
        let (local, domain) = target.split_once('@').ok_or(Reason::NotFound)?;
        if let Some(trunk) = self.trunks.iter().find(|t| t.domain == domain) {
            let (trunk, component) = self.trunk_named(&trunk.name)?;
            let number = Number::parse(local);
            return match number.and_then(|number| self.jid_of(&number)) {
                _ if matches!(local, "" | "anonymous") => Err(Reason::NotFound),
                Some(jid) => Ok(Target::User(component, jid.clone())),
                None => Ok(Target::Phone(trunk, component, dialled_user(local))),
            };
        }
        let component = self.components.iter().find(|c| c.domain == heard.link).ok_or(Reason::NotFound)?;
        let served = domain == component.users || self.number_of_jid.contains_key(&target);
        if served { Ok(Target::User(component, target)) } else { Err(Reason::NotFound) }
    }

    /// Returns the JID by which an XMPP user is known to others as somebody of a component: what a call back to it reaches.
    fn known_as(&self, component: &Component, jid: &str) -> Result<Party, Reason> {
        let trunk = self.trunks.iter().find(|t| t.domain == component.domain).ok_or(Reason::NotFound)?;
        let identity = self.identity(&bare(jid).to_lowercase(), trunk, component).ok_or(Reason::Loop)?;
        Ok(shown_as(&identity.address, component))
    }
}
