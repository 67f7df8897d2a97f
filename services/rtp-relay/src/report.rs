//! Relay events to the orchestrators: a request each, asked again until it is committed; the oldest give way when too many wait.
//! That media has begun, or that a keyframe is wanted, is published and forgotten: no decision waits for it. That a session goes on here
//! is committed: a drain waits for it.

use bus::{Bus, Message};
use prost::Message as _;
use proto::v1::{RelayEvent, relay_event};
use relay::session::{Deaf, Event, Report, Why};
use signal::subjects;
use std::time::Duration;
use tokio::sync::mpsc;

const TIMEOUT: Duration = Duration::from_secs(2);
/// An event that nobody has committed by then is given up; a store takes less to come back under another primary.
const GIVE_UP: Duration = Duration::from_secs(40);
/// The longest wait between two attempts.
const PAUSE: Duration = Duration::from_secs(2);
/// Events on their way at once; while nobody commits them the others wait in the core.
const IN_FLIGHT: usize = 1_024;

/// Sends what the workers report until they are gone.
pub async fn run(bus: Bus, instance: String, mut reports: mpsc::Receiver<Report>) {
    let mut flights = tokio::task::JoinSet::new();
    while let Some(report) = reports.recv().await {
        while flights.len() >= IN_FLIGHT {
            flights.join_next().await;
        }
        while flights.try_join_next().is_some() {}
        if let Event::Deaf(deaf) = report.event {
            warn(&report, deaf);
            continue;
        }
        let event = event(&report, &instance);
        let news = match report.event {
            Event::Connected => Some(subjects::RELAY_CONNECTED),
            Event::KeyframeWanted => Some(subjects::RELAY_KEYFRAME),
            _ => None,
        };
        match news {
            Some(subject) => flights.spawn(publish(bus.clone(), subject, event, report.trace)),
            None => flights.spawn(deliver(bus.clone(), event, report.trace)),
        };
    }
    flights.join_all().await;
}

/// A report in the words of `relay.proto`.
#[must_use]
pub fn event(report: &Report, instance: &str) -> RelayEvent {
    let event = match report.event {
        Event::Connected | Event::Resumed => relay_event::Event::Connected,
        Event::TimedOut => relay_event::Event::TimedOut,
        Event::Unreachable => relay_event::Event::Unreachable,
        Event::Insecure => relay_event::Event::Insecure,
        Event::KeyframeWanted => relay_event::Event::Keyframe,
        // Logged here; nobody decides anything by it.
        Event::Deaf(_) => relay_event::Event::Connected,
    };
    RelayEvent {
        session: report.session.clone(),
        leg: report.leg.0.into(),
        content: report.content.into(),
        event: event.into(),
        instance: instance.into(),
    }
}

/// Tells an operator why a party is not heard: once of each end of a call.
fn warn(report: &Report, deaf: Deaf) {
    let Deaf { from, expected, why } = deaf;
    let expected = expected.map_or_else(|| "nobody".into(), |address| address.to_string());
    let remedy = match why {
        Why::Source => "if the trunk's media comes from there, add the network to [[trunk]] media_networks",
        Why::PayloadType(_) => "the party sends a codec that it has not agreed to",
        Why::Key => "the party's keys are not those of its description",
        Why::Denied => "if media may go there, set [relay] deny",
    };
    tracing::warn!(
        call.id = %report.session,
        leg.id = report.leg.0,
        content = report.content,
        %from,
        expected,
        reason = %why,
        remedy,
        "a party's media is refused, and nothing else is heard of it"
    );
}

async fn publish(bus: Bus, subject: &'static str, event: RelayEvent, trace: String) {
    let message = Message { trace, payload: event.encode_to_vec().into() };
    if let Err(error) = bus.publish(subject, message).await {
        tracing::debug!(call.id = %event.session, %error, subject, "nobody hears it");
    }
}

async fn deliver(bus: Bus, event: RelayEvent, trace: String) {
    let message = Message { trace, payload: event.encode_to_vec().into() };
    let told = tokio::time::timeout(GIVE_UP, async {
        let mut pause = Duration::from_millis(200);
        while bus.request(subjects::RELAY_EVENT, message.clone(), TIMEOUT).await.is_err() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE);
        }
    });
    if told.await.is_err() {
        tracing::warn!(call.id = %event.session, "a relay event was committed by nobody");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store that fails over keeps orchestrators from committing for longer than a few attempts.
    #[tokio::test]
    async fn an_event_is_told_until_it_is_committed() {
        let bus = Bus::in_process();
        let mut inbox = bus.serve(subjects::RELAY_EVENT, "orchestrators").await.unwrap();
        let silence = RelayEvent { event: relay_event::Event::TimedOut.into(), ..RelayEvent::default() };
        let told = tokio::spawn(deliver(bus, silence, String::new()));
        for _ in 0..6 {
            drop(inbox.next().await.unwrap());
        }
        inbox.next().await.unwrap().reply("").await.unwrap();
        told.await.unwrap();
    }
}
