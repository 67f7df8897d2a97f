//! The SIP side: a phone with one line over UDP, at an address that the gateway knows as a trunk's.
//!
//! One rule: it does what RFC 3261 asks of a user agent that makes or takes one call, and no more: requests are repeated until they are
//! answered, answers as often as they are asked for. Start at [`Phone`]; what happens is told as [`Heard`].

use crate::random;
use crate::report::Fault;
use crate::sip::{self, Words};
use rsip::prelude::*;
use rsip::{Method, Request, Response, SipMessage};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// First pause before a request is sent again, and the longest (RFC 3261 §17.1.1.2, §17.1.2.2).
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
/// Time after which nothing is sent again (64 T1).
const GIVE_UP: Duration = Duration::from_secs(32);
/// Answers that are kept for requests that come again.
const ANSWERS: usize = 16;
/// Octets of the largest datagram.
const DATAGRAM: usize = 65_535;
/// Events and orders that may wait.
const WAITING: usize = 64;

/// Event at the phone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A response to a request of ours.
    Response {
        /// Method of the request.
        method: String,
        /// Status code.
        code: u16,
        /// Reason of the refusal: the reason phrase, with Warning and Reason headers.
        why: String,
        /// Body.
        sdp: String,
    },
    /// The phone is called.
    Invite {
        /// From, as it stands there.
        from: String,
        /// Body.
        sdp: String,
    },
    /// Our 200 was acknowledged; the ACK of a call without an offer has the answer.
    Acknowledged,
    /// The peer hung up, or gave up before the answer.
    Over {
        /// Method of its request.
        method: &'static str,
        /// Its Reason header.
        why: String,
    },
    /// A datagram came that rsip cannot read.
    Unreadable(String),
}

enum Order {
    Options(String),
    Invite { uri: String, sdp: String },
    Ring,
    Answer(String),
    HangUp,
    Forget,
}

/// A phone.
#[derive(Debug)]
pub struct Phone {
    orders: mpsc::Sender<Order>,
    heard: mpsc::Receiver<Heard>,
    task: tokio::task::JoinHandle<()>,
}

impl Phone {
    /// Opens a phone at `us`, of the number `number`, that speaks with the gateway alone.
    ///
    /// # Errors
    /// The address is not free.
    pub async fn open(us: SocketAddr, gateway: SocketAddr, number: &str) -> Result<Phone, Fault> {
        let socket = UdpSocket::bind(us).await.map_err(|error| {
            let remedy = "give an address of this machine that nobody else uses, of a trunk of the gateway";
            Fault::new(format!("--listen {us}: {error}"), remedy)
        })?;
        let us = socket.local_addr().unwrap_or(us);
        let (orders, inbox) = mpsc::channel(WAITING);
        let (tell, heard) = mpsc::channel(WAITING);
        let (tag, number) = (random::word::<6>()?, number.to_owned());
        let line = Line {
            socket,
            us,
            gateway,
            number,
            tag,
            tell,
            dialog: None,
            again: None,
            answers: VecDeque::new(),
        };
        let task = tokio::spawn(line.run(inbox));
        Ok(Phone { orders, heard, task })
    }

    async fn order(&self, order: Order) -> Result<(), Fault> {
        self.orders
            .send(order)
            .await
            .map_err(|_| Fault::new("the phone has stopped", "start the probe again"))
    }

    /// Asks the gateway whether it is there (OPTIONS).
    ///
    /// # Errors
    /// The phone has stopped.
    pub async fn options(&self, uri: &str) -> Result<(), Fault> {
        self.order(Order::Options(uri.to_owned())).await
    }

    /// Calls somebody.
    ///
    /// # Errors
    /// The phone has stopped.
    pub async fn invite(&self, uri: &str, sdp: String) -> Result<(), Fault> {
        self.order(Order::Invite { uri: uri.to_owned(), sdp }).await
    }

    /// Says that it rings.
    ///
    /// # Errors
    /// The phone has stopped.
    pub async fn ring(&self) -> Result<(), Fault> {
        self.order(Order::Ring).await
    }

    /// Answers the call.
    ///
    /// # Errors
    /// The phone has stopped.
    pub async fn answer(&self, sdp: String) -> Result<(), Fault> {
        self.order(Order::Answer(sdp)).await
    }

    /// Hangs up, or gives up.
    ///
    /// # Errors
    /// The phone has stopped.
    pub async fn hang_up(&self) -> Result<(), Fault> {
        self.order(Order::HangUp).await
    }

