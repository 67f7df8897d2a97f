use super::machine::{Act, Kind, Machine, State};
use super::{Key, T1};
use crate::dialog::same_tag;
use crate::message::{Message, Name, Start};
use crate::uri::NameAddr;
use bytes::Bytes;
use signal::Time;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

/// Key of a merged request: From-tag, Call-ID, CSeq and Request-URI. The Request-URI is not in the RFC's list (§8.2.2.2): a
/// proxy that forks to two users of ours means two calls.
type Merge = (String, String, u32, String);

/// All transactions of one edge, or of one shard of it. `F` is the flow of their messages, `U` the user of a client transaction.
#[derive(Debug)]
pub struct Table<F, U> {
    entries: HashMap<Key, Entry<F, U>>,
    /// Deadlines, earliest first; an entry's newest is in `due`, older ones are skipped.
    timers: BinaryHeap<Reverse<(Time, Key)>>,
    /// First requests, to detect merged ones.
    merged: HashMap<Merge, Key>,
    out: VecDeque<Output<F, U>>,
    limit: usize,
}

#[derive(Debug)]
struct Entry<F, U> {
    machine: Machine,
    flow: F,
    /// Octets that Act::Send puts on the wire: the request, or the last response.
    last: Bytes,
    /// Client: the request, from which ACK and CANCEL are made, and its user.
    client: Option<(Message, U)>,
    due: Option<Time>,
    merge: Option<Merge>,
}

/// Result of matching a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A new transaction: serve it.
    New(Key),
    /// Known; a retransmission, if due, is in the outputs.
    Again,
    /// The ACK for a 2xx: the dialog's.
    Ack,
    /// The same request by another path: 482.
    Merged,
    /// No room: 503, statelessly.
    Full,
    /// Without a transaction key: drop it, or answer 400 statelessly.
    Unmatched,
}

/// Action for the shell or the transaction user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<F, U> {
    /// Put octets on the wire.
    Send(F, Bytes),
    /// Timer B or F fired (as 408): tell the user. Without user it was Timer H: the ACK to a failure never came.
    TimedOut(Key, Option<U>),
}

impl<F: Clone, U: Clone> Table<F, U> {
    /// Makes an empty table for at most `limit` transactions.
    #[must_use]
    pub fn new(limit: usize) -> Table<F, U> {
        Table {
            entries: HashMap::new(),
            timers: BinaryHeap::new(),
            merged: HashMap::new(),
            out: VecDeque::new(),
            limit,
        }
    }

