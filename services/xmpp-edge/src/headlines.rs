//! Messages of orchestrators to users of a component domain, which the edge that holds its link takes.

use crate::link::LinkEvent;
use bus::{Bus, BusError, Inbox, Request};
use signal::{stored, subjects};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::warn;

/// Subscription to the messages for a domain; ends when dropped.
#[derive(Debug)]
pub(crate) struct Headlines(JoinHandle<()>);

impl Drop for Headlines {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Headlines {
    /// Has messages for a domain become events of its link.
    ///
    /// # Errors
    /// No link to the bus.
    pub(crate) async fn serve(
        bus: &Bus,
        domain: &str,
        events: mpsc::Sender<LinkEvent>,
    ) -> Result<Headlines, BusError> {
        let mut inbox: Inbox<Request> = bus.serve(&subjects::headline(domain), "link").await?;
        Ok(Headlines(tokio::spawn(async move {
            while let Some(request) = inbox.next().await {
                match stored::decode(&request.message.payload) {
                    Ok(headline) => {
                        if events.send(LinkEvent::Headline(headline, request)).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => warn!(%error, "a message to a user that makes no sense"),
                }
            }
        })))
    }
}

/// Tells an orchestrator that the message is on the link.
pub(crate) fn confirm(request: Request) {
    tokio::spawn(async move {
        if let Err(error) = request.reply("taken").await {
            warn!(%error, "an orchestrator did not wait for the answer");
        }
    });
}
