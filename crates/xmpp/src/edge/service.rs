//! Phone services: commands and words of our users to a component's own JID, and the answers of the orchestrators.
//!
//! One rule: nothing is kept between two steps of a command. The session id says until when it is good, and proves for whom, so that
//! whichever edge holds the link serves the next step.

use super::jingle::Jingle;
use super::{Edge, Output};
use crate::commands::{self, Action, COMMANDS, Fault};
use crate::signal::typed::Transfer;
use crate::stanza::{self, COMPONENT, element, with};
use minidom::Element;
use signal::Time;
use signal::service::{Answer, Command, Language, Query, Request};

/// Time in which the next step of a command must come, ms (interworking §9.4).
const SESSION_MS: u64 = 600_000;
/// Most requests without an answer.
const MAX_PENDING: usize = 1_024;

/// Stanza that waits for the answer of an orchestrator.
#[derive(Debug)]
pub(super) struct Waiting {
    stanza: Element,
    /// Command, unless the stanza is a message, and the session of the answer.
    command: Option<(Command, String)>,
}

impl Edge {
    /// Takes the answer to an [`Output::Serve`]; no answer is `Answer::Unavailable`.
    pub fn served(&mut self, ticket: u64, answer: &Answer) {
        let jingle = &mut self.legs.protocol;
        let Some(Waiting { stanza, command }) = jingle.services.remove(&ticket) else { return };
        let reply = match (command, answer) {
            (_, Answer::Unavailable) => stanza::error(&stanza, "wait", "resource-constraint", None),
            (Some((command, session)), Answer::Form(form)) => {
                commands::executing(&stanza, command, &session, form, None)
            }
            (Some((command, session)), Answer::Invalid(words, Some(form))) => {
                commands::executing(&stanza, command, &session, form, Some(words))
            }
            (Some((command, session)), Answer::Done(words) | Answer::Invalid(words, None)) => {
                commands::completed(&stanza, command, &session, words)
            }
            (None, Answer::Done(words) | Answer::Invalid(words, _)) => chat(&stanza, words),
            (None, Answer::Form(_)) => return,
        };
        jingle.send_stanza(reply);
    }
}

impl Jingle {
    /// Takes a `<command/>` to a component's own JID.
    pub(super) fn command(&mut self, iq: &Element, command: &Element, now: Time) {
        match self.step(iq, command, now) {
            Ok((Action::Cancel, which, session)) => {
                self.send_stanza(commands::canceled(iq, which, &session));
            }
            Ok((Action::Execute, which, session)) => {
                self.serve(iq, command, Query::Show(which), Some((which, session)));
            }
            Ok((Action::Complete(fields), which, session)) => {
                self.serve(iq, command, Query::Submit(which, fields), Some((which, session)));
            }
            Err(fault) => self.send_stanza(commands::refuse(iq, fault)),
        }
    }

    /// Reads a step: the action, the command and the session, which a first step is given.
    fn step(&self, iq: &Element, command: &Element, now: Time) -> Result<(Action, Command, String), Fault> {
        let from = iq.attr("from").unwrap_or_default();
        let which = commands::of_node(command.attr("node").unwrap_or_default()).ok_or(Fault::UnknownNode)?;
        if !self.is_user(from, stanza::domain(iq.attr("to").unwrap_or_default())) {
            return Err(Fault::Forbidden);
        }
        let session = match command.attr("sessionid") {
            None => self.session(from, which, now + SESSION_MS),
            Some(session) => {
                let until =
                    session.split_once('-').and_then(|(until, _)| u64::from_str_radix(until, 16).ok());
                let until = Time(until.ok_or(Fault::BadSession)?);
                if self.session(from, which, until) != session {
                    return Err(Fault::BadSession);
                }
                if until < now {
                    return Err(Fault::SessionExpired);
                }
                session.to_owned()
            }
        };
        let action = commands::action(command, command.attr("sessionid").is_some())?;
        Ok((action, which, session))
    }

    /// Returns the id of the session of a device and a command that is good until this time.
    fn session(&self, device: &str, command: Command, until: Time) -> String {
        let until = format!("{:x}", until.0);
        let parts = [device.as_bytes(), command.name().as_bytes(), until.as_bytes()];
        format!("{until}-{}", self.secret.derive_text("command", &parts, 24))
    }

