//! The stream to one relay: orders of all calls go in batches of what waits, replies find who asked by number. To the relay of this
//! process they go as they are.
//!
//! One rule: whoever asks hears within [`DEADLINE`], whatever becomes of the stream; every order is idempotent, so one whose stream
//! broke is given again. The stream is made when something is asked, and again when it broke.

use super::Client;
use proto::local::LocalClient;
use proto::v1::order::Order;
use proto::v1::reply::Reply;
use proto::v1::{self, Orders, Refused};
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tonic::{Code, Status, Streaming};

/// An order that is not answered in this time has failed.
pub const DEADLINE: Duration = Duration::from_secs(2);
/// Orders of one message.
const BATCH: usize = 128;
/// Orders that may wait for the stream.
const QUEUE: usize = 4_096;
/// Orders that may wait for their replies.
const IN_FLIGHT: usize = 4_096;
/// Messages that may wait for the network.
const OUTWARD: usize = 4;

struct Asked {
    order: Order,
    reply: oneshot::Sender<Result<Reply, Status>>,
}

/// The way to one relay; clones share it. It ends with the last of them.
#[derive(Clone)]
pub struct RelayClient(Way);

#[derive(Clone)]
enum Way {
    Stream(mpsc::Sender<Asked>, Box<Client>),
    /// The relay is in this process.
    Local(LocalClient),
}

impl RelayClient {
    /// To the relay of this client.
    pub fn new(client: Client) -> RelayClient {
        let (asked, asks) = mpsc::channel(QUEUE);
        tokio::spawn(serve(client.clone(), asks));
        RelayClient(Way::Stream(asked, Box::new(client)))
    }

    /// To the relay of this process.
    pub fn local(client: LocalClient) -> RelayClient {
        RelayClient(Way::Local(client))
    }

    /// Gives an order and waits for the reply.
    ///
    /// # Errors
    /// The status with which the relay refused, or why there is no reply.
    pub async fn ask(&self, order: Order) -> Result<Reply, Status> {
        let answered = match &self.0 {
            Way::Local(client) => tokio::time::timeout(DEADLINE, client.order(order)).await,
            Way::Stream(asks, _) => {
                let (reply, answer) = oneshot::channel();
                // It was not given: the relay has made nothing of it.
                let full = |_| Status::resource_exhausted("too many orders wait for this relay");
                asks.try_send(Asked { order, reply }).map_err(full)?;
                let ended = |_| Err(Status::unavailable("the stream to the relay ended"));
                tokio::time::timeout(DEADLINE, answer).await.map(|answer| answer.unwrap_or_else(ended))
            }
        };
        match answered {
            Ok(Ok(Reply::Refused(Refused { code, message }))) => {
                Err(Status::new(Code::from_i32(i32::try_from(code).unwrap_or(2)), message))
            }
            Ok(reply) => reply,
            Err(_) => Err(Status::deadline_exceeded("no answer in time")),
        }
    }

    /// Asks for a sound, apart from all other orders: the relay may have to read it first.
    ///
    /// # Errors
    /// The status with which the relay refused, or why there is no reply.
    pub async fn play(&self, request: v1::PlayRequest) -> Result<(), Status> {
        let playing = async {
            match &self.0 {
                Way::Local(client) => client.play(request).await,
                Way::Stream(_, client) => client.clone().play(request).await.map(drop),
            }
        };
        match tokio::time::timeout(DEADLINE, playing).await {
            Ok(played) => played,
            Err(_) => Err(Status::deadline_exceeded("no answer in time")),
        }
    }
}

/// Orders that wait for their replies.
#[derive(Default)]
struct Waiting {
    next: u64,
    replies: HashMap<u64, oneshot::Sender<Result<Reply, Status>>>,
}

impl Waiting {
    fn has_room(&mut self) -> bool {
        if self.replies.len() >= IN_FLIGHT - BATCH {
            // Those who gave up are forgotten when it matters.
            self.replies.retain(|_, reply| !reply.is_closed());
        }
        self.replies.len() < IN_FLIGHT - BATCH
    }

    /// A message of `first` and what waits behind it.
    fn batch(&mut self, first: Asked, asks: &mut mpsc::Receiver<Asked>) -> Orders {
        let mut orders = vec![];
        let mut asked = Some(first);
        while let Some(Asked { order, reply }) = asked {
            if !reply.is_closed() {
                self.next += 1;
                self.replies.insert(self.next, reply);
                orders.push(v1::Order { id: self.next, order: Some(order) });
            }
            asked = if orders.len() < BATCH { asks.try_recv().ok() } else { None };
        }
        Orders { orders }
    }

    fn answer(&mut self, replies: v1::Replies) {
        for v1::Reply { id, reply } in replies.replies {
            if let (Some(waiting), Some(reply)) = (self.replies.remove(&id), reply) {
                // Who gave up hears nothing.
                let _ = waiting.send(Ok(reply));
            }
        }
    }

    fn fail(&mut self, status: &Status) {
        for (_, waiting) in self.replies.drain() {
            let _ = waiting.send(Err(status.clone()));
        }
    }
}

