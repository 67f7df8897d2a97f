//! Routes of calls that somebody else asked for: a party of a call is given another peer (RFC 3515, XEP-0251; interworking §2.12).
//!
//! One rule: the party that stays is the caller, and what it may not dial itself nobody makes it dial; neither may the one who asks.

use super::target::{Near, Target};
use super::{Component, Plan, Route, Trunk, bare, dialled_party, shown_as};
use signal::{Opening, Party, Protocol, Reason, Referral};

impl Plan {
    /// Routes a call to a target that is named in the words of the leg that asks: by a SIP URI, or by a JID.
    pub(super) fn referred(&self, heard: &Opening, referral: &Referral) -> Result<Route, Reason> {
        let by_phone = heard.to.protocol == Protocol::Sip;
        let (trunk, component) = match heard.to.protocol {
            Protocol::Sip => self.trunk_named(&heard.link)?,
            Protocol::Xmpp => self.trunk_of(&heard.link)?,
        };
        let words = heard.to.address.as_str();
        match self.target(words, trunk, if by_phone { Near::Everybody } else { Near::Nobody })? {
            Target::Phone(trunk, user) => {
                // Toll fraud: between two trunks nobody pays whom this plan knows.
                let known = [&heard.from, &referral.by].iter().any(|party| party.protocol == Protocol::Xmpp);
                if by_phone && !known && trunk.name != heard.link {
                    return Err(Reason::Forbidden);
                }
                let component = self.component(trunk)?;
                self.permit(trunk, component, [&heard.from, &referral.by], &user)?;
                let shown = |party: &Party| match party.protocol {
                    Protocol::Sip => {
                        // A signature is of the call that was made first.
                        let asserted = party.identity.as_ref().and_then(|identity| identity.asserted.clone());
                        Ok(Party::sip(party.address.clone()).asserted_as(asserted))
                    }
                    Protocol::Xmpp => {
                        let jid = bare(&party.address).to_lowercase();
                        self.identity(&jid, trunk, component).ok_or(Reason::Loop)
                    }
                };
                let (from, by) = (shown(&heard.from)?, shown(&referral.by)?);
                let to = dialled_party(trunk, &user)?;
                let mut route = self.route_to(heard, from, to, &trunk.name)?;
                // The dialog of a Replaces is one between the peers of the trunk (RFC 5589 §7).
                let replaces = referral.replaces.clone().filter(|_| by_phone);
                route.opening.referral = Some(Referral { by: by.asserted_as(None), replaces });
                Ok(route)
            }
            // Somebody who is called anew is in no dialog that could be replaced.
            Target::User(_) if referral.replaces.is_some() => Err(Reason::NotImplemented),
            Target::User(jid) if by_phone || self.is_served(&jid, component) => {
                let from = match heard.from.protocol {
                    Protocol::Sip => shown_as(&heard.from.address, component),
                    Protocol::Xmpp => self.known_as(trunk, component, &heard.from.address)?,
                };
                self.route_to(heard, from, Party::xmpp(jid), &component.domain)
            }
            Target::User(_) => Err(Reason::NotFound),
        }
    }

    /// Returns the trunk that serves a component domain, and the component.
    fn trunk_of(&self, domain: &str) -> Result<(&Trunk, &Component), Reason> {
        let trunk = self.trunks.iter().find(|trunk| trunk.domain == domain).ok_or(Reason::NotFound)?;
        Ok((trunk, self.component(trunk)?))
    }

    /// Returns true for a user of the component's XMPP domain, or one who has a number.
    fn is_served(&self, jid: &str, component: &Component) -> bool {
        jid.rsplit('@').next() == Some(component.users.as_str()) || self.number_of_jid.contains_key(jid)
    }

    /// Returns the JID by which an XMPP user is known to others as somebody of a component: what a call back to it reaches.
    fn known_as(&self, trunk: &Trunk, component: &Component, jid: &str) -> Result<Party, Reason> {
        let identity = self.identity(&bare(jid).to_lowercase(), trunk, component).ok_or(Reason::Loop)?;
        Ok(shown_as(&identity.address, component))
    }
}
