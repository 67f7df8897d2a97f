//! Control of a relay within one process: the messages of `relay.proto` move from task to task and are never encoded.
//!
//! One rule: the queue is bounded, and whoever asks a relay that is gone hears so at once. Start at [`local`].

use crate::v1::PlayRequest;
use crate::v1::order::Order;
use crate::v1::reply::Reply;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

/// Requests that may wait for the relay.
const QUEUE: usize = 4_096;

/// Request with the way of its answer.
#[derive(Debug)]
pub enum Asked {
    /// An order of the stream of batches.
    Order(Box<Order>, oneshot::Sender<Reply>),
    /// A sound to play, apart from all other orders.
    Play(PlayRequest, oneshot::Sender<Result<(), Status>>),
}

/// Client side; clones reach the same relay.
#[derive(Clone, Debug)]
pub struct LocalClient(mpsc::Sender<Asked>);

/// Relay's side.
#[derive(Debug)]
pub struct LocalServer(mpsc::Receiver<Asked>);

/// Makes the two sides.
#[must_use]
pub fn local() -> (LocalClient, LocalServer) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (LocalClient(sender), LocalServer(receiver))
}

impl LocalClient {
    /// Gives an order and waits for the reply.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED if too many wait, UNAVAILABLE if the relay is gone.
    pub async fn order(&self, order: Order) -> Result<Reply, Status> {
        let (reply, answer) = oneshot::channel();
        self.send(Asked::Order(Box::new(order), reply))?;
        answer.await.map_err(|_| gone())
    }

    /// Asks for a sound and waits until it plays.
    ///
    /// # Errors
    /// The status with which the relay refused; else as [`LocalClient::order`].
    pub async fn play(&self, request: PlayRequest) -> Result<(), Status> {
        let (reply, answer) = oneshot::channel();
        self.send(Asked::Play(request, reply))?;
        answer.await.map_err(|_| gone())?
    }

    fn send(&self, asked: Asked) -> Result<(), Status> {
        self.0.try_send(asked).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => {
                Status::resource_exhausted("too many orders wait for this relay")
            }
            mpsc::error::TrySendError::Closed(_) => gone(),
        })
    }
}

impl LocalServer {
    /// Waits for the next request; `None` when no client is left. Cancel-safe.
    pub async fn next(&mut self) -> Option<Asked> {
        self.0.recv().await
    }

    /// Returns the next request that has arrived, if any.
    pub fn try_next(&mut self) -> Option<Asked> {
        self.0.try_recv().ok()
    }
}

fn gone() -> Status {
    Status::unavailable("the relay of this process is gone")
}
