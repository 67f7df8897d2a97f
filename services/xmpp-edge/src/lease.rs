//! Lease of a component domain: one of all edges holds the domain's link. Orchestrators keep the lease in the store.

use bus::{Bus, BusError, Message};
use serde_json::json;
use signal::subjects;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Time after which a lease that is not renewed is free.
const TTL: Duration = Duration::from_millis(2_000);
const RENEW: Duration = Duration::from_millis(500);
/// Longest wait for the answer to a claim.
const ANSWER: Duration = Duration::from_millis(450);
/// Time to live of a claim that only asks, ms.
const LOOK_MS: u64 = 0;

/// Holder of a lease, as far as this edge knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// This edge.
    Ours,
    /// Another edge.
    Another,
    /// Nobody decides on it, for this cause.
    Undecided(String),
}

/// Claim to a lease.
pub struct Lease {
    bus: Bus,
    domain: String,
    standing: watch::Receiver<Standing>,
    in_use: watch::Sender<bool>,
    releases: mpsc::Sender<Duration>,
    task: JoinHandle<()>,
}

impl Lease {
    /// Claims the lease of `domain` for `instance` until dropped.
    pub fn claim(bus: Bus, domain: &str, instance: &str) -> Lease {
        let (sender, standing) = watch::channel(Standing::Undecided("it has just been asked for".into()));
        let (in_use, using) = watch::channel(false);
        let (releases, releasing) = mpsc::channel::<Duration>(1);
        let domain = domain.to_owned();
        let claimant =
            Claimant { bus: bus.clone(), domain: domain.clone(), instance: instance.to_owned(), told: None };
        let task = tokio::spawn(claimant.keep(sender, using, releasing));
        Lease { bus, domain, standing, in_use, releases, task }
    }

    /// Says whether the link is up here: a lease that is in use is not given to an edge that has no link.
    pub fn set_in_use(&self, in_use: bool) {
        self.in_use.send_if_modified(|known| std::mem::replace(known, in_use) != in_use);
    }

    /// Leaves the lease to an edge whose link is up, if there is one: a server may let a second link throw out the first. Returns true
    /// if there is.
    pub async fn leave_to_link(&self) -> bool {
        let question = Message { trace: String::new(), payload: Vec::new().into() };
        // One that is gone has left the bus; one that does not answer is as good as gone.
        let up = self.bus.request(&subjects::link(&self.domain), question, ANSWER).await.is_ok();
        if up {
            self.release_for(RENEW + ANSWER).await;
        }
        up
    }

    /// Returns true if the lease is ours now.
    pub fn held(&self) -> bool {
        *self.standing.borrow() == Standing::Ours
    }

    /// Returns who has the lease now.
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Waits until somebody else has the lease than `known`, or for another cause nobody.
    pub async fn changed_from(&self, known: &Standing) {
        self.until(|now| now != known).await;
    }

    /// Waits until the lease is ours.
    #[cfg(test)]
    pub async fn granted(&self) {
        self.until(|now| *now == Standing::Ours).await;
    }

    /// Waits until the lease is no longer ours.
    pub async fn lost(&self) {
        self.until(|now| *now != Standing::Ours).await;
    }

    /// Releases the lease and does not claim it for `pause`, so that another edge may have it.
    pub async fn release_for(&self, pause: Duration) {
        // The task lives as long as `self`.
        let _ = self.releases.send(pause).await;
        self.lost().await;
    }

