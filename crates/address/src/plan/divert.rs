//! Routes of calls that somebody has diverted (interworking §2.13).
//!
//! One rule: a diversion reaches nobody whom the diverting party may not call. An XMPP user needs the trunk's `callers`, and either
//! its dial rules; the box that the operator named is reached by everybody.

use super::{
    Component, Plan, Route, Trunk, allows, bare, dialled_number, dialled_party, dialled_user,
    dials_emergency, shown_as, user_host, voicemail_user,
};
use crate::escape::percent_decode;
use crate::uri::Uri;
use crate::{Number, percent_decoded, plain_number, unescape};
use signal::{Diversion, Diverted, End, Opening, Party, Protocol, Reason};

/// Destination of a diversion.
enum Destination<'a> {
    /// XMPP user, by bare JID.
    User(String),
    /// User part at a trunk, escaped as in a URI.
    Dialled(&'a Trunk, String),
}

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
        let target = heard.to.address.as_str();
        let operators = trunk.voicemail.as_deref() == Some(target);
        let destination = match voicemail_user(trunk).filter(|_| operators) {
            Some(user) => {
                let uri = Uri::parse(target);
                let host = uri.as_ref().map(|uri| user_host(uri).1).unwrap_or_default();
                Destination::Dialled(self.trunk_at(host).unwrap_or(trunk), user)
            }
            None => self.destination(target, trunk, by.protocol == Protocol::Sip)?,
        };
        match destination {
            Destination::User(jid) => {
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
            Destination::Dialled(trunk, user) => {
                let component = self.component(trunk)?;
                if !operators {
                    permits(trunk, component, by, &user)?;
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

    fn trunk_at(&self, host: &str) -> Option<&Trunk> {
        let literal = format!("[{host}]");
        self.trunks.iter().find(|trunk| !host.is_empty() && (trunk.host == host || trunk.host == literal))
    }

    /// Finds who is meant by a target. `near`: a number at a host that nobody knows is one of this trunk.
    fn destination<'a>(
        &'a self,
        target: &str,
        trunk: &'a Trunk,
        near: bool,
    ) -> Result<Destination<'a>, Reason> {
        let uri = Uri::parse(target);
        let number = uri.as_ref().and_then(Number::of);
        let of_number = |number: &Number| self.jid_of(number).cloned().map(Destination::User);
        let dial = |trunk: &'a Trunk, user: &str| Ok(Destination::Dialled(trunk, user.to_owned()));
        match &uri {
            Some(Uri::Sip(_)) => {
                let Some((user, host)) = uri.as_ref().map(user_host) else { return Err(Reason::NotFound) };
                if user.is_empty() {
                    return Err(Reason::NotFound);
                }
                if self.sip_domains.iter().any(|domain| domain == host) {
                    return match &number {
                        Some(number) => of_number(number).map_or_else(|| dial(trunk, user), Ok),
                        None => self.local_user(user, trunk).map(Destination::User),
                    };
                }
                match self.trunk_at(host) {
                    Some(trunk) => dial(trunk, user),
                    None if near && number.is_some() => dial(trunk, user),
                    None => Err(Reason::NotFound),
                }
            }
            Some(Uri::Tel(..)) => {
                let number = number.ok_or(Reason::NotFound)?;
                of_number(&number).map_or_else(|| dial(trunk, &crate::sip_user(&number.dialled())), Ok)
            }
            // RFC 5122: an authority and a query say nothing of whom is meant.
            Some(Uri::Other(text)) => {
                let path = text.strip_prefix("xmpp:").ok_or(Reason::NotFound)?;
                let path = path.split(['?', '#']).next().unwrap_or_default();
                self.jid(&percent_decoded(path).ok_or(Reason::NotFound)?)
            }
            None if target.contains('@') => self.jid(target),
            None => {
                let digits = plain_number(target).ok_or(Reason::NotFound)?;
                let number = Number::parse(&digits).ok_or(Reason::NotFound)?;
                of_number(&number).map_or_else(|| dial(trunk, &dialled_user(&digits)), Ok)
            }
        }
    }

    fn jid(&self, jid: &str) -> Result<Destination<'_>, Reason> {
        let jid = bare(jid).to_lowercase();
        let (local, domain) = jid.split_once('@').ok_or(Reason::NotFound)?;
        if local.is_empty() || domain.is_empty() || domain.contains(['@', '/', ' ']) {
            return Err(Reason::NotFound);
        }
        match self.trunks.iter().find(|trunk| trunk.domain == domain) {
            Some(_) if local == "anonymous" => Err(Reason::NotFound),
            Some(trunk) => Ok(Destination::Dialled(trunk, dialled_user(local))),
            None if self.components.iter().any(|component| component.domain == domain) => {
                Err(Reason::NotFound)
            }
            None => Ok(Destination::User(jid)),
        }
    }

    /// Returns the JID of a name at a SIP domain of ours.
    fn local_user(&self, user: &str, trunk: &Trunk) -> Result<String, Reason> {
        let component = self.component(trunk)?;
        if component.users.is_empty() {
            return Err(Reason::NotFound);
        }
        self.local_jid(trunk, component, user).map_err(|_| Reason::NotFound)
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

/// Checks that the diverting party may call this user part of a trunk.
fn permits(trunk: &Trunk, component: &Component, by: &Party, user: &str) -> Result<(), Reason> {
    let text = String::from_utf8_lossy(&percent_decode(user)).into_owned();
    if dials_emergency(trunk, &text) || dials_emergency(trunk, &unescape(&text)) {
        return Err(Reason::Forbidden);
    }
    // Toll fraud: only those whom the trunk names may let it dial.
    let jid = bare(&by.address).to_lowercase();
    if by.protocol == Protocol::Xmpp && !allows(trunk, component, &jid) {
        return Err(Reason::Forbidden);
    }
    match dialled_number(&text) {
        Some(number) if !trunk.dial.permit(&number) => Err(Reason::Forbidden),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "divert_tests.rs"]
mod tests;
