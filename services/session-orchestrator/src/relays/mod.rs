//! The relays: which one takes a call ([`placement`]), and what each is told over one stream ([`line`]).
//!
//! One rule: every order is idempotent and has a deadline, so it may be given again. Start at [`Relays::allocate`].

mod convert;
mod line;
mod placement;

pub use placement::Wanted;

use bus::directory::Directory;
use line::Line;
use proto::pass::Pass;
use proto::pipe::Dialer;
use proto::v1::order::Order;
use proto::v1::relay_client::RelayClient;
use proto::v1::reply::Reply;
use proto::v1::{
    AllocateRequest, EndStatistics, PlayRequest, ReleaseRequest, StatisticsRequest, UpdateRequest,
};
use session::call::{Connect, Grant, RelaySession};
use signal::media::Ice;
use signal::{CallId, LegId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tracing::warn;

/// Relays asked for one call before it is refused.
const ATTEMPTS: usize = 3;
/// Lines kept; a cluster has fewer relays than this.
const MAX_LINES: usize = 1_024;
/// A relay whose host is lost is noticed by this, not by its silence.
const KEEPALIVE: Duration = Duration::from_secs(5);

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
    wanted: Arc<Wanted>,
    lines: Arc<Mutex<HashMap<String, Line>>>,
}

/// What a call needs of a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How many contents each leg has.
    pub contents: usize,
    /// Of each leg: it will be WebRTC for certain, and needs no ports of its own.
    pub webrtc: [bool; 2],
}

impl Relays {
    /// Those that announce themselves in the directory.
    #[must_use]
    pub fn new(directory: Arc<Directory>, dial: Dial, pass: Pass, wanted: Wanted) -> Relays {
        Relays { directory, dial, pass, wanted: Arc::new(wanted), lines: Arc::default() }
    }

    /// At least one relay lives.
    #[must_use]
    pub fn any(&self) -> bool {
        self.directory.list().iter().any(|card| !card.draining)
    }

    /// Local ends for both legs; `None` when no relay takes the call. Sessions that a relay may have made without our hearing of
    /// it are added to `doubtful`: they are to be given back.
    pub async fn allocate(
        &self,
        call: CallId,
        shape: &Shape,
        trace: &str,
        doubtful: &mut Vec<RelaySession>,
    ) -> Option<Grant> {
        let name = call.to_string();
        let legs = shape.webrtc.len();
        let webrtc = (0..).zip(&shape.webrtc).filter(|(_, webrtc)| **webrtc).map(|(leg, _)| leg);
        let request = AllocateRequest {
            session: name.clone(),
            legs: u32::try_from(legs).ok()?,
            contents: u32::try_from(shape.contents).ok()?,
            trace: trace.to_owned(),
            webrtc: webrtc.collect(),
        };
        for card in placement::ranked(self.directory.list(), &self.wanted, &name).into_iter().take(ATTEMPTS) {
            let session = RelaySession { instance: card.instance.clone(), address: card.address.clone() };
            let Some(line) = self.line(&session) else { continue };
            match line.ask(Order::Allocate(request.clone())).await {
                Ok(Reply::Allocate(reply)) => {
                    if let Some(ends) = convert::ends(&reply, legs, shape.contents) {
                        return Some(Grant { session, ends, transcodes: reply.transcodes });
                    }
                    warn!(relay = card.instance, "the relay granted ends that make no sense");
                }
                Ok(_) => warn!(relay = card.instance, "the relay answered another question"),
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

    /// Gives an order; `Ok` with the reply.
    async fn order(&self, session: &RelaySession, order: Order) -> Result<Reply, Failure> {
        let line = self.line(session).ok_or(Failure::Later)?;
        line.ask(order).await.map_err(|status| self.failure(session, &status))
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
        self.order(session, Order::Connect(request)).await.map(drop)
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
            picture: false,
        };
        self.order(session, Order::Update(request)).await.map(drop)
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
        let line = self.line(session).ok_or(Failure::Later)?;
        line.play(request).await.map_err(|status| self.failure(session, &status))
    }

    /// Asks whether the relay still has the session.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn probe(&self, session: &RelaySession, call: CallId) -> Result<(), Failure> {
        // A session has ends; a relay that was started anew knows none of it.
        if self.figures(session, call).await?.is_empty() { Err(Failure::Lost) } else { Ok(()) }
    }

    /// Figures of the session's ends as they are now; none when the relay does not know it.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn figures(&self, session: &RelaySession, call: CallId) -> Result<Vec<EndStatistics>, Failure> {
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
        call: CallId,
        trace: &str,
    ) -> Result<Vec<EndStatistics>, Failure> {
        let request = ReleaseRequest { session: call.to_string(), trace: trace.to_owned() };
        match self.order(session, Order::Release(request)).await? {
            Reply::Release(last) => Ok(last.ends),
            _ => Ok(vec![]),
        }
    }

    /// The relay still announces itself.
    #[must_use]
    pub fn lives(&self, session: &RelaySession) -> bool {
        self.directory.list().iter().any(|card| card.instance == session.instance)
    }

    fn line(&self, session: &RelaySession) -> Option<Line> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get(&session.instance) {
            return Some(line.clone());
        }
        let channel = match &self.dial {
            Dial::Pipe(dialer) => dialer.channel(),
            Dial::Tcp => Endpoint::from_shared(format!("http://{}", session.address))
                .ok()?
                .connect_timeout(Duration::from_secs(1))
                .http2_keep_alive_interval(KEEPALIVE)
                .keep_alive_timeout(KEEPALIVE)
                .tcp_nodelay(true)
                .connect_lazy(),
        };
        if lines.len() >= MAX_LINES {
            lines.clear();
        }
        let line = Line::new(RelayClient::with_interceptor(channel, self.pass.clone()));
        lines.insert(session.instance.clone(), line.clone());
        Some(line)
    }

    /// A relay that came back under its name may have another address.
    fn forget(&self, session: &RelaySession, status: &Status) {
        if matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) {
            self.lines.lock().unwrap_or_else(PoisonError::into_inner).remove(&session.instance);
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