    /// Forgets the call that was and all that was heard of it.
    pub async fn forget(&mut self) {
        // A phone that has stopped says so at the next order.
        let _ = self.orders.send(Order::Forget).await;
        while self.heard.try_recv().is_ok() {}
    }

    /// Waits for the next event. Cancel safe.
    ///
    /// # Errors
    /// The phone has stopped.
    pub async fn next(&mut self) -> Result<Heard, Fault> {
        self.heard.recv().await.ok_or_else(|| Fault::new("the phone has stopped", "start the probe again"))
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Call of the line.
struct Dialog {
    call_id: String,
    local: String,
    remote: String,
    target: String,
    cseq: u32,
    /// INVITE that began it, ours or theirs.
    invite: Request,
    /// True if the call is ours.
    ours: bool,
    /// True once it is answered.
    answered: bool,
    /// Description that we gave last.
    sdp: String,
    /// ACK of the 200, sent again for each that comes.
    ack: Option<Vec<u8>>,
}

/// Octets that are sent again until somebody answers.
struct Again {
    octets: Vec<u8>,
    due: Instant,
    pause: Duration,
    until: Instant,
}

struct Line {
    socket: UdpSocket,
    us: SocketAddr,
    gateway: SocketAddr,
    number: String,
    tag: String,
    tell: mpsc::Sender<Heard>,
    dialog: Option<Dialog>,
    again: Option<Again>,
    /// Final and provisional answers by branch and method.
    answers: VecDeque<((String, String), Vec<u8>)>,
}

impl Line {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut buffer = vec![0; DATAGRAM];
        loop {
            let due = self.again.as_ref().map(|again| again.due);
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => {
                    // What an ICMP error tells is told by silence, too.
                    let Ok((length, from)) = received else { continue };
                    self.hear(&buffer[..length], from).await;
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.repeat().await,
                order = orders.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => return,
                },
            }
        }
    }

    async fn say(&self, octets: &[u8]) {
        // Lost is as good as late.
        let _ = self.socket.send_to(octets, self.gateway).await;
    }

    async fn say_until_answered(&mut self, octets: Vec<u8>) {
        self.say(&octets).await;
        let now = Instant::now();
        self.again = Some(Again { octets, due: now + T1, pause: T1, until: now + GIVE_UP });
    }

    async fn repeat(&mut self) {
        let Some(mut again) = self.again.take() else { return };
        self.say(&again.octets).await;
        again.pause = (again.pause * 2).min(T2);
        again.due += again.pause;
        self.again = Some(again).filter(|again| again.due < again.until);
    }

    async fn tell(&self, heard: Heard) {
        // Nobody listens any more: the probe ends.
        let _ = self.tell.send(heard).await;
    }

    async fn obey(&mut self, order: Order) {
        let done = match order {
            Order::Options(uri) => self.options(&uri).await,
            Order::Invite { uri, sdp } => self.invite(&uri, sdp).await,
            Order::Ring => {
                self.answer(180, None).await;
                Ok(())
            }
            Order::Answer(sdp) => {
                self.answer(200, Some(sdp)).await;
                Ok(())
            }
            Order::HangUp => self.hang_up().await,
            Order::Forget => {
                (self.dialog, self.again) = (None, None);
                Ok(())
            }
        };
        if let Err(fault) = done {
            self.tell(Heard::Unreadable(fault)).await;
        }
    }

    fn branch() -> Result<String, String> {
        random::word::<8>().map(|word| format!("z9hG4bK{word}")).map_err(|fault| fault.cause)
    }

    fn from(&self) -> String {
        format!("<sip:{}@{}>;tag={}", self.number, self.us, self.tag)
    }

    async fn options(&mut self, uri: &str) -> Result<(), String> {
        let (branch, from, to) = (Self::branch()?, self.from(), format!("<{uri}>"));
        let call_id = random::word::<12>().map_err(|fault| fault.cause)?;
        let words = Words {
            us: self.us,
            branch: &branch,
            from: &from,
            to: &to,
            call_id: &call_id,
            cseq: 1,
            user: &self.number,
        };
        let request = sip::request(Method::Options, uri, &words, None)?;
        self.say_until_answered(request.to_string().into_bytes()).await;
        Ok(())
    }

    async fn invite(&mut self, uri: &str, sdp: String) -> Result<(), String> {
        let (branch, local, remote) = (Self::branch()?, self.from(), format!("<{uri}>"));
        let call_id = random::word::<12>().map_err(|fault| fault.cause)?;
        let words = Words {
            us: self.us,
            branch: &branch,
            from: &local,
            to: &remote,
            call_id: &call_id,
            cseq: 1,
            user: &self.number,
        };
        let invite = sip::request(Method::Invite, uri, &words, Some(&sdp))?;
        let octets = invite.to_string().into_bytes();
        let (target, ack) = (uri.to_owned(), None);
        let (ours, answered) = (true, false);
        self.dialog =
            Some(Dialog { call_id, local, remote, target, cseq: 1, invite, ours, answered, sdp, ack });
        self.say_until_answered(octets).await;
        Ok(())
    }

