//! Routes of calls that somebody has diverted (interworking §2.13).
//!
//! One rule: a diversion reaches nobody whom the diverting party may not call. An XMPP user needs the trunk's `callers`, and either
//! its dial rules; the box that the operator named is reached by everybody.

use super::target::{Near, Target};
use super::{Component, Plan, Route, Trunk, bare, dialled_party, shown_as, user_host, voicemail_user};
use crate::uri::Uri;
use signal::{Diversion, Diverted, End, Opening, Party, Protocol, Reason};

impl Plan {
    /// Routes a call that the last party of its history has diverted. `heard` has the caller in the caller's own words, the target in
    /// those of the diverting party (a number, SIP URI or JID), and the link of that party's leg.
    ///
    /// # Errors
    /// Reason with which to refuse the diversion.
    pub fn divert(&self, heard: &Opening) -> Result<Route, End> {
        self.diverted(heard).map_err(End::from)
    }

    fn diverted(&self, heard: &Opening) -> Result<Route, Reason> {
        let history = heard.diverted.as_ref().map_or(&[][..], |diverted| &diverted.history);
        let by = &history.last().ok_or(Reason::General)?.party;
        let link = |trunk: &&Trunk| match by.protocol {
            Protocol::Xmpp => trunk.domain == heard.link,
            Protocol::Sip => trunk.name == heard.link,
        };
        let trunk = self.trunks.iter().find(link).ok_or(Reason::NotFound)?;
        let words = heard.to.address.as_str();
        let operators = trunk.voicemail.as_deref() == Some(words);
        let target = match voicemail_user(trunk).filter(|_| operators) {
            Some(user) => {
                let uri = Uri::parse(words);
                let host = uri.as_ref().map(|uri| user_host(uri).1).unwrap_or_default();
                Target::Phone(self.trunk_at(host).unwrap_or(trunk), user)
            }
            None => {
                let near = if by.protocol == Protocol::Sip { Near::Numbers } else { Near::Nobody };
                self.target(words, trunk, near)?
            }
        };
        match target {
            Target::User(jid) => {
                let component = self.component(trunk)?;
                let from = match heard.from.protocol {
                    Protocol::Sip => shown_as(&heard.from.address, component),
                    Protocol::Xmpp => {
                        let caller = bare(&heard.from.address).to_lowercase();
                        let shown = self.identity(&caller, trunk, component).ok_or(Reason::Loop)?;
                        shown_as(&shown.address, component)
                    }
                };
                self.route_to(heard, from, Party::xmpp(jid), &component.domain)
            }
            Target::Phone(trunk, user) => {
                let component = self.component(trunk)?;
                if !operators {
                    self.permit(trunk, component, [by], &user)?;
                }
                let from = match heard.from.protocol {
                    // The trunk sees who calls, not who diverts; that is in the history.
                    Protocol::Sip => heard.from.clone(),
                    Protocol::Xmpp => {
                        let caller = bare(&heard.from.address).to_lowercase();
                        self.identity(&caller, trunk, component).ok_or(Reason::Loop)?
                    }
                };
                let to = match operators {
                    true => Party::sip(format!("sip:{user}@{}", trunk.host)),
                    false => dialled_party(trunk, &user)?,
                };
                let mut heard = heard.clone();
                if let Some(Diverted { history, .. }) = &mut heard.diverted {
                    history.iter_mut().for_each(|diversion| self.name(diversion, trunk, component));
                }
                self.route_to(&heard, from, to, &trunk.name)
            }
        }
    }

    /// Names a diverting XMPP user as the trunk is shown them.
    fn name(&self, diversion: &mut Diversion, trunk: &Trunk, component: &Component) {
        if diversion.party.protocol == Protocol::Xmpp {
            let jid = bare(&diversion.party.address).to_lowercase();
            let shown = self.identity(&jid, trunk, component);
            let shown = shown.unwrap_or_else(|| Party::sip("sip:unknown@unknown.invalid"));
            diversion.party = shown.asserted_as(None);
        }
    }
}

#[cfg(test)]
#[path = "divert_tests.rs"]
mod tests;
