//! User part of a SIP URI ⇄ localpart of a JID (RFC 7247 §5, XEP-0106).

use precis_profiles::UsernameCaseMapped;
use precis_profiles::precis_core::profile::Profile;

/// Characters that a localpart cannot hold, with the two digits of their escapes (XEP-0106).
const ESCAPES: [(char, &str); 10] = [
    (' ', "20"),
    ('"', "22"),
    ('&', "26"),
    ('\'', "27"),
    ('/', "2f"),
    (':', "3a"),
    ('<', "3c"),
    ('>', "3e"),
    ('@', "40"),
    ('\\', "5c"),
];

/// Reason why a user part has no localpart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmappable {
    /// NUL, control characters or invalid UTF-8: 400.
    #[error("characters that XML cannot hold")]
    Malformed,
    /// Leading or trailing blank, or a character that PRECIS forbids: 404.
    #[error("no JID can name it")]
    NoJid,
    /// Localpart over 1023 octets: 414.
    #[error("too long")]
    TooLong,
}

/// Escapes the characters that a localpart cannot hold. A backslash is escaped only where it would begin one of the ten sequences.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for (at, c) in text.char_indices() {
        match ESCAPES.iter().find(|(e, _)| *e == c) {
            Some(_) if c == '\\' && sequence(&text[at..]).is_none() => out.push('\\'),
            Some((_, code)) => {
                out.push('\\');
                out.push_str(code);
            }
            None => out.push(c),
        }
    }
    out
}

/// Reverses [`escape`]; unknown and partial sequences stay as they are (R-ADDR-2).
#[must_use]
pub fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (c, length) = sequence(rest).map_or((c, c.len_utf8()), |c| (c, 3));
        out.push(c);
        rest = rest.get(length..).unwrap_or("");
    }
    out
}

/// Decodes the escape sequence at the start of `text`, if there is one.
fn sequence(text: &str) -> Option<char> {
    let code = text.strip_prefix('\\')?.get(..2)?;
    ESCAPES.iter().find(|(_, e)| e.eq_ignore_ascii_case(code)).map(|(c, _)| *c)
}

/// Returns the localpart for the user part of a SIP URI as received: percent-decoded once, case-mapped, escaped once.
///
/// # Errors
/// `Unmappable` when there is none.
pub fn jid_local(user: &str) -> Result<String, Unmappable> {
    let text = String::from_utf8(percent_decode(user)).map_err(|_| Unmappable::Malformed)?;
    if text.chars().any(|c| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}')) {
        return Err(Unmappable::Malformed);
    }
    if text.is_empty() || text.starts_with(' ') || text.ends_with(' ') {
        return Err(Unmappable::NoJid);
    }
    let local = escape(&text.to_lowercase());
    if local.len() > 1023 {
        return Err(Unmappable::TooLong);
    }
    UsernameCaseMapped::new().enforce(local).map(|l| l.into_owned()).map_err(|_| Unmappable::NoJid)
}

/// Returns the user part for a localpart: unescaped once, percent-encoded where the URI grammar requires it.
#[must_use]
pub fn sip_user(local: &str) -> String {
    let mut out = String::with_capacity(local.len());
    for octet in unescape(local).bytes() {
        // unreserved and the user-unreserved characters of RFC 3261 §25.1
        if octet.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&octet) {
            out.push(char::from(octet));
        } else {
            out.push_str(&format!("%{octet:02X}"));
        }
    }
    out
}

/// Returns percent-encoded text; `None` if it is no UTF-8.
#[must_use]
pub fn percent_decoded(text: &str) -> Option<String> {
    String::from_utf8(percent_decode(text)).ok()
}

pub(crate) fn percent_decode(text: &str) -> Vec<u8> {
    let octets = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(octets.len()), 0);
    while let Some(octet) = octets.get(at) {
        let pair =
            octets.get(at + 1..at + 3).filter(|_| *octet == b'%').and_then(|p| std::str::from_utf8(p).ok());
        match pair.and_then(|p| u8::from_str_radix(p, 16).ok()) {
            Some(value) => {
                out.push(value);
                at += 3;
            }
            None => {
                out.push(*octet);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// R-ADDR-3, R-ADDR-4, R-ADDR-5, R-ADDR-6: the table of interworking §1.1, row by row.
    #[test]
    fn the_table_of_examples() {
        for (user, local) in [
            ("o'hara", Ok(r"o\27hara")),
            ("a/b", Ok(r"a\2fb")),
            ("room%20one", Ok(r"room\20one")),
            ("u;day=tue", Ok("u;day=tue")),
            ("x%40y", Ok(r"x\40y")),
            ("%00", Err(Unmappable::Malformed)),
            ("%20a", Err(Unmappable::NoJid)),
            ("a%20", Err(Unmappable::NoJid)),
            ("u;par=v%40d", Ok(r"u;par=v\40d")),
            ("Anna", Ok("anna")),
            ("%ff", Err(Unmappable::Malformed)),
            ("a%00b", Err(Unmappable::Malformed)),
        ] {
            assert_eq!(jid_local(user), local.map(str::to_owned), "{user}");
        }
        assert_eq!(escape(r"c:\5commas"), r"c\3a\5c5commas");
        assert_eq!(sip_user(r"caf\20e"), "caf%20e");
        assert_eq!(sip_user("tréma"), "tr%C3%A9ma");
    }

    /// R-ADDR-2
    #[test]
    fn unknown_and_partial_sequences_stay() {
        for text in [r"\41", r"\2p", "end\\", r"\", r"a\zz"] {
            assert_eq!(escape(text), text);
            assert_eq!(unescape(text), text);
        }
        assert_eq!(unescape(r"\5C\40"), r"\@");
    }

    /// R-ADDR-1, for every user part of one and two characters.
    #[test]
    fn short_user_parts_come_back() {
        let chars: Vec<char> = (0x20u8..0x7f).map(char::from).filter(|c| !c.is_ascii_uppercase()).collect();
        for a in &chars {
            for b in std::iter::once(None).chain(chars.iter().map(Some)) {
                let text: String = std::iter::once(*a).chain(b.copied()).collect();
                let user: String = text.bytes().map(|o| format!("%{o:02X}")).collect();
                match jid_local(&user) {
                    Ok(local) => assert_eq!(jid_local(&sip_user(&local)).as_ref(), Ok(&local), "{text:?}"),
                    Err(error) => assert!(
                        error == Unmappable::NoJid && (text.starts_with(' ') || text.ends_with(' ')),
                        "{text:?} {error}"
                    ),
                }
            }
        }
    }

    proptest! {
        #[test]
        fn escaping_has_an_inverse(text in "\\PC{0,40}") {
            prop_assert_eq!(unescape(&escape(&text)), text);
        }

        #[test]
        fn no_user_part_panics_or_makes_a_localpart_that_xml_cannot_hold(user in "\\PC{0,40}|(%[0-9a-f]{2}){0,12}") {
            if let Ok(local) = jid_local(&user) {
                prop_assert!(local.chars().all(|c| !c.is_control() && !" \"&'/:<>@".contains(c)));
            }
        }
    }
}
