//! Conversions of diversions.

use super::{WireError, list, number, present, unknown};
use crate::v1;
use signal::{Diversion, DiversionReason, Diverted};

/// Number of diversions of a call at most.
const HISTORY: usize = 32;

impl From<&Diverted> for v1::Diverted {
    fn from(diverted: &Diverted) -> v1::Diverted {
        v1::Diverted {
            history: diverted.history.iter().map(v1::Diversion::from).collect(),
            mailbox: diverted.mailbox,
        }
    }
}

impl TryFrom<v1::Diverted> for Diverted {
    type Error = WireError;
    fn try_from(diverted: v1::Diverted) -> Result<Diverted, WireError> {
        Ok(Diverted {
            history: list(diverted.history, HISTORY, "Diverted.history")?,
            mailbox: diverted.mailbox,
        })
    }
}

impl From<&Diversion> for v1::Diversion {
    fn from(diversion: &Diversion) -> v1::Diversion {
        v1::Diversion {
            party: Some(v1::Party::from(&diversion.party)),
            reason: v1::DiversionReason::from(diversion.reason).into(),
            count: diversion.count.into(),
            private: diversion.private,
        }
    }
}

impl TryFrom<v1::Diversion> for Diversion {
    type Error = WireError;
    fn try_from(diversion: v1::Diversion) -> Result<Diversion, WireError> {
        Ok(Diversion {
            party: present(diversion.party, "Diversion.party")?.try_into()?,
            reason: reason(diversion.reason)?,
            count: number(diversion.count, "Diversion.count")?,
            private: diversion.private,
        })
    }
}

impl From<DiversionReason> for v1::DiversionReason {
    fn from(reason: DiversionReason) -> v1::DiversionReason {
        match reason {
            DiversionReason::Unknown => v1::DiversionReason::Unknown,
            DiversionReason::UserBusy => v1::DiversionReason::UserBusy,
            DiversionReason::NoAnswer => v1::DiversionReason::NoAnswer,
            DiversionReason::Unavailable => v1::DiversionReason::Unavailable,
            DiversionReason::Unconditional => v1::DiversionReason::Unconditional,
            DiversionReason::TimeOfDay => v1::DiversionReason::TimeOfDay,
            DiversionReason::DoNotDisturb => v1::DiversionReason::DoNotDisturb,
            DiversionReason::Deflection => v1::DiversionReason::Deflection,
            DiversionReason::FollowMe => v1::DiversionReason::FollowMe,
            DiversionReason::OutOfService => v1::DiversionReason::OutOfService,
            DiversionReason::Away => v1::DiversionReason::Away,
        }
    }
}

fn reason(value: i32) -> Result<DiversionReason, WireError> {
    Ok(match v1::DiversionReason::try_from(value) {
        Ok(v1::DiversionReason::Unknown) => DiversionReason::Unknown,
        Ok(v1::DiversionReason::UserBusy) => DiversionReason::UserBusy,
        Ok(v1::DiversionReason::NoAnswer) => DiversionReason::NoAnswer,
        Ok(v1::DiversionReason::Unavailable) => DiversionReason::Unavailable,
        Ok(v1::DiversionReason::Unconditional) => DiversionReason::Unconditional,
        Ok(v1::DiversionReason::TimeOfDay) => DiversionReason::TimeOfDay,
        Ok(v1::DiversionReason::DoNotDisturb) => DiversionReason::DoNotDisturb,
        Ok(v1::DiversionReason::Deflection) => DiversionReason::Deflection,
        Ok(v1::DiversionReason::FollowMe) => DiversionReason::FollowMe,
        Ok(v1::DiversionReason::OutOfService) => DiversionReason::OutOfService,
        Ok(v1::DiversionReason::Away) => DiversionReason::Away,
        Ok(v1::DiversionReason::Unspecified) | Err(_) => return Err(unknown("Diversion.reason", value)),
    })
}
