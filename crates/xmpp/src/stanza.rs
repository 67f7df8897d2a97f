//! Stanzas: the parts of everything that we send (RFC 6120 §8, XEP-0166 §7, XEP-0353 §5).

pub use media::jingle::clean;
use minidom::Element;
use minidom::rxml::{Namespace, NcName};

/// Namespace of stanzas on a component link (XEP-0114).
pub const COMPONENT: &str = "jabber:component:accept";
/// Namespace of stanzas between clients and servers (RFC 6120 §4.8.2); read as well.
pub const CLIENT: &str = "jabber:client";
/// Jingle (XEP-0166).
pub const JINGLE: &str = "urn:xmpp:jingle:1";
/// Jingle's own error conditions (XEP-0166 §12).
pub const ERRORS: &str = "urn:xmpp:jingle:errors:1";
/// Jingle Message Initiation (XEP-0353).
pub const JMI: &str = "urn:xmpp:jingle-message:0";
/// Jingle RTP sessions (XEP-0167).
pub const RTP: &str = "urn:xmpp:jingle:apps:rtp:1";
/// Informational messages of RTP sessions (XEP-0167 §8).
pub const INFO: &str = "urn:xmpp:jingle:apps:rtp:info:1";
/// ICE-UDP transport (XEP-0176).
pub const ICE: &str = "urn:xmpp:jingle:transports:ice-udp:1";
/// Keypad digits (XEP-0181).
pub const DTMF: &str = "urn:xmpp:jingle:dtmf:0";
/// Session transfer (XEP-0251).
pub const TRANSFER: &str = "urn:xmpp:jingle:transfer:0";
/// Conditions of stanza errors (RFC 6120 §8.3.3).
pub const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// Message processing hints (XEP-0334).
pub const HINTS: &str = "urn:xmpp:hints";
/// Message carbons (XEP-0280).
pub const CARBONS: &str = "urn:xmpp:carbons:2";
/// Delayed delivery (XEP-0203).
pub const DELAY: &str = "urn:xmpp:delay";
/// User nickname (XEP-0172).
pub const NICK: &str = "http://jabber.org/protocol/nick";

