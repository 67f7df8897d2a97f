//! Forms of the commands (interworking §9.4): fields with their present values, and the change that a submitted form asks for.

use super::{Change, forwards, texts::Texts};
use crate::user::{CallerRule, Settings};
use signal::service::{Command, Field, FieldKind, Form, Language};

/// Fault of a submitted form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A forward is to be active and has no target.
    Target,
    /// The time of ringing is no number.
    Seconds,
    /// A line names no callers or no target.
    Rule,
    /// A boolean is neither true nor false, or absent where it says everything.
    Boolean,
}

const ACTIVE: &str = "active";
const TARGET: &str = "target";
const DELAY: &str = "delay";
const CALLERS: &str = "callers";
const RULES: &str = "rules";
const BOX: &str = "box";
/// Sign between callers and target in a line of [`RULES`].
const ARROW: &str = "->";

/// Returns the form of a command.
pub(super) fn form(command: Command, settings: &Settings, language: Language) -> Form {
    let texts = Texts::of(language);
    let field = |name: &str, label: &str, kind, values| Field {
        name: name.to_owned(),
        label: label.to_owned(),
        kind,
        values,
    };
    let active = |on: bool| field(ACTIVE, texts.active, FieldKind::Boolean, vec![u8::from(on).to_string()]);
    let (instructions, fields) = match command {
        Command::DoNotDisturb => (texts.dnd_help, vec![active(settings.do_not_disturb)]),
        Command::Blocklist => (
            texts.blocklist_help,
            vec![field(CALLERS, texts.callers, FieldKind::TextMulti, settings.blocked.clone())],
        ),
        Command::Status => ("", vec![]),
        Command::CallerId => (texts.caller_id_help, vec![active(settings.withhold_caller_id)]),
        Command::CallWaiting => (texts.waiting_help, vec![active(!settings.no_call_waiting)]),
        Command::RejectAnonymous => (texts.anonymous_help, vec![active(settings.reject_anonymous)]),
        Command::Voicemail => {
            let own = settings.voicemail.clone().into_iter().collect();
            let fields =
                vec![active(!settings.no_voicemail), field(BOX, texts.own_box, FieldKind::TextSingle, own)];
            (texts.voicemail_help, fields)
        }
        Command::Callers => {
            let rules = settings.forward.callers.iter().map(line).collect();
            (texts.callers_help, vec![field(RULES, texts.rules, FieldKind::TextMulti, rules)])
        }
        Command::ForwardUnconditional
        | Command::ForwardBusy
        | Command::ForwardNoAnswer
        | Command::ForwardOffline => {
            let all = forwards(&settings.forward);
            let target = all.into_iter().find_map(|(of, target)| target.clone().filter(|_| of == command));
            let mut fields = vec![
                active(target.is_some()),
                field(TARGET, texts.target, FieldKind::TextSingle, target.into_iter().collect()),
            ];
            if command == Command::ForwardNoAnswer {
                let after = settings.forward.no_answer_s.map(|seconds| seconds.to_string());
                fields.push(field(DELAY, texts.delay, FieldKind::TextSingle, after.into_iter().collect()));
            }
            (texts.forward_help, fields)
        }
    };
    Form { title: command.title(language).to_owned(), instructions: instructions.to_owned(), fields }
}

/// Writes a rule by caller as a line: `2041, 2042 -> 2050`.
pub(super) fn line(rule: &CallerRule) -> String {
    format!("{} {ARROW} {}", rule.callers.join(", "), rule.target)
}

/// Reads such a line.
fn rule(line: &str) -> Result<CallerRule, Fault> {
    let (callers, target) = line.split_once(ARROW).ok_or(Fault::Rule)?;
    let callers = callers.split([',', ' ']).filter(|caller| !caller.is_empty()).map(str::to_owned);
    let rule = CallerRule { callers: callers.collect(), target: target.trim().to_owned() };
    if rule.callers.is_empty() || rule.target.is_empty() { Err(Fault::Rule) } else { Ok(rule) }
}

/// Reads a submitted form.
pub(super) fn change(command: Command, fields: &[(String, Vec<String>)]) -> Result<Change, Fault> {
    let values = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, values)| &values[..]);
    let text = |name: &str| {
        let value = values(name).and_then(|values| values.first())?.trim();
        (!value.is_empty()).then(|| value.to_owned())
    };
    let active = match text(ACTIVE).as_deref() {
        None => None,
        Some("1" | "true") => Some(true),
        Some("0" | "false") => Some(false),
        Some(_) => return Err(Fault::Boolean),
    };
    match command {
        Command::DoNotDisturb => active.map(Change::DoNotDisturb).ok_or(Fault::Boolean),
        Command::Blocklist => {
            let callers = values(CALLERS).unwrap_or_default().iter();
            let callers = callers.map(|caller| caller.trim().to_owned()).filter(|caller| !caller.is_empty());
            Ok(Change::Blocklist(callers.collect()))
        }
        Command::Status => Err(Fault::Boolean),
        Command::CallerId => active.map(|withheld| Change::CallerId { withheld }).ok_or(Fault::Boolean),
        Command::CallWaiting => active.map(Change::CallWaiting).ok_or(Fault::Boolean),
        Command::RejectAnonymous => active.map(Change::RejectAnonymous).ok_or(Fault::Boolean),
        Command::Voicemail => {
            let own = values(BOX).is_some().then(|| text(BOX));
            active.map(|on| Change::Voicemail { on, own }).ok_or(Fault::Boolean)
        }
        Command::Callers => {
            let lines = values(RULES).unwrap_or_default().iter().filter(|line| !line.trim().is_empty());
            lines.map(|line| rule(line)).collect::<Result<_, _>>().map(Change::Callers)
        }
        Command::ForwardUnconditional
        | Command::ForwardBusy
        | Command::ForwardNoAnswer
        | Command::ForwardOffline => {
            let target = text(TARGET);
            // A form without the switch is meant by the target alone.
            if !active.unwrap_or(target.is_some()) {
                return Ok(Change::Forward { command, target: None, after_s: None });
            }
            let after_s = text(DELAY).map(|delay| delay.parse().map_err(|_| Fault::Seconds)).transpose()?;
            let target = Some(target.ok_or(Fault::Target)?);
            Ok(Change::Forward { command, target, after_s })
        }
    }
}