    /// Replaces the number of transactions that may be held; those that are stay.
    pub fn set_capacity(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Returns the number of transactions held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns true if no transaction is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the state of a transaction.
    #[must_use]
    pub fn state(&self, key: &Key) -> Option<State> {
        self.entries.get(key).map(|e| e.machine.state())
    }

    /// Matches a validated request.
    pub fn request(&mut self, message: &Message, flow: F, reliable: bool, now: Time) -> Incoming {
        let (Some(key), Start::Request { method, .. }) = (Key::of_request(message), &message.start) else {
            return Incoming::Unmatched;
        };
        if let Some(entry) = self.entries.get_mut(&key) {
            let acts = if method == "ACK" { entry.machine.ack(now) } else { entry.machine.request() };
            let deliver = acts.contains(&Act::Deliver);
            self.execute(&key, &acts);
            return if deliver { Incoming::Ack } else { Incoming::Again };
        }
        if method == "ACK" {
            return Incoming::Ack;
        }
        let merge = merge_key(message);
        if let Some(merge) = &merge
            && self.merged.contains_key(merge)
        {
            return Incoming::Merged;
        }
        if self.entries.len() >= self.limit {
            return Incoming::Full;
        }
        let kind = if method == "INVITE" { Kind::InviteServer } else { Kind::Server };
        let (machine, _) = Machine::new(kind, reliable, now);
        if let Some(merge) = merge.clone() {
            self.merged.insert(merge, key.clone());
        }
        self.entries
            .insert(key.clone(), Entry { machine, flow, last: Bytes::new(), client: None, due: None, merge });
        self.arm(&key);
        Incoming::New(key)
    }

    /// Answers a request. Returns false if the transaction is gone or the answer does not fit its state.
    pub fn respond(&mut self, key: &Key, response: &Message, now: Time) -> bool {
        let (Some(entry), Some(code)) = (self.entries.get_mut(key), response.code()) else { return false };
        let acts = entry.machine.respond(code, now);
        if acts.is_empty() {
            return false;
        }
        entry.last = response.write();
        self.execute(key, &acts);
        true
    }

    /// Sends a request of a user. Returns `None` if there is no room or the request has no branch of ours.
    pub fn send(&mut self, request: Message, flow: F, reliable: bool, user: U, now: Time) -> Option<Key> {
        let Start::Request { method, .. } = &request.start else { return None };
        let branch = request.via()?.branch()?.to_owned();
        let key = Key { client: true, branch, sent_by: String::new(), method: method.clone() };
        if self.entries.contains_key(&key) {
            // Ordered again by a redrive: the machine retransmits by itself.
            return Some(key);
        }
        if self.entries.len() >= self.limit {
            return None;
        }
        let kind = if method == "INVITE" { Kind::InviteClient } else { Kind::Client };
        let (machine, acts) = Machine::new(kind, reliable, now);
        let last = request.write();
        self.entries.insert(
            key.clone(),
            Entry { machine, flow, last, client: Some((request, user)), due: None, merge: None },
        );
        self.execute(&key, &acts);
        Some(key)
    }

    /// Matches a response. Returns its transaction and user if the user must hear it, `Ok(None)` if it was absorbed or does not answer
    /// that request.
    ///
    /// # Errors
    /// `Err` for a response of no transaction here: drop it, or forward it to the edge that holds it.
    #[allow(clippy::result_unit_err, reason = "there is nothing more to say")]
    pub fn response(&mut self, message: &Message, now: Time) -> Result<Option<(Key, U)>, ()> {
        // More than one Via: it is not ours (§8.1.3.3).
        let key = Key::of_response(message).filter(|_| message.list("Via").len() == 1).ok_or(())?;
        let (Some(entry), Some(code)) = (self.entries.get_mut(&key), message.code()) else { return Err(()) };
        let Some((request, user)) = entry.client.as_ref().filter(|(request, _)| answers(request, message))
        else {
            return Ok(None);
        };
        let acts = entry.machine.response(code, now);
        if acts.contains(&Act::Acknowledge) {
            self.out.push_back(Output::Send(entry.flow.clone(), ack(request, message).write()));
        }
        let user = user.clone();
        let deliver = acts.contains(&Act::Deliver);
        self.execute(&key, &acts);
        Ok(deliver.then_some((key, user)))
    }

    /// Returns the request of a client transaction.
    #[must_use]
    pub fn asked(&self, key: &Key) -> Option<&Message> {
        self.entries.get(key)?.client.as_ref().map(|(request, _)| request)
    }

    /// Returns the user of a client transaction.
    #[must_use]
    pub fn user(&self, key: &Key) -> Option<&U> {
        self.entries.get(key)?.client.as_ref().map(|(_, user)| user)
    }

    /// Returns the flow of a transaction.
    #[must_use]
    pub fn flow(&self, key: &Key) -> Option<&F> {
        self.entries.get(key).map(|e| &e.flow)
    }

    /// Drops a client transaction whose answer nobody waits for.
    pub fn abandon(&mut self, key: &Key) {
        let waits = |e: &Entry<F, U>| matches!(e.machine.state(), State::Calling | State::Proceeding);
        if key.client && self.entries.get(key).is_some_and(waits) {
            self.entries.remove(key);
            self.sweep();
        }
    }

    /// Ends the unanswered requests whose flows cannot be sent to. Returns them with their keys and users.
    pub fn fail(&mut self, unreachable: impl Fn(&F) -> bool) -> Vec<(Key, Message, U)> {
        let lost = |(key, e): (&Key, &Entry<F, U>)| {
            let (request, user) = e.client.as_ref()?;
            let waits = e.machine.state() == State::Calling && unreachable(&e.flow);
            waits.then(|| (key.clone(), request.clone(), user.clone()))
        };
        let lost: Vec<(Key, Message, U)> = self.entries.iter().filter_map(lost).collect();
        for (key, ..) in &lost {
            self.entries.remove(key);
        }
        self.sweep();
        lost
    }

    /// Handles the timers that are due.
    pub fn tick(&mut self, now: Time) {
        while let Some(Reverse((at, _))) = self.timers.peek()
            && *at <= now
        {
            let Some(Reverse((at, key))) = self.timers.pop() else { break };
            let Some(entry) = self.entries.get_mut(&key).filter(|e| e.due == Some(at)) else { continue };
            entry.due = None;
            let acts = entry.machine.tick(now);
            self.execute(&key, &acts);
        }
    }

    /// Returns the time of the next tick.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Returns the next output.
    pub fn poll(&mut self) -> Option<Output<F, U>> {
        self.out.pop_front()
    }

    fn execute(&mut self, key: &Key, acts: &[Act]) {
        let Some(entry) = self.entries.get(key) else { return };
        for act in acts {
            match act {
                Act::Send if !entry.last.is_empty() => {
                    self.out.push_back(Output::Send(entry.flow.clone(), entry.last.clone()))
                }
                Act::TimedOut => self.out.push_back(Output::TimedOut(
                    key.clone(),
                    entry.client.as_ref().map(|(_, user)| user.clone()),
                )),
                Act::Send | Act::Deliver | Act::Acknowledge => {}
            }
        }
        if entry.machine.state() == State::Terminated {
            return self.remove(key);
        }
        self.arm(key);
    }

    /// Removes a transaction as if its request had never come.
    pub fn remove(&mut self, key: &Key) {
        if let Some(merge) = self.entries.remove(key).and_then(|e| e.merge) {
            self.merged.remove(&merge);
        }
        self.sweep();
        self.drop_stale();
    }

    /// Removes skipped timers once they outweigh the live ones.
    fn sweep(&mut self) {
        if self.timers.len() > 2 * self.entries.len() {
            let live = |at: Time, key: &Key| self.entries.get(key).is_some_and(|e| e.due == Some(at));
            self.timers.retain(|Reverse((at, key))| live(*at, key));
        }
    }

    fn arm(&mut self, key: &Key) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        // Nobody minds if a wait for repetitions is a little longer, and those of a second end together.
        let waits = !entry.machine.times_out();
        let due = entry.machine.deadline().map(|at| if waits { at.whole_second() } else { at });
        if let Some(at) = due.filter(|_| due != entry.due) {
            self.timers.push(Reverse((at, key.clone())));
        }
        entry.due = due;
        self.drop_stale();
    }

