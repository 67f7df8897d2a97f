//! Phone services: commands with forms (XEP-0050, XEP-0004) and words of a chat message (R-SVC-1, R-SVC-5).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod bench;

use bench::*;
use minidom::Element;
use signal::service::{Answer, Command, Field, FieldKind, Form, Language, Query, Request};

const COMPONENT: &str = "sip.example.net";
const COMMANDS: &str = "http://jabber.org/protocol/commands";
const NODE: &str = "urn:tandem:cmd:forward-busy";

/// Sends a `<command/>` and returns the answer, if there is one at once.
fn command(b: &mut Bench, from: &str, attributes: &str, inner: &str) -> Option<Element> {
    let before = b.sent.len();
    let id = format!("c{before}{}", b.requests.len());
    b.hear(&format!(
        "<iq xmlns='jabber:component:accept' type='set' id='{id}' from='{from}' to='{COMPONENT}'>\
         <command xmlns='{COMMANDS}' {attributes}>{inner}</command></iq>"
    ));
    b.sent.get(before).cloned()
}

fn answer(b: &mut Bench, answer: Answer) -> (Request, Element) {
    let (ticket, request) = b.requests.pop().expect("a request");
    b.edge.served(ticket, &answer);
    b.drain();
    (request, b.sent.last().unwrap().clone())
}

fn form() -> Form {
    let field = |name: &str, kind, values: &[&str]| Field {
        name: name.into(),
        label: format!("The {name}"),
        kind,
        values: values.iter().map(|value| (*value).into()).collect(),
    };
    let fields = vec![
        field("active", FieldKind::Boolean, &["1"]),
        field("target", FieldKind::TextSingle, &["2050"]),
        field("callers", FieldKind::TextMulti, &["a", "b"]),
    ];
    Form { title: "Forward when busy".into(), instructions: "Where to".into(), fields }
}

/// Asks for a form and returns the session.
fn begun(b: &mut Bench) -> String {
    assert!(command(b, ROSA, &format!("node='{NODE}' action='execute'"), "").is_none());
    let (_, shown) = answer(b, Answer::Form(form()));
    shown.get_child("command", COMMANDS).unwrap().attr("sessionid").unwrap().to_owned()
}

const SUBMITTED: &str = "<x xmlns='jabber:x:data' type='submit'><field var='active'><value>1</value></field>\
                         <field var='target'><value>2050</value></field>\
                         <field var='callers'><value>a</value><value>b\nc</value></field></x>";

#[test]
fn a_command_is_shown_submitted_and_done() {
    let mut b = bench();
    assert!(command(&mut b, ROSA, &format!("node='{NODE}'"), "").is_none());
    let (request, shown) = answer(&mut b, Answer::Form(form()));
    let expected = Request {
        user: "rosa@example.net".into(),
        language: Language::English,
        query: Query::Show(Command::ForwardBusy),
    };
    assert_eq!(request, expected);
    let body = shown.get_child("command", COMMANDS).unwrap();
    let session = body.attr("sessionid").unwrap();
    assert_eq!((body.attr("status"), body.attr("node")), (Some("executing"), Some(NODE)));
    let x = body.get_child("x", "jabber:x:data").unwrap();
    let fields: Vec<_> = x
        .children()
        .filter(|c| c.name() == "field")
        .map(|f| (f.attr("var").unwrap(), f.attr("type").unwrap(), f.children().count()))
        .collect();
    assert_eq!(
        fields,
        [("active", "boolean", 1), ("target", "text-single", 1), ("callers", "text-multi", 2)]
    );
    let attributes = format!("node='{NODE}' sessionid='{session}' action='complete'");
    assert!(command(&mut b, ROSA, &attributes, SUBMITTED).is_none());
    let (request, done) = answer(&mut b, Answer::Done("Done.".into()));
    let fields =
        |name: &str, values: &[&str]| (name.to_owned(), values.iter().map(|v| (*v).into()).collect());
    let submitted =
        vec![fields("active", &["1"]), fields("target", &["2050"]), fields("callers", &["a", "b", "c"])];
    assert_eq!(request.query, Query::Submit(Command::ForwardBusy, submitted));
    let body = done.get_child("command", COMMANDS).unwrap();
    let note = body.get_child("note", COMMANDS).unwrap();
    assert_eq!(
        (body.attr("status"), note.attr("type"), note.text().as_str()),
        (Some("completed"), Some("info"), "Done.")
    );
}

