//! The control API: orders are checked, given to the workers that their sessions belong to, and answered.
//!
//! One rule: a unary call and the stream of batches are the same [`Service::execute`].

use crate::command::{DEADLINE, Denial, Done, NoAnswer, NoRoom, Order, Outcome, WorkerHandle};
use crate::convert;
use crate::library::Library;
use crate::state::wire;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, Stream, StreamExt, future::BoxFuture};
use prost::Message as _;
use proto::v1;
use proto::v1::order::Order as Asked;
use proto::v1::relay_server::Relay;
use proto::v1::reply::Reply as Answer;
use relay::session::{Refusal, Snapshot, SoundHandle, Statistics};
use runtime::seal::{self, Content, Sealer};
use signal::Secret;
use signal::media::Fingerprint;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};
use tracing::Span;

/// Orders of one message.
pub const BATCH: usize = 256;
/// Messages of one stream that are being executed; further ones are read when one of them is done.
pub(crate) const UNDER_WAY: usize = 64;

/// A media thread as control sees it.
#[derive(Clone, Debug)]
pub struct Member {
    /// The way to it.
    pub handle: WorkerHandle,
    /// Its ICE port as peers see it.
    pub shared: SocketAddr,
    /// The same for peers of the other family.
    pub other: Option<SocketAddr>,
}

/// The service.
#[derive(Clone, Debug)]
pub struct Service {
    /// All threads, in a fixed order.
    pub members: Arc<[Member]>,
    /// Of the certificate that all ends show.
    pub fingerprint: Arc<Fingerprint>,
    /// Seals the state of sessions for other relays.
    pub sealer: Arc<Sealer>,
    /// Opens what other relays have sealed.
    pub secret: Arc<Secret>,
    /// No new sessions once it drains.
    pub drain: runtime::Drain,
    /// Nor on a thread that uses more of its core, thousandths.
    pub max_busy: Arc<AtomicU32>,
    /// Streams end when its sender is gone.
    pub open: watch::Receiver<()>,
    /// Threads that transcode and play.
    pub sounds: Arc<[SoundHandle]>,
    /// Sounds that can be played.
    pub library: Arc<Library>,
}

/// An order that a thread was given: what is needed for its reply.
struct Ticket {
    id: u64,
    kind: Kind,
    span: Span,
}

#[derive(Clone)]
enum Kind {
    Allocate,
    Connect,
    Bridge,
    Update,
    /// With the session's name.
    Freeze(String),
    Release,
    Statistics,
}

/// Orders given to one thread, and the way that their outcomes come.
type Given = (Member, Result<oneshot::Receiver<Vec<Outcome>>, NoAnswer>, Vec<Ticket>);

impl Service {
    /// The thread that a session lives on: always the same one.
    pub(crate) fn worker_of(&self, session: &str) -> usize {
        let mut hash = DefaultHasher::new();
        session.hash(&mut hash);
        (hash.finish() % self.members.len().max(1) as u64) as usize
    }

    /// Executes a batch. The threads have their orders when this returns, so batches are executed in the order in which they
    /// are given; the replies come in any.
    pub fn execute(&self, orders: Vec<v1::Order>) -> impl Future<Output = Vec<v1::Reply>> + Send + use<> {
        let mut replies = Vec::with_capacity(orders.len());
        let mut shares: Vec<(Vec<Order>, Vec<Ticket>)> =
            self.members.iter().map(|_| (vec![], vec![])).collect();
        for v1::Order { id, order } in orders {
            let Some(order) = order else {
                replies.push(refused(id, &Status::invalid_argument("order: there is none")));
                continue;
            };
            let span = span(&order);
            if matches!(&order, Asked::Statistics(ask) if ask.session.is_empty()) {
                replies.push(v1::Reply { id, reply: Some(Answer::Statistics(self.totals())) });
                continue;
            }
            match self.check(order) {
                Ok((place, kind, order)) => {
                    if let Some((orders, tickets)) = shares.get_mut(place) {
                        orders.push(order);
                        tickets.push(Ticket { id, kind, span });
                    }
                }
                Err(status) => replies.push(fail(id, &span, &status)),
            }
        }
        let members = self.members.iter().zip(shares).filter(|(_, (orders, _))| !orders.is_empty());
        let given: Vec<Given> = members
            .map(|(member, (orders, tickets))| (member.clone(), member.handle.tell(orders), tickets))
            .collect();
        let service = self.clone();
        async move {
            let deadline = Instant::now() + DEADLINE;
            for (member, told, tickets) in given {
                let outcomes = match told {
                    Ok(told) => match tokio::time::timeout_at(deadline, told).await {
                        Ok(Ok(outcomes)) => Ok(outcomes),
                        Ok(Err(_)) | Err(_) => Err(NoAnswer::Lost),
                    },
                    Err(error) => Err(error),
                };
                match outcomes {
                    Ok(outcomes) => {
                        let done = tickets.into_iter().zip(outcomes);
                        replies
                            .extend(done.map(|(ticket, outcome)| service.reply(&member, &ticket, outcome)));
                    }
                    Err(error) => {
                        let status = Status::unavailable(error.to_string());
                        replies.extend(tickets.iter().map(|ticket| fail(ticket.id, &ticket.span, &status)));
                    }
                }
            }
            replies
        }
    }

