//! Ad-hoc commands (XEP-0050) with forms (XEP-0004), as stanzas: what a client asks, and our answers (interworking §9.4).

use crate::stanza::{self, element, with};
use minidom::Element;
use minidom::rxml::Namespace;
use signal::service::{Command, FieldKind, Form, Language};

/// Namespace of ad-hoc commands, and the node that lists them (XEP-0050 §2.2).
pub(crate) const COMMANDS: &str = "http://jabber.org/protocol/commands";
/// Data forms (XEP-0004).
pub(crate) const FORMS: &str = "jabber:x:data";
/// Begin of the nodes of our commands.
const NODE: &str = "urn:tandem:cmd:";
/// Most fields of a submitted form, and most values of all of them.
const MAX_FIELDS: usize = 32;
const MAX_VALUES: usize = 512;

/// Step of a command that a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Begins the command.
    Execute,
    /// Ends it with this form.
    Complete(Vec<(String, Vec<String>)>),
    /// Gives it up.
    Cancel,
}

/// Fault of a command, in the words of XEP-0050 §4.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No such action.
    MalformedAction,
    /// Not an action of this step.
    BadAction,
    /// No session of this user and command.
    BadSession,
    /// The session is over.
    SessionExpired,
    /// The form is absent, or too large.
    BadPayload,
    /// No such command.
    UnknownNode,
    /// The user is none of ours.
    Forbidden,
}

/// Returns the node of a command.
pub(crate) fn node(command: Command) -> String {
    format!("{NODE}{}", command.name())
}

/// Returns the command of a node.
pub(crate) fn of_node(node: &str) -> Option<Command> {
    let name = node.strip_prefix(NODE)?;
    Command::ALL.into_iter().find(|command| command.name() == name)
}

/// Returns the language of an element, or of the stanza around it.
pub(crate) fn language(stanza: &Element, inner: Option<&Element>) -> Language {
    let of = |element: &Element| element.attr_ns(Namespace::XML.as_str(), "lang").map(str::to_owned);
    Language::of(inner.and_then(of).or_else(|| of(stanza)).as_deref())
}

/// Reads the step that a `<command/>` asks for; `begun`: it names a session.
pub(crate) fn action(command: &Element, begun: bool) -> Result<Action, Fault> {
    match (command.attr("action").unwrap_or("execute"), begun) {
        ("execute", false) => Ok(Action::Execute),
        // The default action of a session is the one that our forms name (XEP-0050 §3.4).
        ("execute" | "complete", true) => submitted(command).map(Action::Complete),
        ("cancel", true) => Ok(Action::Cancel),
        ("complete" | "cancel", false) => Err(Fault::BadSession),
        ("next" | "prev", _) => Err(Fault::BadAction),
        _ => Err(Fault::MalformedAction),
    }
}

/// Reads a submitted form.
fn submitted(command: &Element) -> Result<Vec<(String, Vec<String>)>, Fault> {
    let form = command.get_child("x", FORMS).filter(|form| form.attr("type") == Some("submit"));
    let fields = form.ok_or(Fault::BadPayload)?.children().filter(|child| child.is("field", FORMS));
    let mut read = vec![];
    for field in fields {
        let values = field.children().filter(|child| child.is("value", FORMS)).map(Element::text);
        // A value of several lines is several values (XEP-0004 §3.3).
        let values: Vec<String> =
            values.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        read.push((field.attr("var").unwrap_or_default().to_owned(), values));
    }
    let values: usize = read.iter().map(|(_, values)| values.len()).sum();
    if read.len() > MAX_FIELDS || values > MAX_VALUES { Err(Fault::BadPayload) } else { Ok(read) }
}

fn text(name: &str, namespace: &str, text: &str) -> Element {
    let mut element = Element::bare(name, namespace);
    element.append_text(stanza::clean(text));
    element
}

/// Builds the result of a command with this status.
fn result(iq: &Element, command: Command, session: &str, status: &str) -> (Element, Element) {
    let node = node(command);
    let attributes = [("node", node.as_str()), ("sessionid", session), ("status", status)];
    (stanza::result(iq), element("command", COMMANDS, &attributes))
}

/// Builds the answer that shows a form, after a note about what was wrong with the last one.
pub(crate) fn executing(
    iq: &Element,
    command: Command,
    session: &str,
    form: &Form,
    fault: Option<&str>,
) -> Element {
    let (reply, mut body) = result(iq, command, session, "executing");
    let actions = element("actions", COMMANDS, &[("execute", "complete")]);
    body.append_child(with(actions, Element::bare("complete", COMMANDS)));
    let mut x = element("x", FORMS, &[("type", "form")]);
    x.append_child(text("title", FORMS, &form.title));
    if !form.instructions.is_empty() {
        x.append_child(text("instructions", FORMS, &form.instructions));
    }
    for field in &form.fields {
        let kind = match field.kind {
            FieldKind::Boolean => "boolean",
            FieldKind::TextSingle => "text-single",
            FieldKind::TextMulti => "text-multi",
        };
        let attributes = [("var", field.name.as_str()), ("type", kind), ("label", field.label.as_str())];
        let mut shown = element("field", FORMS, &attributes);
        for value in &field.values {
            shown.append_child(text("value", FORMS, value));
        }
        x.append_child(shown);
    }
    body.append_child(x);
    if let Some(words) = fault {
        body.append_child(note("error", words));
    }
    with(reply, body)
}

/// Builds the answer of a command that is done.
pub(crate) fn completed(iq: &Element, command: Command, session: &str, words: &str) -> Element {
    let (reply, body) = result(iq, command, session, "completed");
    with(reply, with(body, note("info", words)))
}

/// Builds the answer of a command that was given up.
pub(crate) fn canceled(iq: &Element, command: Command, session: &str) -> Element {
    let (reply, body) = result(iq, command, session, "canceled");
    with(reply, body)
}

fn note(kind: &str, words: &str) -> Element {
    let mut note = text("note", COMMANDS, words);
    stanza::set(&mut note, "type", kind);
    note
}

/// Builds the error for a fault (XEP-0050 §4.4).
pub(crate) fn refuse(iq: &Element, fault: Fault) -> Element {
    let (kind, condition, own) = match fault {
        Fault::MalformedAction => ("modify", "bad-request", Some("malformed-action")),
        Fault::BadAction => ("modify", "bad-request", Some("bad-action")),
        Fault::BadSession => ("modify", "bad-request", Some("bad-sessionid")),
        Fault::BadPayload => ("modify", "bad-request", Some("bad-payload")),
        Fault::SessionExpired => ("cancel", "not-allowed", Some("session-expired")),
        Fault::UnknownNode => ("cancel", "item-not-found", None),
        Fault::Forbidden => ("auth", "forbidden", None),
    };
    let mut reply = stanza::error(iq, kind, condition, None);
    if let (Some(own), Some(error)) = (own, reply.get_child_mut("error", iq.ns().as_str())) {
        error.append_child(Element::bare(own, COMMANDS));
    }
    reply
}

/// Builds the list of commands (XEP-0050 §2.2).
pub(crate) fn list(domain: &str, language: Language) -> Vec<Element> {
    let item = |command: Command| {
        let node = node(command);
        let attributes = [("jid", domain), ("node", node.as_str()), ("name", command.title(language))];
        element("item", crate::disco::DISCO_ITEMS, &attributes)
    };
    Command::ALL.into_iter().map(item).collect()
}
