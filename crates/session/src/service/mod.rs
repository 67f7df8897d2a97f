//! Phone services that users set from their clients: forms and words are changes of their settings.
//!
//! One rule: a form and the words that mean the same give the same [`Change`] (R-SVC-5). Start at [`serve`]; `forms.rs` has the forms,
//! `words.rs` the words of chat messages, `texts.rs` the languages.

mod forms;
mod texts;
mod words;

use crate::mailbox::Mailbox;
use crate::user::{CallerRule, Forward, Settings};
use signal::service::{Answer, Command, Query, Request};
use texts::Texts;
use words::Words;

/// Change of settings that a user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    /// Sets a forward, or with `None` ends it. The time of ringing, in seconds, is of the forward of calls that are not answered.
    Forward { command: Command, target: Option<String>, after_s: Option<u16> },
    /// Ends every forward.
    ForwardNone,
    /// Turns do-not-disturb on or off.
    DoNotDisturb(bool),
    /// Replaces the block list.
    Blocklist(Vec<String>),
    /// Puts a caller on the block list.
    Block(String),
    /// Takes a caller from the block list.
    Unblock(String),
    /// Withholds the number, or shows it.
    CallerId { withheld: bool },
    /// Turns the box on or off, and names it if `own` says one; `Some(None)`: the configured one.
    Voicemail { on: bool, own: Option<Option<String>> },
    /// Replaces the rules by caller.
    Callers(Vec<CallerRule>),
    /// Forwards the calls of one caller, or with `None` no longer.
    Caller { caller: String, target: Option<String> },
    /// Refuses anonymous callers, or takes their calls.
    RejectAnonymous(bool),
    /// Lets a second call ring, or has it find the user busy.
    CallWaiting(bool),
}

/// Answers a request of a user with these settings and this box, and returns the settings to be stored if they change.
#[must_use]
pub fn serve(settings: &Settings, mailbox: &Mailbox, request: &Request) -> (Answer, Option<Settings>) {
    let texts = Texts::of(request.language);
    match &request.query {
        Query::Show(Command::Status) | Query::Submit(Command::Status, _) => {
            (Answer::Done(texts.status(settings, mailbox)), None)
        }
        Query::Show(command) => (Answer::Form(forms::form(*command, settings, request.language)), None),
        Query::Submit(command, fields) => {
            let again =
                |words| Answer::Invalid(words, Some(forms::form(*command, settings, request.language)));
            match forms::change(*command, fields) {
                Ok(change) => match carry_out(settings, mailbox, &change, texts) {
                    (Answer::Invalid(words, _), _) => (again(words), None),
                    done => done,
                },
                Err(fault) => (again(texts.fault(fault).to_owned()), None),
            }
        }
        Query::Words(text) => {
            let (words, language) = words::read(text);
            let texts = Texts::of(language.unwrap_or(request.language));
            match words {
                Words::Help => (Answer::Done(texts.help.to_owned()), None),
                Words::Status => (Answer::Done(texts.status(settings, mailbox)), None),
                Words::Change(change) => carry_out(settings, mailbox, &change, texts),
                Words::Unknown => (Answer::Invalid(texts.unknown.to_owned(), None), None),
            }
        }
    }
}

/// Makes a change, if the settings are valid after it.
fn carry_out(
    settings: &Settings,
    mailbox: &Mailbox,
    change: &Change,
    texts: &Texts,
) -> (Answer, Option<Settings>) {
    let mut changed = settings.clone();
    change.apply(&mut changed);
    match changed.check() {
        Ok(()) => (Answer::Done(texts.status(&changed, mailbox)), (changed != *settings).then_some(changed)),
        Err(invalid) => (Answer::Invalid(texts.invalid(&invalid, &changed), None), None),
    }
}

impl Change {
    fn apply(&self, settings: &mut Settings) {
        match self {
            Change::Forward { command, target, after_s } => {
                if let Some(forward) = target_of(&mut settings.forward, *command) {
                    forward.clone_from(target);
                }
                if *command == Command::ForwardNoAnswer {
                    settings.forward.no_answer_s = after_s.filter(|_| target.is_some());
                }
            }
            Change::ForwardNone => settings.forward = Forward::default(),
            Change::DoNotDisturb(on) => settings.do_not_disturb = *on,
            Change::Blocklist(callers) => settings.blocked.clone_from(callers),
            Change::Block(caller) if settings.blocked.iter().any(|known| same(known, caller)) => {}
            Change::Block(caller) => settings.blocked.push(caller.clone()),
            Change::Unblock(caller) => settings.blocked.retain(|known| !same(known, caller)),
            Change::CallerId { withheld } => settings.withhold_caller_id = *withheld,
            Change::Voicemail { on, own } => {
                settings.no_voicemail = !on;
                if let Some(own) = own {
                    settings.voicemail.clone_from(own);
                }
            }
            Change::Callers(rules) => settings.forward.callers.clone_from(rules),
            Change::Caller { caller, target } => {
                set_caller(&mut settings.forward.callers, caller, target.as_deref())
            }
            Change::RejectAnonymous(on) => settings.reject_anonymous = *on,
            Change::CallWaiting(on) => settings.no_call_waiting = !on,
        }
    }
}

/// Gives the calls of one caller this target alone, or none.
fn set_caller(rules: &mut Vec<CallerRule>, caller: &str, target: Option<&str>) {
    for rule in rules.iter_mut() {
        rule.callers.retain(|known| !same(known, caller));
    }
    rules.retain(|rule| !rule.callers.is_empty());
    let Some(target) = target else { return };
    match rules.iter_mut().find(|rule| rule.target == target) {
        Some(rule) => rule.callers.push(caller.to_owned()),
        None => rules.push(CallerRule { callers: vec![caller.to_owned()], target: target.to_owned() }),
    }
}

fn same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// Returns the target that a command sets; `None` for a command of something else.
fn target_of(forward: &mut Forward, command: Command) -> Option<&mut Option<String>> {
    match command {
        Command::ForwardUnconditional => Some(&mut forward.always),
        Command::ForwardBusy => Some(&mut forward.busy),
        Command::ForwardNoAnswer => Some(&mut forward.no_answer),
        Command::ForwardOffline => Some(&mut forward.offline),
        _ => None,
    }
}

/// Forwards with their targets, in the order of forms.
fn forwards(forward: &Forward) -> [(Command, &Option<String>); 4] {
    [
        (Command::ForwardUnconditional, &forward.always),
        (Command::ForwardBusy, &forward.busy),
        (Command::ForwardNoAnswer, &forward.no_answer),
        (Command::ForwardOffline, &forward.offline),
    ]
}

#[cfg(test)]
mod tests;
