//! Client of the orchestrators in an edge: sends asks, receives orders, and carries the answers of both.
//!
//! One rule: every wait has a deadline and every collection a limit. The task of the sans-IO edge uses nothing else of the bus.
//! Start at [`EdgeClient::open`].

mod deliver;
mod orders;

use crate::{Bus, BusError, Inbox, Message, Request, trace};
pub use ::edge::Name;
use orders::Orders;
use proto::wire::WireFormat;
use signal::{
    AnySignal, Ask, EffectId, End, LegRef, Order, Reason, RecordId, Said, Signal, VERDICT_MS, Verdict,
    subjects,
};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{Instrument, Span, info_span, warn};

/// Time that one orchestrator has for its answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
/// Number of tries for an ask that opens a call. Few: the caller can try elsewhere.
const OPENING_TRIES: u32 = 2;
/// Time for which an event of an existing call is retried: a peer sends a BYE once.
const RETRY_TIMEOUT: Duration = Duration::from_millis(VERDICT_MS);
/// Pause before the first retry; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause between retries.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Number of asks on their way; further ones get [`Verdict::Unavailable`] at once.
const MAX_ASKS: usize = 4_096;
/// Number of calls whose trace is remembered.
const MAX_TRACES: usize = 65_536;

/// Functions of the runtime's tracing, which this crate does not depend on.
#[derive(Clone, Copy, Debug)]
pub struct Tracing {
    /// Makes a span the child of a traceparent.
    pub adopt: fn(&Span, &str),
    /// Returns the traceparent of a span.
    pub parent_of: fn(&Span) -> String,
    /// Returns the traceparent of the root span of a new call.
    pub root: fn() -> String,
    /// Service that the spans are of: `sip-edge`.
    pub service: &'static str,
}

/// Message from the orchestrators.
#[derive(Debug)]
pub enum Inbound {
    /// Answer to the ask with this ticket.
    Verdict(u64, Verdict),
    /// Order to execute; answered with [`EdgeClient::said`].
    Order(Order),
}

enum Arrival {
    Verdict(u64, LegRef, Verdict),
    Order(Order, Request),
}

/// Client of the orchestrators.
pub struct EdgeClient {
    bus: Bus,
    tracing: Tracing,
    sender: mpsc::Sender<Arrival>,
    receiver: mpsc::Receiver<Arrival>,
    asks: Arc<Semaphore>,
    orders: Orders,
    traces: HashMap<RecordId, String>,
    trace_order: VecDeque<RecordId>,
}

/// Subscription to the orders of a subject; ends when dropped.
#[derive(Debug)]
pub struct Served(JoinHandle<()>);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl EdgeClient {
    /// Makes a client on a bus.
    #[must_use]
    pub fn open(bus: Bus, tracing: Tracing) -> EdgeClient {
        let (sender, receiver) = mpsc::channel(MAX_ASKS);
        EdgeClient {
            bus,
            tracing,
            sender,
            receiver,
            asks: Arc::new(Semaphore::new(MAX_ASKS)),
            orders: Orders::default(),
            traces: HashMap::new(),
            trace_order: VecDeque::new(),
        }
    }

    /// Subscribes to the orders of a subject.
    ///
    /// # Errors
    /// [`BusError::Link`] without connection.
    pub async fn serve(&self, subject: &str, group: &str) -> Result<Served, BusError> {
        let mut inbox: Inbox<Request> = self.bus.serve(subject, group).await?;
        let sender = self.sender.clone();
        Ok(Served(tokio::spawn(async move {
            while let Some(request) = inbox.next().await {
                let order = match <Order<AnySignal>>::decode(&request.message.payload) {
                    Ok(order) => order,
                    Err(error) => {
                        warn!(%error, "an order that makes no sense");
                        continue;
                    }
                };
                let (id, base) = (order.id(), order.state().revision);
                match order.of_call() {
                    Some(order) => {
                        if sender.send(Arrival::Order(order, request)).await.is_err() {
                            return;
                        }
                    }
                    None => refuse(id, base, request).await,
                }
            }
        })))
    }

