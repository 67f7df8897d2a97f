//! Membership of messages in a dialog (RFC 3261 §12.2.2): Call-ID and both tags decide, never our tag alone.

use super::{Dialog, State};
use crate::message::Message;
use crate::signal::Replaces;
use crate::transaction::Key;
use crate::uri::NameAddr;
use ::edge::Membership;

/// Returns true for the same tag, or for none on both sides (RFC 2543 peers). Tokens have no case (§7.3.1).
#[must_use]
pub fn same_tag(one: Option<&str>, other: Option<&str>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
        (None, None) => true,
        _ => false,
    }
}

impl Dialog {
    /// Returns our tag.
    #[must_use]
    pub fn local_tag(&self) -> Option<&str> {
        self.local.rsplit_once(";tag=").map(|(_, tag)| tag)
    }

    /// Returns the peer's tag, once it has one.
    #[must_use]
    pub fn remote_tag(&self) -> Option<String> {
        NameAddr::parse(&self.remote)?.tag().map(str::to_owned)
    }

    /// Returns the membership of a request. The INVITE that opens a dialog and its CANCEL have no tag of ours yet; the CANCEL
    /// must name that very transaction then (§9.2).
    #[must_use]
    pub fn membership_of_request(&self, request: &Message) -> Membership {
        let (Some(from), Some(to)) = (request.from(), request.to()) else { return Membership::Foreign };
        let ours = match to.tag() {
            Some(tag) => same_tag(Some(tag), self.local_tag()),
            None if request.method().as_deref() == Some("CANCEL") => {
                let invite = self.invite().and_then(|invite| Key::of_request(&invite));
                invite.is_some() && invite == Key::cancelled_by(request)
            }
            None => true,
        };
        match request.call_id() == Some(self.call_id.as_str()) && ours {
            true if self.is_remote(from.tag()) => Membership::Own,
            true if matches!(self.state, State::Outgoing | State::Cancelled) => Membership::Unknown,
            _ => Membership::Foreign,
        }
    }

    /// Returns true for an INVITE of another dialog that is to take the place of this one (RFC 3891 §3).
    #[must_use]
    pub fn is_replaced_by(&self, request: &Message) -> bool {
        let opens = request.method().as_deref() == Some("INVITE")
            && request.code().is_none()
            && request.to().is_some_and(|to| to.tag().is_none())
            && request.call_id() != Some(self.call_id.as_str());
        let Some(replaces) = request.text("Replaces").filter(|_| opens).and_then(Replaces::parse) else {
            return false;
        };
        replaces.call_id == self.call_id
            && same_tag(Some(&replaces.to_tag), self.local_tag())
            && self.is_remote(Some(&replaces.from_tag))
    }

    /// Returns the membership of a response to an INVITE whose transaction is not here.
    #[must_use]
    pub fn membership_of_response(&self, response: &Message) -> Membership {
        let (Some(from), Some(to)) = (response.from(), response.to()) else { return Membership::Foreign };
        let Some(cseq) = response.cseq().filter(|cseq| cseq.method == "INVITE") else {
            return Membership::Foreign;
        };
        if response.call_id() != Some(self.call_id.as_str()) || !same_tag(from.tag(), self.local_tag()) {
            return Membership::Foreign;
        }
        let asked = match cseq.number {
            // Every fork answers the INVITE that opens a dialog with a tag of its own.
            number if number == self.invite_cseq => {
                let branch = |message: &Message| message.via()?.branch().map(str::to_owned);
                self.invite().is_some_and(|invite| branch(&invite) == branch(response))
            }
            // An earlier attempt, before the one with credentials.
            number if number < self.invite_cseq => true,
            number => number <= self.local_cseq && same_tag(to.tag(), self.remote_tag().as_deref()),
        };
        if asked { Membership::Own } else { Membership::Unknown }
    }

    fn is_remote(&self, tag: Option<&str>) -> bool {
        let fork = || self.forks.iter().any(|fork| same_tag(tag, Some(fork)));
        same_tag(tag, self.remote_tag().as_deref()) || self.state != State::Active && fork()
    }

    fn invite(&self) -> Option<Message> {
        crate::message::read(&self.invite.clone().into()).ok()
    }
}
