//! Timeouts of a leg.

use super::{Outcome, Outgoing, gone, refer, reinvite, reliable, respond, session_timer, stored};
use crate::dialog::{Dialog, PUT_OFF, State};
use signal::{Reason, Signal};

/// Event that did not come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timeout {
    /// Response to our INVITE or re-INVITE (Timer B).
    Response,
    /// Response to another request of ours within the dialog (Timer F).
    Request,
    /// Response to a NOTIFY of ours (Timer F).
    Notify,
    /// Way to the peer: our INVITE or re-INVITE could not be sent at all.
    Transport,
    /// Final response to our re-INVITE after a provisional one (interworking appendix B: CHANGING), or any that might have come to an
    /// edge that is gone.
    Reinvite,
    /// End of the pause after a 491: our offer may leave (§14.1).
    Glare,
    /// Final response to our INVITE after a provisional one (Timer C, interworking §10.1).
    Final,
    /// Sign of ringing from a peer that has answered our INVITE provisionally (R-CALL-41).
    Ringing,
    /// ACK to our 2xx (§13.3.1.4).
    Acknowledgement,
    /// Our answer, within the Expires of the peer's INVITE (§13.3.1).
    Expiry,
    /// Any decision on the peer's INVITE.
    Decision,
    /// PRACK for our provisional response (RFC 3262 §3).
    Prack,
    /// Time for another provisional response of ours, where each has a number (RFC 3261 §13.3.1.1).
    Provisional,
    /// Time for our refresh of the session (RFC 4028 §7.4).
    Refresh,
    /// Refresh of the session, by the peer or in spite of our attempts (RFC 4028 §10).
    Session,
}

impl Timeout {
    /// Returns a name of this timeout in the present state of the dialog, the same at every edge.
    #[must_use]
    pub fn label(self, dialog: &Dialog) -> String {
        // Each attempt of an INVITE may fail by itself.
        let attempt = if dialog.state == State::Outgoing { dialog.flow.as_str() } else { "" };
        // Some come again while no request has passed.
        let turn = match self {
            Timeout::Prack | Timeout::Provisional => {
                dialog.reliable.as_ref().map_or(0, |state| state.rseq.into())
            }
            Timeout::Refresh | Timeout::Session => dialog.session_timer.due.map_or(0, |due| due.0),
            _ => return format!("{self:?} {} {} {attempt}", dialog.local_cseq, dialog.remote_cseq),
        };
        format!("{self:?} {} {} {turn}", dialog.local_cseq, dialog.remote_cseq)
    }
}

/// Translates a timeout of this dialog.
pub fn timeout(dialog: &mut Dialog, what: Timeout, branch: &str) -> Outcome {
    let mut outcome = Outcome::default();
    match (what, dialog.state) {
        (Timeout::Response, State::Outgoing) => {
            dialog.state = State::Ended;
            outcome.signals.push(Signal::End(Reason::Timeout.into()));
        }
        (Timeout::Transport, State::Outgoing) => {
            dialog.state = State::Ended;
            outcome.signals.push(Signal::End(Reason::Connectivity.into()));
        }
        (Timeout::Transport, State::Active) => withdraw(dialog, Reason::Connectivity, &mut outcome),
        (Timeout::Reinvite, State::Active) => withdraw(dialog, Reason::Timeout, &mut outcome),
        (Timeout::Glare, State::Active) if dialog.local_offer_cseq == Some(PUT_OFF) => {
            outcome.send_after_commit.push(reinvite(dialog, branch));
            outcome.must_commit = true;
        }
        (Timeout::Response | Timeout::Transport, State::Cancelled) => dialog.state = State::Ended,
        // A re-INVITE that nobody answers ends the call (§14.1).
        (Timeout::Response, State::Active) if dialog.local_offer_cseq.take().is_some() => {
            return gone(dialog, Reason::Timeout.into(), branch);
        }
        // So does another request (§12.2.1.2).
        (Timeout::Request, State::Active) => return gone(dialog, Reason::Timeout.into(), branch),
        (Timeout::Notify, _) => refer::forget(dialog),
        (Timeout::Final, State::Outgoing) => {
            outcome.signals.push(Signal::End(Reason::NoAnswer.into()));
            dialog.state = State::Cancelled;
            outcome.send_now.extend(dialog.cancel().map(Outgoing::Request));
        }
        // The caller's client gives up soon unless it hears ringing.
        (Timeout::Ringing, State::Outgoing) if awaits_ringing(dialog) => {
            outcome.signals.push(Signal::Progress(None));
        }
        (Timeout::Acknowledgement, State::Active) => return gone(dialog, Reason::Timeout.into(), branch),
        (Timeout::Refresh, State::Active) => return session_timer::refresh(dialog, branch),
        (Timeout::Session, State::Active) => return session_timer::expired(dialog, branch),
        (Timeout::Provisional, State::Incoming) => {
            let provisional = reliable::again(dialog);
            outcome.must_commit = provisional.is_some();
            outcome.send_after_commit.extend(provisional);
        }
        // It has come to another edge.
        (Timeout::Prack, _) if dialog.reliable.as_ref().is_none_or(|state| state.open.is_none()) => {}
        (Timeout::Expiry | Timeout::Decision | Timeout::Prack, State::Incoming) => {
            dialog.state = State::Ended;
            reliable::stop(dialog);
            let (reason, code, phrase) = match what {
                Timeout::Expiry => (Reason::NoAnswer, 487, "Request Terminated"),
                Timeout::Prack => (Reason::Timeout, 504, "Server Time-out"),
                _ => (Reason::Timeout, 408, "Request Timeout"),
            };
            outcome.signals.push(Signal::End(reason.into()));
            outcome.send_after_commit.extend(stored(&dialog.invite).map(|invite| {
                let answer = respond(dialog, &invite, code, phrase);
                Outgoing::Respond(invite, answer)
            }));
        }
        _ => {}
    }
    outcome
}

/// Withdraws our open offer, which nobody has answered. The call knows of it unless it was a refresh.
fn withdraw(dialog: &mut Dialog, reason: Reason, outcome: &mut Outcome) {
    let Some(cseq) = dialog.local_offer_cseq.take() else { return };
    if dialog.session_timer.refresh_cseq.take_if(|refresh| *refresh == cseq).is_some() {
        outcome.must_commit = true;
    } else {
        outcome.signals.push(Signal::Refused(reason));
    }
}

/// Returns true if the peer has said that it works on our INVITE (100 counts), and nothing of ringing. One that has said nothing at all may
/// not be there.
pub fn awaits_ringing(dialog: &Dialog) -> bool {
    let early = dialog.state == State::Outgoing && dialog.proceeding;
    early && !dialog.ringing && dialog.early_sdp.is_empty()
}
