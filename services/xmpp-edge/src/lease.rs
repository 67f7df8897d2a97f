//! The lease of a component domain: of all edges one holds its link. Orchestrators keep it in the store.

use bus::{Bus, Message};
use serde_json::json;
use signal::subjects;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::debug;

/// A lease that is not renewed for this long is free.
const TTL: Duration = Duration::from_millis(2_000);
const RENEW: Duration = Duration::from_millis(500);
/// A claim that is not answered in this time has failed.
const ANSWER: Duration = Duration::from_millis(450);

/// Whether we hold it.
pub struct Lease {
    held: watch::Receiver<bool>,
    rests: mpsc::Sender<Duration>,
    task: JoinHandle<()>,
}

impl Lease {
    /// Claims the lease of `domain` for `instance`, again and again.
    pub fn claim(bus: Bus, domain: &str, instance: &str) -> Lease {
        let (sender, held) = watch::channel(false);
        let (rests, mut resting) = mpsc::channel::<Duration>(1);
        let (domain, instance) = (domain.to_owned(), instance.to_owned());
        let claim = json!({ "name": domain, "holder": instance, "ttl_ms": TTL.as_millis() as u64 });
        let message = Message { trace: String::new(), payload: claim.to_string().into() };
        let task = tokio::spawn(async move {
            let (mut renewed, mut pause) = (Instant::now(), Duration::ZERO);
            loop {
                tokio::select! {
                    biased;
                    Some(rest) = resting.recv() => {
                        if sender.send_replace(false) {
                            give_back(&bus, &domain, &instance).await;
                        }
                        tokio::time::sleep(rest).await;
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
                        // Before it runs out there: two links of one domain would be worse than none. The next answer is so far off.
                        if renewed.elapsed() + RENEW + ANSWER >= TTL {
                            sender.send_replace(false);
                        }
                    }
                }
            }
        });
        Lease { held, rests, task }
    }

    /// Now.
    pub fn held(&self) -> bool {
        *self.held.borrow()
    }

    /// Waits until it is ours.
    pub async fn granted(&self) {
        self.until(true).await;
    }

    /// Waits until it is ours no more.
    pub async fn lost(&self) {
        self.until(false).await;
    }

    /// Gives it back, and claims it no more for so long: another edge may have it.
    pub async fn rest(&self, pause: Duration) {
        // The task lives as long as this does.
        let _ = self.rests.send(pause).await;
        self.lost().await;
    }

    async fn until(&self, held: bool) {
        // The task lives as long as this does.
        let _ = self.held.clone().wait_for(|now| *now == held).await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Gives it back at once, so that another edge need not wait.
pub async fn give_back(bus: &Bus, domain: &str, instance: &str) {
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
