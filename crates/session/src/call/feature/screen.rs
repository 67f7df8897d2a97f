//! Decisions of a user about a call before any device hears of it: whom they block, do-not-disturb, and forwards of every call.
//!
//! One rule: the order. A blocked caller finds the user off line, one who does not say who they are is told so, a rule for the caller
//! comes before `always`, and that before do-not-disturb and another call.

use super::forward::Target;
use crate::user::Settings;
use signal::{DiversionReason, Party, Reason};

/// Decision on a call to a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::call) enum Screened {
    /// The devices ring.
    Ring,
    /// The call goes on to somebody else.
    Divert(Target, DiversionReason),
    /// The call is refused.
    Refuse(Reason),
}

/// Decides by the settings of a callee, the default ones of a party who is no XMPP user.
pub(in crate::call) fn screen(settings: &Settings, engaged: bool, caller: &Party) -> Screened {
    // R-CALL-32, R-CODE-5: as somebody who is off line, and no device rings.
    if settings.blocks(&caller.address) {
        return Screened::Refuse(Reason::Offline);
    }
    // RFC 5079
    if settings.reject_anonymous && caller.is_anonymous() {
        return Screened::Refuse(Reason::AnonymityDisallowed);
    }
    let forward = &settings.forward;
    let own = settings.forward_of(&caller.address).or(forward.always.as_deref());
    if let Some(target) = own.and_then(|target| Target::of(target, settings.voicemail.as_deref())) {
        return Screened::Divert(target, DiversionReason::Unconditional);
    }
    if settings.do_not_disturb || engaged {
        // R-SVC-3
        let reason = match settings.do_not_disturb {
            true => DiversionReason::DoNotDisturb,
            false => DiversionReason::UserBusy,
        };
        return match Target::first(forward.busy.as_deref(), settings.voicemail.as_deref()) {
            Some(target) => Screened::Divert(target, reason),
            None => Screened::Refuse(Reason::Busy),
        };
    }
    Screened::Ring
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::{CallerRule, Forward};

    const CALLER: &str = "sip:2041@pbx.example";

    fn forwarding() -> Settings {
        let rule =
            CallerRule { callers: vec!["2041".into(), "+49301".into()], target: "nils@example.net".into() };
        let forward = Forward {
            always: Some("2050".into()),
            busy: Some("2051".into()),
            callers: vec![rule],
            ..Forward::default()
        };
        Settings { forward, voicemail: Some("*97".into()), ..Settings::default() }
    }

    fn screened(settings: &Settings, caller: &str) -> Screened {
        screen(settings, false, &Party::sip(caller))
    }

    fn diverted(target: &str, mailbox: bool, reason: DiversionReason) -> Screened {
        Screened::Divert(Target { address: target.into(), mailbox }, reason)
    }

    /// R-SVC-2
    #[test]
    fn rules_of_callers_come_before_always_and_that_before_do_not_disturb() {
        let mut settings = forwarding();
        settings.do_not_disturb = true;
        let unconditional = |target| diverted(target, false, DiversionReason::Unconditional);
        assert_eq!(screened(&settings, CALLER), unconditional("nils@example.net"));
        assert_eq!(screened(&settings, "tel:+49301"), unconditional("nils@example.net"));
        assert_eq!(screened(&settings, "sip:2042@pbx.example"), unconditional("2050"));
        settings.forward.always = Some("voicemail".into());
        assert_eq!(
            screened(&settings, "sip:2042@pbx.example"),
            diverted("*97", true, DiversionReason::Unconditional)
        );
    }

    /// R-SVC-3: 486, and voicemail still works.
    #[test]
    fn do_not_disturb_is_busy_or_leads_to_the_box() {
        let settings = Settings { do_not_disturb: true, ..Settings::default() };
        assert_eq!(screened(&settings, CALLER), Screened::Refuse(Reason::Busy));
        let boxed = Settings { voicemail: Some("*97".into()), ..settings.clone() };
        assert_eq!(screened(&boxed, CALLER), diverted("*97", true, DiversionReason::DoNotDisturb));
        // A forward to a box that nobody has configured is none.
        let busy = Forward { busy: Some("voicemail".into()), ..Forward::default() };
        let nowhere = Settings { forward: busy, ..settings };
        assert_eq!(screened(&nowhere, CALLER), Screened::Refuse(Reason::Busy));
    }

    /// Without call waiting a second call finds the user busy, and goes where calls to a busy user go.
    #[test]
    fn a_user_in_another_call_is_busy() {
        let caller = Party::sip(CALLER);
        assert_eq!(screen(&Settings::default(), true, &caller), Screened::Refuse(Reason::Busy));
        let busy = Forward { busy: Some("2051".into()), ..Forward::default() };
        let settings = Settings { forward: busy, ..Settings::default() };
        let elsewhere = |reason| diverted("2051", false, reason);
        assert_eq!(screen(&settings, true, &caller), elsewhere(DiversionReason::UserBusy));
        let quiet = Settings { do_not_disturb: true, ..settings };
        assert_eq!(screen(&quiet, true, &caller), elsewhere(DiversionReason::DoNotDisturb));
        assert_eq!(
            screen(&forwarding(), true, &Party::sip("sip:2042@pbx.example")),
            diverted("2050", false, DiversionReason::Unconditional)
        );
    }

    /// R-CALL-32, R-CODE-5
    #[test]
    fn a_blocked_caller_finds_nobody_on_line_whatever_else_is_set() {
        let settings = Settings { blocked: vec!["2041".into()], ..forwarding() };
        assert_eq!(screened(&settings, CALLER), Screened::Refuse(Reason::Offline));
    }

    #[test]
    fn anonymous_callers_are_refused_where_the_user_wants_that() {
        let settings = Settings { reject_anonymous: true, ..Settings::default() };
        for caller in
            ["sip:anonymous@anonymous.invalid", "sip:Anonymous@pbx.example", "anonymous@sip.example"]
        {
            assert_eq!(
                screened(&settings, caller),
                Screened::Refuse(Reason::AnonymityDisallowed),
                "{caller}"
            );
            assert_eq!(screened(&Settings::default(), caller), Screened::Ring);
        }
        assert_eq!(screened(&settings, CALLER), Screened::Ring);
    }
}
