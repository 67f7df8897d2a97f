//! The load tool's Jingle side: a component (XEP-0114) of the XMPP server that answers every call at once, or makes calls.
//!
//! One rule: as cheap as can be, so that what is measured is the gateway. No media: its only candidate answers nobody.

use super::stanza::{Splitter, attribute, has_tag, of_tag};
use anyhow::{Context, Result, bail};
use sha1::{Digest, Sha1};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use testkit::clock::{Deadline, now_ms};

/// The component's domain: the home of all who are called.
pub const DOMAIN: &str = "load.example.net";

/// Its one content: PCMU, DTLS, a candidate on the discard port.
fn content(name: &str, setup: &str) -> String {
    format!(
        "<content xmlns='urn:xmpp:jingle:1' creator='initiator' name='{name}' senders='both'>\
         <description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'><payload-type id='0' name='PCMU' clockrate='8000'/>\
         <payload-type id='101' name='telephone-event' clockrate='8000'/><rtcp-mux/></description>\
         <transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='load' pwd='loadloadloadloadloadload'>\
         <fingerprint xmlns='urn:xmpp:jingle:apps:dtls:0' hash='sha-256' setup='{setup}'>00:01:02:03:04:05:06:07:08:09:0A:0B:\
         0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F</fingerprint>\
         <candidate component='1' foundation='1' generation='0' id='c1' ip='127.0.0.1' network='0' port='9' \
         priority='2130706431' protocol='udp' type='host'/></transport></content>"
    )
}

/// Counts of what has been seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Calls that are up.
    pub up: usize,
    /// Calls that ended after they had been up.
    pub ended: usize,
    /// Calls that ended otherwise, and why.
    pub failed: Vec<String>,
    /// From propose to session-accept of calls made, ms.
    pub setups: Vec<u64>,
}

struct Call {
    began: u64,
    /// Our address in it.
    us: String,
    /// Peer of the session; unknown until the proceed or session-initiate.
    peer: String,
    up: bool,
    /// When it is ended or transferred, ms since 1970.
    due: Option<(u64, Due)>,
}

/// Action of the responder by itself.
#[derive(Clone, Copy)]
enum Due {
    HangUp,
    /// Asks for a transfer (XEP-0251).
    Transfer,
}

/// How long after the answer to a call a transfer is asked for, ms: the caller's ACK has come by then.
const BEFORE_TRANSFER: u64 = 200;

#[derive(Default)]
struct State {
    calls: BTreeMap<String, Call>,
    seen: Seen,
    gone: Option<String>,
    /// Calls made so far: a sid is used once.
    made: u64,
    /// JID that calls are transferred to once they are answered.
    transfer_to: Option<String>,
}

/// A running component.
pub struct Responder {
    writer: Arc<Mutex<TcpStream>>,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Drop for Responder {
    fn drop(&mut self) {
        let _ = lock(&self.writer).shutdown(std::net::Shutdown::Both);
    }
}

impl Responder {
    /// Connects to the XMPP server's component port. Calls made end after `hold`.
    ///
    /// # Errors
    /// The server does not let it in.
    pub fn connect(port: u16, secret: &str, hold: Duration) -> Result<Responder> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("the component port")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(
            stream,
            "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='{DOMAIN}'>"
        )?;
        let mut splitter = Splitter::default();
        let mut stanzas = read(&mut stream, &mut splitter)?;
        let id = attribute(&stanzas.remove(0), "id").context("a stream without id")?.to_owned();
        let word = Sha1::digest(format!("{id}{secret}"));
        let word = word.iter().fold(String::new(), |mut hex, octet| {
            let _ = write!(hex, "{octet:02x}");
            hex
        });
        write!(stream, "<handshake>{word}</handshake>")?;
        let answer = read(&mut stream, &mut splitter)?;
        if !answer.first().is_some_and(|stanza| has_tag(stanza, "handshake")) {
            bail!("the XMPP server does not let the load component in: {answer:?}");
        }
        stream.set_read_timeout(None)?;
        let responder =
            Responder { writer: Arc::new(Mutex::new(stream.try_clone()?)), state: Arc::default() };
        let (writer, state) = (responder.writer.clone(), responder.state.clone());
        std::thread::spawn(move || {
            let fault = loop {
                match read(&mut stream, &mut splitter) {
                    Ok(stanzas) => {
                        let mut answers = String::new();
                        let mut locked = lock(&state.0);
                        for stanza in &stanzas {
                            locked.hear(stanza, hold, &mut answers);
                        }
                        drop(locked);
                        state.1.notify_all();
                        if let Err(error) = lock(&writer).write_all(answers.as_bytes()) {
                            break error.to_string();
                        }
                    }
                    Err(error) => break error.to_string(),
                }
            };
            lock(&state.0).gone = Some(fault);
            state.1.notify_all();
        });
        let (writer, state) = (responder.writer.clone(), responder.state.clone());
        std::thread::spawn(move || act(&writer, &state));
        Ok(responder)
    }

