//! Words of chat messages to the gateway, in English and German: `forward busy to 2050`, `weiterleiten besetzt an 2050`.

use super::Change;
use signal::service::{Command, Language};

/// Longest text that is read, octets.
const MAX_TEXT: usize = 1_024;

/// Meaning of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Words {
    /// Asks for help.
    Help,
    /// Asks for the settings.
    Status,
    /// Asks for a change.
    Change(Change),
    /// Means nothing here.
    Unknown,
}

/// Setting that is on or off.
type Switch = (&'static str, Option<Language>, fn(bool) -> Change);

/// Phrases that `on` or `off` follows.
const SWITCHES: [Switch; 14] = {
    const ENGLISH: Option<Language> = Some(Language::English);
    const GERMAN: Option<Language> = Some(Language::German);
    const WITHHELD: fn(bool) -> Change = |on| Change::CallerId { withheld: on };
    const SHOWN: fn(bool) -> Change = |on| Change::CallerId { withheld: !on };
    [
        ("dnd", None, Change::DoNotDisturb),
        ("do not disturb", ENGLISH, Change::DoNotDisturb),
        ("nicht stören", GERMAN, Change::DoNotDisturb),
        ("bitte nicht stören", GERMAN, Change::DoNotDisturb),
        ("reject anonymous", ENGLISH, Change::RejectAnonymous),
        ("anonyme abweisen", GERMAN, Change::RejectAnonymous),
        ("call waiting", ENGLISH, Change::CallWaiting),
        ("anklopfen", GERMAN, Change::CallWaiting),
        ("hide number", ENGLISH, WITHHELD),
        ("withhold number", ENGLISH, WITHHELD),
        ("caller id", ENGLISH, SHOWN),
        ("caller-id", ENGLISH, SHOWN),
        ("nummer unterdrücken", GERMAN, WITHHELD),
        ("nummer anzeigen", GERMAN, SHOWN),
    ]
};

/// Reads a text. The language is that of its words, unless they are of both.
pub(super) fn read(text: &str) -> (Words, Option<Language>) {
    if text.len() > MAX_TEXT {
        return (Words::Unknown, None);
    }
    let tokens: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let said = |phrase: &str| phrase.split(' ').eq(tokens.iter().copied());
    let any = |phrases: &[&str]| phrases.iter().any(|phrase| said(phrase));
    let (english, german) = (Some(Language::English), Some(Language::German));
    if any(&["help", "?"]) {
        return (Words::Help, None);
    }
    if any(&["hilfe"]) {
        return (Words::Help, german);
    }
    if any(&["status"]) {
        return (Words::Status, None);
    }
    for (phrase, language, set) in SWITCHES {
        let Some(rest) = after(&tokens, phrase) else { continue };
        return match switch(rest) {
            Some((on, of)) => (Words::Change(set(on)), language.or(of)),
            None => (Words::Unknown, language),
        };
    }
    for (word, language) in [("voicemail", None), ("mailbox", german), ("anrufbeantworter", german)] {
        let Some(rest) = after(&tokens, word) else { continue };
        return match voicemail(rest) {
            Some((change, of)) => (Words::Change(change), language.or(of)),
            None => (Words::Unknown, language),
        };
    }
    for (word, language, block) in [
        ("block", english, true),
        ("unblock", english, false),
        ("sperren", german, true),
        ("entsperren", german, false),
    ] {
        let Some(rest) = after(&tokens, word) else { continue };
        return match address(rest) {
            Some(caller) if block => (Words::Change(Change::Block(caller)), language),
            Some(caller) => (Words::Change(Change::Unblock(caller)), language),
            None => (Words::Unknown, language),
        };
    }
    for (word, language) in [("forward", english), ("weiterleiten", german), ("umleiten", german)] {
        let Some(rest) = after(&tokens, word) else { continue };
        return (forward(rest).map_or(Words::Unknown, Words::Change), language);
    }
    (Words::Unknown, None)
}

/// Returns the tokens after a phrase.
fn after<'a, 't>(tokens: &'a [&'t str], phrase: &str) -> Option<&'a [&'t str]> {
    let words = phrase.split(' ').count();
    let begins = tokens.len() >= words && phrase.split(' ').eq(tokens[..words].iter().copied());
    begins.then(|| &tokens[words..])
}