    /// Answers the INVITE of the call.
    async fn answer(&mut self, code: u16, sdp: Option<String>) {
        let Some(dialog) = self.dialog.as_mut().filter(|dialog| !dialog.ours) else { return };
        let invite = dialog.invite.clone();
        dialog.answered |= code >= 200;
        if let Some(sdp) = &sdp {
            dialog.sdp.clone_from(sdp);
        }
        let octets = self.reply(&invite, code, sdp.as_deref()).await;
        if code >= 200 {
            // Until the ACK (RFC 3261 §13.3.1.4).
            let now = Instant::now();
            self.again = Some(Again { octets, due: now + T1, pause: T1, until: now + GIVE_UP });
        }
    }

    /// Sends a response, and keeps it for the same request.
    async fn reply(&mut self, request: &Request, code: u16, sdp: Option<&str>) -> Vec<u8> {
        let response = sip::response(request, code, &self.tag, self.us, &self.number, sdp);
        let octets = response.to_string().into_bytes();
        self.say(&octets).await;
        if let Some(key) = key(request) {
            self.answers.retain(|(kept, _)| *kept != key);
            self.answers.truncate(ANSWERS - 1);
            self.answers.push_front((key, octets.clone()));
        }
        octets
    }

    async fn hang_up(&mut self) -> Result<(), String> {
        let branch = Self::branch()?;
        let Some(dialog) = &mut self.dialog else { return Ok(()) };
        let request = match (dialog.ours, dialog.answered) {
            // RFC 3261 §9.1: the branch and number of the INVITE.
            (true, false) => {
                let branch = sip::branch(&dialog.invite).unwrap_or_default();
                dialog.request(Method::Cancel, self.us, &self.number, &branch, 1)?
            }
            (false, false) => {
                let invite = dialog.invite.clone();
                self.reply(&invite, 480, None).await;
                return Ok(());
            }
            (_, true) => {
                dialog.cseq += 1;
                let cseq = dialog.cseq;
                dialog.request(Method::Bye, self.us, &self.number, &branch, cseq)?
            }
        };
        self.say_until_answered(request.to_string().into_bytes()).await;
        Ok(())
    }

    async fn hear(&mut self, octets: &[u8], from: SocketAddr) {
        // Nobody but the gateway is spoken with.
        if from.ip() != self.gateway.ip() || octets.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        match SipMessage::try_from(octets) {
            Ok(SipMessage::Request(request)) => self.hear_request(request).await,
            Ok(SipMessage::Response(response)) => self.hear_response(&response).await,
            Err(error) => self.tell(Heard::Unreadable(error.to_string())).await,
        }
    }

    async fn hear_request(&mut self, request: Request) {
        if let Some(key) = key(&request)
            && let Some((_, octets)) = self.answers.iter().find(|(kept, _)| *kept == key)
        {
            self.say(&octets.clone()).await;
            return;
        }
        let call_id = request.call_id_header().map(|id| id.value().to_owned()).unwrap_or_default();
        let known = self.dialog.as_ref().is_some_and(|dialog| dialog.call_id == call_id);
        match request.method {
            Method::Invite if !known => self.called(request, call_id).await,
            Method::Invite | Method::Update if known => {
                // A new offer within the call: answered as the first was (RFC 3261 §14.2).
                let sdp = self
                    .dialog
                    .as_ref()
                    .map(|dialog| dialog.sdp.clone())
                    .filter(|_| !request.body.is_empty());
                self.reply(&request, 200, sdp.as_deref()).await;
            }
            Method::Ack => {
                self.again = None;
                if known {
                    self.tell(Heard::Acknowledged).await;
                }
            }
            Method::Bye if known => {
                self.again = None;
                self.reply(&request, 200, None).await;
                self.over("BYE", &request).await;
            }
            Method::Cancel if known => {
                self.reply(&request, 200, None).await;
                let invite = self
                    .dialog
                    .as_ref()
                    .filter(|dialog| !dialog.answered)
                    .map(|dialog| dialog.invite.clone());
                if let Some(invite) = invite {
                    self.reply(&invite, 487, None).await;
                    self.over("CANCEL", &request).await;
                }
            }
            Method::Options | Method::Info => drop(self.reply(&request, 200, None).await),
            // RFC 3261 §12.2.2
            Method::Bye | Method::Cancel | Method::Update => drop(self.reply(&request, 481, None).await),
            _ => drop(self.reply(&request, 405, None).await),
        }
    }

