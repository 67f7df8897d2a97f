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
    standing: watch::Receiver<Standing>,
    releases: mpsc::Sender<Duration>,
    task: JoinHandle<()>,
}

impl Lease {
    /// Claims the lease of `domain` for `instance` until dropped.
    pub fn claim(bus: Bus, domain: &str, instance: &str) -> Lease {
        let (sender, standing) = watch::channel(Standing::Undecided("it has just been asked for".into()));
        let (releases, mut releasing) = mpsc::channel::<Duration>(1);
        let (domain, instance) = (domain.to_owned(), instance.to_owned());
        let claim = json!({ "name": domain, "holder": instance, "ttl_ms": TTL.as_millis() as u64 });
        let message = Message { trace: String::new(), payload: claim.to_string().into() };
        let task = tokio::spawn(async move {
            let (mut renewed, mut pause) = (Instant::now(), Duration::ZERO);
            loop {
                tokio::select! {
                    biased;
                    Some(pause_claims) = releasing.recv() => {
                        if sender.send_replace(Standing::Another) == Standing::Ours {
                            release(&bus, &domain, &instance).await;
                        }
                        tokio::time::sleep(pause_claims).await;
                        pause = Duration::ZERO;
                        continue;
                    }
                    () = tokio::time::sleep(pause) => pause = RENEW,
                }
                let asked = Instant::now();
                let decided = match bus.request(subjects::CLAIM, message.clone(), ANSWER).await {
                    Ok(octets) => decision(&octets),
                    Err(BusError::Link(cause)) => Err(cause),
                    Err(error) => Err(format!("no orchestrator decides: {error}")),
                };
                let news = match decided {
                    Ok(true) => {
                        renewed = asked;
                        Standing::Ours
                    }
                    Ok(false) => Standing::Another,
                    // Given up before it expires there, counting the time to the next answer: two links of one domain would be
                    // worse than none.
                    Err(_)
                        if *sender.borrow() == Standing::Ours && renewed.elapsed() + RENEW + ANSWER < TTL =>
                    {
                        continue;
                    }
                    Err(cause) => Standing::Undecided(cause),
                };
                sender.send_if_modified(|standing| {
                    let changes = *standing != news;
                    *standing = news;
                    changes
                });
            }
        });
        Lease { standing, releases, task }
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
}
