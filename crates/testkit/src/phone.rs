//! The Jingle phone of tests/peers/phone, driven by JSON lines.

use crate::ladder::{self, Step};
use crate::log::Stream;
use crate::prosody::{DOMAIN, Prosody};
use crate::{Program, root};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// How a phone behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Codecs in order of preference: opus, G722, PCMU, PCMA.
    pub codecs: String,
    /// The tone that it sends, in Hz.
    pub tone: f64,
    /// Answers by itself after so long; `None` = on command.
    pub auto: Option<Duration>,
    /// The resource of its full JID.
    pub resource: String,
    /// Further switches of phone.py, such as `--trickle`.
    pub switches: Vec<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            codecs: "opus,PCMU,PCMA".into(),
            tone: 440.0,
            auto: None,
            resource: "phone".into(),
            switches: Vec::new(),
        }
    }
}

/// One event of a phone.
#[derive(Clone, Debug)]
pub struct Event {
    /// The event as JSON.
    pub facts: Value,
    /// When it happened, in ms since 1970.
    pub at: u64,
    /// Its place in the phone's output.
    pub number: usize,
}

impl Event {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text("event")
    }

    /// A fact that is text; empty when it is not there.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.facts.get(key).and_then(Value::as_str).unwrap_or("")
    }

    /// A fact that is a number; 0 when it is not there.
    #[must_use]
    pub fn number(&self, key: &str) -> f64 {
        self.facts.get(key).and_then(Value::as_f64).unwrap_or(0.0)
    }
}

/// A phone that has logged in.
pub struct Phone {
    program: Program,
    name: String,
    seen: HashMap<String, usize>,
    /// Its full JID.
    pub jid: String,
}

/// The interpreter of the phone's own environment, made by `cargo xtask setup`.
#[must_use]
pub fn python() -> PathBuf {
    root().join(".tools/phone/bin/python")
}

impl Phone {
    /// Starts a phone for a user of the server and waits until it is registered.
    ///
    /// # Errors
    /// Its environment is not set up, or the server refuses it.
    pub fn start(server: &Prosody, user: &str, options: &Options) -> Result<Phone> {
        ensure!(
            python().exists(),
            "the Jingle phone's environment is missing (.tools/phone): run `cargo xtask setup`"
        );
        let mut command = Command::new(python());
        command.arg("-u").arg(root().join("tests/peers/phone/phone.py"));
        command.args(["--jid", &format!("{user}@{DOMAIN}"), "--password", &Prosody::password(user)]);
        command.args(["--port", &server.port.to_string(), "--resource", &options.resource, "--stanzas"]);
        command.args(["--codecs", &options.codecs, "--tone", &options.tone.to_string()]);
        if let Some(after) = options.auto {
            command.args(["--auto", &after.as_secs_f64().to_string()]);
        }
        command.args(&options.switches);
        // Compiled files would be litter in the source tree.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        let program = Program::start(&format!("phone {user}"), command)?;
        let mut phone = Phone { program, name: user.to_owned(), seen: HashMap::new(), jid: String::new() };
        phone.jid = phone.expect("registered", Duration::from_secs(20))?.text("jid").to_owned();
        Ok(phone)
    }

    /// The user's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The program.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// Sends a command; see phone.py.
    ///
    /// # Errors
    /// The phone has gone.
    pub fn order(&mut self, order: &Value) -> Result<()> {
        self.program.write(&order.to_string())
    }

    /// Calls somebody; with `jmi` by a propose (XEP-0353), else by a session-initiate at once.
    ///
    /// # Errors
    /// The phone has gone.
    pub fn call(&mut self, to: &str, jmi: bool) -> Result<()> {
        self.order(&json!({"do": "call", "to": to, "mode": if jmi { "jmi" } else { "direct" }}))
    }

    /// Answers the newest call.
    ///
    /// # Errors
    /// The phone has gone.
    pub fn accept(&mut self) -> Result<()> {
        self.order(&json!({"do": "accept"}))
    }

