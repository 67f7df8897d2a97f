//! The relays: which one takes a call ([`placement`]), and what each is told over one stream ([`client`]).
//!
//! One rule: every order is idempotent and has a deadline, so it may be given again. Start at [`Relays::allocate`].

mod client;
mod convert;
mod placement;

pub use placement::Wanted;

use bus::directory::{Directory, InstanceInfo};
use client::RelayClient;
use media::LocalEnd;
use proto::auth::AuthToken;
use proto::local::LocalClient;
use proto::pipe::Dialer;
use proto::v1::order::Order;
use proto::v1::relay_client::RelayClient as GrpcClient;
use proto::v1::reply::Reply;
use proto::v1::{
    AllocateRequest, BridgeRequest, EndStatistics, Key, PlayRequest, ReleaseRequest, StatisticsRequest,
    UpdateRequest,
};
use runtime::tls::TlsLink;
use session::call::{Allocation, Connect, RelaySession};
use signal::media::Ice;
use signal::{EffectId, LegId, Reason, RecordId, Secret, Tone};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tracing::warn;

/// Kind under which relays announce themselves.
const KIND: &str = "rtp-relay";
/// Relays asked for one call before it is refused.
const ATTEMPTS: usize = 3;
/// Lines kept; a cluster has fewer relays than this.
const MAX_CLIENTS: usize = 1_024;
/// Time that a connection may take.
const CONNECT: Duration = Duration::from_secs(1);
/// A relay whose host is lost is noticed by this, not by its silence.
const KEEPALIVE: Duration = Duration::from_secs(5);

type Client = GrpcClient<InterceptedService<Channel, AuthToken>>;

/// How relays are reached.
#[derive(Clone, Debug)]
pub enum Dial {
    /// At the address that each announces: in the clear, or over TLS alone where the installation has certificates.
    Tcp(Option<TlsLink>),
    /// The one in this process, over gRPC.
    Pipe(Dialer),
    /// The one in this process, without encoding.
    Local(LocalClient),
}

/// Why an order came to nothing.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// The order may work later.
    Later,
    /// The session is not there (any more), or the order makes no sense to the relay.
    Lost,
}

/// The relays that live.
#[derive(Clone)]
pub struct Relays {
    directory: Arc<Directory>,
    dial: Dial,
    secret: Secret,
    wanted: Arc<Wanted>,
    clients: Arc<Mutex<HashMap<String, RelayClient>>>,
    /// Relays that are known to be gone, though the directory shows them for a while: by when they were started.
    dead: Arc<Mutex<HashMap<String, u64>>>,
}

/// Ends of a session, and which legs hear each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocationRequest {
    /// Its legs.
    pub legs: Vec<LegRequest>,
    /// Legs that hear each other.
    pub bridge: Vec<(LegId, LegId)>,
}

/// Ends of one leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegRequest {
    /// The leg.
    pub leg: LegId,
    /// Number of its contents.
    pub contents: usize,
    /// True if it is WebRTC for certain, and needs no ports of its own.
    pub webrtc: bool,
}

impl Relays {
    /// Those that announce themselves in the directory.
    #[must_use]
    pub fn new(directory: Arc<Directory>, dial: Dial, secret: Secret, wanted: Wanted) -> Relays {
        Relays {
            directory,
            dial,
            secret,
            wanted: Arc::new(wanted),
            clients: Arc::default(),
            dead: Arc::default(),
        }
    }

    /// At least one relay lives.
    #[must_use]
    pub fn any(&self) -> bool {
        self.directory.any(|card| card.kind == KIND && !card.draining)
    }

    /// Allocates local ends for these legs. Sessions that a relay may have made without our hearing of it are added to `maybe_allocated`: they are
    /// to be given back.
    ///
    /// # Errors
    /// `Unavailable` where there is no relay or every one is full, else `Connectivity`: the next call may find one (R-CODE-8).
    pub async fn allocate(
        &self,
        call: RecordId,
        request: &AllocationRequest,
        trace: &str,
        maybe_allocated: &mut Vec<RelaySession>,
    ) -> Result<Allocation, Reason> {
        let cards = self.ranked(&call.to_string());
        self.first(cards, call, request, &[], trace, maybe_allocated).await
    }

