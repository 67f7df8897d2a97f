//! Words of voicemail servers, on their way to an orchestrator.

use bus::{Bus, Message};
use signal::mailbox::{Noted, Notice};
use signal::{stored, subjects};
use std::time::Duration;
use tokio::sync::mpsc;
use tracing::warn;

/// Longest wait for an orchestrator; the server repeats its request for 32 s.
const ANSWER: Duration = Duration::from_secs(5);
/// Most answers that wait for the edge, which bounds the number of questions.
const MAX: usize = 1_024;

/// Questions under way.
pub(crate) struct Mailboxes {
    bus: Bus,
    sender: mpsc::Sender<(u64, Noted)>,
    answers: mpsc::Receiver<(u64, Noted)>,
}

impl Mailboxes {
    pub(crate) fn new(bus: Bus) -> Mailboxes {
        let (sender, answers) = mpsc::channel(MAX);
        Mailboxes { bus, sender, answers }
    }

    /// Returns the next answer, with the ticket of its question. Cancel-safe.
    pub(crate) async fn next(&mut self) -> (u64, Noted) {
        match self.answers.recv().await {
            Some(answer) => answer,
            // A sender is held here, so the channel never ends.
            None => std::future::pending().await,
        }
    }

    /// Tells an orchestrator; the answer comes by [`Mailboxes::next`].
    pub(crate) fn tell(&self, ticket: u64, notice: &Notice) {
        let (bus, sender) = (self.bus.clone(), self.sender.clone());
        let message = Message { trace: String::new(), payload: stored::encode(notice).into() };
        tokio::spawn(async move {
            let answer = match bus.request(subjects::MAILBOX, message, ANSWER).await {
                Ok(octets) => stored::decode(&octets).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            let noted = answer.unwrap_or_else(|error| {
                warn!(error, "no orchestrator notes what a voicemail server says");
                Noted::Unavailable
            });
            let _ = sender.send((ticket, noted)).await;
        });
    }
}