    /// Drops timers from the front that have moved: nobody is woken for them.
    fn drop_stale(&mut self) {
        while let Some(Reverse((at, key))) = self.timers.peek()
            && self.entries.get(key).is_none_or(|entry| entry.due != Some(*at))
        {
            self.timers.pop();
        }
    }
}

/// Returns true if a response has the Call-ID and the tags of its request; a request outside a dialog has none in To.
fn answers(request: &Message, response: &Message) -> bool {
    let tag = |address: Option<NameAddr>| address.and_then(|a| a.tag().map(str::to_owned));
    let (asked, answered) = (tag(request.to()), tag(response.to()));
    request.call_id() == response.call_id()
        && same_tag(tag(request.from()).as_deref(), tag(response.from()).as_deref())
        && (asked.is_none() || same_tag(asked.as_deref(), answered.as_deref()))
}

fn merge_key(message: &Message) -> Option<Merge> {
    if message.to()?.tag().is_some() {
        return None;
    }
    let Start::Request { uri, .. } = &message.start else { return None };
    let cseq = message.cseq().filter(|c| c.method != "CANCEL")?;
    Some((message.from()?.tag()?.to_owned(), message.call_id()?.to_owned(), cseq.number, uri.clone()))
}

/// Makes the ACK for a final response that is not a 2xx (§17.1.1.3): the INVITE's Request-URI, top Via, Route, From, Call-ID
/// and CSeq number, the response's To.
#[must_use]
pub fn ack(invite: &Message, response: &Message) -> Message {
    let uri = if let Start::Request { uri, .. } = &invite.start { uri.clone() } else { String::new() };
    let mut ack = Message::request("ACK", uri);
    for name in ["Via", "Max-Forwards", "Route", "From", "Call-ID"] {
        ack.headers.extend(invite.headers.iter().filter(|h| h.name == Name::from(name)).cloned());
    }
    ack.headers.extend(response.headers.iter().filter(|h| h.name == Name::from("To")).take(1).cloned());
    let number = invite.cseq().map_or(0, |c| c.number);
    ack.with("CSeq", format!("{number} ACK"))
}

/// Longest wait for the final response to a cancelled INVITE (§9.1).
pub const CANCEL_GUARD: u64 = 64 * T1;
