//! Diversions: the parties that sent a call on before it reached its callee (RFC 5806, RFC 7044).

use crate::Party;
use minicbor::{Decode, Encode};

/// Past of a call that was diverted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Diverted {
    /// Diversions, oldest first.
    #[n(0)]
    pub history: Vec<Diversion>,
    /// True if the callee is the box of the last party of the history (RFC 4458).
    #[n(1)]
    pub mailbox: bool,
}

/// Diversion of a call by the party that it was for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Diversion {
    /// Diverting party.
    #[n(0)]
    pub party: Party,
    /// Reason.
    #[n(1)]
    pub reason: DiversionReason,
    /// Number of diversions that it stands for (`counter` of RFC 5806).
    #[n(2)]
    pub count: u8,
    /// True if the callee may not see the party.
    #[n(3)]
    pub private: bool,
}

/// Reason of a diversion (RFC 5806).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum DiversionReason {
    /// Not known.
    #[n(0)]
    Unknown,
    /// The party was busy.
    #[n(1)]
    UserBusy,
    /// The party did not answer.
    #[n(2)]
    NoAnswer,
    /// The party could not be reached.
    #[n(3)]
    Unavailable,
    /// Every call is diverted.
    #[n(4)]
    Unconditional,
    /// The hour.
    #[n(5)]
    TimeOfDay,
    /// The party wants no calls.
    #[n(6)]
    DoNotDisturb,
    /// The party diverted this call.
    #[n(7)]
    Deflection,
    /// The party is somewhere else.
    #[n(8)]
    FollowMe,
    /// The party's line is out of service.
    #[n(9)]
    OutOfService,
    /// The party is away.
    #[n(10)]
    Away,
}

impl DiversionReason {
    /// All reasons, each at the place of its number.
    pub const ALL: [DiversionReason; 11] = [
        DiversionReason::Unknown,
        DiversionReason::UserBusy,
        DiversionReason::NoAnswer,
        DiversionReason::Unavailable,
        DiversionReason::Unconditional,
        DiversionReason::TimeOfDay,
        DiversionReason::DoNotDisturb,
        DiversionReason::Deflection,
        DiversionReason::FollowMe,
        DiversionReason::OutOfService,
        DiversionReason::Away,
    ];

    /// Returns the reason's token (RFC 5806), which facts of calls use too.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            DiversionReason::Unknown => "unknown",
            DiversionReason::UserBusy => "user-busy",
            DiversionReason::NoAnswer => "no-answer",
            DiversionReason::Unavailable => "unavailable",
            DiversionReason::Unconditional => "unconditional",
            DiversionReason::TimeOfDay => "time-of-day",
            DiversionReason::DoNotDisturb => "do-not-disturb",
            DiversionReason::Deflection => "deflection",
            DiversionReason::FollowMe => "follow-me",
            DiversionReason::OutOfService => "out-of-service",
            DiversionReason::Away => "away",
        }
    }
}

impl Diverted {
    /// Returns the number of diversions so far.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.history.iter().map(|diversion| u32::from(diversion.count.max(1))).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::DiversionReason;

    #[test]
    fn every_reason_is_at_its_place() {
        for (number, reason) in DiversionReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number, "{reason:?}");
        }
    }
}