    /// The session of a relay that is gone, or wants to go, at another one: `state` is what it has left. One that was started anew
    /// under its name is asked first: peers need not hear of that.
    pub async fn resume(
        &self,
        from: &RelaySession,
        call: RecordId,
        request: &AllocationRequest,
        state: &[u8],
        trace: &str,
        maybe_allocated: &mut Vec<RelaySession>,
    ) -> Option<Allocation> {
        let mut cards = self.ranked(&call.to_string());
        cards.retain(|card| card.instance != from.instance || card.started_ms != from.started_ms);
        cards.sort_by_key(|card| card.instance != from.instance);
        self.first(cards, call, request, state, trace, maybe_allocated).await.ok()
    }

    /// The first of these relays that takes the session.
    async fn first(
        &self,
        cards: Vec<InstanceInfo>,
        call: RecordId,
        wanted: &AllocationRequest,
        state: &[u8],
        trace: &str,
        maybe_allocated: &mut Vec<RelaySession>,
    ) -> Result<Allocation, Reason> {
        let request = AllocateRequest {
            session: call.to_string(),
            legs: wanted.legs.iter().map(convert::leg).collect(),
            bridge: wanted.bridge.iter().map(convert::pair).collect(),
            trace: trace.to_owned(),
            grow: false,
            state: state.to_vec(),
        };
        let mut why = Reason::Unavailable;
        for card in cards.into_iter().take(ATTEMPTS) {
            let session = session(&card);
            let Some(client) = self.client(&session) else { continue };
            match client.ask(Order::Allocate(request.clone())).await {
                Ok(Reply::Allocate(reply)) => {
                    if let Some(ends) = convert::ends(&reply, &wanted.legs) {
                        return Ok(Allocation { session, ends, transcodes: reply.transcodes });
                    }
                    warn!(relay = card.instance, "the relay granted ends that make no sense");
                }
                Ok(_) => warn!(relay = card.instance, "the relay answered another question"),
                Err(status) => {
                    warn!(relay = card.instance, %status, "the relay does not take the call");
                    if status.code() == Code::ResourceExhausted {
                        continue;
                    }
                    self.forget(&session, &status);
                    let refused = [Code::InvalidArgument, Code::PermissionDenied];
                    if !refused.contains(&status.code()) {
                        maybe_allocated.push(session);
                    }
                }
            }
            why = Reason::Connectivity;
        }
        Err(why)
    }

    /// Adds legs to a session that the relay has, or returns the ends of those that it has already; they hear nobody until they are
    /// bridged.
    ///
    /// # Errors
    /// [`Failure`]; `Later` also where the relay has no port left.
    pub async fn add_legs(
        &self,
        session: &RelaySession,
        call: RecordId,
        legs: &[LegRequest],
        trace: &str,
    ) -> Result<Vec<(LegId, Vec<LocalEnd>)>, Failure> {
        let request = AllocateRequest {
            session: call.to_string(),
            legs: legs.iter().map(convert::leg).collect(),
            trace: trace.to_owned(),
            grow: true,
            ..AllocateRequest::default()
        };
        match self.order(session, Order::Allocate(request)).await? {
            Reply::Allocate(reply) => convert::ends(&reply, legs).ok_or(Failure::Lost),
            _ => Err(Failure::Later),
        }
    }

    /// Sets which legs of a session hear each other; a leg in no pair hears nobody.
    ///
    /// # Errors
    /// [`Failure`]; `Later` also where codecs do not meet and the relay has no room to transcode.
    pub async fn bridge(
        &self,
        session: &RelaySession,
        call: RecordId,
        pairs: &[(LegId, LegId)],
        trace: &str,
    ) -> Result<(), Failure> {
        let request = BridgeRequest {
            session: call.to_string(),
            pairs: pairs.iter().map(convert::pair).collect(),
            trace: trace.to_owned(),
        };
        self.order(session, Order::Bridge(request)).await.map(drop)
    }

    /// Returns the relays in the order in which they are asked.
    fn ranked(&self, call: &str) -> Vec<InstanceInfo> {
        let cards = self.directory.list_where(|card| card.kind == KIND && !self.is_marked_dead(card));
        placement::ranked(cards, &self.wanted, call)
    }

    /// Gives an order; `Ok` with the reply.
    async fn order(&self, session: &RelaySession, order: Order) -> Result<Reply, Failure> {
        let client = self.client(session).ok_or(Failure::Later)?;
        client.ask(order).await.map_err(|status| self.failure(session, &status))
    }

