//! Texts for users, by language.

use super::forms::{Fault, line};
use super::forwards;
use crate::mailbox::Mailbox;
use crate::user::{Invalid, MAX_BLOCKED, MAX_RULES, Settings};
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
    pub(super) caller_id_help: &'static str,
    pub(super) anonymous_help: &'static str,
    pub(super) waiting_help: &'static str,
    pub(super) voicemail_help: &'static str,
    pub(super) own_box: &'static str,
    pub(super) callers_help: &'static str,
    pub(super) rules: &'static str,
    new: &'static str,
    old: &'static str,
    some: &'static str,
    no_rule: &'static str,
    too_many_rules: &'static str,
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
           forward caller NUMBER to NUMBER, forward caller NUMBER off\n\
           voicemail on, voicemail off, voicemail box NUMBER\n\
           reject anonymous on, reject anonymous off\n\
           hide number on, hide number off\n\
           call waiting on, call waiting off\n\
           A number may be an address, too: rosa@example.net or sip:2041@pbx.example.",
    unknown: "I do not understand that. Write \"help\" for the words that I take.",
    active: "Active",
    target: "Number or address",
    delay: "Seconds of ringing before",
    callers: "Callers, one a line",
    forward_help: "Calls go to this number, SIP address or JID.",
    dnd_help: "While this is on, no call rings.",
    blocklist_help: "Calls of these numbers, SIP addresses and JIDs are not taken.",
    caller_id_help: "While this is on, those whom you call do not see your number.",
    anonymous_help: "While this is on, calls of those who withhold their number are not taken.",
    waiting_help: "While this is on, a second call rings during a call; else its caller finds you busy.",
    voicemail_help: "While this is on, calls that nobody takes go to a voicemail box.",
    own_box: "Number or address of a box of your own",
    callers_help: "Calls of certain callers go elsewhere, whatever else is set.",
    rules: "One a line: callers -> number or address",
    new: "new",
    old: "old",
    some: "new messages",
    no_rule: "Write each line as: 2041, 2042 -> 2050",
    too_many_rules: "That are too many rules; the most is",
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
           weiterleiten anrufer NUMMER an NUMMER, weiterleiten anrufer NUMMER aus\n\
           mailbox an, mailbox aus, mailbox nummer NUMMER\n\
           anonyme abweisen an, anonyme abweisen aus\n\
           nummer unterdrücken an, nummer unterdrücken aus\n\
           anklopfen an, anklopfen aus\n\
           Eine Nummer darf auch eine Adresse sein: rosa@example.net oder sip:2041@pbx.example.",
    unknown: "Das verstehe ich nicht. Schreiben Sie \u{201e}hilfe\u{201c}, um zu sehen, welche Worte ich verstehe.",
    active: "Aktiv",
    target: "Nummer oder Adresse",
    delay: "Sekunden, die es vorher klingelt",
    callers: "Anrufer, einer je Zeile",
    forward_help: "Anrufe gehen an diese Nummer, SIP-Adresse oder JID.",
    dnd_help: "Solange das aktiv ist, klingelt kein Anruf.",
    blocklist_help: "Anrufe von diesen Nummern, SIP-Adressen und JIDs werden nicht angenommen.",
    caller_id_help: "Solange das aktiv ist, sehen Angerufene Ihre Nummer nicht.",
    anonymous_help: "Solange das aktiv ist, werden Anrufe mit unterdrückter Nummer nicht angenommen.",
    waiting_help: "Solange das aktiv ist, klingelt ein zweiter Anruf während eines Gesprächs; sonst ist besetzt.",
    voicemail_help: "Solange das aktiv ist, gehen Anrufe, die niemand annimmt, an eine Mailbox.",
    own_box: "Nummer oder Adresse einer eigenen Mailbox",
    callers_help: "Anrufe bestimmter Anrufer gehen woandershin, was immer sonst eingestellt ist.",
    rules: "Je Zeile: Anrufer -> Nummer oder Adresse",
    new: "neu",
    old: "alt",
    some: "neue Nachrichten",
    no_rule: "Schreiben Sie jede Zeile so: 2041, 2042 -> 2050",
    too_many_rules: "Das sind zu viele Regeln; höchstens sind es",
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
    pub(super) fn status(&self, settings: &Settings, mailbox: &Mailbox) -> String {
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
        let title = |command: Command| command.title(self.language);
        let switch = |on: bool| if on { self.on } else { self.off };
        let rules = settings.forward.callers.iter().map(line).collect::<Vec<_>>().join("; ");
        let rules = if rules.is_empty() { self.off } else { &rules };
        let _ = writeln!(text, "{}: {rules}", title(Command::Callers));
        let _ = writeln!(text, "{}: {}", title(Command::Voicemail), self.voicemail(settings, mailbox));
        let _ = writeln!(text, "{}: {}", title(Command::DoNotDisturb), switch(settings.do_not_disturb));
        let _ = writeln!(text, "{}: {}", title(Command::CallWaiting), switch(!settings.no_call_waiting));
        let blocked = settings.blocked.join(", ");
        let blocked = if blocked.is_empty() { self.nobody } else { &blocked };
        let _ = writeln!(text, "{}: {blocked}", title(Command::Blocklist));
        let _ = writeln!(text, "{}: {}", title(Command::RejectAnonymous), switch(settings.reject_anonymous));
        let _ = write!(text, "{}: {}", title(Command::CallerId), switch(settings.withhold_caller_id));
        text
    }

    /// Returns what is set of the box, and what it holds: `on, 2090, 2 new / 8 old`.
    fn voicemail(&self, settings: &Settings, mailbox: &Mailbox) -> String {
        let mut parts = vec![if settings.no_voicemail { self.off } else { self.on }.to_owned()];
        parts.extend(settings.voicemail.clone());
        parts.extend(mailbox.said.as_ref().map(|said| match said.counts {
            Some((new, old)) => format!("{new} {} / {old} {}", self.new, self.old),
            None => self.some.to_owned(),
        }));
        parts.join(", ")
    }

    pub(super) fn fault(&self, fault: Fault) -> &'static str {
        match fault {
            Fault::Target => self.no_target,
            Fault::Seconds => self.no_seconds,
            Fault::Boolean => self.no_boolean,
            Fault::Rule => self.no_rule,
        }
    }

    /// Returns the words for settings that are refused.
    pub(super) fn invalid(&self, invalid: &Invalid, settings: &Settings) -> String {
        match invalid.key {
            "forward.no_answer_s" => self.range.to_owned(),
            "blocked" if settings.blocked.len() > MAX_BLOCKED => format!("{} {MAX_BLOCKED}.", self.too_many),
            "forward.callers" => format!("{} {MAX_RULES}.", self.too_many_rules),
            _ => self.no_address.to_owned(),
        }
    }
}
