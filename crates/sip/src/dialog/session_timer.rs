//! Session timer (RFC 4028), as far as it must outlive the edge that agreed it.

use minicbor::{Decode, Encode};
use signal::Time;

/// Least session interval, s: a peer that wants less is refused (RFC 4028 §5; interworking §2.11).
pub const MIN_INTERVAL: u32 = 90;
/// Longest time by which the end of a session comes before that of its interval, ms (§10).
const MARGIN: u64 = 32_000;
/// Time after which a refresh of ours that was not answered is sent again, ms: by another edge, since Timer F has ended the call at the
/// one that sent it.
const LOST: u64 = 33_000;
/// Shortest time before a refresh that was refused is sent again, ms: longer than the pause after a 491 (RFC 3261 §14.1).
const AGAIN: u64 = 4_100;
/// Most that two clocks of the installation differ, ms.
const SKEW: u64 = 2_000;

/// Party that refreshes the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Refresher {
    /// We.
    #[default]
    #[n(0)]
    Us,
    /// The peer.
    #[n(1)]
    Peer,
}

/// Session timer of a dialog.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct SessionTimer {
    /// Interval that we ask for, s; 0 = we ask for none.
    #[n(0)]
    pub wish: u32,
    /// Least interval that was named to us in a 422, s; 0 = none.
    #[n(1)]
    pub least: u32,
    /// Number of such answers.
    #[n(2)]
    pub refused: u8,
    /// Interval agreed, s; 0 = the session does not expire.
    #[n(3)]
    pub interval: u32,
    /// Party that refreshes.
    #[n(4)]
    pub refresher: Refresher,
    /// Time at which we act: refresh, or hang up on a peer that has not. `None` until the edge has set it.
    #[n(5)]
    pub due: Option<Time>,
    /// End of the interval.
    #[n(6)]
    pub expires: Option<Time>,
    /// CSeq of our refresh that waits for its answer.
    #[n(7)]
    pub refresh_cseq: Option<u32>,
    /// True if the peer knows session timers.
    #[n(8)]
    pub supported: bool,
    /// True if the peer takes UPDATE.
    #[n(9)]
    pub update: bool,
}

/// Act that a session timer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Refresh the session.
    Refresh,
    /// End it.
    End,
}

impl SessionTimer {
    /// Sets the times of an interval that has just been agreed (§7.2, §10).
    pub fn start(&mut self, now: Time) {
        if self.interval == 0 {
            (self.due, self.expires) = (None, None);
        } else if self.due.is_none() {
            let interval = u64::from(self.interval) * 1_000;
            let pause = match self.refresher {
                Refresher::Us => interval / 2,
                Refresher::Peer => interval - MARGIN.min(interval / 3),
            };
            (self.due, self.expires) = (Some(now + pause), Some(now + interval));
        }
    }

    /// Sets the time of the next attempt: our refresh has just been `sent`, or it could not be, or was refused. Half of what is left
    /// of the interval passes before another one.
    pub fn try_again(&mut self, sent: bool, now: Time) {
        let left = self.expires.map_or(0, |end| end.since(now));
        self.due = Some(now + if sent { LOST } else { (left / 2).max(AGAIN) });
    }

    /// Returns the act that is due, if any. The clock of whoever tells that it is time may be another one.
    #[must_use]
    pub fn act(&self, now: Time) -> Option<Act> {
        self.due.filter(|due| *due <= now + SKEW)?;
        let margin = MARGIN.min(u64::from(self.interval) * 1_000 / 3);
        let over = self.expires.is_some_and(|end| now + margin >= end);
        Some(if self.refresher == Refresher::Peer || over { Act::End } else { Act::Refresh })
    }
}
