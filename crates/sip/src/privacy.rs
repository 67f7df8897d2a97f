//! Identity and privacy of callers (RFC 3323, RFC 3325, RFC 8224; interworking §10.4).
//!
//! One rule: what a network asserts is believed from trusted trunks alone, and shown to nobody whom the caller wants not to see it.

use crate::message::{Header, Message};
use crate::uri::{NameAddr, Uri};
use signal::{Identity, Party};

/// Wishes that are known. A gateway between two kinds of networks hides what they ask for as it is: Contact and Via are its own
/// (`header`), and media is its relay's (`session`).
const KNOWN: [&str; 6] = ["none", "id", "user", "header", "session", "history"];

fn wishes(message: &Message) -> Vec<String> {
    let values = message.list("Privacy");
    let wishes = values.iter().flat_map(|value| value.split(';'));
    wishes.map(|wish| wish.trim().to_ascii_lowercase()).filter(|wish| !wish.is_empty()).collect()
}

/// Returns true if the callee may not see who calls (RFC 3323 §4.2, RFC 3325 §9.3).
fn hides_caller(message: &Message) -> bool {
    wishes(message).iter().any(|wish| matches!(wish.as_str(), "id" | "user" | "header"))
}

/// Returns true for a request that wants a privacy that is not known here, or else to fail (RFC 3323 §4.2).
#[must_use]
pub fn is_unmet(message: &Message) -> bool {
    let wishes = wishes(message);
    wishes.iter().any(|wish| wish == "critical")
        && wishes.iter().any(|wish| wish != "critical" && !KNOWN.contains(&wish.as_str()))
}

/// Returns the address of a party: an address of record.
pub(crate) fn address(uri: &Uri) -> String {
    match uri {
        Uri::Sip(sip) => sip.aor().to_string(),
        other => other.to_string(),
    }
}

/// Reads the caller of an INVITE. `trusted`: its P-Asserted-Identity comes before From (RFC 3325 §9.1).
#[must_use]
pub fn caller(message: &Message, trusted: bool) -> Option<Party> {
    let from = message.from()?;
    let named = |address: &NameAddr| matches!(address.uri, Uri::Sip(_) | Uri::Tel(..));
    let asserted = message.addresses("P-Asserted-Identity").into_iter().filter(|_| trusted).find(named);
    let shown = asserted.as_ref().unwrap_or(&from);
    let party = match hides_caller(message) {
        true => Party::anonymous(),
        false => {
            // Trunks often assert the number alone; the name is in From then.
            let display = shown.display.clone().or_else(|| from.display.clone());
            Party { display, ..Party::sip(address(&shown.uri)) }
        }
    };
    let signed = message.all("Identity").filter_map(|value| String::from_utf8(value.to_vec()).ok());
    let date = message.text("Date").map(str::to_owned);
    let identity = Identity::of(asserted.map(|asserted| address(&asserted.uri)), signed.collect(), date);
    Some(Party { identity, ..party })
}

/// Returns the headers of an INVITE that tell of its caller beside From.
#[must_use]
pub fn headers(caller: &Party) -> Vec<(&'static str, String)> {
    let mut headers = vec![];
    if let Some(identity) = &caller.identity {
        headers.extend(
            identity
                .asserted
                .as_deref()
                .and_then(Uri::parse)
                .map(|uri| ("P-Asserted-Identity", format!("<{uri}>"))),
        );
        headers.extend(identity.signed.iter().map(|value| ("Identity", value.clone())));
        headers.extend(identity.date.iter().map(|date| ("Date", date.clone())));
    }
    if caller.is_anonymous() {
        // RFC 3323 §4.2
        headers.push(("Privacy", "id".to_owned()));
    }
    headers
}

/// Writes headers behind the Contact of a request.
pub(crate) fn insert(request: &mut Message, headers: &[(&str, String)]) {
    let contact = request.headers.iter().position(|header| header.name.as_str() == "Contact");
    let at = contact.map_or(request.headers.len(), |at| at + 1);
    let written =
        headers.iter().map(|(name, value)| Header { name: (*name).into(), value: value.clone().into() });
    request.headers.splice(at..at, written);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invite(headers: &[(&str, &str)]) -> Message {
        let invite = Message::request("INVITE", "sip:2700@gw").with("From", "\"Desk\" <sip:2041@pbx>;tag=a");
        headers.iter().fold(invite, |invite, (name, value)| invite.with(name, (*value).to_owned()))
    }

    /// R-SIP-8: RFC 3325 §9.1, §9.3.
    #[test]
    fn an_assertion_counts_from_trusted_trunks_alone() {
        let asserted = ("P-Asserted-Identity", "\"Boss\" <sip:+4930111@pbx;user=phone>, <tel:+4930111>");
        let shown = |headers: &[(&str, &str)], trusted| {
            let caller = caller(&invite(headers), trusted).unwrap();
            let asserted = caller.identity.and_then(|identity| identity.asserted);
            (caller.address, caller.display, asserted)
        };
        let boss = || Some("sip:+4930111@pbx".to_owned());
        assert_eq!(shown(&[asserted], true), ("sip:+4930111@pbx".into(), Some("Boss".into()), boss()));
        assert_eq!(shown(&[asserted], false), ("sip:2041@pbx".into(), Some("Desk".into()), None));
        let hidden = shown(&[asserted, ("Privacy", "id")], true);
        assert_eq!(hidden, ("sip:anonymous@anonymous.invalid".into(), None, boss()));
        assert_eq!(shown(&[("P-Asserted-Identity", "<mailto:x@y>")], true).2, None);
        let number = shown(&[("P-Asserted-Identity", "<sip:+4930111@pbx>")], true);
        assert_eq!(number.1.as_deref(), Some("Desk"), "the number is asserted, the name is not");
    }

    #[test]
    fn what_is_critical_is_known_or_refused() {
        let unmet = |wishes: &str| is_unmet(&invite(&[("Privacy", wishes)]));
        for met in ["id;critical", "critical", "header; user;session ;critical", "none", "colour"] {
            assert!(!unmet(met), "{met}");
        }
        assert!(unmet("colour;critical") && unmet("Critical;id; Colour"));
    }

    #[test]
    fn a_signature_goes_on_octet_by_octet() {
        let signature = "eyJh.eyJi.c2ln;info=<https://certs.example/a.pem>;alg=ES256;ppt=\"shaken\"";
        let caller =
            caller(&invite(&[("Identity", signature), ("Date", "Mon, 30 Nov 2026 17:00:00 GMT")]), false);
        let told = headers(&caller.unwrap());
        assert_eq!(
            told,
            [("Identity", signature.to_owned()), ("Date", "Mon, 30 Nov 2026 17:00:00 GMT".to_owned())]
        );
        assert_eq!(headers(&Party::sip("sip:2041@pbx")), []);
    }
}