    /// Calls `to` by propose, as `user`.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn call(&self, user: &str, to: &str) -> Result<()> {
        let mut state = lock(&self.state.0);
        state.made += 1;
        let sid = format!("load-{}-{}", std::process::id(), state.made);
        let us = format!("{user}@{DOMAIN}/load");
        let stanza = format!(
            "<message type='chat' from='{us}' to='{to}' id='p-{sid}'><propose xmlns='urn:xmpp:jingle-message:0' id='{sid}'>\
             <description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/></propose></message>"
        );
        let call = Call { began: now_ms(), us, peer: String::new(), up: false, due: None };
        state.calls.insert(sid, call);
        drop(state);
        lock(&self.writer).write_all(stanza.as_bytes()).context("the load component has lost its server")
    }

    /// Waits until what has been seen pleases `enough`, and gives it.
    ///
    /// # Errors
    /// The time runs out, or the server is gone.
    pub fn wait(&self, within: Duration, enough: impl Fn(&Seen) -> bool) -> Result<Seen> {
        let deadline = Deadline::after(within);
        let mut state = lock(&self.state.0);
        loop {
            if enough(&state.seen) {
                return Ok(state.seen.clone());
            }
            if let Some(fault) = &state.gone {
                bail!("the load component has lost its server: {fault}");
            }
            if deadline.passed() {
                bail!("after {within:?} the load component has seen only {:?}", state.seen);
            }
            let left = deadline.left();
            state = self.state.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Transfers calls from now on once they are answered, or no more.
    pub fn transfer_to(&self, jid: Option<String>) {
        lock(&self.state.0).transfer_to = jid;
    }

    /// Returns what was seen so far.
    pub fn seen(&self) -> Seen {
        lock(&self.state.0).seen.clone()
    }

    /// Forgets what was seen; calls that are up stay.
    pub fn begin_anew(&self) {
        let mut state = lock(&self.state.0);
        state.seen = Seen { up: state.seen.up, ..Seen::default() };
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(stream: &mut TcpStream, splitter: &mut Splitter) -> Result<Vec<String>> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let size = stream.read(&mut buffer)?;
        if size == 0 {
            bail!("the stream was closed");
        }
        let stanzas = splitter.feed(buffer.get(..size).unwrap_or_default());
        if !stanzas.is_empty() {
            return Ok(stanzas);
        }
    }
}

/// Ends and transfers calls when that is due.
fn act(writer: &Mutex<TcpStream>, state: &(Mutex<State>, Condvar)) {
    let mut id = 0u64;
    loop {
        std::thread::sleep(Duration::from_millis(10));
        let mut stanzas = String::new();
        let mut locked = lock(&state.0);
        if locked.gone.is_some() {
            return;
        }
        let now = now_ms();
        let State { calls, transfer_to, .. } = &mut *locked;
        for (sid, call) in calls {
            let Some((_, due)) = call.due.take_if(|(at, _)| *at <= now) else { continue };
            id += 1;
            let target = transfer_to.as_deref().unwrap_or_default();
            let (first, action, child) = match due {
                Due::HangUp => ('t', "session-terminate", "<reason><success/></reason>".to_owned()),
                Due::Transfer => (
                    'x',
                    "session-info",
                    format!("<transfer xmlns='urn:xmpp:jingle:transfer:0' to='{target}'/>"),
                ),
            };
            let _ = write!(
                stanzas,
                "<iq type='set' from='{}' to='{}' id='{first}{id}'><jingle xmlns='urn:xmpp:jingle:1' \
                 action='{action}' sid='{sid}'>{child}</jingle></iq>",
                call.us, call.peer
            );
        }
        drop(locked);
        if !stanzas.is_empty() && lock(writer).write_all(stanzas.as_bytes()).is_err() {
            return;
        }
    }
}

impl State {
    fn hear(&mut self, stanza: &str, hold: Duration, answers: &mut String) {
        let (Some(from), Some(to)) = (attribute(stanza, "from"), attribute(stanza, "to")) else { return };
        if stanza.starts_with("<message") {
            self.message(stanza, from, to, answers);
        } else if stanza.starts_with("<iq") {
            let (kind, id) = (attribute(stanza, "type"), attribute(stanza, "id").unwrap_or_default());
            match kind {
                Some("set") => {
                    let _ = write!(answers, "<iq type='result' from='{to}' to='{from}' id='{id}'/>");
                    self.jingle(stanza, from, to, hold, answers);
                }
                Some("get") => {
                    let _ = write!(
                        answers,
                        "<iq type='error' from='{to}' to='{from}' id='{id}'><error type='cancel'>\
                         <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
                    );
                }
                // The result of our session-terminate: the call is over.
                Some("result") if id.starts_with('t') => self.over(from),
                Some("error") => self.seen.failed.push(stanza.chars().take(400).collect()),
                _ => {}
            }
        }
    }

    fn message(&mut self, stanza: &str, from: &str, to: &str, answers: &mut String) {
        if let Some(sid) = of_tag(stanza, "propose", "id") {
            let bare = to.split('/').next().unwrap_or(to);
            let _ = write!(
                answers,
                "<message type='chat' from='{bare}/load' to='{from}' id='r-{sid}'>\
                 <proceed xmlns='urn:xmpp:jingle-message:0' id='{sid}'/></message>"
            );
        } else if let Some(sid) = of_tag(stanza, "proceed", "id") {
            if let Some(call) = self.calls.get_mut(sid) {
                from.clone_into(&mut call.peer);
                let _ = write!(
                    answers,
                    "<iq type='set' from='{to}' to='{from}' id='i-{sid}'><jingle xmlns='urn:xmpp:jingle:1' \
                     action='session-initiate' initiator='{to}' sid='{sid}'>{}</jingle></iq>",
                    content("0", "actpass")
                );
            }
        } else if let Some(sid) = of_tag(stanza, "reject", "id") {
            self.calls.remove(sid);
            self.seen.failed.push(stanza.chars().take(400).collect());
        }
    }

    fn jingle(&mut self, stanza: &str, from: &str, to: &str, hold: Duration, answers: &mut String) {
        let Some(sid) = of_tag(stanza, "jingle", "sid") else { return };
        match of_tag(stanza, "jingle", "action") {
            Some("session-initiate") => {
                let _ = write!(
                    answers,
                    "<iq type='set' from='{to}' to='{from}' id='a-{sid}'><jingle xmlns='urn:xmpp:jingle:1' \
                     action='session-accept' responder='{to}' sid='{sid}'>{}</jingle></iq>",
                    content(of_tag(stanza, "content", "name").unwrap_or("0"), "active")
                );
                let call = Call {
                    began: now_ms(),
                    us: to.to_owned(),
                    peer: from.to_owned(),
                    up: true,
                    due: self.transfer_to.is_some().then(|| (now_ms() + BEFORE_TRANSFER, Due::Transfer)),
                };
                self.calls.insert(sid.to_owned(), call);
                self.seen.up += 1;
            }
            Some("session-accept") => {
                if let Some(call) = self.calls.get_mut(sid).filter(|call| !call.up) {
                    let now = now_ms();
                    call.up = true;
                    call.due = Some((now + u64::try_from(hold.as_millis()).unwrap_or(0), Due::HangUp));
                    self.seen.up += 1;
                    self.seen.setups.push(now - call.began);
                }
            }
            Some("session-terminate") => {
                let good = has_tag(stanza, "success");
                match self.calls.remove(sid) {
                    Some(call) if call.up => {
                        self.seen.up -= 1;
                        if good {
                            self.seen.ended += 1;
                        } else {
                            self.seen.failed.push(stanza.chars().take(400).collect());
                        }
                    }
                    _ => self.seen.failed.push(stanza.chars().take(400).collect()),
                }
            }
            _ => {}
        }
    }

    fn over(&mut self, peer: &str) {
        let sid = self.calls.iter().find(|(_, call)| call.peer == peer).map(|(sid, _)| sid.clone());
        if sid.and_then(|sid| self.calls.remove(&sid)).is_some() {
            self.seen.up -= 1;
            self.seen.ended += 1;
        }
    }
}
