//! Watching over the relays: the calls of one that dies go on at others within three seconds, those of one that drains at leisure.
//!
//! One rule: silence is a hint, no more. A relay is dead once it has missed three beats *and* does not answer when asked; an
//! orchestrator that was itself held up finds that they all answer. All orchestrators do this side by side; a lease a call and the
//! record's version keep them apart. Start at [`watch`].

use crate::calls::{Calls, Relocation};
use crate::relays::{Relays, session};
use bus::directory::InstanceInfo;
use session::call::{Call, RelaySession};
use signal::{EventId, RecordId};
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use store::Claim;
use tokio::sync::{Semaphore, mpsc};
use tracing::{info, warn};

/// How often the relays are looked at while one is asked or left, and the shortest time between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// The longest time between two looks.
const IDLE: Duration = Duration::from_millis(500);
/// Three beats and the way (`HEARTBEAT` of the relay is 250 ms).
const SILENT: Duration = Duration::from_millis(800);
/// Number of probes of a silent relay; the time that each may take follows.
const ASKED: usize = 3;
const ANSWER: Duration = Duration::from_millis(300);
/// Calls moved at once by one orchestrator.
const AT_ONCE: usize = 64;
/// Lease of an orchestrator that has begun to move a call, ms.
const LEASE_MS: u64 = 2_000;
/// Pause before it is tried again to read the relays of standing calls.
const AGAIN: Duration = Duration::from_secs(2);
/// Between two rounds over the calls of a relay.
const ROUND: Duration = Duration::from_millis(500);
/// Calls that no relay takes for so many rounds are over.
const ROUNDS: usize = 40;

/// State of a relay as found out.
enum Found {
    Dead(InstanceInfo),
    Alive(InstanceInfo),
    /// Its calls have left.
    Empty(String, u64),
    /// Records name it, and it had not announced itself when this orchestrator started.
    Recorded(InstanceInfo),
}

/// Watches until it is aborted.
pub async fn watch(calls: Calls, relays: Relays, instance: String) {
    let mut known: HashMap<String, InstanceInfo> = HashMap::new();
    let (mut asking, mut moving) = (HashSet::new(), HashSet::new());
    let (tell, mut told) = mpsc::channel(1_024);
    tokio::spawn(find_recorded(calls.clone(), tell.clone()));
    loop {
        let mut gone = vec![];
        while let Ok(found) = told.try_recv() {
            match found {
                Found::Dead(card) => {
                    asking.remove(&name(&card));
                    known.retain(|_, other| name(other) != name(&card));
                    relays.mark_dead(&card);
                    gone.push(card);
                }
                Found::Alive(card) => {
                    asking.remove(&name(&card));
                }
                Found::Empty(instance, started_ms) => {
                    moving.remove(&(instance, started_ms));
                }
                // It has been started anew, or is asked as one that fell silent.
                Found::Recorded(card) => match known.get(&card.instance) {
                    Some(now) if now.started_ms == card.started_ms => {}
                    Some(_) => gone.push(card),
                    None => drop(known.insert(card.instance.clone(), card)),
                },
            }
        }
        runtime::admin::ready("relays", (!relays.any()).then_some("no relay announces itself"));
        let cards = relays.silences();
        for (card, silent) in &cards {
            let before = known.insert(card.instance.clone(), card.clone());
            // Started anew it knows nothing of the sessions that it had.
            gone.extend(before.filter(|before| before.started_ms != card.started_ms));
            if *silent < SILENT && relays.is_marked_dead(card) {
                // Its host had only stood still.
                relays.mark_alive(card);
                tokio::spawn(release_orphans(calls.clone(), relays.clone(), session(card)));
            }
        }
        // Whoever has said good-bye, or was silent for longer than the directory remembers, is asked, too: it may be us who hear
        // nothing.
        let speaks =
            |card: &InstanceInfo| cards.iter().any(|(c, silent)| name(c) == name(card) && *silent < SILENT);
        for card in known.values().filter(|card| !speaks(card) && !relays.is_marked_dead(card)) {
            if asking.insert(name(card)) {
                let (relays, card, tell) = (relays.clone(), card.clone(), tell.clone());
                tokio::spawn(async move {
                    let found = ask(&relays, card).await;
                    let _ = tell.send(found).await;
                });
            }
        }
        let draining = known.values().filter(|card| card.draining && others(&cards, card));
        let leave =
            gone.into_iter().map(|card| (card, false)).chain(draining.cloned().map(|card| (card, true)));
        for (card, alive) in leave.collect::<Vec<_>>() {
            if moving.insert(name(&card)) || !alive {
                let (calls, me, tell) = (calls.clone(), instance.clone(), tell.clone());
                tokio::spawn(async move {
                    evacuate(&calls, &card, alive, &me).await;
                    let _ = tell.send(Found::Empty(card.instance, card.started_ms)).await;
                });
            }
        }
        // Nothing more is known before the next relay may have been silent for too long, unless the directory changes.
        let look = if asking.is_empty() && moving.is_empty() { next_look(&cards) } else { LOOK };
        tokio::time::sleep(LOOK).await;
        let _ = tokio::time::timeout(look - LOOK, relays.changed()).await;
    }
}

