//! The relays: which one takes a call, and what each is told over gRPC.
//!
//! One rule: every order is idempotent and has a deadline, so it may be given again. Start at [`Relays::allocate`].

mod convert;

use bus::directory::{Card, Directory};
use proto::pass::Pass;
use proto::pipe::Dialer;
use proto::v1::relay_client::RelayClient;
use proto::v1::{AllocateRequest, ReleaseRequest, StatisticsRequest, UpdateRequest};
use session::call::{Connect, Grant, RelaySession};
use signal::media::Ice;
use signal::{CallId, EventId, LegId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tracing::warn;

/// An order that is not answered in this time has failed.
const DEADLINE: Duration = Duration::from_secs(2);
/// Relays asked for one call before it is refused.
const ATTEMPTS: usize = 3;
/// Connections kept; a cluster has fewer relays than this.
const MAX_CHANNELS: usize = 1_024;

type Client = RelayClient<InterceptedService<Channel, Pass>>;

/// How relays are reached.
#[derive(Clone, Debug)]
pub enum Dial {
    /// At the address that each announces.
    Tcp,
    /// The one in this process.
    Pipe(Dialer),
}

/// Why an order came to nothing.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// It may work later.
    Later,
    /// The session is not there (any more), or the order makes no sense to the relay.
    Lost,
}

/// The relays that live.
#[derive(Clone)]
pub struct Relays {
    directory: Arc<Directory>,
    dial: Dial,
    pass: Pass,
    channels: Arc<Mutex<HashMap<String, Channel>>>,
    /// Relays that are known to be gone, though the directory shows them for a while: by when they were started.
    buried: Arc<Mutex<HashMap<String, u64>>>,
}

impl Relays {
    /// Those that announce themselves in the directory.
    #[must_use]
    pub fn new(directory: Arc<Directory>, dial: Dial, pass: Pass) -> Relays {
        Relays { directory, dial, pass, channels: Arc::default(), buried: Arc::default() }
    }

    /// At least one relay lives.
    #[must_use]
    pub fn any(&self) -> bool {
        self.directory.list().iter().any(|card| !card.draining)
    }

    /// Local ends for `legs` legs of `contents` contents each; `None` when no relay takes the call. Sessions that a relay may have
    /// made without our hearing of it are added to `doubtful`: they are to be given back.
    pub async fn allocate(
        &self,
        call: CallId,
        (legs, contents): (usize, usize),
        trace: &str,
        doubtful: &mut Vec<RelaySession>,
    ) -> Option<Grant> {
        let cards = self.ranked(&call.to_string());
        self.first(cards, call, (legs, contents), &[], trace, doubtful).await
    }

    /// The session of a relay that is gone, or wants to go, at another one: `state` is what it has left. One that was started anew
    /// under its name is asked first: peers need not hear of that.
    pub async fn resume(
        &self,
        from: &RelaySession,
        call: CallId,
        (legs, contents): (usize, usize),
        state: &[u8],
        trace: &str,
        doubtful: &mut Vec<RelaySession>,
    ) -> Option<Grant> {
        let mut cards = self.ranked(&call.to_string());
        cards.retain(|card| card.instance != from.instance || card.started_ms != from.started_ms);
        cards.sort_by_key(|card| card.instance != from.instance);
        self.first(cards, call, (legs, contents), state, trace, doubtful).await
    }

    /// The first of these relays that takes the session.
    async fn first(
        &self,
        cards: Vec<Card>,
        call: CallId,
        (legs, contents): (usize, usize),
        state: &[u8],
        trace: &str,
        doubtful: &mut Vec<RelaySession>,
    ) -> Option<Grant> {
        for card in cards.into_iter().take(ATTEMPTS) {
            let request = AllocateRequest {
                session: call.to_string(),
                legs: u32::try_from(legs).ok()?,
                contents: u32::try_from(contents).ok()?,
                trace: trace.to_owned(),
                state: state.to_vec(),
            };
            let session = session(&card);
            let Some(mut client) = self.client(&session) else { continue };
            match within(client.allocate(request)).await {
                Ok(reply) => {
                    if let Some(ends) = convert::ends(&reply, legs, contents) {
                        return Some(Grant { session, ends });
                    }
                    warn!(relay = card.instance, "the relay granted ends that make no sense");
                }
                Err(status) => {
                    warn!(relay = card.instance, %status, "the relay does not take the call");
                    self.forget(&session, &status);
                    let refused = [Code::ResourceExhausted, Code::InvalidArgument, Code::PermissionDenied];
                    if !refused.contains(&status.code()) {
                        doubtful.push(session);
                    }
                }
            }
        }
        None
    }

    /// Least loaded first; relays of equal load share the calls by hash.
    fn ranked(&self, call: &str) -> Vec<Card> {
        let mut cards = self.directory.list();
        cards.retain(|card| !card.draining && !self.is_buried(card));
        cards.sort_by_cached_key(|card| {
            let share = card.load.saturating_mul(100) / card.capacity.max(1);
            (share / 10, EventId::of(&[call, &card.instance]).0)
        });
        cards
    }

