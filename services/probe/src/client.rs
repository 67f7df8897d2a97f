//! The XMPP side: an account, logged in to by tokio-xmpp, with a client that takes and makes calls.
//!
//! One rule: every request is answered, whatever it asks; what concerns a call is told as [`Heard`]. Start at [`Client::log_in`].

use crate::jingle::{self, CLIENT, FEATURES, JINGLE, PROPOSALS, Remote};
use crate::random;
use crate::report::Fault;
use futures::StreamExt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_xmpp::connect::DnsConfig;
use tokio_xmpp::xmlstream::Timeouts;
use tokio_xmpp::{Event, Stanza};
use xmpp_parsers::jid::Jid;
use xmpp_parsers::minidom::Element;

/// Stanzas that may wait in either direction.
const WAITING: usize = 64;
/// Time between two looks at what tokio-xmpp logged.
const LOOK: Duration = Duration::from_millis(50);
/// Namespaces of requests that the client answers.
const DISCO: &str = "http://jabber.org/protocol/disco#info";
const PING: &str = "urn:xmpp:ping";
const ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// Id of the request by which we know that the server has seen our presence.
const SEEN: &str = "probe-seen";

/// Account, and the way to its server.
#[derive(Clone)]
pub struct Account {
    jid: Jid,
    password: String,
    server: Option<String>,
    plain: bool,
}

impl Account {
    /// Returns an account.
    ///
    /// # Errors
    /// The JID has no local part, or is none.
    pub fn new(jid: &str, password: String, server: Option<String>, plain: bool) -> Result<Account, String> {
        let parsed = Jid::new(jid).map_err(|error| format!("--jid {jid}: {error}"))?;
        if parsed.node().is_none() {
            return Err(format!("--jid {jid}: the JID of an account, user@domain"));
        }
        let jid = match parsed.try_into_full() {
            Ok(full) => Jid::from(full),
            Err(bare) => {
                // Two probes of one account shall not throw each other out.
                let word = random::word::<4>().map_err(|fault| fault.cause)?;
                Jid::new(&format!("{bare}/probe-{word}")).map_err(|error| format!("--jid {bare}: {error}"))?
            }
        };
        Ok(Account { jid, password, server, plain })
    }

    fn dns(&self) -> DnsConfig {
        match &self.server {
            Some(server) => DnsConfig::addr(server),
            None => DnsConfig::srv_default_client(self.jid.domain().as_str()),
        }
    }
}

/// Event at the client.
#[derive(Clone, Debug)]
pub enum Heard {
    /// A call is proposed.
    Proposed {
        /// Caller.
        from: String,
        /// Session.
        sid: String,
    },
    /// The callee's device rings.
    Ringing {
        /// Session.
        sid: String,
    },
    /// The callee took the proposal.
    Proceeded {
        /// Full JID of the device.
        from: String,
        /// Session.
        sid: String,
    },
    /// The callee refused the proposal.
    Rejected {
        /// Reason.
        why: String,
    },
    /// The caller withdrew the proposal.
    Retracted {
        /// Reason.
        why: String,
    },
    /// A session was offered.
    Initiated {
        /// Full JID of the peer.
        from: String,
        /// Session.
        sid: String,
        /// Its sound.
        remote: Remote,
    },
    /// Our session was accepted.
    Accepted {
        /// Full JID of the peer.
        from: String,
        /// Session.
        sid: String,
        /// Its sound.
        remote: Remote,
    },
    /// A session ended.
    Terminated {
        /// Session.
        sid: String,
        /// Reason.
        why: String,
    },
    /// A stanza of ours was answered with an error.
    Refused {
        /// Condition and text.
        why: String,
    },
    /// A stanza of a call cannot be read by xmpp-parsers.
    Unreadable(String),
    /// The server has seen our presence.
    Seen,
}

/// An account that is logged in.
#[derive(Debug)]
pub struct Client {
    jid: String,
    outward: mpsc::Sender<Element>,
    heard: mpsc::Receiver<Heard>,
    task: JoinHandle<()>,
}

impl Client {
    /// Logs in, and waits until calls to the account reach it.
    ///
    /// # Errors
    /// The server cannot be reached, or is gone again.
    pub async fn log_in(account: &Account) -> Result<Client, Fault> {
        let dns = account.dns();
        if let Err(error) = dns.resolve().await {
            let remedy =
                "look at --server, at the SRV record of the account's domain, and at firewalls between";
            return Err(Fault::unreachable(
                format!("the XMPP server cannot be reached ({dns}): {error}"),
                remedy,
            ));
        }
        // It is set already where this process logs in again.
        let _ = log::set_logger(&LAST).map(|()| log::set_max_level(log::LevelFilter::Error));
        let (jid, password) = (account.jid.clone(), account.password.clone());
        let stream = if account.plain {
            tokio_xmpp::Client::new_plaintext(jid, password, dns, Timeouts::default())
        } else {
            tokio_xmpp::Client::new_starttls(jid, password, dns, Timeouts::default())
        };
        let (outward, inbox) = mpsc::channel(WAITING);
        let (tell, heard) = mpsc::channel(WAITING);
        let (bound, told) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(Link { stream, tell, bound: Some(bound) }.run(inbox));
        let gone = || Fault::new("the server ended the stream", "look at the server's log");
        let remedy = "look at --jid and the password, at --plain and the server's certificate";
        let jid = tokio::select! {
            jid = told => jid.map_err(|_| gone())?.map_err(|cause| Fault::new(cause, remedy))?,
            cause = LAST.said() => {
                task.abort();
                return Err(Fault::new(cause, remedy));
            }
        };
        let mut client = Client { jid, outward, heard, task };
        client.tell(Element::bare("presence", CLIENT)).await;
        let ping = format!("<iq xmlns='{CLIENT}' type='get' id='{SEEN}'><ping xmlns='{PING}'/></iq>");
        client.tell(ping.parse().map_err(|_| gone())?).await;
        while !matches!(client.next().await?, Heard::Seen) {}
        Ok(client)
    }

