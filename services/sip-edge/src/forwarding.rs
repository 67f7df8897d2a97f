//! Forwarding of messages that came to one edge while another holds their transaction.
//!
//! One rule: the other edge answers once it has the message; without an answer in time it counts as gone, and the edge that
//! forwarded goes on by itself.

use bus::{Bus, BusError, Inbox, Message, Request};
use proto::wire::WireFormat;
use signal::{Handover, subjects};
use std::time::Duration;
use tokio::sync::mpsc;
use tracing::warn;

/// Longest wait for the other edge; the peer repeats its message after half a second.
const WAIT: Duration = Duration::from_millis(400);
/// Most handovers under way.
const MAX: usize = 1_024;

/// Event of the forwarding.
pub(crate) enum Event {
    /// A message that another edge forwards to us.
    Message(Handover),
    /// Result of a message of ours, by its ticket: true if the other edge took it.
    Result(u64, bool),
}

/// Forwarding in both directions.
pub(crate) struct Forwarding {
    bus: Bus,
    inbox: Inbox<Request>,
    sender: mpsc::Sender<(u64, bool)>,
    answers: mpsc::Receiver<(u64, bool)>,
}

impl Forwarding {
    /// Starts to receive for this instance.
    pub(crate) async fn open(bus: &Bus, instance: &str) -> Result<Forwarding, BusError> {
        let inbox = bus.serve(&subjects::handover(instance), "edge").await?;
        let (sender, answers) = mpsc::channel(MAX);
        Ok(Forwarding { bus: bus.clone(), inbox, sender, answers })
    }

    /// Returns the next event. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Event {
        loop {
            tokio::select! {
                Some((ticket, taken)) = self.answers.recv() => return Event::Result(ticket, taken),
                Some(request) = self.inbox.next() => match Handover::decode(&request.message.payload) {
                    Ok(handover) => {
                        tokio::spawn(async move {
                            if let Err(error) = request.reply("taken").await {
                                warn!(%error, "an edge did not wait for its handover");
                            }
                        });
                        return Event::Message(handover);
                    }
                    Err(error) => warn!(%error, "a handover that makes no sense"),
                },
                else => std::future::pending().await,
            }
        }
    }

    /// Forwards a message to another edge; the answer comes as [`Event::Result`].
    pub(crate) fn forward(&self, ticket: u64, edge: &str, handover: &Handover) {
        let (bus, subject, sender) = (self.bus.clone(), subjects::handover(edge), self.sender.clone());
        let message = Message { trace: String::new(), payload: handover.encode() };
        tokio::spawn(async move {
            let taken = bus.request(&subject, message, WAIT).await.is_ok();
            let _ = sender.send((ticket, taken)).await;
        });
    }
}
