//! Messages that came to one edge while another holds their transaction.
//!
//! One rule: the answer comes once the other edge has the message; no answer in time means that it is gone, and the edge that
//! asked goes on by itself.

use bus::{Bus, BusError, Inbox, Message, Request};
use proto::wire::WireFormat;
use signal::{Handover, subjects};
use std::time::Duration;
use tokio::sync::mpsc;
use tracing::warn;

/// Longest wait for the other edge; the peer repeats its message after half a second.
const WAIT: Duration = Duration::from_millis(400);
/// Handovers under way.
const MAX: usize = 1_024;

/// What comes in.
pub(crate) enum Handed {
    /// Another edge hands this over.
    Take(Handover),
    /// Whether the other edge took it.
    Answer(u64, bool),
}

/// Both directions.
pub(crate) struct Handovers {
    bus: Bus,
    inbox: Inbox<Request>,
    sender: mpsc::Sender<(u64, bool)>,
    answers: mpsc::Receiver<(u64, bool)>,
}

impl Handovers {
    /// Serves this instance.
    pub(crate) async fn open(bus: &Bus, instance: &str) -> Result<Handovers, BusError> {
        let inbox = bus.serve(&subjects::handover(instance), "edge").await?;
        let (sender, answers) = mpsc::channel(MAX);
        Ok(Handovers { bus: bus.clone(), inbox, sender, answers })
    }

    /// The next that comes in. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Handed {
        loop {
            tokio::select! {
                Some((ticket, taken)) = self.answers.recv() => return Handed::Answer(ticket, taken),
                Some(request) = self.inbox.next() => match Handover::decode(&request.message.payload) {
                    Ok(handover) => {
                        tokio::spawn(async move {
                            if let Err(error) = request.reply("taken").await {
                                warn!(%error, "an edge did not wait for its handover");
                            }
                        });
                        return Handed::Take(handover);
                    }
                    Err(error) => warn!(%error, "a handover that makes no sense"),
                },
                else => std::future::pending().await,
            }
        }
    }

    /// Gives a message to another edge; the answer comes in as [`Handed::Answer`].
    pub(crate) fn give(&self, ticket: u64, edge: &str, handover: &Handover) {
        let (bus, subject, sender) = (self.bus.clone(), subjects::handover(edge), self.sender.clone());
        let message = Message { trace: String::new(), payload: handover.encode() };
        tokio::spawn(async move {
            let taken = bus.request(&subject, message, WAIT).await.is_ok();
            let _ = sender.send((ticket, taken)).await;
        });
    }
}
