//! Repetition of our reliable provisional responses, and the wake-ups of a leg (RFC 3262 §3, RFC 4028 §10).
//!
//! One rule: the dialog says what waits and until when. An edge that has nothing of it in its own memory goes on where another one died.

use super::timers::Timer;
use super::user_agent::{Local, UserAgent};
use crate::dialog::reliable::Open;
use crate::dialog::session_timer::Act;
use crate::dialog::{Dialog, PUT_OFF, State};
use crate::message::{Message, read};
use crate::signal::{Outgoing, Timeout, rseq};
use crate::transaction::{State as Waiting, T1, TIMEOUT};
use ::edge::LegMut;
use signal::Time;

/// Time after which an edge that does not repeat a provisional response takes that over, ms: the record learns of it two repetitions
/// after the one that may have been lost.
const TAKE_OVER: u64 = 2_000;

/// Reliable provisional response that is repeated here.
#[derive(Debug)]
pub(super) struct Repeated {
    rseq: u32,
    invite: Message,
    response: Message,
    interval: u64,
    end: Time,
}

fn open(dialog: &Dialog) -> Option<&Open> {
    let state = dialog.reliable.as_ref().filter(|_| dialog.state == State::Incoming)?;
    state.open.as_ref()
}

impl UserAgent {
    /// Sets the times that a change of the dialog has begun. `refresh`: CSeq of the refresh that was open before.
    pub(super) fn set_times(&self, dialog: &mut Dialog, refresh: Option<u32>, now: Time) {
        if let Some(open) = dialog.reliable.as_mut().and_then(|state| state.open.as_mut()) {
            open.by.get_or_insert(now + TIMEOUT);
        }
        if dialog.state == State::Active {
            let timer = &mut dialog.session_timer;
            if refresh.is_some() && timer.refresh_cseq.is_none() && timer.due.is_some() {
                timer.try_again(false, now);
            }
            timer.start(now);
        }
    }

    /// Notes a provisional response of ours that is to be repeated until its PRACK comes.
    pub(super) fn note_reliable(
        &self,
        leg: &mut LegMut<'_, Self>,
        dialog: &Dialog,
        (invite, response): (&Message, &Message),
        now: Time,
    ) {
        let Some(rseq) = rseq(response) else { return };
        let end = open(dialog).and_then(|open| open.by).unwrap_or(now + TIMEOUT);
        let (invite, response) = (invite.clone(), response.clone());
        leg.local.repeated = Some(Box::new(Repeated { rseq, invite, response, interval: T1, end }));
        leg.timers.set(Timer::RepeatReliable, now + T1);
    }

    /// Repeats a provisional response with growing pauses (§3), or returns the timeout to be heard.
    pub(super) fn repeat_reliable(
        &mut self,
        leg: &mut LegMut<'_, Self>,
        dialog: Option<&Dialog>,
        now: Time,
    ) -> Option<Timeout> {
        let Local { repeated, .. } = &mut *leg.local;
        let sent = repeated.as_mut()?;
        let waits = |dialog: &Dialog| open(dialog).is_some_and(|open| open.rseq == sent.rseq);
        if dialog.is_some_and(|dialog| !waits(dialog)) {
            *repeated = None;
            return None;
        }
        if now >= sent.end {
            *repeated = None;
            return Some(Timeout::Prack);
        }
        sent.interval *= 2;
        leg.timers.set(Timer::RepeatReliable, (now + sent.interval).min(sent.end));
        let (invite, response) = (sent.invite.clone(), sent.response.clone());
        if let Some(flow) = dialog.and_then(|dialog| super::Flow::parse(&dialog.flow)) {
            self.respond(&invite, &response, flow, now);
        }
        None
    }

    /// Goes on with the repetition of a provisional response that another edge has begun.
    fn take_over(&mut self, leg: &mut LegMut<'_, Self>, dialog: &Dialog, now: Time) -> Option<Timeout> {
        let open = open(dialog).filter(|_| leg.local.repeated.is_none())?;
        if open.by.is_some_and(|by| by <= now) {
            return Some(Timeout::Prack);
        }
        let message = |octets: &[u8]| read(&octets.to_vec().into()).ok();
        let (invite, response) = (message(&dialog.invite)?, message(&open.response.octets)?);
        self.send_of_leg(leg, dialog, None, vec![Outgoing::Respond(invite, response)], now);
        None
    }
}

/// Cause of a wake-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Offer,
    Provisional,
    Session,
}

/// Returns the first wake-up of a leg with its cause.
fn first(dialog: &Dialog) -> Option<(Time, Cause)> {
    let active = dialog.state == State::Active;
    let offer = dialog.local_offer_by.filter(|_| active && dialog.local_offer_cseq.is_some());
    let provisional = open(dialog).and_then(|open| open.by);
    let session = dialog.session_timer.due.filter(|_| active);
    let all = [
        (offer, Cause::Offer),
        (provisional.map(|by| Time(by.0.saturating_sub(TIMEOUT - TAKE_OVER))), Cause::Provisional),
        (session, Cause::Session),
    ];
    all.into_iter().filter_map(|(at, cause)| Some((at?, cause))).min_by_key(|(at, _)| *at)
}

impl UserAgent {
    /// Returns the time at which a leg is woken. A re-INVITE of ours that nobody answers would have every later one of the peer refused
    /// (491) for as long as the call lasts: the edge that sent it has timers for that, and the record outlives that edge (R-SIP-18). The
    /// session timer has no other clock than this.
    pub(super) fn wake_of(dialog: &Dialog) -> Option<Time> {
        first(dialog).map(|(at, _)| at)
    }

    pub(super) fn wake_leg(
        &mut self,
        leg: &mut LegMut<'_, Self>,
        dialog: &Dialog,
        now: Time,
    ) -> Option<Timeout> {
        match first(dialog)?.1 {
            Cause::Offer if dialog.local_offer_cseq == Some(PUT_OFF) => Some(Timeout::Glare),
            Cause::Offer => {
                let state = leg.local.invite.as_ref().and_then(|key| self.table.state(key));
                // Our own timers see to it here.
                let here = matches!(state, Some(Waiting::Calling | Waiting::Proceeding));
                (!here).then_some(Timeout::Reinvite)
            }
            Cause::Provisional => self.take_over(leg, dialog, now),
            Cause::Session => session_timeout(dialog, now),
        }
    }
}

/// Returns the timeout of the session timer that is due.
pub(super) fn session_timeout(dialog: &Dialog, now: Time) -> Option<Timeout> {
    dialog.session_timer.act(now).map(|act| match act {
        Act::Refresh => Timeout::Refresh,
        Act::End => Timeout::Session,
    })
}
