//! Display names: those of From, To and P-Asserted-Identity, and the nicknames of XMPP (XEP-0172).

/// Longest display name, characters.
pub const MAX_DISPLAY_NAME: usize = 128;

/// Returns a display name as it may be shown: on one line, without control characters and without those that turn the direction
/// of what stands beside it, at most [`MAX_DISPLAY_NAME`] characters. `None` if nothing is left.
#[must_use]
pub fn display_name(text: &str) -> Option<String> {
    let shown = text.chars().map(|c| if is_separator(c) { ' ' } else { c }).filter(|c| !is_hidden(*c));
    let name: String = shown.skip_while(|c| *c == ' ').take(MAX_DISPLAY_NAME).collect();
    let name = name.trim_end();
    (!name.is_empty()).then(|| name.to_owned())
}

/// Returns true for white space that ends a line or jumps: tab, line ends (U+0085 is one of C1), line and paragraph separator.
fn is_separator(c: char) -> bool {
    matches!(c, '\t'..='\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Returns true for what nobody sees: C0 and C1 controls, marks and overrides of direction (Unicode TR 9 §2), other format
/// controls without a shape, and what XML cannot hold.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f13_names_are_short_and_hide_nothing() {
        for (text, shown) in [
            ("Anna Bell", Some("Anna Bell")),
            ("  Zoë 张伟 \u{1f4de} ", Some("Zoë 张伟 \u{1f4de}")),
            ("\u{202e}lleB\u{202c} \u{2066}anna\u{2069}", Some("lleB anna")),
            ("a\u{61c}\u{200e}\u{200f}b\u{206a}", Some("ab")),
            ("one\r\ntwo\u{2028}three\u{85}four\u{2029}", Some("one  two three four")),
            ("\u{1}x\u{7f}\u{9b}31my\u{0}", Some("x31my")),
            ("\u{feff}\u{fffe}", None),
            (" \u{202e}\t", None),
            ("", None),
        ] {
            assert_eq!(display_name(text).as_deref(), shown, "{text:?}");
        }
        let long = display_name(&"ß".repeat(28_000)).unwrap();
        assert_eq!(long.chars().count(), MAX_DISPLAY_NAME);
        assert_eq!(display_name(&long).as_ref(), Some(&long));
    }
}
