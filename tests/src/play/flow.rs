//! A flow as a file.
//!
//! ```text
//! # what it is about                          comment; stands before the step that it is about
//! mirror: other-flow                          the same call with the protocols exchanged decides the same
//! from: sip-answered                          begins where `from/sip-answered.flow` ends, which is played silently before
//! ends: phone                                 after its last step this party hangs up and the other confirms, silently; or rosa
//! direct                                      the callee's device takes no proposals
//! early                                       XMPP callers hear the trunk before it answers
//! srtp: required                              as the trunk's key of the configuration; or optional
//! settings: rosa busy=2050; nils dnd          settings of XMPP users, see `plan::users`
//! voicemail: *97                              the configured box
//! music                                       who is held hears some
//! asserted                                    the trunk is told who calls (P-Asserted-Identity)
//! transcodes                                  the relay can turn one codec into another
//!
//! phone > gw                                  given: indented lines are the message, {x.sdp} puts a part in
//!   INVITE sip:2700@im.example.net
//!   {phone.sdp}
//! + 60 s                                      given: time passes
//! ! link down                                 given: something happens, see `World::act`
//!
//! gw > phone @ 0.5                            follows, compared: to whom, seconds since the start if time has passed
//! * 0 offer -> placed; 1 offer                follows, compared: what the call heard and did
//! ```
//!
//! A starting point (`tests/flows/from`) is a flow that need not end; it is played and compared by itself, so whoever begins from it
//! shows only what is new. Its settings hold there too, seconds are counted from where it ends, and names go on being numbered.

use crate::{Fault, fault};

/// One step of the given side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Comments before it.
    pub notes: Vec<String>,
    /// Its first line.
    pub line: String,
    /// Its indented lines, without the indent.
    pub block: Vec<String>,
    /// Kind of the step.
    pub kind: Kind,
    /// Its line in the file, from 1.
    pub number: usize,
}

/// Kinds of step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A party sends something.
    Given(String),
    /// Milliseconds pass.
    Wait(u64),
    /// An act of the world around: a link, an edge, a relay.
    Act(String),
}

/// A file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Comments and settings at the top.
    pub head: Vec<String>,
    /// The given side.
    pub steps: Vec<Step>,
}

impl Flow {
    /// Reads a file; what follows from the given side is passed over.
    ///
    /// # Errors
    /// A line that is none of the above.
    pub fn parse(text: &str) -> Result<Flow, Fault> {
        let mut flow = Flow::default();
        let mut notes = vec![];
        let mut open = false;
        for (line, number) in text.lines().zip(1..) {
            if let Some(inner) = line.strip_prefix("  ") {
                if let Some(step) = flow.steps.last_mut().filter(|_| open) {
                    step.block.push(inner.trim_end().to_owned());
                }
                continue;
            }
            open = false;
            let line = line.trim_end();
            let kind = match line.split_once(' ').unwrap_or((line, "")) {
                ("" | "*", _) => continue,
                ("gw", rest) if rest.starts_with('>') => continue,
                (word, _) if word.starts_with('#') => {
                    notes.push(line.to_owned());
                    continue;
                }
                ("+", time) => Kind::Wait(milliseconds(time, number)?),
                ("!", act) => Kind::Act(act.to_owned()),
                (actor, "> gw") => Kind::Given(actor.to_owned()),
                ("from:" | "ends:" | "mirror:" | "srtp:" | "settings:" | "voicemail:", _)
                | ("direct" | "early" | "transcodes" | "music" | "asserted", "")
                    if flow.steps.is_empty() =>
                {
                    flow.head.append(&mut notes);
                    flow.head.push(line.to_owned());
                    continue;
                }
                _ => return fault(format!("line {number}: \"{line}\" is no step")),
            };
            open = true;
            // A title alone, without settings, belongs to the head as well.
            if flow.steps.is_empty() && flow.head.is_empty() {
                flow.head.append(&mut notes);
            }
            let notes = std::mem::take(&mut notes);
            flow.steps.push(Step { notes, line: line.to_owned(), block: vec![], kind, number });
        }
        Ok(flow)
    }

    /// The value of a setting (`mirror: x`), or an empty one (`direct`).
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.head
            .iter()
            .find_map(|line| line.strip_prefix(name).map(|rest| rest.trim_start_matches(':').trim()))
    }
}

fn milliseconds(text: &str, number: usize) -> Result<u64, Fault> {
    let value = text.strip_suffix(" s").and_then(|s| s.parse::<f64>().ok());
    match value.filter(|s| (0.0..1e6).contains(s)) {
        Some(seconds) => Ok((seconds * 1_000.0).round() as u64),
        None => fault(format!("line {number}: \"+ {text}\" is no time; write + 3 s")),
    }
}

/// The first line in which two texts differ: its number from 1, what stands in the file, what was played.
#[must_use]
pub fn difference(file: &str, played: &str) -> Option<(usize, String, String)> {
    let (mut file, mut played) = (file.lines(), played.lines());
    for number in 1.. {
        match (file.next(), played.next()) {
            (None, None) => return None,
            (a, b) if a == b => {}
            (a, b) => {
                let word = |line: Option<&str>| line.unwrap_or("(the end)").to_owned();
                return Some((number, word(a), word(b)));
            }
        }
    }
    None
}
