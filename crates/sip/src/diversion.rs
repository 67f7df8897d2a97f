//! Diversion (RFC 5806) and History-Info (RFC 7044): the parties that sent a call on.
//!
//! One rule: both headers say the same (RFC 7544). Where both are read, History-Info counts; both are written. Diversion is newest
//! first, History-Info oldest first, and in it a diversion is an entry with the next one, whose `cause` (RFC 4458) is its reason.

use crate::message::Message;
use crate::uri::{NameAddr, Parameter, SipUri, Uri};
use signal::{Diversion, DiversionReason, Diverted, Party};

/// Most diversions that are read.
const MAX: usize = 10;

/// `cause` of a reason (RFC 4458, RFC 7544); several reasons have none of their own.
fn cause(reason: DiversionReason) -> u16 {
    match reason {
        DiversionReason::Unconditional => 302,
        DiversionReason::NoAnswer => 408,
        DiversionReason::Deflection => 480,
        DiversionReason::UserBusy => 486,
        DiversionReason::Unavailable => 503,
        DiversionReason::Unknown
        | DiversionReason::TimeOfDay
        | DiversionReason::DoNotDisturb
        | DiversionReason::FollowMe
        | DiversionReason::OutOfService
        | DiversionReason::Away => 404,
    }
}

/// Reason of a `cause` (RFC 4458, RFC 7544).
fn reason(cause: &str) -> DiversionReason {
    match cause {
        "302" => DiversionReason::Unconditional,
        "408" => DiversionReason::NoAnswer,
        "480" | "487" => DiversionReason::Deflection,
        "486" => DiversionReason::UserBusy,
        "503" => DiversionReason::Unavailable,
        _ => DiversionReason::Unknown,
    }
}

/// Reads what became of a call before it came here; `None` if nothing did.
#[must_use]
pub fn read(message: &Message) -> Option<Diverted> {
    let mut history = history_info(message);
    if history.is_empty() {
        history = diversions(message);
    }
    // RFC 7044 §10.1.1: of the whole request.
    let all = message
        .list("Privacy")
        .iter()
        .flat_map(|value| value.split(';'))
        .any(|wish| wish.trim() == "history");
    history.iter_mut().for_each(|diversion| diversion.private |= all);
    (!history.is_empty()).then_some(Diverted { history, mailbox: false })
}

fn diversions(message: &Message) -> Vec<Diversion> {
    let mut found: Vec<Diversion> =
        message.list("Diversion").into_iter().take(MAX).filter_map(diversion).collect();
    found.reverse();
    found
}

fn diversion(member: &str) -> Option<Diversion> {
    let address = NameAddr::parse(member)?;
    let value = |name: &str| address.param(name).map(|value| value.trim_matches('"').to_ascii_lowercase());
    let named = value("reason")
        .and_then(|token| DiversionReason::ALL.into_iter().find(|reason| reason.name() == token));
    let private = value("privacy").is_some_and(|privacy| privacy != "off");
    let count = value("counter").and_then(|count| count.parse::<u8>().ok()).unwrap_or(1);
    Some(Diversion {
        party: party(&address)?,
        reason: named.unwrap_or(DiversionReason::Unknown),
        count: count.max(1),
        private,
    })
}

/// Reads the entries of History-Info of which the next one tells why the call went on.
fn history_info(message: &Message) -> Vec<Diversion> {
    let members = message.list("History-Info");
    let entries: Vec<NameAddr> = members.into_iter().filter_map(NameAddr::parse).collect();
    let mut found = vec![];
    for target in &entries {
        let Some(cause) = target.uri.sip().and_then(|uri| uri.param("cause")) else { continue };
        // `mp` names the entry that was diverted, and else it is the one above (RFC 7044 §10.4).
        let parent = target.param("index").and_then(|index| Some(index.rsplit_once('.')?.0));
        let from = target.param("mp").or(target.param("rc")).or(parent);
        let Some(from) =
            from.and_then(|from| entries.iter().find(|entry| entry.param("index") == Some(from)))
        else {
            continue;
        };
        let private = from.uri.sip().and_then(|uri| uri.headers.as_deref()).is_some_and(is_private);
        let Some(party) = party(from).filter(|_| found.len() < MAX) else { continue };
        found.push(Diversion { party, reason: reason(cause.unwrap_or_default()), count: 1, private });
    }
    found
}

/// Returns true if the headers of an entry's URI want it hidden (RFC 7044 §10.1.1).
fn is_private(headers: &str) -> bool {
    let mut headers = headers.split('&').filter_map(|header| header.split_once('='));
    let wish = headers.find(|(name, _)| name.eq_ignore_ascii_case("Privacy"));
    wish.is_some_and(|(_, value)| !value.eq_ignore_ascii_case("none"))
}

