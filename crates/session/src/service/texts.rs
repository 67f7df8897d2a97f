//! Texts for users, by language.

use super::forms::Fault;
use super::forwards;
use crate::user::{Invalid, MAX_BLOCKED, Settings};
use signal::service::{Command, Language};
use std::fmt::Write;

/// Texts of one language.
pub(super) struct Texts {
    language: Language,
    pub(super) help: &'static str,
    pub(super) unknown: &'static str,
    pub(super) active: &'static str,
    pub(super) target: &'static str,
    pub(super) delay: &'static str,
    pub(super) callers: &'static str,
    pub(super) forward_help: &'static str,
    pub(super) dnd_help: &'static str,
    pub(super) blocklist_help: &'static str,
    on: &'static str,
    off: &'static str,
    to: &'static str,
    after: &'static str,
    nobody: &'static str,
    no_target: &'static str,
    no_seconds: &'static str,
    no_boolean: &'static str,
    no_address: &'static str,
    range: &'static str,
    too_many: &'static str,
}

const ENGLISH: Texts = Texts {
    language: Language::English,
    help: "I take these words:\n\
           status\n\
           forward all to NUMBER\n\
           forward busy to NUMBER\n\
           forward no answer to NUMBER after 20\n\
           forward offline to NUMBER\n\
           forward busy off (or all, no answer, offline; forward off ends all)\n\
           dnd on, dnd off\n\
           block NUMBER, unblock NUMBER\n\
           A number may be an address, too: rosa@example.net or sip:2041@pbx.example.",
    unknown: "I do not understand that. Write \"help\" for the words that I take.",
    active: "Active",
    target: "Number or address",
    delay: "Seconds of ringing before",
    callers: "Callers, one a line",
    forward_help: "Calls go to this number, SIP address or JID.",
    dnd_help: "While this is on, no call rings.",
    blocklist_help: "Calls of these numbers, SIP addresses and JIDs are not taken.",
    on: "on",
    off: "off",
    to: "to",
    after: "after",
    nobody: "nobody",
    no_target: "Give the number or address to which calls go.",
    no_seconds: "Give the seconds as a number.",
    no_boolean: "Say whether it is to be active: 1 or 0.",
    no_address: "That is no number and no address.",
    range: "Give 5 to 300 seconds.",
    too_many: "That are too many callers; the most is",
};

const GERMAN: Texts = Texts {
    language: Language::German,
    help: "Ich verstehe diese Worte:\n\
           status\n\
           weiterleiten alle an NUMMER\n\
           weiterleiten besetzt an NUMMER\n\
           weiterleiten keine antwort an NUMMER nach 20\n\
           weiterleiten offline an NUMMER\n\
           weiterleiten besetzt aus (oder alle, keine antwort, offline; weiterleiten aus beendet alle)\n\
           nicht stören an, nicht stören aus\n\
           sperren NUMMER, entsperren NUMMER\n\
           Eine Nummer darf auch eine Adresse sein: rosa@example.net oder sip:2041@pbx.example.",
    unknown: "Das verstehe ich nicht. Schreiben Sie \u{201e}hilfe\u{201c}, um zu sehen, welche Worte ich verstehe.",
    active: "Aktiv",
    target: "Nummer oder Adresse",
    delay: "Sekunden, die es vorher klingelt",
    callers: "Anrufer, einer je Zeile",
    forward_help: "Anrufe gehen an diese Nummer, SIP-Adresse oder JID.",
    dnd_help: "Solange das aktiv ist, klingelt kein Anruf.",
    blocklist_help: "Anrufe von diesen Nummern, SIP-Adressen und JIDs werden nicht angenommen.",
    on: "an",
    off: "aus",
    to: "an",
    after: "nach",
    nobody: "niemand",
    no_target: "Geben Sie die Nummer oder Adresse an, an die Anrufe gehen sollen.",
    no_seconds: "Geben Sie die Sekunden als Zahl an.",
    no_boolean: "Sagen Sie, ob es aktiv sein soll: 1 oder 0.",
    no_address: "Das ist weder Nummer noch Adresse.",
    range: "Geben Sie 5 bis 300 Sekunden an.",
    too_many: "Das sind zu viele Anrufer; höchstens sind es",
};

impl Texts {
    pub(super) fn of(language: Language) -> &'static Texts {
        match language {
            Language::English => &ENGLISH,
            Language::German => &GERMAN,
        }
    }

    /// Returns the settings, one a line.
    pub(super) fn status(&self, settings: &Settings) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        for (command, target) in forwards(&settings.forward) {
            let title = command.title(self.language);
            let _ = match target {
                Some(target) => write!(text, "{title}: {} {target}", self.to),
                None => write!(text, "{title}: {}", self.off),
            };
            if let (Command::ForwardNoAnswer, Some(_), Some(seconds)) =
                (command, target, settings.forward.no_answer_s)
            {
                let _ = write!(text, " {} {seconds} s", self.after);
            }
            text.push('\n');
        }
        let dnd = if settings.do_not_disturb { self.on } else { self.off };
        let _ = writeln!(text, "{}: {dnd}", Command::DoNotDisturb.title(self.language));
        let blocked = settings.blocked.join(", ");
        let blocked = if blocked.is_empty() { self.nobody } else { &blocked };
        let _ = write!(text, "{}: {blocked}", Command::Blocklist.title(self.language));
        text
    }

    pub(super) fn fault(&self, fault: Fault) -> &'static str {
        match fault {
            Fault::Target => self.no_target,
            Fault::Seconds => self.no_seconds,
            Fault::Boolean => self.no_boolean,
        }
    }

    /// Returns the words for settings that are refused.
    pub(super) fn invalid(&self, invalid: &Invalid, settings: &Settings) -> String {
        match invalid.key {
            "forward.no_answer_s" => self.range.to_owned(),
            "blocked" if settings.blocked.len() > MAX_BLOCKED => format!("{} {MAX_BLOCKED}.", self.too_many),
            _ => self.no_address.to_owned(),
        }
    }
}
