//! What it means that nothing came.

use super::{Hearing, Wire, bye, respond, stored};
use crate::dialog::{Dialog, State};
use crate::reason;
use signal::{Reason, Signal};

/// What did not come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lapse {
    /// Any response to our INVITE or re-INVITE (Timer B).
    Response,
    /// The INVITE could not be sent at all.
    Transport,
    /// A final response to our re-INVITE after a provisional one (interworking appendix B: CHANGING).
    Change,
    /// A final response to our INVITE after a provisional one (Timer C, interworking §10.1).
    Final,
    /// The ACK to our 2xx (§13.3.1.4).
    Acknowledgement,
    /// Our answer, within the time that the peer's INVITE named in Expires (§13.3.1).
    Expiry,
    /// Anything at all: nobody decided on the peer's INVITE.
    Decision,
}

impl Hearing {
    fn over(&mut self, reason: Reason) {
        self.signals.push(Signal::End(reason.into()));
    }
}

/// What a silence means to the call, and what is said for it.
pub fn lapse(dialog: &mut Dialog, lapse: Lapse, branch: &str) -> Hearing {
    let mut heard = Hearing::default();
    match (lapse, dialog.state) {
        (Lapse::Response, State::Outgoing) => {
            dialog.state = State::Ended;
            heard.over(Reason::Timeout);
        }
        (Lapse::Transport, State::Outgoing) => {
            dialog.state = State::Ended;
            heard.over(Reason::Connectivity);
        }
        (Lapse::Transport, State::Active) if dialog.asking.take().is_some() => {
            heard.signals.push(Signal::Refused(Reason::Connectivity));
        }
        (Lapse::Change, State::Active) if dialog.asking.take().is_some() => {
            heard.signals.push(Signal::Refused(Reason::Timeout));
        }
        (Lapse::Response | Lapse::Transport, State::Cancelled) => dialog.state = State::Ended,
        // A re-INVITE that nobody answers ends the call (§14.1).
        (Lapse::Response, State::Active) if dialog.asking.take().is_some() => {
            heard.over(Reason::Timeout);
            heard.now.push(bye(dialog, &reason::header(Reason::Timeout), branch));
        }
        (Lapse::Final, State::Outgoing) => {
            heard.over(Reason::NoAnswer);
            dialog.state = State::Cancelled;
            heard.now.extend(dialog.cancel().map(Wire::Request));
        }
        (Lapse::Acknowledgement, State::Active) => {
            heard.over(Reason::Timeout);
            heard.now.push(bye(dialog, &reason::header(Reason::Timeout), branch));
        }
        (Lapse::Expiry | Lapse::Decision, State::Incoming) => {
            dialog.state = State::Ended;
            let (reason, code, phrase) = match lapse {
                Lapse::Expiry => (Reason::NoAnswer, 487, "Request Terminated"),
                _ => (Reason::Timeout, 408, "Request Timeout"),
            };
            heard.over(reason);
            heard.after.extend(stored(&dialog.invite).map(|invite| {
                let answer = respond(dialog, &invite, code, phrase);
                Wire::Respond(invite, answer)
            }));
        }
        _ => {}
    }
    heard
}
