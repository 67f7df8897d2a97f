//! Settings of an XMPP user: forwards, do-not-disturb, block list. The phone services of calls obey them.
//!
//! One rule: the settings are whole. A change replaces them all, so that no order of two changes mixes them; default settings are
//! no record.

use crate::{Machine, StoredEffect};
use minicbor::{Decode, Encode};
use signal::{RecordId, RecordKind, Stored, Time};

/// Most callers on a block list.
pub const MAX_BLOCKED: usize = 256;
/// Longest address, octets: a bare JID (RFC 7622 §3.1) or a number.
pub const MAX_ADDRESS: usize = 2_047;

/// Record of a user.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct User {
    /// Id, derived from the JID.
    #[n(0)]
    pub id: RecordId,
    /// Bare JID.
    #[n(1)]
    pub jid: String,
    /// Settings.
    #[n(2)]
    pub settings: Settings,
    /// Time of the last change.
    #[n(3)]
    pub changed: Time,
}

/// Settings of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Settings {
    /// No call rings.
    #[n(0)]
    pub do_not_disturb: bool,
    /// Forward targets.
    #[n(1)]
    pub forward: Forward,
    /// Callers whose calls are not taken: bare JIDs, numbers, SIP addresses.
    #[n(2)]
    pub blocked: Vec<String>,
}

/// Forward targets: numbers or bare JIDs (CFU, CFB, CFNR, and of a user who is not on line).
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Forward {
    /// Of every call.
    #[n(0)]
    pub always: Option<String>,
    /// Of a call that meets a busy user.
    #[n(1)]
    pub busy: Option<String>,
    /// Of a call that is not answered in time.
    #[n(2)]
    pub no_answer: Option<String>,
    /// Of a call to a user without a device on line.
    #[n(3)]
    pub offline: Option<String>,
    /// Ringing before `no_answer` applies, seconds; `None`: the configured time.
    #[n(4)]
    pub no_answer_s: Option<u16>,
}

/// Event of a user record.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// New settings, which [`Settings::check`] has accepted.
    Set(Settings),
    /// The deadline has passed.
    Deadline,
}

/// Effect of a decision about a user.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Effect {
    /// A fact for those who watch settings.
    #[n(0)]
    Record(#[n(0)] Fact),
}

/// Fact of a user.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Fact {
    /// The settings have changed.
    #[n(0)]
    Changed {
        /// Bare JID.
        #[n(0)]
        jid: String,
    },
}

/// Refusal of settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {why}")]
pub struct Invalid {
    /// Key of the setting, as the admin API names it.
    pub key: &'static str,
    /// The fault and its remedy.
    pub why: String,
}

impl Settings {
    /// Returns true if the caller is on the block list, by address or by the number or name in it, in any case.
    #[must_use]
    pub fn blocks(&self, caller: &str) -> bool {
        let bare = caller.split_once(':').map_or(caller, |(_, bare)| bare);
        let name = bare.split_once('@').map_or(bare, |(name, _)| name);
        let is =
            |blocked: &String| [caller, bare, name].iter().any(|form| blocked.eq_ignore_ascii_case(form));
        self.blocked.iter().any(is)
    }

    /// Checks bounds and addresses.
    ///
    /// # Errors
    /// The first setting that is refused.
    pub fn check(&self) -> Result<(), Invalid> {
        let address = |key: &'static str, address: &str| {
            let control = address.chars().any(|c| c.is_control() || c.is_whitespace());
            if address.is_empty() || address.len() > MAX_ADDRESS || control {
                let why = format!(
                    "{address:?} is no number and no JID: give 1 to {MAX_ADDRESS} octets without blanks"
                );
                return Err(Invalid { key, why });
            }
            Ok(())
        };
        let Forward { always, busy, no_answer, offline, no_answer_s } = &self.forward;
        let targets = [
            ("forward.always", always),
            ("forward.busy", busy),
            ("forward.no_answer", no_answer),
            ("forward.offline", offline),
        ];
        for (key, target) in targets {
            target.as_deref().map_or(Ok(()), |target| address(key, target))?;
        }
        if no_answer_s.is_some_and(|seconds| !(5..=300).contains(&seconds)) {
            let why = format!("{} is out of range: give 5 to 300 s", no_answer_s.unwrap_or_default());
            return Err(Invalid { key: "forward.no_answer_s", why });
        }
        if self.blocked.len() > MAX_BLOCKED {
            let why = format!("{} callers are on the list: {MAX_BLOCKED} are allowed", self.blocked.len());
            return Err(Invalid { key: "blocked", why });
        }
        self.blocked.iter().try_for_each(|caller| address("blocked", caller))
    }
}

