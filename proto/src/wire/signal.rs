//! Conversions of signals, parties and reasons.

use super::media::CONTENTS;
use super::{WireError, bounded, list, number, optional, present, unknown};
use crate::v1;
use crate::v1::refer_status::Status;
use crate::v1::signal::Signal as Said;
use signal::{End, Identity, Party, Protocol, Reason, ReferStatus, Referral, Signal, Tone};

/// Most addresses of a redirection.
const TARGETS: usize = 16;
/// Most signatures of a caller's identity.
const SIGNED: usize = 4;

impl From<&Signal> for v1::Signal {
    fn from(signal: &Signal) -> v1::Signal {
        let signal = match signal {
            Signal::Offer(media) => Said::Offer(media.into()),
            Signal::Ringing => Said::Ringing(v1::Nothing {}),
            Signal::Progress(media) => {
                Said::Progress(v1::Progress { media: media.as_ref().map(v1::Media::from) })
            }
            Signal::Answer(media) => Said::Answer(media.into()),
            Signal::Update(media) => Said::Update(media.into()),
            Signal::Updated(media) => Said::Updated(media.into()),
            Signal::Refused(reason) => Said::Refused(v1::Reason::from(*reason).into()),
            Signal::Candidates(contents) => Said::Candidates(v1::Candidates {
                contents: contents.iter().map(v1::Trickle::from).collect(),
            }),
            Signal::Tone(tone) => {
                Said::Tone(v1::Tone { digit: tone.digit.into(), duration: tone.duration.into() })
            }
            Signal::Refer { target, replaces } => {
                Said::Refer(v1::Refer { target: target.clone(), replaces: replaces.clone() })
            }
            // One address goes as instances before this version know it.
            Signal::Redirect(target, further) if further.is_empty() => Said::Redirect(target.clone()),
            Signal::Redirect(target, further) => {
                let targets = std::iter::once(target).chain(further).cloned().collect();
                Said::Redirects(v1::Redirect { targets })
            }
            Signal::End(end) => Said::End(end.into()),
            Signal::Referred(status) => Said::Referred(status.into()),
            Signal::Diverted => Said::Diverted(v1::Nothing {}),
        };
        v1::Signal { signal: Some(signal) }
    }
}

impl TryFrom<v1::Signal> for Signal {
    type Error = WireError;
    fn try_from(signal: v1::Signal) -> Result<Signal, WireError> {
        Ok(match present(signal.signal, "Signal.signal")? {
            Said::Offer(media) => Signal::Offer(media.try_into()?),
            Said::Ringing(v1::Nothing {}) => Signal::Ringing,
            Said::Progress(progress) => Signal::Progress(optional(progress.media)?),
            Said::Answer(media) => Signal::Answer(media.try_into()?),
            Said::Update(media) => Signal::Update(media.try_into()?),
            Said::Updated(media) => Signal::Updated(media.try_into()?),
            Said::Refused(value) => Signal::Refused(reason(value, "Signal.refused")?),
            Said::Candidates(candidates) => {
                Signal::Candidates(list(candidates.contents, CONTENTS, "Candidates.contents")?)
            }
            Said::Tone(tone) => Signal::Tone(tone.try_into()?),
            Said::Refer(refer) => Signal::Refer { target: refer.target, replaces: refer.replaces },
            Said::Redirect(target) => Signal::Redirect(target, vec![]),
            Said::Redirects(v1::Redirect { targets }) => {
                let mut targets: Vec<String> = bounded(targets, TARGETS, "Redirect.targets")?;
                if targets.is_empty() {
                    return Err(WireError::new("Redirect.targets", "none"));
                }
                Signal::Redirect(targets.remove(0), targets)
            }
            Said::End(end) => Signal::End(end.try_into()?),
            Said::Referred(status) => Signal::Referred(status.try_into()?),
            Said::Diverted(v1::Nothing {}) => Signal::Diverted,
            Said::Message(_) | Said::Presence(_) => {
                return Err(WireError::new("Signal.signal", "not of a call"));
            }
        })
    }
}

