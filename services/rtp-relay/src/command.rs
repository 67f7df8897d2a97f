//! The way from control to a worker: a bounded queue and a waker. Orders go in batches; their outcomes come back by oneshot.

use crate::poll::Waker;
use ::sound::codec::Kind;
use ::sound::player::Track;
use relay::session::{
    BOUNDS, Histograms, Key, LegRequest, Limits, Local, Refusal, Remote, Snapshot, Statistics,
};
use signal::LegId;
use signal::media::Ice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use tokio::sync::oneshot;

/// Batches that may wait for a worker.
const QUEUE: usize = 4_096;
/// A worker answers within microseconds; one that does not is lost.
pub const DEADLINE: Duration = Duration::from_secs(2);

/// The ends of a session: leg, content, and what is told of each.
pub type Ends = Vec<(LegId, u16, Local)>;

/// Legs that hear each other.
pub type Pairs = Vec<(LegId, LegId)>;

/// Command to a worker.
#[derive(Debug)]
pub enum Command {
    /// Execute these, in this order.
    Execute {
        /// Orders.
        orders: Vec<Order>,
        /// An outcome for each.
        reply: oneshot::Sender<Vec<Outcome>>,
    },
    /// Other times of the core count from now on.
    Limits(Limits),
    /// The thread ends.
    Stop,
}

/// One order.
#[derive(Debug)]
pub enum Order {
    /// See [`relay::session::Worker::allocate`], [`relay::session::Worker::resume`].
    Allocate {
        /// Its name.
        session: String,
        /// W3C traceparent of the call.
        trace: String,
        /// Its legs, or those to be added.
        legs: Vec<LegRequest>,
        /// Which of them hear each other, if it is new.
        bridge: Pairs,
        /// True: the session must be there, else this is refused.
        grow: bool,
        /// Why nothing new is taken; a session that is there is told even so.
        closed: Option<NoRoom>,
        /// Where another relay had come to with it.
        state: Option<Box<Snapshot>>,
    },
    /// See [`relay::session::Worker::connect`].
    Connect {
        /// Its name.
        session: String,
        /// Which end.
        end: (u32, u32),
        /// The facts.
        remote: Box<Remote>,
    },
    /// See [`relay::session::Worker::bridge`].
    Bridge {
        /// Its name.
        session: String,
        /// Legs that hear each other.
        pairs: Pairs,
    },
    /// See [`relay::session::Worker::update`].
    Update {
        /// Its name.
        session: String,
        /// Which end.
        end: (u32, u32),
        /// Further candidates.
        ice: Ice,
        /// See [`relay::session::Worker::request_keyframe`].
        keyframe: bool,
    },
    /// See [`relay::session::Worker::press`].
    Press {
        /// Its name.
        session: String,
        /// Which end.
        end: (u32, u32),
        /// The key.
        key: Key,
    },
    /// See [`relay::session::Worker::playback_codec`].
    Voice {
        /// Its name.
        session: String,
        /// Which end.
        end: (u32, u32),
    },
    /// See [`relay::session::Worker::play`].
    Play {
        /// Its name.
        session: String,
        /// Which end.
        end: (u32, u32),
        /// Track and its payload number; `None` stops the playback.
        track: Option<(Arc<Track>, u8)>,
        /// Over and over; until there is live media.
        mode: (bool, bool),
    },
    /// See [`relay::session::Worker::hand_over`].
    Leave {
        /// Its name.
        session: String,
    },
    /// See [`relay::session::Worker::freeze`].
    Freeze {
        /// Its name.
        session: String,
    },
    /// See [`relay::session::Worker::release`] and [`relay::session::Worker::release_leg`].
    Release {
        /// Its name.
        session: String,
        /// These legs alone; none: all of it.
        legs: Vec<LegId>,
    },
    /// See [`relay::session::Worker::statistics`].
    Statistics {
        /// Its name.
        session: String,
    },
}

/// Outcome of an order.
pub type Outcome = Result<Done, Denial>;

/// Result of an order that was executed.
#[derive(Debug)]
pub enum Done {
    /// A session is there, with these ends.
    Allocated(Ends),
    /// Nothing to tell.
    Updated,
    /// An endpoint was told, and its ICE credentials are others than it was made with.
    Renewed(Box<Local>),
    /// State of a session that is frozen for another relay.
    Frozen(Box<Snapshot>),
    /// The number and the codec that are spoken at an end; `None`: it is not connected, or speaks none of ours.
    Voice(Option<(u8, Kind)>),
    /// Statistics of a session; `None` when it is not known.
    Statistics(Option<Vec<Statistics>>),
}