/// Tells of the relays that the records name: the orchestrators that watched over them may have gone with them (fault A5).
async fn find_recorded(calls: Calls, tell: mpsc::Sender<Found>) {
    // Those that live have announced themselves by then.
    tokio::time::sleep(SILENT).await;
    let mut relays: Vec<RelaySession> = vec![];
    let mut see = |call: Call| {
        relays.extend(call.relay.filter(|relay| !relays.contains(relay)));
        ControlFlow::Continue(())
    };
    while let Err(error) = calls.standing(&mut see).await {
        warn!(%error, "the relays of standing calls cannot be read yet");
        tokio::time::sleep(AGAIN).await;
    }
    for RelaySession { instance, address, started_ms } in relays {
        let card = InstanceInfo {
            kind: "rtp-relay".into(),
            instance,
            address,
            started_ms,
            ..InstanceInfo::default()
        };
        if tell.send(Found::Recorded(card)).await.is_err() {
            return;
        }
    }
}

/// Returns the time until the first of these relays may have been silent for too long.
fn next_look(cards: &[(InstanceInfo, Duration)]) -> Duration {
    let silent = cards.iter().map(|(_, silent)| SILENT.saturating_sub(*silent));
    silent.min().map_or(IDLE, |left| left.clamp(LOOK, IDLE))
}

fn name(card: &InstanceInfo) -> (String, u64) {
    (card.instance.clone(), card.started_ms)
}

/// There is a relay that could take the calls of this one.
fn others(cards: &[(InstanceInfo, Duration)], card: &InstanceInfo) -> bool {
    cards.iter().any(|(other, _)| other.instance != card.instance && !other.draining)
}

async fn ask(relays: &Relays, card: InstanceInfo) -> Found {
    for _ in 0..ASKED {
        if relays.answers(&card, ANSWER).await {
            // Not asked again at once.
            tokio::time::sleep(ROUND).await;
            return Found::Alive(card);
        }
    }
    warn!(relay = card.instance, "a relay is gone");
    Found::Dead(card)
}

/// Moves the calls of a relay until none is left there. Of a dead one, calls that nobody takes end; of one that drains they stay.
async fn evacuate(calls: &Calls, card: &InstanceInfo, alive: bool, me: &str) {
    let from = session(card);
    let mut moved = 0;
    for turn in 0..ROUNDS {
        let last = turn + 1 == ROUNDS;
        match round(calls, &from, alive, last, me).await {
            Ok((more, left)) => {
                moved += more;
                // A relay that drains takes nothing new, but what was on its way to it may still come.
                if left == 0 && (!alive || turn > 1) {
                    break;
                }
            }
            Err(error) => warn!(%error, relay = card.instance, "its calls cannot be moved yet"),
        }
        tokio::time::sleep(ROUND).await;
    }
    if moved > 0 {
        info!(relay = card.instance, calls = moved, alive, "calls have moved to other relays");
    }
}

