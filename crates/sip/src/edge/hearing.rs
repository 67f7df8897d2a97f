//! Up: messages and timeouts are translated; those that came to nothing are answered.

use super::attempt::Failure;
use super::method::NO_TRANSACTION;
use super::open::{opening, rewrite_targets};
use super::reliable::session_timeout;
use super::timers::{MAX_EXPIRES, REINVITE, REINVITE_LOST, RINGING, TIMER_C, Timer};
use super::user_agent::{Arrival, TransactionUser, UserAgent};
use super::{Flow, Output};
use crate::dialog::{Dialog, State};
use crate::message::{Message, Start};
use crate::reason;
use crate::signal::{
    Outcome, Outgoing, Timeout, answer_challenge, ask_longer, awaits_ringing, hear, is_accepted, release,
    replaced, timeout,
};
use crate::transaction::State as Waiting;
use ::edge::{Hearing, LegMut};
use signal::{End, LegRef, Opening, Reason, Signal, Time, Token};
use std::net::IpAddr;

impl UserAgent {
    pub(super) fn hear_message(
        &mut self,
        leg: &mut LegMut<'_, Self>,
        dialog: &mut Dialog,
        arrival: &Arrival,
        hearing: &Hearing,
    ) -> Outcome {
        if arrival.is_request() && dialog.is_replaced_by(&arrival.message) {
            return self.hear_replacement(leg.id, dialog, arrival);
        }
        let former = arrival.former && matches!(dialog.state, State::Outgoing | State::Cancelled);
        if former && arrival.message.code().is_some_and(|code| !(200..300).contains(&code)) {
            self.acknowledge_attempt(dialog, arrival);
            return Outcome::default();
        }
        if let Some(failure) = unavailable(dialog, &arrival.message) {
            let before = dialog.clone();
            if let Some(outcome) = self.fail_over(leg, dialog, failure, hearing.now) {
                self.acknowledge_attempt(&before, arrival);
                return outcome;
            }
        }
        let (open, active) = (dialog.local_offer_cseq, dialog.state == State::Active);
        let refresh = dialog.session_timer.refresh_cseq;
        let mut outcome = self.translate(leg.id, dialog, arrival);
        if !active && dialog.state == State::Active {
            self.tell_foreign_hop(dialog);
            if former {
                self.cancel_invite(leg, hearing.now);
            }
        }
        if let Some(number) = open.filter(|_| refused_by_glare(dialog, &arrival.message)) {
            dialog.quiet_until = Some(hearing.now + self.glare_pause(leg.id, dialog, number));
        }
        self.set_times(dialog, refresh, hearing.now);
        match arrival.message.method().as_deref() {
            Some("ACK") => self.acknowledged(leg.local, leg.id, dialog, arrival.flow, hearing.now),
            // Nobody hangs up twice.
            Some("BYE") if arrival.is_request() => leg.local.bye = None,
            Some("INVITE") if dialog.state == State::Incoming => {
                if let Some(ms) = expires(&arrival.message) {
                    leg.timers.set(Timer::Expiry, hearing.now + ms);
                }
            }
            _ => {}
        }
        if arrival.is_provisional() {
            match dialog.state {
                State::Outgoing => {
                    leg.timers.set(Timer::Final, hearing.now + TIMER_C);
                    if let Some(invited) = leg.local.invited.filter(|_| awaits_ringing(dialog)) {
                        leg.timers.set(Timer::Ringing, (invited + RINGING).max(hearing.now));
                    }
                }
                State::Active if dialog.local_offer_cseq.is_some() => {
                    leg.timers.set(Timer::Reinvite, hearing.now + REINVITE);
                }
                _ => {}
            }
        }
        if hearing.acknowledged {
            let answers = |one: &Outgoing| matches!(one, Outgoing::Respond(request, _) if request.method() == arrival.message.method());
            outcome.send_now.retain(|one| !answers(one));
            outcome.send_after_commit.retain(|one| !answers(one));
        }
        outcome
    }

    /// Hears an INVITE that is to take the place of the leg's dialog.
    fn hear_replacement(&self, leg: LegRef, dialog: &mut Dialog, arrival: &Arrival) -> Outcome {
        let number = |tag: &str| self.secret.open(Token::parse(tag)?).map(|(_, number)| number);
        let number = dialog.local_tag().and_then(number).map_or(1, |number| (number + 1) % 8);
        let message = &arrival.message;
        let Some(new) = self.incoming(message, (leg, number), arrival.flow, &dialog.link) else {
            let answer = Message::response(message, 400, "Missing Contact or user", "");
            let send_now = vec![Outgoing::Respond(message.clone(), answer)];
            return Outcome { send_now, ..Outcome::default() };
        };
        let branch = self.branch(&[leg.to_string().as_bytes(), b"replaced", new.call_id.as_bytes()]);
        let mut outcome = replaced(dialog, new, message, &branch);
        for signal in &mut outcome.signals {
            seen_from(signal, arrival.flow.peer.ip());
        }
        outcome
    }

