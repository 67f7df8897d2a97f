//! Relay events to the orchestrators: a request each, asked again while nobody takes it; the oldest give way when too many wait.

use bus::{Bus, Message};
use prost::Message as _;
use proto::v1::{RelayEvent, relay_event};
use relay::session::{Happening, Report};
use std::time::Duration;
use tokio::sync::mpsc;

const TIMEOUT: Duration = Duration::from_secs(2);
/// Attempts at one event; with the waits between them some six seconds.
const ATTEMPTS: u32 = 5;
/// Events on their way at once; one that nobody answers does not hold up the others.
const IN_FLIGHT: usize = 64;

/// Sends what the workers report until they are gone.
pub async fn run(bus: Bus, instance: String, mut reports: mpsc::Receiver<Report>) {
    let mut flights = tokio::task::JoinSet::new();
    while let Some(report) = reports.recv().await {
        while flights.len() >= IN_FLIGHT {
            flights.join_next().await;
        }
        while flights.try_join_next().is_some() {}
        flights.spawn(deliver(bus.clone(), event(&report, &instance), report.trace));
    }
    flights.join_all().await;
}

/// A report in the words of `relay.proto`.
#[must_use]
pub fn event(report: &Report, instance: &str) -> RelayEvent {
    let event = match report.happening {
        Happening::Connected => relay_event::Event::Connected,
        Happening::TimedOut => relay_event::Event::TimedOut,
        Happening::Unreachable => relay_event::Event::Unreachable,
        Happening::Insecure => relay_event::Event::Insecure,
    };
    RelayEvent {
        session: report.session.clone(),
        leg: report.leg.0.into(),
        content: report.content.into(),
        event: event.into(),
        instance: instance.into(),
    }
}

async fn deliver(bus: Bus, event: RelayEvent, trace: String) {
    let payload = bytes::Bytes::from(event.encode_to_vec());
    for attempt in 0..ATTEMPTS {
        let message = Message { trace: trace.clone(), payload: payload.clone() };
        match bus.request(signal::subjects::RELAY_EVENT, message, TIMEOUT).await {
            Ok(_) => return,
            Err(error) if attempt + 1 == ATTEMPTS => {
                tracing::warn!(call.id = %event.session, %error, "a relay event reached no orchestrator");
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(200 << attempt)).await,
        }
    }
}
