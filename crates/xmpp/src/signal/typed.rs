//! Texts that mean something to a call: digits, and the wish to transfer (interworking §2.12, §8).

use minidom::Element;
use signal::service::Language;
use signal::{PAUSE, Tone};

/// Duration of a digit, ms.
const DIGIT_MS: u16 = 160;
/// Pause for a comma, ms (interworking §8).
const PAUSE_MS: u16 = 500;
/// Most digits of one text, pauses among them (interworking §8).
const MAX_DIGITS: usize = 32;
/// Longest target that is read, octets.
const MAX_TARGET: usize = 1_024;

/// Wish to transfer, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    /// Number, SIP URI or JID.
    pub target: String,
    /// Language of the words.
    pub language: Language,
}

fn body(message: &Element) -> String {
    let mut bodies = message.children().filter(|child| child.name() == "body");
    bodies.next().map(Element::text).unwrap_or_default()
}

/// Reads keypad digits and pauses, from clients without a keypad; any other text gives none.
pub(crate) fn digits(message: &Element) -> Vec<Tone> {
    let text = body(message).to_ascii_uppercase();
    let keys = text.chars().filter(|c| *c != ' ');
    let tones: Vec<Tone> = keys
        .take(MAX_DIGITS + 1)
        .map(|digit| Tone { digit, duration: if digit == PAUSE { PAUSE_MS } else { DIGIT_MS } })
        .collect();
    let all = tones.iter().all(|tone| tone.is_pause() || "0123456789*#ABCD".contains(tone.digit));
    let any = tones.iter().any(|tone| !tone.is_pause());
    if all && any && tones.len() <= MAX_DIGITS { tones } else { vec![] }
}

/// Reads `transfer to 2050` and `verbinden mit 2050`.
pub(crate) fn transfer(message: &Element) -> Option<Transfer> {
    let text = body(message);
    if text.len() > MAX_TARGET {
        return None;
    }
    let mut words = text.split_whitespace();
    let language = match words.next()?.to_lowercase().as_str() {
        "transfer" => Language::English,
        "verbinden" | "weiterverbinden" => Language::German,
        _ => return None,
    };
    let rest: Vec<&str> = words.collect();
    let rest = match rest.split_first() {
        Some((first, rest)) if matches!(first.to_lowercase().as_str(), "to" | "mit" | "an" | "zu") => rest,
        _ => &rest[..],
    };
    let is_number = |word: &&str| word.chars().all(|c| c.is_ascii_digit() || "+-()/.".contains(c));
    match rest {
        [target] => Some(Transfer { target: (*target).to_owned(), language }),
        [_, _, ..] if rest.iter().all(is_number) => Some(Transfer { target: rest.concat(), language }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Element {
        let mut message = Element::bare("message", "jabber:client");
        let mut body = Element::bare("body", "jabber:client");
        body.append_text(text);
        message.append_child(body);
        message
    }

    /// R-DTMF-6
    #[test]
    fn digits_with_pauses_are_all_of_a_text() {
        let keys = |text: &str| digits(&said(text)).iter().map(|tone| tone.digit).collect::<String>();
        assert_eq!(keys("1 2,#"), "12,#");
        assert_eq!(digits(&said(",a"))[0], Tone { digit: PAUSE, duration: 500 });
        for text in ["", ",", " , ,", "12 please", "1.2", &"1".repeat(33)] {
            assert_eq!(keys(text), "", "{text}");
        }
        assert_eq!(keys(&"1".repeat(32)).len(), 32);
    }

    #[test]
    fn a_transfer_has_a_target() {
        let target = |text: &str| transfer(&said(text)).map(|words| words.target);
        for text in ["transfer 2050", "Transfer to 2050", " verbinden mit 2050 ", "Weiterverbinden an 2050"] {
            assert_eq!(target(text).as_deref(), Some("2050"), "{text}");
        }
        assert_eq!(target("transfer to +49 (30) 123-45").as_deref(), Some("+49(30)123-45"));
        assert_eq!(target("transfer to Nils@example.net").as_deref(), Some("Nils@example.net"));
        for text in ["", "transfer", "transfer to", "transfer to my boss", "to transfer 2050"] {
            assert_eq!(target(text), None, "{text}");
        }
    }
}