impl From<&ReferStatus> for v1::ReferStatus {
    fn from(status: &ReferStatus) -> v1::ReferStatus {
        let status = match status {
            ReferStatus::Trying => Status::Trying(v1::Nothing {}),
            ReferStatus::Ringing => Status::Ringing(v1::Nothing {}),
            ReferStatus::Accepted => Status::Accepted(v1::Nothing {}),
            ReferStatus::Failed(end) => Status::Failed(end.into()),
        };
        v1::ReferStatus { status: Some(status) }
    }
}

impl TryFrom<v1::ReferStatus> for ReferStatus {
    type Error = WireError;
    fn try_from(status: v1::ReferStatus) -> Result<ReferStatus, WireError> {
        Ok(match present(status.status, "ReferStatus.status")? {
            Status::Trying(v1::Nothing {}) => ReferStatus::Trying,
            Status::Ringing(v1::Nothing {}) => ReferStatus::Ringing,
            Status::Accepted(v1::Nothing {}) => ReferStatus::Accepted,
            Status::Failed(end) => ReferStatus::Failed(end.try_into()?),
        })
    }
}

impl From<&Referral> for v1::Referral {
    fn from(referral: &Referral) -> v1::Referral {
        v1::Referral { by: Some(v1::Party::from(&referral.by)), replaces: referral.replaces.clone() }
    }
}

impl TryFrom<v1::Referral> for Referral {
    type Error = WireError;
    fn try_from(referral: v1::Referral) -> Result<Referral, WireError> {
        Ok(Referral { by: present(referral.by, "Referral.by")?.try_into()?, replaces: referral.replaces })
    }
}

impl TryFrom<v1::Tone> for Tone {
    type Error = WireError;
    fn try_from(tone: v1::Tone) -> Result<Tone, WireError> {
        let mut characters = tone.digit.chars();
        match (characters.next(), characters.next()) {
            (Some(digit), None) => Ok(Tone { digit, duration: number(tone.duration, "Tone.duration")? }),
            _ => Err(WireError::new("Tone.digit", "not one character")),
        }
    }
}

impl From<&Party> for v1::Party {
    fn from(party: &Party) -> v1::Party {
        let protocol = match party.protocol {
            Protocol::Sip => v1::Protocol::Sip,
            Protocol::Xmpp => v1::Protocol::Xmpp,
        };
        v1::Party {
            protocol: protocol.into(),
            address: party.address.clone(),
            display: party.display.clone(),
            identity: party.identity.as_deref().map(v1::Identity::from),
        }
    }
}

impl TryFrom<v1::Party> for Party {
    type Error = WireError;
    fn try_from(party: v1::Party) -> Result<Party, WireError> {
        let protocol = match v1::Protocol::try_from(party.protocol) {
            Ok(v1::Protocol::Sip) => Protocol::Sip,
            Ok(v1::Protocol::Xmpp) => Protocol::Xmpp,
            Ok(v1::Protocol::Unspecified) | Err(_) => return Err(unknown("Party.protocol", party.protocol)),
        };
        let identity = party.identity.map(Identity::try_from).transpose()?.map(Box::new);
        Ok(Party { protocol, address: party.address, display: party.display, identity })
    }
}

impl From<&Identity> for v1::Identity {
    fn from(identity: &Identity) -> v1::Identity {
        v1::Identity {
            asserted: identity.asserted.clone(),
            signed: identity.signed.clone(),
            date: identity.date.clone(),
        }
    }
}

impl TryFrom<v1::Identity> for Identity {
    type Error = WireError;
    fn try_from(identity: v1::Identity) -> Result<Identity, WireError> {
        let signed = bounded(identity.signed, SIGNED, "Identity.signed")?;
        Ok(Identity { asserted: identity.asserted, signed, date: identity.date })
    }
}

impl From<&End> for v1::End {
    fn from(end: &End) -> v1::End {
        v1::End {
            reason: v1::Reason::from(end.reason).into(),
            sip: end.sip.map(u32::from),
            text: end.text.clone(),
        }
    }
}

impl TryFrom<v1::End> for End {
    type Error = WireError;
    fn try_from(end: v1::End) -> Result<End, WireError> {
        Ok(End {
            reason: reason(end.reason, "End.reason")?,
            sip: end.sip.map(|code| number(code, "End.sip")).transpose()?,
            text: end.text,
        })
    }
}