/// Builds an element with attributes.
#[must_use]
pub fn element(name: &str, namespace: &str, attributes: &[(&'static str, &str)]) -> Element {
    let mut element = Element::bare(name, namespace);
    for (name, value) in attributes {
        set(&mut element, name, value);
    }
    element
}

/// Sets an attribute, without the characters that XML cannot hold.
pub fn set(element: &mut Element, name: &'static str, value: &str) {
    if let Ok(name) = NcName::try_from(name) {
        element.set_attr(Namespace::NONE, name, clean(value));
    }
}

/// Appends a child and returns the element.
#[must_use]
pub fn with(mut element: Element, child: Element) -> Element {
    element.append_child(child);
    element
}

/// Builds an IQ set.
#[must_use]
pub fn iq(from: &str, to: &str, id: &str, child: Element) -> Element {
    with(element("iq", COMPONENT, &[("type", "set"), ("from", from), ("to", to), ("id", id)]), child)
}

/// Builds a message of type chat that archives keep (XEP-0353 §3: `<store/>` is a MUST).
#[must_use]
pub fn message(from: &str, to: &str, id: &str, child: Element) -> Element {
    let message = element("message", COMPONENT, &[("type", "chat"), ("from", from), ("to", to), ("id", id)]);
    with(with(message, child), Element::bare("store", HINTS))
}

fn reply(stanza: &Element, kind: &str) -> Element {
    let mut reply = Element::bare(stanza.name(), stanza.ns());
    set(&mut reply, "type", kind);
    for (ours, theirs) in [("from", "to"), ("to", "from"), ("id", "id")] {
        if let Some(value) = stanza.attr(theirs) {
            set(&mut reply, ours, value);
        }
    }
    reply
}

/// Returns a stanza with its address alone, and those children that have one of these names.
#[must_use]
pub fn with_children_named(stanza: &Element, names: &[&str]) -> Element {
    let mut kept = Element::bare(stanza.name(), stanza.ns());
    for name in ["type", "from", "to", "id"] {
        if let Some(value) = stanza.attr(name) {
            set(&mut kept, name, value);
        }
    }
    stanza.children().filter(|child| names.contains(&child.name())).for_each(|child| {
        kept.append_child(child.clone());
    });
    kept
}

/// Builds the empty result of an IQ.
#[must_use]
pub fn result(iq: &Element) -> Element {
    reply(iq, "result")
}

/// Builds a stanza error: type, condition, and Jingle's own condition where there is one.
#[must_use]
pub fn error(stanza: &Element, kind: &str, condition: &str, jingle: Option<&str>) -> Element {
    let mut error =
        with(element("error", &stanza.ns(), &[("type", kind)]), Element::bare(condition, STANZAS));
    if let Some(jingle) = jingle {
        error.append_child(Element::bare(jingle, ERRORS));
    }
    with(reply(stanza, "error"), error)
}

/// Returns the condition and Jingle's own condition of an error stanza.
#[must_use]
pub fn condition(stanza: &Element) -> (Option<String>, Option<String>) {
    let Some(error) = stanza.children().find(|c| c.name() == "error") else { return (None, None) };
    let named = |ns: &str| {
        let mut found = error.children().filter(|c| c.ns() == ns && c.name() != "text");
        found.next().map(|c| c.name().to_owned())
    };
    (named(STANZAS), named(ERRORS))
}

/// Longest address that an error stanza redirects to, octets (RFC 7622 §3.1, thrice for what is percent-encoded).
const MAX_REDIRECT: usize = 9_000;

/// Returns the address that an error stanza redirects to (RFC 6120 §8.3.3.14; XEP-0166): an XMPP, SIP or tel URI.
#[must_use]
pub fn redirection(stanza: &Element) -> Option<String> {
    let error = stanza.children().find(|c| c.name() == "error")?;
    let to = error.get_child("redirect", STANZAS)?.text();
    let to = to.trim();
    let known = ["xmpp:", "sip:", "sips:", "tel:"].iter().any(|scheme| to.starts_with(scheme));
    let plain = to.len() <= MAX_REDIRECT && !to.contains(|c: char| c.is_control() || c.is_whitespace());
    (known && plain).then(|| to.to_owned())
}

/// Most characters of a display name.
const MAX_NAME: usize = 128;

/// Returns a display name as it may be shown: bounded, on one line, without characters that reorder others (Unicode TR 36 §2.7);
/// `None` if nothing is left of it.
#[must_use]
pub fn display_name(text: &str) -> Option<String> {
    let bidi = |c| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let separates = |c| matches!(c, '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}');
    let shown = text.chars().filter(|c| !c.is_control() && !bidi(*c) && !separates(*c));
    let shown: String = shown.take(MAX_NAME).collect();
    Some(shown.trim().to_owned()).filter(|name| !name.is_empty())
}

/// Returns true for a name that a phone would show as a number: in a nick it would claim to call from there.
#[must_use]
pub fn looks_like_number(name: &str) -> bool {
    let mark = |c: char| {
        c.is_whitespace() || c.is_ascii_punctuation() || matches!(c, '\u{2010}'..='\u{2015}' | '\u{ff0b}')
    };
    name.contains(char::is_numeric) && name.chars().all(|c| c.is_numeric() || mark(c))
}

/// Returns the JID without its resource.
#[must_use]
pub fn bare(jid: &str) -> &str {
    jid.split_once('/').map_or(jid, |(bare, _)| bare)
}

/// Returns the resource of a JID.
#[must_use]
pub fn resource(jid: &str) -> Option<&str> {
    jid.split_once('/').map(|(_, resource)| resource).filter(|r| !r.is_empty())
}

/// Returns the domain of a JID.
#[must_use]
pub fn domain(jid: &str) -> &str {
    let bare = bare(jid);
    bare.split_once('@').map_or(bare, |(_, domain)| domain)
}

/// Returns the local part of a JID.
#[must_use]
pub fn local(jid: &str) -> Option<&str> {
    bare(jid).split_once('@').map(|(local, _)| local).filter(|l| !l.is_empty())
}

/// Reads an XEP-0082 timestamp (`2026-11-22T22:06:09.5Z`, in UTC or with an offset) as milliseconds since the epoch.
#[must_use]
pub fn moment(stamp: &str) -> Option<u64> {
    let number = |from: usize, to: usize| stamp.get(from..to)?.parse::<i64>().ok().filter(|n| *n >= 0);
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 24 || minute > 59 || second > 60 {
        return None;
    }
    let zone = stamp.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match zone.as_bytes() {
        [] | [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), ..] => {
            let (h, m) = (zone.get(1..3)?.parse::<i64>().ok()?, zone.get(4..6)?.parse::<i64>().ok()?);
            (h * 60 + m) * if *sign == b'+' { 60 } else { -60 }
        }
        _ => return None,
    };
    // Days since the epoch in the proleptic Gregorian calendar, with years that begin in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era_day =
        y * 365 + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (m * 153 + 2) / 5 + day - 1;
    let seconds = (era_day - 719_468) * 86_400 + hour * 3_600 + minute * 60 + second - offset;
    u64::try_from(seconds).ok().map(|s| s * 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read() {
        assert_eq!(moment("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(moment("2026-11-22T22:06:09.512Z"), Some(1_795_385_169_000));
        assert_eq!(moment("2000-02-29T01:00:00+01:00"), Some(951_782_400_000));
        for broken in [
            "",
            "now",
            "2026-13-01T00:00:00Z",
            "2026-11-22",
            "2026-11-22T22:06:09 CET",
            "é026-11-22T22:06:09",
        ] {
            assert_eq!(moment(broken), None, "{broken}");
        }
    }

    #[test]
    fn jids_are_taken_apart() {
        assert_eq!(
            (bare("a@b/c/d"), resource("a@b/c/d"), domain("a@b/c@d"), local("b/x@y")),
            ("a@b", Some("c/d"), "b", None)
        );
    }

    #[test]
    fn f13_a_name_is_bounded_and_shows_what_it_holds() {
        assert_eq!(display_name("  Rosa M\u{fc}ller  ").as_deref(), Some("Rosa M\u{fc}ller"));
        assert_eq!(display_name(&"\u{e9}".repeat(28_000)).map(|name| name.chars().count()), Some(128));
        assert_eq!(display_name("\u{202e}211\u{2066} a\u{85}b\u{2028}c\r\n").as_deref(), Some("211 abc"));
        assert_eq!(display_name("\u{200f}\u{9f} \n"), None);
        for number in ["112", "+49 (30) 123-456", "*21#", "\u{ff11}\u{ff11}\u{ff12}", "1\u{2011}1\u{2011}2"] {
            assert!(looks_like_number(number), "{number}");
        }
        for name in ["Rosa", "Room 12", "R2-D2", "", "--"] {
            assert!(!looks_like_number(name), "{name}");
        }
    }

    /// A display name or a reason text can never break the stream.
    #[test]
    fn what_xml_cannot_hold_is_left_out() {
        let text = with(element("a", "b", &[("c", "x\u{0}\u{1b}<y\u{ffff}")]), Element::bare("d", "b"));
        assert!(String::from(&text).contains("x&lt;y") || text.attr("c") == Some("x<y"));
        assert_eq!(text.attr("c"), Some("x<y"));
    }
}
