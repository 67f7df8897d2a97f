//! Serves what comes in from the bus: asks of edges, events of relays, claims of component domains.

use crate::calls::Calls;
use crate::records::{Perform, Records};
use crate::users::Users;
use anyhow::{Context, Result};
use bus::{Bus, Request};
use prost::Message as _;
use proto::v1::relay_event::Event as Seen;
use proto::v1::{RelayEvent, RelayState};
use proto::wire::WireFormat;
use runtime::Drain;
use runtime::links::Outage;
use serde::{Deserialize, Serialize};
use session::Machine;
use session::call::{Call, Leg, MediaEvent, Phase};
use signal::mailbox::{Noted, Notice};
use signal::service::{self, Answer};
use signal::{AnySignal, Ask, LegId, Protocol, Reason, RecordId, Verdict, stored, subjects};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::sync::Semaphore;
use tracing::{error, warn};

const GROUP: &str = "orchestrators";
/// Requests worked on at once; further ones wait on the bus, whose queue is bounded too.
const AT_ONCE: usize = 2_048;
/// After a drain, what was asked before gets this long; then its askers have given up.
const LAST: Duration = Duration::from_secs(3);
/// A relay that states nothing for so long has left nothing that is of use.
const KEPT: Duration = Duration::from_secs(600);
/// Interval between polls of the deadlines of calls.
pub const POLL: Duration = Duration::from_millis(250);
/// Interval between polls of the deadlines of users: these only clear up.
pub const POLL_USERS: Duration = Duration::from_secs(2);
/// A due record that is not settled in this time goes to somebody else.
const TAKE_MS: u64 = 2_000;
/// Due records taken at once, a shard.
const TAKE: usize = 64;

/// Longest time to live of a lease.
const MAX_LEASE_MS: u64 = 60_000;
/// Most legs named at once: an answer must fit a message of the bus.
const MAX_NAMED: usize = 4_000;

/// Outage of the store, which all polls of deadlines meet.
static STORE: Outage = Outage::new();

/// Serves the subjects of the orchestrators until it is relieved or the drain says stop, and what has come by then.
///
/// # Errors
/// The bus cannot be served.
pub async fn serve(
    bus: Bus,
    calls: Calls,
    users: Users,
    drain: Drain,
    relieved: impl Future<Output = ()> + Send,
) -> Result<()> {
    let mut asks = bus.serve(subjects::ASK, GROUP).await.context("cannot serve the edges")?;
    let mut events = bus.serve(subjects::RELAY_EVENT, GROUP).await.context("cannot serve the relays")?;
    let mut states = bus.serve(subjects::RELAY_STATE, GROUP).await.context("cannot keep for the relays")?;
    let mut claims = bus.serve(subjects::CLAIM, GROUP).await.context("cannot serve claims")?;
    let mut legs = bus.serve(subjects::LEGS, GROUP).await.context("cannot name legs")?;
    let mut services = bus.serve(subjects::SERVICE, GROUP).await.context("cannot serve phone services")?;
    let mut mailboxes = bus.serve(subjects::MAILBOX, GROUP).await.context("cannot serve voicemail")?;
    bus.flush().await.context("the bus does not take our subscriptions")?;
    runtime::admin::ready("orchestrator", None);
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    let relief = tokio::sync::Notify::new();
    let serving = async {
        let mut draining = false;
        loop {
            let permit = at_once.clone().acquire_owned().await?;
            let work: Work = tokio::select! {
                () = relief.notified(), if !draining => {
                    draining = true;
                    asks.close();
                    events.close();
                    states.close();
                    claims.close();
                    legs.close();
                    services.close();
                    mailboxes.close();
                    continue;
                }
                Some(request) = asks.next() => Work::Ask(request),
                Some(request) = events.next() => Work::Event(request),
                Some(request) = states.next() => Work::State(request),
                Some(request) = claims.next() => Work::Claim(request),
                Some(request) = legs.next() => Work::Legs(request),
                Some(request) = services.next() => Work::Service(request),
                Some(request) = mailboxes.next() => Work::Mailbox(request),
                else => break,
            };
            let (calls, users) = (calls.clone(), users.clone());
            tokio::spawn(async move {
                match work {
                    Work::Ask(request) => ask(&calls, request).await,
                    Work::Event(request) => event(&calls, request).await,
                    Work::State(request) => state(calls.runner().store(), request).await,
                    Work::Claim(request) => claim(calls.runner().store(), request).await,
                    Work::Legs(request) => legs_of(&calls, request).await,
                    Work::Service(request) => service(&users, request).await,
                    Work::Mailbox(request) => mailbox(&calls, &users, request).await,
                }
                drop(permit);
            });
        }
        anyhow::ensure!(draining, "the bus is gone");
        // The last ones are answered, too.
        at_once.acquire_many(AT_ONCE as u32).await.map(drop)?;
        Ok(())
    };
    let over = async {
        relieved.await;
        relief.notify_one();
        tokio::time::sleep(LAST).await;
    };
    tokio::select! {
        served = serving => served,
        () = drain.stopping() => Ok(()),
        () = over => Ok(()),
    }
}

