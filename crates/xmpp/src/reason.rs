//! [`Reason`] ⇄ Jingle and JMI reasons, and stanza error conditions (interworking §4).

use crate::stanza::{self, JINGLE};
use minidom::Element;
use signal::{End, Reason};

/// Each reason as a Jingle reason (XEP-0166 §7.4; JMI uses the same) and as type and condition of a stanza error.
const SAID: &[(Reason, &str, &str, &str)] = &[
    (Reason::Normal, "success", "wait", "recipient-unavailable"),
    (Reason::Cancelled, "cancel", "wait", "recipient-unavailable"),
    (Reason::AnsweredElsewhere, "success", "wait", "recipient-unavailable"),
    (Reason::Busy, "busy", "wait", "recipient-unavailable"),
    (Reason::Declined, "decline", "wait", "recipient-unavailable"),
    (Reason::NoAnswer, "timeout", "wait", "recipient-unavailable"),
    (Reason::Offline, "gone", "wait", "recipient-unavailable"),
    (Reason::NotFound, "gone", "cancel", "item-not-found"),
    (Reason::Gone, "gone", "cancel", "gone"),
    (Reason::Timeout, "timeout", "wait", "remote-server-timeout"),
    (Reason::Forbidden, "decline", "auth", "forbidden"),
    (Reason::IncompatibleMedia, "incompatible-parameters", "modify", "not-acceptable"),
    (Reason::UnsupportedMedia, "unsupported-applications", "modify", "not-acceptable"),
    (Reason::UnsupportedTransport, "unsupported-transports", "modify", "not-acceptable"),
    (Reason::Security, "security-error", "auth", "not-authorized"),
    (Reason::MediaFailed, "failed-application", "modify", "not-acceptable"),
    (Reason::Connectivity, "connectivity-error", "cancel", "remote-server-not-found"),
    (Reason::Unavailable, "connectivity-error", "wait", "resource-constraint"),
    (Reason::Loop, "general-error", "modify", "not-acceptable"),
    (Reason::Glare, "general-error", "wait", "unexpected-request"),
    (Reason::Expired, "expired", "wait", "recipient-unavailable"),
    (Reason::BadRequest, "general-error", "modify", "bad-request"),
    (Reason::NotImplemented, "unsupported-applications", "cancel", "feature-not-implemented"),
    (Reason::General, "general-error", "cancel", "internal-server-error"),
    (Reason::Congestion, "busy", "wait", "resource-constraint"),
    (Reason::AnonymityDisallowed, "decline", "auth", "forbidden"),
];

fn row(reason: Reason) -> &'static (Reason, &'static str, &'static str, &'static str) {
    const LAST: (Reason, &str, &str, &str) =
        (Reason::General, "general-error", "cancel", "internal-server-error");
    SAID.iter().find(|s| s.0 == reason).unwrap_or(&LAST)
}

/// Returns the Jingle reason for a [`Reason`].
#[must_use]
pub fn said(reason: Reason) -> &'static str {
    row(reason).1
}

/// Returns type and condition of the stanza error for a [`Reason`].
#[must_use]
pub fn condition(reason: Reason) -> (&'static str, &'static str) {
    let row = row(reason);
    (row.2, row.3)
}

/// Phase of the session in which a Jingle reason was heard: its meaning depends on that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// The session was accepted.
    pub answered: bool,
    /// The callee was heard ringing.
    pub rang: bool,
    /// The speaker is the caller.
    pub caller: bool,
}

/// Returns the meaning of a Jingle reason (interworking §4.4).
#[must_use]
pub fn heard(name: Option<&str>, when: When) -> Reason {
    match (name.unwrap_or(""), when.answered) {
        ("success", _) => Reason::Normal,
        ("busy", _) | ("alternative-session", false) => Reason::Busy,
        ("cancel", true) | ("alternative-session", true) => Reason::Normal,
        ("cancel", false) if when.caller => Reason::Cancelled,
        // Some clients decline with `cancel`.
        ("decline" | "cancel", _) => Reason::Declined,
        ("timeout", false) if when.rang => Reason::NoAnswer,
        ("timeout", _) => Reason::Timeout,
        ("expired", _) => Reason::Expired,
        ("gone", false) => Reason::Offline,
        ("gone" | "connectivity-error" | "failed-transport", _) => Reason::Connectivity,
        ("media-error" | "failed-application", true) => Reason::MediaFailed,
        ("media-error" | "failed-application" | "incompatible-parameters", _) => Reason::IncompatibleMedia,
        ("unsupported-applications", _) => Reason::UnsupportedMedia,
        ("unsupported-transports", _) => Reason::UnsupportedTransport,
        ("security-error", _) => Reason::Security,
        ("general-error", _) => Reason::General,
        (_, true) => Reason::Normal,
        (_, false) if when.caller => Reason::Cancelled,
        // No reason, or one that is not defined: 480 with cause 31, as `expired`.
        _ => Reason::Expired,
    }
}

