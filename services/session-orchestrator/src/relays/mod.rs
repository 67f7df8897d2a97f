//! The relays: which one takes a call, and what each is told over gRPC.
//!
//! One rule: every order is idempotent and has a deadline, so it may be given again. Start at [`Relays::allocate`].

mod convert;

use bus::directory::{Card, Directory};
use proto::pass::Pass;
use proto::pipe::Dialer;
use proto::v1::relay_client::RelayClient;
use proto::v1::{AllocateRequest, PlayRequest, ReleaseRequest, StatisticsRequest, UpdateRequest};
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
}

impl Relays {
    /// Those that announce themselves in the directory.
    #[must_use]
    pub fn new(directory: Arc<Directory>, dial: Dial, pass: Pass) -> Relays {
        Relays { directory, dial, pass, channels: Arc::default() }
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
        let name = call.to_string();
        for card in self.ranked(&name).into_iter().take(ATTEMPTS) {
            let request = AllocateRequest {
                session: name.clone(),
                legs: u32::try_from(legs).ok()?,
                contents: u32::try_from(contents).ok()?,
                trace: trace.to_owned(),
            };
            let session = RelaySession { instance: card.instance.clone(), address: card.address.clone() };
            let Some(mut client) = self.client(&session) else { continue };
            match within(client.allocate(request)).await {
                Ok(reply) => {
                    if let Some(ends) = convert::ends(&reply, legs, contents) {
                        return Some(Grant { session, ends, transcodes: reply.transcodes });
                    }
                    warn!(relay = card.instance, "the relay granted ends that make no sense");
                }
                Err(status) => {
                    warn!(relay = card.instance, %status, "the relay does not take the call");
                    self.forget(&session, &status);
                    if !matches!(status.code(), Code::ResourceExhausted | Code::InvalidArgument) {
                        doubtful.push(session);
                    }
                }
            }
        }
        None
    }

    /// Least loaded first; relays of equal load share the calls by hash.
    fn ranked(&self, call: &str) -> Vec<Card> {
        let mut cards: Vec<Card> = self.directory.list().into_iter().filter(|card| !card.draining).collect();
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
        };
        let mut client = self.client(session).ok_or(Failure::Later)?;
        within(client.update(request)).await.map(drop).map_err(|status| self.failure(session, &status))
    }

    /// Lets the party at an end hear a sound over and over until there is live media; `None`: no more.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn play(
        &self,
        session: &RelaySession,
        call: CallId,
        (leg, content): (LegId, u16),
        sound: Option<&str>,
        trace: &str,
    ) -> Result<(), Failure> {
        let request = PlayRequest {
            session: call.to_string(),
            leg: leg.0.into(),
            content: content.into(),
            sound: sound.unwrap_or_default().to_owned(),
            repeat: true,
            until_media: true,
            trace: trace.to_owned(),
        };
        let mut client = self.client(session).ok_or(Failure::Later)?;
        within(client.play(request)).await.map(drop).map_err(|status| self.failure(session, &status))
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
        self.directory.list().iter().any(|card| card.instance == session.instance)
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

async fn within<T>(order: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(DEADLINE, order).await {
        Ok(reply) => reply.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
    }
}