impl User {
    /// Creates the record of a user with their first settings.
    #[must_use]
    pub fn create(id: RecordId, jid: String, settings: Settings, now: Time) -> (User, Vec<Effect>) {
        User { id, jid, settings: Settings::default(), changed: now }.decide(Event::Set(settings), now)
    }
}

impl Stored for User {
    const NAME: &'static str = "a user record";
    const VERSION: u16 = 1;
    const OLDEST: u16 = 1;
}

impl StoredEffect for Effect {
    const NAME: &'static str = "an outbox of a user";
    const VERSION: u16 = 1;
    const OLDEST: u16 = 1;
    type Lane = ();

    fn lane(&self) {}
}

impl Machine for User {
    const KIND: RecordKind = RecordKind::User;
    const DEADLINE: Event = Event::Deadline;
    const LIFETIME_MS: Option<u64> = None;
    type Event = Event;
    type Effect = Effect;

    fn decide(mut self, event: Event, now: Time) -> (User, Vec<Effect>) {
        match event {
            Event::Set(settings) if settings != self.settings => {
                (self.settings, self.changed) = (settings, now);
                let fact = Fact::Changed { jid: self.jid.clone() };
                (self, vec![Effect::Record(fact)])
            }
            Event::Set(_) | Event::Deadline => (self, vec![]),
        }
    }

    fn deadline(&self) -> Option<Time> {
        (self.settings == Settings::default()).then_some(self.changed)
    }

    fn finished(&self, _now: Time) -> bool {
        self.settings == Settings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_000);

    fn rosa(settings: Settings) -> (User, Vec<Effect>) {
        let id = RecordId { kind: RecordKind::User, hash: [7; 10] };
        User::create(id, "rosa@example.net".into(), settings, NOW)
    }

    fn quiet() -> Settings {
        Settings { do_not_disturb: true, ..Settings::default() }
    }

    #[test]
    fn settings_stay_until_they_are_the_default_again() {
        let (user, effects) = rosa(quiet());
        assert_eq!(effects, [Effect::Record(Fact::Changed { jid: "rosa@example.net".into() })]);
        assert_eq!((user.deadline(), user.finished(NOW + 1_000_000_000)), (None, false));
        let (user, effects) = user.decide(Event::Set(quiet()), NOW + 5);
        assert_eq!((user.changed, effects), (NOW, vec![]), "what changes nothing is no news");
        let (user, effects) = user.decide(Event::Set(Settings::default()), NOW + 9);
        assert_eq!(effects.len(), 1);
        assert_eq!((user.deadline(), user.finished(NOW + 9)), (Some(NOW + 9), true));
    }

    #[test]
    fn a_blocked_caller_is_known_by_address_and_number() {
        let blocking = |blocked: &str| Settings { blocked: vec![blocked.into()], ..Settings::default() };
        for blocked in ["2041", "2041@pbx.example", "SIP:2041@PBX.example"] {
            assert!(blocking(blocked).blocks("sip:2041@pbx.example"), "{blocked}");
            assert!(!blocking(blocked).blocks("sip:204@pbx.example"), "{blocked}");
        }
        assert!(blocking("+49301234").blocks("tel:+49301234"));
        assert!(!Settings::default().blocks("sip:2041@pbx.example"));
    }

    #[test]
    fn settings_that_make_no_sense_are_refused_by_key() {
        let forward = |forward| Settings { forward, ..Settings::default() };
        let long = "x".repeat(MAX_ADDRESS + 1);
        let cases = [
            ("forward.always", forward(Forward { always: Some(String::new()), ..Forward::default() })),
            ("forward.busy", forward(Forward { busy: Some("a b".into()), ..Forward::default() })),
            (
                "forward.no_answer",
                forward(Forward { no_answer: Some("a\r\nb".into()), ..Forward::default() }),
            ),
            ("forward.offline", forward(Forward { offline: Some(long), ..Forward::default() })),
            ("forward.no_answer_s", forward(Forward { no_answer_s: Some(2), ..Forward::default() })),
            ("blocked", Settings { blocked: vec!["x".into(); MAX_BLOCKED + 1], ..Settings::default() }),
            ("blocked", Settings { blocked: vec![String::new()], ..Settings::default() }),
        ];
        for (key, settings) in cases {
            assert_eq!(settings.check().unwrap_err().key, key);
        }
        assert_eq!(quiet().check(), Ok(()));
    }
}
