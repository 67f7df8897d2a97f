//! Targets that a party of a call names for another party: of a diversion, of a transfer.

use super::{Component, Plan, Trunk, bare, dialled_number, dialled_user, dials_emergency, user_host};
use crate::escape::percent_decode;
use crate::uri::Uri;
use crate::{Number, percent_decoded, plain_number, sip_user, unescape};
use signal::{Party, Protocol, Reason};

/// Target by its words.
pub(super) enum Target<'a> {
    /// XMPP user, by bare JID in lower case.
    User(String),
    /// User part at a trunk, escaped as in a URI.
    Phone(&'a Trunk, String),
}

/// Users of a host that no trunk and no domain of ours has: who is taken for one of the trunk that names them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Near {
    /// Nobody.
    Nobody,
    /// Numbers.
    Numbers,
    /// Numbers and names: the host is the phone's name of its exchange.
    Everybody,
}

impl Plan {
    /// Finds the target of a number, a SIP, tel or XMPP URI, or a JID. A number without a host is one of `trunk`.
    pub(super) fn target<'a>(
        &'a self,
        words: &str,
        trunk: &'a Trunk,
        near: Near,
    ) -> Result<Target<'a>, Reason> {
        let Some(uri) = Uri::parse(words) else {
            if words.contains('@') {
                return self.target_by_jid(words);
            }
            let digits = plain_number(words).ok_or(Reason::NotFound)?;
            let number = Number::parse(&digits).ok_or(Reason::NotFound)?;
            return Ok(self.target_by_number(&number, trunk));
        };
        match &uri {
            Uri::Sip(_) => self.target_by_sip_uri(&uri, trunk, near),
            Uri::Tel(..) => {
                let number = Number::of(&uri).ok_or(Reason::NotFound)?;
                Ok(self.target_by_number(&number, trunk))
            }
            // RFC 5122: an authority and a query say nothing of whom is meant.
            Uri::Other(text) => {
                let path = text.strip_prefix("xmpp:").ok_or(Reason::NotFound)?;
                let path = path.split(['?', '#']).next().unwrap_or_default();
                self.target_by_jid(&percent_decoded(path).ok_or(Reason::NotFound)?)
            }
        }
    }

    /// Finds a trunk by the host of its URI.
    pub(super) fn trunk_at(&self, host: &str) -> Option<&Trunk> {
        let literal = format!("[{host}]");
        self.trunks.iter().find(|trunk| !host.is_empty() && (trunk.host == host || trunk.host == literal))
    }

    fn target_by_number<'a>(&self, number: &Number, trunk: &'a Trunk) -> Target<'a> {
        match self.jid_of(number) {
            Some(jid) => Target::User(jid.clone()),
            None => Target::Phone(trunk, sip_user(&number.dialled())),
        }
    }

    fn target_by_sip_uri<'a>(
        &'a self,
        uri: &Uri,
        trunk: &'a Trunk,
        near: Near,
    ) -> Result<Target<'a>, Reason> {
        let (user, host) = user_host(uri);
        let number = Number::of(uri);
        if user.is_empty() {
            return Err(Reason::NotFound);
        }
        let own = self.sip_domains.iter().any(|domain| domain == host);
        let at = match self.trunk_at(host) {
            _ if own => trunk,
            Some(at) => at,
            None if near == Near::Everybody || (near == Near::Numbers && number.is_some()) => trunk,
            None => return Err(Reason::NotFound),
        };
        match number {
            Some(number) if own || near == Near::Everybody => Ok(self.target_by_number(&number, at)),
            None if own => self.local_user(user, trunk).map(Target::User),
            _ => Ok(Target::Phone(at, user.to_owned())),
        }
    }

    /// Finds the target of a JID: at the domain of a trunk a number of that trunk, else an XMPP user.
    fn target_by_jid(&self, jid: &str) -> Result<Target<'_>, Reason> {
        let jid = bare(jid).to_lowercase();
        let (local, domain) = jid.split_once('@').ok_or(Reason::NotFound)?;
        if local.is_empty() || domain.is_empty() || domain.contains(['@', '/', ' ']) {
            return Err(Reason::NotFound);
        }
        match self.trunks.iter().find(|trunk| trunk.domain == domain) {
            Some(_) if local == "anonymous" => Err(Reason::NotFound),
            Some(trunk) => Ok(match Number::parse(local) {
                Some(number) => self.target_by_number(&number, trunk),
                None => Target::Phone(trunk, dialled_user(local)),
            }),
            None if self.components.iter().any(|component| component.domain == domain) => {
                Err(Reason::NotFound)
            }
            None => Ok(Target::User(jid)),
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

    /// Checks that each of these parties may call a user part of a trunk.
    pub(super) fn permit<'p>(
        &self,
        trunk: &Trunk,
        component: &Component,
        parties: impl IntoIterator<Item = &'p Party>,
        user: &str,
    ) -> Result<(), Reason> {
        let dialled = String::from_utf8_lossy(&percent_decode(user)).into_owned();
        if dials_emergency(trunk, &dialled) || dials_emergency(trunk, &unescape(&dialled)) {
            return Err(Reason::Forbidden);
        }
        for party in parties {
            if party.protocol == Protocol::Xmpp {
                self.may_dial(trunk, component, &party.address)?;
            }
        }
        match dialled_number(&dialled) {
            Some(number) if !trunk.dial.permit(&number) => Err(Reason::Forbidden),
            _ => Ok(()),
        }
    }
}
