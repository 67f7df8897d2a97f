//! Legs of the calls that stand on a component domain whose link has just come to this edge.
//!
//! One rule: nothing waits for them. Whatever names its leg recalls it; these find the leg for what names its parties alone.

use bus::{Bus, Message};
use serde_json::json;
use signal::{LegId, LegRef, RecordId, subjects};
use std::time::Duration;

/// Longest wait for the answer: orchestrators look at each call that stands.
const ANSWER: Duration = Duration::from_secs(15);

/// Asks for the legs of a domain, each with our address and the user's; none if nobody knows.
pub(crate) async fn legs(bus: &Bus, domain: &str) -> Vec<(LegRef, String, String)> {
    let message = Message { trace: String::new(), payload: json!({ "domain": domain }).to_string().into() };
    match bus.request(subjects::LEGS, message, ANSWER).await {
        Ok(octets) => read(&octets),
        Err(error) => {
            tracing::debug!(%error, domain, "nobody names the legs of this domain");
            vec![]
        }
    }
}

fn read(octets: &[u8]) -> Vec<(LegRef, String, String)> {
    let named: Vec<(String, u8, String, String)> = serde_json::from_slice(octets).unwrap_or_default();
    let leg = |(record, leg, us, them): (String, u8, String, String)| {
        let record = RecordId::parse(&record)?;
        Some((LegRef { record, leg: LegId(leg) }, us, them))
    };
    named.into_iter().filter_map(leg).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_names_nobody() {
        let record = RecordId::call([7; 10]);
        let text = json!([
            [record.to_string(), 1, "2041@sip.example.net", "rosa@example.net/a"],
            ["x", 1, "a", "b"]
        ]);
        let named = read(text.to_string().as_bytes());
        assert_eq!(named.len(), 1);
        assert_eq!(named[0].0, LegRef { record, leg: LegId(1) });
        assert!(read(b"").is_empty() && read(b"{}").is_empty() && read(b"[[1]]").is_empty());
    }
}
