//! Time: lost verdicts, retries, timers of the protocol, lifetimes.

use crate::commit::Stage;
use crate::{Commit, Expiry, Legs, Protocol, Work};
use signal::{LegRef, Time, Verdict};

/// Lifetime of a leg whose state is not known yet, ms.
const RECALLED: u64 = 600_000;
/// Pause before a leg at work is looked at again after its lifetime, ms.
const AT_WORK: u64 = 1_000;

impl<P: Protocol> Legs<P> {
    /// Handles everything that is due.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some((ticket, pending)) = self.pending.first_key_value()
            && pending.deadline <= now
        {
            match pending.stage {
                Stage::Asked { .. } => self.handle_verdict(*ticket, Verdict::Unavailable, now),
                Stage::Forwarded(_) => self.handle_forwarded(*ticket, false, now),
            }
        }
        while let Some((at, id)) = self.deadlines.first().copied()
            && at <= now
        {
            self.deadlines.pop_first();
            self.handle_leg_timeout(id, now);
        }
    }

    fn handle_leg_timeout(&mut self, id: LegRef, now: Time) {
        let Some(leg) = self.held.0.get_mut(&id) else { return };
        leg.deadline = None;
        let retries: Vec<Commit<P>> =
            leg.retrying.extract_if(.., |(at, _)| *at <= now).map(|(_, commit)| commit).collect();
        let mut events = vec![];
        for timer in leg.timers.take_due(now) {
            let Some(leg) = self.held.0.get_mut(&id) else { break };
            let (state, mut leg) = leg.split(id);
            events.extend(self.protocol.fire(&mut leg, state, timer, now));
        }
        for commit in retries {
            self.enqueue(id, Work::Hear(commit), false, now);
        }
        for event in events {
            self.handle_event(id, event, now);
        }
        self.expire(id, now);
        self.reschedule(id, false, now);
    }

    fn expire(&mut self, id: LegRef, now: Time) {
        let Some(leg) = self.held.0.get_mut(&id) else { return };
        if leg.expires > now {
            return;
        }
        if leg.has_work() {
            leg.expires = now + AT_WORK;
            return;
        }
        let (Some(state), mut for_protocol) = leg.split(id) else { return self.remove(id, now) };
        let (lifetime, expiry) =
            (self.protocol.lifetime(state), self.protocol.expire(&mut for_protocol, state));
        leg.expires = now + lifetime;
        match expiry {
            Expiry::Forget => self.remove(id, now),
            Expiry::Keep => {}
            Expiry::Hear(event) => self.handle_event(id, event, now),
        }
    }

    /// Sets the leg's next deadline. `renew`: the leg is in use and starts a new lifetime.
    pub(crate) fn reschedule(&mut self, id: LegRef, renew: bool, now: Time) {
        let Some(leg) = self.held.0.get_mut(&id) else { return };
        let lifetime = leg.state.as_ref().map_or(RECALLED, |state| self.protocol.lifetime(state));
        let expires = (now + lifetime).whole_second();
        if leg.state.as_ref().is_some_and(P::is_over) {
            self.admission.release(id);
        }
        // A timer is no sign of life, but it may have ended the leg.
        leg.expires = if renew { expires } else { leg.expires.min(expires) };
        // What is due by now has had its turn.
        let at = leg.next_deadline().max(now + 1);
        if leg.deadline != Some(at) {
            if let Some(old) = leg.deadline.replace(at) {
                self.deadlines.remove(&(old, id));
            }
            self.deadlines.insert((at, id));
        }
    }
}