/// Returns the meaning of a stanza error's condition in answer to a call (interworking §4.4).
#[must_use]
pub fn bounced(condition: Option<&str>, jingle: Option<&str>) -> Reason {
    match (condition.unwrap_or(""), jingle) {
        (_, Some("tie-break")) | ("unexpected-request", _) => Reason::Glare,
        (_, Some("unknown-session")) | ("internal-server-error" | "resource-constraint", _) => {
            Reason::General
        }
        (_, Some("security-required")) => Reason::Security,
        ("bad-request" | "conflict" | "jid-malformed", _) => Reason::BadRequest,
        ("feature-not-implemented", _) => Reason::UnsupportedMedia,
        (
            "forbidden"
            | "not-allowed"
            | "not-authorized"
            | "policy-violation"
            | "registration-required"
            | "subscription-required",
            _,
        ) => Reason::Forbidden,
        ("gone" | "redirect", _) => Reason::Gone,
        ("item-not-found" | "remote-server-not-found", _) => Reason::NotFound,
        ("not-acceptable", _) => Reason::IncompatibleMedia,
        // A server says the same of a user who blocked the caller: that looks like offline (R-CODE-5).
        ("recipient-unavailable" | "service-unavailable", _) => Reason::Offline,
        ("remote-server-timeout", _) => Reason::Timeout,
        _ => Reason::General,
    }
}

/// Returns a sentence for a person where Jingle's word means several things.
fn explanation(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::Declined => "The call was declined.",
        Reason::Offline => "Nobody can be reached there now.",
        Reason::NotFound => "There is no such number.",
        Reason::Gone => "The number is not in use any more.",
        Reason::Forbidden => "This call is not allowed.",
        Reason::Unavailable => "No line is free now; please try again.",
        _ => return None,
    })
}

/// Writes the `<reason/>` of a session-terminate, reject, retract or finish.
#[must_use]
pub fn element(end: &End) -> Element {
    let mut reason = Element::bare("reason", JINGLE);
    reason.append_child(Element::bare(said(end.reason), JINGLE));
    let text = match (end.reason, &end.text) {
        (Reason::AnsweredElsewhere, _) => Some("answered elsewhere"),
        (reason, text) => text.as_deref().or_else(|| explanation(reason)),
    };
    if let Some(text) = text {
        let mut child = Element::bare("text", JINGLE);
        child.append_text(stanza::clean(text));
        reason.append_child(child);
    }
    reason
}

/// Reads the `<reason/>` within `parent`.
#[must_use]
pub fn end(parent: &Element, when: When) -> End {
    let reason = parent.children().find(|c| c.is("reason", JINGLE));
    let children = || reason.into_iter().flat_map(Element::children).filter(|c| c.ns() == JINGLE);
    let name = children().find(|c| c.name() != "text").map(Element::name);
    let text = children().find(|c| c.name() == "text").map(|c| c.text().chars().take(200).collect());
    End { reason: heard(name, when), sip: None, text }
}