/// A form with a fault comes back with the reason; nobody at the store is told as such.
#[test]
fn what_was_wrong_is_said_with_the_form() {
    let mut b = bench();
    let session = begun(&mut b);
    let attributes = format!("node='{NODE}' sessionid='{session}'");
    assert!(command(&mut b, ROSA, &attributes, SUBMITTED).is_none());
    let (_, shown) = answer(&mut b, Answer::Invalid("No such number.".into(), Some(form())));
    let body = shown.get_child("command", COMMANDS).unwrap();
    assert_eq!(body.attr("status"), Some("executing"));
    assert_eq!(body.get_child("note", COMMANDS).unwrap().attr("type"), Some("error"));
    assert!(body.get_child("x", "jabber:x:data").is_some());
    assert!(command(&mut b, ROSA, &attributes, SUBMITTED).is_none());
    let (_, error) = answer(&mut b, Answer::Unavailable);
    assert!(String::from(&error).contains("resource-constraint"));
}

/// R-SVC-1: cancel, a bad session, a session of somebody else, one whose time is over, a foreign user.
#[test]
fn a_command_that_may_not_go_on_is_refused_in_its_own_words() {
    let mut b = bench();
    let session = begun(&mut b);
    let of = |session: &str, action: &str| format!("node='{NODE}' sessionid='{session}' action='{action}'");
    let canceled = command(&mut b, ROSA, &of(&session, "cancel"), "").unwrap();
    assert_eq!(canceled.get_child("command", COMMANDS).unwrap().attr("status"), Some("canceled"));
    let node = format!("node='{NODE}'");
    let forged = session.replace(['0', '1', '2'], "3");
    let cases = [
        (ROSA, of("nonsense", "complete"), SUBMITTED, "bad-request", "bad-sessionid"),
        (ROSA, of(&forged, "complete"), SUBMITTED, "bad-request", "bad-sessionid"),
        ("tom@example.net/phone", of(&session, "complete"), SUBMITTED, "bad-request", "bad-sessionid"),
        ("rosa@example.net/desk", of(&session, "complete"), SUBMITTED, "bad-request", "bad-sessionid"),
        (ROSA, format!("{node} action='complete'"), SUBMITTED, "bad-request", "bad-sessionid"),
        (ROSA, of(&session, "prev"), "", "bad-request", "bad-action"),
        (ROSA, of(&session, "explode"), "", "bad-request", "malformed-action"),
        (ROSA, of(&session, "complete"), "", "bad-request", "bad-payload"),
        (ROSA, "node='urn:tandem:cmd:explode'".into(), "", "item-not-found", ""),
        (ROSA, String::new(), "", "item-not-found", ""),
        ("eve@elsewhere.example/x", node.clone(), "", "forbidden", ""),
        ("example.net", node.clone(), "", "forbidden", ""),
    ];
    for (from, attributes, inner, condition, own) in cases {
        let refused = command(&mut b, from, &attributes, inner);
        let text = String::from(&refused.unwrap_or_else(|| panic!("{attributes}: no answer")));
        let told = text.contains(&format!("<{condition} "))
            && (own.is_empty() || text.contains(&format!("<{own} ")));
        assert!(told, "{from} {attributes}: {text}");
    }
    let fields = "<field var='a'><value>1</value></field>".repeat(33);
    let many = format!("<x xmlns='jabber:x:data' type='submit'>{fields}</x>");
    let refused = command(&mut b, ROSA, &of(&session, "complete"), &many).unwrap();
    assert!(String::from(&refused).contains("bad-payload"));
    assert!(b.requests.is_empty());
    b.after(600_001);
    let late = command(&mut b, ROSA, &of(&session, "complete"), SUBMITTED).unwrap();
    assert!(String::from(&late).contains("session-expired"));
}