    async fn called(&mut self, invite: Request, call_id: String) {
        if self.dialog.is_some() {
            self.reply(&invite, 486, None).await;
            return;
        }
        let value = |header: Result<&str, ()>| header.map(str::to_owned).unwrap_or_default();
        let remote = value(invite.from_header().map(|from| from.value()).map_err(drop));
        let local = value(invite.to_header().map(|to| to.value()).map_err(drop));
        let contact = value(invite.contact_header().map(|contact| contact.value()).map_err(drop));
        let sdp = String::from_utf8_lossy(&invite.body).into_owned();
        self.reply(&invite, 100, None).await;
        self.dialog = Some(Dialog {
            call_id,
            local: format!("{local};tag={}", self.tag),
            remote: remote.clone(),
            target: sip::uri_of(&contact).to_owned(),
            cseq: 0,
            invite,
            ours: false,
            answered: false,
            sdp: String::new(),
            ack: None,
        });
        self.tell(Heard::Invite { from: remote, sdp }).await;
    }

    async fn over(&mut self, method: &'static str, request: &Request) {
        let why = sip::other(request, "Reason").unwrap_or_default().to_owned();
        self.dialog = None;
        self.tell(Heard::Over { method, why }).await;
    }

    async fn hear_response(&mut self, response: &Response) {
        let Some((number, method)) = sip::cseq(response) else { return };
        let code = response.status_code.code();
        // Any answer ends the repeating of an INVITE, a final one that of other requests (RFC 3261 §17.1).
        if method == "INVITE" || code >= 200 {
            self.again = None;
        }
        if method == "INVITE" && code >= 200 && !self.acknowledge(response, number, code).await {
            return;
        }
        if method == "BYE" && code >= 200 {
            self.dialog = None;
        }
        let mut why = response.status_code.to_string();
        for name in ["Reason", "Warning"] {
            let found =
                response.headers.iter().map(ToString::to_string).find(|header| header.starts_with(name));
            why.extend(found.map(|header| format!(", {header}")));
        }
        let sdp = String::from_utf8_lossy(&response.body).into_owned();
        self.tell(Heard::Response { method, code, why, sdp }).await;
    }

    /// Acknowledges a final response to our INVITE; returns false for one that came before.
    async fn acknowledge(&mut self, response: &Response, number: u32, code: u16) -> bool {
        let Some(dialog) = self.dialog.as_mut().filter(|dialog| dialog.ours) else { return false };
        if let Some(ack) = &dialog.ack {
            let ack = ack.clone();
            self.say(&ack).await;
            return false;
        }
        if let Ok(to) = response.to_header() {
            dialog.remote = to.value().to_owned();
        }
        let (branch, accepted) = (sip::branch(&dialog.invite).unwrap_or_default(), code < 300);
        let branch = if accepted {
            if let Ok(contact) = response.contact_header() {
                dialog.target = sip::uri_of(contact.value()).to_owned();
            }
            dialog.answered = true;
            Self::branch().unwrap_or(branch)
        } else {
            // RFC 3261 §17.1.1.3
            branch
        };
        match dialog.request(Method::Ack, self.us, &self.number, &branch, number) {
            Ok(ack) => {
                let octets = ack.to_string().into_bytes();
                dialog.ack = Some(octets.clone());
                self.say(&octets).await;
            }
            Err(fault) => self.tell(Heard::Unreadable(fault)).await,
        }
        true
    }
}

impl Dialog {
    /// Writes a request of the dialog.
    fn request(
        &self,
        method: Method,
        us: SocketAddr,
        user: &str,
        branch: &str,
        cseq: u32,
    ) -> Result<Request, String> {
        // CANCEL names the callee as the INVITE did (RFC 3261 §9.1).
        let to = self.invite.to_header().map(|to| to.value().to_owned()).unwrap_or_default();
        let to = if method == Method::Cancel { &to } else { &self.remote };
        let uri = if method == Method::Cancel { self.invite.uri.to_string() } else { self.target.clone() };
        let words = Words { us, branch, from: &self.local, to, call_id: &self.call_id, cseq, user };
        sip::request(method, &uri, &words, None)
    }
}

/// Returns the key by which a request is known when it comes again.
fn key(request: &Request) -> Option<(String, String)> {
    // An ACK is answered by nobody.
    (request.method != Method::Ack).then(|| Some((sip::branch(request)?, request.method.to_string())))?
}