    pub(super) fn hear_timeout(
        &mut self,
        leg: &mut LegMut<'_, Self>,
        dialog: &mut Dialog,
        what: Timeout,
        now: Time,
    ) -> Outcome {
        if matches!(what, Timeout::Response | Timeout::Transport)
            && let Some(outcome) = self.fail_over(leg, dialog, Failure::Unreached, now)
        {
            return outcome;
        }
        // The session may have been refreshed at another edge meanwhile.
        let timer = matches!(what, Timeout::Refresh | Timeout::Session);
        let what = if timer { session_timeout(dialog, now) } else { Some(what) };
        let Some(what) = what else { return Outcome::default() };
        let refresh = dialog.session_timer.refresh_cseq;
        let label = what.label(dialog);
        let branch = self.branch(&[leg.id.to_string().as_bytes(), label.as_bytes()]);
        let outcome = timeout(dialog, what, &branch);
        if what == Timeout::Glare && outcome.must_commit {
            dialog.local_offer_by = Some(now + REINVITE_LOST);
        }
        if what == Timeout::Reinvite && dialog.local_offer_cseq.is_none() {
            self.cancel_invite(leg, now);
        }
        if what == Timeout::Refresh && outcome.must_commit {
            dialog.session_timer.try_again(dialog.session_timer.refresh_cseq.is_some(), now);
        }
        let before = refresh.filter(|_| what != Timeout::Refresh);
        self.set_times(dialog, before, now);
        outcome
    }

    /// Returns the pause of our offers after a 491, ms (§14.1): 2.1 to 4 s if the Call-ID is ours, up to 2 s if it is theirs, in
    /// steps of 10 ms. Drawn from ids: the same at every edge.
    fn glare_pause(&self, leg: LegRef, dialog: &Dialog, refused: u32) -> u64 {
        let [high, low, ..] =
            self.secret.derive("glare", &[leg.to_string().as_bytes(), &refused.to_be_bytes()]);
        let drawn = u64::from(u16::from_be_bytes([high, low]));
        if dialog.invite_cseq > 0 { 2_100 + drawn % 191 * 10 } else { drawn % 201 * 10 }
    }

    /// Cancels our open INVITE (§9.1).
    fn cancel_invite(&mut self, leg: &LegMut<'_, Self>, now: Time) {
        let Some(key) = &leg.local.invite else { return };
        let open = self.table.state(key) == Some(Waiting::Proceeding);
        let cancel = self.table.asked(key).filter(|_| open).and_then(crate::dialog::cancel);
        if let Some((cancel, flow)) = cancel.zip(self.table.flow(key).copied()) {
            let user = TransactionUser::Leg(leg.id);
            self.table.send(cancel, flow, flow.transport.is_reliable(), user, now);
        }
    }

    /// Acknowledges the failure of an attempt whose transaction is not here any more, where it came from: the dialog is elsewhere by now
    /// (§17.1.1.3).
    fn acknowledge_attempt(&mut self, dialog: &Dialog, arrival: &Arrival) {
        let failed = arrival.no_transaction && !arrival.is_provisional();
        if let Some(ack) = dialog.acknowledge_failure(&arrival.message).filter(|_| failed) {
            self.out.push_back(Output::Send(arrival.flow, ack.write()));
        }
    }

    fn translate(&self, name: LegRef, dialog: &mut Dialog, arrival: &Arrival) -> Outcome {
        let message = &arrival.message;
        let tag = message.to().and_then(|t| t.tag().map(str::to_owned)).unwrap_or_default();
        let cseq = message.text("CSeq").unwrap_or("");
        let branch = self.branch(&[name.to_string().as_bytes(), cseq.as_bytes(), tag.as_bytes()]);
        let failure = message.code().filter(|c| *c >= 300 && arrival.no_transaction);
        let ack = failure.and_then(|_| dialog.acknowledge_failure(message));
        let mut outcome =
            self.ask_again(dialog, arrival, &branch).unwrap_or_else(|| hear(dialog, message, &branch));
        outcome.send_now.extend(ack.map(Outgoing::Direct));
        let trunk = self.trunk(dialog);
        for signal in &mut outcome.signals {
            seen_from(signal, arrival.flow.peer.ip());
            trunk.iter().for_each(|trunk| rewrite_targets(signal, trunk));
        }
        if arrival.is_request() && is_accepted(&outcome) {
            // Our requests follow the peer to its present address.
            dialog.flow = arrival.flow.to_string();
            dialog.fallback_flow = self.return_flow(arrival.flow);
        }
        outcome
    }

