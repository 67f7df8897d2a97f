//! Settings of an XMPP user: forwards, do-not-disturb, block list. The phone services of calls obey them.
//!
//! One rule: the settings are whole. A change replaces them all, so that no order of two changes mixes them; default settings are
//! no record.

use crate::{Machine, StoredEffect};
use minicbor::{Decode, Encode};
use signal::{RecordId, RecordKind, Stored, Time};

/// Most callers on a block list.
pub const MAX_BLOCKED: usize = 256;
/// Most rules by caller.
pub const MAX_RULES: usize = 32;
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
    /// True if calls of callers who do not say who they are are not taken.
    #[cbor(n(3), default)]
    pub reject_anonymous: bool,
    /// Voicemail box: a number, SIP URI or JID; `None`: the configured one.
    #[n(4)]
    pub voicemail: Option<String>,
}

/// Target of a forward that leads to the voicemail box.
pub const VOICEMAIL: &str = "voicemail";

/// Forward targets: numbers, SIP URIs, bare JIDs, or [`VOICEMAIL`] (CFU, CFB, CFNR, and of a user who is not on line).
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
    /// Targets of certain callers' calls, before `always`; the first rule that names the caller counts.
    #[cbor(n(5), default)]
    pub callers: Vec<CallerRule>,
}

/// Forward of the calls of some callers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct CallerRule {
    /// Callers, as on the block list.
    #[n(0)]
    pub callers: Vec<String>,
    /// Target.
    #[n(1)]
    pub target: String,
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
        names(&self.blocked, caller)
    }

    /// Returns the target of the first rule that names the caller.
    #[must_use]
    pub fn forward_of(&self, caller: &str) -> Option<&str> {
        let rule = self.forward.callers.iter().find(|rule| names(&rule.callers, caller));
        rule.map(|rule| rule.target.as_str())
    }

    /// Returns how long a call rings before it goes elsewhere, ms; `None`: as long as any.
    #[must_use]
    pub fn ring_ms(&self) -> Option<u64> {
        let elsewhere = self.forward.no_answer.is_some() || self.voicemail.is_some();
        self.forward.no_answer_s.filter(|_| elsewhere).map(|seconds| u64::from(seconds) * 1_000)
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
        let Forward { always, busy, no_answer, offline, no_answer_s, callers } = &self.forward;
        let targets = [
            ("forward.always", always),
            ("forward.busy", busy),
            ("forward.no_answer", no_answer),
            ("forward.offline", offline),
            ("voicemail", &self.voicemail),
        ];
        for (key, target) in targets {
            target.as_deref().map_or(Ok(()), |target| address(key, target))?;
        }
        if self.voicemail.as_deref() == Some(VOICEMAIL) {
            let why = format!("{VOICEMAIL:?} is no box: give its number, SIP URI or JID");
            return Err(Invalid { key: "voicemail", why });
        }
        if callers.len() > MAX_RULES {
            let why = format!("{} rules: {MAX_RULES} are allowed", callers.len());
            return Err(Invalid { key: "forward.callers", why });
        }
        for rule in callers {
            address("forward.callers.target", &rule.target)?;
            if rule.callers.is_empty() || rule.callers.len() > MAX_BLOCKED {
                let why = format!("{} callers in a rule: give 1 to {MAX_BLOCKED}", rule.callers.len());
                return Err(Invalid { key: "forward.callers.callers", why });
            }
            rule.callers.iter().try_for_each(|caller| address("forward.callers.callers", caller))?;
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

/// Returns true if a list has the caller, by address or by the number or name in it, in any case.
fn names(list: &[String], caller: &str) -> bool {
    let bare = caller.split_once(':').map_or(caller, |(_, bare)| bare);
    let name = bare.split_once('@').map_or(bare, |(name, _)| name);
    list.iter().any(|entry| [caller, bare, name].iter().any(|form| entry.eq_ignore_ascii_case(form)))
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
    const VERSION: u16 = 2;
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
        let rule = |callers: &[&str]| CallerRule {
            callers: callers.iter().map(|caller| (*caller).to_owned()).collect(),
            target: "2050".into(),
        };
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
            ("voicemail", Settings { voicemail: Some("".into()), ..Settings::default() }),
            ("voicemail", Settings { voicemail: Some(VOICEMAIL.into()), ..Settings::default() }),
            (
                "forward.callers",
                forward(Forward { callers: vec![rule(&["2041"]); MAX_RULES + 1], ..Forward::default() }),
            ),
            (
                "forward.callers.target",
                forward(Forward {
                    callers: vec![CallerRule { target: "a b".into(), ..rule(&["2041"]) }],
                    ..Forward::default()
                }),
            ),
            ("forward.callers.callers", forward(Forward { callers: vec![rule(&[])], ..Forward::default() })),
            ("blocked", Settings { blocked: vec!["x".into(); MAX_BLOCKED + 1], ..Settings::default() }),
            ("blocked", Settings { blocked: vec![String::new()], ..Settings::default() }),
        ];
        for (key, settings) in cases {
            assert_eq!(settings.check().unwrap_err().key, key);
        }
        assert_eq!(quiet().check(), Ok(()));
    }
}