/// Reads `on` or `off`.
fn switch(tokens: &[&str]) -> Option<(bool, Option<Language>)> {
    match tokens {
        ["on"] => Some((true, Some(Language::English))),
        ["off"] => Some((false, Some(Language::English))),
        ["an" | "ein"] => Some((true, Some(Language::German))),
        ["aus"] => Some((false, Some(Language::German))),
        _ => None,
    }
}

/// Reads what follows `voicemail`: `on`, `off`, or the box.
fn voicemail(tokens: &[&str]) -> Option<(Change, Option<Language>)> {
    if let Some((on, language)) = switch(tokens) {
        return Some((Change::Voicemail { on, own: None }, language));
    }
    let (rest, language) = match tokens {
        ["box", rest @ ..] => (rest, Some(Language::English)),
        ["nummer", rest @ ..] => (rest, Some(Language::German)),
        _ => return None,
    };
    let own = match rest {
        ["off" | "none" | "aus" | "keine"] => None,
        rest => Some(address(rest)?),
    };
    Some((Change::Voicemail { on: true, own: Some(own) }, language))
}

/// Reads what follows `forward caller`: the caller, and `off` or the target.
fn caller(tokens: &[&str]) -> Option<Change> {
    let (caller, target) = match tokens {
        [caller @ .., "off" | "none" | "aus"] => (caller, None),
        tokens => {
            let to = tokens.iter().position(|token| matches!(*token, "to" | "an" | "zu" | "auf" | "nach"))?;
            (&tokens[..to], Some(address(&tokens[to + 1..])?))
        }
    };
    Some(Change::Caller { caller: address(caller)?, target })
}

/// Reads an address: one token, or a number with blanks in it.
fn address(tokens: &[&str]) -> Option<String> {
    let of_number = |token: &&str| token.chars().all(|c| c.is_ascii_digit() || "+-()/.".contains(c));
    match tokens {
        [one] => Some((*one).to_owned()),
        [_, _, ..] if tokens.iter().all(of_number) => Some(tokens.concat()),
        _ => None,
    }
}

/// Reads what follows `forward`: the case, `off` or the target, and the seconds of ringing.
fn forward(tokens: &[&str]) -> Option<Change> {
    const CASES: [(&str, Command); 15] = [
        ("all", Command::ForwardUnconditional),
        ("always", Command::ForwardUnconditional),
        ("alle", Command::ForwardUnconditional),
        ("immer", Command::ForwardUnconditional),
        ("busy", Command::ForwardBusy),
        ("besetzt", Command::ForwardBusy),
        ("bei besetzt", Command::ForwardBusy),
        ("no answer", Command::ForwardNoAnswer),
        ("no-answer", Command::ForwardNoAnswer),
        ("unanswered", Command::ForwardNoAnswer),
        ("keine antwort", Command::ForwardNoAnswer),
        ("nichtannahme", Command::ForwardNoAnswer),
        ("offline", Command::ForwardOffline),
        ("abwesend", Command::ForwardOffline),
        ("bei abwesenheit", Command::ForwardOffline),
    ];
    if let ["caller" | "anrufer", rest @ ..] = tokens {
        return caller(rest);
    }
    if matches!(tokens, ["off" | "none" | "aus"]) {
        return Some(Change::ForwardNone);
    }
    let (rest, command) =
        CASES.iter().find_map(|(phrase, command)| Some((after(tokens, phrase)?, *command)))?;
    if matches!(rest, ["off" | "none" | "aus"]) {
        return Some(Change::Forward { command, target: None, after_s: None });
    }
    let rest = match rest {
        ["to" | "an" | "zu" | "auf" | "nach", rest @ ..] => rest,
        rest => rest,
    };
    let rest = match rest {
        [rest @ .., "s" | "seconds" | "sekunden"] => rest,
        rest => rest,
    };
    let (target, after_s) = match rest {
        [target @ .., "after" | "nach", seconds] => (target, Some(seconds.parse().ok()?)),
        target => (target, None),
    };
    if after_s.is_some() && command != Command::ForwardNoAnswer {
        return None;
    }
    Some(Change::Forward { command, target: Some(address(target)?), after_s })
}
