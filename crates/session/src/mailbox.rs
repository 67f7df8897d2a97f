//! Voicemail box of a user, as its server tells of it (RFC 3842; interworking §9.1).
//!
//! One rule: a user is told of new messages once for each rise of their number, and not more often than every [`PAUSE_MS`]; what rises
//! meanwhile is told then.

use minicbor::{Decode, Encode};
use signal::Time;

/// Pause between two announcements, ms.
pub const PAUSE_MS: u64 = 30_000;

/// Word of a voicemail server about a box.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Announcement {
    /// JID by which the user reaches the box.
    #[n(0)]
    pub mailbox: String,
    /// New and old messages; `None`: new ones, nobody says how many.
    #[n(1)]
    pub counts: Option<(u32, u32)>,
}

/// Knowledge of a box.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Mailbox {
    /// Last word of its server.
    #[n(0)]
    pub said: Option<Announcement>,
    /// Number of new messages that the user knows of.
    #[n(1)]
    known: u32,
    /// Time of the last announcement.
    #[n(2)]
    told: Option<Time>,
}

impl Announcement {
    /// Returns the text for the user.
    #[must_use]
    pub fn text(&self) -> String {
        match self.counts {
            None => "You have new voice messages.".to_owned(),
            Some((1, old)) => format!("1 new voice message ({old} old)"),
            Some((new, old)) => format!("{new} new voice messages ({old} old)"),
        }
    }

    /// Returns the number of new messages, one if nobody says how many.
    fn new_messages(&self) -> u32 {
        self.counts.map_or(1, |(new, _)| new)
    }
}

impl Mailbox {
    /// Takes what the server tells. Returns true if that is news.
    pub(crate) fn take(&mut self, announcement: Announcement) -> bool {
        self.known = self.known.min(announcement.new_messages());
        let news = self.said.as_ref() != Some(&announcement);
        self.said = Some(announcement);
        news
    }

    /// Returns what is to be announced now.
    pub(crate) fn announce(&mut self, now: Time) -> Option<Announcement> {
        if self.deadline().is_none_or(|at| at > now) {
            return None;
        }
        let said = self.said.clone()?;
        (self.known, self.told) = (said.new_messages(), Some(now));
        Some(said)
    }

    /// Returns the time of the next announcement.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let said = self.said.as_ref().filter(|said| said.new_messages() > self.known)?;
        let at = self.told.map_or(Time(0), |told| told + PAUSE_MS);
        Some(at).filter(|_| !said.mailbox.is_empty())
    }

    /// Returns the time from which on nothing of the box need be kept; `None`: it holds messages.
    pub(crate) fn is_empty_from(&self) -> Option<Time> {
        let empty = self.said.as_ref().is_none_or(|said| said.counts == Some((0, 0)));
        empty.then(|| self.told.map_or(Time(0), |told| told + PAUSE_MS))
    }
}