impl From<Reason> for v1::Reason {
    fn from(reason: Reason) -> v1::Reason {
        match reason {
            Reason::Normal => v1::Reason::Normal,
            Reason::Cancelled => v1::Reason::Cancelled,
            Reason::AnsweredElsewhere => v1::Reason::AnsweredElsewhere,
            Reason::Busy => v1::Reason::Busy,
            Reason::Declined => v1::Reason::Declined,
            Reason::NoAnswer => v1::Reason::NoAnswer,
            Reason::Offline => v1::Reason::Offline,
            Reason::NotFound => v1::Reason::NotFound,
            Reason::Gone => v1::Reason::Gone,
            Reason::Timeout => v1::Reason::Timeout,
            Reason::Forbidden => v1::Reason::Forbidden,
            Reason::IncompatibleMedia => v1::Reason::IncompatibleMedia,
            Reason::UnsupportedMedia => v1::Reason::UnsupportedMedia,
            Reason::UnsupportedTransport => v1::Reason::UnsupportedTransport,
            Reason::Security => v1::Reason::Security,
            Reason::MediaFailed => v1::Reason::MediaFailed,
            Reason::Connectivity => v1::Reason::Connectivity,
            Reason::Unavailable => v1::Reason::Unavailable,
            Reason::Loop => v1::Reason::Loop,
            Reason::Glare => v1::Reason::Glare,
            Reason::Expired => v1::Reason::Expired,
            Reason::BadRequest => v1::Reason::BadRequest,
            Reason::NotImplemented => v1::Reason::NotImplemented,
            Reason::General => v1::Reason::General,
            Reason::Congestion => v1::Reason::Congestion,
            Reason::AnonymityDisallowed => v1::Reason::AnonymityDisallowed,
        }
    }
}

fn reason(value: i32, field: &'static str) -> Result<Reason, WireError> {
    Ok(match v1::Reason::try_from(value) {
        Ok(v1::Reason::Normal) => Reason::Normal,
        Ok(v1::Reason::Cancelled) => Reason::Cancelled,
        Ok(v1::Reason::AnsweredElsewhere) => Reason::AnsweredElsewhere,
        Ok(v1::Reason::Busy) => Reason::Busy,
        Ok(v1::Reason::Declined) => Reason::Declined,
        Ok(v1::Reason::NoAnswer) => Reason::NoAnswer,
        Ok(v1::Reason::Offline) => Reason::Offline,
        Ok(v1::Reason::NotFound) => Reason::NotFound,
        Ok(v1::Reason::Gone) => Reason::Gone,
        Ok(v1::Reason::Timeout) => Reason::Timeout,
        Ok(v1::Reason::Forbidden) => Reason::Forbidden,
        Ok(v1::Reason::IncompatibleMedia) => Reason::IncompatibleMedia,
        Ok(v1::Reason::UnsupportedMedia) => Reason::UnsupportedMedia,
        Ok(v1::Reason::UnsupportedTransport) => Reason::UnsupportedTransport,
        Ok(v1::Reason::Security) => Reason::Security,
        Ok(v1::Reason::MediaFailed) => Reason::MediaFailed,
        Ok(v1::Reason::Connectivity) => Reason::Connectivity,
        Ok(v1::Reason::Unavailable) => Reason::Unavailable,
        Ok(v1::Reason::Loop) => Reason::Loop,
        Ok(v1::Reason::Glare) => Reason::Glare,
        Ok(v1::Reason::Expired) => Reason::Expired,
        Ok(v1::Reason::BadRequest) => Reason::BadRequest,
        Ok(v1::Reason::NotImplemented) => Reason::NotImplemented,
        Ok(v1::Reason::General) => Reason::General,
        Ok(v1::Reason::Congestion) => Reason::Congestion,
        Ok(v1::Reason::AnonymityDisallowed) => Reason::AnonymityDisallowed,
        Ok(v1::Reason::Unspecified) | Err(_) => return Err(unknown(field, value)),
    })
}