enum Work {
    Ask(Request),
    Event(Request),
    State(Request),
    Claim(Request),
    Legs(Request),
    Service(Request),
    Mailbox(Request),
}

async fn ask(calls: &Calls, request: Request) {
    let verdict = match <Ask<AnySignal>>::decode(&request.message.payload).map(Ask::of_call) {
        Ok(Some(Ask::Heard(heard))) => calls.heard(heard, &request.message.trace).await,
        Ok(Some(Ask::Recall(leg))) => calls.recall(leg).await,
        // Of another kind of record, or in another vocabulary.
        Ok(None) => Verdict::Refused(Reason::NotImplemented.into()),
        Err(error) => {
            warn!(%error, "an edge asked something that makes no sense");
            Verdict::Unavailable
        }
    };
    answer(request, verdict.encode()).await;
}

async fn event(calls: &Calls, request: Request) {
    let read = RelayEvent::decode(request.message.payload.clone()).ok().and_then(|event| {
        let seen = match event.event() {
            Seen::Connected => MediaEvent::Connected,
            Seen::TimedOut => MediaEvent::TimedOut,
            Seen::Unreachable => MediaEvent::Unreachable,
            Seen::Insecure => MediaEvent::Insecure,
            // Published elsewhere; it decides nothing.
            Seen::Keyframe => return None,
        };
        Some((RecordId::parse(&event.session)?, LegId(event.leg.try_into().ok()?), seen, event.instance))
    });
    let taken = match read {
        Some((call, leg, seen, relay)) => calls.media(call, leg, seen, &relay).await,
        None => {
            warn!("a relay told something that makes no sense");
            Ok(false)
        }
    };
    // What could not be committed is not answered: the relay tells it again.
    match taken {
        Ok(_) => answer(request, bytes::Bytes::new()).await,
        Err(error) => error!(%error, "an event of a relay could not be committed"),
    }
}

/// Keeps the state that must outlive a relay beside the records: sealed, and not to be read here.
async fn state(store: &Store, request: Request) {
    let Ok(state) = RelayState::decode(request.message.payload.clone()) else {
        warn!("a relay stated something that makes no sense");
        return answer(request, bytes::Bytes::new()).await;
    };
    let values: Vec<_> = state.sessions.into_iter().map(|s| (s.session, s.sealed.into())).collect();
    match store.keep(&state.instance, &values, &state.gone, KEPT).await {
        Ok(()) => answer(request, bytes::Bytes::new()).await,
        // Not answered: the relay states it again.
        Err(error) => warn!(%error, "what must outlive a relay could not be kept"),
    }
}

/// Serves a user's request for a phone service.
async fn service(users: &Users, request: Request) {
    let given = match stored::decode::<service::Request>(&request.message.payload) {
        Ok(asked) => users.serve(&asked).await,
        Err(error) => {
            warn!(%error, "a request for a phone service that makes no sense");
            Answer::Unavailable
        }
    };
    answer(request, stored::encode(&given).into()).await;
}

/// Notes what a voicemail server tells of a user's box.
async fn mailbox(calls: &Calls, users: &Users, request: Request) {
    let noted = match stored::decode::<Notice>(&request.message.payload) {
        Ok(notice) => match calls.gather().mailbox(&notice) {
            Some((jid, announcement)) => users.notified(&jid, announcement).await,
            None => Noted::Unknown,
        },
        Err(error) => {
            warn!(%error, "word of a voicemail server that makes no sense");
            Noted::Unavailable
        }
    };
    answer(request, stored::encode(&noted).into()).await;
}

/// A claim of a lease.
#[derive(Debug, Deserialize)]
struct Claim {
    name: String,
    holder: String,
    ttl_ms: u64,
    /// The claimant has the link of the domain. An edge of an older version does not say.
    #[serde(default = "yes")]
    in_use: bool,
    /// Give it back.
    #[serde(default)]
    release: bool,
}

