//! Refusals of an edge made visible: a counter by link and status, a span, and a log line a minute for each of these.

use crate::metrics::counter;
use edge::Refusal;
use metrics::Counter;
use std::collections::HashMap;
use tracing::{info, info_span, warn};

/// Pause between two lines about one link and status, ms.
const PAUSE: u64 = 60_000;
/// Most pairs of link and status that are told apart.
const MAX_PAIRS: usize = 512;
/// Label of peers that belong to no link, and of pairs beyond [`MAX_PAIRS`].
const STRANGERS: &str = "strangers";

/// Refusals told so far.
#[derive(Debug)]
pub struct Refusals {
    protocol: &'static str,
    pairs: HashMap<(String, String), Told>,
}

#[derive(Debug)]
struct Told {
    counter: Counter,
    /// Time of the last line, ms.
    line: Option<u64>,
    /// Refusals since then.
    silent: u64,
}

impl Refusals {
    /// Creates the account of an edge of this protocol (`sip`, `xmpp`).
    #[must_use]
    pub fn new(protocol: &'static str) -> Refusals {
        Refusals { protocol, pairs: HashMap::new() }
    }

    /// Counts a refusal, makes its span, and logs it unless one of its kind was logged less than a minute ago.
    pub fn tell(&mut self, refusal: &Refusal, now_ms: u64) {
        let Refusal { link, peer, message, status, cause } = refusal;
        let protocol = self.protocol;
        let stranger = link.is_empty();
        if !stranger {
            // A span of no length: the refusal of a call is found among the traces of calls.
            let _span = info_span!(
                "refused",
                otel.kind = "server",
                otel.status_code = "ERROR",
                otel.status_description = %cause,
                protocol, link = %link, message = %message, status = %status
            )
            .entered();
        }
        let Some(silent) = self.count(link, status, now_ms) else { return };
        if stranger {
            info!(protocol, peer, message, status, cause, silent, "a stranger was refused");
        } else {
            warn!(protocol, link, peer, message, status, cause, silent, "a peer was refused");
        }
    }

    /// Counts, and returns the number of refusals that had no line since the last one, if it is time for a line.
    fn count(&mut self, link: &str, status: &str, now_ms: u64) -> Option<u64> {
        let link = if link.is_empty() { STRANGERS } else { link };
        let mut pair = (link.to_owned(), status.to_owned());
        if self.pairs.len() >= MAX_PAIRS && !self.pairs.contains_key(&pair) {
            pair = (STRANGERS.to_owned(), "other".to_owned());
        }
        let protocol = self.protocol;
        let told = self.pairs.entry(pair).or_insert_with_key(|(link, status)| Told {
            counter: counter(
                "tandem_refused_total",
                "Messages of peers that were refused, by trunk or component domain and by the status of the answer",
                &[("protocol", protocol), ("link", link.as_str()), ("status", status.as_str())],
            ),
            line: None,
            silent: 0,
        });
        told.counter.increment(1);
        if told.line.is_some_and(|last| now_ms.saturating_sub(last) < PAUSE) {
            told.silent += 1;
            return None;
        }
        told.line = Some(now_ms);
        Some(std::mem::take(&mut told.silent))
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_PAIRS, PAUSE, Refusals};

    #[test]
    fn a9_a_link_and_status_have_one_line_a_minute() {
        let mut refusals = Refusals::new("sip");
        let start = 1_000_000;
        let lines = [
            ("pbx", "403", 0),
            ("pbx", "403", 1),
            ("pbx", "488", 2),
            ("", "403", 3),
            ("pbx", "403", PAUSE - 1),
            ("pbx", "403", PAUSE),
            ("pbx", "403", PAUSE + 1),
        ]
        .map(|(link, status, after)| refusals.count(link, status, start + after));
        assert_eq!(lines, [Some(0), None, Some(0), Some(0), None, Some(2), None]);
    }

    #[test]
    fn a9_pairs_are_bounded() {
        let mut refusals = Refusals::new("xmpp");
        for number in 0..2 * MAX_PAIRS {
            refusals.count(&number.to_string(), "404", 0);
        }
        assert!(refusals.pairs.len() <= MAX_PAIRS + 1);
    }
}