    /// Sends an ask; exactly one [`Inbound::Verdict`] with its ticket follows. `name` is for traces.
    ///
    /// # Errors
    /// The verdict itself if too many asks are on their way; none follows then.
    pub fn ask(&mut self, ticket: u64, ask: Ask, name: Name<'_>) -> Result<(), Verdict> {
        let leg = match &ask {
            Ask::Heard(heard) => heard.leg,
            Ask::Recall(leg) => *leg,
        };
        let what = match &ask {
            Ask::Heard(heard) => heard.signals.first().map_or("nothing", signal::Signal::name),
            Ask::Recall(_) => "recall",
        };
        let span = info_span!(
            "edge.hear",
            otel.name = format!("edge hears {what}"),
            call.id = %leg.record,
            leg.id = leg.leg.0,
            sip.call_id = tracing::field::Empty,
            jingle.sid = tracing::field::Empty,
            service = self.tracing.service,
            otel.kind = "client",
            otel.status_code = tracing::field::Empty,
            otel.status_description = tracing::field::Empty,
            call.reason = tracing::field::Empty,
            sip.status = tracing::field::Empty,
        );
        if let Ask::Heard(heard) = &ask {
            heard.signals.iter().filter_map(end_of).for_each(|end| trace::ended(&span, end));
        }
        match name {
            Name::CallId("") | Name::Sid("") => {}
            Name::CallId(call_id) => drop(span.record("sip.call_id", call_id)),
            Name::Sid(sid) => drop(span.record("jingle.sid", sid)),
        }
        let opens = matches!(&ask, Ask::Heard(heard) if heard.opening.is_some());
        match self.traces.get(&leg.record) {
            Some(trace) => (self.tracing.adopt)(&span, trace),
            None if opens => (self.tracing.adopt)(&span, &(self.tracing.root)()),
            None => {}
        }
        let Ok(permit) = self.asks.clone().try_acquire_owned() else { return Err(Verdict::Unavailable) };
        let (bus, sender) = (self.bus.clone(), self.sender.clone());
        let message = Message { trace: (self.tracing.parent_of)(&span), payload: ask.encode() };
        let asking = async move {
            let verdict = request_verdict(&bus, message, opens).await;
            match &verdict {
                Verdict::Refused(end) => trace::ended(&Span::current(), end),
                Verdict::Unavailable => trace::failed(&Span::current(), "no orchestrator commits it"),
                _ => {}
            }
            let _ = sender.send(Arrival::Verdict(ticket, leg, verdict)).await;
            drop(permit);
        };
        tokio::spawn(asking.instrument(span));
        Ok(())
    }

    /// Waits for the next message. Cancel-safe.
    pub async fn next(&mut self) -> Inbound {
        loop {
            // The client holds a sender itself, so the channel never ends.
            let Some(arrival) = self.receiver.recv().await else { std::future::pending().await };
            if let Some(inbound) = self.handle(arrival) {
                return inbound;
            }
        }
    }

    /// Returns the next message that has arrived, if any.
    pub fn try_next(&mut self) -> Option<Inbound> {
        while let Ok(arrival) = self.receiver.try_recv() {
            if let Some(inbound) = self.handle(arrival) {
                return Some(inbound);
            }
        }
        None
    }