/// Returns true if `parent` has a `<reason/>`.
#[must_use]
pub fn given(parent: &Element) -> bool {
    parent.children().any(|c| c.is("reason", JINGLE))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The 17 reasons of XEP-0166 §7.4.
    const ALL: &[&str] = &[
        "alternative-session",
        "busy",
        "cancel",
        "connectivity-error",
        "decline",
        "expired",
        "failed-application",
        "failed-transport",
        "general-error",
        "gone",
        "incompatible-parameters",
        "media-error",
        "security-error",
        "success",
        "timeout",
        "unsupported-applications",
        "unsupported-transports",
    ];

    /// R-CODE-1: every reason is heard again as it was said, except those that Jingle has no word for.
    #[test]
    fn what_is_said_is_heard() {
        let near = [
            (Reason::AnsweredElsewhere, Reason::Normal),
            (Reason::NotFound, Reason::Offline),
            (Reason::Gone, Reason::Offline),
            (Reason::Timeout, Reason::NoAnswer),
            (Reason::Forbidden, Reason::Declined),
            (Reason::MediaFailed, Reason::IncompatibleMedia),
            (Reason::Unavailable, Reason::Connectivity),
            (Reason::Loop, Reason::General),
            (Reason::Glare, Reason::General),
            (Reason::BadRequest, Reason::General),
            (Reason::NotImplemented, Reason::UnsupportedMedia),
            (Reason::Cancelled, Reason::Declined),
            (Reason::Congestion, Reason::Busy),
            (Reason::AnonymityDisallowed, Reason::Declined),
        ];
        for (reason, name, _, _) in SAID {
            assert!(ALL.contains(name), "{name} is no Jingle reason");
            let again = end(
                &stanza::with(Element::bare("x", "y"), element(&(*reason).into())),
                When { rang: true, ..When::default() },
            );
            assert!(
                again.reason == *reason || near.contains(&(*reason, again.reason)),
                "{reason:?} came back as {again:?}"
            );
        }
    }

    /// R-CODE-1, interworking §4.4.
    #[test]
    fn the_same_word_means_other_things_before_and_after_the_answer() {
        let (before, after) = (When::default(), When { answered: true, ..When::default() });
        assert_eq!(heard(Some("cancel"), When { caller: true, ..before }), Reason::Cancelled);
        assert_eq!(
            (heard(Some("cancel"), before), heard(Some("cancel"), after)),
            (Reason::Declined, Reason::Normal)
        );
        assert_eq!(
            (heard(Some("gone"), before), heard(Some("gone"), after)),
            (Reason::Offline, Reason::Connectivity)
        );
        assert_eq!((heard(None, before), heard(None, after)), (Reason::Expired, Reason::Normal));
        assert_eq!(
            (heard(Some("timeout"), before), heard(Some("timeout"), When { rang: true, ..before })),
            (Reason::Timeout, Reason::NoAnswer)
        );
        for when in [before, after] {
            assert_eq!(heard(Some("failed-transport"), when), Reason::Connectivity);
        }
        for name in ALL {
            assert_ne!(heard(Some(name), before), Reason::Glare, "{name}");
        }
    }

    /// R-CODE-1: conditions, as far as a condition can name the reason.
    #[test]
    fn bounces_mean_what_the_table_says() {
        assert_eq!(bounced(Some("service-unavailable"), None), Reason::Offline);
        assert_eq!(bounced(Some("item-not-found"), None), Reason::NotFound);
        assert_eq!(bounced(Some("item-not-found"), Some("unknown-session")), Reason::General);
        assert_eq!(bounced(Some("conflict"), Some("tie-break")), Reason::Glare);
        assert_eq!(bounced(Some("remote-server-not-found"), None), Reason::NotFound);
        assert_eq!(bounced(None, None), Reason::General);
        for reason in [
            Reason::NotFound,
            Reason::Gone,
            Reason::Timeout,
            Reason::Forbidden,
            Reason::BadRequest,
            Reason::General,
            Reason::Offline,
            Reason::IncompatibleMedia,
            Reason::Glare,
        ] {
            assert_eq!(bounced(Some(condition(reason).1), None), reason);
        }
    }

    #[test]
    fn g10_a_person_reads_why() {
        let said = |end: &End| String::from(&element(end));
        assert!(said(&Reason::Declined.into()).contains("<text>The call was declined.</text>"));
        assert!(said(&Reason::NotFound.into()).contains("<text>There is no such number.</text>"));
        let own = End { text: Some("Back at two".into()), ..Reason::Declined.into() };
        assert!(said(&own).contains("<text>Back at two</text>"), "what the callee says goes first");
        assert!(!said(&Reason::Busy.into()).contains("text"), "the word says it");
    }

    /// R-CALL-14
    #[test]
    fn answered_elsewhere_is_success_with_a_text() {
        let text = String::from(&element(&Reason::AnsweredElsewhere.into()));
        assert!(text.contains("<success") && text.contains("answered elsewhere"), "{text}");
    }
}
