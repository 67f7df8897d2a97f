//! Threads that make sound: each a `sound::scheduler::Scheduler`, its queues and a clock. Media threads never wait for them.

use crate::poll::Waker;
use relay::session::SoundHandle;
use sound::scheduler::{Load, Order, Scheduler, SoundFrame, TICK_US};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, channel, sync_channel};
use std::time::Duration;

/// Packets that may wait for a thread: those of a tick and of a few that were late, at as many streams as a core can carry.
const WAITING: usize = 1_024;
/// Packets taken before the sources have their turn again.
const TURN: usize = 4_096;

/// A media thread as these threads see it.
#[derive(Clone, Debug)]
pub struct FrameQueue {
    /// Finished packets.
    pub queue: SyncSender<SoundFrame>,
    /// Wakes it for them.
    pub waker: Waker,
}

/// The queue of finished packets of one media thread.
#[must_use]
pub fn finished() -> (SyncSender<SoundFrame>, Receiver<SoundFrame>) {
    sync_channel(WAITING)
}

/// Starts so many threads for these media threads; gives the ways to them. They end when nobody holds a way any more.
///
/// # Errors
/// Those of the system.
pub fn start(threads: usize, complexity: u8, media: &[FrameQueue]) -> std::io::Result<Vec<SoundHandle>> {
    (0..threads)
        .map(|number| {
            let ((orders, told), (packets, coming)) = (channel(), sync_channel(WAITING));
            let load = Arc::new(Load::default());
            let thread = SoundThread {
                scheduler: Scheduler::new(complexity, load.clone()),
                told,
                coming,
                media: media.to_vec(),
                woken: vec![false; media.len()],
            };
            std::thread::Builder::new().name(format!("sound-{number}")).spawn(move || thread.run())?;
            Ok(SoundHandle { orders, packets, load })
        })
        .collect()
}

struct SoundThread {
    scheduler: Scheduler,
    told: Receiver<Order>,
    coming: Receiver<SoundFrame>,
    media: Vec<FrameQueue>,
    /// Media threads that are to be woken.
    woken: Vec<bool>,
}

impl SoundThread {
    fn run(mut self) {
        let start = runtime::clock::instant();
        let now =
            || u64::try_from(runtime::clock::instant().duration_since(start).as_micros()).unwrap_or(u64::MAX);
        let mut tick = 0;
        loop {
            if self.scheduler.is_empty() {
                let Ok(order) = self.told.recv() else { return };
                tick = now();
                self.scheduler.order(order, tick);
            }
            let begun = now();
            loop {
                match self.told.try_recv() {
                    Ok(order) => self.scheduler.order(order, begun),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            self.turn(begun);
            let ended = now();
            self.scheduler.record_load(ended - begun, TICK_US, ended);
            tick += TICK_US;
            match tick.checked_sub(ended) {
                Some(rest) => std::thread::sleep(Duration::from_micros(rest)),
                // Behind: what was missed is not made good.
                None => tick = ended,
            }
        }
    }

    fn turn(&mut self, now: u64) {
        let SoundThread { scheduler, coming, media, woken, .. } = self;
        let mut emit = |frame: &SoundFrame| {
            let worker = usize::from(frame.key.worker);
            if let (Some(thread), Some(woken)) = (media.get(worker), woken.get_mut(worker)) {
                // A media thread that does not keep up loses them, as it would lose packets of the network.
                *woken |= thread.queue.try_send(frame.clone()).is_ok();
            }
        };
        for mut frame in coming.try_iter().take(TURN) {
            // In this thread's own clock; the packet waited for a tick at most.
            frame.at_us = now;
            scheduler.packet(&frame, &mut emit);
        }
        scheduler.tick(now, &mut emit);
        for (thread, woken) in media.iter().zip(woken) {
            if std::mem::take(woken) {
                thread.waker.wake();
            }
        }
    }
}
