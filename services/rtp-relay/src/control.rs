//! The control API: each call is checked, given to the worker that the session belongs to, and answered.

use crate::command::{Command, Line, NoAnswer, NoRoom};
use crate::convert;
use crate::state::{seal, words};
use proto::v1;
use proto::v1::relay_server::Relay;
use relay::session::{Figures, Refusal, Snapshot};
use signal::Secret;
use signal::media::Fingerprint;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use tonic::{Request, Response, Status};
use tracing::Instrument;

/// A media thread as control sees it.
#[derive(Clone, Debug)]
pub struct Member {
    /// The way to it.
    pub line: Line,
    /// Its ICE port as peers see it.
    pub shared: SocketAddr,
}

/// The service.
#[derive(Clone, Debug)]
pub struct Service {
    /// All threads, in a fixed order.
    pub members: Arc<[Member]>,
    /// Of the certificate that all ends show.
    pub fingerprint: Arc<Fingerprint>,
    /// Opens what other relays have sealed.
    pub secret: Arc<Secret>,
    /// No new sessions once it drains.
    pub drain: runtime::Drain,
}

impl Service {
    /// The thread that a session lives on: always the same one.
    fn member(&self, session: &str) -> Result<&Member, Status> {
        let mut hash = DefaultHasher::new();
        session.hash(&mut hash);
        let at = hash.finish() % self.members.len().max(1) as u64;
        self.members.get(at as usize).ok_or_else(|| Status::unavailable("the relay has no media thread"))
    }

    async fn allocate(&self, request: v1::AllocateRequest) -> Result<v1::AllocateReply, Status> {
        let contents = convert::shape(&request)?;
        let member = self.member(&request.session)?;
        let known_only = self.drain.stage() > runtime::drain::Stage::Running;
        let state = self.state(&request)?;
        let v1::AllocateRequest { session, trace, .. } = request;
        let made = member
            .line
            .ask(|reply| Command::Allocate { session, trace, contents, known_only, state, reply })
            .await
            .map_err(lost)?
            .map_err(|no_room| match no_room {
                NoRoom::Ports => Status::resource_exhausted(no_room.to_string()),
                NoRoom::Draining => Status::unavailable(no_room.to_string()),
            })?;
        let ends = made
            .into_iter()
            .map(|(leg, content, local)| convert::end(leg, content, local, member.shared, &self.fingerprint));
        Ok(v1::AllocateReply { ends: ends.collect() })
    }

    /// Where another relay had come to with the session.
    fn state(&self, request: &v1::AllocateRequest) -> Result<Option<Box<Snapshot>>, Status> {
        if request.state.is_empty() {
            return Ok(None);
        }
        let octets = seal::open(&self.secret, &request.session, &request.state)
            .map_err(|error| Status::permission_denied(format!("state: {error}")))?;
        let snapshot =
            words::read(&octets).ok_or_else(|| Status::permission_denied("state: it makes no sense"))?;
        Ok(Some(Box::new(snapshot)))
    }

    async fn connect(&self, request: v1::ConnectRequest) -> Result<v1::ConnectReply, Status> {
        let (session, end) = (request.session.clone(), (request.leg, request.content));
        let line = &self.member(&session)?.line;
        let remote = Box::new(convert::remote(request)?);
        let done = line.ask(|reply| Command::Connect { session, end, remote, reply }).await.map_err(lost)?;
        done.map_err(refused)?;
        Ok(v1::ConnectReply {})
    }

    async fn update(&self, request: v1::UpdateRequest) -> Result<v1::UpdateReply, Status> {
        convert::session(&request.session)?;
        let (session, end) = (request.session, (request.leg, request.content));
        let line = &self.member(&session)?.line;
        if request.leaving {
            let done = line.ask(|reply| Command::Leave { session, reply }).await.map_err(lost)?;
            done.map_err(refused)?;
            return Ok(v1::UpdateReply {});
        }
        let ice = convert::ice(request.ice.unwrap_or_default())?;
        let done = line.ask(|reply| Command::Update { session, end, ice, reply }).await.map_err(lost)?;
        done.map_err(refused)?;
        Ok(v1::UpdateReply {})
    }

