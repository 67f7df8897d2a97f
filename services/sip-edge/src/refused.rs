//! Log lines for requests of calls that came from an address which their trunk does not name: one a minute for each trunk.

use signal::Time;
use std::collections::HashMap;
use std::net::IpAddr;
use tracing::warn;

/// Pause between two lines about one trunk, ms.
const PAUSE: u64 = 60_000;

/// Times of the last lines, by trunk: as many as the configuration has trunks.
#[derive(Debug, Default)]
pub struct RefusedSources(HashMap<String, Time>);

impl RefusedSources {
    /// Logs that a request from this source was refused, unless the trunk had its line a short while ago.
    pub fn tell(&mut self, trunk: &str, source: IpAddr, now: Time) {
        if self.is_due(trunk, now) {
            warn!(
                trunk,
                %source,
                "a request within a call of this trunk came from an address that is not the trunk's, and was refused: if the \
                 trunk sends from there, add it to [[trunk]] sources; if its phones change networks, set [[trunk]] roaming"
            );
        }
    }

    fn is_due(&mut self, trunk: &str, now: Time) -> bool {
        let due = self.0.get(trunk).is_none_or(|last| now.since(*last) >= PAUSE);
        if due {
            self.0.insert(trunk.to_owned(), now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::{PAUSE, RefusedSources};
    use signal::Time;

    #[test]
    fn a_trunk_has_one_line_a_minute() {
        let mut refused = RefusedSources::default();
        let start = Time(1_000_000);
        let told =
            [("pbx", 0), ("pbx", 1), ("carrier", 2), ("pbx", PAUSE - 1), ("pbx", PAUSE), ("pbx", PAUSE + 1)]
                .map(|(trunk, after)| refused.is_due(trunk, start + after));
        assert_eq!(told, [true, false, true, false, true, false]);
    }
}