    /// Tells an end who its peer is.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn connect(
        &self,
        session: &RelaySession,
        call: CallId,
        connect: &Connect,
        trace: &str,
    ) -> Result<(), Failure> {
        let request = convert::connect(&call.to_string(), connect, trace);
        let mut client = self.client(session).ok_or(Failure::Later)?;
        within(client.connect(request)).await.map(drop).map_err(|status| self.failure(session, &status))
    }

    /// Gives an end further candidates of its peer.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn candidates(
        &self,
        session: &RelaySession,
        call: CallId,
        (leg, content): (LegId, u16),
        ice: &Ice,
        trace: &str,
    ) -> Result<(), Failure> {
        let request = UpdateRequest {
            session: call.to_string(),
            leg: leg.0.into(),
            content: content.into(),
            ice: Some(ice.into()),
            trace: trace.to_owned(),
            leaving: false,
        };
        let mut client = self.client(session).ok_or(Failure::Later)?;
        within(client.update(request)).await.map(drop).map_err(|status| self.failure(session, &status))
    }

    /// Asks whether the relay still has the session.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn probe(&self, session: &RelaySession, call: CallId) -> Result<(), Failure> {
        let mut client = self.client(session).ok_or(Failure::Later)?;
        let figures = within(client.statistics(StatisticsRequest { session: call.to_string() })).await;
        let figures = figures.map_err(|status| self.failure(session, &status))?;
        // A session has ends; a relay that was started anew knows none of it.
        if figures.ends.is_empty() { Err(Failure::Lost) } else { Ok(()) }
    }

    /// Another relay goes on with the session: this one is to forward what comes, and no more.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn leave(&self, session: &RelaySession, call: CallId, trace: &str) -> Result<(), Failure> {
        let request = UpdateRequest {
            session: call.to_string(),
            leaving: true,
            trace: trace.to_owned(),
            ..UpdateRequest::default()
        };
        let mut client = self.client(session).ok_or(Failure::Later)?;
        within(client.update(request)).await.map(drop).map_err(|status| self.failure(session, &status))
    }

    /// Gives the session back.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn release(&self, session: &RelaySession, call: CallId, trace: &str) -> Result<(), Failure> {
        let request = ReleaseRequest { session: call.to_string(), trace: trace.to_owned() };
        let mut client = self.client(session).ok_or(Failure::Later)?;
        within(client.release(request)).await.map(drop).map_err(|status| self.failure(session, &status))
    }

    /// The relay still announces itself.
    #[must_use]
    pub fn lives(&self, session: &RelaySession) -> bool {
        let is = |card: &Card| card.instance == session.instance && card.started_ms == session.started_ms;
        self.directory.list().iter().any(|card| is(card) && !self.is_buried(card))
    }

    /// The relays that announce themselves, and for how long each has been silent.
    #[must_use]
    pub fn silences(&self) -> Vec<(Card, Duration)> {
        self.directory.silences()
    }

    /// Whether the relay answers at all.
    pub async fn answers(&self, card: &Card, within: Duration) -> bool {
        let session = session(card);
        let Some(mut client) = self.client(&session) else { return false };
        let asked = client.statistics(StatisticsRequest::default());
        let answered = matches!(tokio::time::timeout(within, asked).await, Ok(Ok(_)));
        if !answered {
            // A connection that stands may be one to nobody.
            self.forget(&session, &Status::unavailable(""));
        }
        answered
    }

    /// This relay is gone, whatever the directory says.
    pub fn bury(&self, card: &Card) {
        let mut buried = self.buried.lock().unwrap_or_else(PoisonError::into_inner);
        if buried.len() >= MAX_CHANNELS {
            buried.clear();
        }
        buried.insert(card.instance.clone(), card.started_ms);
    }

    /// It was given up, and answers again.
    pub fn unbury(&self, card: &Card) {
        self.buried.lock().unwrap_or_else(PoisonError::into_inner).remove(&card.instance);
    }

    /// This relay was found to be gone.
    #[must_use]
    pub fn is_buried(&self, card: &Card) -> bool {
        let buried = self.buried.lock().unwrap_or_else(PoisonError::into_inner);
        buried.get(&card.instance) == Some(&card.started_ms)
    }

    fn client(&self, session: &RelaySession) -> Option<Client> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(&session.instance) {
            return Some(RelayClient::with_interceptor(channel.clone(), self.pass.clone()));
        }
        let channel = match &self.dial {
            Dial::Pipe(dialer) => dialer.channel(),
            Dial::Tcp => Endpoint::from_shared(format!("http://{}", session.address))
                .ok()?
                .connect_timeout(Duration::from_secs(1))
                .tcp_nodelay(true)
                .connect_lazy(),
        };
        if channels.len() >= MAX_CHANNELS {
            channels.clear();
        }
        channels.insert(session.instance.clone(), channel.clone());
        Some(RelayClient::with_interceptor(channel, self.pass.clone()))
    }

    /// A relay that came back under its name may have another address.
    fn forget(&self, session: &RelaySession, status: &Status) {
        if status.code() == Code::Unavailable {
            self.channels.lock().unwrap_or_else(PoisonError::into_inner).remove(&session.instance);
        }
    }

    fn failure(&self, session: &RelaySession, status: &Status) -> Failure {
        self.forget(session, status);
        warn!(relay = session.instance, %status, "an order to the relay failed");
        match status.code() {
            Code::NotFound | Code::InvalidArgument | Code::FailedPrecondition => Failure::Lost,
            _ => Failure::Later,
        }
    }
}

/// A session at this relay.
pub fn session(card: &Card) -> RelaySession {
    let Card { instance, address, started_ms, .. } = card.clone();
    RelaySession { instance, address, started_ms }
}

async fn within<T>(order: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(DEADLINE, order).await {
        Ok(reply) => reply.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
    }
}
