//! Admission: how many calls a link and each of its callers may have, and how fast they may begin.
//!
//! One rule: a leg is counted from its opening until its end is known here, whichever side opened it. Limits hold for each instance
//! of an edge. A leg that leaves the memory of the edge while its call goes on is still counted, for at most [`ABSENT`].

use signal::{End, LegRef, Opening, Reason, Time};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

/// Time for which a leg is counted that is not held any more, ms: its end may have gone by another edge.
const ABSENT: u64 = 3_600_000;
/// Calls that may begin at once after a quiet time, as seconds of the rate.
const BURST_S: u64 = 2;

/// Limits of a link: a trunk or a component domain. `None`: there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Calls at once.
    pub calls: Option<u32>,
    /// Calls at once of each caller who calls in by it.
    pub calls_per_caller: Option<u32>,
    /// Calls that begin in a second; twice as many may at once.
    pub setups_per_second: Option<u32>,
}

/// Limit that a call has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Calls of the link.
    Calls,
    /// Calls of this caller.
    Caller,
    /// Calls that begin.
    Rate,
}

impl Limit {
    /// Returns words for the caller.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Limit::Calls => "All lines are busy",
            Limit::Caller => "You have as many calls as one caller may have",
            Limit::Rate => "Too many calls began just now, try again in a moment",
        }
    }

    /// Returns the key of the configuration that sets it.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Limit::Calls => "max_calls",
            Limit::Caller => "max_calls_per_caller",
            Limit::Rate => "max_setup_rate",
        }
    }
}

impl From<Limit> for End {
    fn from(limit: Limit) -> End {
        End { text: Some(limit.text().to_owned()), ..Reason::Congestion.into() }
    }
}

/// Calls of the links that have limits.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    links: HashMap<String, Link>,
    /// Links and callers of the legs that are counted.
    legs: HashMap<LegRef, Counted>,
    /// Legs that have left the memory while they were counted, in the order of their time.
    absent: VecDeque<(Time, LegRef)>,
}

#[derive(Debug, Default)]
struct Link {
    limits: Limits,
    calls: u32,
    callers: HashMap<String, u32>,
    /// Time at which as many calls would have begun at the full rate, us (GCRA).
    paid_until_us: u64,
}

#[derive(Debug)]
struct Counted {
    link: String,
    /// Account of a caller who called in.
    caller: Option<String>,
}

/// Party that opens a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opener {
    /// The peer calls in.
    Peer,
    /// An order calls out; its caller came in by another link and was counted there.
    Order,
}

impl Admission {
    pub(crate) fn new(limits: impl IntoIterator<Item = (String, Limits)>) -> Admission {
        let mut admission = Admission::default();
        admission.set(limits);
        admission
    }

    /// Replaces the limits; calls that stand are counted on.
    pub(crate) fn set(&mut self, limits: impl IntoIterator<Item = (String, Limits)>) {
        for link in self.links.values_mut() {
            link.limits = Limits::default();
        }
        for (name, limits) in limits {
            self.links.entry(name).or_default().limits = limits;
        }
        self.links.retain(|_, link| link.calls > 0 || link.limits != Limits::default());
    }

    /// Counts a leg, unless that would exceed a limit. A leg that is counted already is admitted.
    pub(crate) fn admit(
        &mut self,
        leg: LegRef,
        opening: &Opening,
        opener: Opener,
        now: Time,
    ) -> Result<(), Limit> {
        let Some(link) = self.links.get_mut(&opening.link).filter(|_| !self.legs.contains_key(&leg)) else {
            return Ok(());
        };
        let caller = (opener == Opener::Peer).then(|| account(&opening.from.address));
        let of_caller = caller.and_then(|caller| link.callers.get(caller)).copied().unwrap_or(0);
        if link.limits.calls.is_some_and(|most| link.calls >= most) {
            return Err(Limit::Calls);
        }
        if link.limits.calls_per_caller.is_some_and(|most| of_caller >= most) {
            return Err(Limit::Caller);
        }
        if let Some(rate) = link.limits.setups_per_second {
            let now_us = now.0.saturating_mul(1_000);
            let cost = 1_000_000 / u64::from(rate.max(1));
            let paid = link.paid_until_us.max(now_us).saturating_add(cost);
            if paid > now_us.saturating_add(BURST_S * 1_000_000) {
                return Err(Limit::Rate);
            }
            link.paid_until_us = paid;
        }
        link.calls += 1;
        if let Some(caller) = caller {
            *link.callers.entry(caller.to_owned()).or_default() += 1;
        }
        let caller = caller.map(str::to_owned);
        self.legs.insert(leg, Counted { link: opening.link.clone(), caller });
        Ok(())
    }

    /// Counts a leg no longer.
    pub(crate) fn release(&mut self, leg: LegRef) {
        let Some(counted) = self.legs.remove(&leg) else { return };
        let Some(link) = self.links.get_mut(&counted.link) else { return };
        link.calls = link.calls.saturating_sub(1);
        let Some(caller) = counted.caller else { return };
        if let Entry::Occupied(mut calls) = link.callers.entry(caller) {
            *calls.get_mut() -= 1;
            if *calls.get() == 0 {
                calls.remove();
            }
        }
    }

    /// Counts a leg on that has left the memory.
    pub(crate) fn leave(&mut self, leg: LegRef, now: Time) {
        if self.legs.contains_key(&leg) {
            self.absent.push_back((now + ABSENT, leg));
        }
    }

