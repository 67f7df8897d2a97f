//! Orders from within the process: as the stream of batches, without encoding.
//!
//! One rule: what is under way is bounded; further requests wait in their queue, which is bounded too.

use crate::control::{BATCH, Service, UNDER_WAY};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use proto::local::{Asked, LocalServer};
use proto::v1::order::Order;
use proto::v1::reply::Reply;
use proto::v1::{self, PlayRequest};
use tokio::sync::oneshot;
use tonic::Status;

/// Sounds that are being looked for at once; further ones are refused.
const PLAYS: usize = 256;

type UnderWay = FuturesUnordered<BoxFuture<'static, ()>>;

/// Executes what is asked until the relay quits or nobody is left to ask; what is under way then is finished.
pub(crate) async fn serve(service: Service, mut server: LocalServer, mut quit: oneshot::Receiver<()>) {
    let (mut orders, mut plays) = (UnderWay::new(), UnderWay::new());
    loop {
        tokio::select! {
            biased;
            Some(()) = orders.next(), if !orders.is_empty() => {}
            Some(()) = plays.next(), if !plays.is_empty() => {}
            _ = &mut quit => break,
            asked = server.next(), if orders.len() < UNDER_WAY => {
                let Some(asked) = asked else { break };
                let mut batch = vec![];
                let mut next = Some(asked);
                while let Some(asked) = next {
                    match asked {
                        Asked::Order(order, reply) => batch.push((*order, reply)),
                        Asked::Play(request, reply) if plays.len() < PLAYS => plays.push(play(service.clone(), request, reply).boxed()),
                        Asked::Play(_, reply) => drop(reply.send(Err(Status::resource_exhausted("too many sounds are being looked for")))),
                    }
                    next = if batch.len() < BATCH { server.try_next() } else { None };
                }
                if !batch.is_empty() {
                    orders.push(execute(&service, batch).boxed());
                }
            }
        }
    }
    while orders.next().await.is_some() {}
}

/// Executes a batch; the threads have their orders when this returns.
fn execute(
    service: &Service,
    batch: Vec<(Order, oneshot::Sender<Reply>)>,
) -> impl Future<Output = ()> + Send + use<> {
    let (orders, mut waiting): (Vec<_>, Vec<_>) = (0..)
        .zip(batch)
        .map(|(id, (order, reply))| (v1::Order { id, order: Some(order) }, Some(reply)))
        .unzip();
    let executing = service.execute(orders);
    async move {
        for v1::Reply { id, reply } in executing.await {
            let place = usize::try_from(id).ok().and_then(|id| waiting.get_mut(id)?.take());
            if let (Some(waiting), Some(reply)) = (place, reply) {
                // Whoever gave up hears nothing.
                let _ = waiting.send(reply);
            }
        }
    }
}

async fn play(service: Service, request: PlayRequest, reply: oneshot::Sender<Result<(), Status>>) {
    let _ = reply.send(service.play_traced(request).await.map(drop));
}