fn party(address: &NameAddr) -> Option<Party> {
    let text = match &address.uri {
        Uri::Sip(uri) => uri.aor().to_string(),
        Uri::Tel(..) => address.uri.to_string(),
        Uri::Other(_) => return None,
    };
    Some(Party { display: address.display.clone(), ..Party::sip(text) })
}

/// Returns the headers that tell a callee of the past of a call; `target` is the Request-URI.
#[must_use]
pub fn headers(diverted: &Diverted, target: &SipUri) -> Vec<(String, String)> {
    let mut headers = vec![];
    for diversion in diverted.history.iter().rev() {
        let Some(uri) = Uri::parse(&diversion.party.address) else { continue };
        let privacy = if diversion.private { "full" } else { "off" };
        let value = format!(
            "<{uri}>;reason={};counter={};privacy={privacy};screen=no",
            diversion.reason.name(),
            diversion.count.max(1)
        );
        headers.push(("Diversion".to_owned(), value));
    }
    let mut entries = vec![];
    let (mut index, mut reason) = ("1".to_owned(), None);
    for diversion in &diverted.history {
        let Some(uri) = Uri::parse(&diversion.party.address) else { continue };
        entries.push(entry(uri, diversion.private, &index, reason));
        (reason, index) = (Some(diversion.reason), format!("{index}.1"));
    }
    if !entries.is_empty() {
        entries.push(entry(Uri::Sip(target.clone()), false, &index, reason));
        headers.push(("History-Info".to_owned(), entries.join(", ")));
    }
    headers
}

/// Writes an entry of History-Info. `reason`: why the entry above it was left (RFC 7044 §10.4, `mp`: another user).
fn entry(uri: Uri, private: bool, index: &str, reason: Option<DiversionReason>) -> String {
    let uri = match uri {
        Uri::Sip(mut uri) => {
            uri.params.retain(|(name, _)| name != "cause");
            uri.params.extend(reason.map(|reason| ("cause".to_owned(), Some(cause(reason).to_string()))));
            uri.headers = private.then(|| "Privacy=history".to_owned());
            Uri::Sip(uri)
        }
        other => other,
    };
    let above = index.rsplit_once('.').filter(|_| reason.is_some());
    let above = above.map(|(above, _)| format!(";mp={above}")).unwrap_or_default();
    format!("<{uri}>;index={index}{above}")
}

/// Returns the parameters by which a box finds the mailbox of the last party of the history, and the greeting for the reason
/// (RFC 4458); none for a callee that is no box.
#[must_use]
pub fn mailbox(diverted: &Diverted) -> Vec<Parameter> {
    let Some(last) = diverted.history.last().filter(|_| diverted.mailbox) else { return vec![] };
    vec![
        ("target".to_owned(), Some(escaped(&last.party.address))),
        ("cause".to_owned(), Some(cause(last.reason).to_string())),
    ]
}

