//! A sound for one party, by an order of its own: what it is made of is read and coded off the media threads first, so it goes in no
//! batch.

use crate::command::{DEADLINE, Done, NoAnswer, Order};
use crate::control::{Service, denied};
use proto::v1;
use tonic::Status;
use tracing::Instrument;

impl Service {
    /// Plays, or stops what is played, within a span of the call's trace.
    ///
    /// # Errors
    /// The end is not there or speaks no codec of ours, there is no such sound, no thread has room.
    pub(crate) async fn play_traced(&self, request: v1::PlayRequest) -> Result<v1::PlayReply, Status> {
        let span = tracing::info_span!(
            "relay.play",
            call.id = %request.session,
            leg.id = request.leg,
            otel.kind = "server",
            otel.status_code = tracing::field::Empty,
            otel.status_description = tracing::field::Empty,
        );
        runtime::trace::adopt(&span, &request.trace);
        let done = self.played(request).instrument(span.clone()).await;
        if let Err(status) = &done {
            span.in_scope(|| tracing::warn!(code = ?status.code(), "{}", status.message()));
            runtime::trace::failed(&span, status.message());
        }
        done
    }

    async fn played(&self, request: v1::PlayRequest) -> Result<v1::PlayReply, Status> {
        crate::convert::session(&request.session)?;
        let (session, end) = (request.session, (request.leg, request.content));
        let track = if request.sound.is_empty() {
            None
        } else {
            let Done::Voice(Some((pt, kind))) =
                self.told(&session, Order::Voice { session: session.clone(), end }).await?
            else {
                return Err(Status::failed_precondition(
                    "leg, content: the end is not connected, or speaks no codec of ours",
                ));
            };
            Some((self.library.track(&request.sound, kind).await?, pt))
        };
        let mode = (request.repeat, request.until_media);
        self.told(&session, Order::Play { session: session.clone(), end, track, mode }).await?;
        Ok(v1::PlayReply {})
    }

    /// Gives one order to the thread of a session and waits for the outcome.
    async fn told(&self, session: &str, order: Order) -> Result<Done, Status> {
        let lost = || Status::unavailable(NoAnswer::Lost.to_string());
        let member = self.members.get(self.worker_of(session)).ok_or_else(lost)?;
        let told = member.handle.tell(vec![order]).map_err(|error| Status::unavailable(error.to_string()))?;
        let outcomes = tokio::time::timeout(DEADLINE, told).await.ok().and_then(Result::ok);
        let outcome = outcomes.and_then(|mut outcomes| outcomes.pop()).ok_or_else(lost)?;
        outcome.map_err(|denial| denied(&denial))
    }
}