    /// Declines the newest call with a Jingle reason such as `busy` or `decline`.
    ///
    /// # Errors
    /// The phone has gone.
    pub fn reject(&mut self, reason: &str) -> Result<()> {
        self.order(&json!({"do": "reject", "reason": reason}))
    }

    /// Hangs up or cancels the newest call.
    ///
    /// # Errors
    /// The phone has gone.
    pub fn hang_up(&mut self) -> Result<()> {
        self.order(&json!({"do": "hangup"}))
    }

    /// Answers calls by itself after so long; `None` = on command.
    ///
    /// # Errors
    /// The phone has gone.
    pub fn answer_after(&mut self, after: Option<Duration>) -> Result<()> {
        self.order(&json!({"do": "auto", "after": after.map(|after| after.as_secs_f64())}))
    }

    /// Presses keys (RFC 4733) in the newest call.
    ///
    /// # Errors
    /// The phone has gone.
    pub fn press(&mut self, digits: &str) -> Result<()> {
        self.order(&json!({"do": "dtmf", "digits": digits}))
    }

    /// Runs an ad-hoc command (XEP-0050) and fills these fields of its form in; the events are `form` and `commanded`.
    ///
    /// # Errors
    /// The phone has gone.
    pub fn command(&mut self, to: &str, node: &str, fields: &Value) -> Result<()> {
        self.order(&json!({"do": "command", "to": to, "node": node, "fields": fields}))
    }

    /// Sends a chat message; the event of an answer is `said`.
    ///
    /// # Errors
    /// The phone has gone.
    pub fn say(&mut self, to: &str, body: &str) -> Result<()> {
        self.order(&json!({"do": "say", "to": to, "body": body}))
    }

    /// The next event of this name that was not waited for yet; other events do not matter.
    ///
    /// # Errors
    /// None came in time.
    pub fn expect(&mut self, name: &str, within: Duration) -> Result<Event> {
        self.expect_where(name, within, |_| true)
    }

    /// The same, of those that `wanted` takes.
    ///
    /// # Errors
    /// None came in time.
    pub fn expect_where(
        &mut self,
        name: &str,
        within: Duration,
        mut wanted: impl FnMut(&Event) -> bool,
    ) -> Result<Event> {
        let from = self.seen.get(name).copied().unwrap_or(0);
        let found = self
            .program
            .log()
            .find(from, within, |line| event(line).filter(|event| event.name() == name && wanted(event)));
        let found =
            found.with_context(|| self.program.failure(&format!("had no {name:?} within {within:?}")))?;
        self.seen.insert(name.to_owned(), found.number + 1);
        if name == "connected" {
            // What was heard before belongs to an earlier call.
            self.seen.insert("tone".to_owned(), found.number + 1);
        }
        Ok(found)
    }

    /// The Jingle and JMI stanzas that it sent and got so far.
    #[must_use]
    pub fn trace(&self) -> Vec<Step> {
        ladder::jingle(&self.program.log().since(0))
    }

    /// All its events so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.program.log().since(0).iter().filter_map(event).collect()
    }

    /// Waits until it has heard the tone `hz` for `seconds` without a break.
    ///
    /// # Errors
    /// The phone did not.
    pub fn hears(&mut self, hz: f64, seconds: f64, within: Duration) -> Result<Event> {
        self.expect_where("tone", within, |event| {
            (event.number("hz") - hz).abs() <= 5.0 && event.number("seconds") >= seconds
        })
        .with_context(|| format!("{} does not hear {hz} Hz", self.name))
    }
}

fn event(line: &crate::log::Line) -> Option<Event> {
    if line.stream != Stream::Out {
        return None;
    }
    let facts: Value = serde_json::from_str(&line.text).ok()?;
    let at = (facts.get("t")?.as_f64()? * 1000.0) as u64;
    Some(Event { facts, at, number: line.number })
}
