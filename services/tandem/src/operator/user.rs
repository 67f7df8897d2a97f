//! `tandem user`: settings of an XMPP user, as `KEY=VALUE`.

use super::{Asked, Failure, ask, get, show};
use crate::exit;
use clap::Subcommand;
use serde_json::{Value, json};
use std::fmt::Write;
use ureq::http::Method;

/// Keys of `tandem user set`, for its help and its faults.
const KEYS: &str = "dnd, forward.always, forward.busy, forward.no_answer, forward.no_answer_s, forward.offline, \
                    forward.callers.CALLER, blocked, reject_anonymous, voicemail";

#[derive(Subcommand)]
pub enum UserTask {
    /// Settings of a user
    Show {
        /// As rosa@example.net
        jid: String,
        #[command(flatten)]
        asked: Asked,
    },
    /// Change some settings of a user and leave the others
    Set {
        /// As rosa@example.net
        jid: String,
        /// dnd=on, forward.busy=2050, forward.no_answer_s=20, forward.callers.2041=2050, blocked=2044,2045; nothing after = clears it
        #[arg(required = true, value_name = "KEY=VALUE")]
        settings: Vec<String>,
        #[command(flatten)]
        asked: Asked,
    },
    /// Forget all settings of a user
    Clear {
        /// As rosa@example.net
        jid: String,
        #[command(flatten)]
        asked: Asked,
    },
}

/// Asks, and returns what is to be shown.
pub(super) fn run(task: &UserTask) -> Result<String, Failure> {
    match task {
        UserTask::Show { jid, asked } => get(asked, &path(jid)).map(|answer| show(asked, &answer, table)),
        UserTask::Set { jid, settings, asked } => {
            let mut changed = get(asked, &path(jid))?;
            for setting in settings {
                apply(&mut changed, setting).map_err(|text| Failure { code: exit::USAGE, text })?;
            }
            let answer = ask(asked, Method::PUT, &path(jid), Some(changed))?;
            Ok(show(asked, &answer, table))
        }
        UserTask::Clear { jid, asked } => {
            ask(asked, Method::DELETE, &path(jid), None).map(|answer| show(asked, &answer, table))
        }
    }
}

/// Returns the page of a user. A JID may have signs that mean something in a URL.
fn path(jid: &str) -> String {
    let mut path = "/users/".to_owned();
    for octet in jid.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~@".contains(&octet) {
            path.push(char::from(octet));
        } else {
            let _ = write!(path, "%{octet:02X}");
        }
    }
    path
}

/// Applies `KEY=VALUE` to settings as the admin API has them.
fn apply(settings: &mut Value, setting: &str) -> Result<(), String> {
    let Some((key, value)) = setting.split_once('=') else {
        return Err(format!("\"{setting}\" is no setting; write KEY=VALUE with a key of {KEYS}"));
    };
    let text = if value.is_empty() { Value::Null } else { value.into() };
    let switch = || match value {
        "on" | "true" => Ok(Value::Bool(true)),
        "off" | "false" | "" => Ok(Value::Bool(false)),
        _ => Err(format!("{key}: \"{value}\" is neither on nor off; write {key}=on or {key}=off")),
    };
    match key.split_once('.') {
        None if key == "dnd" || key == "do_not_disturb" => settings["do_not_disturb"] = switch()?,
        None if key == "reject_anonymous" => settings[key] = switch()?,
        None if key == "voicemail" => settings[key] = text,
        None if key == "blocked" => {
            let callers = value.split(',').map(str::trim).filter(|caller| !caller.is_empty());
            settings[key] = callers.collect();
        }
        Some(("forward", "no_answer_s")) => {
            let seconds = (!value.is_empty()).then(|| value.parse::<u16>()).transpose();
            settings["forward"]["no_answer_s"] = json!(
                seconds.map_err(|_| format!("{key}: \"{value}\" is no number of seconds; write 5 to 300"))?
            );
        }
        Some(("forward", when @ ("always" | "busy" | "no_answer" | "offline"))) => {
            settings["forward"][when] = text
        }
        Some(("forward", rule)) if rule.strip_prefix("callers.").is_some_and(|caller| !caller.is_empty()) => {
            forward_caller(&mut settings["forward"]["callers"], &rule["callers.".len()..], value);
        }
        _ => return Err(format!("\"{key}\" is no setting; write one of {KEYS}")),
    }
    Ok(())
}