fn yes() -> bool {
    true
}

/// Answer to a claim.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Claimed {
    Granted(bool),
    /// Cause for which nobody can decide now: the holder keeps what it has until its time is over.
    Undecided(String),
}

async fn claim(store: &Store, request: Request) {
    let granted = match serde_json::from_slice::<Claim>(&request.message.payload) {
        Ok(claim) if claim.release => store.unlease(&claim.name, &claim.holder).await.map(|()| true),
        Ok(claim) => {
            let ttl_ms = claim.ttl_ms.min(MAX_LEASE_MS);
            let asked = store::Claim { holder: &claim.holder, ttl_ms, in_use: claim.in_use };
            store.lease(&claim.name, &asked, runtime::clock::now_ms()).await
        }
        Err(error) => {
            warn!(%error, "a claim that makes no sense");
            Ok(false)
        }
    };
    let claimed = match granted {
        Ok(granted) => Claimed::Granted(granted),
        Err(error) => Claimed::Undecided(error.to_string()),
    };
    answer(request, serde_json::to_vec(&claimed).unwrap_or_default().into()).await;
}

/// Question for the legs of a component domain.
#[derive(Debug, Deserialize)]
struct Domain {
    domain: String,
}

/// Names the legs of standing calls of a component domain, each with its address there and the user's.
async fn legs_of(calls: &Calls, request: Request) {
    let Ok(Domain { domain }) = serde_json::from_slice(&request.message.payload) else {
        warn!("a question for legs that makes no sense");
        return answer(request, bytes::Bytes::new()).await;
    };
    let mut found = vec![];
    let seen = calls.standing(|call| {
        found.extend(call.legs.iter().filter_map(|leg| standing_leg(&call, leg, &domain)));
        if found.len() < MAX_NAMED { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    match seen.await {
        Ok(()) => {
            found.truncate(MAX_NAMED);
            answer(request, serde_json::to_vec(&found).unwrap_or_default().into()).await;
        }
        // Not answered: digits that are typed in those calls are bounced, and nothing else.
        Err(error) => warn!(%error, domain, "the legs of a component domain cannot be named"),
    }
}

/// Returns the record, the number and the addresses of a leg that is up on a component domain: ours and the user's.
fn standing_leg(call: &Call, leg: &Leg, domain: &str) -> Option<(String, u8, String, String)> {
    let (us, them) = (&leg.other_party().address, &leg.party().address);
    let ours = us.split('/').next()?.rsplit('@').next()?.eq_ignore_ascii_case(domain);
    let up = ours && leg.protocol() == Protocol::Xmpp && leg.phase == Phase::Active;
    up.then(|| (call.id.to_string(), leg.id.0, us.clone(), them.clone()))
}

async fn answer(request: Request, octets: bytes::Bytes) {
    if let Err(error) = request.reply(octets).await {
        warn!(%error, "nobody waits for the answer any more");
    }
}

/// Processes records of one kind whose deadline has passed, or whose outbox a dead orchestrator left behind, until the drain says
/// stop. The orchestrator is ready while the store answers this.
pub async fn poll_deadlines<M: Machine, P: Perform<M>>(
    records: Records<M, P>,
    every: Duration,
    drain: Drain,
) {
    let mut clock = tokio::time::interval(every);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let at_once = Arc::new(Semaphore::new(TAKE));
    let kind = M::KIND;
    loop {
        tokio::select! {
            () = drain.stopping() => return,
            _ = clock.tick() => {}
        }
        let due = records.runner().store().due(kind.name(), runtime::clock::now_ms(), TAKE_MS, TAKE).await;
        runtime::admin::ready("store", due.as_ref().err().map(ToString::to_string).as_deref());
        match &due {
            Ok(_) => STORE.over("store"),
            Err(error) => STORE.tell(&format!("[store] url: {error}"), runtime::clock::instant()),
        }
        let due = due.unwrap_or_default();
        for id in due.iter().filter_map(|hash| RecordId::of_hash(kind, hash)) {
            let Ok(permit) = at_once.clone().acquire_owned().await else { return };
            let records = records.clone();
            tokio::spawn(async move {
                if let Err(error) = records.process_due(id).await {
                    error!(%error, record = %id, "a due record could not be processed");
                }
                drop(permit);
            });
        }
    }
}
