//! The orchestrators' part while a relay works: they keep what must outlive it. Without an answer it would tell all of it again
//! and again, and be measured doing that.

use crate::now_ms;
use anyhow::{Context, Result};
use bus::{Bus, NatsConfig};
use signal::subjects;
use std::sync::mpsc;

/// Answers the relay's states from a thread of its own until the process ends.
///
/// # Errors
/// The bus cannot be reached.
pub fn start(url: &str, secret: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let config = NatsConfig::new(url, "load", &signal::Secret::new(secret.as_bytes()), now_ms);
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        runtime.block_on(async {
            let served = match Bus::nats(&config).await {
                Ok(bus) => bus.serve(subjects::RELAY_STATE, "load").await.map_err(anyhow::Error::from),
                Err(error) => Err(error.into()),
            };
            let mut states = match served {
                Ok(states) => states,
                Err(error) => return tell.send(Err(error)).unwrap_or_default(),
            };
            let _ = tell.send(Ok(()));
            while let Some(request) = states.next().await {
                // Not answered, it is told again.
                let _ = request.reply("").await;
            }
        });
    });
    told.recv().context("the keeper ended")?.context("--bus")
}