    /// Returns the full JID.
    pub fn jid(&self) -> &str {
        &self.jid
    }

    /// Sends a stanza.
    pub async fn tell(&self, stanza: Element) {
        // A client that has stopped says so when the next event is waited for.
        let _ = self.outward.send(stanza).await;
    }

    /// Waits for the next event. Cancel safe.
    ///
    /// # Errors
    /// The stream has ended.
    pub async fn next(&mut self) -> Result<Heard, Fault> {
        self.heard
            .recv()
            .await
            .ok_or_else(|| Fault::new("the stream to the XMPP server ended", "look at the server's log"))
    }

    /// Forgets what was heard.
    pub fn forget(&mut self) {
        while self.heard.try_recv().is_ok() {}
    }

    /// Ends the stream in order, as far as that goes in a second.
    pub async fn log_out(self) {
        drop(self.outward);
        let _ = tokio::time::timeout(Duration::from_secs(1), self.task).await;
    }
}

/// Last error that tokio-xmpp logged: it tries for ever, and tells its log alone why it was not let in.
struct Last(Mutex<Option<String>>);

static LAST: Last = Last(Mutex::new(None));

impl Last {
    /// Waits for an error.
    async fn said(&self) -> String {
        loop {
            if let Some(said) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
                let cause = said.trim_start_matches("Failed to connect: ");
                let cause = cause.split(". Retrying").next().unwrap_or(cause);
                return format!("the server did not let the account in: {cause}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl log::Log for Last {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() == log::Level::Error && metadata.target().starts_with("tokio_xmpp")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

struct Link {
    stream: tokio_xmpp::Client,
    tell: mpsc::Sender<Heard>,
    bound: Option<tokio::sync::oneshot::Sender<Result<String, String>>>,
}

impl Link {
    async fn run(mut self, mut outward: mpsc::Receiver<Element>) {
        loop {
            tokio::select! {
                stanza = outward.recv() => match stanza {
                    Some(stanza) => self.send(stanza).await,
                    None => break,
                },
                event = self.stream.next() => match event {
                    Some(Event::Online { bound_jid, .. }) => {
                        if let Some(bound) = self.bound.take() {
                            let _ = bound.send(Ok(bound_jid.to_string()));
                        }
                    }
                    Some(Event::Disconnected(error)) => {
                        if let Some(bound) = self.bound.take() {
                            let _ = bound.send(Err(error.to_string()));
                        }
                        return;
                    }
                    Some(Event::Stanza(stanza)) => self.hear(&element(stanza)).await,
                    None => return,
                },
            }
        }
        let _ = self.stream.send_end().await;
    }

    async fn send(&mut self, stanza: Element) {
        if let Some(stanza) = typed(stanza) {
            // What cannot be sent is missed by the step that waits for an answer.
            let _ = self.stream.send_stanza(stanza).await;
        }
    }

    async fn tell(&self, heard: Heard) {
        let _ = self.tell.send(heard).await;
    }

    async fn hear(&mut self, stanza: &Element) {
        let (from, kind) = (stanza.attr("from").unwrap_or_default(), stanza.attr("type").unwrap_or_default());
        let id = stanza.attr("id").unwrap_or_default();
        let heard = match (stanza.name(), kind) {
            ("iq", "result" | "error") if id == SEEN => Some(Heard::Seen),
            (_, "error") => Some(Heard::Refused { why: condition(stanza) }),
            ("iq", "get" | "set") => {
                let request = stanza.children().next();
                let reply = reply(from, id, kind, request);
                self.send(reply).await;
                request
                    .filter(|request| request.is("jingle", JINGLE))
                    .and_then(|request| session(from, request))
            }
            ("message", _) => stanza
                .children()
                .find(|child| child.ns() == PROPOSALS)
                .and_then(|child| proposal(from, child)),
            _ => None,
        };
        if let Some(heard) = heard {
            self.tell(heard).await;
        }
    }
}

/// Answers a request: sessions and pings with a result, questions about us with what we can, others with an error (RFC 6120 §8.2.3).
fn reply(to: &str, id: &str, kind: &str, request: Option<&Element>) -> Element {
    let (kind, inner) = match request {
        Some(request) if kind == "set" && request.is("jingle", JINGLE) => ("result", String::new()),
        Some(request) if request.is("ping", PING) => ("result", String::new()),
        Some(request) if request.is("query", DISCO) => {
            let features: String = FEATURES.iter().map(|name| format!("<feature var='{name}'/>")).collect();
            (
                "result",
                format!(
                    "<query xmlns='{DISCO}'><identity category='client' type='phone'/>{features}</query>"
                ),
            )
        }
        _ => ("error", format!("<error type='cancel'><service-unavailable xmlns='{ERRORS}'/></error>")),
    };
    let to = if to.is_empty() { String::new() } else { format!(" to='{}'", jingle::escape(to)) };
    jingle::parsed(&format!(
        "<iq xmlns='{CLIENT}' type='{kind}' id='{}'{to}>{inner}</iq>",
        jingle::escape(id)
    ))
}

fn session(from: &str, request: &Element) -> Option<Heard> {
    let (from, sid) = (from.to_owned(), request.attr("sid").unwrap_or_default().to_owned());
    match request.attr("action")? {
        action @ ("session-initiate" | "session-accept") => Some(match jingle::read(request) {
            Ok(remote) if action == "session-initiate" => Heard::Initiated { from, sid, remote },
            Ok(remote) => Heard::Accepted { from, sid, remote },
            Err(error) => Heard::Unreadable(error),
        }),
        "session-terminate" => Some(Heard::Terminated { sid, why: jingle::reason(request) }),
        "session-info" if request.children().any(|child| child.name() == "ringing") => {
            Some(Heard::Ringing { sid })
        }
        _ => None,
    }
}

fn proposal(from: &str, child: &Element) -> Option<Heard> {
    let (from, sid, why) =
        (from.to_owned(), child.attr("id").unwrap_or_default().to_owned(), jingle::reason(child));
    match child.name() {
        "propose" => Some(Heard::Proposed { from, sid }),
        "ringing" => Some(Heard::Ringing { sid }),
        "proceed" => Some(Heard::Proceeded { from, sid }),
        "reject" => Some(Heard::Rejected { why }),
        "retract" => Some(Heard::Retracted { why }),
        _ => None,
    }
}

/// Returns the condition of an error, and its text.
fn condition(stanza: &Element) -> String {
    let error = stanza.children().find(|child| child.name() == "error");
    let words = error.into_iter().flat_map(Element::children);
    let words =
        words.map(|child| if child.name() == "text" { child.text() } else { child.name().to_owned() });
    let words: Vec<String> = words.collect();
    if words.is_empty() { "error".into() } else { words.join(": ") }
}

fn element(stanza: Stanza) -> Element {
    match stanza {
        Stanza::Iq(iq) => iq.into(),
        Stanza::Message(message) => message.into(),
        Stanza::Presence(presence) => presence.into(),
    }
}

fn typed(stanza: Element) -> Option<Stanza> {
    match stanza.name() {
        "iq" => stanza.try_into().ok().map(Stanza::Iq),
        "message" => stanza.try_into().ok().map(Stanza::Message),
        _ => stanza.try_into().ok().map(Stanza::Presence),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_a_user_of_a_domain() {
        let account = Account::new("rosa@example.net", String::new(), None, false).unwrap();
        assert!(account.jid.to_string().starts_with("rosa@example.net/probe-"), "{}", account.jid);
        let account = Account::new("rosa@example.net/desk", String::new(), None, false).unwrap();
        assert_eq!(account.jid.to_string(), "rosa@example.net/desk");
        for wrong in ["example.net", "a@b@c", ""] {
            assert!(Account::new(wrong, String::new(), None, false).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_request_is_answered() {
        let answer = |kind: &str, request: &str| {
            let reply = reply("a@b/c", "1", kind, Some(&request.parse().unwrap()));
            assert!(typed(reply.clone()).is_some(), "{reply:?}");
            reply.attr("type").unwrap().to_owned()
        };
        assert_eq!(answer("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>"), "result");
        assert_eq!(answer("get", "<ping xmlns='urn:xmpp:ping'/>"), "result");
        assert_eq!(
            answer("set", "<jingle xmlns='urn:xmpp:jingle:1' action='session-info' sid='1'/>"),
            "result"
        );
        assert_eq!(answer("get", "<query xmlns='jabber:iq:version'/>"), "error");
    }

    #[test]
    fn stanzas_of_calls_are_told() {
        let child: Element = "<reject xmlns='urn:xmpp:jingle-message:0' id='1'><reason xmlns='urn:xmpp:jingle:1'><busy/></reason></reject>".parse().unwrap();
        assert!(matches!(proposal("a@b", &child), Some(Heard::Rejected { why }) if why == "busy"));
        let child: Element =
            "<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='1'/>".parse().unwrap();
        assert!(matches!(session("a@b", &child), Some(Heard::Unreadable(_))));
        let error: Element = "<message xmlns='jabber:client' type='error'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>".parse().unwrap();
        assert_eq!(condition(&error), "gone");
    }
}