    /// An order in the core's words, and the thread that it is for.
    fn check(&self, order: Asked) -> Result<(usize, Kind, Order), Status> {
        Ok(match order {
            Asked::Allocate(request) => {
                convert::session(&request.session)?;
                let (legs, bridge) = (convert::legs(&request.legs)?, convert::pairs(&request.bridge)?);
                let state = self.state(&request)?;
                let v1::AllocateRequest { session, trace, grow, .. } = request;
                let place = self.worker_of(&session);
                let closed = self.closed(place);
                (place, Kind::Allocate, Order::Allocate { session, trace, legs, bridge, grow, closed, state })
            }
            Asked::Connect(mut request) => {
                convert::session(&request.session)?;
                let (session, end) = (std::mem::take(&mut request.session), (request.leg, request.content));
                let remote = Box::new(convert::remote(request)?);
                (self.worker_of(&session), Kind::Connect, Order::Connect { session, end, remote })
            }
            Asked::Bridge(v1::BridgeRequest { session, pairs, .. }) => {
                convert::session(&session)?;
                let pairs = convert::pairs(&pairs)?;
                (self.worker_of(&session), Kind::Bridge, Order::Bridge { session, pairs })
            }
            Asked::Update(v1::UpdateRequest { session, freeze: true, .. }) => {
                convert::session(&session)?;
                (self.worker_of(&session), Kind::Freeze(session.clone()), Order::Freeze { session })
            }
            Asked::Update(v1::UpdateRequest { session, leaving: true, .. }) => {
                convert::session(&session)?;
                (self.worker_of(&session), Kind::Update, Order::Leave { session })
            }
            Asked::Update(v1::UpdateRequest { session, leg, content, key: Some(key), .. }) => {
                convert::session(&session)?;
                let (key, end) = (convert::key(&key)?, (leg, content));
                (self.worker_of(&session), Kind::Update, Order::Press { session, end, key })
            }
            Asked::Update(v1::UpdateRequest { session, leg, content, ice, keyframe, .. }) => {
                convert::session(&session)?;
                let (ice, end) = (convert::ice(ice.unwrap_or_default())?, (leg, content));
                (self.worker_of(&session), Kind::Update, Order::Update { session, end, ice, keyframe })
            }
            Asked::Release(v1::ReleaseRequest { session, legs, .. }) => {
                convert::session(&session)?;
                let legs = convert::leg_ids(&legs)?;
                (self.worker_of(&session), Kind::Release, Order::Release { session, legs })
            }
            Asked::Statistics(v1::StatisticsRequest { session }) => {
                convert::session(&session)?;
                (self.worker_of(&session), Kind::Statistics, Order::Statistics { session })
            }
        })
    }

    /// Where another relay had come to with the session.
    fn state(&self, request: &v1::AllocateRequest) -> Result<Option<Box<Snapshot>>, Status> {
        if request.state.is_empty() {
            return Ok(None);
        }
        let octets = seal::open(&self.secret, Content::RelayState, &request.session, &request.state)
            .map_err(|error| Status::permission_denied(format!("state: {error}")))?;
        let snapshot = wire::decode(&octets)
            .ok_or_else(|| Status::permission_denied("state: it makes no sense, or is of a newer relay"))?;
        Ok(Some(Box::new(snapshot)))
    }

    /// Why a thread takes nothing new.
    fn closed(&self, place: usize) -> Option<NoRoom> {
        if self.drain.stage() > runtime::drain::Stage::Running {
            return Some(NoRoom::Draining);
        }
        let busy = self.members.get(place)?.handle.gauges.busy();
        (busy >= self.max_busy.load(Ordering::Relaxed)).then_some(NoRoom::Busy(busy / 10))
    }