/// One round: how many were moved here, and how many are still there.
async fn round(
    calls: &Calls,
    from: &RelaySession,
    alive: bool,
    last: bool,
    me: &str,
) -> anyhow::Result<(usize, usize)> {
    let mut ids = calls.runner().store().kept_ids(&from.instance).await?;
    // Each orchestrator begins elsewhere.
    ids.sort_by_cached_key(|id| EventId::of(&[me, id]).0);
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = tokio::task::JoinSet::new();
    for id in ids.iter().filter_map(|id| RecordId::parse(id)) {
        let Ok(permit) = at_once.clone().acquire_owned().await else { break };
        let (calls, from, me) = (calls.clone(), from.clone(), me.to_owned());
        running.spawn(async move {
            let _permit = permit;
            relocate_call(&calls, id, &from, alive, last, &me).await
        });
    }
    let (mut moved, mut left, mut gone) = (0, 0, vec![]);
    while let Some(done) = running.join_next().await {
        match done {
            Ok((_, Some(Relocation::Moved))) => moved += 1,
            Ok((id, Some(Relocation::Elsewhere))) => gone.push(id.to_string()),
            Ok(_) | Err(_) => left += 1,
        }
    }
    if !alive && !gone.is_empty() {
        forget(calls, from, &gone).await;
    }
    Ok((moved, left))
}

/// A relay that was given up and lives still holds sessions that are elsewhere by now: they go back.
async fn release_orphans(calls: Calls, relays: Relays, at: RelaySession) {
    let Ok(ids) = calls.runner().store().kept_ids(&at.instance).await else { return };
    for call in ids.iter().filter_map(|id| RecordId::parse(id)) {
        if !calls.at(call, &at).await.unwrap_or(true) {
            // Should that fail, it ends them by itself.
            let _ = relays.release(&at, call, "").await;
        }
    }
}

/// Moves a call and returns the outcome; `None`: another orchestrator is at it, or it must be tried again.
async fn relocate_call(
    calls: &Calls,
    call: RecordId,
    from: &RelaySession,
    alive: bool,
    last: bool,
    me: &str,
) -> (RecordId, Option<Relocation>) {
    let store = calls.runner().store();
    let lease = format!("move:{call}");
    let claim = Claim { holder: me, ttl_ms: LEASE_MS, in_use: true };
    match store.lease(&lease, &claim, runtime::clock::now_ms()).await {
        Ok(true) => {}
        Ok(false) => {
            let there = calls.at(call, from).await.unwrap_or(true);
            return (call, (!there).then_some(Relocation::Elsewhere));
        }
        Err(_) => return (call, None),
    }
    let relocation = calls.relocate(call, from, alive).await;
    let _ = store.unlease(&lease, me).await;
    match relocation {
        Ok(Relocation::NoRelay) if last && !alive => {
            calls.unreachable(call, from).await;
            (call, Some(Relocation::Elsewhere))
        }
        Ok(Relocation::NoRelay) => (call, None),
        Ok(Relocation::Nothing) => (call, None),
        Ok(relocation) => (call, Some(relocation)),
        Err(error) => {
            warn!(%error, call.id = %call, "a call cannot be moved yet");
            (call, None)
        }
    }
}

/// Drops the kept states of calls that are not at the relay, unless it lives again and has them again.
async fn forget(calls: &Calls, from: &RelaySession, gone: &[String]) {
    let kept = Duration::from_secs(600);
    let mut useless = vec![];
    for id in gone {
        let Some(call) = RecordId::parse(id) else { continue };
        if !calls.belongs(call, &from.instance).await.unwrap_or(true) {
            useless.push(id.clone());
        }
    }
    if let Err(error) = calls.runner().store().keep(&from.instance, &[], &useless, kept).await {
        warn!(%error, "what a relay has left could not be forgotten");
    }
}