/// Requests that nobody answers are bounded.
#[test]
fn requests_that_wait_are_bounded() {
    let mut b = bench();
    for _ in 0..1_024 {
        assert!(command(&mut b, ROSA, &format!("node='{NODE}'"), "").is_none());
    }
    let refused = command(&mut b, ROSA, &format!("node='{NODE}'"), "").unwrap();
    assert!(String::from(&refused).contains("resource-constraint"));
    for (ticket, _) in std::mem::take(&mut b.requests) {
        b.edge.served(ticket, &Answer::Unavailable);
    }
    b.drain();
    assert!(command(&mut b, ROSA, &format!("node='{NODE}'"), "").is_none());
    answer(&mut b, Answer::Unavailable);
}

#[test]
fn commands_are_found() {
    let mut b = bench();
    let query = |b: &mut Bench, namespace: &str, node: &str, lang: &str| {
        let id = format!("d{}", b.sent.len());
        b.hear(&format!(
            "<iq xmlns='jabber:component:accept' type='get' id='{id}' from='{ROSA}' to='{COMPONENT}' xml:lang='{lang}'>\
             <query xmlns='http://jabber.org/protocol/{namespace}' node='{node}'/></iq>"
        ));
        String::from(b.sent.last().unwrap())
    };
    let list = query(&mut b, "disco#items", COMMANDS, "en");
    assert!(
        list.contains(NODE) && list.contains("Forward when busy") && list.contains("urn:tandem:cmd:status")
    );
    assert!(query(&mut b, "disco#items", COMMANDS, "de-AT").contains("Bei Besetzt weiterleiten"));
    let info = query(&mut b, "disco#info", NODE, "en");
    assert!(info.contains("command-node") && info.contains("automation") && info.contains("jabber:x:data"));
    assert!(query(&mut b, "disco#info", "urn:tandem:cmd:no", "en").contains("item-not-found"));
}

/// R-SVC-5: words of a chat message, in the language of the message or its own.
#[test]
fn words_are_answered() {
    let mut b = bench();
    let say = |b: &mut Bench, from: &str, to: &str, body: &str| {
        b.hear(&format!(
            "<message xmlns='jabber:component:accept' type='chat' id='m1' from='{from}' to='{to}' xml:lang='de'>\
             <body>{body}</body><thread>t</thread></message>"
        ));
    };
    say(&mut b, ROSA, COMPONENT, "forward busy to 2050");
    let (request, said) = answer(&mut b, Answer::Done("Erledigt & gut".into()));
    assert_eq!(
        (request.language, request.query),
        (Language::German, Query::Words("forward busy to 2050".into()))
    );
    let body = said.children().find(|c| c.name() == "body").unwrap().text();
    assert_eq!(
        (said.attr("to"), said.attr("type"), body.as_str()),
        (Some(ROSA), Some("chat"), "Erledigt & gut")
    );
    assert_eq!(said.children().find(|c| c.name() == "thread").unwrap().text(), "t");
    say(&mut b, ROSA, COMPONENT, "help");
    let (_, error) = answer(&mut b, Answer::Unavailable);
    assert_eq!(error.attr("type"), Some("error"));
    // A stranger, and a text to a number.
    for (from, to) in [("eve@elsewhere.example/x", COMPONENT), (ROSA, NUMBER)] {
        say(&mut b, from, to, "help");
        assert_eq!(b.sent.last().unwrap().attr("type"), Some("error"));
    }
    assert!(b.requests.is_empty());
}

/// R-MWI-2: a message of type headline, which is kept for who is off line.
#[test]
fn a_user_is_told_by_a_headline() {
    let mut b = bench();
    let headline = signal::mailbox::Headline {
        from: format!("voicemail@{COMPONENT}"),
        to: "rosa@example.net".into(),
        id: "7".into(),
        text: "2 new voice messages (8 old)".into(),
    };
    b.edge.headline(&headline);
    b.drain();
    let message = b.sent.pop().unwrap();
    let attributes = ["type", "from", "to", "id"].map(|name| message.attr(name).unwrap_or_default());
    assert_eq!(attributes, ["headline", "voicemail@sip.example.net", "rosa@example.net", "7"]);
    let body = message.children().find(|child| child.name() == "body").unwrap();
    assert_eq!(body.text(), "2 new voice messages (8 old)");
    assert!(message.children().any(|child| child.is("store", "urn:xmpp:hints")));
}
