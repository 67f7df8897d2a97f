//! Who lives: every instance says each second what it is and how full, on `tandem.here.<kind>`.
//!
//! One rule: whoever was silent for three seconds is gone. Start at [`announce`] and [`Directory::watch`].

use crate::{Bus, BusError, Message};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How often an instance says that it is here.
pub const BEAT: Duration = Duration::from_secs(1);
/// Silent for this long, it is gone.
const LIVENESS_TIMEOUT: Duration = Duration::from_millis(3_500);
/// Instances of one kind that are remembered.
const MAX_INSTANCES: usize = 4_096;

/// What an instance says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceInfo {
    /// `sip-edge`, `xmpp-edge`, `orchestrator`, `rtp-relay`.
    pub kind: String,
    /// Unique among its kind.
    pub instance: String,
    /// Where its own protocol is asked, `host:port`; empty = only on the bus.
    pub address: String,
    /// Work that it holds, in its own unit.
    pub load: u64,
    /// Most that it takes, in the same unit.
    pub capacity: u64,
    /// Packets that it forwards a second, where it is a relay.
    pub packets: u64,
    /// Share of its core that its busiest media thread uses, thousandths …
    pub busy: u32,
    /// … and the share from which it takes nothing new.
    pub max_busy: u32,
    /// Where it is, in the operator's words.
    pub region: String,
    /// What it is for, in the operator's words.
    pub labels: Vec<String>,
    /// It takes nothing new.
    pub draining: bool,
    /// Start, milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// Anything else worth knowing: version, admin address.
    pub facts: BTreeMap<String, String>,
    /// It says good-bye: forget it at once.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
}

fn subject(kind: &str) -> String {
    format!("tandem.here.{kind}")
}

/// Keeps saying that an instance is here; says good-bye when dropped.
#[derive(Debug)]
pub struct Announcer {
    info: watch::Sender<InstanceInfo>,
    task: Option<JoinHandle<()>>,
    bus: Bus,
}

/// Announces an instance from now on: at once, each second, and when its info changes in what matters.
#[must_use]
pub fn announce(bus: &Bus, info: InstanceInfo) -> Announcer {
    announce_every(BEAT, bus, info)
}

/// [`announce`] for one whose silence must be noticed sooner.
#[must_use]
pub fn announce_every(beat: Duration, bus: &Bus, info: InstanceInfo) -> Announcer {
    let (sender, mut receiver) = watch::channel(info);
    let publisher = bus.clone();
    let task = tokio::spawn(async move {
        loop {
            let info = receiver.borrow_and_update().clone();
            // A bus that is away is no news to this task: the next beat tries again.
            let _ = publish(&publisher, &info).await;
            tokio::select! {
                () = tokio::time::sleep(beat) => {}
                changed = receiver.wait_for(|new| new.draining != info.draining) => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    });
    Announcer { info: sender, task: Some(task), bus: bus.clone() }
}

async fn publish(bus: &Bus, info: &InstanceInfo) -> Result<(), BusError> {
    let payload = serde_json::to_vec(info).unwrap_or_default();
    bus.publish(&subject(&info.kind), Message { trace: String::new(), payload: payload.into() }).await
}

impl Announcer {
    /// Changes the info; told with the next beat, a drain at once.
    pub fn update(&self, change: impl FnOnce(&mut InstanceInfo)) {
        self.info.send_modify(change);
    }

    /// Says good-bye and waits until it has left.
    pub async fn leave(mut self) {
        if let Some(task) = self.task.take() {
            let info = self.info.borrow().clone();
            leave(&self.bus, info, task).await;
            let _ = self.bus.flush().await;
        }
    }
}

impl Drop for Announcer {
    /// Says good-bye as far as there is a runtime to say it on; who misses it waits three beats.
    fn drop(&mut self) {
        let Some(task) = self.task.take() else { return };
        task.abort();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (bus, info) = (self.bus.clone(), self.info.borrow().clone());
            runtime.spawn(async move { leave(&bus, info, task).await });
        }
    }
}

async fn leave(bus: &Bus, info: InstanceInfo, task: JoinHandle<()>) {
    // A beat that is just being said must not come after the good-bye.
    task.abort();
    let _ = task.await;
    let _ = publish(bus, &InstanceInfo { leaving: true, ..info }).await;
}

fn drain_subject(instance: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    format!("tandem.drain.{}", instance.chars().map(plain).collect::<String>())
}

/// Asks an instance to take nothing new; whether it does is seen on its info.
///
/// # Errors
/// [`BusError`] when it cannot be handed over.
pub async fn ask_to_drain(bus: &Bus, instance: &str) -> Result<(), BusError> {
    bus.publish(&drain_subject(instance), Message::default()).await
}

/// Waits until somebody asks this instance to drain.
///
/// # Errors
/// [`BusError::Link`] without connection.
pub async fn asked_to_drain(bus: &Bus, instance: &str) -> Result<(), BusError> {
    let mut inbox = bus.subscribe(&drain_subject(instance)).await?;
    match inbox.next().await {
        Some(_) => Ok(()),
        None => Err(BusError::Link("the subscription ended".into())),
    }
}

type Seen = Arc<Mutex<BTreeMap<String, (InstanceInfo, Instant)>>>;

/// The living instances of one kind (or of all).
#[derive(Debug)]
pub struct Directory {
    seen: Seen,
    task: JoinHandle<()>,
}

impl Directory {
    /// Watches one kind, `*` for all. Complete after one beat.
    ///
    /// # Errors
    /// [`BusError::Link`] without connection.
    pub async fn watch(bus: &Bus, kind: &str) -> Result<Directory, BusError> {
        let mut inbox = bus.subscribe(&subject(kind)).await?;
        let seen = Seen::default();
        let table = seen.clone();
        let task = tokio::spawn(async move {
            while let Some(message) = inbox.next().await {
                // What makes no sense is somebody else's message.
                let Ok(info) = serde_json::from_slice::<InstanceInfo>(&message.payload) else { continue };
                let mut table = lock(&table);
                let name = format!("{}/{}", info.kind, info.instance);
                if info.leaving {
                    table.remove(&name);
                    continue;
                }
                if table.len() >= MAX_INSTANCES {
                    remove_silent(&mut table);
                }
                if table.contains_key(&name) || table.len() < MAX_INSTANCES {
                    table.insert(name, (info, Instant::now()));
                }
            }
        });
        Ok(Directory { seen, task })
    }

    /// Who lives.
    #[must_use]
    pub fn list(&self) -> Vec<InstanceInfo> {
        let mut table = lock(&self.seen);
        remove_silent(&mut table);
        table.values().map(|(info, _)| info.clone()).collect()
    }

    /// Who lives, and for how long each has been silent.
    #[must_use]
    pub fn silences(&self) -> Vec<(InstanceInfo, Duration)> {
        let mut table = lock(&self.seen);
        remove_silent(&mut table);
        table.values().map(|(info, at)| (info.clone(), at.elapsed())).collect()
    }

    /// The living instance of this name.
    #[must_use]
    pub fn find(&self, instance: &str) -> Option<InstanceInfo> {
        self.list().into_iter().find(|info| info.instance == instance)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn remove_silent(table: &mut BTreeMap<String, (InstanceInfo, Instant)>) {
    table.retain(|_, (_, at)| at.elapsed() < LIVENESS_TIMEOUT);
}

fn lock(seen: &Seen) -> MutexGuard<'_, BTreeMap<String, (InstanceInfo, Instant)>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