    /// Asks again after a challenge, or for a longer session interval, if we can.
    fn ask_again(&self, dialog: &mut Dialog, arrival: &Arrival, branch: &str) -> Option<Outcome> {
        let message = &arrival.message;
        let code = message.code().filter(|code| is_asked_again(*code))?;
        // If its transaction died with another edge, the record has our INVITE.
        let opened = message.cseq().is_some_and(|c| c.method == "INVITE" && c.number == dialog.invite_cseq);
        let asked = match &arrival.asked {
            Some(asked) => asked.clone(),
            None if opened => crate::message::read(&dialog.invite.clone().into()).ok()?,
            None => return None,
        };
        if code == 422 {
            return ask_longer(dialog, &asked, message, branch);
        }
        // Credentials of its own trunk; nobody else sees an answer made with them.
        let trunk = self.trunk(dialog).filter(|trunk| trunk.owns(arrival.flow.peer.ip()))?;
        let who = trunk.credentials.as_ref()?;
        let label = message.text("CSeq").unwrap_or("");
        let cnonce = self.secret.derive_text("cnonce", &[dialog.call_id.as_bytes(), label.as_bytes()], 16);
        answer_challenge(dialog, &asked, message, who, &cnonce, branch)
    }

    pub(super) fn opening_of(&self, message: &Message, flow: Flow) -> Option<Opening> {
        let Start::Request { uri, .. } = &message.start else { return None };
        opening(message, uri, self.trunk_of(message, flow)?)
    }

    /// Answers a message of a leg that came to nothing. `opens`: it was to open a call.
    pub(super) fn refuse_of_leg(
        &mut self,
        leg: LegRef,
        arrival: &Arrival,
        end: &End,
        opens: bool,
        now: Time,
    ) {
        if arrival.is_request() {
            let use_6xx = self.trunk_at(arrival.flow).is_some_and(|trunk| trunk.use_6xx);
            let (code, phrase) = match end.reason {
                Reason::NotFound if !opens => (481, NO_TRANSACTION),
                Reason::Declined if use_6xx => reason::DECLINE,
                other => (reason::said(other).0, reason::said(other).1),
            };
            let retry = (code == 503).then(|| ("Retry-After", "5".to_owned()));
            let why = opens.then(|| ("Reason", reason::header(end.reason)));
            let warning = reason::warning(end).filter(|_| opens).map(|text| ("Warning", text));
            let headers: Vec<(&str, String)> = retry.into_iter().chain(why).chain(warning).collect();
            self.refuse(&arrival.message, arrival.flow, code, phrase, &headers, now);
        } else if end.reason == Reason::NotFound {
            self.unknown_2xx(leg, arrival, now);
        }
    }

    /// Ends a call that no record knows any more, but that the peer has just answered with a 2xx.
    pub(super) fn unknown_2xx(&mut self, name: LegRef, arrival: &Arrival, now: Time) {
        let message = &arrival.message;
        let (Some(cseq), Some(call_id)) = (message.cseq(), message.call_id()) else { return };
        let ip = arrival.flow.peer.ip();
        let trunk = self.trunks().any(|trunk| trunk.roaming || trunk.owns(ip));
        if !trunk || !message.code().is_some_and(|c| (200..300).contains(&c)) {
            return;
        }
        let mut dialog = self.dialog(State::Active, name, arrival.flow, call_id.to_owned(), "");
        dialog.local = message.from().map_or_else(String::new, |from| from.to_string());
        dialog.contact = self.contact_of(None, &arrival.flow);
        let branch = self.branch(&[name.to_string().as_bytes(), b"unknown_2xx"]);
        for one in release(&dialog, message, cseq.number, &branch) {
            self.send_request(one, name, &dialog, arrival.flow, now);
        }
    }
}

/// Returns true for a response that may be met by the same request in other words.
pub(super) fn is_asked_again(code: u16) -> bool {
    matches!(code, 401 | 407 | 422)
}

/// Returns true for a 491 that has just closed our offer.
fn refused_by_glare(dialog: &Dialog, message: &Message) -> bool {
    message.code() == Some(491) && dialog.local_offer_cseq.is_none()
}

/// Returns the failure that a 503 to the INVITE that opens a dialog tells of: its address serves nobody now (RFC 3263 §4.3).
fn unavailable(dialog: &Dialog, message: &Message) -> Option<Failure> {
    let opens = message.cseq().is_some_and(|c| c.method == "INVITE" && c.number == dialog.invite_cseq);
    if message.code() != Some(503) || !opens {
        return None;
    }
    // "18 (a comment);duration=3600" (§20.33).
    let retry = message.text("Retry-After").and_then(|text| {
        let digits = text.trim_start().split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse::<u64>().ok()?.checked_mul(1_000)
    });
    Some(Failure::Unavailable(retry))
}

/// Reads Expires of an INVITE (§13.3.1), ms; `None` if it is not useful.
fn expires(message: &Message) -> Option<u64> {
    let seconds: u64 = message.text("Expires")?.trim().parse().ok()?;
    Some(seconds.checked_mul(1000)?).filter(|ms| (1..=MAX_EXPIRES).contains(ms))
}

/// Notes the source address of the signalling if the description names an address behind NAT (interworking §12.6).
fn seen_from(signal: &mut Signal, ip: IpAddr) {
    let (Signal::Offer(media)
    | Signal::Progress(Some(media))
    | Signal::Answer(media)
    | Signal::Update(media)
    | Signal::Updated(media)) = signal
    else {
        return;
    };
    for transport in media.contents.iter_mut().map(|content| &mut content.transport) {
        transport.source = transport.ip().is_some_and(|named| named != ip).then_some(ip);
    }
}