/// Gives one caller a target of its own, or none.
fn forward_caller(rules: &mut Value, caller: &str, target: &str) {
    let mut kept: Vec<Value> = rules.as_array().cloned().unwrap_or_default();
    for rule in &mut kept {
        if let Some(callers) = rule["callers"].as_array_mut() {
            callers.retain(|known| known.as_str() != Some(caller));
        }
    }
    kept.retain(|rule| rule["callers"].as_array().is_some_and(|callers| !callers.is_empty()));
    if !target.is_empty() {
        kept.push(json!({ "callers": [caller], "target": target }));
    }
    *rules = kept.into();
}

/// Shows settings as `tandem user set` takes them.
fn table(settings: &Value) -> String {
    let switch = |value: &Value| if value == &Value::Bool(true) { "on" } else { "off" }.to_owned();
    let list = |value: &Value| {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
    };
    let forward = &settings["forward"];
    let mut rows = vec![("dnd".to_owned(), switch(&settings["do_not_disturb"]))];
    for key in ["always", "busy", "no_answer", "no_answer_s", "offline"] {
        let value = match &forward[key] {
            Value::Null => String::new(),
            Value::String(target) => target.clone(),
            other => other.to_string(),
        };
        rows.push((format!("forward.{key}"), value));
    }
    for rule in forward["callers"].as_array().into_iter().flatten() {
        let target = rule["target"].as_str().unwrap_or_default();
        for caller in rule["callers"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            rows.push((format!("forward.callers.{caller}"), target.to_owned()));
        }
    }
    rows.push(("blocked".into(), list(&settings["blocked"])));
    rows.push(("reject_anonymous".into(), switch(&settings["reject_anonymous"])));
    rows.push(("voicemail".into(), settings["voicemail"].as_str().unwrap_or_default().to_owned()));
    rows.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(settings: &[&str]) -> Result<Value, String> {
        let mut value = json!({
            "do_not_disturb": false,
            "forward": { "always": null, "callers": [{ "callers": ["2041", "2042"], "target": "2050" }] },
            "blocked": ["2044"],
        });
        settings.iter().try_for_each(|setting| apply(&mut value, setting))?;
        Ok(value)
    }

    #[test]
    fn a_setting_changes_its_key_alone() {
        let value = applied(&["dnd=on", "forward.always=sip:2050@pbx", "forward.no_answer_s=20"]).unwrap();
        assert_eq!((&value["do_not_disturb"], &value["blocked"]), (&json!(true), &json!(["2044"])));
        assert_eq!(value["forward"]["always"], "sip:2050@pbx");
        assert_eq!(value["forward"]["no_answer_s"], 20);
        let cleared = applied(&["forward.always=", "blocked=", "dnd="]).unwrap();
        assert_eq!((&cleared["forward"]["always"], &cleared["blocked"]), (&Value::Null, &json!([])));
        let rules = applied(&["forward.callers.2041=voicemail", "forward.callers.2042="]).unwrap();
        let left = json!([{ "callers": ["2041"], "target": "voicemail" }]);
        assert_eq!(rules["forward"]["callers"], left);
    }

    #[test]
    fn what_is_no_setting_is_named() {
        for (setting, said) in [
            ("dnd", "write KEY=VALUE"),
            ("dnd=maybe", "dnd=on or dnd=off"),
            ("forward.sometimes=1", "forward.always"),
            ("forward.callers.=1", "forward.callers.CALLER"),
            ("forward.no_answer_s=soon", "5 to 300"),
            ("volume=11", "is no setting"),
        ] {
            let fault = applied(&[setting]).unwrap_err();
            assert!(fault.contains(said), "{setting}: {fault}");
        }
    }

    #[test]
    fn what_is_shown_can_be_set() {
        let shown = table(&applied(&["blocked=2044,nils@example.net", "reject_anonymous=on"]).unwrap());
        assert!(shown.contains("blocked=2044,nils@example.net\nreject_anonymous=on"), "{shown}");
        let mut again = json!({ "forward": {} });
        shown.lines().try_for_each(|line| apply(&mut again, line)).unwrap();
        assert_eq!(table(&again), shown);
        assert_eq!(path("rosa maria%@example.net"), "/users/rosa%20maria%25@example.net");
    }
}