/// An order that was not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// No new session.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// Refused by the core.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Why no session was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// All ports are in use or rest.
    #[error("no port left: take another relay, or widen [relay] ports")]
    Ports,
    /// Its threads have enough to do.
    #[error("the busiest media thread uses {0} % of its core: take another relay, or raise [relay] max_load")]
    Busy(u32),
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

/// Counters of a worker, for other threads to read.
#[derive(Debug, Default)]
pub struct Gauges {
    /// See [`relay::session::Worker::histograms`].
    pub histograms: SharedHistograms,
    /// Sessions now.
    pub sessions: AtomicU64,
    /// Packets forwarded since the start.
    pub forwarded: AtomicU64,
    /// Packets refused since the start.
    pub dropped: AtomicU64,
    /// Share of its core that the thread used lately, thousandths.
    pub busy: AtomicU32,
    /// Directions of calls that are being transcoded now.
    pub transcoded: AtomicU64,
}

/// A [`Histograms`] that one thread writes and others read.
#[derive(Debug, Default)]
pub struct SharedHistograms {
    counts: [[AtomicU64; BOUNDS + 1]; 4],
    sums: [AtomicU64; 4],
}

impl SharedHistograms {
    /// Takes over what the worker has.
    pub fn store(&self, histograms: &Histograms) {
        let counts = self.counts.iter().flatten().zip(histograms.counts.iter().flatten());
        for (gauge, value) in counts.chain(self.sums.iter().zip(&histograms.sums)) {
            gauge.store(*value, Ordering::Relaxed);
        }
    }

    /// Adds what the worker had a moment ago.
    pub fn add_to(&self, histograms: &mut Histograms) {
        let counts = histograms.counts.iter_mut().flatten().zip(self.counts.iter().flatten());
        for (value, gauge) in counts.chain(histograms.sums.iter_mut().zip(&self.sums)) {
            *value += gauge.load(Ordering::Relaxed);
        }
    }
}

impl Gauges {
    /// Directions of calls that are being transcoded now.
    #[must_use]
    pub fn transcoded(&self) -> u64 {
        self.transcoded.load(Ordering::Relaxed)
    }

    /// Sessions, packets forwarded, packets dropped.
    #[must_use]
    pub fn read(&self) -> (u64, u64, u64) {
        let get = |gauge: &AtomicU64| gauge.load(Ordering::Relaxed);
        (get(&self.sessions), get(&self.forwarded), get(&self.dropped))
    }

    /// Share of its core that the thread used lately, thousandths.
    #[must_use]
    pub fn busy(&self) -> u32 {
        self.busy.load(Ordering::Relaxed)
    }
}

/// The side of control; clones reach the same worker.
#[derive(Clone, Debug)]
pub struct WorkerHandle {
    queue: SyncSender<Command>,
    waker: Waker,
    /// Its counters.
    pub gauges: Arc<Gauges>,
}

/// Both sides of the way to a worker.
///
/// # Errors
/// Those of the system.
pub fn worker_handle() -> std::io::Result<(WorkerHandle, Receiver<Command>, Waker)> {
    let (queue, commands) = sync_channel(QUEUE);
    let waker = Waker::new()?;
    Ok((WorkerHandle { queue, waker: waker.clone(), gauges: Arc::default() }, commands, waker))
}

fn no_answer(refused: TrySendError<Command>) -> NoAnswer {
    match refused {
        TrySendError::Full(_) => NoAnswer::Busy,
        TrySendError::Disconnected(_) => NoAnswer::Lost,
    }
}

impl WorkerHandle {
    /// Hands a batch over at once; its outcomes come by the receiver.
    ///
    /// # Errors
    /// [`NoAnswer`]
    pub fn tell(&self, orders: Vec<Order>) -> Result<oneshot::Receiver<Vec<Outcome>>, NoAnswer> {
        let (reply, outcomes) = oneshot::channel();
        self.queue.try_send(Command::Execute { orders, reply }).map_err(no_answer)?;
        self.waker.wake();
        Ok(outcomes)
    }

    /// Has other times of the core count from now on.
    ///
    /// # Errors
    /// [`NoAnswer`]
    pub fn set_limits(&self, limits: Limits) -> Result<(), NoAnswer> {
        self.queue.try_send(Command::Limits(limits)).map_err(no_answer)?;
        self.waker.wake();
        Ok(())
    }

    /// Ends the thread.
    pub fn stop(&self) {
        // A full queue of a stuck thread cannot be helped; the process is leaving anyway.
        let _ = self.queue.try_send(Command::Stop);
        self.waker.wake();
    }
}
