//! Bus within a single process.

use crate::{BusError, Message, QUEUE, Reply, Request};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

#[derive(Debug, Default)]
pub(crate) struct Local(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Queue groups of each subject; a request goes to one member of one group.
    servers: HashMap<String, HashMap<String, Group>>,
    listeners: Vec<(u64, String, mpsc::Sender<Message>)>,
}

#[derive(Debug, Default)]
struct Group {
    last_member: usize,
    members: Vec<(u64, mpsc::Sender<Request>)>,
}

/// Subscription or group member; ends when dropped.
#[derive(Debug)]
pub(crate) struct Subscription<T> {
    receiver: mpsc::Receiver<T>,
    local: Weak<Local>,
    id: u64,
}

impl<T> Subscription<T> {
    pub async fn next(&mut self) -> Option<T> {
        self.receiver.recv().await
    }

    pub fn cancel(&self) {
        let Some(local) = self.local.upgrade() else { return };
        let mut state = local.state();
        state.listeners.retain(|(id, _, _)| *id != self.id);
        for groups in state.servers.values_mut() {
            for group in groups.values_mut() {
                group.members.retain(|(id, _)| *id != self.id);
            }
            groups.retain(|_, group| !group.members.is_empty());
        }
        state.servers.retain(|_, groups| !groups.is_empty());
    }
}

impl<T> Drop for Subscription<T> {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl Local {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub async fn request(
        &self,
        subject: &str,
        message: Message,
        timeout: Duration,
    ) -> Result<Bytes, BusError> {
        let (reply, answer) = oneshot::channel();
        let member = {
            let mut state = self.state();
            let group = state
                .servers
                .get_mut(subject)
                .and_then(|groups| groups.values_mut().next())
                .ok_or(BusError::NoResponder)?;
            group.last_member = (group.last_member + 1) % group.members.len().max(1);
            group
                .members
                .get(group.last_member)
                .map(|(_, member)| member.clone())
                .ok_or(BusError::NoResponder)?
        };
        member.try_send(Request { message, reply: Reply::Local(reply) }).map_err(
            |refused| match refused {
                mpsc::error::TrySendError::Full(_) => BusError::Full,
                mpsc::error::TrySendError::Closed(_) => BusError::NoResponder,
            },
        )?;
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(payload)) => Ok(payload),
            // Dropped unanswered, or late: the request may have been served.
            Ok(Err(_)) | Err(_) => Err(BusError::Timeout),
        }
    }

    pub fn serve(self: &Arc<Self>, subject: &str, group: &str) -> Subscription<Request> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let mut state = self.state();
        state.next += 1;
        let id = state.next;
        state
            .servers
            .entry(subject.into())
            .or_default()
            .entry(group.into())
            .or_default()
            .members
            .push((id, sender));
        Subscription { receiver, local: Arc::downgrade(self), id }
    }

    pub fn publish(&self, subject: &str, message: &Message) {
        for (_, _, listener) in
            self.state().listeners.iter().filter(|(_, pattern, _)| matches(pattern, subject))
        {
            if listener.try_send(message.clone()).is_err() {
                tracing::warn!(subject, "a slow subscriber misses a message");
            }
        }
    }

    pub fn subscribe(self: &Arc<Self>, pattern: &str) -> Subscription<Message> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let mut state = self.state();
        state.next += 1;
        let id = state.next;
        state.listeners.push((id, pattern.into(), sender));
        Subscription { receiver, local: Arc::downgrade(self), id }
    }
}

/// Returns true if `subject` matches `pattern`: `*` matches one token, a last `>` one or more.
fn matches(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) => return true,
            (Some(p), Some(s)) if p == "*" || p == s => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_on_nats() {
        assert!(matches("a.*.c", "a.b.c") && matches("a.>", "a.b.c") && matches("a.b", "a.b"));
        assert!(!matches("a.*", "a.b.c") && !matches("a.>", "a") && !matches("a.b.c", "a.b"));
    }
}