    /// Counts legs no longer that have been away for long; one that is held again is counted on.
    pub(crate) fn release_absent(&mut self, now: Time, is_held: impl Fn(LegRef) -> bool) {
        while let Some((at, leg)) = self.absent.front().copied()
            && at <= now
        {
            self.absent.pop_front();
            if !is_held(leg) {
                self.release(leg);
            }
        }
    }

    /// Returns true if there is a limit at all.
    pub(crate) fn is_limited(&self) -> bool {
        !self.links.is_empty()
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.legs.is_empty() && self.links.values().all(|link| link.calls == 0 && link.callers.is_empty())
    }
}

/// Returns the account of an address: all devices of a user are one caller.
fn account(address: &str) -> &str {
    address.split('/').next().unwrap_or(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use signal::{LegId, Party, RecordId};

    fn leg(number: u8) -> LegRef {
        LegRef { record: RecordId::call([number; 10]), leg: LegId(0) }
    }

    fn opening(link: &str, from: &str) -> Opening {
        Opening {
            from: Party::xmpp(from),
            to: Party::sip("sip:1"),
            link: link.into(),
            hops: 70,
            diverted: None,
            referral: None,
        }
    }

    fn admission(limits: Limits) -> Admission {
        Admission::new([("pbx".to_owned(), limits)])
    }

    #[test]
    fn f2_a_caller_has_so_many_calls_with_all_devices() {
        let mut admission = admission(Limits { calls_per_caller: Some(2), ..Limits::default() });
        let mut admit =
            |number, from: &str| admission.admit(leg(number), &opening("pbx", from), Opener::Peer, Time(0));
        assert_eq!(admit(1, "rosa@example.net/phone"), Ok(()));
        assert_eq!(admit(2, "rosa@example.net/desk"), Ok(()));
        assert_eq!(admit(2, "rosa@example.net/desk"), Ok(()), "a call that is counted is not counted again");
        assert_eq!(admit(3, "rosa@example.net/car"), Err(Limit::Caller));
        assert_eq!(admit(4, "otto@example.net/car"), Ok(()));
        admission.release(leg(1));
        assert_eq!(
            admission.admit(leg(3), &opening("pbx", "rosa@example.net/car"), Opener::Peer, Time(0)),
            Ok(())
        );
        for number in 1..=4 {
            admission.release(leg(number));
        }
        assert!(admission.is_empty());
    }

    #[test]
    fn f2_a_caller_who_came_by_another_link_is_not_counted_again() {
        let mut admission = admission(Limits { calls_per_caller: Some(1), ..Limits::default() });
        for number in 1..=3 {
            let opening = opening("pbx", "sip:main@carrier");
            assert_eq!(admission.admit(leg(number), &opening, Opener::Order, Time(0)), Ok(()));
        }
    }

    #[test]
    fn f2_a_link_has_so_many_calls() {
        let mut admission = admission(Limits { calls: Some(2), ..Limits::default() });
        for (number, link, admitted) in
            [(1, "pbx", Ok(())), (2, "pbx", Ok(())), (3, "pbx", Err(Limit::Calls)), (4, "carrier", Ok(()))]
        {
            let from = format!("user{number}@example.net/x");
            assert_eq!(
                admission.admit(leg(number), &opening(link, &from), Opener::Peer, Time(0)),
                admitted,
                "{number}"
            );
        }
    }

    #[test]
    fn f2_calls_begin_at_a_rate() {
        let mut admission = admission(Limits { setups_per_second: Some(10), ..Limits::default() });
        let mut admitted = |from: u8, at| {
            let begun = (from..from + 40)
                .filter(|n| admission.admit(leg(*n), &opening("pbx", "a@b"), Opener::Peer, Time(at)).is_ok())
                .count();
            (from..from + 40).for_each(|n| admission.release(leg(n)));
            begun
        };
        assert_eq!(admitted(0, 100_000), 20, "two seconds' worth at once");
        assert_eq!(admitted(50, 101_000), 10);
        assert_eq!(admitted(100, 101_050), 0);
        assert_eq!(admitted(150, 200_000), 20);
    }

    #[test]
    fn f2_a_call_that_left_the_memory_is_counted_for_an_hour() {
        let mut admission = admission(Limits { calls: Some(1), ..Limits::default() });
        let start = Time(1_000);
        assert!(admission.admit(leg(1), &opening("pbx", "a@b"), Opener::Peer, start).is_ok());
        admission.leave(leg(1), start);
        admission.leave(leg(1), start + 1);
        for (after, held, admitted) in
            [(ABSENT - 1, false, false), (ABSENT, true, false), (ABSENT + 1, false, true)]
        {
            admission.release_absent(start + after, |_| held);
            let second = admission.admit(leg(2), &opening("pbx", "a@b"), Opener::Peer, start + after);
            assert_eq!(second.is_ok(), admitted, "{after}");
        }
    }

    #[test]
    fn f2_limits_can_be_replaced_while_calls_stand() {
        let mut admission = admission(Limits::default());
        assert!(admission.admit(leg(1), &opening("pbx", "a@b"), Opener::Peer, Time(0)).is_ok());
        admission.set([("pbx".to_owned(), Limits { calls: Some(1), ..Limits::default() })]);
        assert!(
            admission.admit(leg(2), &opening("pbx", "a@b"), Opener::Peer, Time(0)).is_ok(),
            "no limit, no count"
        );
        assert!(admission.admit(leg(3), &opening("pbx", "a@b"), Opener::Peer, Time(0)).is_err());
    }
}
