//! Sends the state that must outlive this relay to the orchestrators: sealed, in batches, again until it is stored.
//!
//! One rule: of each session only the newest state matters. What waits here is one entry a session, so an orchestrator or a store
//! that is away costs no memory. Start at [`run`]; [`runtime::seal`] says who can read it, [`wire`] how it is written.

pub mod wire;

use bus::{Bus, Message};
use prost::Message as _;
use proto::v1::{RelayState, SealedState};
use relay::session::Snapshot;
use runtime::seal::Sealer;
use signal::subjects;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::mpsc;

/// State of a session, from its media thread.
#[derive(Debug)]
pub enum StateUpdate {
    /// The session has changed.
    Changed(String, Box<Snapshot>),
    /// The session has ended.
    Ended(String),
}

/// How long it is waited for more to go along. A relay that dies within this time of a call's connection has left nothing of the call.
const GATHER: Duration = Duration::from_millis(250);
/// Octets and sessions of one message; the bus takes 512 KiB.
const OCTETS: usize = 128 * 1_024;
const SESSIONS: usize = 512;
const TIMEOUT: Duration = Duration::from_secs(2);
/// Before what could not be stored is told again.
const PAUSE: Duration = Duration::from_millis(250);

/// Tells what the media threads tell until they are gone.
pub async fn run(bus: Bus, instance: String, sealer: Sealer, mut told: mpsc::Receiver<StateUpdate>) {
    let mut waiting: HashMap<String, Option<Vec<u8>>> = HashMap::new();
    let keep = |waiting: &mut HashMap<String, Option<Vec<u8>>>, told| match told {
        StateUpdate::Ended(session) => {
            waiting.insert(session, None);
        }
        StateUpdate::Changed(session, snapshot) => {
            let octets = wire::encode(&snapshot).encode_to_vec();
            match sealer.seal(&session, &octets) {
                Some(sealed) => {
                    waiting.insert(session, Some(sealed));
                }
                None => tracing::error!(call.id = session, "a session could not be sealed"),
            }
        }
    };
    loop {
        if waiting.is_empty() {
            match told.recv().await {
                Some(first) => keep(&mut waiting, first),
                None => return,
            }
            tokio::time::sleep(GATHER).await;
        }
        for _ in 0..4 * SESSIONS {
            let Ok(more) = told.try_recv() else { break };
            keep(&mut waiting, more);
        }
        let batch = batch(&mut waiting);
        if !tell(&bus, &instance, &batch).await {
            // What has come of the same sessions meanwhile is newer.
            for (session, sealed) in batch {
                waiting.entry(session).or_insert(sealed);
            }
            if told.is_closed() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

type Batch = Vec<(String, Option<Vec<u8>>)>;

/// Takes as many as one message holds.
fn batch(waiting: &mut HashMap<String, Option<Vec<u8>>>) -> Batch {
    let (mut octets, mut names) = (0, vec![]);
    for (session, sealed) in waiting.iter() {
        if octets >= OCTETS || names.len() >= SESSIONS {
            break;
        }
        octets += session.len() + sealed.as_ref().map_or(0, Vec::len) + 16;
        names.push(session.clone());
    }
    names.into_iter().filter_map(|name| waiting.remove_entry(&name)).collect()
}

/// True: it is stored.
async fn tell(bus: &Bus, instance: &str, batch: &Batch) -> bool {
    let mut state = RelayState { instance: instance.into(), sessions: vec![], gone: vec![] };
    for (session, sealed) in batch {
        match sealed {
            Some(sealed) => {
                state.sessions.push(SealedState { session: session.clone(), sealed: sealed.clone() });
            }
            None => state.gone.push(session.clone()),
        }
    }
    let message = Message { trace: String::new(), payload: state.encode_to_vec().into() };
    match bus.request(subjects::RELAY_STATE, message, TIMEOUT).await {
        Ok(_) => true,
        Err(error) => {
            tracing::debug!(%error, sessions = batch.len(), "what must outlive this relay is not stored yet");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::seal::{Content, open};
    use signal::Secret;

    /// The store may fail over: the newest state is stored in the end, and the one before it never after it.
    #[tokio::test]
    async fn the_newest_state_is_told_until_it_is_stored() {
        let bus = Bus::in_process();
        let mut inbox = bus.serve(subjects::RELAY_STATE, "orchestrators").await.unwrap();
        let (tell, told) = mpsc::channel(16);
        let secret = Secret::new(b"the cluster's");
        let running = tokio::spawn(run(
            bus,
            "relay-1".into(),
            Sealer::new(&secret, Content::RelayState, [1; 16]),
            told,
        ));
        let state = |ms| {
            StateUpdate::Changed(
                "call".into(),
                Box::new(Snapshot { at: signal::Time(ms), ..Snapshot::default() }),
            )
        };
        tell.send(state(1)).await.unwrap();
        let lost = inbox.next().await.unwrap();
        tell.send(state(2)).await.unwrap();
        tell.send(StateUpdate::Ended("other".into())).await.unwrap();
        drop(lost);
        let request = inbox.next().await.unwrap();
        let batch = RelayState::decode(request.message.payload.clone()).unwrap();
        assert_eq!((batch.instance.as_str(), &batch.gone[..]), ("relay-1", &["other".to_owned()][..]));
        let octets = open(&secret, Content::RelayState, "call", &batch.sessions[0].sealed).unwrap();
        assert_eq!(wire::decode(&octets).unwrap().at, signal::Time(2));
        request.reply("").await.unwrap();
        drop(tell);
        running.await.unwrap();
    }
}