    fn reply(&self, member: &Member, ticket: &Ticket, outcome: Outcome) -> v1::Reply {
        let done = match outcome {
            Ok(done) => done,
            Err(denial) => return fail(ticket.id, &ticket.span, &denied(&denial)),
        };
        let answer = match (&ticket.kind, done) {
            (_, Done::Allocated(ends)) => Answer::Allocate(v1::AllocateReply {
                transcodes: self.sounds.iter().any(|line| line.load.has_room()),
                ends: ends
                    .into_iter()
                    .map(|(leg, content, local)| {
                        convert::end(leg, content, local, (member.shared, member.other), &self.fingerprint)
                    })
                    .collect(),
            }),
            (kind, Done::Renewed(local)) => {
                let ice = Some(convert::ours(&local, (member.shared, member.other)));
                match kind {
                    Kind::Update => Answer::Update(v1::UpdateReply { ice, ..v1::UpdateReply::default() }),
                    _ => Answer::Connect(v1::ConnectReply { ice }),
                }
            }
            (Kind::Freeze(session), Done::Frozen(snapshot)) => {
                let state = self.sealer.seal(session, &wire::encode(&snapshot).encode_to_vec());
                Answer::Update(v1::UpdateReply {
                    state: state.unwrap_or_default(),
                    ..v1::UpdateReply::default()
                })
            }
            (Kind::Bridge, _) => Answer::Bridge(v1::BridgeReply {}),
            (Kind::Update | Kind::Freeze(_), _) => Answer::Update(v1::UpdateReply::default()),
            (Kind::Release, Done::Statistics(last)) => Answer::Release(v1::ReleaseReply { ends: told(last) }),
            (_, Done::Statistics(statistics)) => {
                Answer::Statistics(v1::StatisticsReply { ends: told(statistics), ..self.totals() })
            }
            // Only asked for within the process.
            (_, Done::Updated | Done::Voice(_) | Done::Frozen(_)) => {
                Answer::Connect(v1::ConnectReply::default())
            }
        };
        v1::Reply { id: ticket.id, reply: Some(answer) }
    }

    fn totals(&self) -> v1::StatisticsReply {
        let mut totals = v1::StatisticsReply::default();
        for member in self.members.iter() {
            let (sessions, packets, dropped) = member.handle.gauges.read();
            totals.sessions += sessions;
            totals.packets += packets;
            totals.dropped += dropped;
        }
        totals
    }

    /// One order by itself.
    async fn one(&self, order: Asked) -> Result<Answer, Status> {
        let mut replies = self.execute(vec![v1::Order { id: 0, order: Some(order) }]).await;
        match replies.pop().and_then(|reply| reply.reply) {
            Some(Answer::Refused(v1::Refused { code, message })) => {
                Err(Status::new(tonic::Code::from_i32(i32::try_from(code).unwrap_or(2)), message))
            }
            Some(answer) => Ok(answer),
            None => Err(Status::internal("an order without a reply")),
        }
    }
}

fn told(statistics: Option<Vec<Statistics>>) -> Vec<v1::EndStatistics> {
    statistics.unwrap_or_default().into_iter().map(convert::statistics).collect()
}

pub(crate) fn denied(denial: &Denial) -> Status {
    let text = denial.to_string();
    match denial {
        Denial::NoRoom(NoRoom::Ports | NoRoom::Busy(_)) => Status::resource_exhausted(text),
        Denial::NoRoom(NoRoom::Draining) => Status::unavailable(text),
        Denial::Refused(Refusal::UnknownSession(_)) => Status::not_found(text),
        Denial::Refused(Refusal::NoPorts) => Status::failed_precondition(text),
        Denial::Refused(Refusal::Full) => Status::resource_exhausted(text),
        Denial::Refused(_) => Status::invalid_argument(text),
    }
}

/// A span of the call's own trace around an order, from its check to its reply.
fn span(order: &Asked) -> Span {
    /// Makes the span of an order; one of no leg leaves that field out.
    macro_rules! of {
        ($name:literal, $order:expr $(, $field:ident . $rest:ident = $value:expr)?) => {
            tracing::info_span!(
                $name,
                call.id = %$order.session,
                $($field.$rest = $value,)?
                otel.kind = "server",
                otel.status_code = tracing::field::Empty,
                otel.status_description = tracing::field::Empty,
            )
        };
    }
    let (span, trace) = match order {
        Asked::Allocate(a) => (of!("relay.allocate", a), &a.trace),
        Asked::Connect(c) => (of!("relay.connect", c, leg.id = c.leg), &c.trace),
        Asked::Bridge(b) => (of!("relay.bridge", b), &b.trace),
        Asked::Update(u) => (of!("relay.update", u, leg.id = u.leg), &u.trace),
        Asked::Release(r) => (of!("relay.release", r), &r.trace),
        Asked::Statistics(_) => return Span::none(),
    };
    runtime::trace::adopt(&span, trace);
    span
}

