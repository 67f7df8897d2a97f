//! Lease of a component domain: one of all edges holds the domain's link. Orchestrators keep the lease in the store.

use bus::{Bus, Message};
use serde_json::json;
use signal::subjects;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::debug;

/// Time after which a lease that is not renewed is free.
const TTL: Duration = Duration::from_millis(2_000);
const RENEW: Duration = Duration::from_millis(500);
/// Longest wait for the answer to a claim.
const ANSWER: Duration = Duration::from_millis(450);

/// Claim to a lease.
pub struct Lease {
    held: watch::Receiver<bool>,
    releases: mpsc::Sender<Duration>,
    task: JoinHandle<()>,
}

impl Lease {
    /// Claims the lease of `domain` for `instance` until dropped.
    pub fn claim(bus: Bus, domain: &str, instance: &str) -> Lease {
        let (sender, held) = watch::channel(false);
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
                        if sender.send_replace(false) {
                            release(&bus, &domain, &instance).await;
                        }
                        tokio::time::sleep(pause_claims).await;
                        pause = Duration::ZERO;
                        continue;
                    }
                    () = tokio::time::sleep(pause) => pause = RENEW,
                }
                let asked = Instant::now();
                match bus
                    .request(subjects::CLAIM, message.clone(), ANSWER)
                    .await
                    .map(|octets| granted(&octets))
                {
                    Ok(true) => {
                        renewed = asked;
                        sender.send_replace(true);
                    }
                    Ok(false) => {
                        sender.send_replace(false);
                    }
                    Err(error) => {
                        debug!(%error, "nobody decides on the lease");
                        // Given up before it expires there, counting the time to the next answer: two links of one domain
                        // would be worse than none.
                        if renewed.elapsed() + RENEW + ANSWER >= TTL {
                            sender.send_replace(false);
                        }
                    }
                }
            }
        });
        Lease { held, releases, task }
    }

    /// Returns true if the lease is ours now.
    pub fn held(&self) -> bool {
        *self.held.borrow()
    }

    /// Waits until the lease is ours.
    pub async fn granted(&self) {
        self.until(true).await;
    }

    /// Waits until the lease is no longer ours.
    pub async fn lost(&self) {
        self.until(false).await;
    }

    /// Releases the lease and does not claim it for `pause`, so that another edge may have it.
    pub async fn release_for(&self, pause: Duration) {
        // The task lives as long as `self`.
        let _ = self.releases.send(pause).await;
        self.lost().await;
    }

    async fn until(&self, held: bool) {
        // The task lives as long as `self`.
        let _ = self.held.clone().wait_for(|now| *now == held).await;
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

fn granted(octets: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(octets).is_ok_and(|answer| answer["granted"] == json!(true))
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
}
