//! Phone services that users set from their clients: forms and words are changes of their settings.
//!
//! One rule: a form and the words that mean the same give the same [`Change`] (R-SVC-5). Start at [`serve`]; `forms.rs` has the forms,
//! `words.rs` the words of chat messages, `texts.rs` the languages.

mod forms;
mod texts;
mod words;

use crate::user::{Forward, Settings};
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
}

/// Answers a request of a user with these settings, and returns the settings to be stored if they change.
#[must_use]
pub fn serve(settings: &Settings, request: &Request) -> (Answer, Option<Settings>) {
    let texts = Texts::of(request.language);
    match &request.query {
        Query::Show(Command::Status) | Query::Submit(Command::Status, _) => {
            (Answer::Done(texts.status(settings)), None)
        }
        Query::Show(command) => (Answer::Form(forms::form(*command, settings, request.language)), None),
        Query::Submit(command, fields) => {
            let again =
                |words| Answer::Invalid(words, Some(forms::form(*command, settings, request.language)));
            match forms::change(*command, fields) {
                Ok(change) => match carry_out(settings, &change, texts) {
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
                Words::Status => (Answer::Done(texts.status(settings)), None),
                Words::Change(change) => carry_out(settings, &change, texts),
                Words::Unknown => (Answer::Invalid(texts.unknown.to_owned(), None), None),
            }
        }
    }
}

/// Makes a change, if the settings are valid after it.
fn carry_out(settings: &Settings, change: &Change, texts: &Texts) -> (Answer, Option<Settings>) {
    let mut changed = settings.clone();
    change.apply(&mut changed);
    match changed.check() {
        Ok(()) => (Answer::Done(texts.status(&changed)), (changed != *settings).then_some(changed)),
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
        }
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
        Command::DoNotDisturb | Command::Blocklist | Command::Status => None,
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
