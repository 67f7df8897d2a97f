use minicbor::{Decode, Encode};

/// Protocol of a party; selects its edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Protocol {
    /// Served by the sip-edge.
    #[n(0)]
    Sip,
    /// Served by the xmpp-edge.
    #[n(1)]
    Xmpp,
}

impl Protocol {
    /// Returns `"sip"` or `"xmpp"`, for bus subjects, metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Sip => "sip",
            Protocol::Xmpp => "xmpp",
        }
    }
}

/// Party of a call, named in its own protocol.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Party {
    /// Protocol of `address`.
    #[n(0)]
    pub protocol: Protocol,
    /// Address. SIP: an address of record (`sip:2041@pbx.example`, no parameters) or `tel:+49…`; XMPP: a JID, bare or full.
    #[n(1)]
    pub address: String,
    /// Display name; unverified.
    #[n(2)]
    pub display: Option<String>,
    /// Identity of a caller that networks vouch for; `None` where nobody does.
    #[n(3)]
    pub identity: Option<Box<Identity>>,
}

/// Identity of a caller beside the address that is shown. It is for networks alone, never for the party that is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Identity {
    /// Address that a trusted network asserts, or by which this gateway knows its own user (RFC 3325).
    #[n(0)]
    pub asserted: Option<String>,
    /// Values of the Identity headers of the call, octet by octet (RFC 8224).
    #[n(1)]
    pub signed: Vec<String>,
    /// Date of the request that they sign.
    #[n(2)]
    pub date: Option<String>,
}

/// Address of a SIP caller who does not say who they are (RFC 3323 §4.1.1.3).
const ANONYMOUS_SIP: &str = "sip:anonymous@anonymous.invalid";
/// User of such an address, and localpart in XMPP.
const ANONYMOUS: &str = "anonymous";
/// Longest identity that is carried: values, and octets of each.
const MAX_SIGNED: usize = 4;
const MAX_SIGNED_OCTETS: usize = 4_096;

impl Party {
    /// Makes a SIP party without display name.
    #[must_use]
    pub fn sip(address: impl Into<String>) -> Party {
        Party { protocol: Protocol::Sip, address: address.into(), display: None, identity: None }
    }

    /// Makes an XMPP party without display name.
    #[must_use]
    pub fn xmpp(address: impl Into<String>) -> Party {
        Party { protocol: Protocol::Xmpp, address: address.into(), display: None, identity: None }
    }

    /// Makes a SIP caller who does not say who they are.
    #[must_use]
    pub fn anonymous() -> Party {
        Party::sip(ANONYMOUS_SIP)
    }

    /// Returns the caller without address and name, as somebody at this domain towards XMPP. What networks know of them stays.
    #[must_use]
    pub fn withheld(self, domain: &str) -> Party {
        let shown = match self.protocol {
            Protocol::Sip => Party::anonymous(),
            Protocol::Xmpp => Party::xmpp(format!("{ANONYMOUS}@{domain}")),
        };
        Party { identity: self.identity, ..shown }
    }

    /// Returns true for a caller who does not say who they are, in either protocol's form.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        let bare = self.address.split_once(':').map_or(self.address.as_str(), |(_, bare)| bare);
        let (user, host) = bare.split_once('@').unwrap_or(("", bare));
        user.eq_ignore_ascii_case(ANONYMOUS) || host.to_ascii_lowercase().ends_with("anonymous.invalid")
    }

    /// Returns the party with an asserted address, or with none.
    #[must_use]
    pub fn asserted_as(mut self, address: Option<String>) -> Party {
        if address.is_some() || self.identity.is_some() {
            let identity = self.identity.get_or_insert_default();
            identity.asserted = address;
            self.identity = self.identity.filter(|identity| **identity != Identity::default());
        }
        self
    }
}

impl Identity {
    /// Makes the identity of these parts; `None` if there is nothing in it. Signatures without bounds are left out.
    #[must_use]
    pub fn of(asserted: Option<String>, signed: Vec<String>, date: Option<String>) -> Option<Box<Identity>> {
        let fit = signed.len() <= MAX_SIGNED && signed.iter().all(|value| value.len() <= MAX_SIGNED_OCTETS);
        let signed = if fit { signed } else { vec![] };
        let date = date.filter(|date| !signed.is_empty() && date.len() <= 64);
        let identity = Identity { asserted, signed, date };
        (identity != Identity::default()).then(|| Box::new(identity))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-SVC-4, R-ADDR-14
    #[test]
    fn a_caller_who_withholds_the_number_is_known_to_networks_alone() {
        let rosa = Party::sip("sip:2700@im.example").asserted_as(Some("sip:2700@im.example".into()));
        let hidden = Party { display: Some("Rosa".into()), ..rosa }.withheld("sip.example.net");
        assert_eq!(hidden.address, "sip:anonymous@anonymous.invalid");
        assert_eq!(hidden.display, None);
        assert_eq!(hidden.identity.as_ref().unwrap().asserted.as_deref(), Some("sip:2700@im.example"));
        assert!(hidden.is_anonymous());
        assert_eq!(hidden.asserted_as(None).identity, None);
        let user = Party::xmpp("2700@sip.example.net").withheld("sip.example.net");
        assert_eq!(user, Party::xmpp("anonymous@sip.example.net"));
        assert!(user.is_anonymous() && !Party::xmpp("2700@sip.example.net").is_anonymous());
    }

    #[test]
    fn an_identity_has_bounds() {
        let of = |signed: &[String]| Identity::of(None, signed.to_vec(), Some("Mon".into()));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&vec!["a.b.c".to_owned(); MAX_SIGNED + 1]), None);
        assert_eq!(of(&["x".repeat(MAX_SIGNED_OCTETS + 1)]), None);
        let identity = of(&["a.b.c".to_owned()]).unwrap();
        assert_eq!((identity.signed.len(), identity.date.as_deref()), (1, Some("Mon")));
    }
}
