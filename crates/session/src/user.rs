//! Settings of an XMPP user: forwards, do-not-disturb, block list. The phone services of calls obey them. Beside them, what the user's
//! voicemail box holds ([`Mailbox`]).
//!
//! One rule: the settings are whole. A change replaces them all, so that no order of two changes mixes them; default settings are
//! no record.

use crate::mailbox::{Announcement, Mailbox};
use crate::{Machine, StoredEffect};
use minicbor::{Decode, Encode};
use signal::{RecordId, RecordKind, Stored, Time};

/// Most callers on a block list.
pub const MAX_BLOCKED: usize = 256;
/// Most rules by caller.
pub const MAX_RULES: usize = 32;
/// Most calls that are kept of a user without call waiting.
pub const MAX_CALLS: usize = 16;
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
    /// Messages in the voicemail box.
    #[cbor(n(4), default)]
    pub mailbox: Mailbox,
    /// Latest calls of a user without call waiting, newest last. A call that is over, or never came about, may stand here: the records of
    /// calls tell.
    #[cbor(n(5), default)]
    pub calls: Vec<RecordId>,
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
    /// The number is withheld from those who are called (CLIR).
    #[cbor(n(5), default)]
    pub withhold_caller_id: bool,
    /// No call goes to a voicemail box.
    #[cbor(n(6), default)]
    pub no_voicemail: bool,
    /// A further call finds the user busy while there is one.
    #[cbor(n(7), default)]
    pub no_call_waiting: bool,
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
    /// The voicemail box tells what it holds.
    Notified(Announcement),
    /// The user takes part in a call.
    Engaged(RecordId),
    /// The deadline has passed.
    Deadline,
}

/// Effect of a decision about a user.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Effect {
    /// A fact for those who watch settings.
    #[n(0)]
    Record(#[n(0)] Fact),
    /// The user is told of new messages in the voicemail box.
    #[n(3)]
    Announce {
        /// Bare JID.
        #[n(0)]
        jid: String,
        /// Announcement.
        #[n(1)]
        announcement: Announcement,
    },
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

    /// Puts the configured box where the user has none of their own, and takes away what the user does not want.
    pub fn settle_voicemail(&mut self, configured: Option<&str>) {
        self.voicemail = match self.no_voicemail {
            true => None,
            false => self.voicemail.take().or_else(|| configured.map(str::to_owned)),
        };
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
    /// Creates the record of a user with the first event.
    #[must_use]
    pub fn create(id: RecordId, jid: String, event: Event, now: Time) -> (User, Vec<Effect>) {
        let (settings, mailbox, calls) = Default::default();
        User { id, jid, settings, changed: now, mailbox, calls }.decide(event, now)
    }

    /// Returns the time from which on nothing of the record need be kept.
    fn is_empty_from(&self) -> Option<Time> {
        let empty = self.mailbox.is_empty_from().filter(|_| self.settings == Settings::default());
        empty.map(|from| from.max(self.changed))
    }

    /// Announces new messages, if the time for that has come.
    fn announce(&mut self, now: Time) -> Vec<Effect> {
        let announcement = self.mailbox.announce(now);
        announcement
            .map(|announcement| Effect::Announce { jid: self.jid.clone(), announcement })
            .into_iter()
            .collect()
    }
}

impl Stored for User {
    const NAME: &'static str = "a user record";
    const VERSION: u16 = 3;
    const OLDEST: u16 = 1;
}

impl StoredEffect for Effect {
    const NAME: &'static str = "an outbox of a user";
    const VERSION: u16 = 2;
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
            Event::Notified(announcement) => {
                if self.mailbox.take(announcement) {
                    self.changed = now;
                }
                let effects = self.announce(now);
                (self, effects)
            }
            Event::Engaged(call) => {
                self.calls.retain(|known| *known != call);
                if self.calls.len() >= MAX_CALLS {
                    self.calls.remove(0);
                }
                self.calls.push(call);
                (self, vec![])
            }
            Event::Deadline => {
                let effects = self.announce(now);
                (self, effects)
            }
            Event::Set(_) => (self, vec![]),
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.is_empty_from().or_else(|| self.mailbox.deadline())
    }

    fn finished(&self, now: Time) -> bool {
        self.is_empty_from().is_some_and(|from| from <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_000);

    fn rosa(settings: Settings) -> (User, Vec<Effect>) {
        let id = RecordId { kind: RecordKind::User, hash: [7; 10] };
        User::create(id, "rosa@example.net".into(), Event::Set(settings), NOW)
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

    /// R-MWI-2: a rise is told once, at most every half minute, and a refresh is no news.
    #[test]
    fn new_messages_are_announced_once() {
        let holds =
            |new, old| Announcement { mailbox: "voicemail@sip.example.net".into(), counts: Some((new, old)) };
        let id = RecordId { kind: RecordKind::User, hash: [7; 10] };
        let told = |effects: Vec<Effect>| -> Vec<(u32, u32)> {
            let counts = |effect| match effect {
                Effect::Announce { announcement, .. } => announcement.counts,
                Effect::Record(_) => None,
            };
            effects.into_iter().filter_map(counts).collect()
        };
        let first = Event::Notified(holds(1, 8));
        let (mut user, effects) = User::create(id, "rosa@example.net".into(), first, NOW);
        assert_eq!((told(effects), user.finished(NOW)), (vec![(1, 8)], false));
        for (at, event, expected, deadline) in [
            (1_000, Event::Notified(holds(1, 8)), vec![], None),
            (2_000, Event::Notified(holds(2, 8)), vec![], Some(30_000)),
            (3_000, Event::Notified(holds(3, 8)), vec![], Some(30_000)),
            (30_000, Event::Deadline, vec![(3, 8)], None),
            (31_000, Event::Notified(holds(3, 8)), vec![], None),
            (40_000, Event::Notified(holds(4, 8)), vec![], Some(60_000)),
            (41_000, Event::Notified(holds(0, 12)), vec![], None),
            (42_000, Event::Notified(holds(1, 12)), vec![], Some(60_000)),
            (70_000, Event::Notified(holds(1, 12)), vec![(1, 12)], None),
        ] {
            let effects;
            (user, effects) = user.decide(event, NOW + at);
            assert_eq!((told(effects), user.deadline()), (expected, deadline.map(|ms| NOW + ms)), "{at}");
        }
        let (user, effects) = user.decide(Event::Notified(holds(0, 0)), NOW + 80_000);
        assert_eq!((effects, user.finished(NOW + 80_000)), (vec![], false), "the pause is kept");
        assert_eq!((user.deadline(), user.finished(NOW + 100_000)), (Some(NOW + 100_000), true));
    }

    #[test]
    fn latest_calls_are_kept_once() {
        let (mut user, _) = rosa(Settings { no_call_waiting: true, ..Settings::default() });
        let call = |at: usize| RecordId::call([u8::try_from(at).unwrap(); 10]);
        for at in (0..20).chain([18]) {
            user = user.decide(Event::Engaged(call(at)), NOW).0;
        }
        let expected: Vec<_> = (4..18).chain([19, 18]).map(call).collect();
        assert_eq!(user.calls, expected);
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