    /// Takes a text: words of our users to a component's own JID are served, any other sender is told that it is not.
    pub(super) fn text(&mut self, message: &Element) {
        if !self.words(message) {
            self.refuse_text(message);
        }
    }

    /// Takes words to a component's own JID. Returns false for other texts.
    fn words(&mut self, message: &Element) -> bool {
        let (from, to) = (message.attr("from").unwrap_or_default(), message.attr("to").unwrap_or_default());
        if !self.is_service(from, to) {
            return false;
        }
        let body = message.children().find(|child| child.name() == "body");
        let Some(words) = body.map(Element::text).filter(|text| !text.trim().is_empty()) else { return true };
        self.serve(message, message, Query::Words(words), None);
        true
    }

    /// Returns true for a stanza of one of our users to a component's own JID.
    pub(super) fn is_service(&self, from: &str, to: &str) -> bool {
        stanza::local(to).is_none() && self.is_user(from, stanza::domain(to))
    }

    /// Answers a wish to transfer that names no call. Returns false where it was said to somebody else: that is a text as any other.
    pub(super) fn refuse_transfer(&mut self, message: &Element, words: &Transfer) -> bool {
        let (from, to) = (message.attr("from").unwrap_or_default(), message.attr("to").unwrap_or_default());
        if !self.is_service(from, to) {
            return false;
        }
        self.send_stanza(chat(message, no_single_call(words.language)));
        true
    }

    /// Returns true for a user of the domain that a component serves.
    fn is_user(&self, from: &str, component: &str) -> bool {
        let users = self.component(component).and_then(|component| component.users.as_deref());
        stanza::local(from).is_some()
            && users.is_some_and(|users| users.eq_ignore_ascii_case(stanza::domain(from)))
    }

    fn serve(&mut self, stanza: &Element, inner: &Element, query: Query, command: Option<(Command, String)>) {
        if self.services.len() >= MAX_PENDING {
            return self.send_stanza(stanza::error(stanza, "wait", "resource-constraint", None));
        }
        let user = stanza::bare(stanza.attr("from").unwrap_or_default()).to_lowercase();
        let request = Request { user, language: commands::language(stanza, Some(inner)), query };
        self.tickets += 1;
        // The answer names its parties, id and thread; the rest is not needed any more.
        let kept = stanza::with_children_named(stanza, &["thread"]);
        self.services.insert(self.tickets, Waiting { stanza: kept, command });
        self.requests.push_back(Output::Serve(self.tickets, request));
    }
}

/// Returns the answer to a wish to transfer of a user who is in no call, or in several.
fn no_single_call(language: Language) -> &'static str {
    match language {
        Language::English => {
            "You are not in exactly one call: write it to the number that you talk to while you talk."
        }
        Language::German => {
            "Sie sind nicht in genau einem Gespräch: schreiben Sie es während des Gesprächs an die Nummer, mit der Sie sprechen."
        }
    }
}

/// Builds the answer to a chat message.
fn chat(message: &Element, words: &str) -> Element {
    let (from, to) = (message.attr("to").unwrap_or_default(), message.attr("from").unwrap_or_default());
    let mut body = Element::bare("body", COMPONENT);
    body.append_text(stanza::clean(words));
    let mut reply = element("message", COMPONENT, &[("type", "chat"), ("from", from), ("to", to)]);
    if let Some(id) = message.attr("id") {
        stanza::set(&mut reply, "id", &format!("{id}-answer"));
    }
    if let Some(thread) = message.children().find(|child| child.name() == "thread") {
        let mut ours = Element::bare("thread", COMPONENT);
        ours.append_text(stanza::clean(&thread.text()));
        reply.append_child(ours);
    }
    with(reply, body)
}

/// Returns the command that an IQ set asks of a component's own JID.
pub(super) fn command_of(iq: &Element) -> Option<&Element> {
    let to = iq.attr("to").unwrap_or_default();
    iq.children().find(|child| child.is("command", COMMANDS)).filter(|_| stanza::local(to).is_none())
}