    async fn release(&self, request: v1::ReleaseRequest) -> Result<v1::ReleaseReply, Status> {
        convert::session(&request.session)?;
        let session = request.session;
        let line = &self.member(&session)?.line;
        let last = line.ask(|reply| Command::Release { session, reply }).await.map_err(lost)?;
        Ok(v1::ReleaseReply { ends: told(last) })
    }

    async fn statistics(&self, request: v1::StatisticsRequest) -> Result<v1::StatisticsReply, Status> {
        let mut reply = v1::StatisticsReply::default();
        for member in self.members.iter() {
            let (sessions, packets, dropped) = member.line.gauges.read();
            reply.sessions += sessions;
            reply.packets += packets;
            reply.dropped += dropped;
        }
        if !request.session.is_empty() {
            convert::session(&request.session)?;
            let session = request.session;
            let line = &self.member(&session)?.line;
            let figures = line.ask(|reply| Command::Figures { session, reply }).await.map_err(lost)?;
            reply.ends = told(figures);
        }
        Ok(reply)
    }
}

fn told(figures: Option<Vec<Figures>>) -> Vec<v1::EndStatistics> {
    figures.unwrap_or_default().into_iter().map(convert::figures).collect()
}

fn lost(error: NoAnswer) -> Status {
    Status::unavailable(error.to_string())
}

fn refused(refusal: Refusal) -> Status {
    match refusal {
        Refusal::UnknownSession(_) => Status::not_found(refusal.to_string()),
        Refusal::Settled => Status::failed_precondition(refusal.to_string()),
        _ => Status::invalid_argument(refusal.to_string()),
    }
}

/// A span of the call's own trace around one control call; what fails is logged there.
async fn traced<T>(
    span: tracing::Span,
    trace: &str,
    work: impl Future<Output = Result<T, Status>>,
) -> Result<Response<T>, Status> {
    runtime::trace::adopt(&span, trace);
    let done = work.instrument(span.clone()).await;
    if let Err(status) = &done {
        span.in_scope(|| tracing::warn!(code = ?status.code(), "{}", status.message()));
    }
    done.map(Response::new)
}

#[tonic::async_trait]
impl Relay for Service {
    async fn allocate(
        &self,
        request: Request<v1::AllocateRequest>,
    ) -> Result<Response<v1::AllocateReply>, Status> {
        let request = request.into_inner();
        let span = tracing::info_span!("relay.allocate", call.id = %request.session);
        let trace = request.trace.clone();
        traced(span, &trace, Service::allocate(self, request)).await
    }

    async fn connect(
        &self,
        request: Request<v1::ConnectRequest>,
    ) -> Result<Response<v1::ConnectReply>, Status> {
        let request = request.into_inner();
        let span = tracing::info_span!("relay.connect", call.id = %request.session, leg.id = request.leg);
        let trace = request.trace.clone();
        traced(span, &trace, Service::connect(self, request)).await
    }

    async fn update(&self, request: Request<v1::UpdateRequest>) -> Result<Response<v1::UpdateReply>, Status> {
        let request = request.into_inner();
        let span = tracing::info_span!("relay.update", call.id = %request.session, leg.id = request.leg);
        let trace = request.trace.clone();
        traced(span, &trace, Service::update(self, request)).await
    }

    async fn release(
        &self,
        request: Request<v1::ReleaseRequest>,
    ) -> Result<Response<v1::ReleaseReply>, Status> {
        let request = request.into_inner();
        let span = tracing::info_span!("relay.release", call.id = %request.session);
        let trace = request.trace.clone();
        traced(span, &trace, Service::release(self, request)).await
    }

    async fn statistics(
        &self,
        request: Request<v1::StatisticsRequest>,
    ) -> Result<Response<v1::StatisticsReply>, Status> {
        Service::statistics(self, request.into_inner()).await.map(Response::new)
    }
}