/// Makes streams for as long as somebody asks.
async fn serve(mut client: Client, mut asks: mpsc::Receiver<Asked>) {
    let mut waiting = Waiting::default();
    while let Some(first) = asks.recv().await {
        let (outward, messages) = mpsc::channel::<Orders>(OUTWARD);
        let messages = futures::stream::unfold(messages, |mut messages| async move {
            messages.recv().await.map(|message| (message, messages))
        });
        let begun = outward.try_send(waiting.batch(first, &mut asks));
        let status = match tokio::time::timeout(DEADLINE, client.perform(messages)).await {
            Ok(Ok(replies)) if begun.is_ok() => {
                converse(&mut waiting, &mut asks, &outward, replies.into_inner()).await
            }
            Ok(Ok(_)) => Status::internal("a stream that takes nothing"),
            Ok(Err(status)) => status,
            Err(_) => Status::deadline_exceeded("the relay does not answer"),
        };
        waiting.fail(&status);
    }
}

/// Until the stream breaks, or nobody asks any more; gives what to tell those who still wait.
async fn converse(
    waiting: &mut Waiting,
    asks: &mut mpsc::Receiver<Asked>,
    outward: &mpsc::Sender<Orders>,
    mut replies: Streaming<v1::Replies>,
) -> Status {
    loop {
        let room = waiting.has_room();
        tokio::select! {
            message = replies.message() => match message {
                Ok(Some(replies)) => waiting.answer(replies),
                Ok(None) => return Status::unavailable("the relay ended the stream"),
                Err(status) => return status,
            },
            place = outward.reserve(), if room => {
                let Ok(place) = place else { return Status::unavailable("the stream to the relay broke") };
                tokio::select! {
                    asked = asks.recv() => match asked {
                        Some(first) => place.send(waiting.batch(first, asks)),
                        None => return Status::cancelled("nobody asks any more"),
                    },
                    message = replies.message() => match message {
                        Ok(Some(replies)) => waiting.answer(replies),
                        Ok(None) => return Status::unavailable("the relay ended the stream"),
                        Err(status) => return status,
                    },
                }
            }
            // Those who gave up make room.
            () = tokio::time::sleep(DEADLINE), if !room => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::pipe::pipe;
    use proto::v1::relay_client::RelayClient as GrpcClient;
    use proto::v1::{ReleaseReply, ReleaseRequest, Replies};

    fn release() -> Order {
        Order::Release(ReleaseRequest::default())
    }

    fn asked() -> (Asked, oneshot::Receiver<Result<Reply, Status>>) {
        let (reply, answer) = oneshot::channel();
        (Asked { order: release(), reply }, answer)
    }

    #[tokio::test]
    async fn what_waits_goes_in_one_message_and_each_hears_its_own_reply() {
        let (send, mut asks) = mpsc::channel(QUEUE);
        let mut waiting = Waiting::default();
        let mut answers: Vec<_> = (0..200)
            .map(|_| {
                let (asked, answer) = asked();
                assert!(send.try_send(asked).is_ok());
                answer
            })
            .collect();
        // Who gave up is not asked for.
        drop(answers.remove(0));
        let first = asks.recv().await.unwrap();
        let message = waiting.batch(first, &mut asks);
        assert_eq!((message.orders.len(), waiting.replies.len()), (BATCH, BATCH));
        let replies = message
            .orders
            .iter()
            .rev()
            .map(|order| v1::Reply { id: order.id, reply: Some(Reply::Release(ReleaseReply::default())) });
        waiting.answer(Replies { replies: replies.chain([v1::Reply { id: 9_999, reply: None }]).collect() });
        for (place, answer) in answers.iter_mut().enumerate() {
            assert_eq!(answer.try_recv().is_ok(), place < BATCH, "{place}");
        }
        let next = asks.recv().await.unwrap();
        waiting.batch(next, &mut asks);
        waiting.fail(&Status::unavailable("gone"));
        assert_eq!(answers.pop().unwrap().await.unwrap().unwrap_err().code(), Code::Unavailable);
    }

    #[test]
    fn those_who_gave_up_make_room() {
        let mut waiting = Waiting::default();
        let mut held = vec![];
        for id in 0..IN_FLIGHT as u64 {
            let (asked, answer) = asked();
            waiting.replies.insert(id, asked.reply);
            held.push(answer);
        }
        assert!(!waiting.has_room());
        held.truncate(100);
        assert!(waiting.has_room());
        assert_eq!(waiting.replies.len(), 100);
    }

    #[tokio::test]
    async fn nobody_at_the_other_end_is_told_within_the_deadline() {
        let (dialer, listener) = pipe();
        drop(listener);
        let pass = proto::auth::AuthToken::new(&signal::Secret::new(b"secret"), "relay", || 0);
        let client = RelayClient::new(GrpcClient::with_interceptor(dialer.channel(), pass.clone()));
        for _ in 0..2 {
            assert_eq!(client.ask(release()).await.unwrap_err().code(), Code::Unavailable);
        }
        let (dialer, _silent) = pipe();
        let client = RelayClient::new(GrpcClient::with_interceptor(dialer.channel(), pass));
        assert_eq!(client.ask(release()).await.unwrap_err().code(), Code::DeadlineExceeded);
    }
}