    fn handle(&mut self, arrival: Arrival) -> Option<Inbound> {
        match arrival {
            Arrival::Verdict(ticket, leg, verdict) => {
                if let Verdict::Committed { trace, .. } = &verdict {
                    self.remember_trace(leg, trace);
                } else if let Verdict::Stale(state) | Verdict::Leg(state) = &verdict {
                    self.remember_trace(leg, &state.trace);
                }
                Some(Inbound::Verdict(ticket, verdict))
            }
            Arrival::Order(order, request) => {
                let leg = order.state().leg;
                self.remember_trace(leg, &order.state().trace);
                let Tracing { adopt, service, .. } = self.tracing;
                let span = |request: &Request| {
                    let span = info_span!(
                        "edge.say",
                        otel.name = format!("edge says {}", order.name()),
                        call.id = %leg.record,
                        leg.id = leg.leg.0,
                        service,
                        otel.kind = "server",
                        otel.status_code = tracing::field::Empty,
                        otel.status_description = tracing::field::Empty,
                        call.reason = tracing::field::Empty,
                        sip.status = tracing::field::Empty,
                    );
                    adopt(&span, &request.message.trace);
                    span
                };
                self.orders
                    .register(order.id(), request, span, Instant::now())
                    .then_some(Inbound::Order(order))
            }
        }
    }

    /// Answers all requests that wait for an order.
    pub fn said(&mut self, said: &Said) {
        let Some((requests, span)) = self.orders.finish(said.id) else { return };
        said.failed.iter().for_each(|end| trace::ended(&span, end));
        let octets = said.encode();
        let answering = async move {
            for request in requests {
                if let Err(error) = request.reply(octets.clone()).await {
                    warn!(%error, "an orchestrator did not wait for the answer");
                }
            }
        };
        tokio::spawn(answering.instrument(span));
    }

    fn remember_trace(&mut self, leg: LegRef, trace: &str) {
        if trace.is_empty() || self.traces.contains_key(&leg.record) {
            return;
        }
        if self.traces.len() >= MAX_TRACES
            && let Some(oldest) = self.trace_order.pop_front()
        {
            self.traces.remove(&oldest);
        }
        self.traces.insert(leg.record, trace.to_owned());
        self.trace_order.push_back(leg.record);
    }
}

/// Returns the end that a signal tells of.
fn end_of(signal: &Signal) -> Option<&End> {
    if let Signal::End(end) = signal { Some(end) } else { None }
}

/// Answers an order about a kind of record, or in a vocabulary, that no edge serves.
async fn refuse(id: EffectId, base: u32, request: Request) {
    let failed = Some(Reason::NotImplemented.into());
    let said = Said { id, base, dialog: None, wake: None, edge: String::new(), failed, wire_id: None };
    if let Err(error) = request.reply(said.encode()).await {
        warn!(%error, "an orchestrator did not wait for the answer");
    }
}

/// Asks the orchestrators for a verdict, with retries. An event that was committed but not answered gets the same verdict again.
async fn request_verdict(bus: &Bus, message: Message, opens: bool) -> Verdict {
    let until = Instant::now() + RETRY_TIMEOUT;
    let left = || until.saturating_duration_since(Instant::now());
    let (mut tries, mut pause) = (0, FIRST_PAUSE);
    loop {
        tries += 1;
        let again = match bus.request(subjects::ASK, message.clone(), ASK_TIMEOUT.min(left())).await {
            Ok(octets) => match Verdict::decode(&octets) {
                Ok(Verdict::Unavailable) => !opens,
                Ok(verdict) => return verdict,
                Err(error) => {
                    warn!(%error, "an orchestrator answered nonsense");
                    false
                }
            },
            Err(error) => {
                if tries == 1 {
                    warn!(%error, "no orchestrator answers");
                }
                match error {
                    BusError::Timeout | BusError::Unauthentic => !opens || tries < OPENING_TRIES,
                    BusError::NoResponder | BusError::Full | BusError::Link(_) => !opens,
                    BusError::TooLarge | BusError::Stream(_) => false,
                }
            }
        };
        if !again {
            return Verdict::Unavailable;
        }
        if !opens {
            tokio::time::sleep(pause.min(left())).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        if left().is_zero() {
            warn!(tries, "what happened in a call is in no record");
            return Verdict::Unavailable;
        }
    }
}
