//! Redirection: a callee names others to try (3xx, RFC 3261 §8.1.3.4; R-CALL-27).
//!
//! One rule: what is named is called as a forward, by the same limits, and only where the rules of the trunk allow it; if nothing of
//! it may be, the caller is told the address.

use super::forward::{Target, divert, leave, waits};
use super::{Feature, MAX_FORWARDS};
use crate::call::Effects;
use crate::call::leg::Role;
use crate::call::record::Call;
use signal::{DiversionReason, LegId, Protocol, Signal, Time};

/// Redirections before the answer.
pub(super) struct Redirect;

impl Feature for Redirect {
    fn hear(&self, call: &mut Call, from: LegId, signal: &Signal, _: Time, effects: &mut Effects) -> bool {
        let (Signal::Redirect(first, further), Some(leg)) = (signal, call.leg(from)) else { return false };
        if leg.role != Role::Callee || !leg.phase.is_early() || !waits(call, from) {
            return false;
        }
        let reason = match leg.protocol() {
            // RFC 7544: cause 302.
            Protocol::Sip => DiversionReason::Unconditional,
            Protocol::Xmpp => DiversionReason::Deflection,
        };
        let target = Target { address: first.clone(), mailbox: false };
        if !divert(call, (from, from), &target, reason, effects) {
            return false;
        }
        if let Some(leg) = call.leg_mut(from) {
            let further = further.iter().take(MAX_FORWARDS as usize - 1).cloned();
            leg.forwarding.get_or_insert_default().alternatives = further.collect();
        }
        leave(call, from, effects);
        true
    }
}
