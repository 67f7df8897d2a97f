//! State of the connection to NATS, as the client's events tell it.
//!
//! One rule: a loss is told once, with its cause, and told again when the cause is another one; so is that it is over.

use async_nats::{ClientError, Event};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// State of the connection.
#[derive(Debug)]
pub(super) struct Link {
    servers: String,
    report: fn(Option<&str>),
    /// Cause of the loss; `None` = connected.
    lost: Mutex<Option<String>>,
}

impl Link {
    pub(super) fn new(servers: String, report: fn(Option<&str>)) -> Link {
        Link { servers, report, lost: Mutex::default() }
    }

    /// Returns the cause for which there is no connection.
    pub(super) fn trouble(&self) -> Option<String> {
        self.lost().clone()
    }

    /// Hears an event of the client.
    pub(super) fn hear(&self, event: &Event) {
        match event {
            Event::Connected => {
                if self.lost().take().is_some() {
                    tracing::info!(servers = self.servers, "[bus] url: NATS is there again");
                    (self.report)(None);
                }
            }
            Event::Disconnected | Event::Closed => {
                self.lose(format!("the connection to NATS at {} is lost", self.servers));
            }
            // An attempt to connect again that failed.
            Event::ClientError(ClientError::Other(cause)) if self.lost().is_some() => {
                self.lose(format!("no connection to NATS at {}: {cause}", self.servers));
            }
            Event::ClientError(error) => tracing::warn!(%error, "NATS"),
            // As for a subject that the user of `[bus]` may not use.
            Event::ServerError(error) => tracing::warn!(%error, "NATS refuses something of ours"),
            Event::SlowConsumer(_) => tracing::warn!("an inbox is full; a message is dropped"),
            Event::LameDuckMode => {
                tracing::info!("the NATS server shuts down; the client goes to another one")
            }
            Event::Draining => {}
        }
    }

    fn lose(&self, cause: String) {
        let mut lost = self.lost();
        if lost.as_ref() == Some(&cause) {
            return;
        }
        tracing::warn!("[bus] url: {cause}; it is tried again until it is there");
        (self.report)(Some(&cause));
        *lost = Some(cause);
    }

    fn lost(&self) -> MutexGuard<'_, Option<String>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