    /// Tells an end who its peer is; `told`: what that knows of the end's ICE; `networks`: where its media may come from, too. Gives that which it is to know after a restart.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn connect(
        &self,
        session: &RelaySession,
        call: RecordId,
        connect: &Connect,
        (told, networks): (Option<&Ice>, &[String]),
        trace: &str,
    ) -> Result<Option<Ice>, Failure> {
        let request = convert::connect(&call.to_string(), connect, (told, networks), trace);
        self.order(session, Order::Connect(request)).await.map(renewed)
    }

    /// Gives an end further candidates of its peer; as [`Relays::connect`].
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn candidates(
        &self,
        session: &RelaySession,
        call: RecordId,
        (leg, content): (LegId, u16),
        ice: &Ice,
        trace: &str,
    ) -> Result<Option<Ice>, Failure> {
        let request = UpdateRequest {
            session: call.to_string(),
            leg: leg.0.into(),
            content: content.into(),
            ice: Some(ice.into()),
            trace: trace.to_owned(),
            ..UpdateRequest::default()
        };
        self.order(session, Order::Update(request)).await.map(renewed)
    }

    /// Lets the party at an end hear a sound over and over until there is live media; `None`: no more.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn play(
        &self,
        session: &RelaySession,
        call: RecordId,
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
        let client = self.client(session).ok_or(Failure::Later)?;
        client.play(request).await.map_err(|status| self.failure(session, &status))
    }

    /// Says a key to the party at an end; the id of the order tells one that is given again.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn press(
        &self,
        session: &RelaySession,
        call: RecordId,
        (leg, content): (LegId, u16),
        (tone, id): (Tone, EffectId),
        trace: &str,
    ) -> Result<(), Failure> {
        let key =
            Key { digit: tone.digit.into(), duration_ms: tone.duration.into(), id: convert::key_id(id) };
        let request = UpdateRequest {
            session: call.to_string(),
            leg: leg.0.into(),
            content: content.into(),
            key: Some(key),
            trace: trace.to_owned(),
            ..UpdateRequest::default()
        };
        self.order(session, Order::Update(request)).await.map(drop)
    }

    /// Asks whether the relay still has the session.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn probe(&self, session: &RelaySession, call: RecordId) -> Result<(), Failure> {
        // A session has ends; a relay that was started anew knows none of it.
        if self.figures(session, call).await?.is_empty() { Err(Failure::Lost) } else { Ok(()) }
    }

    /// Another relay goes on with the session: this one is to forward what comes, and no more.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn leave(&self, session: &RelaySession, call: RecordId, trace: &str) -> Result<(), Failure> {
        let request = UpdateRequest {
            session: call.to_string(),
            leaving: true,
            trace: trace.to_owned(),
            ..UpdateRequest::default()
        };
        self.order(session, Order::Update(request)).await.map(drop)
    }

    /// Asks for the state of a session that is to go on at another relay while this one still forwards, if there is another; this one
    /// keeps to that numbering then. `None`: it cannot tell.
    pub async fn freeze(&self, session: &RelaySession, call: RecordId, trace: &str) -> Option<Vec<u8>> {
        let other = |card: &InstanceInfo| card.instance != session.instance;
        if !self.ranked(&call.to_string()).iter().any(other) {
            return None;
        }
        let request = UpdateRequest {
            session: call.to_string(),
            freeze: true,
            trace: trace.to_owned(),
            ..UpdateRequest::default()
        };
        match self.order(session, Order::Update(request)).await {
            Ok(Reply::Update(reply)) if !reply.state.is_empty() => Some(reply.state),
            _ => None,
        }
    }

    /// Figures of the session's ends as they are now; none when the relay does not know it.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn figures(
        &self,
        session: &RelaySession,
        call: RecordId,
    ) -> Result<Vec<EndStatistics>, Failure> {
        let ask = StatisticsRequest { session: call.to_string() };
        match self.order(session, Order::Statistics(ask)).await? {
            Reply::Statistics(figures) => Ok(figures.ends),
            _ => Ok(vec![]),
        }
    }

    /// Gives the session back, for its last figures; none when it was given back before.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn release(
        &self,
        session: &RelaySession,
        call: RecordId,
        trace: &str,
    ) -> Result<Vec<EndStatistics>, Failure> {
        self.release_legs(session, call, &[], trace).await
    }

    /// Gives some legs of the session back, for their last figures; none when they were given back before.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn release_legs(
        &self,
        session: &RelaySession,
        call: RecordId,
        legs: &[LegId],
        trace: &str,
    ) -> Result<Vec<EndStatistics>, Failure> {
        let legs = legs.iter().map(|leg| leg.0.into()).collect();
        let request = ReleaseRequest { session: call.to_string(), trace: trace.to_owned(), legs };
        match self.order(session, Order::Release(request)).await? {
            Reply::Release(last) => Ok(last.ends),
            _ => Ok(vec![]),
        }
    }

    /// The relay still announces itself.
    #[must_use]
    pub fn lives(&self, session: &RelaySession) -> bool {
        let is =
            |card: &InstanceInfo| card.instance == session.instance && card.started_ms == session.started_ms;
        self.directory.any(|card| card.kind == KIND && is(card) && !self.is_marked_dead(card))
    }

    /// The relays that announce themselves, and for how long each has been silent.
    #[must_use]
    pub fn silences(&self) -> Vec<(InstanceInfo, Duration)> {
        self.directory.silences(KIND)
    }

    /// Waits until a relay, or any other instance, appears, leaves, was started anew or drains.
    pub async fn changed(&self) {
        self.directory.changed().await;
    }

    /// Returns true if the relay answers at all.
    pub async fn answers(&self, card: &InstanceInfo, within: Duration) -> bool {
        let session = session(card);
        let Some(client) = self.client(&session) else { return false };
        let asked = client.ask(Order::Statistics(StatisticsRequest::default()));
        let answered = matches!(tokio::time::timeout(within, asked).await, Ok(Ok(_)));
        if !answered {
            // A connection that stands may be one to nobody.
            self.forget(&session, &Status::unavailable(""));
        }
        answered
    }

    /// This relay is gone, whatever the directory says.
    pub fn mark_dead(&self, card: &InstanceInfo) {
        let mut dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        if dead.len() >= MAX_CLIENTS {
            dead.clear();
        }
        dead.insert(card.instance.clone(), card.started_ms);
    }

    /// Takes back that a relay is dead: it answers again.
    pub fn mark_alive(&self, card: &InstanceInfo) {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner).remove(&card.instance);
    }

    /// This relay was found to be gone.
    #[must_use]
    pub fn is_marked_dead(&self, card: &InstanceInfo) -> bool {
        let dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        dead.get(&card.instance) == Some(&card.started_ms)
    }

    fn client(&self, session: &RelaySession) -> Option<RelayClient> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&session.instance) {
            return Some(client.clone());
        }
        let pass = AuthToken::new(&self.secret, &session.instance, runtime::clock::now_ms);
        let over = |channel| RelayClient::new(GrpcClient::with_interceptor(channel, pass));
        let client = match &self.dial {
            Dial::Local(client) => RelayClient::local(client.clone()),
            Dial::Pipe(dialer) => over(dialer.channel()),
            Dial::Tcp(tls) => {
                let endpoint = Endpoint::from_shared(format!("http://{}", session.address))
                    .ok()?
                    .connect_timeout(CONNECT)
                    .http2_keep_alive_interval(KEEPALIVE)
                    .keep_alive_timeout(KEEPALIVE)
                    .tcp_nodelay(true);
                over(match tls {
                    None => endpoint.connect_lazy(),
                    Some(link) => link.channel(&endpoint, &session.address),
                })
            }
        };
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        clients.insert(session.instance.clone(), client.clone());
        Some(client)
    }

    /// A relay that came back under its name may have another address.
    fn forget(&self, session: &RelaySession, status: &Status) {
        if matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) {
            self.clients.lock().unwrap_or_else(PoisonError::into_inner).remove(&session.instance);
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

/// The ICE that an end answers restarts of its peer with; `None`: there were none.
fn renewed(reply: Reply) -> Option<Ice> {
    let ice = match reply {
        Reply::Connect(reply) => reply.ice,
        Reply::Update(reply) => reply.ice,
        _ => None,
    };
    ice.and_then(|ice| Ice::try_from(ice).ok())
}

/// A session at this relay.
pub fn session(card: &InstanceInfo) -> RelaySession {
    let InstanceInfo { instance, address, started_ms, .. } = card.clone();
    RelaySession { instance, address, started_ms }
}
