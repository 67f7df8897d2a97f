//! Directory of instances: each one publishes its [`InstanceInfo`] every second on `tandem.here.<kind>`.
//!
//! One rule: an instance that was silent for 3.5 s is gone. Start at [`announce`] and [`Directory::watch`].

use crate::{Bus, BusError, Message};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Interval between the announcements of an instance.
pub const BEAT: Duration = Duration::from_secs(1);
/// Fact of an XMPP edge: the number of its links that are up.
pub const LINKS: &str = "links";
/// Silence after which an instance counts as gone.
const LIVENESS_TIMEOUT: Duration = Duration::from_millis(3_500);
/// Number of instances that a [`Directory`] holds at most.
const MAX_INSTANCES: usize = 4_096;

/// Description of an instance, as it announces itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceInfo {
    /// Kind: `sip-edge`, `xmpp-edge`, `orchestrator` or `rtp-relay`.
    pub kind: String,
    /// Id, unique within the kind.
    pub instance: String,
    /// Address of its own protocol, `host:port`; empty = reached by the bus only.
    pub address: String,
    /// Load, in a unit of the kind's own.
    pub load: u64,
    /// Highest load that it accepts, in the same unit.
    pub capacity: u64,
    /// Number of packets that a relay forwards per second.
    pub packets: u64,
    /// Share of a core that the busiest media thread uses, in thousandths.
    pub busy: u32,
    /// Share from which a relay accepts no new sessions, in thousandths.
    pub max_busy: u32,
    /// Region, named by the operator.
    pub region: String,
    /// Labels, named by the operator.
    pub labels: Vec<String>,
    /// True while it accepts no new work.
    pub draining: bool,
    /// Time of start, ms since the Unix epoch.
    pub started_ms: u64,
    /// Further facts: version, admin address.
    pub facts: BTreeMap<String, String>,
    /// True in the last announcement: the directory removes the instance at once.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
}

fn subject(kind: &str) -> String {
    format!("tandem.here.{kind}")
}

/// Announces an instance until it is dropped; then announces that it leaves.
#[derive(Debug)]
pub struct Announcer {
    info: watch::Sender<InstanceInfo>,
    task: Option<JoinHandle<()>>,
    bus: Bus,
}

/// Announces an instance at once, every second, and whenever `draining` changes.
#[must_use]
pub fn announce(bus: &Bus, info: InstanceInfo) -> Announcer {
    announce_every(BEAT, bus, info)
}

/// Announces an instance as [`announce`] does, at another interval.
#[must_use]
pub fn announce_every(beat: Duration, bus: &Bus, info: InstanceInfo) -> Announcer {
    let (sender, mut receiver) = watch::channel(info);
    let publisher = bus.clone();
    let task = tokio::spawn(async move {
        loop {
            let info = receiver.borrow_and_update().clone();
            // A failed announcement is not repeated: the next one follows soon.
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
    /// Changes the description; published with the next announcement, or at once if `draining` changes.
    pub fn update(&self, change: impl FnOnce(&mut InstanceInfo)) {
        self.info.send_modify(change);
    }

    /// Announces that the instance leaves, and waits until the bus has the message.
    pub async fn leave(mut self) {
        if let Some(task) = self.task.take() {
            let info = self.info.borrow().clone();
            leave(&self.bus, info, task).await;
            let _ = self.bus.flush().await;
        }
    }
}

impl Drop for Announcer {
    /// Announces that the instance leaves, if there is a runtime to send it. Best effort: its silence has the same effect later.
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
    // An announcement on its way must not follow the last one.
    task.abort();
    let _ = task.await;
    let _ = publish(bus, &InstanceInfo { leaving: true, ..info }).await;
}

fn drain_subject(instance: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    format!("tandem.drain.{}", instance.chars().map(plain).collect::<String>())
}

/// Asks an instance to accept no new work. Its `draining` shows that it has obeyed.
///
/// # Errors
/// [`BusError`] when the message cannot be handed over.
pub async fn ask_to_drain(bus: &Bus, instance: &str) -> Result<(), BusError> {
    bus.publish(&drain_subject(instance), Message::default()).await
}

/// Waits until an operator asks this instance to drain.
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

/// Live instances of one kind, or of all.
#[derive(Debug)]
pub struct Directory {
    seen: Seen,
    changed: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Directory {
    /// Watches one kind, `*` for all. The list is complete after one [`BEAT`].
    ///
    /// # Errors
    /// [`BusError::Link`] without connection.
    pub async fn watch(bus: &Bus, kind: &str) -> Result<Directory, BusError> {
        let mut inbox = bus.subscribe(&subject(kind)).await?;
        let (seen, changed) = (Seen::default(), Arc::new(Notify::new()));
        let (table, notify) = (seen.clone(), changed.clone());
        let task = tokio::spawn(async move {
            while let Some(message) = inbox.next().await {
                // Messages that cannot be read are ignored.
                let Ok(info) = serde_json::from_slice::<InstanceInfo>(&message.payload) else { continue };
                let mut table = lock(&table);
                let name = format!("{}/{}", info.kind, info.instance);
                if table.len() >= MAX_INSTANCES {
                    remove_silent(&mut table);
                }
                let life = |info: &InstanceInfo| (info.started_ms, info.draining);
                let (before, now) = (table.get(&name).map(|(info, _)| life(info)), life(&info));
                let leaves = info.leaving;
                if leaves {
                    table.remove(&name);
                } else if before.is_some() || table.len() < MAX_INSTANCES {
                    table.insert(name, (info, Instant::now()));
                }
                drop(table);
                if leaves || before != Some(now) {
                    notify.notify_one();
                }
            }
        });
        Ok(Directory { seen, changed, task })
    }

    /// Waits until an instance appears, leaves, was started anew or drains, since the last call of this method; for one caller at a
    /// time. Silence is no change.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Returns the live instances.
    #[must_use]
    pub fn list(&self) -> Vec<InstanceInfo> {
        self.list_where(|_| true)
    }

    /// Returns the live instances that match.
    #[must_use]
    pub fn list_where(&self, matches: impl Fn(&InstanceInfo) -> bool) -> Vec<InstanceInfo> {
        let mut table = lock(&self.seen);
        remove_silent(&mut table);
        table.values().filter(|(info, _)| matches(info)).map(|(info, _)| info.clone()).collect()
    }

    /// Returns true if a live instance matches.
    #[must_use]
    pub fn any(&self, matches: impl Fn(&InstanceInfo) -> bool) -> bool {
        let mut table = lock(&self.seen);
        remove_silent(&mut table);
        table.values().any(|(info, _)| matches(info))
    }

    /// Returns the live instances of a kind, each with the time since its last announcement.
    #[must_use]
    pub fn silences(&self, kind: &str) -> Vec<(InstanceInfo, Duration)> {
        let mut table = lock(&self.seen);
        remove_silent(&mut table);
        let of_kind = table.values().filter(|(info, _)| info.kind == kind);
        of_kind.map(|(info, at)| (info.clone(), at.elapsed())).collect()
    }

    /// Returns the live instance with this id.
    #[must_use]
    pub fn find(&self, instance: &str) -> Option<InstanceInfo> {
        self.list_where(|info| info.instance == instance).pop()
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