    async fn until(&self, holds: impl FnMut(&Standing) -> bool) {
        // The task lives as long as `self`.
        let _ = self.standing.clone().wait_for(holds).await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Edge that claims the lease of a domain.
struct Claimant {
    bus: Bus,
    domain: String,
    instance: String,
    /// Task that tells others that the link is up here.
    told: Option<JoinHandle<()>>,
}

impl Drop for Claimant {
    fn drop(&mut self) {
        self.tell(false);
    }
}

impl Claimant {
    async fn keep(
        mut self,
        sender: watch::Sender<Standing>,
        mut using: watch::Receiver<bool>,
        mut releasing: mpsc::Receiver<Duration>,
    ) {
        let (mut renewed, mut pause) = (Instant::now(), Duration::ZERO);
        // The last decision that was against us stands until the next one.
        let mut anothers = false;
        loop {
            tokio::select! {
                biased;
                Some(pause_claims) = releasing.recv() => {
                    self.tell(*using.borrow());
                    if sender.send_replace(Standing::Another) == Standing::Ours {
                        release(&self.bus, &self.domain, &self.instance).await;
                    }
                    tokio::time::sleep(pause_claims).await;
                    pause = Duration::ZERO;
                    continue;
                }
                Ok(()) = using.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
            pause = RENEW;
            let in_use = *using.borrow_and_update();
            self.tell(in_use);
            let asked = Instant::now();
            if anothers && matches!(*sender.borrow(), Standing::Undecided(_)) {
                // A store that comes back empty has lost the lease. Its former holder, which has the calls, may claim first.
                if self.ask(LOOK_MS, false).await.is_ok() {
                    sender.send_replace(Standing::Another);
                    pause = RENEW + ANSWER;
                }
                continue;
            }
            let news = match self.ask(TTL.as_millis() as u64, in_use).await {
                Ok(true) => {
                    renewed = asked;
                    Standing::Ours
                }
                Ok(false) => Standing::Another,
                // Given up before it expires there, counting the time to the next answer: two links of one domain would be
                // worse than none.
                Err(_) if *sender.borrow() == Standing::Ours && renewed.elapsed() + RENEW + ANSWER < TTL => {
                    continue;
                }
                Err(cause) => Standing::Undecided(cause),
            };
            if !matches!(news, Standing::Undecided(_)) {
                anothers = news == Standing::Another;
            }
            sender.send_if_modified(|standing| {
                let changes = *standing != news;
                *standing = news;
                changes
            });
        }
    }

    /// Answers others who ask whether the link is up, for as long as it is.
    fn tell(&mut self, up: bool) {
        match &self.told {
            None if up => {
                let (bus, subject) = (self.bus.clone(), subjects::link(&self.domain));
                self.told = Some(tokio::spawn(async move {
                    let Ok(mut questions) = bus.serve(&subject, "link").await else { return };
                    while let Some(question) = questions.next().await {
                        let _ = question.reply(Vec::new()).await;
                    }
                }));
            }
            Some(told) if !up || told.is_finished() => {
                told.abort();
                self.told = None;
            }
            _ => {}
        }
    }

    /// Asks for the lease. Returns whether it is granted, or why nobody decides.
    async fn ask(&self, ttl_ms: u64, in_use: bool) -> Result<bool, String> {
        let claim =
            json!({ "name": self.domain, "holder": self.instance, "ttl_ms": ttl_ms, "in_use": in_use });
        let message = Message { trace: String::new(), payload: claim.to_string().into() };
        match self.bus.request(subjects::CLAIM, message, ANSWER).await {
            Ok(octets) => decision(&octets),
            Err(BusError::Link(cause)) => Err(cause),
            Err(error) => Err(format!("no orchestrator decides: {error}")),
        }
    }
}

/// Releases the lease at once, so that another edge need not wait.
pub async fn release(bus: &Bus, domain: &str, instance: &str) {
    let claim = json!({ "name": domain, "holder": instance, "ttl_ms": 0, "release": true });
    let message = Message { trace: String::new(), payload: claim.to_string().into() };
    let _ = bus.request(subjects::CLAIM, message, ANSWER).await;
}

/// Reads whether the lease is granted, or why nobody decides.
fn decision(octets: &[u8]) -> Result<bool, String> {
    let answer: serde_json::Value = serde_json::from_slice(octets).unwrap_or_default();
    match (answer["granted"].as_bool(), answer["undecided"].as_str()) {
        (Some(granted), _) => Ok(granted),
        (None, Some(cause)) => Err(cause.to_owned()),
        (None, None) => Err("an orchestrator answered nonsense".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worst case: the claim is granted at the last moment, and every further one is lost.
    #[tokio::test]
    async fn a_lease_is_held_no_longer_than_it_lasts() {
        let bus = Bus::in_process();
        let mut claims = bus.serve(subjects::CLAIM, "orchestrators").await.unwrap();
        let lease = Lease::claim(bus.clone(), "sip.example.net", "edge");
        let request = claims.next().await.unwrap();
        let granted = Instant::now();
        tokio::time::sleep(ANSWER - Duration::from_millis(50)).await;
        request.reply(r#"{"granted":true}"#).await.unwrap();
        lease.granted().await;
        let lost = tokio::time::timeout(2 * TTL, lease.lost()).await;
        assert!(lost.is_ok() && granted.elapsed() < TTL, "{:?}", granted.elapsed());
    }

    /// With the store away nobody else has the lease: the cause is told, and the lease kept until its time is over.
    #[tokio::test]
    async fn a10_a_lease_that_nobody_decides_on_is_not_another_edges() {
        let bus = Bus::in_process();
        let mut claims = bus.serve(subjects::CLAIM, "orchestrators").await.unwrap();
        let lease = Lease::claim(bus.clone(), "sip.example.net", "edge");
        let mut answer = async |text: &'static str| claims.next().await.unwrap().reply(text).await.unwrap();
        answer(r#"{"undecided":"the store is away"}"#).await;
        let known = Standing::Undecided("the store is away".into());
        let wait = async |standing: &Standing| lease.until(|now| now == standing).await;
        tokio::time::timeout(TTL, wait(&known)).await.unwrap();
        answer(r#"{"granted":false}"#).await;
        tokio::time::timeout(TTL, wait(&Standing::Another)).await.unwrap();
        answer(r#"{"granted":true}"#).await;
        lease.granted().await;
        answer(r#"{"undecided":"the store is away"}"#).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(lease.held(), "it lasts a little longer");
        drop(claims);
        tokio::time::timeout(2 * TTL, lease.lost()).await.unwrap();
        let Standing::Undecided(cause) = lease.standing() else { panic!("{:?}", lease.standing()) };
        assert!(cause.contains("no orchestrator decides"), "{cause}");
    }

    /// The store comes back and has lost everything: an edge that had no lease leaves its former holder the time to claim.
    #[tokio::test]
    async fn a6_a_lease_that_the_store_has_lost_is_left_to_its_former_holder() {
        let bus = Bus::in_process();
        let mut claims = bus.serve(subjects::CLAIM, "orchestrators").await.unwrap();
        let lease = Lease::claim(bus.clone(), "sip.example.net", "edge");
        let mut answer = async |text: &'static str| {
            let request = claims.next().await.unwrap();
            let claim: serde_json::Value = serde_json::from_slice(&request.message.payload).unwrap();
            request.reply(text).await.unwrap();
            (claim["ttl_ms"].as_u64().unwrap(), claim["in_use"].as_bool().unwrap())
        };
        let whole = TTL.as_millis() as u64;
        assert_eq!(answer(r#"{"granted":false}"#).await, (whole, false));
        assert_eq!(answer(r#"{"undecided":"the store is away"}"#).await, (whole, false));
        assert_eq!(answer(r#"{"undecided":"the store is away"}"#).await, (LOOK_MS, false));
        assert_eq!(answer(r#"{"granted":true}"#).await, (LOOK_MS, false));
        let looked = Instant::now();
        assert!(!lease.held());
        assert_eq!(answer(r#"{"granted":true}"#).await, (whole, false));
        lease.granted().await;
        assert!(looked.elapsed() > RENEW, "the former holder claims at this interval");
        // A link that is up is told at once.
        lease.set_in_use(true);
        assert_eq!(answer(r#"{"granted":true}"#).await, (whole, true));
        assert!(looked.elapsed() < 3 * RENEW, "{:?}", looked.elapsed());
    }
}