/// Logs a failure in its call's own trace.
fn fail(id: u64, span: &Span, status: &Status) -> v1::Reply {
    span.in_scope(|| tracing::warn!(code = ?status.code(), "{}", status.message()));
    runtime::trace::failed(span, status.message());
    refused(id, status)
}

fn refused(id: u64, status: &Status) -> v1::Reply {
    let refused = v1::Refused { code: status.code() as u32, message: status.message().to_owned() };
    v1::Reply { id, reply: Some(Answer::Refused(refused)) }
}

/// A stream of batches and what is under way of it. It is driven by whoever reads its replies: one that does not read them is
/// not read either.
struct OrderStream {
    service: Service,
    inward: Streaming<v1::Orders>,
    under_way: FuturesUnordered<BoxFuture<'static, Vec<v1::Reply>>>,
    ended: bool,
}

impl OrderStream {
    async fn next(&mut self) -> Option<Result<v1::Replies, Status>> {
        loop {
            if self.ended && self.under_way.is_empty() {
                return None;
            }
            tokio::select! {
                biased;
                Some(replies) = self.under_way.next(), if !self.under_way.is_empty() => {
                    return Some(Ok(v1::Replies { replies }));
                }
                _ = self.service.open.changed(), if !self.ended => self.ended = true,
                message = self.inward.next(), if !self.ended && self.under_way.len() < UNDER_WAY => match message {
                    Some(Ok(v1::Orders { orders })) if orders.len() > BATCH => {
                        self.ended = true;
                        let text = format!("orders: {} in a message, at most {BATCH} are taken", orders.len());
                        return Some(Err(Status::invalid_argument(text)));
                    }
                    Some(Ok(v1::Orders { orders })) => self.under_way.push(self.service.execute(orders).boxed()),
                    Some(Err(_)) | None => self.ended = true,
                },
            }
        }
    }
}

#[tonic::async_trait]
impl Relay for Service {
    type PerformStream = Pin<Box<dyn Stream<Item = Result<v1::Replies, Status>> + Send>>;

    async fn perform(
        &self,
        request: Request<Streaming<v1::Orders>>,
    ) -> Result<Response<Self::PerformStream>, Status> {
        let stream = OrderStream {
            service: self.clone(),
            inward: request.into_inner(),
            under_way: FuturesUnordered::new(),
            ended: false,
        };
        let replies = futures::stream::unfold(stream, |mut stream| async move {
            stream.next().await.map(|replies| (replies, stream))
        });
        Ok(Response::new(Box::pin(replies)))
    }

    async fn allocate(
        &self,
        request: Request<v1::AllocateRequest>,
    ) -> Result<Response<v1::AllocateReply>, Status> {
        match self.one(Asked::Allocate(request.into_inner())).await? {
            Answer::Allocate(reply) => Ok(Response::new(reply)),
            _ => Err(Status::internal("the reply is another order's")),
        }
    }

    async fn connect(
        &self,
        request: Request<v1::ConnectRequest>,
    ) -> Result<Response<v1::ConnectReply>, Status> {
        match self.one(Asked::Connect(request.into_inner())).await? {
            Answer::Connect(reply) => Ok(Response::new(reply)),
            _ => Err(Status::internal("the reply is another order's")),
        }
    }

    async fn bridge(&self, request: Request<v1::BridgeRequest>) -> Result<Response<v1::BridgeReply>, Status> {
        match self.one(Asked::Bridge(request.into_inner())).await? {
            Answer::Bridge(reply) => Ok(Response::new(reply)),
            _ => Err(Status::internal("the reply is another order's")),
        }
    }

    async fn update(&self, request: Request<v1::UpdateRequest>) -> Result<Response<v1::UpdateReply>, Status> {
        match self.one(Asked::Update(request.into_inner())).await? {
            Answer::Update(reply) => Ok(Response::new(reply)),
            _ => Err(Status::internal("the reply is another order's")),
        }
    }

    async fn play(&self, request: Request<v1::PlayRequest>) -> Result<Response<v1::PlayReply>, Status> {
        self.play_traced(request.into_inner()).await.map(Response::new)
    }

    async fn release(
        &self,
        request: Request<v1::ReleaseRequest>,
    ) -> Result<Response<v1::ReleaseReply>, Status> {
        match self.one(Asked::Release(request.into_inner())).await? {
            Answer::Release(reply) => Ok(Response::new(reply)),
            _ => Err(Status::internal("the reply is another order's")),
        }
    }

    async fn statistics(
        &self,
        request: Request<v1::StatisticsRequest>,
    ) -> Result<Response<v1::StatisticsReply>, Status> {
        match self.one(Asked::Statistics(request.into_inner())).await? {
            Answer::Statistics(reply) => Ok(Response::new(reply)),
            _ => Err(Status::internal("the reply is another order's")),
        }
    }
}
