//! The way from control to a worker: a bounded queue and a waker. Answers come back by oneshot.

use crate::poll::Waker;
use relay::session::{Figures, Local, Refusal, Remote, Snapshot};
use signal::LegId;
use signal::media::Ice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use tokio::sync::oneshot;

/// Commands that may wait for a worker.
const QUEUE: usize = 4_096;
/// A worker answers within microseconds; one that does not is lost.
const DEADLINE: Duration = Duration::from_secs(2);

/// The ends of a session: leg, content, and what is told of each.
pub type Ends = Vec<(LegId, u16, Local)>;

/// What a worker is told to do.
#[derive(Debug)]
pub enum Command {
    /// See [`relay::session::Worker::allocate`].
    Allocate {
        /// Its name.
        session: String,
        /// W3C traceparent of the call.
        trace: String,
        /// How many contents.
        contents: u32,
        /// Only if it is there already.
        known_only: bool,
        /// Where another relay had come to with it.
        state: Option<Box<Snapshot>>,
        /// The ends.
        reply: oneshot::Sender<Result<Ends, NoRoom>>,
    },
    /// See [`relay::session::Worker::connect`].
    Connect {
        /// Its name.
        session: String,
        /// Which end.
        end: (u32, u32),
        /// The facts.
        remote: Box<Remote>,
        /// Done.
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    /// See [`relay::session::Worker::update`].
    Update {
        /// Its name.
        session: String,
        /// Which end.
        end: (u32, u32),
        /// Further candidates.
        ice: Ice,
        /// Done.
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    /// See [`relay::session::Worker::leave`].
    Leave {
        /// Its name.
        session: String,
        /// Done.
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    /// See [`relay::session::Worker::release`].
    Release {
        /// Its name.
        session: String,
        /// The last figures.
        reply: oneshot::Sender<Option<Vec<Figures>>>,
    },
    /// See [`relay::session::Worker::figures`].
    Figures {
        /// Its name.
        session: String,
        /// The figures.
        reply: oneshot::Sender<Option<Vec<Figures>>>,
    },
    /// The thread ends.
    Stop,
}

/// Why no session was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// All ports are in use or rest.
    #[error("no port left: take another relay, or widen [relay] ports")]
    Ports,
    /// No new sessions here.
    #[error("this relay is draining: take another")]
    Draining,
}

/// A worker that cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// The queue is full.
    #[error("the relay is overloaded")]
    Busy,
    /// The thread is gone or stuck.
    #[error("the media thread does not answer")]
    Lost,
}

/// What a worker has counted, for others to read.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Sessions now.
    pub sessions: AtomicU64,
    /// Packets forwarded since the start.
    pub forwarded: AtomicU64,
    /// Packets refused since the start.
    pub dropped: AtomicU64,
}

impl Gauges {
    /// Sessions, packets forwarded, packets dropped.
    #[must_use]
    pub fn read(&self) -> (u64, u64, u64) {
        let get = |gauge: &AtomicU64| gauge.load(Ordering::Relaxed);
        (get(&self.sessions), get(&self.forwarded), get(&self.dropped))
    }
}

/// The side of control; clones reach the same worker.
#[derive(Clone, Debug)]
pub struct Line {
    queue: SyncSender<Command>,
    waker: Waker,
    /// Its counters.
    pub gauges: Arc<Gauges>,
}

/// Both sides of the way to a worker.
///
/// # Errors
/// Those of the system.
pub fn line() -> std::io::Result<(Line, Receiver<Command>, Waker)> {
    let (queue, commands) = sync_channel(QUEUE);
    let waker = Waker::new()?;
    Ok((Line { queue, waker: waker.clone(), gauges: Arc::default() }, commands, waker))
}

impl Line {
    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// [`NoAnswer`]
    pub async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, NoAnswer> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(command(reply)).map_err(|refused| match refused {
            TrySendError::Full(_) => NoAnswer::Busy,
            TrySendError::Disconnected(_) => NoAnswer::Lost,
        })?;
        self.waker.wake();
        match tokio::time::timeout(DEADLINE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(NoAnswer::Lost),
        }
    }

    /// Ends the thread.
    pub fn stop(&self) {
        // A full queue of a stuck thread cannot be helped; the process is leaving anyway.
        let _ = self.queue.try_send(Command::Stop);
        self.waker.wake();
    }
}