/// Escapes what may not stand in a URI parameter (RFC 3261 §25.1, paramchar).
fn escaped(text: &str) -> String {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"[]/:&+$-_.!~*'()".contains(&c);
    let octet = |c: u8| if plain(c) { char::from(c).to_string() } else { format!("%{c:02X}") };
    text.bytes().map(octet).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diversion(address: &str, reason: DiversionReason) -> Diversion {
        Diversion { party: Party::sip(address), reason, count: 1, private: false }
    }

    fn target(text: &str) -> SipUri {
        Uri::parse(text).unwrap().sip().unwrap().clone()
    }

    fn written(diverted: &Diverted, to: &str) -> Vec<String> {
        headers(diverted, &target(to)).into_iter().map(|(name, value)| format!("{name}: {value}")).collect()
    }

    /// R-CALL-28: each reason with its cause, both ways (RFC 5806, RFC 4458, RFC 7544).
    #[test]
    fn every_reason_has_its_token_and_its_cause() {
        for (reason, token, cause, again) in [
            (DiversionReason::Unconditional, "unconditional", 302, DiversionReason::Unconditional),
            (DiversionReason::UserBusy, "user-busy", 486, DiversionReason::UserBusy),
            (DiversionReason::NoAnswer, "no-answer", 408, DiversionReason::NoAnswer),
            (DiversionReason::Unavailable, "unavailable", 503, DiversionReason::Unavailable),
            (DiversionReason::Deflection, "deflection", 480, DiversionReason::Deflection),
            (DiversionReason::DoNotDisturb, "do-not-disturb", 404, DiversionReason::Unknown),
            (DiversionReason::Unknown, "unknown", 404, DiversionReason::Unknown),
            (DiversionReason::TimeOfDay, "time-of-day", 404, DiversionReason::Unknown),
            (DiversionReason::FollowMe, "follow-me", 404, DiversionReason::Unknown),
            (DiversionReason::OutOfService, "out-of-service", 404, DiversionReason::Unknown),
            (DiversionReason::Away, "away", 404, DiversionReason::Unknown),
        ] {
            let diverted =
                Diverted { history: vec![diversion("sip:2700@im.example", reason)], mailbox: false };
            assert_eq!(
                written(&diverted, "sip:2050@pbx.example"),
                [
                    format!(
                        "Diversion: <sip:2700@im.example>;reason={token};counter=1;privacy=off;screen=no"
                    ),
                    format!(
                        "History-Info: <sip:2700@im.example>;index=1, \
                         <sip:2050@pbx.example;cause={cause}>;index=1.1;mp=1"
                    ),
                ]
            );
            let heard = |name: &str, value: &str| {
                let message = Message::request("INVITE", "sip:a@b").with(name, value.to_owned());
                read(&message).unwrap().history[0].reason
            };
            assert_eq!(heard("Diversion", &format!("<sip:a@b>;reason={token}")), reason);
            let value = format!("<sip:a@b>;index=1, <sip:c@d;cause={cause}>;index=1.1;mp=1");
            assert_eq!(heard("History-Info", &value), again);
        }
        assert_eq!(reason("487"), DiversionReason::Deflection);
    }

    /// R-CALL-28
    #[test]
    fn diversions_are_newest_first_and_history_oldest_first() {
        let history = vec![
            diversion("sip:2700@im.example", DiversionReason::UserBusy),
            Diversion { private: true, ..diversion("sip:2701@im.example", DiversionReason::NoAnswer) },
        ];
        let diverted = Diverted { history: history.clone(), mailbox: false };
        let said = headers(&diverted, &target("sip:2050@pbx.example"));
        let values: Vec<&str> = said.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(
            values,
            [
                "<sip:2701@im.example>;reason=no-answer;counter=1;privacy=full;screen=no",
                "<sip:2700@im.example>;reason=user-busy;counter=1;privacy=off;screen=no",
                "<sip:2700@im.example>;index=1, \
                 <sip:2701@im.example;cause=486?Privacy=history>;index=1.1;mp=1, \
                 <sip:2050@pbx.example;cause=408>;index=1.1.1;mp=1.1",
            ]
        );
        // Each of them alone is read back as it was.
        for name in ["Diversion", "History-Info"] {
            let of_it = said.iter().filter(|(header, _)| header == name);
            let message = of_it
                .fold(Message::request("INVITE", "sip:a@b"), |m, (name, value)| m.with(name, value.clone()));
            assert_eq!(read(&message).unwrap().history, history, "{name}");
        }
    }

    /// R-CALL-28: interworking §9.2, RFC 4458.
    #[test]
    fn a_box_is_told_whose_it_is_and_why() {
        let history = vec![diversion("sip:rosa%40xmpp.example@im.pbx.example", DiversionReason::NoAnswer)];
        let params = mailbox(&Diverted { history: history.clone(), mailbox: true });
        let uri = SipUri { params, ..target("sip:vm@pbx.example") };
        assert_eq!(
            uri.to_string(),
            "sip:vm@pbx.example;target=sip:rosa%2540xmpp.example%40im.pbx.example;cause=408"
        );
        assert_eq!(mailbox(&Diverted { history, mailbox: false }), []);
    }

    #[test]
    fn history_info_counts_where_both_are_there_and_counters_are_kept() {
        let message = Message::request("INVITE", "sip:a@b")
            .with("Diversion", "<sip:1@x>;reason=away;counter=3, \"Nils\" <tel:+4930>;reason=\"no-answer\"");
        let found = read(&message).unwrap();
        assert_eq!((found.history.len(), found.count()), (2, 4));
        assert_eq!(found.history[0].party, Party { display: Some("Nils".into()), ..Party::sip("tel:+4930") });
        assert_eq!(found.history[1].reason, DiversionReason::Away);
        let both = message.with("History-Info", "<sip:9@x>;index=1,<sip:8@x;cause=486>;index=1.2;rc=1");
        let found = read(&both).unwrap();
        assert_eq!(found.history, [diversion("sip:9@x", DiversionReason::UserBusy)]);
        let hidden = read(&both.with("Privacy", "id;history")).unwrap();
        assert!(hidden.history[0].private && !found.history[0].private);
    }

    #[test]
    fn nonsense_is_no_diversion_and_lists_are_bounded() {
        let with = |name: &str, value: String| read(&Message::request("INVITE", "sip:a@b").with(name, value));
        for value in ["", "<>", ";reason=away", "<mailto:x@y>;reason=away", "\"x"] {
            assert_eq!(with("Diversion", value.into()), None, "{value}");
        }
        for value in ["<sip:a@b>;index=1", "<sip:a@b;cause=302>", "<sip:a@b;cause=302>;index=1.1;mp=7"] {
            assert_eq!(with("History-Info", value.into()), None, "{value}");
        }
        let many = vec!["<sip:a@b>;counter=255"; 200].join(",");
        let found = with("Diversion", many).unwrap();
        assert_eq!((found.history.len(), found.count()), (MAX, 2_550));
    }
}
